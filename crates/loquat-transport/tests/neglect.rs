//! HTTP/2 streams that somebody neglects: callers who do not read, peers that do not answer. Each costs itself at most.

mod support;

use std::{
    error::Error as _,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, server};
use loquat_core::{Delivery, ErrorKind};
use loquat_transport::{Config, Http2Limits, Http2Mode, Laggard, Transport};
use support::{
    LONG, eventually, listen, post,
    script::{DATA, HEADERS, PING, RST_STREAM, Step, answer, frame, head, play},
    send, spawn_text, text, with,
};
use tokio::sync::mpsc;

const SHORT: Duration = Duration::from_millis(200);

fn http2(change: impl Fn(&mut Http2Limits)) -> Transport {
    let mut limits = Http2Limits::default();
    change(&mut limits);
    with(Config::default().with_http2(Http2Mode::PriorKnowledge).with_http2_limits(limits))
}

/// `h2` charges 255 bytes for each of these frames while it is unread: all together four times the budget.
#[tokio::test]
async fn stalled_streams_of_tiny_frames_leave_their_neighbours_alone() {
    const FRAMES: usize = 20_000;
    let flood = |stream| [head(stream), frame(DATA, 0, stream, b"x").repeat(FRAMES)].concat();
    let ends = [1, 3, 5].map(|stream| frame(DATA, 1, stream, b"."));
    let peer = play(vec![vec![
        Step::Preface(Some(100)),
        Step::Until(HEADERS, 3),
        Step::Write([flood(1), flood(3), flood(5)].concat()),
        Step::Until(HEADERS, 1),
        Step::Write(answer(7, "healthy")),
        Step::Write(ends.concat()),
        Step::Hold,
    ]])
    .await;
    let transport = http2(|limits| limits.data_frame_budget_bytes = 4 << 20);
    let spawn = || {
        let transport = transport.clone();
        tokio::spawn(async move { send(&transport, post(peer.address)).await.expect("head") })
    };
    // Two whose bodies nobody reads, and one that nobody even polls once it is on its way.
    let (one, two) = (spawn(), spawn());
    eventually("two are on their way", || transport.stats().reused == 1).await;
    let mut three = pin!(send(&transport, post(peer.address)));
    assert!(poll_fn(|cx| Poll::Ready(three.as_mut().poll(cx).is_pending())).await);
    let (one, two) = (one.await.expect("no panic"), two.await.expect("no panic"));

    let healthy = text(send(&transport, post(peer.address)).await.expect("head")).await;
    assert_eq!(healthy.expect("whole"), "healthy");
    let three = three.await.expect("head");
    for stalled in [one, two, three] {
        assert_eq!(text(stalled).await.expect("nothing was lost").len(), FRAMES + 1);
    }
    assert_eq!((transport.stats().http2_opened, transport.stats().replaced), (1, 0));
}

#[tokio::test]
async fn a_stream_nobody_reads_is_given_up_and_its_neighbour_lives() {
    let script = [head(1), frame(DATA, 0, 1, &[b'x'; 2000])].concat();
    let peer = play(vec![vec![
        Step::Preface(Some(100)),
        Step::Until(HEADERS, 1),
        Step::Write(script),
        Step::Until(HEADERS, 1),
        Step::Write([head(3), frame(DATA, 0, 3, b"heal")].concat()),
        Step::Until(RST_STREAM, 1),
        Step::Write(frame(DATA, 1, 3, b"thy")),
        Step::Hold,
    ]])
    .await;
    let transport = http2(|limits| (limits.laggard_after, limits.laggard_bytes) = (Some(SHORT), 1000));
    let mut unread = send(&transport, post(peer.address)).await.expect("head");
    let neighbour = send(&transport, post(peer.address)).await.expect("head");
    assert_eq!(text(neighbour).await.expect("whole"), "healthy");

    let error = unread.body.chunk().await.expect("an end").expect_err("given up");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Local, Delivery::Committed), "{error}");
    assert!(error.message().contains("laggard_after"), "{error}");
    let laggard = error.source().and_then(|source| source.downcast_ref::<Laggard>()).expect("typed");
    assert_eq!((laggard.unread_bytes, laggard.unread_for), (2000, SHORT));
    assert!(unread.body.chunk().await.is_none());
    assert_eq!(transport.stats().http2_open, 1);
}

