//! The official clients for Python and JavaScript and ours, pointed at one recording server: their requests are equal field by field.
//! The Python that has the clients is named by LOQUAT_CLIENTS_PYTHON, the folder of node's modules by LOQUAT_CLIENTS_NODE, which
//! `cargo xtask test` sets.
//!
//! Equal is the whole JSON body, the path, and the content type. Where a provider takes two spellings for one thing (`"content":"hi"`
//! and a list with one text in it) the Python case is written in ours. Not compared are titles in schemas, which pydantic makes of
//! names and no provider reads; and in which of its two headers Anthropic is sent the key, and which version of its API is named: its
//! client says `authorization` and the version that its own types are of, we what the recordings were made with.
#![cfg(all(feature = "client", feature = "tools"))]

use std::{collections::BTreeMap, path::Path, process::Command, sync::Arc};

use loquat::{
    CacheHint, ChatRequest, Client, Context, Message, Model, Part, Role, Tool, ToolCall, ToolResult,
    core::{EmbedRequest, Media, Reasoning, ToolChoice},
    provider::operations::{BatchItem, FileUpload},
};
use loquat_client::HttpModel;
use loquat_testing::{RecordedRequest, Reply, Server};
use serde_json::Value;

const PARAMETERS: &str = r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}"#;
const PIXEL: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];

