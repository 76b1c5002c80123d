//! How an exchange is given up or runs out of time, and what becomes of its connection then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use loquat_core::{Context, Delivery, ErrorKind};

use crate::support::{LONG, eventually, listen, post, read_request, send, transport, until_closed, write};

#[tokio::test]
async fn dropping_the_body_closes_the_connection_at_once() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let address = listen(move |_, mut socket| {
        let closed = Arc::clone(&closed);
        async move {
            read_request(&mut socket).await;
            write(&mut socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n").await;
            until_closed(&mut socket).await;
            closed.fetch_add(1, SeqCst);
        }
    })
    .await;
    let transport = transport();
    let mut response = send(&transport, post(address)).await.expect("head");
    assert_eq!(response.body.chunk().await.expect("a chunk").expect("fine"), "hel");
    drop(response);
    eventually("the server sees the close", || count.load(SeqCst) == 1).await;
    assert_eq!(transport.stats().http1_open, 0);
}

#[tokio::test]
async fn finish_keeps_the_connection_when_the_end_is_near_and_closes_it_otherwise() {
    for (rest, delay, kept) in
        [("0\r\n\r\n", 0, true), ("5\r\nxxxxx\r\n0\r\n\r\n", 10, true), ("0\r\n\r\n", 300, false)]
    {
        let address = listen(move |_, mut socket| async move {
            while read_request(&mut socket).await.is_some() {
                write(&mut socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n[DONE]\r\n")
                    .await;
                tokio::time::sleep(Duration::from_millis(delay)).await;
                write(&mut socket, rest).await;
            }
        })
        .await;
        let transport = transport();
        let mut response = send(&transport, post(address)).await.expect("head");
        assert_eq!(response.body.chunk().await.expect("a chunk").expect("fine"), "[DONE]");
        response.body.finish();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(transport.stats().http1_open, usize::from(kept), "after {delay} ms");
        assert_eq!(send(&transport, post(address)).await.expect("next").connection.reused, kept);
    }
}

#[tokio::test]
async fn a_head_that_never_comes_ends_in_the_first_byte_limit() {
    let address = listen(|_, mut socket| async move { until_closed(&mut socket).await }).await;
    let begin = Instant::now();
    let request = post(address).with_first_byte(Duration::from_millis(100));
    let error = send(&transport(), request).await.expect_err("nothing comes");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::MaybeSent));
    assert!(error.message().contains("first_byte") && error.message().contains("response head"), "{error}");
    assert!(begin.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn an_upload_that_is_not_taken_is_still_sending_when_the_limit_comes() {
    let address = listen(|_, socket| async move {
        tokio::time::sleep(LONG).await;
        drop(socket);
    })
    .await;
    let request = post(address).with_body(vec![b'x'; 64 << 20]).with_first_byte(Duration::from_millis(200));
    let error = send(&transport(), request).await.expect_err("stuck");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::MaybeSent));
    assert!(error.message().contains("(sending to"), "{error}");
}

#[tokio::test]
async fn cancellation_and_deadline_end_the_wait_for_the_head() {
    let address = listen(|_, mut socket| async move { until_closed(&mut socket).await }).await;
    for cancel in [true, false] {
        let transport = transport();
        let begin = Instant::now();
        let mut context = Context::new();
        if cancel {
            let token = context.cancellation().clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                token.cancel();
            });
        } else {
            context = context.with_timeout(Duration::from_millis(50));
        }
        let error = transport.send(&context, post(address)).await.expect_err("nothing comes");
        let kind = if cancel { ErrorKind::Cancelled } else { ErrorKind::Timeout };
        assert_eq!((error.kind(), error.delivery()), (kind, Delivery::MaybeSent), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(2));
        eventually("the connection is closed", || transport.stats().http1_open == 0).await;
        let error = transport.send(&context, post(address)).await.expect_err("over");
        assert_eq!((error.kind(), error.delivery()), (kind, Delivery::NotSent), "{error}");
        assert_eq!(transport.stats().http1_opened, 1, "an ended context opens nothing");
    }
}

#[tokio::test]
async fn cancellation_wakes_whoever_waits_for_the_next_chunk() {
    let address = listen(|_, mut socket| async move {
        read_request(&mut socket).await;
        write(&mut socket, "HTTP/1.1 200 OK\r\n\r\nhello").await;
        until_closed(&mut socket).await;
    })
    .await;
    let (transport, context) = (transport(), Context::new());
    let mut response = transport.send(&context, post(address)).await.expect("head");
    assert_eq!(response.body.chunk().await.expect("a chunk").expect("fine"), "hello");
    let token = context.cancellation().clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        token.cancel();
    });
    let error = tokio::time::timeout(Duration::from_secs(2), response.body.chunk()).await.expect("woken");
    let error = error.expect("an error").expect_err("cancelled");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Cancelled, Delivery::Committed));
    assert!(response.body.chunk().await.is_none(), "nothing follows an error");
    assert_eq!(transport.stats().http1_open, 0);
}

#[tokio::test]
async fn a_body_that_changes_hands_hears_its_cancellation() {
    let address = listen(|_, mut socket| async move {
        read_request(&mut socket).await;
        write(&mut socket, "HTTP/1.1 200 OK\r\n\r\nhello").await;
        until_closed(&mut socket).await;
    })
    .await;
    let (transport, context) = (transport(), Context::new());
    let mut body = transport.send(&context, post(address)).await.expect("head").body;
    assert_eq!(body.chunk().await.expect("a chunk").expect("fine"), "hello");
    // Two tasks wait for it one after the other; the second must be woken.
    for _ in 0..2 {
        let task = tokio::spawn(async move {
            let waited = tokio::time::timeout(Duration::from_millis(10), body.chunk()).await;
            assert!(waited.is_err(), "nothing has come");
            body
        });
        body = task.await.expect("no panic");
    }
    let last = tokio::spawn(async move { body.chunk().await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    context.cancellation().cancel();
    let error = tokio::time::timeout(LONG, last).await.expect("woken").expect("no panic").expect("an item");
    assert_eq!(error.expect_err("cancelled").kind(), ErrorKind::Cancelled);
}
