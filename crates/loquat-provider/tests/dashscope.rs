//! DashScope's own format: what its events mean, what a request becomes.

mod support;

use loquat_core::{ChatRequest, Media, Message, Part, Role};
use loquat_provider::{DASHSCOPE, DASHSCOPE_CUMULATIVE, Format};
use support::{JSON, SSE, check};

#[test]
fn events_with_what_is_new() {
    check(
        &DASHSCOPE,
        SSE,
        concat!(
            "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"message\":{\"content\":\"\",\"reasoning_content\":\"hm\",\"role\":\"assistant\"},\"finish_reason\":\"null\"}]},\"usage\":{\"input_tokens\":3,\"output_tokens\":1},\"request_id\":\"r\"}\n\n",
            "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"ha\",\"reasoning_content\":\"\"},\"finish_reason\":\"null\"}]},\"request_id\":\"r\"}\n\n",
            "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"ha\",\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}]},\"usage\":{\"input_tokens\":3,\"output_tokens\":9,\"output_tokens_details\":{\"reasoning_tokens\":2}},\"request_id\":\"r\"}\n\n",
        ),
        &[
            "start: r ",
            "reasoning: hm",
            "text: haha",
            "call: 0 a f",
            "arguments 0: {}",
            "choice end: tool_calls",
            "finished: tool_calls in=3 out=9 thought=2",
        ],
    );
}

#[test]
fn events_that_repeat_all_so_far() {
    let event = |text: &str, reason: &str| {
        format!(
            "data:{{\"output\":{{\"text\":\"{text}\",\"finish_reason\":\"{reason}\"}},\"request_id\":\"r\"}}\n\n"
        )
    };
    check(
        &DASHSCOPE_CUMULATIVE,
        SSE,
        &[event("ha", "null"), event("haha", "null"), event("haha!", "stop")].concat(),
        &["start: r ", "text: haha!", "choice end: stop", "finished: stop"],
    );
    check(
        &DASHSCOPE_CUMULATIVE,
        SSE,
        &[event("ha", "null"), event("ho", "null")].concat(),
        &[
            "start: r ",
            "text: ha",
            "failed: Protocol an event does not continue the text before it, which has been told",
        ],
    );
}

#[test]
fn endings() {
    let text = "data:{\"output\":{\"text\":\"a\",\"finish_reason\":\"null\"},\"request_id\":\"r\"}\n\n";
    check(&DASHSCOPE, SSE, text, &["start: r ", "text: a", "truncated"]);
    check(
        &DASHSCOPE,
        SSE,
        &format!(
            "{text}event:error\ndata:{{\"code\":\"Throttling\",\"message\":\"slow down\",\"request_id\":\"r\"}}\n\n"
        ),
        &["start: r ", "text: a", "failed: RateLimited slow down"],
    );
    check(
        &DASHSCOPE,
        JSON,
        "{\"output\":{\"choices\":[{\"message\":{\"content\":[{\"text\":\"a\"},{\"text\":\"b\"}]},\"finish_reason\":\"length\"}]}}",
        &["text: ab", "choice end: length", "finished: length"],
    );
}

#[test]
fn requests() {
    let request = ChatRequest::new("q").with_user("hi").with_max_output_tokens(5);
    let encoded = DASHSCOPE.encode(&request, "q").expect("valid");
    assert_eq!(encoded.path, "services/aigc/text-generation/generation");
    assert_eq!(encoded.headers["x-dashscope-sse"], "enable");
    assert_eq!(
        String::from_utf8_lossy(&encoded.body),
        r#"{"model":"q","input":{"messages":[{"content":"hi","role":"user"}]},"parameters":{"result_format":"message","incremental_output":true,"max_tokens":5}}"#
    );
    let picture = Part::Image(Media::url("https://x/y.png"));
    let request =
        ChatRequest::new("q").with_message(Message::new(Role::User, vec![picture, Part::Text("?".into())]));
    let encoded = DASHSCOPE.encode(&request.with_stream(false), "q").expect("valid");
    assert_eq!(encoded.path, "services/aigc/multimodal-generation/generation");
    assert!(encoded.headers.get("x-dashscope-sse").is_none());
    assert_eq!(
        String::from_utf8_lossy(&encoded.body),
        r#"{"model":"q","input":{"messages":[{"content":[{"image":"https://x/y.png"},{"text":"?"}],"role":"user"}]},"parameters":{"result_format":"message"}}"#
    );
}
