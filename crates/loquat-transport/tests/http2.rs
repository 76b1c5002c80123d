//! HTTP/2 against a server by the `h2` crate, and against frames written by hand.

mod support;

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server};
use loquat_core::{Context, Delivery, ErrorKind};
use loquat_transport::{Config, Http2Limits, Http2Mode, PoolConfig, Protocol, Request, Transport};
use support::{
    LONG, eventually, listen, post,
    script::{DATA, GOAWAY, HEADERS, SETTINGS, STATUS_200, frame, until_frame},
    send, spawn_text, text, until_closed, with, write,
};
use tokio::{
    io::AsyncReadExt,
    sync::{Notify, mpsc},
};

type Respond = server::SendResponse<Bytes>;

/// Serves HTTP/2 in clear; `answer` runs for every stream with its connection's number and its own on that.
async fn serve<F, R>(configure: fn(&mut server::Builder), answer: F) -> SocketAddr
where
    F: Fn(usize, usize, http::Request<RecvStream>, Respond) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let answer = Arc::new(answer);
    listen(move |number, socket| {
        let answer = Arc::clone(&answer);
        async move {
            let mut builder = server::Builder::new();
            configure(&mut builder);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
            let mut stream = 0;
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(answer(number, stream, request, respond));
                stream += 1;
            }
        }
    })
    .await
}

fn ok() -> http::Response<()> {
    http::Response::new(())
}

/// Answers with that text.
fn say(mut respond: Respond, text: &str) {
    if let Ok(mut stream) = respond.send_response(ok(), false) {
        let _ = stream.send_data(Bytes::copy_from_slice(text.as_bytes()), true);
    }
}

/// Sends as the client's window allows.
async fn send_all(stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let piece = data.split_to(room.min(data.len()));
        if stream.send_data(piece, end && data.is_empty()).is_err() {
            return;
        }
    }
}

fn http2() -> Transport {
    with(Config::default().with_http2(Http2Mode::PriorKnowledge))
}

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

/// Which way a request is given up, and what the server's stream must see: a reset with CANCEL, at once, while its
/// neighbour on the same connection lives on.
#[tokio::test]
async fn giving_up_resets_the_stream_and_nothing_else() {
    for (way, head) in
        [("drop body", true), ("cancel body", true), ("finish", true), ("drop send", false), ("limit", false)]
    {
        let (resets, mut seen) = mpsc::unbounded_channel();
        let address = serve(
            |_| {},
            move |_, number, request, mut respond| {
                let resets = resets.clone();
                async move {
                    if number > 0 {
                        return say(respond, "neighbour");
                    }
                    drop(request);
                    let reason = if head {
                        let mut stream = respond.send_response(ok(), false).expect("open");
                        stream.send_data("hi".into(), false).expect("open");
                        poll_fn(|cx| stream.poll_reset(cx)).await
                    } else {
                        poll_fn(|cx| respond.poll_reset(cx)).await
                    };
                    let _ = resets.send(reason.expect("a reset and no lost connection"));
                }
            },
        )
        .await;
        let transport = http2();
        let context = Context::new();
        match way {
            "limit" => {
                let error = send(&transport, post(address).with_first_byte(Duration::from_millis(50)))
                    .await
                    .expect_err(way);
                assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::MaybeSent));
                assert!(error.message().contains("HTTP/2, fresh connection"), "{error}");
            }
            "drop send" => {
                let sending = transport.send(&context, post(address));
                assert!(tokio::time::timeout(Duration::from_millis(50), sending).await.is_err());
            }
            _ => {
                let mut response = transport.send(&context, post(address)).await.expect("head");
                assert_eq!(response.body.chunk().await.expect("a chunk").expect("fine"), "hi");
                match way {
                    "finish" => response.body.finish(),
                    "drop body" => drop(response),
                    _ => {
                        context.cancellation().cancel();
                        let error = response.body.chunk().await.expect("an error").expect_err("cancelled");
                        assert_eq!(error.kind(), ErrorKind::Cancelled);
                    }
                }
            }
        }
        let reason = tokio::time::timeout(Duration::from_secs(2), seen.recv()).await.expect(way).expect(way);
        assert_eq!(reason, Reason::CANCEL, "{way}");
        assert_eq!(text(send(&transport, post(address)).await.expect(way)).await.expect(way), "neighbour");
        assert_eq!(transport.stats().http2_opened, 1, "{way}");
    }
}

#[tokio::test]
async fn cancellation_wakes_whoever_waits_for_the_next_chunk() {
    let address = serve(
        |_| {},
        |_, _, _, mut respond| async move {
            let mut stream = respond.send_response(ok(), false).expect("open");
            let _ = poll_fn(|cx| stream.poll_reset(cx)).await;
        },
    )
    .await;
    let (transport, context) = (http2(), Context::new());
    let mut response = transport.send(&context, post(address)).await.expect("head");
    let token = context.cancellation().clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        token.cancel();
    });
    let error = tokio::time::timeout(LONG, response.body.chunk())
        .await
        .expect("woken")
        .expect("some")
        .expect_err("cancelled");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Cancelled, Delivery::Committed));
}

