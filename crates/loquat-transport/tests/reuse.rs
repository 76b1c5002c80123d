//! Many requests from many callers to one origin open no more connections than they need: one per caller on HTTP/1.1, one
//! per so many streams as the peer allows on HTTP/2.
//!
//! `LOQUAT_REUSE_REQUESTS=100000` asks for more requests than a test that runs often should send.

mod support;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use loquat_transport::{Config, Http2Mode, PoolConfig, Stats};
use support::{listen, post, send, text, with, write};
use tokio::io::AsyncReadExt;

const CALLERS: u64 = 64;
/// What the HTTP/2 peer allows on one connection.
const STREAMS: u32 = 20;

fn requests() -> u64 {
    let set = std::env::var("LOQUAT_REUSE_REQUESTS").ok();
    set.map_or(3_200, |text| text.parse().expect("a number in LOQUAT_REUSE_REQUESTS"))
}

#[expect(clippy::print_stdout, reason = "the figures, for whoever asked for many requests")]
async fn after_many_requests(address: SocketAddr, mode: Http2Mode, body_bytes: usize) -> Stats {
    // A connection that lay idle for four seconds on a busy machine would be passed over, one of five minutes replaced: how fast
    // the test runs is not its subject.
    let pool = PoolConfig::default().with_reuse_within(Duration::from_secs(90)).with_max_age(None);
    let transport = with(Config::default().with_http2(mode).with_pool(pool));
    let callers = (0..CALLERS).map(|_| {
        let transport = transport.clone();
        tokio::spawn(async move {
            for _ in 0..requests() / CALLERS {
                let response = send(&transport, post(address)).await.expect("served");
                assert_eq!(text(response).await.expect("whole").len(), body_bytes);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no caller fails");
    }
    let stats = transport.stats();
    let (reused, hits) = (stats.reuse_ratio() * 100.0, stats.buffer_hit_ratio() * 100.0);
    println!("{} requests, {reused:.2} % reused, {hits:.2} % of buffers: {stats:?}", requests());
    stats
}

#[tokio::test]
async fn on_http1_each_caller_opens_one_connection_at_most() {
    http1(2).await;
}

/// A body that comes in many reads is as good a reason to keep the connection.
#[tokio::test]
async fn on_http1_a_long_body_keeps_its_connection() {
    http1(100 * 1024).await;
}

async fn http1(body_bytes: usize) {
    // Read by the piece: byte by byte, the peer would take longer than all callers together.
    let address = listen(move |_, mut socket| async move {
        let response =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {body_bytes}\r\n\r\n{}", "x".repeat(body_bytes));
        let mut buffer = [0; 4096];
        let mut read = Vec::new();
        loop {
            match socket.read(&mut buffer).await {
                Ok(bytes) if bytes > 0 => read.extend_from_slice(&buffer[..bytes]),
                _ => break,
            }
            if read.ends_with(b"\r\n\r\nhello") {
                read.clear();
                write(&mut socket, &response).await;
            }
        }
    })
    .await;
    let stats = after_many_requests(address, Http2Mode::Never, body_bytes).await;
    assert!(stats.http1_opened <= CALLERS, "{stats:?}");
    assert_eq!(stats.http1_opened + stats.reused, requests() / CALLERS * CALLERS);
    // Memory to read into is made for the thread, and for each of those whose bodies do not fit there.
    assert!(stats.reads >= requests() / CALLERS * CALLERS, "{stats:?}");
    assert!(stats.reads_reused < stats.reads && stats.buffer_hit_ratio() > 0.95, "{stats:?}");
    assert!(stats.reuse_ratio() >= 0.98, "{stats:?}");
}

#[tokio::test]
async fn on_http2_the_peers_limit_decides() {
    let address = listen(|_, socket| async move {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(STREAMS);
        let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut stream = respond.send_response(http::Response::new(()), false).expect("open");
            let _ = stream.send_data(Bytes::from_static(b"hi"), true);
        }
    })
    .await;
    let stats = after_many_requests(address, Http2Mode::PriorKnowledge, 2).await;
    assert!(stats.http2_opened <= CALLERS.div_ceil(u64::from(STREAMS)), "{stats:?}");
    assert!(stats.reuse_ratio() >= 0.98, "{stats:?}");
}
