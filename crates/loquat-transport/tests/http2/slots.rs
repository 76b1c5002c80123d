//! Which connection a request goes over: places for streams, how they are shared out, and what wears a connection out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use loquat_core::{Context, ErrorKind};
use loquat_transport::{Config, Http2Limits, Http2Mode, PoolConfig, Protocol};
use tokio::sync::Notify;

use crate::{
    http2, ok, say, serve,
    support::{
        eventually, get, post,
        script::{DATA, HEADERS, Step, answer, frame, head, play, reset},
        send, spawn_text, text, with,
    },
};

#[tokio::test]
async fn concurrent_requests_share_one_connection() {
    let both = Arc::new(tokio::sync::Barrier::new(20));
    let address = serve(
        |_| {},
        move |connection, stream, request, respond| {
            let both = Arc::clone(&both);
            async move {
                assert_eq!(request.uri().path_and_query().expect("path").as_str(), "/v1/chat?x=1");
                assert_eq!(request.headers().get("content-length").expect("length"), "5");
                assert!(request.headers().get("host").is_none());
                if stream < 20 {
                    both.wait().await; // answers nobody before all have asked
                }
                say(respond, &format!("connection {connection}"));
            }
        },
    )
    .await;
    let transport = http2();
    let tasks: Vec<_> = (0..20).map(|_| spawn_text(&transport, post(address))).collect();
    for task in tasks {
        assert_eq!(task.await.expect("task").expect("answered"), "connection 0");
    }
    let stats = transport.stats();
    assert_eq!((stats.http2_opened, stats.http2_open, stats.reused), (1, 1, 19));
    let response = send(&transport, post(address)).await.expect("head");
    assert_eq!(response.connection.protocol, Protocol::Http2);
    assert!(response.connection.reused);
}

#[tokio::test]
async fn a_peer_that_allows_one_stream_gets_a_connection_for_each() {
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let address = serve(
        |builder| {
            builder.max_concurrent_streams(1);
        },
        move |_, _, _, respond| {
            let both = Arc::clone(&both);
            async move {
                both.wait().await;
                say(respond, "hi");
            }
        },
    )
    .await;
    let transport = http2();
    for _ in 0..3 {
        let (one, two) = (spawn_text(&transport, post(address)), spawn_text(&transport, post(address)));
        assert_eq!(one.await.expect("task").expect("one"), "hi");
        assert_eq!(two.await.expect("task").expect("two"), "hi");
    }
    assert_eq!(transport.stats().http2_opened, 2);
}

#[tokio::test]
async fn waiters_take_the_slots_that_others_give_back() {
    let now = Arc::new(AtomicUsize::new(0));
    let address = serve(
        |builder| {
            builder.max_concurrent_streams(4);
        },
        move |_, _, _, respond| {
            let now = Arc::clone(&now);
            async move {
                assert!(now.fetch_add(1, SeqCst) < 8, "two connections with four streams each");
                tokio::time::sleep(Duration::from_millis(2)).await;
                now.fetch_sub(1, SeqCst);
                say(respond, "hi");
            }
        },
    )
    .await;
    let transport = with(
        Config::default()
            .with_http2(Http2Mode::PriorKnowledge)
            .with_pool(PoolConfig::default().with_max_connections_per_origin(2)),
    );
    let tasks: Vec<_> = (0..200).map(|_| spawn_text(&transport, post(address))).collect();
    for task in tasks {
        assert_eq!(task.await.expect("task").expect("answered"), "hi");
    }
    assert_eq!(transport.stats().http2_opened, 2);
}

