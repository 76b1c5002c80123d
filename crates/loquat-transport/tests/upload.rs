//! Bodies that are sent as their source yields them, on both protocols, against servers that take them, fail them, or do not
//! care for them.

mod support;

use std::{
    error::Error as _,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, server};
use loquat_core::{Context, Delivery, Error, ErrorKind};
use loquat_transport::{Config, Http2Limits, Http2Mode, Method, Request, Response, Transport, Upload, Url};
use support::{
    LONG, get, listen,
    script::{END, HEADERS, RST_STREAM, STATUS_200, Step, answer, frame, play, reset, say},
    send, text, with,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

fn transport(http2: bool) -> Transport {
    let mode = if http2 { Http2Mode::PriorKnowledge } else { Http2Mode::Auto };
    with(Config::default().with_http2(mode))
}

async fn upload(transport: &Transport, to: SocketAddr, upload: Upload) -> Result<Response, Error> {
    let url = Url::parse(&format!("http://{to}/upload")).expect("valid");
    let request = Request::new(Method::PUT, url);
    let context = Context::new();
    let sent = transport.send_upload(&context, request, upload);
    tokio::time::timeout(LONG, sent).await.expect("no attempt takes that long")
}

/// Yields these, one at a poll, each time after having been woken once.
fn pieces(pieces: Vec<Result<Bytes, io::Error>>) -> Upload {
    let (mut pieces, mut waits) = (pieces.into_iter(), false);
    Upload::from_poll(move |cx| {
        waits = !waits;
        if waits {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(pieces.next())
    })
}

fn some(text: &'static str) -> Result<Bytes, io::Error> {
    Ok(Bytes::from_static(text.as_bytes()))
}

/// What is sent into the channel.
fn channel() -> (mpsc::UnboundedSender<Bytes>, Upload) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    (sender, Upload::from_poll(move |cx| receiver.poll_recv(cx).map(|next| next.map(Ok::<_, io::Error>))))
}

/// A server over HTTP/1.1 or HTTP/2 that answers with the length announced, and the body's length and sum.
async fn measuring(http2: bool) -> SocketAddr {
    listen(move |_, mut socket| async move {
        if !http2 {
            while let Some((head, body)) = read_upload(&mut socket).await {
                let said = said(announced(&head).as_deref(), &body);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}", said.len());
                socket.write_all(answer.as_bytes()).await.expect("written");
            }
            return;
        }
        let mut connection = server::handshake(socket).await.expect("HTTP/2");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let length = request.headers().get("content-length");
                let length = length.map(|length| length.to_str().expect("text").to_owned());
                let (mut stream, mut body) = (request.into_body(), Vec::new());
                while let Some(Ok(data)) = stream.data().await {
                    body.extend_from_slice(&data);
                    stream.flow_control().release_capacity(data.len()).expect("its own");
                }
                let mut out = respond.send_response(http::Response::new(()), false).expect("open");
                out.send_data(said(length.as_deref(), &body).into(), true).expect("open");
            });
        }
    })
    .await
}

fn said(announced: Option<&str>, body: &[u8]) -> String {
    let sum: u64 = body.iter().zip(1..).map(|(byte, at): (&u8, u64)| u64::from(*byte) * at).sum();
    format!("{announced:?} {} {sum}", body.len())
}

fn announced(head: &str) -> Option<String> {
    head.lines().find_map(|line| Some(line.strip_prefix("content-length: ")?.to_owned()))
}

