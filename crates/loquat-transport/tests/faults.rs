//! The faults of real networks and servers, one row each: what is injected, what must become of it. Real sockets; peers are
//! scripts of bytes or, where a whole server is needed, the `h2` crate's.
//!
//! The numbers, 1 to 20, are shared with `loquat/tests/faults.rs`, where the ones are that are missing here (retries,
//! `Retry-After`, budgets, the breaker, the decoding of events). No row depends on how long something takes
//! on a loaded machine: waits are for events, and limits in time are lower bounds, or many times what it takes.

mod support;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::server;
use loquat_core::{Delivery, Error, ErrorKind, Stage};
use loquat_transport::{Config, Http2Mode, Limits, Request, Stats, TcpConfig, Transport};
use support::{
    LONG, Script, eventually, get, listen, post,
    script::{
        DATA, END, GOAWAY, HEADERS, PING, RST_STREAM, Step, answer, frame, goaway, head, max_streams, play,
        reset, say,
    },
    send, spawn_text, text, with,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::Notify,
};

use Delivery::{Committed, MaybeSent, NotSent};
use ErrorKind::{Connection, Timeout};

type Run = fn() -> Pin<Box<dyn Future<Output = ()> + Send>>;

struct Row {
    fault: u8,
    inject: &'static str,
    must: &'static str,
    run: Run,
}

const ROWS: &[Row] = &[
    Row {
        fault: 1,
        inject: "FIN on an idle connection",
        must: "a new connection, silently",
        run: || Box::pin(fin_on_idle()),
    },
    Row {
        fault: 2,
        inject: "RST after the bytes of a POST without a key",
        must: "an error that says MaybeSent; sent once",
        run: || Box::pin(reset_after_post()),
    },
    Row {
        fault: 2,
        inject: "the same on a connection that was reused",
        must: "MaybeSent and sent once; a request that may be sent twice goes out again, once",
        run: || Box::pin(reset_after_reuse()),
    },
    Row {
        fault: 7,
        inject: "a first address that swallows packets",
        must: "the next is tried beside it after 250 ms, and serves",
        run: || Box::pin(black_hole()),
    },
    Row {
        fault: 8,
        inject: "a TLS handshake that is never answered",
        must: "the handshake's own limit, NotSent, and not the first byte's",
        run: || Box::pin(tls_stall()),
    },
    Row {
        fault: 9,
        inject: "a request taken, then silence",
        must: "the first byte's limit, MaybeSent, and the connection is closed",
        run: || Box::pin(silence()),
    },
    Row {
        fault: 9,
        inject: "a head, then silence",
        must: "a body that waits, and frees everything when its caller gives up",
        run: || Box::pin(silence_in_body()),
    },
    Row {
        fault: 10,
        inject: "HTTP/2 PINGs and nothing else",
        must: "the first byte's limit all the same",
        run: || Box::pin(pings_only()),
    },
    Row {
        fault: 10,
        inject: "HTTP/1.1 interim answers (103) and nothing else",
        must: "the first byte's limit all the same",
        run: || Box::pin(interim_only()),
    },
    Row {
        fault: 12,
        inject: "the end of the connection before the end of the body",
        must: "all that came, then an error that says Committed",
        run: || Box::pin(cut_body()),
    },
    Row {
        fault: 13,
        inject: "the last event, but no end of the body",
        must: "finished now; the connection is kept if the end comes at once, else closed",
        run: || Box::pin(no_end()),
    },
    Row {
        fault: 14,
        inject: "GOAWAY while two streams are open",
        must: "the one it covers finishes, the other goes elsewhere unseen",
        run: || Box::pin(goaway_in_flight()),
    },
    Row {
        fault: 15,
        inject: "REFUSED_STREAM",
        must: "repeated once, silently; a second refusal is told as NotSent",
        run: || Box::pin(refused()),
    },
    Row {
        fault: 16,
        inject: "MAX_CONCURRENT_STREAMS lowered below what is open, to 1 and to 0",
        must: "what is open finishes, what is new opens another connection",
        run: || Box::pin(limit_lowered()),
    },
    Row {
        fault: 17,
        inject: "10,000 DATA frames of one byte to a slow consumer",
        must: "all of them, on a connection that lives on",
        run: || Box::pin(tiny_frames()),
    },
    Row {
        fault: 17,
        inject: "60,000 DATA frames of one byte to a consumer that reads when all are there",
        must: "held as bytes, not as frames: most are joined",
        run: || Box::pin(tiny_frames_unread()),
    },
    Row {
        fault: 18,
        inject: "one unread stream among a hundred",
        must: "the others flow",
        run: || Box::pin(one_unread()),
    },
    Row {
        fault: 19,
        inject: "5,000 cancelled requests",
        must: "no GOAWAY of our own making, and the next request is served",
        run: || Box::pin(cancels()),
    },
    Row {
        fault: 19,
        inject: "5,000 more, a hundred at a time from as many tasks",
        must: "the same, and the streams of nobody else are harmed",
        run: || Box::pin(cancels_at_once()),
    },
];

