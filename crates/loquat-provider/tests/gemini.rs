//! Gemini: what its responses mean, what a request becomes.

mod support;

use loquat_core::{
    ChatRequest, Message, Opaque, Part, Reasoning, Role, Tool, ToolCall, ToolChoice, ToolResult,
};
use loquat_provider::{Format, GEMINI};
use support::{JSON, SSE, check};

#[test]
fn text_thoughts_and_seals() {
    check(
        &GEMINI,
        SSE,
        concat!(
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hm\",\"thought\":true}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"g\",\"responseId\":\"r\"}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"},{\"text\":\"\",\"thoughtSignature\":\"S\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":2,\"thoughtsTokenCount\":5,\"cachedContentTokenCount\":1,\"toolUsePromptTokenCount\":4}}\n\n",
        ),
        &[
            "start: r g",
            "reasoning: hm",
            "text: hi",
            "signature: S",
            "choice end: stop",
            "finished: stop in=7 out=7 read=1 thought=5",
        ],
    );
}

#[test]
fn a_terminal_word_of_another_format() {
    let hi = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]},\"finishReason\":\"STOP\"}]}\n\n";
    check(
        &GEMINI,
        SSE,
        &format!("{hi}data: [DONE]\n\n"),
        &["text: hi", "choice end: stop", "finished: stop"],
    );
    // Usage alone is no answer.
    check(
        &GEMINI,
        JSON,
        r#"{"usageMetadata":{"promptTokenCount":3},"modelVersion":"g"}"#,
        &[
            "start:  g",
            "failed: Protocol the body ended without an answer in it (content type \"application/json\")",
        ],
    );
}

#[test]
fn parallel_calls_of_one_event_all_come_out() {
    check(
        &GEMINI,
        SSE,
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\":1}},\"thoughtSignature\":\"S\"},{\"functionCall\":{\"name\":\"f\",\"args\":{}}},{\"functionCall\":{\"name\":\"g\"}}]},\"finishReason\":\"STOP\"}],\"responseId\":\"r\"}\n\n",
        &[
            "start: r ",
            "call: 0 r-0 f",
            "arguments 0: {\"a\":1}",
            "seal 0: S",
            "call: 1 r-1 f",
            "arguments 1: {}",
            "call: 2 r-2 g",
            "arguments 2: {}",
            "choice end: tool_calls",
            "finished: tool_calls",
        ],
    );
}

#[test]
fn arguments_in_pieces() {
    check(
        &GEMINI,
        SSE,
        concat!(
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"willContinue\":true}}]}}]}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"partialArgs\":[{\"jsonPath\":\"$.a[0]\",\"stringValue\":\"x\",\"willContinue\":true}],\"willContinue\":true}}]}}]}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"partialArgs\":[{\"jsonPath\":\"$.a[0]\",\"stringValue\":\"y\"},{\"jsonPath\":\"$.n\",\"numberValue\":2}],\"willContinue\":true}}]}}]}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{}}]},\"finishReason\":\"STOP\"}]}\n\n",
        ),
        &[
            "call: 0 call_0 f",
            "arguments 0: {\"a\":[\"xy\"],\"n\":2}",
            "choice end: tool_calls",
            "finished: tool_calls",
        ],
    );
}

#[test]
fn a_list_of_events_is_a_stream() {
    check(
        &GEMINI,
        JSON,
        "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"responseId\":\"r\"}\n,\r\n{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"b\"}]},\"finishReason\":2}]}]",
        &["start: r ", "text: ab", "choice end: length", "finished: length"],
    );
    check(
        &GEMINI,
        JSON,
        "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}]",
        &["text: a", "truncated"],
    );
    check(
        &GEMINI,
        JSON,
        "[{\"error\":{\"code\":503,\"message\":\"busy\",\"status\":\"UNAVAILABLE\"}}]",
        &["failed: Overloaded busy"],
    );
}

