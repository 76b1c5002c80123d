//! What an answer said goes back in the next request as the format wants it: names, phases, citations, chunks, seals.

mod support;

use bytes::Bytes;
use http::HeaderMap;
use loquat_core::{Assembler, ChatRequest, Message, Part, Role, ToolCall, ToolResult};
use loquat_provider::{
    ANTHROPIC_MESSAGES, Advance, BEDROCK_CONVERSE, DecodeLimits, Format, GEMINI, GEMINI_INTERACTIONS, Head,
    OPENAI_CHAT, OPENAI_RESPONSES, profile,
};
use serde_json::{Value, json};

/// The message in a whole answer.
fn said(format: &dyn Format, body: &Value) -> Message {
    let headers = HeaderMap::new();
    let mut decoder = format.decoder(&Head { status: 200, headers: &headers }, DecodeLimits::default());
    decoder.push(Bytes::from(body.to_string()));
    let mut assembler = Assembler::new(usize::MAX);
    loop {
        match decoder.advance() {
            Advance::Delta => assembler.push(decoder.current()).expect("within bounds"),
            Advance::NeedBytes => decoder.end(None),
            Advance::End(ending) => {
                assert!(ending.is_finished(), "{ending:?}");
                return assembler.into_response().message().cloned().expect("a message");
            }
        }
    }
}

fn sent(format: &dyn Format, messages: impl IntoIterator<Item = Message>) -> Value {
    let mut request = ChatRequest::new("m").with_user("hi");
    request.messages.extend(messages);
    let body = format.encode(&request, "m").expect("can be said").body;
    serde_json::from_slice(&body).expect("JSON")
}

/// The items of a response go back as they came, but for what only the server says.
#[test]
fn items_of_a_response_go_back_whole() {
    let output = json!([
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "commentary", "content": [
            {"type": "output_text", "text": "let me ", "annotations": []},
            {"type": "output_text", "text": "see…", "annotations": [{"type": "url_citation", "start_index": 0, "end_index": 3}]},
            {"type": "refusal", "refusal": "no"},
        ]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"x\":1}", "status": "completed"},
        {"type": "custom_tool_call", "id": "ct_1", "call_id": "c2", "name": "g", "input": "free text"},
        {"type": "message", "id": "msg_2", "role": "assistant", "status": "completed", "phase": "final_answer", "content": [
            {"type": "output_text", "text": "done", "annotations": []},
        ]},
    ]);
    let message =
        said(&OPENAI_RESPONSES, &json!({"object": "response", "status": "completed", "output": output}));
    let calls: Vec<ToolCall> = message.tool_calls().cloned().collect();
    let results = calls.iter().map(|call| Message::tool(ToolResult::new(call, "5")));
    let body = sent(&OPENAI_RESPONSES, std::iter::once(message.clone()).chain(results));
    let mut expected = vec![json!({"role": "user", "content": "hi"})];
    expected.extend(output.as_array().expect("a list").iter().cloned());
    expected.push(json!({"type": "function_call_output", "call_id": "c1", "output": "5"}));
    expected.push(json!({"type": "custom_tool_call_output", "call_id": "c2", "output": "5"}));
    assert_eq!(body["input"], json!(expected));

    // A text that somebody has changed goes back without what pointed into it.
    let mut edited = message;
    for part in &mut edited.parts {
        if let Part::Text(text) = part {
            *text = "changed".to_owned();
        }
    }
    let body = sent(&OPENAI_RESPONSES, [edited]);
    let changed = json!({"role": "assistant", "content": "changed"});
    assert_eq!(body["input"][4], changed, "{body}");
    assert!(!body.to_string().contains("rs_1"), "thoughts that nothing follows are refused: {body}");
    for (position, id, call_id) in [(2, "fc_1", "c1"), (3, "ct_1", "c2")] {
        assert!(!body.to_string().contains(id), "refused without the thoughts that led to it: {body}");
        assert_eq!(body["input"][position]["call_id"], call_id, "{body}");
    }
    assert!(!body.to_string().contains("url_citation"), "{body}");
}

/// Only what the thoughts led to that have been left out loses its name.
#[test]
fn names_go_with_the_thoughts_they_need() {
    let message = |id: &str, text: &str| json!({"type": "message", "id": id, "role": "assistant", "content": [{"type": "output_text", "text": text, "annotations": []}]});
    let thoughts = |id: &str| json!({"type": "reasoning", "id": id, "summary": [], "encrypted_content": "E"});
    let output = json!([
        thoughts("rs_1"),
        message("msg_1", "a"),
        message("msg_2", "b"),
        thoughts("rs_2"),
        {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "f", "arguments": "{}"},
    ]);
    let mut edited =
        said(&OPENAI_RESPONSES, &json!({"object": "response", "status": "completed", "output": output}));
    for part in &mut edited.parts {
        if let Part::Text(text) = part
            && text == "a"
        {
            *text = "changed".to_owned();
        }
    }
    let body = sent(&OPENAI_RESPONSES, [edited]).to_string();
    let kept = ["rs_1", "msg_1", "msg_2", "rs_2", "fc_2"].map(|id| body.contains(id));
    assert_eq!(kept, [false, false, false, true, true], "{body}");
}

