//! Fields after the body, on both protocols.

mod support;

use std::time::Duration;

use loquat_core::ErrorKind;
use loquat_transport::{Body, Bytes, Config, Http2Mode, Transport};
use support::{
    get,
    script::{DATA, HEADERS, Step, frame, head, play, say},
    send, transport, with,
};

async fn read(body: &mut Body) -> Result<Vec<Bytes>, loquat_core::Error> {
    let mut chunks = Vec::new();
    while let Some(chunk) = body.chunk().await {
        assert!(body.trailers().is_none() || body.is_done());
        chunks.push(chunk?);
    }
    Ok(chunks)
}

fn checksum(body: &Body) -> Option<&str> {
    body.trailers()?.get("x-checksum")?.to_str().ok()
}

fn http2() -> Transport {
    with(Config::default().with_http2(Http2Mode::PriorKnowledge))
}

/// Literal field without indexing (RFC 7541 §6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).expect("short"));
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

#[tokio::test]
async fn chunked_trailers_are_there_after_the_end_and_the_connection_is_kept() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-checksum\r\n\r\n";
    let first = vec![Step::Request, say(head), say("2\r\nhi\r\n"), Step::Wait(Duration::from_millis(20))];
    let second =
        vec![say("0\r\nx-checksum: abc\r\n\r\n"), Step::Request, say(head), say("0\r\n\r\n"), Step::Hold];
    let peer = play(vec![[first, second].concat()]).await;
    let transport = transport();
    let mut response = send(&transport, get(peer.address)).await.expect("head");
    assert_eq!(read(&mut response.body).await.expect("whole"), ["hi"]);
    assert_eq!(checksum(&response.body), Some("abc"));
    let mut response = send(&transport, get(peer.address)).await.expect("head");
    assert!(read(&mut response.body).await.expect("whole").is_empty());
    assert_eq!(checksum(&response.body), None, "those of another body");
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn http2_trailers_are_there_after_the_end() {
    let trailers = frame(HEADERS, 4 | 1, 1, &field("x-checksum", "abc"));
    let script = vec![Step::Preface(None), Step::Until(HEADERS, 1), Step::Write(head(1))];
    let rest = vec![Step::Write([frame(DATA, 0, 1, b"hi"), trailers].concat()), Step::Hold];
    let peer = play(vec![[script, rest].concat()]).await;
    let mut response = send(&http2(), get(peer.address)).await.expect("head");
    assert_eq!(read(&mut response.body).await.expect("whole"), ["hi"]);
    assert_eq!(checksum(&response.body), Some("abc"));
}

#[tokio::test]
async fn trailers_are_bounded() {
    let long = format!("x-long: {}\r\n", "x".repeat(1000)).repeat(100);
    let many = "x: y\r\n".repeat(1000);
    for trailers in [long, many] {
        let start = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n";
        let peer = play(vec![vec![Step::Request, say(start), say(&trailers), Step::Hold]]).await;
        let mut response = send(&transport(), get(peer.address)).await.expect("head");
        let error = read(&mut response.body).await.expect_err("too much");
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(response.body.trailers().is_none());
    }
    // HTTP/2 leaves out what does not fit: one field of 20 KB, in a HEADERS frame and its continuation, past a limit of 8 KiB.
    let piece =
        frame(HEADERS, 1, 1, &[&[0, 1, b'x', 0x7f][..], &[0xa1, 0x9b, 0x01], &[b'y'; 10_000]].concat());
    let rest = frame(9, 4, 1, &[b'y'; 10_000]);
    let script = vec![Step::Preface(None), Step::Until(HEADERS, 1), Step::Write(head(1))];
    let peer = play(vec![[script, vec![Step::Write([piece, rest].concat()), Step::Hold]].concat()]).await;
    let limits = loquat_transport::HeadLimits::default().with_max_bytes(8192);
    let config = Config::default().with_http2(Http2Mode::PriorKnowledge).with_head(limits);
    let mut response = send(&with(config), get(peer.address)).await.expect("head");
    assert!(read(&mut response.body).await.expect("whole").is_empty());
    assert!(response.body.trailers().is_none_or(|fields| fields.is_empty()));
}