#[tokio::test]
async fn ten_thousand_tiny_frames_survive_a_slow_consumer() {
    let address = serve(
        |_| {},
        |_, _, _, mut respond| async move {
            let mut stream = respond.send_response(ok(), false).expect("open");
            for number in 0..10_000 {
                stream.send_data(Bytes::from_static(b"x"), number == 9_999).expect("open");
            }
        },
    )
    .await;
    let transport = http2();
    let mut response = send(&transport, post(address)).await.expect("head");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut frames = 0;
    while let Some(chunk) = response.body.chunk().await {
        assert_eq!(chunk.expect("alive"), "x");
        frames += 1;
        if frames % 1000 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(frames, 10_000);
    assert_eq!(transport.stats().http2_open, 1);
}

#[tokio::test]
async fn an_exhausted_window_stops_the_sender_and_reading_resumes_it() {
    const LENGTH: usize = 3 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let address = serve(
        |_| {},
        move |_, number, _, mut respond| {
            let count = Arc::clone(&count);
            async move {
                if number > 0 {
                    return say(respond, "neighbour");
                }
                let mut stream = respond.send_response(ok(), false).expect("open");
                for _ in 0..LENGTH / 1024 {
                    send_all(&mut stream, Bytes::from(vec![b'x'; 1024]), false).await;
                    count.fetch_add(1024, SeqCst);
                }
                let _ = stream.send_data(Bytes::new(), true);
            }
        },
    )
    .await;
    let transport = http2();
    let response = send(&transport, post(address)).await.expect("head");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ahead = sent.load(SeqCst);
    let window = Http2Limits::default().stream_window_bytes as usize;
    assert!(ahead <= window + 1024, "{ahead} bytes sent into a window of {window}");
    assert_eq!(text(send(&transport, post(address)).await.expect("head")).await.expect("body"), "neighbour");
    let body =
        tokio::time::timeout(LONG, response.body.collect(LENGTH)).await.expect("resumed").expect("whole");
    assert_eq!(body.len(), LENGTH);
}

#[tokio::test]
async fn unread_streams_do_not_stop_their_neighbours() {
    let address = serve(
        |_| {},
        |_, number, _, mut respond| async move {
            if number == 99 {
                return say(respond, "neighbour");
            }
            let mut stream = respond.send_response(ok(), false).expect("open");
            send_all(&mut stream, Bytes::from(vec![b'x'; 1 << 20]), true).await;
        },
    )
    .await;
    let transport = http2();
    let mut unread = Vec::new();
    for _ in 0..99 {
        unread.push(send(&transport, post(address)).await.expect("head"));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begin = Instant::now();
    assert_eq!(text(send(&transport, post(address)).await.expect("head")).await.expect("body"), "neighbour");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(transport.stats().http2_opened, 1);
}

#[tokio::test]
async fn a_refused_stream_is_repeated_once_and_then_told() {
    let refusals = Arc::new(AtomicUsize::new(1));
    let left = Arc::clone(&refusals);
    let address = serve(
        |_| {},
        move |_, _, _, mut respond| {
            let left = Arc::clone(&left);
            async move {
                if left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                    respond.send_reset(Reason::REFUSED_STREAM);
                } else {
                    say(respond, "hi");
                }
            }
        },
    )
    .await;
    let transport = http2();
    assert_eq!(text(send(&transport, post(address)).await.expect("repeated")).await.expect("body"), "hi");
    assert_eq!(transport.stats().replaced, 1);
    refusals.store(100, SeqCst);
    let error = send(&transport, post(address)).await.expect_err("refused twice");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connection, Delivery::NotSent), "{error:?}");
    assert!(error.is_retryable());
    assert_eq!(refusals.load(SeqCst), 98);
}

#[tokio::test]
async fn goaway_drains_and_the_next_request_goes_elsewhere() {
    let shut = Arc::new(Notify::new());
    let told = Arc::clone(&shut);
    let address = listen(move |number, socket| {
        let told = Arc::clone(&told);
        async move {
            let mut connection = server::handshake(socket).await.expect("handshake");
            let mut open = Vec::new();
            loop {
                tokio::select! {
                    accepted = connection.accept() => match accepted {
                        Some(Ok((_, mut respond))) if number == 0 => {
                            let mut stream = respond.send_response(ok(), false).expect("open");
                            stream.send_data(Bytes::from_static(b"first "), false).expect("open");
                            open.push(stream);
                        }
                        Some(Ok((_, respond))) => say(respond, "elsewhere"),
                        _ => return,
                    },
                    () = told.notified(), if number == 0 && !open.is_empty() => {
                        connection.graceful_shutdown();
                        let mut stream = open.remove(0);
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            stream.send_data(Bytes::from_static(b"last"), true).expect("open");
                        });
                    }
                }
            }
        }
    })
    .await;
    let transport = http2();
    let response = send(&transport, post(address)).await.expect("head");
    shut.notify_one();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(text(send(&transport, post(address)).await.expect("head")).await.expect("body"), "elsewhere");
    assert_eq!(text(response).await.expect("drained"), "first last");
    eventually("the drained connection is closed", || transport.stats().http2_open == 1).await;
    assert_eq!(transport.stats().http2_opened, 2);
}