/// Less than `laggard_bytes` may lie there for as long as it takes.
#[tokio::test]
async fn a_reader_that_only_thinks_is_left_alone() {
    let frames = [head(1), frame(DATA, 0, 1, &[b'x'; 900])].concat();
    let script =
        vec![Step::Preface(None), Step::Until(HEADERS, 1), Step::Write(frames), Step::Wait(SHORT * 3)];
    let end = vec![Step::Write(frame(DATA, 1, 1, b".")), Step::Hold];
    let peer = play(vec![[script, end].concat()]).await;
    let transport = http2(|limits| (limits.laggard_after, limits.laggard_bytes) = (Some(SHORT), 1000));
    let response = send(&transport, post(peer.address)).await.expect("head");
    tokio::time::sleep(SHORT * 3).await;
    assert_eq!(text(response).await.expect("whole").len(), 901);
}

/// Two unread streams hold all of a small connection window, and the third cannot even begin: then they go, however much
/// they may otherwise hold.
#[tokio::test]
async fn laggards_go_before_their_neighbours_starve() {
    let (resets, mut seen) = mpsc::unbounded_channel();
    let address = listen(move |_, socket| {
        let resets = resets.clone();
        async move {
            let mut connection = server::handshake(socket).await.expect("HTTP/2");
            let mut number = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let resets = resets.clone();
                number += 1;
                tokio::spawn(async move {
                    let mut stream = respond.send_response(http::Response::new(()), false).expect("open");
                    // Goes out as the windows allow.
                    stream.send_data(Bytes::from(vec![b'x'; 65_535]), number > 2).expect("open");
                    if let Ok(reason) = poll_fn(|cx| stream.poll_reset(cx)).await {
                        let _ = resets.send(reason);
                    }
                });
            }
        }
    })
    .await;
    let transport = http2(|limits| {
        (limits.stream_window_bytes, limits.connection_window_bytes) = (65_535, 2 * 65_535);
        (limits.laggard_after, limits.laggard_bytes) = (Some(SHORT * 4), usize::MAX);
    });
    let unread = [
        send(&transport, post(address)).await.expect("head"),
        send(&transport, post(address)).await.expect("head"),
    ];
    let third = text(send(&transport, post(address)).await.expect("head")).await;
    assert_eq!(third.expect("whole").len(), 65_535);
    assert_eq!(seen.recv().await, Some(Reason::CANCEL));
    let mut failed = 0;
    for response in unread {
        failed += usize::from(text(response).await.is_err());
    }
    assert!(failed >= 1);
    assert_eq!(transport.stats().http2_opened, 1);
}

#[tokio::test]
async fn a_peer_that_stops_answering_is_noticed_by_ping() {
    for has_head in [false, true] {
        let begin = if has_head { [head(1), frame(DATA, 0, 1, b"some")].concat() } else { Vec::new() };
        let script = vec![Step::Preface(None), Step::Until(HEADERS, 1), Step::Write(begin)];
        // Where there is a head, data comes in place of the answer; then nothing more.
        let more = if has_head { frame(DATA, 0, 1, b"more") } else { Vec::new() };
        let silence = vec![Step::Until(PING, 1), Step::Write(more), Step::Hold];
        let elsewhere = vec![Step::Preface(None), Step::Until(HEADERS, 1), Step::Write(answer(1, "alive"))];
        let elsewhere = [elsewhere, vec![Step::Hold]].concat();
        let peer = play(vec![[script, silence].concat(), elsewhere]).await;
        let transport = http2(|limits| *limits = limits.clone().with_ping(SHORT / 4, SHORT));
        let error = match send(&transport, post(peer.address)).await {
            Ok(response) => text(response).await.expect_err("silent"),
            Err(error) => error,
        };
        let delivery = if has_head { Delivery::Committed } else { Delivery::MaybeSent };
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connection, delivery), "{error}");
        assert!(error.message().contains("ping_timeout"), "{error}");
        let again = send(&transport, post(peer.address)).await.expect("another connection");
        assert_eq!(text(again).await.expect("whole"), "alive");
    }
}

