//! A program records against a peer, and later runs against the recording: the same answers, and no credential in the file.

use std::sync::Arc;

use loquat_client::HttpModel;
use loquat_core::{ChatRequest, Context, Endpoint, ErrorKind, Model, Response, Result};
use loquat_provider::OPENAI_CHAT;
use loquat_testing::{Cassette, Fault, Gate, Recorder, Reply, Scrubber, Server};
use loquat_transport::{Config, Transport};

const KEY: &str = "a-planted-credential";
const HELLO: [&str; 3] = [
    r#"{"choices":[{"delta":{"content":"hel"}}]}"#,
    r#"{"choices":[{"delta":{"content":"lo, your key is a-planted-credential"},"finish_reason":"stop"}]}"#,
    "[DONE]",
];

fn transport() -> Transport {
    Transport::new(Config::default()).expect("a default transport")
}

async fn ask(base_url: &str, words: &str) -> Result<Response> {
    let endpoint = Endpoint::new("test", format!("{base_url}/v1"), "m").with_credential(KEY);
    let model = HttpModel::new(transport(), &OPENAI_CHAT, endpoint)?;
    let request = Arc::new(ChatRequest::new("m").with_user(words));
    model.infer(&Context::new(), request).await?.collect().await
}

#[tokio::test]
async fn what_was_recorded_is_replayed_without_its_credentials() {
    let cut = Reply::events(HELLO).with_fault(Fault::Cut { after: 60 });
    let limited = Reply::refusal(429, r#"{"error":{"message":"slow down"}}"#).with_header("retry-after", "7");
    let peer = Server::start([Reply::events(HELLO), cut, limited]).await.expect("a port");
    let recorder = Recorder::start(transport(), peer.base_url(), Scrubber::new()).await.expect("a port");
    let mut live = Vec::new();
    for words in ["one", "two", "three"] {
        live.push(ask(&recorder.base_url(), words).await);
    }
    assert!(live[0].as_ref().is_ok_and(|response| response.text().starts_with("hello, your key")));

    let folder = std::env::temp_dir().join(format!("loquat-cassette-{}", std::process::id()));
    recorder.cassette().save(&folder).expect("writable");
    let text = std::fs::read_to_string(&folder).expect("written");
    assert!(!text.contains("planted"), "{text}");
    let cassette = Cassette::load(&folder).expect("readable");
    std::fs::write(&folder, text.replace("\"loquat_cassette\": 1", "\"loquat_cassette\": 99"))
        .expect("writable");
    let refused = Cassette::load(&folder).expect_err("a version nobody knows").to_string();
    assert!(refused.contains("99"), "{refused}");
    std::fs::remove_file(&folder).expect("there");

    let server = Server::replay(cassette).await.expect("a port");
    let unknown = ask(&server.base_url(), "four").await.expect_err("never recorded");
    assert!(unknown.message().contains("no exchange with this body"), "{unknown}");
    for (words, live) in ["two", "one", "three"].into_iter().zip([&live[1], &live[0], &live[2]]) {
        let replayed = ask(&server.base_url(), words).await;
        match (live, &replayed) {
            (Ok(live), Ok(replayed)) => assert_eq!(live.text().len(), replayed.text().len()),
            (Err(live), Err(replayed)) => {
                assert_eq!((live.kind(), live.retry_hint()), (replayed.kind(), replayed.retry_hint()));
                assert_eq!(live.partial().is_some(), replayed.partial().is_some());
            }
            other => panic!("{words}: {other:?}"),
        }
    }
    assert!(server.requests().iter().all(|request| !format!("{request:?}").contains("planted")));
}

#[tokio::test]
async fn faults_come_where_they_are_told_to() {
    let first = format!("data: {}\n\n", HELLO[0]).len();
    for (fault, kind) in [
        (Fault::Cut { after: first }, ErrorKind::Truncated),
        (Fault::End { after: first }, ErrorKind::Truncated),
        (
            Fault::Insert { after: first, bytes: b"data: {\"error\":{\"message\":\"x\"}}\n\n".to_vec() },
            ErrorKind::Server,
        ),
        (Fault::Insert { after: first, bytes: b"data: {\"choi\n\n".to_vec() }, ErrorKind::Protocol),
        (Fault::NoReply, ErrorKind::Connection),
    ] {
        let shown = format!("{fault:?}");
        let server = Server::start([Reply::events(HELLO).with_fault(fault)]).await.expect("a port");
        let error = ask(&server.base_url(), "hi").await.expect_err(&shown);
        assert_eq!(error.kind(), kind, "{shown}: {error:?}");
    }
    let gate = Gate::new();
    let stalled = Reply::events(HELLO).with_fault(Fault::Stall { after: first, gate: gate.clone() });
    let server = Server::start([stalled]).await.expect("a port");
    let base_url = server.base_url();
    let asking = tokio::spawn(async move { ask(&base_url, "hi").await });
    while server.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!asking.is_finished());
    gate.open();
    assert!(asking.await.expect("no panic").is_ok());
}