/// Head and body of an HTTP/1.1 request, by length or in chunks; none when it was cut off.
async fn read_upload(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let rest = bytes.split_off(head_end);
    let head = String::from_utf8(bytes).expect("text");
    let mut bytes = rest;
    if let Some(length) = announced(&head) {
        let length: usize = length.parse().expect("a number");
        while bytes.len() < length {
            if socket.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        return Some((head, bytes));
    }
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    while !bytes.ends_with(b"0\r\n\r\n") {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let (mut body, mut rest) = (Vec::new(), &bytes[..]);
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").expect("a size");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).expect("text"), 16).expect("hex");
        if size == 0 {
            return Some((head, body));
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
}

#[tokio::test]
async fn uploads_arrive_whole_with_and_without_a_length() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    for http2 in [false, true] {
        let address = measuring(http2).await;
        let transport = transport(http2);
        let whole = Bytes::from(large.clone());
        let cut: Vec<_> = (0..whole.len()).step_by(77_777).collect();
        let parts = || {
            let piece = |at: &usize| Ok(whole.slice(*at..whole.len().min(at + 77_777)));
            pieces(cut.iter().map(piece).collect())
        };
        let none = || pieces(Vec::new());
        for (what, body, length, bytes) in [
            ("stream", parts(), None, &large[..]),
            ("stream of a length", parts().with_length(3_000_000), Some("3000000"), &large),
            ("reader", Upload::from_reader(io::Cursor::new(large.clone())), None, &large),
            (
                "reader of a length",
                Upload::from_reader(io::Cursor::new(large.clone())).with_length(3_000_000),
                Some("3000000"),
                &large,
            ),
            ("nothing", none(), None, &[]),
            ("nothing of a length", none().with_length(0), Some("0"), &[]),
        ] {
            let response = upload(&transport, address, body).await.expect("answered");
            let answer = text(response).await.expect("body");
            assert_eq!(answer, said(length, bytes), "{what}, HTTP/2: {http2}");
        }
        let stats = transport.stats();
        assert_eq!(stats.http1_opened + stats.http2_opened, 1, "{stats:?}");
        assert!(stats.buffers_reused * 5 > stats.buffers_taken * 4, "{stats:?}");
    }
}

/// Each piece is answered before the next is there.
#[tokio::test]
async fn an_answer_may_begin_before_the_upload_ends() {
    let one = listen(|_, mut socket| async move {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            socket.read_buf(&mut seen).await.expect("the head");
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("written");
        let mut piece = [0; 100];
        while let Ok(bytes @ 1..) = socket.read(&mut piece).await {
            let last = piece[..bytes].ends_with(b"0\r\n\r\n");
            // `5\r\nfirst\r\n`
            let text = String::from_utf8_lossy(&piece[..bytes]).to_string();
            let word: String = text.lines().filter(|line| line.len() > 2).collect();
            socket.write_all(word.as_bytes()).await.expect("written");
            if last {
                return;
            }
        }
    })
    .await;
    let two = listen(|_, socket| async move {
        let mut connection = server::handshake(socket).await.expect("HTTP/2");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let mut out = respond.send_response(http::Response::new(()), false).expect("open");
                let mut stream = request.into_body();
                while let Some(Ok(data)) = stream.data().await {
                    out.send_data(data, false).expect("open");
                }
                out.send_data(Bytes::new(), true).expect("open");
            });
        }
    })
    .await;
    for (http2, address) in [(false, one), (true, two)] {
        let (sender, body) = channel();
        let transport = transport(http2);
        let mut response = upload(&transport, address, body).await.expect("a head without a body");
        for word in ["first", "second", "third"] {
            sender.send(Bytes::from_static(word.as_bytes())).expect("wanted");
            let chunk = tokio::time::timeout(LONG, response.body.chunk()).await.expect("in time");
            assert_eq!(chunk.expect("more").expect("fine"), word, "HTTP/2: {http2}");
        }
        drop(sender);
        assert!(response.body.chunk().await.is_none());
    }
}

#[tokio::test]
async fn a_source_that_fails_is_named_and_the_peer_sees_no_whole_request() {
    for http2 in [false, true] {
        for known in [false, true] {
            let (cuts, mut cut) = mpsc::unbounded_channel();
            let address = listen(move |_, mut socket| {
                let cuts = cuts.clone();
                async move {
                    if !http2 {
                        return cuts.send(read_upload(&mut socket).await.is_none()).expect("wanted");
                    }
                    let mut connection = server::handshake(socket).await.expect("HTTP/2");
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let cuts = cuts.clone();
                        tokio::spawn(async move {
                            let (mut stream, _respond) = (request.into_body(), respond);
                            let end = loop {
                                match stream.data().await {
                                    Some(Ok(_)) => {}
                                    Some(Err(error)) => break error.reason() == Some(Reason::CANCEL),
                                    None => break false,
                                }
                            };
                            cuts.send(end).expect("wanted");
                        });
                    }
                }
            })
            .await;
            let body = pieces(vec![some("some"), some("more"), Err(io::Error::other("disk on fire"))]);
            let body = if known { body.with_length(1000) } else { body };
            let error = upload(&transport(http2), address, body).await.expect_err("failed");
            assert_eq!((error.kind(), error.delivery()), (ErrorKind::Local, Delivery::MaybeSent), "{error}");
            assert_eq!(error.source().expect("the cause").to_string(), "disk on fire");
            assert_eq!(cut.recv().await, Some(true), "HTTP/2: {http2}, length known: {known}");
        }
    }
}

#[tokio::test]
async fn a_source_of_another_length_fails() {
    for http2 in [false, true] {
        for (announced, says) in [(3, "more than the 3 bytes"), (9, "less than the 9 bytes")] {
            let address = measuring(http2).await;
            let body = pieces(vec![some("so"), some("me")]).with_length(announced);
            let error = upload(&transport(http2), address, body).await.expect_err("another length");
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
            assert!(error.message().contains(says), "HTTP/2: {http2}: {error}");
        }
    }
}

