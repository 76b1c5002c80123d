//! How long embeddings shall be is said under each provider's own name for it.

use loquat_core::{EmbedRequest, ErrorKind};
use loquat_provider::{operations::encode_embed, profile};
use serde_json::{Value, json};

#[test]
fn the_length_is_said_in_each_providers_words() {
    let request = EmbedRequest::new(["a"]).with_dimensions(256);
    for (provider, place) in [
        ("openai", "/dimensions"),
        ("azure", "/dimensions"),
        ("mistral", "/output_dimension"),
        ("cohere", "/output_dimension"),
        ("gemini", "/requests/0/outputDimensionality"),
        ("gemini-openai", "/dimensions"),
        ("qwen", "/dimensions"),
        ("ollama", "/dimensions"),
    ] {
        let format = profile(provider).expect("known").format;
        let body = |request: &EmbedRequest| -> Value {
            serde_json::from_slice(&encode_embed(format, request, "m").expect("can be said").body)
                .expect("JSON")
        };
        let mut said = body(&request);
        assert_eq!(said.pointer(place), Some(&json!(256)), "{provider}: {said}");
        // And nowhere else.
        *said.pointer_mut(place).expect("said") = Value::Null;
        assert!(!said.to_string().contains("256"), "{provider}: {said}");
        assert_eq!(body(&EmbedRequest::new(["a"])).pointer(place), None, "{provider}");
    }
    let dashscope = profile("dashscope").expect("known").format;
    let error = encode_embed(dashscope, &request, "m").expect_err("has none here");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