#[test]
fn code_that_the_server_ran_and_media_stay_in_their_place() {
    check(
        &GEMINI,
        JSON,
        "{\"candidates\":[{\"content\":{\"parts\":[{\"executableCode\":{\"code\":\"1\"},\"thoughtSignature\":\"S\"},{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"AQI=\"}},{\"new\":1}]},\"finishReason\":\"STOP\",\"citationMetadata\":{\"citationSources\":[1]}}]}",
        &[
            "opaque: gemini {\"executableCode\":{\"code\":\"1\"},\"thoughtSignature\":\"S\"}",
            "media: image/png [1, 2]",
            "opaque: gemini {\"new\":1}",
            "detail: citations {\"citationSources\":[1]}",
            "choice end: stop",
            "finished: stop",
        ],
    );
}

#[test]
fn a_refused_prompt_is_no_answer() {
    check(
        &GEMINI,
        SSE,
        "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"modelVersion\":\"g\"}\n\n",
        &[
            "start:  g",
            "detail: safety {\"blockReason\":\"SAFETY\"}",
            "failed: ContentFiltered the provider refused the prompt",
        ],
    );
    // Nor is it one if a list of candidates stands beside the refusal that has none in it.
    check(
        &GEMINI,
        JSON,
        r#"{"candidates":[],"promptFeedback":{"blockReason":"SAFETY"},"responseId":"r","modelVersion":"g"}"#,
        &[
            "start: r g",
            "detail: safety {\"blockReason\":\"SAFETY\"}",
            "failed: ContentFiltered the provider refused the prompt",
        ],
    );
}

fn body(request: &ChatRequest) -> String {
    String::from_utf8(GEMINI.encode(request, "g").expect("a valid request").body).expect("JSON is UTF-8")
}

#[test]
fn what_came_goes_back_where_it_came() {
    let mut call = ToolCall::new("1", "f", "{\"a\":1}");
    call.signature = Some("S1".into());
    let mut request = ChatRequest::new("g").with_system("be brief").with_user("hi");
    request.messages.push(Message::new(
        Role::Assistant,
        vec![
            Part::Reasoning(Reasoning::new("hm")),
            Part::Text("hello".into()),
            Part::Reasoning(Reasoning::default().with_signature("S2")),
            Part::Opaque(Opaque::new("gemini", "{\"executableCode\": {}}")),
            Part::Opaque(Opaque::new("another", "{}")),
            Part::ToolCall(call.clone()),
        ],
    ));
    request.messages.push(Message::tool(ToolResult::new(&call, "5")));
    request.tools.push(Tool::new("f", "does f", "{\"type\":\"object\"}"));
    request.tool_choice = ToolChoice::Tool("f".into());
    request.max_output_tokens = Some(9);
    request.reasoning_budget_tokens = Some(64);
    assert_eq!(
        body(&request),
        concat!(
            r#"{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]},"#,
            r#"{"role":"model","parts":[{"text":"hm","thought":true},{"text":"hello","thoughtSignature":"S2"},"#,
            r#"{"executableCode": {}},{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"S1"}]},"#,
            r#"{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"result":"5"}}}]}],"#,
            r#""tools":[{"functionDeclarations":[{"name":"f","description":"does f","parametersJsonSchema":{"type":"object"}}]}],"#,
            r#""toolConfig":{"functionCallingConfig":{"allowedFunctionNames":["f"],"mode":"ANY"}},"#,
            r#""generationConfig":{"maxOutputTokens":9,"thinkingConfig":{"includeThoughts":true,"thinkingBudget":64}}}"#,
        )
    );
}

#[test]
fn the_path_names_model_and_method() {
    let path = |stream, model| {
        GEMINI.encode(&ChatRequest::new("").with_user("x").with_stream(stream), model).expect("valid").path
    };
    assert_eq!(path(true, "gemini-2.5-flash"), "models/gemini-2.5-flash:streamGenerateContent?alt=sse");
    assert_eq!(path(false, "tunedModels/my model"), "tunedModels/my%20model:generateContent");
}

#[test]
fn a_listing_gives_names_to_ask_for() {
    let models = GEMINI
        .decode_models(br#"{"models":[{"name":"models/gemini-2.5-flash","inputTokenLimit":1048576}]}"#)
        .expect("a listing");
    assert_eq!((models[0].id.as_str(), models[0].context_window), ("gemini-2.5-flash", Some(1_048_576)));
}