/// A server that has seen enough: its answer is read, the rest is not sent, and the connection is not used again.
#[tokio::test]
async fn an_early_refusal_is_read() {
    let one = listen(|number, mut socket| async move {
        if number > 0 {
            support::read_request(&mut socket).await;
            return support::write(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfresh").await;
        }
        let mut some = [0; 1000];
        socket.read_exact(&mut some).await.expect("a beginning");
        support::write(&mut socket, "HTTP/1.1 413 Too Large\r\ncontent-length: 8\r\n\r\ntoo much").await;
        tokio::time::sleep(LONG).await;
    })
    .await;
    let two = listen(|_, socket| async move {
        let mut connection = server::handshake(socket).await.expect("HTTP/2");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut head = http::Response::new(());
            let refused = request.uri().path() == "/upload";
            *head.status_mut() =
                if refused { http::StatusCode::PAYLOAD_TOO_LARGE } else { http::StatusCode::OK };
            let mut out = respond.send_response(head, false).expect("open");
            out.send_data(if refused { "too much".into() } else { "fresh".into() }, true).expect("open");
            if refused {
                // Dropping the request's body makes `h2` say NO_ERROR, after what is queued.
                drop(request);
            }
        }
    })
    .await;
    for (http2, address) in [(false, one), (true, two)] {
        let pulled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&pulled);
        let body = Upload::from_poll(move |_| {
            count.fetch_add(1, SeqCst);
            Poll::Ready(Some(Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 16 * 1024]))))
        });
        let transport = transport(http2);
        let response = upload(&transport, address, body).await.expect("an answer");
        assert_eq!(response.status, 413);
        assert_eq!(text(response).await.expect("whole"), "too much", "HTTP/2: {http2}");
        let next = send(&transport, get(address)).await.expect("another");
        assert_eq!(text(next).await.expect("whole"), "fresh");
        assert_eq!(transport.stats().http1_opened, if http2 { 0 } else { 2 });
        assert!(pulled.load(SeqCst) < 10_000, "an endless source was not read to its end");
    }
}

#[tokio::test]
async fn what_was_read_from_a_source_is_never_sent_again() {
    let refuses = vec![Step::Preface(None), Step::Until(HEADERS, 1), Step::Until(0, 1)];
    let script = [refuses, vec![Step::Write(reset(1, 7)), Step::Until(HEADERS, 1)]].concat();
    let script = [script, vec![Step::Write(answer(3, "hi")), Step::Hold]].concat();
    let peer = play(vec![script]).await;
    let transport = transport(true);
    let error = upload(&transport, peer.address, pieces(vec![some("once")])).await.expect_err("refused");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connection, Delivery::NotSent), "{error}");
    assert_eq!(transport.stats().replaced, 0);
    let next = send(&transport, get(peer.address)).await.expect("the connection lives");
    assert_eq!(text(next).await.expect("whole"), "hi");
}

/// Dropping the answer stops the upload, and its source with it.
#[tokio::test]
async fn giving_up_lets_go_of_the_source() {
    for http2 in [false, true] {
        let script = match http2 {
            false => vec![Step::Wait(Duration::from_millis(20)), say("HTTP/1.1 200 OK\r\n\r\n"), Step::Hold],
            true => vec![
                Step::Preface(None),
                Step::Until(HEADERS, 1),
                Step::Write(support::script::head(1)),
                Step::Until(RST_STREAM, 1),
            ],
        };
        let peer = play(vec![script]).await;
        let (sender, body) = channel();
        let transport = transport(http2);
        let response = upload(&transport, peer.address, body).await.expect("head");
        assert!(!sender.is_closed());
        drop(response);
        tokio::time::timeout(LONG, sender.closed()).await.expect("let go");
        support::eventually("the peer sees it", || peer.done() == 1).await;
    }
}

#[tokio::test]
async fn a_source_that_stands_still_runs_into_the_limit() {
    for http2 in [false, true] {
        let address = measuring(http2).await;
        let (sender, body) = channel();
        let url = Url::parse(&format!("http://{address}/upload")).expect("valid");
        let request = Request::new(Method::PUT, url).with_first_byte(Duration::from_secs(1));
        let transport = transport(http2);
        let context = Context::new();
        let mut sent = std::pin::pin!(transport.send_upload(&context, request, body));
        // Slower than the limit altogether, but not between two pieces.
        for _ in 0..8 {
            sender.send(Bytes::from_static(b"piece")).expect("wanted");
            let pause = tokio::time::sleep(Duration::from_millis(150));
            let mut pause = std::pin::pin!(pause);
            poll_fn(|cx| match sent.as_mut().poll(cx) {
                Poll::Ready(ended) => panic!("too early: {ended:?}"),
                Poll::Pending => pause.as_mut().poll(cx),
            })
            .await;
        }
        let error = sent.await.expect_err("nothing more came");
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::MaybeSent), "{error}");
        assert!(error.message().contains("sending to"), "{error}");
    }
}

