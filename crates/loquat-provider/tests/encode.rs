//! Requests into bodies: what each format writes, byte for byte, and what it refuses.

use http::HeaderMap;
use loquat_core::{
    ChatRequest, ErrorKind, JsonText, Media, Message, Part, Reasoning, ResponseFormat, Role, Secret, Tool,
    ToolCall, ToolChoice, ToolResult,
};
use loquat_provider::{
    ANTHROPIC_MESSAGES, Format, GEMINI, OLLAMA_CHAT, OPENAI_CHAT, OPENAI_COMPATIBLE, by_name, format_names,
    profile,
};

fn check(format: &dyn Format, request: &ChatRequest, expected: &str) {
    let encoded = format.encode(request, "m").expect("can be said");
    assert_eq!(String::from_utf8_lossy(&encoded.body), expected, "{}", format.name());
    assert_eq!(format.encode(request, "m").expect("again").body, encoded.body, "the same bytes every time");
    assert_eq!(encoded.headers["content-type"], "application/json");
}

fn refused(format: &dyn Format, request: &ChatRequest, kind: ErrorKind, message: &str) {
    let error = format.encode(request, "m").expect_err("cannot be said");
    assert_eq!((error.kind(), error.message()), (kind, message), "{}", format.name());
}

fn tool() -> Tool {
    Tool::new("f", "does f", r#"{"type":"object","properties":{"z":{},"a":{}}}"#)
}

/// A conversation with a tool call in it.
fn conversation() -> ChatRequest {
    let call = ToolCall::new("c1", "f", r#"{"x": 1}"#);
    let thought = Reasoning::new("hm").with_signature("seal");
    let mut hidden = Reasoning::default().with_signature("hidden");
    hidden.redacted = true;
    ChatRequest::new("")
        .with_system("be brief")
        .with_user("hi")
        .with_message(Message::new(
            Role::Assistant,
            vec![
                Part::Reasoning(thought),
                Part::Reasoning(hidden),
                Part::Text("wait".into()),
                Part::ToolCall(call.clone()),
            ],
        ))
        .with_message(Message::tool(ToolResult::new(&call, "42")))
        .with_message(Message::tool(ToolResult::new(&call, "broken").with_error()))
        .with_user("so?")
        .with_tool(tool())
}

#[test]
fn the_shortest_request() {
    let request = ChatRequest::new("").with_user("hi").with_stream(false);
    check(
        &OPENAI_CHAT,
        &request,
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":false}"#,
    );
    check(
        &ANTHROPIC_MESSAGES,
        &request,
        r#"{"model":"m","max_tokens":8192,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"stream":false}"#,
    );
    check(
        &OLLAMA_CHAT,
        &request,
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":false}"#,
    );
    let paths = [&OPENAI_CHAT as &dyn Format, &ANTHROPIC_MESSAGES, &OLLAMA_CHAT]
        .map(|format| format.encode(&request, "m").expect("short").path);
    assert_eq!(paths, ["chat/completions", "messages", "api/chat"]);
}

#[test]
fn a_conversation_with_tools() {
    check(
        &OPENAI_CHAT,
        &conversation(),
        concat!(
            r#"{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},"#,
            r#"{"role":"assistant","content":"wait","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}}]},"#,
            r#"{"role":"tool","tool_call_id":"c1","content":"42"},{"role":"tool","tool_call_id":"c1","content":"Error: broken"},"#,
            r#"{"role":"user","content":"so?"}],"#,
            r#""tools":[{"type":"function","function":{"name":"f","description":"does f","parameters":{"type":"object","properties":{"z":{},"a":{}}}}}],"#,
            r#""stream":true,"stream_options":{"include_usage":true}}"#
        ),
    );
    check(
        &ANTHROPIC_MESSAGES,
        &conversation(),
        concat!(
            r#"{"model":"m","max_tokens":8192,"system":[{"type":"text","text":"be brief"}],"#,
            r#""messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},"#,
            r#"{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"seal"},{"type":"redacted_thinking","data":"hidden"},{"type":"text","text":"wait"},{"type":"tool_use","id":"c1","name":"f","input":{"x": 1}}]},"#,
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"42"},{"type":"tool_result","tool_use_id":"c1","content":"broken","is_error":true},{"type":"text","text":"so?"}]}],"#,
            r#""tools":[{"name":"f","description":"does f","input_schema":{"type":"object","properties":{"z":{},"a":{}}}}],"stream":true}"#
        ),
    );
    check(
        &OLLAMA_CHAT,
        &conversation(),
        concat!(
            r#"{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},"#,
            r#"{"role":"assistant","content":"wait","thinking":"hm","tool_calls":[{"id":"c1","function":{"name":"f","arguments":{"x": 1}}}]},"#,
            r#"{"role":"tool","content":"42","tool_name":"f","tool_call_id":"c1"},{"role":"tool","content":"Error: broken","tool_name":"f","tool_call_id":"c1"},"#,
            r#"{"role":"user","content":"so?"}],"#,
            r#""tools":[{"type":"function","function":{"name":"f","description":"does f","parameters":{"type":"object","properties":{"z":{},"a":{}}}}}],"stream":true}"#
        ),
    );
    // DeepSeek takes its reasoning back.
    let deepseek = profile("deepseek").expect("known").format;
    let body = deepseek.encode(&conversation(), "m").expect("can be said").body;
    assert!(
        String::from_utf8_lossy(&body).contains(r#""content":"wait","reasoning_content":"hm","tool_calls""#)
    );
}

