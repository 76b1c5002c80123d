//! Planted words (a key, a prompt, an answer, a provider's message) are in nothing that goes out, whichever way.
#![cfg(feature = "otlp")]

#[path = "common/collector.rs"]
mod collector;
mod common;

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use collector::Collector;
use common::drain;
use loquat_core::{
    ChatRequest, Context, Error, ErrorKind, Message, Model, OwnedDelta, Secret, ToolCall, test_util::Scripted,
};
use loquat_observe::{
    CallTrace, Keep, Observer, ObserverBuilder, Place, Sampling, TextFormat,
    export::{ExportConfig, Exporter},
    serve::{Server, ServerConfig},
    top::{Address, Look, fetch},
};

const PLANTED: &str = "planted-7f3a";

#[derive(Default)]
struct Kept(Mutex<Vec<Arc<CallTrace>>>);

impl Keep for Kept {
    fn keep(&self, call: &Arc<CallTrace>) {
        self.0.lock().expect("not poisoned").push(call.clone());
    }
}

fn planted(what: &str) -> String {
    format!("{PLANTED} {what}")
}

/// Everything a caller and a provider may say, with planted words in it.
fn request() -> ChatRequest {
    let mut request = ChatRequest::new("gpt-5").with_user(planted("question"));
    request.messages.push(Message::system(planted("instructions")));
    request.stop.push(planted("stop"));
    request.extra_headers.0.push(("authorization".into(), planted("header")));
    request
}

fn server() -> Scripted {
    let text = OwnedDelta::Text { choice: 0, text: planted("answer") };
    let call = OwnedDelta::ToolCall { choice: 0, call: 0, id: "id".into(), name: "lookup".into() };
    let arguments = ToolCall::new("id", "lookup", planted("arguments")).arguments;
    let arguments = OwnedDelta::ToolArguments { choice: 0, call: 0, fragment: arguments };
    let refused = Error::new(ErrorKind::InvalidRequest, planted("message"))
        .with_status(400)
        .with_code(planted("code"))
        .with_parameter(planted("parameter"))
        .with_raw_body(PLANTED.as_bytes())
        .with_source(std::io::Error::other(planted("cause")));
    let broken = OwnedDelta::End(loquat_core::Ending::Failed(refused.clone()));
    Scripted::new()
        .then(Ok(vec![text.clone(), call, arguments]))
        .then(Err(refused))
        .then(Ok(vec![text.clone(), broken]))
        .then(Ok(vec![text]))
}

/// What goes out over everything that something goes out by, when all is kept.
async fn shown(builder: ObserverBuilder) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("calls.jsonl");
    let collector = Collector::start();
    let config = || ExportConfig::new("tested").with_header("api-key", Secret::new(planted("collector")));
    let otlp = Exporter::otlp_http(&collector.endpoint(), config()).expect("an exporter");
    let lines = Exporter::json_lines(&file, config()).expect("an exporter");
    let kept = Arc::new(Kept::default());
    let observer = builder
        .sampling(Sampling::all())
        .keep(kept.clone())
        .export(otlp.clone())
        .export(lines.clone())
        .build();
    let token = Secret::new(planted("token"));
    let config = ServerConfig::default().with_debug().with_token(token.clone());
    let diagnostics = Server::bind(&observer, ([127, 0, 0, 1], 0).into(), config).expect("listens");

    let place = Place::new("openai", "gpt-5")
        .with_base_url(&format!("https://user:{PLANTED}@api.example/v1?key={PLANTED}"));
    let model = observer.operation(observer.attempt(server(), place.clone()), place);
    let context = Context::new().with_tenant(planted("tenant"));
    drain(model.infer(&context, Arc::new(request())).await.expect("answered")).await;
    assert!(ask_again(&model).await.is_err());
    drain(ask_again(&model).await.expect("answered")).await;
    let mut live = ask_again(&model).await.expect("answered");
    assert!(live.next().await.is_some());

    let address: Address = diagnostics.address().expect("TCP").to_string().parse().expect("an address");
    let page = |path: &str| fetch(&address, path, Some(&token), Duration::from_secs(10)).expect("a page");
    let mut shown = vec![
        page("/metrics"),
        page("/debug/streams"),
        page("/debug/tasks"),
        page("/debug/contention"),
        page("/debug/runtime"),
        page("/"),
    ];
    shown.push(Look::parse(&shown[0]).since(&Look::default(), Duration::from_secs(1), 200));
    shown.push(observer.metrics(TextFormat::OpenMetrics));
    shown.push(format!("{observer:?} {otlp:?} {diagnostics:?} {model:?} {:?}", observer.streams()));
    let refused = fetch(&address, "/metrics", Some(&Secret::new("another")), Duration::from_secs(10));
    shown.push(format!("{refused:?}"));

    drop(live);
    assert!(otlp.flush(Duration::from_secs(60)) && lines.flush(Duration::from_secs(60)));
    assert_eq!((otlp.exported(), lines.exported()), (4, 4));
    for path in ["/v1/traces", "/v1/metrics"] {
        let body = collector.bodies(path).concat();
        assert!(!body.is_empty(), "{path}");
        shown.push(String::from_utf8_lossy(&body).into_owned());
    }
    shown.push(fs::read_to_string(&file).expect("written"));
    let calls = kept.0.lock().expect("not poisoned").clone();
    shown.extend(calls.iter().map(|call| format!("{call:?}\n{}", call.waterfall(200))));
    fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/shown.txt"), shown.join("\n")).expect("written");
    shown
}

#[tokio::test]
async fn planted_words_go_nowhere() {
    for text in shown(Observer::builder()).await {
        assert!(!text.contains(PLANTED), "{text}");
    }
}

/// The same where content is captured: what a rule finds is nowhere, and neither is what is no content (headers, tokens, the
/// provider's messages, the tenant); the rest is, and only with spans.
#[cfg(feature = "capture")]
#[tokio::test]
async fn with_content_captured_what_a_rule_finds_goes_nowhere() {
    use loquat_observe::Capture;

    let patterned = Capture::new().with_pattern("planted-[0-9a-f]{4}").expect("a pattern");
    let told = Capture::new().with_secret(PLANTED);
    for capture in [patterned, told] {
        let shown = shown(Observer::builder().capture(capture)).await;
        let mut with_content = 0;
        for text in shown {
            assert!(!text.contains(PLANTED), "{text}");
            for alien in
                [" header", " stop", " message", " code", " parameter", " cause", " tenant", " token"]
            {
                assert!(!text.contains(&format!("[redacted]{alien}")), "{alien}: {text}");
            }
            with_content += usize::from(text.contains("[redacted] question"));
        }
        assert_eq!(with_content, 2, "spans to the collector and lines in the file");
    }
}

async fn ask_again(model: &impl Model) -> loquat_core::Result<loquat_core::Answer> {
    model.infer(&Context::new(), Arc::new(request())).await
}
