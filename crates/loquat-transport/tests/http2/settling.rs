//! Peers of which it is not known how many streams they take: those that never say it, and what becomes of those who wait for them.

use std::time::{Duration, Instant};

use loquat_core::{Context, Delivery, Error, ErrorKind};
use loquat_transport::{Config, Http2Limits, Http2Mode, Transport};

use crate::{
    say, serve,
    support::{
        LONG, eventually, get, post,
        script::{HEADERS, Step, answer, play},
        send, spawn_text, text, with,
    },
};

const SHORT: Duration = Duration::from_millis(200);

fn impatient() -> Transport {
    let limits = Http2Limits::default().with_settings_timeout(SHORT);
    with(Config::default().with_http2(Http2Mode::PriorKnowledge).with_http2_limits(limits))
}

fn assert_told(error: &Error, delivery: Delivery) {
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, delivery), "{error}");
    assert!(error.message().contains("no SETTINGS within 0.20 s (settings_timeout)"), "{error}");
}

/// One request is on each connection that is tried, and may have arrived. After two of them the others know, too.
#[tokio::test]
async fn who_waits_for_settings_that_never_come_is_told_so_and_other_origins_are_not_touched() {
    let silent = play(vec![vec![Step::Hold]]).await;
    let alive = serve(|_| {}, |_, _, _, respond| async move { say(respond, "alive") }).await;
    let transport = impatient();
    assert_eq!(text(send(&transport, get(alive)).await.expect("head")).await.expect("body"), "alive");
    let begin = Instant::now();
    let waiting: Vec<_> = (0..8).map(|_| spawn_text(&transport, post(silent.address))).collect();
    eventually("it is connected to", || silent.connections() == 1).await;
    assert_eq!(text(send(&transport, get(alive)).await.expect("head")).await.expect("body"), "alive");
    let mut told = [0, 0];
    for one in waiting {
        let error = one.await.expect("no panic").expect_err("it says nothing");
        let was_sent = error.delivery() == Delivery::MaybeSent;
        told[usize::from(was_sent)] += 1;
        assert_told(&error, if was_sent { Delivery::MaybeSent } else { Delivery::NotSent });
        // It names where, and which wait that was.
        assert!(error.message().contains(&silent.address.to_string()), "{error}");
    }
    assert_eq!((told, silent.connections()), ([6, 2], 2));
    assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
    // Nothing is left of them, and what was open there is open still.
    eventually("they are closed", || transport.stats().http2_open == 1).await;
    assert_eq!(text(send(&transport, get(alive)).await.expect("head")).await.expect("body"), "alive");
    assert_eq!(transport.stats().http2_opened, 3);
}

/// What is wrong with one connection alone costs one request alone.
#[tokio::test]
async fn who_waited_for_one_silent_connection_is_served_over_the_next() {
    let second = vec![
        Step::Preface(None),
        Step::Until(HEADERS, 3),
        Step::Write([1, 3, 5].map(|stream| answer(stream, "hi")).concat()),
        Step::Hold,
    ];
    let peer = play(vec![vec![Step::Hold], second]).await;
    let transport = impatient();
    let first = spawn_text(&transport, post(peer.address));
    eventually("it is connected to", || peer.connections() == 1).await;
    let others: Vec<_> = (0..3).map(|_| spawn_text(&transport, post(peer.address))).collect();
    assert_told(&first.await.expect("no panic").expect_err("silent"), Delivery::MaybeSent);
    for other in others {
        assert_eq!(other.await.expect("no panic").expect("answered"), "hi");
    }
    assert_eq!(peer.connections(), 2);
}

/// The limit is for the first SETTINGS and nothing else.
#[tokio::test]
async fn a_connection_that_has_settled_may_be_silent_for_longer() {
    let script = vec![
        Step::Preface(None),
        Step::Until(HEADERS, 1),
        Step::Wait(SHORT * 3),
        Step::Write(answer(1, "late")),
        Step::Hold,
    ];
    let peer = play(vec![script]).await;
    let transport = impatient();
    assert_eq!(text(send(&transport, post(peer.address)).await.expect("head")).await.expect("body"), "late");
    assert_eq!(transport.stats().http2_open, 1);
}

/// One that was made ahead of all requests, too.
#[tokio::test]
async fn a_warmed_connection_that_stays_silent_is_let_go_of() {
    let peer = play(vec![vec![Step::Hold]]).await;
    let transport = impatient();
    assert_eq!(transport.warm(&Context::new(), &post(peer.address).url, 1).await.expect("connected"), 1);
    eventually("it is given up", || transport.stats().http2_open == 0 && peer.done() == 1).await;
}