#[tokio::test]
async fn a_thousand_cancels_are_spread_over_connections() {
    let address = serve(
        |_| {},
        |_, _, _, mut respond| async move {
            let Ok(mut stream) = respond.send_response(ok(), false) else { return };
            for _ in 0..50 {
                if stream.send_data(Bytes::from_static(b"token"), false).is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            let _ = stream.send_data(Bytes::new(), true);
        },
    )
    .await;
    let transport = http2();
    for _ in 0..1000 {
        let mut response = send(&transport, post(address)).await.expect("head");
        assert_eq!(response.body.chunk().await.expect("a chunk").expect("fine"), "token");
    }
    let stats = transport.stats();
    // Each serves 151 of them and drains: see `Http2Limits::max_resets`.
    assert_eq!((stats.http2_opened, stats.reused), (7, 993));
}

/// What `h2` itself resets, here answers that are shorter than they say, is counted as what is reset for other reasons; and where the
/// pool is told not to mind, the library does not end the connection with all that is on it either.
#[tokio::test]
async fn resets_by_the_library_are_counted_and_harm_no_neighbour() {
    const WRONG: usize = 1200;
    for (max_resets, opened) in [(150, 1 + (WRONG - 1) as u64 / 151), (usize::MAX, 1)] {
        let gate = Arc::new(Notify::new());
        let told = Arc::clone(&gate);
        let address = serve(
            |_| {},
            move |_, _, request, mut respond| {
                let gate = Arc::clone(&gate);
                async move {
                    if request.method() == http::Method::POST {
                        let wrong = http::Response::builder().header("content-length", "5").body(());
                        let Ok(mut stream) = respond.send_response(wrong.expect("valid"), false) else {
                            return;
                        };
                        let _ = stream.send_data(Bytes::from_static(b"hi"), true);
                        return;
                    }
                    let mut stream = respond.send_response(ok(), false).expect("open");
                    stream.send_data(Bytes::from_static(b"a "), false).expect("open");
                    gate.notified().await;
                    stream.send_data(Bytes::from_static(b"witness"), true).expect("open still");
                }
            },
        )
        .await;
        let mut limits = Http2Limits::default();
        limits.max_resets = max_resets;
        limits.resets_within = Duration::from_secs(600);
        let transport =
            with(Config::default().with_http2(Http2Mode::PriorKnowledge).with_http2_limits(limits));
        let witness = send(&transport, get(address)).await.expect("head");
        for _ in 0..WRONG {
            let error =
                text(send(&transport, post(address)).await.expect("head")).await.expect_err("too short");
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        }
        told.notify_one();
        assert_eq!(text(witness).await.expect("unharmed"), "a witness");
        assert_eq!(transport.stats().http2_opened, opened, "{max_resets}");
    }
}

#[tokio::test]
async fn a_connection_that_has_died_is_none_that_is_warm() {
    let peer = play(vec![vec![Step::Preface(None)], vec![Step::Preface(None), Step::Hold]]).await;
    let transport = http2();
    let (context, url) = (Context::new(), post(peer.address).url);
    assert_eq!(transport.warm(&context, &url, 1).await.expect("warmed"), 1);
    eventually("the server's close arrives", || transport.stats().http2_open == 0).await;
    assert_eq!(transport.warm(&context, &url, 1).await.expect("warmed again"), 1);
    assert_eq!(transport.warm(&context, &url, 1).await.expect("warm already"), 0);
}

/// A caller who has what it needs asks for no more: where that was the end, nothing is reset, and the connection serves on.
#[tokio::test]
async fn a_body_that_has_come_whole_is_dropped_without_a_reset() {
    let address = serve(
        |_| {},
        |_, _, _, mut respond| async move {
            let Ok(mut stream) = respond.send_response(ok(), false) else { return };
            let _ = stream.send_data(Bytes::from_static(b"whole"), true);
        },
    )
    .await;
    let transport = http2();
    for _ in 0..1000 {
        let mut response = send(&transport, post(address)).await.expect("head");
        assert_eq!(response.body.chunk().await.expect("a chunk").expect("fine"), "whole");
        assert!(!response.body.is_done());
    }
    let stats = transport.stats();
    assert_eq!((stats.http2_opened, stats.reused), (1, 999));
}

/// Two connections with room for two streams each: one of the first goes, and the only one of the second. Both have room then,
/// the first is looked at first, and the second has less to do.
#[tokio::test]
async fn the_least_loaded_connection_is_taken() {
    let hold = Arc::new(Notify::new());
    let address = serve(
        |builder| {
            builder.max_concurrent_streams(2);
        },
        move |_, _, _, mut respond| {
            let hold = Arc::clone(&hold);
            async move {
                let stream = respond.send_response(ok(), false);
                hold.notified().await; // nobody does
                drop(stream);
            }
        },
    )
    .await;
    let transport = http2();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(send(&transport, post(address)).await.expect("head"));
    }
    let at: Vec<_> = open.iter().map(|response| response.connection.local.expect("TCP")).collect();
    assert!(at[0] == at[1] && at[1] != at[2], "{at:?}");
    drop(open.pop());
    drop(open.pop());
    let next = send(&transport, post(address)).await.expect("head");
    assert_eq!(next.connection.local, Some(at[2]));
    assert_eq!(transport.stats().http2_opened, 2);
}

