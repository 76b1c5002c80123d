//! More callers than an origin has places: who waits longest comes first, and what a caller who left was given goes to the next.

mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use loquat_core::{Context, Delivery, ErrorKind};
use loquat_transport::{Config, Http2Mode, PoolConfig, Transport};
use support::{
    eventually, listen, post, read_request,
    script::{
        DATA, END, HEADERS, RST_STREAM, STATUS_200, Step, answer, frame, head, max_streams, play, reset,
    },
    send, spawn_text, text, with, write,
};
use tokio::sync::{Notify, Semaphore};

/// One connection at most.
fn bounded() -> Config {
    Config::default().with_pool(PoolConfig::default().with_max_connections_per_origin(1))
}

/// A server of HTTP/1.1 that answers when it is allowed to, as often as it is.
async fn answering(allowed: &Arc<Semaphore>) -> SocketAddr {
    let allowed = Arc::clone(allowed);
    listen(move |_, mut socket| {
        let allowed = Arc::clone(&allowed);
        async move {
            while read_request(&mut socket).await.is_some() {
                allowed.acquire().await.expect("open").forget();
                write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            }
        }
    })
    .await
}

/// A server of HTTP/2 that serves one stream at a time.
async fn one_stream_at_a_time() -> SocketAddr {
    listen(|_, socket| async move {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1);
        let Ok(mut connection) = builder.handshake::<_, bytes::Bytes>(socket).await else { return };
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let Ok(mut stream) = respond.send_response(http::Response::new(()), false) else { return };
            let _ = stream.send_data(bytes::Bytes::from_static(b"hi"), true);
        }
    })
    .await
}

