//! Compressed bodies: prompt, whole or an error, and never larger than allowed.
#![cfg(feature = "decompress")]

mod support;

use std::time::Duration;

use compression_codecs::{
    BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder,
    brotli::params::EncoderParams,
    core::{
        Level,
        util::{PartialBuffer, WriteBuffer},
    },
};
use loquat_core::{Error, ErrorKind};
use loquat_transport::{Config, DecompressLimits, HeaderValue, Http2Mode, Response};
use support::{
    LONG, get, listen, read_request,
    script::{Step, play, say},
    send, text, transport, until_closed, with, write,
};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

fn encoder(coding: &str) -> Box<dyn EncodeV2 + Send> {
    match coding {
        "gzip" => Box::new(GzipEncoder::new(Level::Default.into())),
        "br" => Box::new(BrotliEncoder::new(EncoderParams::default().quality(Level::Fastest))),
        _ => Box::new(ZstdEncoder::new(3)),
    }
}

/// What an encoder makes of each piece, flushed, and of the end.
fn encode(coding: &str, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut encoder = encoder(coding);
    let mut memory = vec![0; 1 << 20];
    let mut encoded = Vec::new();
    for piece in pieces {
        let (mut input, mut made) = (PartialBuffer::new(*piece), Vec::new());
        let mut flushed = false;
        while !flushed {
            let mut output = WriteBuffer::new_initialized(&mut memory);
            if input.unwritten().is_empty() {
                flushed = encoder.flush(&mut output).expect("flushes");
            } else {
                encoder.encode(&mut input, &mut output).expect("encodes");
            }
            made.extend_from_slice(output.written());
        }
        encoded.push(made);
    }
    let (mut made, mut finished) = (Vec::new(), false);
    while !finished {
        let mut output = WriteBuffer::new_initialized(&mut memory);
        finished = encoder.finish(&mut output).expect("finishes");
        made.extend_from_slice(output.written());
    }
    encoded.push(made);
    encoded
}

fn whole(coding: &str, bytes: &[u8]) -> Vec<u8> {
    encode(coding, &[bytes]).concat()
}

fn response(coding: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn answered(config: Config, bytes: Vec<u8>) -> Response {
    let peer = play(vec![vec![Step::Request, Step::Write(bytes), Step::Hold]]).await;
    send(&with(config), get(peer.address)).await.expect("head")
}

/// All that came, and how it ended.
async fn read(mut response: Response) -> (usize, Result<(), Error>) {
    let mut bytes = 0;
    while let Some(chunk) = tokio::time::timeout(LONG, response.body.chunk()).await.expect("in time") {
        match chunk {
            Ok(chunk) => bytes += chunk.len(),
            Err(error) => return (bytes, Err(error)),
        }
    }
    (bytes, Ok(()))
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"abcdefghijklmnop"[(state >> 28) as usize]
    };
    (0..bytes).map(|_| next()).collect()
}

#[tokio::test]
async fn each_coding_is_asked_for_and_decoded_whatever_the_split() {
    for coding in CODINGS {
        let plain = noise(300_000);
        let body = whole(coding, &plain);
        let step = (body.len() / 40).max(1);
        let address = listen(move |_, mut socket| {
            let body = body.clone();
            async move {
                while let Some(asked) = read_request(&mut socket).await {
                    assert!(asked.contains("accept-encoding: gzip, br, zstd\r\n"), "{asked}");
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\n");
                    write(&mut socket, format!("{head}transfer-encoding: chunked\r\n\r\n")).await;
                    for piece in body.chunks(step) {
                        write(&mut socket, format!("{:x}\r\n", piece.len())).await;
                        write(&mut socket, piece).await;
                        write(&mut socket, "\r\n").await;
                        tokio::task::yield_now().await;
                    }
                    write(&mut socket, "0\r\n\r\n").await;
                }
            }
        })
        .await;
        let transport = transport();
        for _ in 0..3 {
            let response = send(&transport, get(address)).await.expect("head");
            assert!(response.headers.get("content-encoding").is_none());
            assert_eq!(text(response).await.expect("whole").as_bytes(), plain, "{coding}");
        }
        let stats = transport.stats();
        assert_eq!(stats.http1_opened, 1, "{coding}: the connection is kept");
        assert!(stats.buffers_reused >= 2, "{coding}: {stats:?}");
    }
}

