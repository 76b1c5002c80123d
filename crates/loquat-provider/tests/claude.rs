//! The formats in which Claude is spoken to: what of a conversation they leave out, word differently or refuse.

use loquat_core::{ChatRequest, Message, Part, Role, ToolCall, ToolResult};
use loquat_provider::{ANTHROPIC_MESSAGES, BEDROCK_CONVERSE, Format};
use serde_json::{Value, json};

fn request() -> ChatRequest {
    ChatRequest::new("").with_user("hi")
}

/// The body for that model.
fn sent(format: &dyn Format, request: &ChatRequest, model: &str) -> Value {
    let encoded = format.encode(request, model).expect("can be said");
    serde_json::from_slice(&encoded.body).expect("JSON")
}

/// Both refuse a conversation with such a text in it, for ever after; models say them between thoughts and a call.
#[test]
fn texts_of_white_space_are_left_out() {
    let call = ToolCall::new("c", "f", "{}");
    let request = request()
        .with_system(" ")
        .with_message(Message::new(
            Role::Assistant,
            vec![Part::Text("\n\n".into()), Part::Refusal("\t".into()), Part::ToolCall(call.clone())],
        ))
        .with_message(Message::tool(ToolResult::new(&call, "5")))
        .with_message(Message::assistant("\n"))
        .with_user(" so? ");
    let body = sent(&ANTHROPIC_MESSAGES, &request, "m");
    assert_eq!(body["system"], Value::Null);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": "5"},
                {"type": "text", "text": " so? "},
            ]},
        ])
    );
    let body = sent(&BEDROCK_CONVERSE, &request, "m");
    assert_eq!(body["system"], Value::Null);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [{"text": "hi"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "c", "content": [{"text": "5"}]}},
                {"text": " so? "},
            ]},
        ])
    );
}