#[test]
fn streamed_and_whole_responses_leave_the_same_message() {
    let item = r#"{"type":"message","id":"msg_1","phase":"final_answer","content":[{"type":"output_text","text":"hi","annotations":[]}]}"#;
    let stream = [
        r#"{"type":"response.created","response":{"id":"r"}}"#.to_owned(),
        r#"{"type":"response.output_text.delta","output_index":0,"delta":"hi"}"#.to_owned(),
        format!(r#"{{"type":"response.output_item.done","output_index":0,"item":{item}}}"#),
        r#"{"type":"response.completed","response":{"id":"r"}}"#.to_owned(),
    ];
    let stream: String = stream.iter().map(|event| format!("data: {event}\n\n")).collect();
    let whole = format!(r#"{{"object":"response","id":"r","status":"completed","output":[{item}]}}"#);
    let message = |content_type: &str, body: &str| {
        let outcome = support::decode(&OPENAI_RESPONSES, content_type, [body.as_bytes()], None);
        outcome.response.message().cloned().expect("a message")
    };
    assert_eq!(message(support::SSE, &stream), message(support::JSON, &whole));
}

/// A conversation goes on with another provider: Anthropic and Google both refuse seals that they did not make, and write theirs alike.
#[test]
fn seals_go_back_to_who_made_them_and_to_nobody_else() {
    const SEAL: &str = "c2VhbA==";
    let call = json!({"name": "f", "args": {}});
    let detail = json!({"type": "reasoning.encrypted", "data": SEAL});
    let anthropic = json!({"type": "message", "stop_reason": "end_turn", "content": [
        {"type": "thinking", "thinking": "hm", "signature": SEAL},
        {"type": "redacted_thinking", "data": SEAL},
        {"type": "text", "text": "done"},
    ]});
    let made: &[(&str, &dyn Format, Value, &[&str])] = &[
        ("anthropic", &ANTHROPIC_MESSAGES, anthropic, &["anthropic", "bedrock"]),
        (
            "gemini",
            &GEMINI,
            json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
                {"text": "hm", "thought": true, "thoughtSignature": SEAL},
                {"text": "done", "thoughtSignature": SEAL},
            ]}}]}),
            &["gemini", "interactions"],
        ),
        (
            "a call of gemini's",
            &GEMINI,
            json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
                {"functionCall": call, "thoughtSignature": SEAL},
            ]}}]}),
            &["gemini", "gemini-openai", "interactions"],
        ),
        (
            "interactions",
            &GEMINI_INTERACTIONS,
            json!({"status": "completed", "steps": [
                {"type": "thought", "signature": SEAL, "summary": [{"type": "text", "text": "hm"}]},
                {"type": "model_output", "content": [{"type": "text", "text": "done"}]},
            ]}),
            &["gemini", "interactions"],
        ),
        (
            "bedrock",
            &BEDROCK_CONVERSE,
            json!({"stopReason": "end_turn", "output": {"message": {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": SEAL}}},
                {"text": "done"},
            ]}}}),
            &["anthropic", "bedrock"],
        ),
        (
            "responses",
            &OPENAI_RESPONSES,
            json!({"object": "response", "status": "completed", "output": [
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEAL},
            ]}),
            &["responses"],
        ),
        (
            "openrouter",
            profile("openrouter").expect("known").format,
            json!({"choices": [{"finish_reason": "stop", "message": {"content": "done", "reasoning_details": [detail]}}]}),
            &["openrouter"],
        ),
    ];
    let sent_to: &[(&str, &dyn Format)] = &[
        ("anthropic", &ANTHROPIC_MESSAGES),
        ("bedrock", &BEDROCK_CONVERSE),
        ("gemini", &GEMINI),
        ("gemini-openai", profile("gemini-openai").expect("known").format),
        ("interactions", &GEMINI_INTERACTIONS),
        ("responses", &OPENAI_RESPONSES),
        ("openrouter", profile("openrouter").expect("known").format),
        ("openai", &OPENAI_CHAT),
    ];
    for (maker, format, answer, takers) in made {
        let message = said(*format, answer);
        for (name, format) in sent_to {
            let results = message.tool_calls().map(|call| Message::tool(ToolResult::new(call, "5")));
            let body = sent(*format, std::iter::once(message.clone()).chain(results)).to_string();
            assert_eq!(body.contains(SEAL), takers.contains(name), "{maker} to {name}: {body}");
        }
    }
    // Of a conversation that was saved before anybody noted whose its seals are.
    let mut message = said(&ANTHROPIC_MESSAGES, &made[0].2);
    for part in &mut message.parts {
        if let Part::Reasoning(thoughts) = part {
            thoughts.format = None;
        }
    }
    assert!(sent(&ANTHROPIC_MESSAGES, [message]).to_string().contains(SEAL));
}