/// The answer is whole, the upload is not: the stream is reset, which the peer may count against the connection, and so must the pool.
#[tokio::test]
async fn an_upload_that_is_broken_off_by_its_answer_counts_as_a_reset() {
    let whole = frame(HEADERS, END | 4, 1, STATUS_200);
    let script = vec![
        Step::Preface(None),
        Step::Until(HEADERS, 1),
        Step::Write(whole),
        Step::Until(RST_STREAM, 1),
        Step::Hold,
    ];
    let peer = play(vec![script]).await;
    let mut limits = Http2Limits::default();
    limits.max_resets = 0;
    let transport = with(Config::default().with_http2(Http2Mode::PriorKnowledge).with_http2_limits(limits));
    for asked in 1..=2 {
        let (_open, endless) = channel();
        let response = upload(&transport, peer.address, endless).await.expect("answered");
        assert_eq!(text(response).await.expect("whole"), "");
        assert_eq!(peer.connections(), asked);
    }
}

/// The peer has what it needs, says so, and takes the stream back itself (RFC 9113 §8.1): nothing is left to be reset here, whether the answer
/// is read or not, and nothing is held against the connection.
#[tokio::test]
async fn an_upload_that_the_peer_has_reset_counts_as_no_reset_of_this_side() {
    for is_read in [true, false] {
        let streams = [1, 3, 5];
        let answers = streams.map(|stream| {
            let whole = [answer(stream, "enough"), reset(stream, 0)].concat();
            [Step::Until(HEADERS, 1), Step::Write(whole)]
        });
        let script = [Step::Preface(None)].into_iter().chain(answers.into_iter().flatten());
        let peer = play(vec![script.chain([Step::Hold]).collect()]).await;
        let mut limits = Http2Limits::default();
        limits.max_resets = 0;
        let transport =
            with(Config::default().with_http2(Http2Mode::PriorKnowledge).with_http2_limits(limits));
        for _ in streams {
            // It never has more to send, so nobody who sends hears of the reset.
            let (_open, endless) = channel();
            let response = upload(&transport, peer.address, endless).await.expect("answered");
            if is_read {
                assert_eq!(text(response).await.expect("whole"), "enough");
            }
        }
        assert_eq!(peer.connections(), 1, "read: {is_read}");
    }
}

/// What fails here says nothing of how long the server keeps connections that are idle.
#[tokio::test]
async fn a_source_that_fails_at_once_is_not_held_against_the_server() {
    let answers =
        std::iter::repeat_n([Step::Request, say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")], 3);
    let peer = play(vec![answers.flatten().collect()]).await;
    let transport = transport(false);
    assert_eq!(text(send(&transport, get(peer.address)).await.expect("served")).await.expect("whole"), "hi");
    let failing = Upload::from_poll(|_| Poll::Ready(Some(Err::<Bytes, _>(io::Error::other("broken")))));
    let error = upload(&transport, peer.address, failing).await.expect_err("nothing to send");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Local, Delivery::NotSent));
    assert_eq!(text(send(&transport, get(peer.address)).await.expect("served")).await.expect("whole"), "hi");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let response = send(&transport, get(peer.address)).await.expect("served");
    assert!(response.connection.reused, "it was idle for a good second only");
}

/// A source that yields nothing, again and again, without waiting does not keep the thread from everybody else.
#[tokio::test]
async fn a_source_of_empty_pieces_lets_others_run() {
    for http2 in [false, true] {
        let script = if http2 { vec![Step::Preface(None), Step::Hold] } else { vec![Step::Hold] };
        let peer = play(vec![script]).await;
        let context = Context::new();
        let mut cancel = Some(context.cancellation().clone());
        let mut left = 100_000;
        let empty = Upload::from_poll(move |_| {
            left -= 1;
            if let Some(cancel) = cancel.take() {
                tokio::spawn(async move { cancel.cancel() });
            }
            Poll::Ready(Some(if left > 0 {
                Ok(Bytes::new())
            } else {
                Err(io::Error::other("nobody stopped it"))
            }))
        });
        let url = Url::parse(&format!("http://{}/upload", peer.address)).expect("valid");
        let sent = transport(http2).send_upload(&context, Request::new(Method::PUT, url), empty).await;
        assert_eq!(sent.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    }
}
