//! The formats before chat: what their answers mean, what a request becomes.

mod support;

use loquat_core::{ChatRequest, ErrorKind, Message, Tool};
use loquat_provider::{Format, OLLAMA_GENERATE, OPENAI_COMPLETIONS};
use support::{NDJSON, SSE, check};

#[test]
fn alternatives_and_details() {
    check(
        &OPENAI_COMPLETIONS,
        SSE,
        concat!(
            "data: {\"id\":\"c\",\"model\":\"m\",\"system_fingerprint\":\"fp\",\"choices\":[{\"index\":0,\"text\":\"a\",\"logprobs\":{\"tokens\":[\"a\"]}},{\"text\":\"b\",\"index\":1,\"logprobs\":null}]}\n\n",
            "data: {\"id\":\"c\",\"system_fingerprint\":\"fp\",\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"stop\"},{\"index\":1,\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
        ),
        &[
            "start: c m",
            "detail: fingerprint \"fp\"",
            "text: a",
            "detail: logprobs {\"tokens\":[\"a\"]}",
            "text 1: b",
            "choice end: stop",
            "choice end 1: length",
            "finished: stop in=3 out=2",
        ],
    );
}

#[test]
fn lines_of_generate() {
    check(
        &OLLAMA_GENERATE,
        NDJSON,
        "{\"model\":\"m\",\"thinking\":\"hm\",\"response\":\"\",\"done\":false}\n{\"model\":\"m\",\"response\":\"hi\",\"done\":false}\n{\"model\":\"m\",\"response\":\"\",\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":1,\"eval_count\":2}\n",
        &["start:  m", "reasoning: hm", "text: hi", "choice end: stop", "finished: stop in=1 out=2"],
    );
    check(
        &OLLAMA_GENERATE,
        NDJSON,
        concat!(
            "{\"model\":\"m\",\"response\":\"hi\",\"done\":false,\"logprobs\":[{\"token\":\"hi\"}]}\n",
            "{\"model\":\"m\",\"image\":\"iVBORw0K\",\"done\":true,\"done_reason\":\"stop\"}\n"
        ),
        &[
            "start:  m",
            "text: hi",
            "detail: logprobs [{\"token\":\"hi\"}]",
            "media: image/png [137, 80, 78, 71, 13, 10]",
            "choice end: stop",
            "finished: stop",
        ],
    );
    check(
        &OLLAMA_GENERATE,
        NDJSON,
        "{\"error\":\"model 'x' not found\"}\n",
        &["failed: Server model 'x' not found"],
    );
}

#[test]
fn requests() {
    let body = |format: &dyn Format, request: &ChatRequest| {
        let encoded = format.encode(request, "m").expect("valid");
        format!("{} {}", encoded.path, String::from_utf8_lossy(&encoded.body))
    };
    let request = ChatRequest::new("m").with_user("hi").with_max_output_tokens(5);
    assert_eq!(
        body(&OPENAI_COMPLETIONS, &request),
        r#"completions {"model":"m","prompt":"hi","max_tokens":5,"stream":true,"stream_options":{"include_usage":true}}"#
    );
    assert_eq!(
        body(&OLLAMA_GENERATE, &request.with_system("s")),
        r#"api/generate {"model":"m","prompt":"hi","system":"s","options":{"num_predict":5},"stream":true}"#
    );
}

#[test]
fn a_conversation_is_not_glued_together() {
    let said = ChatRequest::new("m").with_user("a").with_message(Message::assistant("b")).with_user("c");
    let armed = ChatRequest::new("m").with_user("a").with_tool(Tool::new("f", "", "{}"));
    for format in [&OPENAI_COMPLETIONS as &dyn Format, &OLLAMA_GENERATE] {
        for request in [&said, &armed] {
            let kind = format.encode(request, "m").map(drop).map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::Unsupported), "{}", format.name());
        }
    }
}