#[tokio::test]
async fn requests_equal_those_of_the_official_clients() {
    let Some(python) = std::env::var_os("LOQUAT_CLIENTS_PYTHON") else {
        eprintln!("skipped: LOQUAT_CLIENTS_PYTHON does not name a Python with the official clients");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/official_clients.py");
    let mut command = Command::new(python);
    command.arg(script);
    compare(command).await;
}

#[tokio::test]
async fn requests_equal_those_of_the_official_clients_in_javascript() {
    let Some(modules) = std::env::var_os("LOQUAT_CLIENTS_NODE") else {
        eprintln!(
            "skipped: LOQUAT_CLIENTS_NODE does not name a folder with the official clients as node_modules"
        );
        return;
    };
    // Modules are looked for beside the script and above it, so it is put where they are.
    let script = Path::new(&modules).join("official_clients.mjs");
    std::fs::write(&script, include_str!("official_clients.mjs")).expect("a folder of ours");
    let mut command = Command::new("node");
    command.arg(script);
    compare(command).await;
}

/// What that program sends, and what we do.
async fn compare(mut program: Command) {
    let server = Server::start([Reply::json("{}".to_owned())]).await.expect("a port");
    program.arg(server.base_url()).env_remove("OPENAI_API_KEY");
    let run = tokio::task::spawn_blocking(move || program.output().expect("it can be started"));
    let output = run.await.expect("no panic");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaints}");
    let names: Vec<&str> = said.lines().collect();
    let theirs = server.requests();
    assert_eq!(names.len(), theirs.len(), "a request for each case: {complaints}");
    let theirs: BTreeMap<&str, RecordedRequest> = names.into_iter().zip(theirs).collect();
    assert_eq!(theirs.len(), CASES, "no case was forgotten");
    let mut wrong = Vec::new();
    for (name, theirs) in &theirs {
        let mine = Server::start([Reply::json("{}".to_owned())]).await.expect("a port");
        ask(name, &mine).await;
        let requests = mine.requests();
        let ours = requests.first().unwrap_or_else(|| panic!("{name}: nothing was sent"));
        differences(name, ours, theirs, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const CASES: usize = 15;

/// Sends our request of that case; what is answered is no answer, and is of no interest.
async fn ask(name: &str, server: &Server) {
    let context = Context::new();
    let prefix = match name.split('-').next() {
        Some("responses") => "openai-responses:",
        Some("messages") => "anthropic:",
        _ => "openai:",
    };
    let client = Client::builder()
        .base_url(format!("{}/v1", server.base_url()))
        .base_url_key("key")
        .build()
        .expect("valid");
    let model: HttpModel = client.endpoint(&format!("{prefix}m")).expect("a model");
    match name {
        "messages-count" => drop(model.count_tokens(&context, &request(name)).await),
        "embeddings" => drop(model.embed(&context, &EmbedRequest::new(["a", "b"])).await),
        "files" => {
            drop(model.upload_file(&context, &FileUpload::new("a.txt", "text/plain", "abc")).await);
        }
        "batch" => {
            let batch = loquat::provider::operations::encode_batch(
                &loquat::provider::OPENAI_CHAT,
                &[],
                "m",
                Some("file-1"),
            );
            drop(model.call(&context, batch.expect("a batch")).await);
        }
        "messages-batch" => {
            let item = BatchItem::new("one", ChatRequest::new("").with_user("hi").with_max_output_tokens(5));
            drop(model.start_batch(&context, &[item]).await);
        }
        name => drop(model.infer(&context, Arc::new(request(name))).await),
    }
}

fn request(name: &str) -> ChatRequest {
    let mut request = ChatRequest::new("").with_stream(name == "chat-stream");
    if name.starts_with("messages") {
        request.max_output_tokens = (name != "messages-count").then_some(100);
    }
    if name.ends_with("-plain") || name == "messages-count" {
        request = request.with_system("be brief");
    }
    match name {
        "chat-plain" => {
            request.temperature = Some(0.5);
            request.top_p = Some(0.25);
            request.max_output_tokens = Some(9);
            request.stop = vec!["a".to_owned(), "b".to_owned()];
            request.seed = Some(7);
            request.choices = Some(2);
            request.top_logprobs = Some(3);
            request.reasoning_effort = Some("low".to_owned());
            let mut cache = CacheHint::default();
            cache.key = Some("k".to_owned());
            request.cache = cache;
        }
        "responses-plain" => {
            request.temperature = Some(0.5);
            request.max_output_tokens = Some(20);
            request.reasoning_effort = Some("low".to_owned());
        }
        "messages-plain" => {
            request.temperature = Some(0.5);
            request.top_p = Some(0.25);
            request.stop = vec!["a".to_owned()];
        }
        _ => {}
    }
    match name {
        "chat-tools" | "responses-tools" | "messages-tools" => with_tools(name, request),
        "chat-image" | "messages-image" => {
            let mut message =
                Message::user("what is this?").with_part(Part::Image(Media::bytes("image/png", PIXEL)));
            if name == "chat-image" {
                let mut linked = Media::url("https://example.com/a.png");
                linked.media_type = "image/png".to_owned();
                message = message.with_part(Part::Image(linked));
            }
            request.with_message(message)
        }
        "chat-structured" => {
            #[derive(serde::Deserialize, loquat::schemars::JsonSchema)]
            #[schemars(crate = "loquat::schemars")]
            #[allow(dead_code, reason = "its schema is what counts")]
            struct Place {
                name: String,
                people: i64,
            }
            request.response_format = loquat::tools::response_format::<Place>();
            request.with_user("where?")
        }
        _ => request.with_user("hi"),
    }
}

fn with_tools(name: &str, request: ChatRequest) -> ChatRequest {
    let mut tool = Tool::new("weather", "The weather.", PARAMETERS);
    let oslo = ToolCall::new("c1", "weather", r#"{"city":"Oslo"}"#);
    let rome = ToolCall::new("c2", "weather", r#"{"city":"Rome"}"#);
    let mut asked = Message::new(Role::Assistant, Vec::new());
    if name == "messages-tools" {
        asked = asked.with_part(Part::Reasoning(Reasoning::new("hm").with_signature("seal")));
    }
    asked = asked.with_part(Part::ToolCall(oslo.clone()));
    if name == "chat-tools" {
        asked = asked.with_part(Part::ToolCall(rome.clone()));
    }
    let mut request = request
        .with_user("weather?")
        .with_message(asked)
        .with_message(Message::tool(ToolResult::new(&oslo, "rain")));
    match name {
        "chat-tools" => {
            request = request.with_message(Message::tool(ToolResult::new(&rome, "sun")));
            request.parallel_tool_calls = Some(true);
            request.tool_choice = ToolChoice::Tool("weather".to_owned());
        }
        "responses-tools" => {
            tool.strict = Some(true);
            request.tool_choice = ToolChoice::Required;
        }
        _ => request.tool_choice = ToolChoice::Tool("weather".to_owned()),
    }
    request.with_tool(tool)
}

/// Where the two say something else.
fn differences(name: &str, ours: &RecordedRequest, theirs: &RecordedRequest, wrong: &mut Vec<String>) {
    let line = |request: &RecordedRequest| format!("{} {}", request.method, request.path);
    if line(ours) != line(theirs) {
        wrong.push(format!("{name}: ours asks {}, theirs {}", line(ours), line(theirs)));
    }
    for headers in [&["authorization", "x-api-key"][..], &["anthropic-version"], &["content-type"]] {
        let of = |request: &RecordedRequest| {
            let is_one = |known: &str| headers.iter().any(|header| known.eq_ignore_ascii_case(header));
            let value = request.headers.iter().find(|(known, _)| is_one(known)).map(|(_, value)| value);
            // A form's boundary is its sender's own.
            let is_type = headers == ["content-type"];
            value.map(|value| value.split(';').next().filter(|_| is_type).unwrap_or_default().to_owned())
        };
        if of(ours) != of(theirs) {
            wrong.push(format!("{name}: {headers:?}: ours {:?}, theirs {:?}", of(ours), of(theirs)));
        }
    }
    match (&ours.body, &theirs.body) {
        (Value::String(ours), Value::String(theirs)) => {
            if form(ours) != form(theirs) {
                wrong.push(format!("{name}: ours {:?}, theirs {:?}", form(ours), form(theirs)));
            }
        }
        (ours, theirs) => fields(name, "", ours, theirs, wrong),
    }
}

/// The parts of a form: their headers, sorted, and their content.
fn form(body: &str) -> Vec<(Vec<String>, String)> {
    let boundary = body.lines().next().unwrap_or_default();
    let parts = body.split(boundary).filter_map(|part| part.trim_start().split_once("\r\n\r\n"));
    let mut parts: Vec<_> = parts
        .map(|(head, content)| {
            let mut headers: Vec<String> = head.lines().map(str::to_lowercase).collect();
            headers.sort();
            (headers, content.trim_end().to_owned())
        })
        .collect();
    parts.sort();
    parts
}

fn fields(name: &str, at: &str, ours: &Value, theirs: &Value, wrong: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let all = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
            for key in all.filter(|key| !(*key == "title" && at.contains("/schema"))) {
                let null = Value::Null;
                let (ours, theirs) = (ours.get(key).unwrap_or(&null), theirs.get(key).unwrap_or(&null));
                fields(name, &format!("{at}/{key}"), ours, theirs, wrong);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                fields(name, &format!("{at}/{index}"), ours, theirs, wrong);
            }
        }
        (ours, theirs) if ours != theirs => wrong.push(format!("{name}{at}: ours {ours}, theirs {theirs}")),
        _ => {}
    }
}
