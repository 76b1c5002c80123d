//! Gemini interactions: what their events mean, what a request becomes.

mod support;

use loquat_core::{ChatRequest, Message, Opaque, Part, Reasoning, Role, Tool, ToolCall, ToolResult};
use loquat_provider::{Format, GEMINI_INTERACTIONS};
use support::{JSON, SSE, check};

fn stream(events: &[&str]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

#[test]
fn steps_in_pieces() {
    let body = stream(&[
        r#"{"event_type":"interaction.created","interaction":{"id":"v","model":"g","status":"in_progress"}}"#,
        r#"{"event_type":"step.start","index":0,"step":{"type":"thought"}}"#,
        r#"{"event_type":"step.delta","index":0,"delta":{"type":"thought_signature","signature":"S"}}"#,
        r#"{"event_type":"step.delta","index":0,"delta":{"type":"thought_summary","content":{"type":"text","text":"hm"}}}"#,
        r#"{"event_type":"step.stop","index":0}"#,
        r#"{"event_type":"step.start","index":1,"step":{"type":"google_search_call","id":"q"}}"#,
        r#"{"event_type":"step.delta","index":1,"delta":{"type":"google_search_call","arguments":{"queries":["x"]}}}"#,
        r#"{"event_type":"step.stop","index":1}"#,
        r#"{"event_type":"step.start","index":2,"step":{"type":"model_output"}}"#,
        r#"{"event_type":"step.delta","index":2,"delta":{"type":"text","text":"hi"}}"#,
        r#"{"event_type":"step.delta","index":2,"delta":{"type":"text_annotation_delta","annotations":[1]}}"#,
        r#"{"event_type":"step.stop","index":2}"#,
        r#"{"event_type":"step.start","index":3,"step":{"type":"function_call","id":"a","name":"f","arguments":{}}}"#,
        r#"{"event_type":"step.delta","index":3,"delta":{"type":"arguments_delta","arguments":"{\"x\":1}"}}"#,
        r#"{"event_type":"step.stop","index":3}"#,
        r#"{"event_type":"step.start","index":4,"step":{"type":"function_call","id":"b","name":"f","arguments":{"y":2}}}"#,
        r#"{"event_type":"step.stop","index":4}"#,
        r#"{"event_type":"interaction.completed","interaction":{"id":"v","status":"requires_action","usage":{"total_input_tokens":1,"total_output_tokens":2,"total_thought_tokens":3,"total_tool_use_tokens":4,"total_cached_tokens":1}}}"#,
    ]);
    check(
        &GEMINI_INTERACTIONS,
        SSE,
        &body,
        &[
            "start: v g",
            "reasoning: hm",
            "signature: S",
            r#"opaque: gemini-interactions {"arguments":{"queries":["x"]},"id":"q","type":"google_search_call"}"#,
            "text: hi",
            "detail: citations [1]",
            "call: 0 a f",
            "arguments 0: {\"x\":1}",
            "call: 1 b f",
            "arguments 1: {\"y\":2}",
            "choice end: tool_calls",
            "finished: tool_calls in=5 out=5 read=1 thought=3",
        ],
    );
}

#[test]
fn a_whole_interaction() {
    check(
        &GEMINI_INTERACTIONS,
        JSON,
        r#"{"id":"v","model":"g","status":"completed","steps":[{"type":"thought","signature":"S"},{"type":"google_search_result","call_id":"q"},{"type":"model_output","content":[{"type":"text","text":"hi","annotations":[1]},{"type":"image","mime_type":"image/png","data":"AQI="}]},{"type":"function_call","id":"a","name":"f","arguments":{"x":1}}]}"#,
        &[
            "start: v g",
            "redacted: S",
            r#"opaque: gemini-interactions {"type":"google_search_result","call_id":"q"}"#,
            "text: hi",
            "detail: citations [1]",
            "media: image/png [1, 2]",
            "call: 0 a f",
            "arguments 0: {\"x\":1}",
            "choice end: stop",
            "finished: stop",
        ],
    );
}

#[test]
fn endings() {
    let text = r#"{"event_type":"step.delta","index":0,"delta":{"type":"text","text":"hi"}}"#;
    check(&GEMINI_INTERACTIONS, SSE, &stream(&[text]), &["text: hi", "truncated"]);
    check(
        &GEMINI_INTERACTIONS,
        SSE,
        &stream(&[text, r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#]),
        &["text: hi", "failed: Overloaded busy"],
    );
    check(
        &GEMINI_INTERACTIONS,
        SSE,
        &stream(&[text, r#"{"event_type":"interaction.completed","interaction":{"status":"failed"}}"#]),
        &["text: hi", "failed: Server the provider gave the interaction up"],
    );
}

#[test]
fn a_conversation_becomes_steps() {
    let call = ToolCall::new("a", "f", "{\"x\":1}");
    let mut request = ChatRequest::new("g").with_system("s").with_user("hi").with_stream(false);
    request.messages.push(Message::new(
        Role::Assistant,
        vec![
            Part::Reasoning(Reasoning::new("hm").with_signature("S")),
            Part::Reasoning(Reasoning::new("no seal")),
            Part::Text("hello".into()),
            Part::Opaque(Opaque::new("gemini-interactions", "{\"type\": \"google_search_call\"}")),
            Part::ToolCall(call.clone()),
        ],
    ));
    request.messages.push(Message::tool(ToolResult::new(&call, "5")));
    request.tools.push(Tool::new("f", "", "{}"));
    request.reasoning_effort = Some("low".into());
    let encoded = GEMINI_INTERACTIONS.encode(&request, "g").expect("valid");
    assert_eq!(encoded.path, "interactions");
    assert_eq!(
        String::from_utf8_lossy(&encoded.body),
        concat!(
            r#"{"model":"g","input":[{"type":"user_input","content":[{"type":"text","text":"hi"}]},"#,
            r#"{"type":"thought","signature":"S","summary":[{"type":"text","text":"hm"}]},"#,
            r#"{"type":"model_output","content":[{"type":"text","text":"hello"}]},{"type": "google_search_call"},"#,
            r#"{"type":"function_call","id":"a","name":"f","arguments":{"x":1}},"#,
            r#"{"type":"function_result","call_id":"a","name":"f","result":"5"}],"system_instruction":"s","#,
            r#""tools":[{"type":"function","name":"f","parameters":{}}],"#,
            r#""generation_config":{"thinking_level":"low","thinking_summaries":"auto"},"stream":false}"#,
        )
    );
}

/// The first revision of the API: no steps, but outputs.
#[test]
fn outputs_of_the_first_revision() {
    let expected = [
        "start: v g",
        "reasoning: hm",
        "signature: S",
        "text: hi",
        r#"opaque: gemini-interactions {"id":"q","type":"google_search_call"}"#,
        "call: 0 a f",
        "arguments 0: {\"x\":1}",
        "call: 1 b g",
        "arguments 1: {}",
        "choice end: tool_calls",
        "finished: tool_calls in=1 out=2",
    ];
    let body = stream(&[
        r#"{"event_type":"interaction.start","interaction":{"id":"v","model":"g","status":"in_progress"}}"#,
        r#"{"event_type":"interaction.status_update","interaction_id":"v","status":"in_progress"}"#,
        r#"{"event_type":"content.start","index":0,"content":{"type":"thought"}}"#,
        r#"{"event_type":"content.delta","index":0,"delta":{"type":"thought_summary","content":{"type":"text","text":"hm"}}}"#,
        r#"{"event_type":"content.delta","index":0,"delta":{"type":"thought_signature","signature":"S"}}"#,
        r#"{"event_type":"content.stop","index":0}"#,
        r#"{"event_type":"content.start","index":1,"content":{"type":"text","text":"h"}}"#,
        r#"{"event_type":"content.delta","index":1,"delta":{"type":"text","text":"i"}}"#,
        r#"{"event_type":"content.stop","index":1}"#,
        r#"{"event_type":"content.start","index":2,"content":{"type":"google_search_call","id":"q"}}"#,
        r#"{"event_type":"content.stop","index":2}"#,
        r#"{"event_type":"content.start","index":3,"content":{"type":"function_call"}}"#,
        r#"{"event_type":"content.delta","index":3,"delta":{"type":"function_call","id":"a","name":"f","arguments":{"x":1}}}"#,
        r#"{"event_type":"content.stop","index":3}"#,
        r#"{"event_type":"content.start","index":4,"content":{"type":"function_call","id":"b","name":"g"}}"#,
        r#"{"event_type":"content.stop","index":4}"#,
        r#"{"event_type":"interaction.complete","interaction":{"id":"v","status":"requires_action","usage":{"total_input_tokens":1,"total_output_tokens":2}}}"#,
    ]);
    check(&GEMINI_INTERACTIONS, SSE, &body, &expected);
    check(
        &GEMINI_INTERACTIONS,
        JSON,
        r#"{"id":"v","model":"g","status":"requires_action","outputs":[{"type":"thought","signature":"S","summary":[{"type":"text","text":"hm"}]},{"type":"text","text":"hi"},{"id":"q","type":"google_search_call"},{"type":"function_call","id":"a","name":"f","arguments":{"x":1}},{"type":"function_call","id":"b","name":"g","arguments":{}}],"usage":{"total_input_tokens":1,"total_output_tokens":2}}"#,
        &expected,
    );
}

/// A call's seal comes with its beginning; where that has no name, there is no call yet that it could be of.
#[test]
fn a_nameless_calls_seal_is_nobody_elses() {
    let body = stream(&[
        r#"{"event_type":"interaction.start","interaction":{"id":"v","model":"g","status":"in_progress"}}"#,
        r#"{"event_type":"content.start","index":0,"content":{"type":"function_call","id":"a","name":"f","arguments":{"x":1},"signature":"S"}}"#,
        r#"{"event_type":"content.stop","index":0}"#,
        r#"{"event_type":"content.start","index":1,"content":{"type":"function_call","signature":"T"}}"#,
        r#"{"event_type":"content.delta","index":1,"delta":{"type":"function_call","id":"b","name":"g","arguments":{"y":2}}}"#,
        r#"{"event_type":"content.stop","index":1}"#,
        r#"{"event_type":"interaction.complete","interaction":{"id":"v","status":"requires_action"}}"#,
    ]);
    check(
        &GEMINI_INTERACTIONS,
        SSE,
        &body,
        &[
            "start: v g",
            "call: 0 a f",
            "seal 0: S",
            "arguments 0: {\"x\":1}",
            "call: 1 b g",
            "arguments 1: {\"y\":2}",
            "choice end: tool_calls",
            "finished: tool_calls",
        ],
    );
}
