//! Cohere's chat: what its events mean, what a request becomes.

mod support;

use loquat_core::{
    ChatRequest, ErrorKind, Message, Part, Reasoning, Role, Tool, ToolCall, ToolChoice, ToolResult,
};
use loquat_provider::{COHERE_CHAT, Format};
use support::{JSON, NDJSON, SSE, check};

#[test]
fn a_plan_and_calls_in_pieces() {
    check(
        &COHERE_CHAT,
        SSE,
        concat!(
            "event: message-start\ndata: {\"id\":\"c\",\"type\":\"message-start\",\"delta\":{\"message\":{\"role\":\"assistant\",\"tool_calls\":[]}}}\n\n",
            "data: {\"type\":\"tool-plan-delta\",\"delta\":{\"message\":{\"tool_plan\":\"look\"}}}\n\n",
            "data: {\"type\":\"tool-call-start\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}}}}\n\n",
            "data: {\"type\":\"tool-call-delta\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"function\":{\"arguments\":\"{}\"}}}}}\n\n",
            "data: {\"type\":\"tool-call-end\",\"index\":0}\n\n",
            "data: {\"type\":\"tool-call-start\",\"index\":1,\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"b\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}}}}}\n\n",
            "data: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"TOOL_CALL\",\"usage\":{\"billed_units\":{\"input_tokens\":1},\"tokens\":{\"input_tokens\":9,\"output_tokens\":4},\"cached_tokens\":3}}}\n\ndata: [DONE]\n\n",
        ),
        &[
            "start: c ",
            "reasoning: look",
            "call: 0 a f",
            "arguments 0: {}",
            "call: 1 b f",
            "arguments 1: {\"x\":1}",
            "choice end: tool_calls",
            "finished: tool_calls in=9 out=4 read=3",
        ],
    );
}

#[test]
fn version_one_is_read() {
    check(
        &COHERE_CHAT,
        NDJSON,
        "{\"event_type\":\"stream-start\",\"generation_id\":\"g\"}\n{\"event_type\":\"text-generation\",\"text\":\"hi\"}\n{\"event_type\":\"stream-end\",\"finish_reason\":\"MAX_TOKENS\",\"response\":{\"text\":\"hi\",\"meta\":{\"tokens\":{\"input_tokens\":1,\"output_tokens\":2}}}}\n",
        &["start: g ", "text: hi", "choice end: length", "finished: length in=1 out=2"],
    );
    check(
        &COHERE_CHAT,
        JSON,
        "{\"text\":\"hi\",\"generation_id\":\"g\",\"finish_reason\":\"COMPLETE\"}",
        &["start: g ", "text: hi", "choice end: stop", "finished: stop"],
    );
}

#[test]
fn endings() {
    let start = "data: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"a\"}}}}\n\n";
    check(&COHERE_CHAT, SSE, start, &["text: a", "truncated"]);
    check(
        &COHERE_CHAT,
        SSE,
        &format!("{start}data: {{\"type\":\"message-end\",\"delta\":{{\"finish_reason\":\"ERROR\"}}}}\n\n"),
        &["text: a", "failed: Server the provider ended the answer with an error"],
    );
    check(
        &COHERE_CHAT,
        SSE,
        &format!("{start}data: {{\"type\":\"new-event\"}}\n\ndata: [DONE]\n\n"),
        &["text: a", "raw: new-event {\"type\":\"new-event\"}", "finished: "],
    );
}

#[test]
fn a_request() {
    let call = ToolCall::new("a", "f", "");
    let mut request = ChatRequest::new("m").with_system("s").with_user("hi");
    request.messages.push(Message::new(
        Role::Assistant,
        vec![Part::Reasoning(Reasoning::new("plan")), Part::ToolCall(call.clone())],
    ));
    request.messages.push(Message::tool(ToolResult::new(&call, "no").with_error()));
    request.tools.push(Tool::new("f", "", "{\"type\":\"object\"}"));
    request.tool_choice = ToolChoice::Required;
    let encoded = COHERE_CHAT.encode(&request, "m").expect("valid");
    assert_eq!(encoded.path, "v2/chat");
    assert_eq!(
        String::from_utf8_lossy(&encoded.body),
        concat!(
            r#"{"model":"m","messages":[{"role":"system","content":[{"type":"text","text":"s"}]},"#,
            r#"{"role":"user","content":[{"type":"text","text":"hi"}]},"#,
            r#"{"role":"assistant","tool_plan":"plan","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},"#,
            r#"{"role":"tool","tool_call_id":"a","content":[{"type":"text","text":"Error: no"}]}],"#,
            r#""tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"#,
            r#""tool_choice":"REQUIRED","stream":true}"#,
        )
    );
    request.tool_choice = ToolChoice::Tool("f".into());
    assert_eq!(
        COHERE_CHAT.encode(&request, "m").map(drop).map_err(|e| e.kind()),
        Err(ErrorKind::Unsupported)
    );
}