#[tokio::test]
async fn every_fault_ends_as_it_must() {
    let mut failed = Vec::new();
    for row in ROWS {
        let ran = tokio::time::timeout(6 * LONG, tokio::spawn((row.run)())).await;
        if !matches!(ran, Ok(Ok(()))) {
            failed.push(format!("fault {}: {}: must be {}: {ran:?}", row.fault, row.inject, row.must));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
const SHORT: Duration = Duration::from_millis(150);

fn http2() -> Config {
    Config::default().with_http2(Http2Mode::PriorKnowledge)
}

async fn ask(transport: &Transport, request: Request) -> Result<String, Error> {
    text(send(transport, request).await?).await
}

fn what(result: Result<String, Error>) -> (ErrorKind, Delivery) {
    let error = result.expect_err("must fail");
    (error.kind(), error.delivery())
}

async fn fin_on_idle() {
    let peer = play(vec![vec![Step::Request, say(OK)]]).await;
    let transport = support::transport();
    for round in 1..=3 {
        assert_eq!(ask(&transport, post(peer.address)).await.expect("served"), "hi");
        eventually("the peer has closed", || peer.done() == round).await;
    }
    let Stats { http1_opened, replaced, .. } = transport.stats();
    assert_eq!((http1_opened, replaced), (3, 0), "seen before it was used, so nothing was repeated");
}

async fn reset_after_post() {
    let peer = play(vec![vec![Step::Request, Step::Reset]]).await;
    let transport = support::transport();
    assert_eq!(what(ask(&transport, post(peer.address)).await), (Connection, MaybeSent));
    assert_eq!(peer.connections(), 1);
}

async fn reset_after_reuse() {
    for (replayable, sent) in [(false, 1), (true, 2)] {
        let script = vec![Step::Request, say(OK), Step::Request, Step::Reset];
        let peer = play(vec![script, vec![Step::Request, say(OK), Step::Hold]]).await;
        let transport = support::transport();
        assert_eq!(ask(&transport, post(peer.address)).await.expect("served"), "hi");
        let second = ask(&transport, post(peer.address).with_replayable(replayable)).await;
        match replayable {
            false => {
                let error = second.expect_err("not sent again");
                assert_eq!((error.kind(), error.delivery()), (Connection, MaybeSent));
                let history = error.history().expect("an attempt's");
                assert_eq!((history.stage, history.reused), (Stage::Head, Some(true)), "{history:?}");
                assert_eq!(history.address, Some(peer.address.to_string()));
                assert_eq!(history.protocol, Some("HTTP/1.1"));
            }
            true => assert_eq!(second.expect("sent again"), "hi"),
        }
        assert_eq!(peer.connections(), sent, "replayable: {replayable}");
    }
}

/// A listener whose queue is full: what comes is dropped by the kernel.
async fn black_hole() {
    let hole = TcpSocket::new_v4().expect("a socket");
    hole.bind("127.0.0.1:0".parse().expect("valid")).expect("bind");
    let hole = hole.listen(0).expect("listen");
    let black = hole.local_addr().expect("address");
    let mut queued = Vec::new();
    while let Ok(connected) = tokio::time::timeout(SHORT, TcpStream::connect(black)).await {
        queued.push(connected.expect("queued"));
        assert!(queued.len() < 64, "the queue of a listener that asked for none is short");
    }
    let peer = play(vec![vec![Step::Request, say(OK), Step::Hold]]).await;
    let script = Script::new([vec![black, peer.address]]);
    let tcp = TcpConfig::default();
    let (delay, whole) = (tcp.attempt_delay, Limits::default().connect);
    assert_eq!(delay, Duration::from_millis(250));
    let transport = with(Config::default().with_resolver(script).with_tcp(tcp));
    let begin = Instant::now();
    let request = Request::get("http://model.example/").expect("valid");
    let response = send(&transport, request).await.expect("the second address");
    assert_eq!(response.connection.peer, Some(peer.address));
    assert_eq!(text(response).await.expect("whole"), "hi");
    let took = begin.elapsed();
    assert!(took >= delay, "the first had its time");
    assert!(took < whole / 2, "and no more: {took:?}");
}

async fn tls_stall() {
    let peer = play(vec![vec![Step::Hold]]).await;
    let transport = with(Config::default().with_limits(Limits::default().with_tls(SHORT)));
    let request = Request::post(format!("https://localhost:{}/", peer.address.port()), "x").expect("valid");
    let error = ask(&transport, request).await.expect_err("stalled");
    assert_eq!((error.kind(), error.delivery()), (Timeout, NotSent));
    assert!(error.message().contains("(tls)"), "{error}");
    let history = error.history().expect("an attempt's");
    assert_eq!((history.stage, history.protocol, history.reused), (Stage::Tls, None, None));
    assert!(history.elapsed >= SHORT && history.origin.starts_with("https://localhost:"), "{history:?}");
    eventually("the connection is closed", || peer.done() == 1).await;
}

async fn silence() {
    let peer = play(vec![vec![Step::Request, Step::Hold]]).await;
    let transport = support::transport();
    let error = ask(&transport, post(peer.address).with_first_byte(SHORT)).await.expect_err("silent");
    assert_eq!((error.kind(), error.delivery()), (Timeout, MaybeSent));
    assert!(error.message().contains("(first_byte)"), "{error}");
    eventually("the connection is closed", || peer.done() == 1).await;
}

async fn silence_in_body() {
    let http1 = vec![Step::Request, say("HTTP/1.1 200 OK\r\n\r\nsome"), Step::Hold];
    let http2_script = [head(1), frame(DATA, 0, 1, b"some")].concat();
    let two = vec![
        Step::Preface(None),
        Step::Until(HEADERS, 1),
        Step::Write(http2_script),
        Step::Until(RST_STREAM, 1),
        Step::Write(Vec::new()),
    ];
    for (script, config) in [(http1, Config::default()), (two, http2())] {
        let peer = play(vec![script]).await;
        let transport = with(config);
        let mut response = send(&transport, post(peer.address)).await.expect("head");
        assert_eq!(response.body.chunk().await.expect("some").expect("fine"), "some");
        let waited = tokio::time::timeout(SHORT, response.body.chunk()).await;
        assert!(waited.is_err(), "{waited:?}");
        drop(response);
        eventually("the peer sees the end of it", || peer.done() == 1).await;
    }
}

async fn pings_only() {
    let script = vec![Step::Preface(None), Step::Until(HEADERS, 1), Step::Drip(frame(PING, 0, 0, &[7; 8]))];
    let peer = play(vec![script]).await;
    let transport = with(http2());
    let error = ask(&transport, post(peer.address).with_first_byte(SHORT)).await.expect_err("no head");
    assert_eq!((error.kind(), error.delivery()), (Timeout, MaybeSent), "{error}");
}

async fn interim_only() {
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let peer = play(vec![vec![Step::Request, Step::Drip(hint.as_bytes().to_vec())]]).await;
    let transport = support::transport();
    let error = ask(&transport, post(peer.address).with_first_byte(SHORT)).await.expect_err("no head");
    assert_eq!((error.kind(), error.delivery()), (Timeout, MaybeSent), "{error}");
}

async fn cut_body() {
    let one = |text: &str| (Config::default(), vec![Step::Request, say(text)]);
    let two = |frames: Vec<u8>| {
        (http2(), vec![Step::Preface(None), Step::Until(HEADERS, 1), Step::Write(frames), Step::Wait(SHORT)])
    };
    let some = || [head(1), frame(DATA, 0, 1, b"some")].concat();
    for (config, script) in [
        one("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome"),
        one("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n"),
        one("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nsome"),
        two(some()),
        two([some(), reset(1, 2)].concat()),
        two([some(), goaway(1, 2)].concat()),
    ] {
        let name = format!("{script:?}");
        let peer = play(vec![script]).await;
        let transport = with(config);
        let mut response = send(&transport, post(peer.address)).await.expect("head");
        let mut partial = String::new();
        let error = loop {
            match tokio::time::timeout(LONG, response.body.chunk()).await.expect("in time") {
                Some(Ok(chunk)) => partial.push_str(&String::from_utf8_lossy(&chunk)),
                Some(Err(error)) => break error,
                None => panic!("passed for whole: {name}"),
            }
        };
        assert_eq!(
            (partial.as_str(), error.kind(), error.delivery()),
            ("some", Connection, Committed),
            "{name}"
        );
    }
}

async fn no_end() {
    let start = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\n[DONE]\r\n";
    // The end comes at once, late, and behind more than is worth reading.
    let soon = vec![Step::Request, say(start), say("0\r\n\r\n"), Step::Request, say(OK), Step::Hold];
    let late = vec![Step::Request, say(start), Step::Hold];
    let flood = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let long = vec![Step::Request, say(start), Step::Write(flood.into_bytes()), Step::Hold];
    for (script, kept) in [(soon, true), (late, false), (long, false)] {
        let peer = play(vec![script, vec![Step::Request, say(OK), Step::Hold]]).await;
        let transport = support::transport();
        let mut response = send(&transport, get(peer.address)).await.expect("head");
        assert_eq!(response.body.chunk().await.expect("some").expect("fine"), "[DONE]");
        response.body.finish();
        if !kept {
            eventually("the connection is closed", || peer.done() == 1).await;
        }
        assert_eq!(ask(&transport, get(peer.address)).await.expect("served"), "hi");
        if !kept {
            assert_eq!(peer.connections(), 2);
        }
    }
}

async fn goaway_in_flight() {
    let script = vec![
        Step::Preface(Some(10)),
        Step::Until(HEADERS, 2),
        Step::Write(goaway(1, 0)),
        Step::Write(answer(1, "covered")),
        Step::Hold,
    ];
    let elsewhere =
        vec![Step::Preface(None), Step::Until(HEADERS, 1), Step::Write(answer(1, "elsewhere")), Step::Hold];
    let peer = play(vec![script, elsewhere]).await;
    let transport = with(http2());
    let first = spawn_text(&transport, post(peer.address));
    eventually("the first is out", || transport.stats().http2_open == 1).await;
    let second = spawn_text(&transport, post(peer.address));
    let mut got =
        [first.await.expect("no panic").expect("served"), second.await.expect("no panic").expect("served")];
    got.sort_unstable();
    assert_eq!(got, ["covered", "elsewhere"]);
    assert_eq!((peer.connections(), transport.stats().replaced), (2, 1));
}

async fn refused() {
    let refusal = || vec![Step::Until(HEADERS, 1), Step::Write(reset(1, 7))];
    let refuses = [vec![Step::Preface(None)], refusal(), vec![Step::Until(HEADERS, 1)]].concat();
    // Refused once, then served on the same connection.
    let serves = [refuses.clone(), vec![Step::Write(answer(3, "hi")), Step::Hold]].concat();
    let transport = with(http2());
    assert_eq!(ask(&transport, post(play(vec![serves]).await.address)).await.expect("repeated"), "hi");
    assert_eq!(transport.stats().replaced, 1);
    let again = [refuses, vec![Step::Write(reset(3, 7)), Step::Hold]].concat();
    let error = ask(&transport, post(play(vec![again]).await.address)).await.expect_err("refused twice");
    assert_eq!((error.kind(), error.delivery()), (Connection, NotSent), "{error}");
    assert!(error.is_retryable());
}

async fn limit_lowered() {
    for lowered in [1, 0] {
        let end = Arc::new(Notify::new());
        // Whoever has a head of the first connection has seen its new limit, which was sent before.
        let script = vec![
            Step::Preface(Some(10)),
            Step::Until(HEADERS, 3),
            Step::Write([max_streams(lowered), head(1), head(3), head(5)].concat()),
            Step::Gate(Arc::clone(&end)),
            Step::Write([1, 3, 5].map(|stream| frame(DATA, END, stream, b"old")).concat()),
            Step::Hold,
        ];
        let new =
            vec![Step::Preface(Some(10)), Step::Until(HEADERS, 1), Step::Write(answer(1, "new")), Step::Hold];
        let peer = play(vec![script, new]).await;
        let address = peer.address;
        let transport = with(http2());
        let sending: Vec<_> = (0..3)
            .map(|_| {
                let transport = transport.clone();
                tokio::spawn(async move { send(&transport, post(address)).await })
            })
            .collect();
        let mut open = Vec::new();
        for sent in sending {
            open.push(sent.await.expect("no panic").expect("a head"));
        }
        assert_eq!(peer.connections(), 1);
        // The fourth comes while all three are open and the limit is below that.
        let fourth = ask(&transport, post(peer.address)).await.expect("served");
        assert_eq!((fourth.as_str(), peer.connections()), ("new", 2), "lowered to {lowered}");
        end.notify_one();
        for old in open {
            assert_eq!(text(old).await.expect("finished"), "old", "lowered to {lowered}");
        }
    }
}

/// A server by the `h2` crate; `answer` runs for each stream with its number on its connection.
async fn serve<F, R>(answer: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(usize, server::SendResponse<Bytes>) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (answer, goaways) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&goaways);
    let address = listen(move |_, socket| {
        let (answer, goaways) = (Arc::clone(&answer), Arc::clone(&count));
        async move {
            let mut builder = server::Builder::new();
            // A real server's own defence against cancel storms is not what is tested.
            builder.max_concurrent_reset_streams(10_000).max_pending_accept_reset_streams(10_000);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
            let mut number = 0;
            while let Some(accepted) = connection.accept().await {
                match accepted {
                    Ok((_, respond)) => drop(tokio::spawn(answer(number, respond))),
                    Err(error) => {
                        let told = error.is_go_away() && error.reason() != Some(h2::Reason::NO_ERROR);
                        goaways.fetch_add(usize::from(told), SeqCst);
                        return;
                    }
                }
                number += 1;
            }
        }
    })
    .await;
    (address, goaways)
}

async fn tiny_frames() {
    let (address, goaways) = serve(|_, mut respond| async move {
        let mut stream = respond.send_response(http::Response::new(()), false).expect("open");
        for number in 0..10_000 {
            stream.send_data(Bytes::from_static(b"x"), number == 9_999).expect("open");
        }
    })
    .await;
    let transport = with(http2());
    let mut response = send(&transport, post(address)).await.expect("head");
    let mut frames = 0;
    while let Some(chunk) = response.body.chunk().await {
        frames += chunk.expect("alive").len();
        if frames % 1000 == 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!((frames, goaways.load(SeqCst)), (10_000, 0));
    assert_eq!(transport.stats().http2_open, 1);
}

/// What holds memory is a frame, some hundred bytes whatever is in it. Joined frames come out in pieces of 16 KiB; between two times
/// that the driver takes over from those who have fallen behind, 128 KiB are read at most, which is 13,107 of these frames.
async fn tiny_frames_unread() {
    const FRAMES: usize = 60_000;
    let mut tokens = frame(DATA, 0, 1, b"x").repeat(FRAMES - 1);
    tokens.extend(frame(DATA, END, 1, b"x"));
    let peer = play(vec![vec![
        Step::Preface(None),
        Step::Until(HEADERS, 2),
        Step::Write([head(1), tokens, answer(3, "behind them")].concat()),
        Step::Until(GOAWAY, 1),
    ]])
    .await;
    let transport = with(http2());
    let (response, behind) =
        tokio::join!(send(&transport, post(peer.address)), send(&transport, post(peer.address)));
    let mut response = response.expect("head");
    // Once that has come, all of them have crossed the socket.
    assert_eq!(text(behind.expect("head")).await.expect("whole"), "behind them");
    let (mut bytes, mut pieces) = (0, 0);
    while let Some(chunk) = response.body.chunk().await {
        bytes += chunk.expect("alive").len();
        pieces += 1;
    }
    assert_eq!((bytes, peer.done()), (FRAMES, 0), "a GOAWAY would end the script");
    assert!(pieces <= 128 * 1024 / 10 + FRAMES / (16 * 1024) + 1, "held in {pieces} pieces");
}

async fn one_unread() {
    let (address, _) = serve(|_, mut respond| async move {
        let mut stream = respond.send_response(http::Response::new(()), false).expect("open");
        for number in 0..200 {
            let Ok(()) = stream.send_data(Bytes::from_static(&[b'x'; 1000]), number == 199) else { return };
            tokio::task::yield_now().await;
        }
    })
    .await;
    let transport = with(http2());
    let unread = send(&transport, post(address)).await.expect("head");
    let others: Vec<_> = (0..99).map(|_| spawn_text(&transport, post(address))).collect();
    for other in others {
        assert_eq!(other.await.expect("no panic").expect("whole").len(), 200_000);
    }
    assert_eq!(text(unread).await.expect("still there").len(), 200_000);
    assert_eq!(transport.stats().http2_opened, 1);
}

/// A server of streams that never end.
async fn endless() -> (SocketAddr, Arc<AtomicUsize>) {
    serve(|_, mut respond| async move {
        let Ok(mut stream) = respond.send_response(http::Response::new(()), false) else { return };
        while stream.send_data(Bytes::from_static(b"token"), false).is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// A stream with its first token.
async fn begun(transport: &Transport, address: SocketAddr) -> loquat_transport::Response {
    let mut response = send(transport, post(address)).await.expect("served");
    assert_eq!(response.body.chunk().await.expect("some").expect("fine"), "token");
    response
}

async fn cancels() {
    let (address, goaways) = endless().await;
    let transport = with(http2());
    let begin = Instant::now();
    for _ in 0..5_000 {
        drop(begun(&transport, address).await);
    }
    let stats = transport.stats();
    assert_eq!((goaways.load(SeqCst), stats.replaced), (0, 0), "{stats:?} after {:?}", begin.elapsed());
}

async fn cancels_at_once() {
    let (address, goaways) = endless().await;
    let transport = with(http2());
    let mut witness = begun(&transport, address).await;
    for _ in 0..50 {
        // All have begun before any is given up, and then all are at the same time.
        let gate = Arc::new(tokio::sync::Barrier::new(100));
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let (transport, gate) = (transport.clone(), Arc::clone(&gate));
                tokio::spawn(async move {
                    let response = begun(&transport, address).await;
                    gate.wait().await;
                    drop(response);
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("served");
        }
        assert!(witness.body.chunk().await.expect("some").is_ok(), "it was nobody's to end");
    }
    drop(witness);
    drop(begun(&transport, address).await);
    let stats = transport.stats();
    assert_eq!((goaways.load(SeqCst), stats.replaced), (0, 0), "{stats:?}");
    eventually("connections with too many resets are closed", || transport.stats().http2_open <= 1).await;
}
