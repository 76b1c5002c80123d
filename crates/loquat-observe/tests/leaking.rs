//! Components that leak on purpose: what `cargo xtask test` looks for has to be found when it is there. It runs each of these by itself,
//! looks through what it printed and left, and fails where nothing is found.
//!
//! In an ordinary run, without `LOQUAT_LEAKS`, they do the same with a word that nobody looks for.
#![cfg(all(feature = "otlp", feature = "capture"))]
#![allow(clippy::print_stderr, clippy::panic, reason = "that is how one leaks")]

mod common;

use std::{path::Path, sync::Arc, thread, time::Duration};

use common::{drain, finished, place};
use loquat_core::{ChatRequest, Context, Error, ErrorKind, Model, Secret, test_util::Scripted};
use loquat_observe::{
    CallTrace, Capture, Keep, Observer, ObserverBuilder, Sampling,
    export::{ExportConfig, Exporter},
};

/// What is leaked.
fn word() -> &'static str {
    if std::env::var_os("LOQUAT_LEAKS").is_some() { "planted" } else { "harmless" }
}

/// One call of a model that answers and one that is refused, watched so.
async fn call(builder: ObserverBuilder) {
    let refused = Error::new(ErrorKind::InvalidRequest, word()).with_status(400);
    let server = Scripted::new().then(Ok(finished(&[word()], 1, 1))).then(Err(refused));
    let model = builder.sampling(Sampling::all()).build().operation(server, place());
    let request = Arc::new(ChatRequest::new("gpt-5").with_user(word()));
    drain(model.infer(&Context::new(), request.clone()).await.expect("answered")).await;
    if let Err(error) = model.infer(&Context::new(), request).await {
        drop(error);
    }
}

/// Somebody who prints what is captured, to have a look.
struct Careless;

impl Keep for Careless {
    fn keep(&self, call: &Arc<CallTrace>) {
        if let Some(content) = &call.content {
            eprintln!("[debug] answered: {}", content.output_messages());
        }
    }
}

#[tokio::test]
async fn a_keeper_prints_what_was_answered() {
    call(Observer::builder().capture(Capture::new()).keep(Arc::new(Careless))).await;
}

/// Content that goes where it was asked for, without a rule that would strike it out.
#[tokio::test]
async fn lines_of_json_hold_what_was_asked() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("leaking.jsonl");
    let lines = Exporter::json_lines(&file, ExportConfig::new("tested")).expect("an exporter");
    call(Observer::builder().capture(Capture::new()).export(lines.clone())).await;
    assert!(lines.flush(Duration::from_secs(60)));
    assert!(std::fs::read_to_string(&file).expect("written").contains(word()));
}

/// A credential in a message of a panic, in a thread that nobody joins.
#[test]
fn a_panic_says_a_key() {
    let key = Secret::new(format!("sk-{}", word()));
    let panics = thread::spawn(move || panic!("401 with {}", key.expose()));
    assert!(panics.join().is_err());
}

/// The same disguised, as it stands in a header of HTTP.
#[test]
fn a_header_is_printed_in_base64() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    eprintln!("authorization: Basic {}", STANDARD.encode(format!("{}:key", word())));
}
