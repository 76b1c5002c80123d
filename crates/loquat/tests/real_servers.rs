//! Servers that are not ours take every body that ours encode, and what they answer ends `Finished`.
//!
//! - llama.cpp: chat completions, Responses, Messages and legacy completions, each whole and streamed, with system text, stop words,
//!   seed, sampling, tools, a forced call, an earlier call with its result, a schema. `cargo xtask peers up llama` starts it; its base
//!   URL is then given as LOQUAT_LLAMA_URL.
//! - aimock, a mock server in JavaScript: the same in six formats. The folder of node's modules with it is named by
//!   LOQUAT_CLIENTS_NODE, which `cargo xtask test` sets.
#![cfg(all(feature = "client", feature = "tools"))]
#![allow(clippy::print_stdout, reason = "what was asked and answered is what a person runs it for")]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use loquat::{
    ChatRequest, Client, Context, Message, Model, Part, Response, Role, Tool, ToolCall, ToolResult,
    core::{Delivery, JsonText, ResponseFormat, ToolChoice},
};

const PARAMETERS: &str = r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}"#;
const PLACE: &str = r#"{"type":"object","properties":{"name":{"type":"string"},"people":{"type":"integer"}},"required":["name","people"],"additionalProperties":false}"#;

/// What is asked, and what must be true of the answer.
type Case = (&'static str, fn(ChatRequest) -> ChatRequest, fn(&Response) -> bool);

const CASES: &[Case] = &[
    ("plain", |request| request.with_system("be brief").with_user("hello"), says_something),
    (
        "sampling",
        |mut request| {
            request.temperature = Some(0.5);
            request.top_p = Some(0.9);
            request.seed = Some(7);
            request.stop = vec![".".to_owned(), "\n".to_owned()];
            request.with_user("hello")
        },
        |_| true,
    ),
    (
        "a forced call",
        |mut request| {
            request.tool_choice = ToolChoice::Required;
            request.with_tool(weather()).with_user("weather in Oslo?")
        },
        |answer| {
            let calls: Vec<_> = answer.tool_calls().collect();
            let is_sound = |call: &&ToolCall| {
                call.name == "weather" && serde_json::from_str::<serde_json::Value>(&call.arguments).is_ok()
            };
            !calls.is_empty() && calls.iter().all(is_sound)
        },
    ),
    (
        "after a call",
        |request| {
            let call = ToolCall::new("c1", "weather", r#"{"city":"Oslo"}"#);
            let asked = Message::new(Role::Assistant, Vec::new()).with_part(Part::ToolCall(call.clone()));
            request
                .with_tool(weather())
                .with_user("weather in Oslo?")
                .with_message(asked)
                .with_message(Message::tool(ToolResult::new(&call, "rain")))
                .with_user("hello")
        },
        |_| true,
    ),
    (
        "schema",
        |mut request| {
            request.response_format =
                ResponseFormat::JsonSchema { name: "place".to_owned(), schema: JsonText::new(PLACE) };
            request.with_user("hello, where?")
        },
        |_| true,
    ),
];

/// What a format has no words for: refused before anything is sent, and not left out in silence.
const UNSAYABLE: &[(&str, &str)] = &[("openai-responses:m", "sampling"), ("ollama:m", "a forced call")];

fn weather() -> Tool {
    Tool::new("weather", "The weather.", PARAMETERS)
}

fn says_something(answer: &Response) -> bool {
    !answer.text().is_empty()
}

/// Asks that, whole and streamed; says what is wrong.
async fn ask(base: &str, model: &str, (name, make, holds): &Case, wrong: &mut Vec<String>) {
    let client = Client::builder().base_url(base).base_url_key("key").build().expect("valid");
    let endpoint = client.endpoint(model).expect("a model");
    for stream in [false, true] {
        let request = make(ChatRequest::new("").with_stream(stream).with_max_output_tokens(48));
        let context = Context::new().with_timeout(Duration::from_secs(600));
        let answer = match endpoint.infer(&context, Arc::new(request)).await {
            Ok(answer) => answer.collect().await,
            Err(error) => Err(error),
        };
        let what = format!("{model} {name}{}", if stream { ", streamed" } else { "" });
        let is_unsayable = UNSAYABLE.contains(&(model, name));
        match answer {
            Ok(_) if is_unsayable => wrong.push(format!("{what}: it was left out")),
            Err(error) if is_unsayable && error.delivery() == Delivery::NotSent => {
                println!("{what}: {error}");
            }
            Ok(answer) if holds(&answer) => println!("{what}: {:?}", answer.text()),
            Ok(answer) => wrong.push(format!("{what}: {answer:?} {:?}", answer.text())),
            Err(error) => wrong.push(format!("{what}: {error}")),
        }
    }
}

/// All that was wrong, of these formats. Legacy completions carry text only.
async fn ask_all(cases: &[Case], bases: &[(&str, String)]) {
    let mut wrong = Vec::new();
    for (model, base) in bases {
        let cases = cases
            .iter()
            .filter(|(name, ..)| !model.starts_with("openai-completions:") || *name == "sampling");
        for case in cases {
            ask(base, model, case, &mut wrong).await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn llama_cpp_takes_every_body() {
    let Ok(url) = std::env::var("LOQUAT_LLAMA_URL") else {
        println!("skipped: LOQUAT_LLAMA_URL does not say where llama.cpp's server is");
        return;
    };
    let models = ["openai:m", "openai-responses:m", "anthropic:m", "openai-completions:m"];
    // What so small a model makes of a demand is its own affair.
    let cases: Vec<Case> =
        CASES.iter().map(|(name, make, _)| (*name, *make, (|_| true) as fn(&Response) -> bool)).collect();
    ask_all(&cases, &models.map(|model| (model, url.clone()))).await;
}

/// The mock server, ended when this is dropped.
struct Mock {
    process: std::process::Child,
    url: String,
}

impl Mock {
    fn start(modules: &Path) -> Self {
        let fixtures = std::env::temp_dir().join(format!("loquat-aimock-{}", std::process::id()));
        std::fs::create_dir_all(&fixtures).expect("a folder of ours");
        let call = r#"{"match":{"userMessage":"weather"},"response":{"toolCalls":[{"name":"weather","arguments":"{\"city\":\"Oslo\"}"}]}}"#;
        let text = r#"{"match":{"userMessage":"hello"},"response":{"content":"Hi there, loquat"}}"#;
        let all = format!(r#"{{"fixtures":[{call},{text}]}}"#);
        std::fs::write(fixtures.join("all.json"), all).expect("a folder of ours");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
        let port = port.expect("a free port").port();
        let mut process = Command::new("node")
            .arg(modules.join("node_modules/.bin/llmock"))
            .args(["--host", "127.0.0.1", "-p", &port.to_string(), "-f"])
            .arg(&fixtures)
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let mut said = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(said.read_line(&mut line).is_ok_and(|bytes| bytes > 0), "it ended before it listened");
        }
        // Who does not read what it says stops it when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { process, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[tokio::test]
async fn a_mock_server_takes_every_format() {
    let Some(modules) = std::env::var_os("LOQUAT_CLIENTS_NODE") else {
        println!("skipped: LOQUAT_CLIENTS_NODE does not name a folder with aimock among node's modules");
        return;
    };
    let mock = Mock::start(Path::new(&modules));
    let bases = [
        ("openai:m", "/v1"),
        ("openai-responses:m", "/v1"),
        ("anthropic:m", "/v1"),
        ("gemini:m", "/v1beta"),
        ("ollama:m", ""),
        ("cohere:m", ""),
    ];
    ask_all(CASES, &bases.map(|(model, path)| (model, format!("{}{path}", mock.url)))).await;
}