#[tokio::test]
async fn events_come_as_they_are_flushed() {
    for coding in CODINGS {
        let events = ["data: one\n\n", "data: two\n\n", "data: three\n\n"];
        let pieces = encode(coding, &events.map(str::as_bytes));
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel::<()>();
        let next = std::sync::Arc::new(tokio::sync::Notify::new());
        let go = std::sync::Arc::clone(&next);
        let address = listen(move |_, mut socket| {
            let (pieces, go, tell) = (pieces.clone(), std::sync::Arc::clone(&go), tell.clone());
            async move {
                read_request(&mut socket).await;
                write(&mut socket, format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\n\r\n")).await;
                for piece in pieces {
                    write(&mut socket, piece).await;
                    // Not a byte more before the event is out.
                    go.notified().await;
                }
                let _ = tell.send(());
            }
        })
        .await;
        let mut response = send(&transport(), get(address)).await.expect("head");
        for event in events {
            let mut seen = Vec::new();
            while seen.len() < event.len() {
                let chunk = tokio::time::timeout(LONG, response.body.chunk()).await.expect("at once");
                seen.extend_from_slice(&chunk.expect("more").expect("fine"));
            }
            assert_eq!(seen, event.as_bytes(), "{coding}");
            next.notify_one();
        }
        next.notify_one();
        told.recv().await;
        assert!(response.body.chunk().await.is_none(), "{coding}");
        assert!(response.body.is_done());
    }
}

#[tokio::test]
async fn cut_damaged_and_followed_bodies_are_errors() {
    for coding in CODINGS {
        let plain = noise(100_000);
        let fine = whole(coding, &plain);
        let cut = fine[..fine.len() - 5].to_vec();
        let half = fine[..fine.len() / 2].to_vec();
        let mut damaged = fine.clone();
        damaged[..40].fill(0xff);
        let followed = [&fine[..], b"<html>"].concat();
        for (what, body, kind) in [
            ("cut", cut, ErrorKind::Truncated),
            ("half", half, ErrorKind::Truncated),
            ("damaged", damaged, ErrorKind::Protocol),
            ("followed", followed, ErrorKind::Protocol),
        ] {
            let (bytes, end) = read(answered(Config::default(), response(coding, &body)).await).await;
            let error = end.expect_err(what);
            assert_eq!(error.kind(), kind, "{coding}, {what}, after {bytes} bytes: {error}");
            assert!(bytes <= plain.len());
        }
        let (bytes, end) = read(answered(Config::default(), response(coding, &[])).await).await;
        assert_eq!((bytes, end.is_ok()), (0, true), "{coding}: a response without a body");
    }
}

#[tokio::test]
async fn streams_that_follow_each_other_are_one_body() {
    for coding in ["gzip", "zstd"] {
        let body = [whole(coding, b"one, "), whole(coding, b"two")].concat();
        let response = answered(Config::default(), response(coding, &body)).await;
        assert_eq!(text(response).await.expect("whole"), "one, two", "{coding}");
    }
}

/// 24 MiB of blanks in 100 KB and less: cut off early, with little in memory.
#[tokio::test]
async fn a_bomb_is_cut_off() {
    let blanks = vec![b' '; 24 << 20];
    for coding in CODINGS {
        let bomb = whole(coding, &blanks);
        for (config, says, most) in [
            (Config::default(), "max_ratio", 20 << 20),
            (
                Config::default().with_decompress(
                    DecompressLimits::default().with_max_ratio(u32::MAX).with_max_bytes(100_000),
                ),
                "max_bytes",
                100_000,
            ),
        ] {
            let mut response = answered(config, response(coding, &bomb)).await;
            let (mut bytes, mut largest) = (0, 0);
            let error = loop {
                match response.body.chunk().await.expect("an end") {
                    Ok(chunk) => (bytes, largest) = (bytes + chunk.len(), largest.max(chunk.len())),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{coding}: {error}");
            assert!(error.message().contains(says), "{coding}: {error}");
            assert!(bytes <= most && largest <= 32 * 1024, "{coding}: {bytes}, in pieces of {largest}");
            assert!(response.body.chunk().await.is_none());
        }
    }
}

#[tokio::test]
async fn a_caller_who_chose_gets_what_came() {
    let body = whole("gzip", b"hi");
    let bytes = response("gzip", &body);
    for (name, value) in [("accept-encoding", "gzip"), ("range", "bytes=0-")] {
        let peer = play(vec![vec![Step::Request, Step::Write(bytes.clone()), Step::Hold]]).await;
        let mut request = get(peer.address);
        request.headers.insert(name, HeaderValue::from_static(value));
        let response = send(&transport(), request).await.expect("head");
        assert_eq!(response.headers.get("content-encoding").expect("kept"), "gzip");
        assert_eq!(response.body.collect(1000).await.expect("whole"), body);
    }
    let config = Config::default().with_decompress(DecompressLimits::disabled());
    let address = listen(|_, mut socket| async move {
        let asked = read_request(&mut socket).await.expect("a request");
        assert!(!asked.contains("accept-encoding"), "{asked}");
        write(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
        until_closed(&mut socket).await;
    })
    .await;
    assert_eq!(text(send(&with(config), get(address)).await.expect("head")).await.expect("body"), "hi");
    // Codings nobody knows, and more than one, come as they are.
    for coding in ["rot13", "gzip, br"] {
        let response = answered(Config::default(), response(coding, b"hi")).await;
        assert_eq!(response.headers.get("content-encoding").expect("kept"), coding);
        assert_eq!(text(response).await.expect("whole"), "hi");
    }
}

#[tokio::test]
async fn http2_bodies_are_decoded_too() {
    let body = whole("zstd", b"hello");
    let frames = [
        // :status 200, content-encoding (static name 26): zstd
        support::script::frame(1, 4, 1, &[&[0x88, 0x0f, 11, 4][..], b"zstd"].concat()),
        support::script::frame(0, 1, 1, &body),
    ];
    let script = vec![Step::Preface(None), Step::Until(1, 1), Step::Write(frames.concat()), Step::Hold];
    let peer = play(vec![script]).await;
    let transport = with(Config::default().with_http2(Http2Mode::PriorKnowledge));
    assert_eq!(text(send(&transport, get(peer.address)).await.expect("head")).await.expect("body"), "hello");
}

#[tokio::test]
async fn finishing_early_keeps_the_connection_where_the_end_is_near() {
    let pieces = encode("gzip", &[b"data: [DONE]\n\n"]);
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    let end = [chunk(&pieces[1]), b"0\r\n\r\n".to_vec()].concat();
    let first = [vec![Step::Request, say(head), Step::Write(chunk(&pieces[0]))], vec![Step::Write(end)]];
    let again = vec![Step::Request, say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"), Step::Hold];
    let peer = play(vec![[first.concat(), again].concat()]).await;
    let transport = transport();
    let mut response = send(&transport, get(peer.address)).await.expect("head");
    assert_eq!(response.body.chunk().await.expect("some").expect("fine"), "data: [DONE]\n\n");
    response.body.finish();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(text(send(&transport, get(peer.address)).await.expect("head")).await.expect("body"), "hi");
}