/// What a peer does with the frames it writes once the request's head is there, and what must become of it.
#[tokio::test]
async fn frames_written_by_hand_end_as_they_should() {
    struct Case {
        name: &'static str,
        frames: Vec<u8>,
        close: bool,
        kind: ErrorKind,
        delivery: Delivery,
        repeated: bool,
    }
    use Delivery::{Committed, MaybeSent, NotSent};
    use ErrorKind::{Connection, Protocol};
    let goaway =
        |last: u32, reason: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat());
    let head = || frame(HEADERS, 4, 1, STATUS_200);
    let case = |name, frames, close, kind, delivery, repeated| Case {
        name,
        frames,
        close,
        kind,
        delivery,
        repeated,
    };
    let cases = [
        case("goaway before the stream", goaway(0, 0), true, Connection, NotSent, true),
        case("goaway before the stream, calm down", goaway(0, 11), true, Connection, NotSent, true),
        case("goaway after the stream, then closed", goaway(1, 0), true, Connection, MaybeSent, false),
        case("closed", Vec::new(), true, Connection, MaybeSent, false),
        case("reset", frame(3, 0, 1, &2_u32.to_be_bytes()), false, Connection, MaybeSent, false),
        case("head, then closed", head(), true, Connection, Committed, false),
        case(
            "head, data, then reset",
            [head(), frame(DATA, 0, 1, b"hi"), frame(3, 0, 1, &8_u32.to_be_bytes())].concat(),
            false,
            Connection,
            Committed,
            false,
        ),
        case("data before the head", frame(DATA, 0, 1, b"hi"), false, Protocol, MaybeSent, false),
        case(
            "a frame larger than allowed",
            vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
            false,
            Protocol,
            MaybeSent,
            false,
        ),
        case("not HTTP/2", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), true, Protocol, MaybeSent, false),
    ];
    for case in cases {
        let (name, frames) = (case.name, case.frames);
        let address = listen(move |_, mut socket| {
            let frames = frames.clone();
            async move {
                let mut preface = [0; 24];
                if socket.read_exact(&mut preface).await.is_err() {
                    return;
                }
                write(&mut socket, frame(SETTINGS, 0, 0, &[])).await;
                let Some(stream) = until_frame(&mut socket, HEADERS).await else { return };
                assert_eq!(stream, 1);
                write(&mut socket, &frames).await;
                if !case.close {
                    until_closed(&mut socket).await;
                }
            }
        })
        .await;
        let transport = http2();
        let got = async { text(send(&transport, post(address)).await?).await }.await;
        let error = got.expect_err(name);
        assert_eq!((error.kind(), error.delivery()), (case.kind, case.delivery), "{name}: {error:?}");
        assert!(error.message().contains("HTTP/2, fresh connection"), "{name}: {error}");
        assert_eq!(transport.stats().replaced, u64::from(case.repeated), "{name}");
        eventually(name, || transport.stats().http2_open == 0 || case.kind == Connection && !case.close)
            .await;
    }
}

#[tokio::test]
async fn a_large_upload_arrives_whole_and_an_early_answer_is_heard() {
    const LENGTH: usize = 10 << 20;
    let address = serve(
        |_| {},
        |_, _, request, respond| async move {
            if request.method() == "PUT" {
                return say(respond, "too much");
            }
            let mut body = request.into_body();
            let mut length = 0;
            while let Some(Ok(data)) = body.data().await {
                length += data.len();
                let _ = body.flow_control().release_capacity(data.len());
            }
            say(respond, &length.to_string());
        },
    )
    .await;
    let transport = http2();
    let request = post(address).with_body(vec![b'x'; LENGTH]);
    assert_eq!(text(send(&transport, request).await.expect("head")).await.expect("body"), LENGTH.to_string());
    let mut early = post(address).with_body(vec![b'x'; LENGTH]);
    early.method = http::Method::PUT;
    assert_eq!(text(send(&transport, early).await.expect("head")).await.expect("body"), "too much");
    assert_eq!(text(send(&transport, post(address)).await.expect("head")).await.expect("body"), "5");
    assert_eq!(transport.stats().http2_opened, 1);
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

#[tokio::test]
async fn dropping_the_transport_closes_the_connection_once_the_last_body_is_gone() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let address = listen(move |_, socket| {
        let closed = Arc::clone(&closed);
        async move {
            let mut connection = server::handshake(socket).await.expect("handshake");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut stream = respond.send_response(ok(), false).expect("open");
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let _ = stream.send_data(Bytes::from_static(b"whole"), true);
                });
            }
            closed.fetch_add(1, SeqCst);
        }
    })
    .await;
    let transport = http2();
    let response =
        send(&transport, Request::get(format!("http://{address}/")).expect("valid")).await.expect("head");
    drop(transport);
    assert_eq!(text(response).await.expect("still read"), "whole");
    eventually("the server sees the close", || count.load(SeqCst) == 1).await;
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