/// On one thread, where who ends a request and begins the next is always there before those who are only told.
#[tokio::test]
async fn callers_who_come_again_at_once_leave_their_turn_to_those_who_wait() {
    const ROUNDS: usize = 50;
    const CALLERS: usize = 5;
    let http1 = answering(&Arc::new(Semaphore::new(1_000_000))).await;
    let prior = bounded().with_http2(Http2Mode::PriorKnowledge);
    for (transport, address) in [(with(bounded()), http1), (with(prior), one_stream_at_a_time().await)] {
        text(send(&transport, post(address)).await.expect("first")).await.expect("body");
        let rounds: Arc<[AtomicUsize; CALLERS]> = Arc::default();
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (transport, rounds) = (transport.clone(), Arc::clone(&rounds));
                tokio::spawn(async move {
                    for round in 0..ROUNDS {
                        let response = send(&transport, post(address)).await.expect("answered");
                        text(response).await.expect("body");
                        rounds[caller].store(round + 1, SeqCst);
                        let least = rounds.iter().map(|rounds| rounds.load(SeqCst)).min().expect("some");
                        assert!(round <= least + 1, "{caller} is at {round}, another at {least}");
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("served in turn");
        }
        let stats = transport.stats();
        assert_eq!(stats.http1_opened + stats.http2_opened, 1);
    }
}

#[tokio::test]
async fn what_a_caller_who_left_was_given_goes_to_the_next() {
    let allowed = Arc::new(Semaphore::new(0));
    let address = answering(&allowed).await;
    let transport = with(bounded());
    let first = spawn_text(&transport, post(address));
    eventually("the first is under way", || transport.stats().http1_open == 1).await;

    // One leaves while it waits, one right after it was given the connection: this task is not polled in between.
    let mut leaves = Box::pin(send(&transport, post(address)));
    let mut late = Box::pin(send(&transport, post(address)));
    for waiter in [&mut leaves, &mut late] {
        assert!(tokio::time::timeout(Duration::from_millis(20), waiter).await.is_err(), "no place");
    }
    let last = spawn_text(&transport, post(address));
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(leaves);
    allowed.add_permits(2);
    assert_eq!(first.await.expect("task").expect("first"), "hi");
    assert!(!last.is_finished(), "the one that came late has it");
    drop(late);
    assert_eq!(last.await.expect("task").expect("last"), "hi");
    assert_eq!(transport.stats().http1_opened, 1);
}

/// One that says so at the beginning, refuses what came before that was read, and takes it back later.
#[tokio::test]
async fn a_peer_that_allows_no_stream_for_a_while_is_waited_for() {
    let peer = play(vec![vec![
        Step::Preface(Some(0)),
        Step::Until(HEADERS, 1),
        Step::Write(frame(RST_STREAM, 0, 1, &7_u32.to_be_bytes())),
        Step::Wait(Duration::from_millis(100)),
        Step::Write(max_streams(10)),
        Step::Until(HEADERS, 1),
        Step::Write(frame(HEADERS, 4 | END, 3, STATUS_200)),
        Step::Hold,
    ]])
    .await;
    let transport: Transport = with(Config::default().with_http2(Http2Mode::PriorKnowledge));
    let response = send(&transport, post(peer.address)).await.expect("answered");
    assert_eq!(text(response).await.expect("body"), "");
    assert_eq!(peer.connections(), 1);
}

/// Refused by each that it tries, which say so only when its stream is on the way, it waits on as the others do.
#[tokio::test]
async fn who_tries_a_peer_that_pauses_for_the_others_does_not_fail_by_that() {
    let refuses = [Step::Preface(Some(0)), Step::Until(HEADERS, 1), Step::Write(reset(1, 7))];
    let goes_on = [
        Step::Wait(Duration::from_millis(100)),
        Step::Write(max_streams(10)),
        Step::Until(HEADERS, 1),
        Step::Write(answer(3, "hi")),
        Step::Hold,
    ];
    let peer = play(vec![[&refuses[..], &[Step::Hold]].concat(), [&refuses[..], &goes_on].concat()]).await;
    let transport: Transport = with(Config::default().with_http2(Http2Mode::PriorKnowledge));
    let context = Context::new().with_timeout(Duration::from_secs(10));
    let response = transport.send(&context, post(peer.address)).await.expect("answered");
    assert_eq!(text(response).await.expect("body"), "hi");
    assert_eq!((peer.connections(), transport.stats().replaced), (2, 2));
}

/// As backends do behind one name when they are replaced: what is under way ends there, and others take what is new.
#[tokio::test]
async fn those_who_pause_with_streams_under_way_are_not_waited_for_where_another_takes_some() {
    let pauses = Arc::new(Notify::new());
    let draining = vec![
        Step::Preface(Some(1)),
        Step::Until(HEADERS, 1),
        Step::Write(head(1)),
        Step::Gate(Arc::clone(&pauses)),
        Step::Write([max_streams(0), frame(DATA, 0, 1, b"x")].concat()),
        Step::Hold,
    ];
    let taking =
        vec![Step::Preface(Some(100)), Step::Until(HEADERS, 1), Step::Write(answer(1, "hi")), Step::Hold];
    let peer = play(vec![draining.clone(), draining, taking]).await;
    let transport: Transport = with(Config::default().with_http2(Http2Mode::PriorKnowledge));
    let mut under_way = Vec::new();
    for _ in 0..2 {
        under_way.push(send(&transport, post(peer.address)).await.expect("head"));
    }
    for response in &mut under_way {
        pauses.notify_one();
        assert_eq!(response.body.chunk().await.expect("a chunk").expect("fine"), "x");
    }
    let context = Context::new().with_timeout(Duration::from_secs(10));
    let response = transport.send(&context, post(peer.address)).await.expect("the third takes it");
    assert_eq!(text(response).await.expect("body"), "hi");
    assert_eq!(peer.connections(), 3);
}

/// One that has streams under way and takes no more, on this connection and on each that is made since. All who come wait, within their
/// own time, and are served once it goes on.
#[tokio::test]
async fn a_peer_that_pauses_is_not_asked_by_ever_more_connections() {
    const CALLERS: u32 = 40;
    let (pauses, goes_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let answers: Vec<_> = (0..CALLERS).flat_map(|caller| answer(2 * caller + 3, "hi")).collect();
    let peer = play(vec![
        vec![
            Step::Preface(Some(100)),
            Step::Until(HEADERS, 1),
            Step::Write(head(1)),
            Step::Gate(Arc::clone(&pauses)),
            Step::Write([max_streams(0), frame(DATA, 0, 1, b"x")].concat()),
            Step::Gate(Arc::clone(&goes_on)),
            Step::Write(max_streams(100)),
            Step::Until(HEADERS, CALLERS as usize),
            Step::Write(answers),
            Step::Hold,
        ],
        vec![
            Step::Preface(Some(0)),
            Step::Until(HEADERS, 1),
            Step::Write(reset(1, 7)), // it was under way before the SETTINGS were read
            Step::Hold,
        ],
    ])
    .await;
    let transport: Transport = with(Config::default().with_http2(Http2Mode::PriorKnowledge));
    let mut first = send(&transport, post(peer.address)).await.expect("head");
    pauses.notify_one();
    assert_eq!(first.body.chunk().await.expect("a chunk").expect("fine"), "x");

    let callers: Vec<_> = (0..CALLERS).map(|_| spawn_text(&transport, post(peer.address))).collect();
    eventually("another connection is tried", || peer.connections() == 2).await;
    let hurried = Context::new().with_timeout(Duration::from_millis(100));
    let error = transport.send(&hurried, post(peer.address)).await.map(|_| ()).expect_err("no time");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent));
    goes_on.notify_one();
    for caller in callers {
        assert_eq!(caller.await.expect("task").expect("served"), "hi");
    }
    assert_eq!(peer.connections(), 2);
}