#[test]
fn parameters() {
    let mut request = ChatRequest::new("").with_user("hi").with_temperature(0.7).with_max_output_tokens(9);
    request.top_p = Some(0.9);
    request.stop = vec!["a".into(), "b".into()];
    request.seed = Some(7);
    request.reasoning_effort = Some("low".into());
    request.response_format =
        ResponseFormat::JsonSchema { name: "n".into(), schema: JsonText::new(r#"{"b":1,"a":2}"#) };
    request.extra_body =
        vec![("top_p".into(), JsonText::new("0.5")), ("new".into(), JsonText::new("[1, 2]"))];
    check(
        &OPENAI_CHAT,
        &request,
        concat!(
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"#,
            r#""response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"b":1,"a":2},"strict":false}},"#,
            r#""max_completion_tokens":9,"temperature":0.7,"top_p":0.5,"stop":["a","b"],"seed":7,"reasoning_effort":"low","#,
            r#""stream":true,"stream_options":{"include_usage":true},"new":[1, 2]}"#
        ),
    );
    check(
        &ANTHROPIC_MESSAGES,
        &request,
        concat!(
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"#,
            r#""output_config":{"effort":"low","format":{"type":"json_schema","schema":{"b":1,"a":2}}},"#,
            r#""temperature":0.7,"top_p":0.5,"stop_sequences":["a","b"],"stream":true,"new":[1, 2]}"#
        ),
    );
    check(
        &OLLAMA_CHAT,
        &request,
        concat!(
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"format":{"b":1,"a":2},"#,
            r#""options":{"num_predict":9,"temperature":0.7,"top_p":0.9,"stop":["a","b"],"seed":7},"#,
            r#""think":"low","stream":true,"top_p":0.5,"new":[1, 2]}"#
        ),
    );
    let compatible = OPENAI_COMPATIBLE.encode(&request, "m").expect("can be said").body;
    assert!(String::from_utf8_lossy(&compatible).contains(r#""max_tokens":9"#));
    let mistral = profile("mistral").expect("known").format.encode(&request, "m").expect("can be said").body;
    assert!(!String::from_utf8_lossy(&mistral).contains("stream_options"));
}

#[test]
fn choices_of_tools_and_budgets() {
    let chosen = |choice: ToolChoice, parallel: Option<bool>| {
        let mut request = ChatRequest::new("").with_user("hi").with_tool(tool());
        request.tool_choice = choice;
        request.parallel_tool_calls = parallel;
        request
    };
    let member = |format: &dyn Format, request: &ChatRequest, name: &str| {
        let body = format.encode(request, "m").expect("can be said").body;
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        body[name].to_string()
    };
    for (choice, parallel, openai, anthropic) in [
        (ToolChoice::Auto, None, "null", "null"),
        (ToolChoice::Auto, Some(false), "null", r#"{"disable_parallel_tool_use":true,"type":"auto"}"#),
        (ToolChoice::None, Some(false), r#""none""#, r#"{"type":"none"}"#),
        (ToolChoice::Required, None, r#""required""#, r#"{"type":"any"}"#),
        (
            ToolChoice::Tool("f".into()),
            None,
            r#"{"function":{"name":"f"},"type":"function"}"#,
            r#"{"name":"f","type":"tool"}"#,
        ),
    ] {
        let request = chosen(choice, parallel);
        assert_eq!(member(&OPENAI_CHAT, &request, "tool_choice"), openai);
        assert_eq!(member(&ANTHROPIC_MESSAGES, &request, "tool_choice"), anthropic);
    }
    assert_eq!(member(&OPENAI_CHAT, &chosen(ToolChoice::Auto, Some(false)), "parallel_tool_calls"), "false");
    assert_eq!(member(&OLLAMA_CHAT, &chosen(ToolChoice::None, None), "tools"), "null");
    let kind = ErrorKind::Unsupported;
    let message = "tool_choice: the Ollama format cannot carry a demand for tools";
    refused(&OLLAMA_CHAT, &chosen(ToolChoice::Required, None), kind, message);

    let mut request = ChatRequest::new("").with_user("hi");
    request.reasoning_budget_tokens = Some(1000);
    assert_eq!(member(&ANTHROPIC_MESSAGES, &request, "max_tokens"), "9192");
    let qwen = profile("qwen").expect("known").format;
    assert_eq!(member(qwen, &request, "thinking_budget"), "1000");
    let openrouter = profile("openrouter").expect("known").format;
    assert_eq!(member(openrouter, &request, "reasoning"), r#"{"max_tokens":1000}"#);
    let mut both = request.clone();
    both.reasoning_effort = Some("high".into());
    assert_eq!(member(openrouter, &both, "reasoning_effort"), "null");
    let mut off = ChatRequest::new("").with_user("hi");
    off.reasoning_effort = Some("none".into());
    assert_eq!(
        (&*member(qwen, &off, "enable_thinking"), &*member(qwen, &off, "reasoning_effort")),
        ("false", "null")
    );
    assert_eq!(member(openrouter, &off, "reasoning_effort"), r#""none""#);
    off.reasoning_budget_tokens = Some(5000);
    let cohere = profile("cohere").expect("known").format;
    assert_eq!(
        (&*member(qwen, &off, "enable_thinking"), &*member(qwen, &off, "thinking_budget")),
        ("false", "null"),
        "not to think, whichever of the two says so"
    );
    assert_eq!(member(openrouter, &off, "reasoning"), r#"{"effort":"none"}"#);
    assert_eq!(member(cohere, &off, "thinking"), r#"{"type":"disabled"}"#);
    let config = member(&GEMINI, &off, "generationConfig");
    assert_eq!(config, r#"{"thinkingConfig":{"thinkingBudget":0}}"#);
    off.reasoning_budget_tokens = Some(0);
    assert_eq!(member(openrouter, &off, "reasoning"), r#"{"effort":"none"}"#);
    for (provider, has_schema) in [("deepseek", false), ("zai", false), ("zhipu", false), ("moonshot", true)]
    {
        let mut request = ChatRequest::new("").with_user("hi");
        request.response_format =
            ResponseFormat::JsonSchema { name: "n".into(), schema: JsonText::new(r#"{"type":"object"}"#) };
        let kind =
            profile(provider).expect("known").format.encode(&request, "m").map_err(|error| error.kind());
        assert_eq!(kind.as_ref().err(), (!has_schema).then_some(&ErrorKind::Unsupported), "{provider}");
    }
    let message =
        "reasoning_budget_tokens: the chat completions format cannot carry a budget (say reasoning_effort)";
    refused(&OPENAI_CHAT, &request, kind, message);
    let message = "reasoning_budget_tokens: the Ollama format cannot carry a budget (say reasoning_effort)";
    refused(&OLLAMA_CHAT, &request, kind, message);
}

#[test]
fn media() {
    let ask = |part: Part| {
        ChatRequest::new("").with_stream(false).with_message(Message::user("see").with_part(part))
    };
    let png = ask(Part::Image(Media::bytes("image/png", *b"png!")));
    let body = |content: &str, message_end: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":{content}{message_end}}}],"stream":false}}"#
        )
    };
    let text = r#"{"type":"text","text":"see"}"#;
    let image = r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,cG5nIQ=="}}"#;
    check(&OPENAI_CHAT, &png, &body(&format!("[{text},{image}]"), ""));
    check(&OLLAMA_CHAT, &png, &body("\"see\"", r#","images":["cG5nIQ=="]"#));
    let anthropic = |block: &str| {
        format!(
            r#"{{"model":"m","max_tokens":8192,"messages":[{{"role":"user","content":[{text},{block}]}}],"stream":false}}"#
        )
    };
    check(
        &ANTHROPIC_MESSAGES,
        &png,
        &anthropic(
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"cG5nIQ=="}}"#,
        ),
    );
    let url = ask(Part::Image(Media::url("https://example.org/a.png")));
    check(
        &ANTHROPIC_MESSAGES,
        &url,
        &anthropic(r#"{"type":"image","source":{"type":"url","url":"https://example.org/a.png"}}"#),
    );
    let unsupported = ErrorKind::Unsupported;
    let message = "messages[0].parts[1]: the Ollama format cannot carry a picture by address or file id";
    refused(&OLLAMA_CHAT, &url, unsupported, message);
    let wav = ask(Part::Audio(Media::bytes("audio/wav", *b"wav!")));
    let audio = r#"{"type":"input_audio","input_audio":{"data":"d2F2IQ==","format":"wav"}}"#;
    check(&OPENAI_CHAT, &wav, &body(&format!("[{text},{audio}]"), ""));
    let message = "messages[0].parts[1]: the Anthropic Messages format cannot carry such a part in a message of this role";
    refused(&ANTHROPIC_MESSAGES, &wav, unsupported, message);
    let mut paper = Media::bytes("", *b"%PDF-1.7");
    paper.name = Some("a.pdf".into());
    let pdf = ask(Part::File(paper));
    let file = r#"{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0xLjc="}}"#;
    check(&OPENAI_CHAT, &pdf, &body(&format!("[{text},{file}]"), ""));
    check(
        &ANTHROPIC_MESSAGES,
        &pdf,
        &anthropic(
            r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0xLjc="},"title":"a.pdf"}"#,
        ),
    );
    let nameless = ask(Part::Image(Media::bytes("", *b"?")));
    let message = "messages[0].parts[1]: bytes without a media type";
    refused(&OPENAI_CHAT, &nameless, ErrorKind::InvalidRequest, message);
}

#[test]
fn what_is_wrong_is_named_and_never_quoted() {
    let invalid = ErrorKind::InvalidRequest;
    for format in [&OPENAI_CHAT as &dyn Format, &ANTHROPIC_MESSAGES, &OLLAMA_CHAT] {
        let hi = || ChatRequest::new("").with_user("hi");
        refused(format, &ChatRequest::new(""), invalid, "messages: there are none");
        let error = format.encode(&hi(), "").expect_err("no model");
        assert_eq!(error.message(), "no model is named");
        refused(format, &hi().with_temperature(f32::NAN), invalid, "temperature is not a finite number");
        let bad = hi().with_tool(tool()).with_tool(Tool::new("g", "", "{private"));
        refused(format, &bad, invalid, "tools[1].parameters is not valid JSON");
        let mut bad = hi();
        bad.extra_body.push(("k".into(), JsonText::new("1 2")));
        refused(format, &bad, invalid, "extra_body \"k\" is not valid JSON");
        let mut bad = hi();
        bad.extra_headers.0.push(("x-a".into(), "private\n".into()));
        refused(format, &bad, invalid, "extra_headers \"x-a\": its value has forbidden characters");
    }
    let mut bad = ChatRequest::new("").with_user("hi");
    bad.tool_choice = ToolChoice::Required;
    refused(&OPENAI_CHAT, &bad, invalid, "tool_choice demands a tool, and there are none");
    refused(&ANTHROPIC_MESSAGES, &bad, invalid, "tool_choice demands a tool, and there are none");
    let call = Part::ToolCall(ToolCall::new("a", "f", "{\"cut"));
    let cut = ChatRequest::new("").with_message(Message::new(Role::Assistant, vec![call]));
    let message = "messages[0].parts[0]: the arguments are not valid JSON";
    refused(&ANTHROPIC_MESSAGES, &cut, invalid, message);
    refused(&OLLAMA_CHAT, &cut, invalid, message);
    let mut json = ChatRequest::new("").with_user("hi");
    json.response_format = ResponseFormat::JsonObject;
    let message = "response_format: the Anthropic Messages format cannot carry JSON without a schema";
    refused(&ANTHROPIC_MESSAGES, &json, ErrorKind::Unsupported, message);
}

#[test]
fn credentials_are_sensitive_and_never_shown() {
    for (format, name, value) in [
        (&OPENAI_CHAT as &dyn Format, "authorization", "Bearer sk-1"),
        (&ANTHROPIC_MESSAGES, "x-api-key", "sk-1"),
        (&OLLAMA_CHAT, "authorization", "Bearer sk-1"),
    ] {
        let mut headers = HeaderMap::new();
        format.authenticate(&Secret::new("sk-1\n"), &mut headers).expect("a good key");
        assert_eq!(headers[name], value);
        assert!(headers[name].is_sensitive() && !format!("{headers:?}").contains("sk-1"));
        for bad in ["sk 1", "sk\r\nx: y", "”sk-1”", ""] {
            let error = format.authenticate(&Secret::new(bad), &mut HeaderMap::new()).expect_err("a bad key");
            assert_eq!(error.kind(), ErrorKind::Authentication);
            assert!(!error.to_string().contains("sk") && !format!("{error:?}").contains("sk"), "{error:?}");
        }
    }
}

#[test]
fn listings_and_names() {
    let openai =
        br#"{"object":"list","data":[{"id":"a","owned_by":"o"},{"id":"b","max_model_len":4096},{"x":1}]}"#;
    let models = OPENAI_CHAT.decode_models(openai).expect("a listing");
    let seen: Vec<_> = models.iter().map(|m| (m.id.as_str(), m.owner.as_deref(), m.context_window)).collect();
    assert_eq!(seen, [("a", Some("o"), None), ("b", None, Some(4096))]);
    let tags = br#"{"models":[{"name":"qwen3:4b","model":"qwen3:4b","size":1}]}"#;
    assert_eq!(OLLAMA_CHAT.decode_models(tags).expect("a listing")[0].id, "qwen3:4b");
    assert_eq!(OPENAI_CHAT.decode_models(br#"[{"id":"bare"}]"#).expect("a listing")[0].id, "bare");
    for bad in [&b"nope"[..], b"{}", b"3"] {
        let error = OPENAI_CHAT.decode_models(bad).expect_err("no listing");
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }
    for name in format_names() {
        assert_eq!(by_name(name).map(Format::name), Some(name));
    }
    assert!(by_name("nope").is_none());
}
