//! What a server of OpenAI's format says: a text, calls of tools.

use loquat_testing::Reply;
use serde_json::json;

/// An answer of that text.
pub(crate) fn text(words: &str) -> Reply {
    let said = json!({ "choices": [{ "index": 0, "delta": { "content": words } }] });
    let end = json!({
        "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 2 },
    });
    Reply::events([said.to_string(), end.to_string()])
}

/// Calls of one tool, each with one of these cities.
pub(crate) fn calls<const N: usize>(tool: &str, cities: [&str; N]) -> Reply {
    let calls = (0..).zip(cities).map(|(index, city): (u32, _)| {
        let arguments = json!({ "city": city }).to_string();
        let function = json!({ "name": tool, "arguments": arguments });
        let call = json!({ "index": index, "id": format!("id{index}"), "function": function });
        json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [call] } }] }).to_string()
    });
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "tool_calls" }] });
    Reply::events(calls.chain([end.to_string()]))
}
