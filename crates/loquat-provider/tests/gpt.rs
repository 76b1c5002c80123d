//! What those of OpenAI's models that think refuse: an error that names it, before anything is sent.

use loquat_core::{ChatRequest, ErrorKind};
use loquat_provider::{
    AZURE_OPENAI, Encoded, Format, OPENAI_CHAT, OPENAI_COMPATIBLE, OPENAI_RESPONSES, profile,
};
use serde_json::{Value, json};

fn request(temperature: Option<f32>, top_p: Option<f32>, top_logprobs: Option<u32>) -> ChatRequest {
    let mut request = ChatRequest::new("").with_user("hi");
    (request.temperature, request.top_p, request.top_logprobs) = (temperature, top_p, top_logprobs);
    request
}

fn body(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body).expect("JSON")
}

#[test]
fn what_a_model_refuses_is_an_error_that_names_it() {
    let with_effort = |mut request: ChatRequest, effort: &str| {
        request.reasoning_effort = Some(effort.to_owned());
        request
    };
    let cold = || request(Some(0.0), None, None);
    for (model, request, refused) in [
        ("o3", cold(), Some("temperature")),
        ("gpt-5-mini", cold(), Some("temperature")),
        ("gpt-5", request(None, Some(0.9), None), Some("top_p")),
        ("gpt-5", request(None, None, Some(2)), Some("top_logprobs")),
        ("gpt-5", with_effort(cold(), "none"), Some("temperature")),
        ("gpt-5", request(Some(1.0), Some(1.0), None), None),
        ("gpt-5.2", cold(), None),
        ("gpt-5.2", with_effort(cold(), "none"), None),
        ("gpt-5.2", with_effort(cold(), "low"), Some("temperature")),
        ("gpt-6-luna", cold(), Some("temperature")),
        ("gpt-6-luna", with_effort(cold(), "none"), None),
        ("gpt-4o", request(Some(0.0), Some(0.9), Some(2)), None),
        ("gpt-5-chat-latest", cold(), None),
    ] {
        for format in [&OPENAI_CHAT as &dyn Format, &AZURE_OPENAI, &OPENAI_RESPONSES] {
            match (refused, format.encode(&request, model)) {
                (Some(place), Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Unsupported, "{model}: {error}");
                    assert!(error.message().starts_with(&format!("{place}: ")), "{model}: {error}");
                }
                (None, Ok(_)) => {}
                (_, encoded) => panic!("{model} at {format:?}: {encoded:?}"),
            }
        }
        // Who hands on models of others may leave out what they refuse.
        for format in [&OPENAI_COMPATIBLE, profile("openrouter").expect("known").format] {
            let encoded = format.encode(&request, model).expect("can be said");
            assert_eq!(body(&encoded)["temperature"].as_f64(), request.temperature.map(f64::from));
        }
    }
}

#[test]
fn what_means_the_same_unsaid_is_left_out() {
    let said = request(Some(1.0), Some(1.0), None);
    for format in [&OPENAI_CHAT as &dyn Format, &OPENAI_RESPONSES] {
        let sent = |model| body(&format.encode(&said, model).expect("can be said"));
        let (o3, gpt) = (sent("o3"), sent("gpt-4o"));
        assert_eq!((&o3["temperature"], &o3["top_p"]), (&Value::Null, &Value::Null));
        assert_eq!((&gpt["temperature"], &gpt["top_p"]), (&json!(1.0), &json!(1.0)));
    }
}
