//! Servers that mean harm: answers without an end, answers to nothing, answers with something behind them. Each costs an error within a
//! bound, and its connection.

use std::time::Duration;

use bytes::Bytes;
use loquat_core::{Delivery, ErrorKind};

use crate::{
    answer::{Answer, Asked, Bounds, Error, Next},
    support::{
        eventually, get, post,
        script::{Step, play, say},
        send, text, transport,
    },
};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

/// What comes of a beginning and then the same for ever, in pieces of so many bytes; after how many bytes.
fn endless(start: &str, again: &str, piece: usize) -> (Error, usize) {
    let mut answer = Answer::new(Bounds { head_bytes: 64 * 1024, fields: 100 });
    answer.begin(Asked::default());
    let mut stream = start.bytes().chain(again.bytes().cycle());
    let mut read = 0;
    let mut is_head = true;
    loop {
        let bytes: Bytes = stream.by_ref().take(piece).collect();
        read += bytes.len();
        assert!(read < 1 << 20, "{start:?} {again:?}: nothing was wrong with a megabyte of that");
        let fed = if is_head {
            answer.feed_head(bytes).map(|head| is_head = head.is_none())
        } else {
            answer.feed(bytes);
            Ok(())
        };
        let used = fed.and_then(|()| if is_head { Ok(()) } else { drain(&mut answer) });
        if let Err(error) = used {
            assert!(!answer.is_clean(), "{start:?} {again:?}");
            return (error, read);
        }
    }
}

/// Takes what there is of a body that has no end.
fn drain(answer: &mut Answer) -> Result<(), Error> {
    loop {
        match answer.next()? {
            Next::Data(_) => {}
            Next::More => return Ok(()),
            Next::End => panic!("it has an end"),
        }
    }
}

#[test]
fn what_has_no_end_is_given_up_within_a_bound() {
    let chunks = |what: &str| [CHUNKED, what].concat();
    let (head, body) = (64 * 1024, 16 * 1024);
    for (start, again, expected, most) in [
        ("HTTP/1.1 200 OK\r\nA: ", "x", Error::HeadTooLarge, head),
        ("HTTP/1.1 200 ", "x", Error::HeadTooLarge, head),
        ("HTTP/1.1 200 OK\r\n", "A: b\r\n", Error::HeadTooLarge, head),
        ("", "\r\n", Error::HeadTooLarge, 100),
        ("HTTP/1.1 100 Continue\r\n\r\n", "\n", Error::HeadTooLarge, 200),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", Error::HeadTooLarge, head),
        ("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", Error::HeadTooLarge, head),
        (&chunks(""), "f", Error::Chunks("a chunk's size is too large"), 100),
        (&chunks(""), "0", Error::Chunks("a chunk's size is too long"), 2000),
        (&chunks("3"), " ", Error::Chunks("a chunk's size is too long"), 2000),
        (&chunks("3;"), "x", Error::Chunks("the chunks' extensions are too long"), body + 100),
        (&chunks(""), "1;xyz\r\na\r\n", Error::Chunks("the chunks' extensions are too long"), 4 * body),
        (&chunks("0\r\nA: "), "x", Error::Chunks("the fields after the chunks are too long"), body + 100),
        (&chunks("0\r\n"), "A: b\r\n", Error::Chunks("more fields than allowed follow the chunks"), 1000),
    ] {
        for piece in [1, 100, 4096, 4097, 40_000] {
            let (error, read) = endless(start, again, piece);
            assert_eq!(error, expected, "{start:?} {again:?} in pieces of {piece}");
            assert!(read <= most + piece, "{start:?} {again:?} in pieces of {piece}: after {read} bytes");
        }
    }
}

/// The bound on a head counts every byte of it, in whatever pieces they come.
#[test]
fn a_head_of_the_most_bytes_passes_and_one_of_a_byte_more_does_not() {
    for (more, interim) in
        [(0, ""), (1, ""), (0, "HTTP/1.1 100 Continue\r\n\r\n"), (1, "HTTP/1.1 100 Continue\r\n\r\n")]
    {
        let start = [interim, "HTTP/1.1 200 OK\r\nA: "].concat();
        let fill = 10_000 - start.len() - 4 + more;
        let text = [&start, &"x".repeat(fill), "\r\n\r\nand a body"].concat();
        for piece in [1, 999, 5000, text.len()] {
            let mut answer = Answer::new(Bounds { head_bytes: 10_000, fields: 100 });
            answer.begin(Asked::default());
            let mut pieces = text.as_bytes().chunks(piece).map(Bytes::copy_from_slice);
            let head = loop {
                match answer.feed_head(pieces.next().expect("more")) {
                    Ok(None) => {}
                    head => break head,
                }
            };
            let is_in = head.map(|head| head.is_some());
            let expected = if more == 0 { Ok(true) } else { Err(Error::HeadTooLarge) };
            assert_eq!(is_in, expected, "{more} more, after {interim:?}, in pieces of {piece}");
        }
    }
}

#[tokio::test]
async fn what_nobody_asked_for_ends_a_connection_and_no_request() {
    let late = Duration::from_millis(20);
    let again = || [vec![Step::Request, say(OK), Step::Hold]].concat();
    // After an answer, in the same piece and later; instead of one, before it was asked for.
    let behind = vec![Step::Request, say(&[OK, OK].concat()), Step::Hold];
    let later = vec![Step::Request, say(OK), Step::Wait(late), say(OK), Step::Hold];
    let nothing = vec![Step::Request, say("HTTP/1.1 204 None\r\n\r\nx"), Step::Hold];
    let smuggled = vec![
        Step::Request,
        say(
            "HTTP/1.1 200 OK\r\ncontent-length: 12\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ),
        Step::Hold,
    ];
    for (script, body) in [(behind, "hi"), (later, "hi"), (nothing, ""), (smuggled, "hi")] {
        let name = format!("{script:?}");
        let peer = play(vec![script, again()]).await;
        let transport = transport();
        assert_eq!(
            text(send(&transport, post(peer.address)).await.expect("head")).await.expect("whole"),
            body
        );
        tokio::time::sleep(3 * late).await;
        let next = send(&transport, post(peer.address)).await.expect("another connection");
        assert!(!next.connection.reused, "{name}");
        assert_eq!(text(next).await.expect("whole"), "hi", "{name}");
        eventually("the first is closed", || peer.done() == 1).await;
    }
    let peer = play(vec![vec![say(OK), Step::Hold], again()]).await;
    let transport = transport();
    let context = loquat_core::Context::new();
    assert_eq!(transport.warm(&context, &post(peer.address).url, 1).await.expect("made"), 1);
    tokio::time::sleep(3 * late).await;
    assert_eq!(text(send(&transport, post(peer.address)).await.expect("head")).await.expect("whole"), "hi");
    assert_eq!(peer.connections(), 2);
}

#[tokio::test]
async fn a_protocol_that_nobody_asked_for_is_an_error_and_its_bytes_are_nobodys() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nrest";
    let peer = play(vec![vec![Step::Request, say(switch), Step::Hold]]).await;
    let transport = transport();
    let error = send(&transport, get(peer.address)).await.expect_err("not asked for");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Protocol, Delivery::MaybeSent), "{error}");
    eventually("it is closed", || peer.done() == 1).await;
    // Who asks gets the head, and a connection that is not used again.
    let mut request = get(peer.address);
    request.headers.insert("upgrade", "h2c".parse().expect("valid"));
    let response = send(&transport, request).await.expect("asked for");
    assert_eq!((response.status.as_u16(), response.body.is_done()), (101, true));
    eventually("it is closed", || peer.done() == 2).await;
}