#[tokio::test]
async fn pings_are_answered_and_none_is_sent_without_a_stream() {
    let pings = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pings);
    let address = listen(move |_, socket| {
        let pings = Arc::clone(&count);
        async move {
            let mut connection = server::handshake(socket).await.expect("HTTP/2");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                pings.fetch_add(1, SeqCst);
                tokio::spawn(async move {
                    // Silent for longer than interval and timeout: only the answered PINGs keep it alive.
                    tokio::time::sleep(SHORT * 4).await;
                    let mut stream = respond.send_response(http::Response::new(()), false).expect("open");
                    stream.send_data(Bytes::from_static(b"late"), true).expect("open");
                });
            }
        }
    })
    .await;
    let transport = http2(|limits| *limits = limits.clone().with_ping(SHORT / 8, LONG));
    assert_eq!(spawn_text(&transport, post(address)).await.expect("no panic").expect("alive"), "late");

    // A peer that would tell: its script is over with the first PING.
    let script = vec![Step::Preface(None), Step::Until(HEADERS, 1), Step::Write(answer(1, "hi"))];
    let peer = play(vec![[script, vec![Step::Until(PING, 1)]].concat()]).await;
    assert_eq!(text(send(&transport, post(peer.address)).await.expect("head")).await.expect("body"), "hi");
    tokio::time::sleep(SHORT).await;
    assert_eq!(peer.done(), 0, "asked although no stream was open");
    eventually("both connections rest", || transport.stats().http2_open == 2).await;
}

/// What a reset stream leaves behind is not charged to its neighbours for ever.
#[tokio::test]
async fn frames_under_way_to_a_reset_stream_do_not_end_the_connection() {
    let streams: Vec<u32> = (1..40).step_by(2).collect();
    let tokens = |stream: &u32| frame(DATA, 0, *stream, b"x").repeat(2000);
    let peer = play(vec![vec![
        Step::Preface(Some(100)),
        Step::Until(HEADERS, 20),
        Step::Write(streams.iter().flat_map(|stream| head(*stream)).collect()),
        Step::Until(RST_STREAM, 20),
        Step::Write(streams.iter().flat_map(tokens).collect()),
        Step::Until(HEADERS, 1),
        Step::Write(answer(41, "hi")),
        Step::Hold,
    ]])
    .await;
    let transport = http2(|_| {});
    let spawn = |_: &u32| {
        let transport = transport.clone();
        tokio::spawn(async move { send(&transport, post(peer.address)).await.expect("head") })
    };
    let all: Vec<_> = streams.iter().map(spawn).collect();
    for one in all {
        drop(one.await.expect("no panic"));
    }
    // The driver runs, and sends the resets, before the next request.
    tokio::time::sleep(SHORT / 4).await;
    assert_eq!(text(send(&transport, post(peer.address)).await.expect("head")).await.expect("body"), "hi");
    assert_eq!(transport.stats().http2_opened, 1);
}

/// A window below the least that HTTP/2 has is that least, also where it is reckoned how much of it lies unread.
#[tokio::test]
async fn a_window_that_is_set_too_small_makes_nobody_a_laggard() {
    let peer = play(vec![vec![
        Step::Preface(None),
        Step::Until(HEADERS, 1),
        Step::Write([head(1), frame(DATA, 0, 1, b"x")].concat()),
        Step::Wait(SHORT * 4),
        Step::Write(frame(DATA, 1, 1, b"y")),
        Step::Hold,
    ]])
    .await;
    let transport = http2(|limits| {
        limits.connection_window_bytes = 0;
        limits.laggard_after = Some(SHORT * 4);
    });
    let response = send(&transport, post(peer.address)).await.expect("head");
    tokio::time::sleep(SHORT * 3).await;
    assert_eq!(text(response).await.expect("a byte is not much"), "xy");
}
