//! A connection whose other end the test holds: what is found before a request is written, and after it can be written no more.

use std::{convert::Infallible, future::Future, pin::pin, task::Waker, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::*;
use crate::{Config, Http2Limits, Protocol, Upload, Url, buffers::Buffers, pool::Pool};

/// And the other end of it.
fn connection() -> (Http1, UnixStream) {
    let (peer, socket) = UnixStream::pair().expect("a pair");
    let config = Config::default();
    let pool = Pool::new(config.pool, &Http2Limits::default());
    let origin = Url::parse("http://h/").expect("valid").origin().clone();
    let site = pool.site(&origin, Some(Protocol::Http1), Instant::now());
    let ticket = site.spare(1, Instant::now()).expect("room for one");
    let info = ConnectionInfo { peer: None, local: None, protocol: Protocol::Http1, reused: false };
    let link = Link { stream: Stream::unix(socket), info, forward: None };
    (Http1::new(link, &config.head, ticket.permit), peer)
}

fn post(body: impl Into<Bytes>) -> Request {
    Request::post("http://h/", body).expect("valid")
}

async fn all_of(connection: &mut Http1) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(data) = poll_fn(|cx| connection.poll_body(cx)).await {
        body.extend_from_slice(&data?);
    }
    Ok(body)
}

/// The runtime has to learn of what the other end did.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[tokio::test]
async fn what_is_found_before_the_request_is_written_costs_nothing_of_it() {
    for early in ["", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"] {
        let (mut connection, mut peer) = connection();
        peer.write_all(early.as_bytes()).await.expect("open");
        if early.is_empty() {
            drop(peer);
        }
        settle().await;
        assert!(connection.is_settled(), "nothing is known without a look");
        // Whoever takes no notice of it waits for an answer that has come already.
        let request = post("hello");
        let exchange = tokio::time::timeout(Duration::from_secs(10), connection.exchange(&request, None));
        let failure = exchange.await.expect("nothing to wait for").expect_err("found");
        let is_right = if early.is_empty() {
            matches!(failure, Failure::Closed)
        } else {
            matches!(failure, Failure::Unasked)
        };
        assert!(is_right && failure.is_lost(), "{failure:?}");
        assert_eq!((connection.meter().written(), connection.used), (0, false));
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_its_request_is_read_and_the_rest_is_not_sent() {
    let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 8\r\n\r\ntoo much";
    for closes in [false, true] {
        let (mut connection, mut peer) = connection();
        let request = post(vec![b'x'; 16 << 20]);
        let served = async {
            let mut some = [0; 1000];
            peer.read_exact(&mut some).await.expect("a beginning");
            peer.write_all(answer.as_bytes()).await.expect("open");
            if closes { None } else { Some(peer) }
        };
        let (head, kept) = tokio::join!(connection.exchange(&request, None), served);
        assert_eq!(head.expect("an answer").status, 413);
        assert_eq!(all_of(&mut connection).await.expect("whole"), b"too much");
        assert!(!connection.is_settled() && !connection.is_usable(), "the request is not all written");
        drop(kept);
    }
}

/// What was written in one piece is read in one.
#[tokio::test]
async fn a_small_request_is_one_write_with_its_body_and_is_written_in_the_first_turn() {
    for bytes in [0, 200, 3_900] {
        let (mut connection, mut peer) = connection();
        let request = post(vec![b'x'; bytes]);
        {
            let mut exchange = pin!(connection.exchange(&request, None));
            assert!(exchange.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert!(connection.sending.is_done());
        let mut read = vec![0; 1 << 16];
        let total = peer.read(&mut read).await.expect("open");
        let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {bytes}\r\n\r\n");
        assert_eq!(String::from_utf8_lossy(&read[..total]), head + &"x".repeat(bytes));
    }
}

#[tokio::test]
async fn an_upload_whose_end_is_known_after_its_answer_leaves_the_connection_for_others() {
    let (mut connection, mut peer) = connection();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let upload =
        Upload::from_poll(move |cx| receiver.poll_recv(cx).map(|next| next.map(Ok::<_, Infallible>)));
    let upload = upload.share(&Buffers::new(1));
    sender.send(Bytes::from_static(b"piece")).expect("wanted");
    let request = post("");
    let served = async {
        let mut some = Vec::new();
        while !some.ends_with(b"5\r\npiece\r\n") {
            peer.read_buf(&mut some).await.expect("open");
        }
        peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.expect("open");
    };
    let (head, ()) = tokio::join!(connection.exchange(&request, Some(&upload)), served);
    assert_eq!(head.expect("an answer").status, 200);
    assert_eq!(all_of(&mut connection).await.expect("whole"), b"hi");
    assert!(!connection.is_usable(), "the source may have more");
    drop(sender);
    assert!(connection.is_usable());
    let mut end = [0; 5];
    peer.read_exact(&mut end).await.expect("open");
    assert_eq!(&end, b"0\r\n\r\n");
}

/// What a chunk of a body looks at: the stream, how much is read and whether the request is out, the answer.
#[test]
fn what_a_chunk_needs_lies_in_three_lines_of_memory() {
    use std::mem::offset_of;
    assert_eq!(offset_of!(Http1, stream), 0);
    assert!(offset_of!(Http1, room) < offset_of!(Http1, sending) && offset_of!(Http1, sending) < 128);
    assert_eq!(offset_of!(Http1, answer) % 64, 0);
}
