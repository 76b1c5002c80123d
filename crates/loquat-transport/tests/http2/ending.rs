//! How a stream is given up, by us or by the peer, and what becomes of its neighbours and of its connection.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, server};
use loquat_core::{Context, Delivery, ErrorKind};
use loquat_transport::{Config, Request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, mpsc},
};

use crate::{
    http2, ok, say, serve,
    support::{
        LONG, eventually, listen, post,
        script::{DATA, GOAWAY, HEADERS, SETTINGS, STATUS_200, Step, frame, play, until_frame},
        send, text, until_closed, with, write,
    },
};

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

/// Prior knowledge that was wrong: the server answers the preface as HTTP/1.1 does.
#[tokio::test]
async fn a_server_that_speaks_no_http2_is_told_as_such() {
    let address = listen(|_, mut socket| async move {
        let mut preface = [0; 24];
        if socket.read_exact(&mut preface).await.is_ok() {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    let request = Request::get(format!("http://{address}/")).expect("valid");
    let error = http2().send(&Context::new(), request).await.map(drop).expect_err("no HTTP/2");
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.message().contains("does it speak HTTP/2 here?"), "{error}");
}

/// One that does not fit is refused by `h2`, which does not say why: the limit is named all the same.
#[tokio::test]
async fn a_head_beyond_its_limit_names_the_limit() {
    let address = serve(
        |_| {},
        |_, _, _, mut respond| async move {
            let long = http::Response::builder().header("x-long", "x".repeat(70_000)).body(());
            let _ = respond.send_response(long.expect("valid"), true);
        },
    )
    .await;
    let error = send(&http2(), post(address)).await.expect_err("too large");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Protocol, Delivery::MaybeSent));
    assert!(error.message().contains("HeadLimits::max_bytes"), "{error}");
}

/// As over HTTP/1.1, a `Host` of the caller's own takes the place of the address's.
#[tokio::test]
async fn a_host_of_the_callers_is_the_authority() {
    let address = serve(
        |_| {},
        |_, _, request, respond| async move {
            assert!(request.headers().get("host").is_none());
            say(respond, request.uri().authority().expect("authority").as_str());
        },
    )
    .await;
    let transport = http2();
    let mut request = post(address);
    let own = address.to_string();
    for (host, seen) in [("model.internal:81", "model.internal:81"), ("not a host", &own)] {
        request.headers.insert("host", http::HeaderValue::from_static(host));
        assert_eq!(text(send(&transport, request.clone()).await.expect("head")).await.expect("body"), seen);
    }
}

/// Not dropped, nor sent on: a name and a password in it were meant for somebody (RFC 9113 §8.3.1). What they are is not repeated.
#[tokio::test]
async fn a_host_with_a_users_name_is_refused_before_anything_is_sent() {
    let peer = play(vec![vec![Step::Hold]]).await;
    for transport in [http2(), with(Config::default())] {
        for host in ["me@model.internal", "me:hunter2@model.internal:81"] {
            let mut request = post(peer.address);
            request.headers.append("host", http::HeaderValue::from_static("model.internal"));
            request.headers.append("host", http::HeaderValue::from_static(host));
            let error = send(&transport, request).await.expect_err(host);
            assert_eq!((error.kind(), error.delivery()), (ErrorKind::InvalidRequest, Delivery::NotSent));
            assert!(error.message().contains("(Authorization)"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
    assert_eq!(peer.connections(), 0);
}