/// A warmed connection has reset nothing: where not one reset is allowed it is used all the same.
#[tokio::test]
async fn a_warmed_connection_is_there_for_the_first_request() {
    let address = serve(|_| {}, |_, _, _, respond| async move { say(respond, "hi") }).await;
    let mut limits = Http2Limits::default();
    limits.max_resets = 0;
    let transport = with(Config::default().with_http2(Http2Mode::PriorKnowledge).with_http2_limits(limits));
    let (context, url) = (Context::new(), post(address).url);
    assert_eq!(transport.warm(&context, &url, 1).await.expect("warmed"), 1);
    assert_eq!(transport.warm(&context, &url, 1).await.expect("warm already"), 0);
    assert_eq!(text(send(&transport, post(address)).await.expect("head")).await.expect("body"), "hi");
    let stats = transport.stats();
    assert_eq!((stats.http2_opened, stats.reused), (1, 1));
}

/// Nobody reads what came before the reset, nor hears of it; but it is the peer's, and nothing is reset here.
#[tokio::test]
async fn a_body_that_the_peer_has_reset_is_dropped_without_a_reset() {
    let streams = [1, 3, 5];
    let answers = streams.map(|stream| {
        let begun = [head(stream), frame(DATA, 0, stream, b"some"), frame(DATA, 0, stream, b"more")];
        [Step::Until(HEADERS, 1), Step::Write([begun.concat(), reset(stream, 8)].concat())]
    });
    let script = [Step::Preface(None)].into_iter().chain(answers.into_iter().flatten());
    let peer = play(vec![script.chain([Step::Hold]).collect()]).await;
    let mut limits = Http2Limits::default();
    limits.max_resets = 0;
    let transport = with(Config::default().with_http2(Http2Mode::PriorKnowledge).with_http2_limits(limits));
    for _ in streams {
        drop(send(&transport, post(peer.address)).await.expect("head"));
    }
    assert_eq!(peer.connections(), 1);
}

/// Each stream has a number that is used once (RFC 9113 §5.1.1). A peer can end them all at once: what is wrong with a stream that this
/// side has not begun is answered with a reset, and after that the library takes its number for used.
#[tokio::test]
async fn a_connection_without_a_number_left_for_a_stream_gives_way_to_another() {
    const LAST: u32 = (1 << 31) - 1;
    // A status behind a field (RFC 9113 §8.3), which is written out, without indexing.
    let malformed = frame(HEADERS, 4, LAST, &[0x00, 1, b'a', 1, b'b', 0x88]);
    let first = vec![
        Step::Preface(None),
        Step::Until(HEADERS, 1),
        Step::Write([malformed, answer(1, "the last")].concat()),
        Step::Hold,
    ];
    let second = vec![
        Step::Preface(None),
        Step::Until(HEADERS, 1),
        Step::Write(answer(1, "one")),
        Step::Until(HEADERS, 1),
        Step::Write(answer(3, "two")),
        Step::Hold,
    ];
    let peer = play(vec![first, second]).await;
    let transport = http2();
    for said in ["the last", "one", "two"] {
        let answered = send(&transport, post(peer.address)).await;
        assert_eq!(text(answered.expect("head")).await.expect("body"), said);
    }
    // Nothing was sent twice, and the first one is let go of.
    let stats = transport.stats();
    assert_eq!((peer.connections(), stats.http2_opened, stats.replaced), (2, 2, 0));
    eventually("the first is closed", || transport.stats().http2_open == 1).await;
}