/// Pictures and sound that a model made are in the history of the next turn.
#[test]
fn what_chat_completions_answer_goes_back_in_them() {
    let format = profile("openrouter").expect("known").format;
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5nIQ=="}});
    let answer = json!({"content": "see", "images": [picture], "audio": {"data": "UklGRg=="}});
    let message = said(format, &json!({"choices": [{"finish_reason": "stop", "message": answer}]}));
    assert!(message.parts.iter().any(|part| matches!(part, Part::Image(_))), "{message:?}");
    assert!(message.parts.iter().any(|part| matches!(part, Part::Audio(_))), "{message:?}");
    for format in [format, &OPENAI_CHAT] {
        let body = sent(format, [message.clone(), Message::user("more")]);
        assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "see"}));
    }
}

/// Mistral forbids members that it does not know.
#[test]
fn a_refusal_of_another_goes_to_mistral_as_words() {
    let refused = Message::new(Role::Assistant, vec![Part::Refusal("no".into())]);
    let body = sent(profile("mistral").expect("known").format, [refused.clone(), Message::user("please")]);
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "no"}));
    assert_eq!(sent(&OPENAI_CHAT, [refused])["messages"][1]["refusal"], "no");
}

/// Gemini 3 refuses a call of the present turn that has no seal: another model's, or one made by hand.
#[test]
fn calls_without_a_seal_are_excused() {
    let call = |id: &str| ToolCall::new(id, "f", "{}");
    let mut sealed = call("c");
    sealed.signature = Some("seal".into());
    let asks = |calls: &[ToolCall]| {
        Message::new(Role::Assistant, calls.iter().cloned().map(Part::ToolCall).collect())
    };
    let result = |id: &str| Message::tool(ToolResult::new(&call(id), "5"));
    let seals = |model: &str| -> Vec<String> {
        let mut request = ChatRequest::new(model).with_user("hi");
        request.messages.extend([asks(&[call("a")]), result("a"), Message::user("go on")]);
        request.messages.extend([asks(&[call("b"), call("b2")]), result("b"), result("b2")]);
        request.messages.extend([asks(&[sealed.clone(), call("c2")]), result("c"), result("c2")]);
        let body = GEMINI.encode(&request, model).expect("can be said").body;
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let contents = body["contents"].as_array().expect("a list");
        let parts = contents.iter().flat_map(|content| content["parts"].as_array().expect("a list"));
        let calls = parts.filter(|part| part.get("functionCall").is_some());
        calls.map(|part| part["thoughtSignature"].as_str().unwrap_or("-").to_owned()).collect()
    };
    let excused = ["-", "skip_thought_signature_validator", "-", "seal", "-"];
    for model in ["gemini-3-pro-preview", "models/gemini-3.1-flash", "gemini-10", "gemini-pro-latest"] {
        assert_eq!(seals(model), excused, "{model}");
    }
    for model in ["gemini-2.5-pro", "gemma-3-27b-it", "gemini-exp"] {
        assert_eq!(seals(model), ["-", "-", "-", "seal", "-"], "{model}");
    }
}

/// Mistral's chunks, its own names for calls, and others' names sent to it.
#[test]
fn chunks_of_content_and_short_names_of_calls() {
    let mistral = profile("mistral").expect("known").format;
    let content = json!([
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "see "},
        {"type": "reference", "reference_ids": [1, 2]},
        {"type": "text", "text": "that"},
    ]);
    let message =
        said(mistral, &json!({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}));
    assert_eq!(sent(mistral, [message])["messages"][1]["content"], content);

    let call = |id: &str| {
        let call = ToolCall::new(id, "f", "{}");
        let result = Message::tool(ToolResult::new(&call, "5"));
        let body = sent(mistral, [Message::new(Role::Assistant, vec![Part::ToolCall(call)]), result]);
        let (asked, answered) =
            (&body["messages"][1]["tool_calls"][0]["id"], &body["messages"][2]["tool_call_id"]);
        assert_eq!(asked, answered);
        asked.as_str().expect("a text").to_owned()
    };
    assert_eq!(call("D681PevKs"), "D681PevKs");
    let (one, other) = (call("call_abc"), call("call_abd"));
    assert_ne!(one, other);
    for id in [one, other] {
        assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    }
}

/// Anthropic takes letters, digits, `_` and `-` in the name of a call; Moonshot's have dots and colons in them.
#[test]
fn names_of_calls_that_a_format_does_not_take() {
    let call = ToolCall::new("functions.f:0", "f", "{}");
    let result = Message::tool(ToolResult::new(&call, "5"));
    let body = sent(&ANTHROPIC_MESSAGES, [Message::new(Role::Assistant, vec![Part::ToolCall(call)]), result]);
    assert_eq!(body["messages"][1]["content"][0]["id"], "functions_f_0");
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], "functions_f_0");
}
