//! One stream after another in the same place of a connection: nothing of the last one reaches the next.

use std::{
    future::Future,
    pin::pin,
    task::{Context as Task, Waker},
    time::Duration,
};

use loquat_core::Context;
use loquat_transport::{Config, Http2Limits, Http2Mode, StatusCode};

use crate::support::{
    post,
    script::{
        DATA, END, HEADERS,
        Step::{Hold, Preface, Until, Write},
        answer, frame, head, play, reset,
    },
    send, text, with,
};

/// `:status: 404` from HPACK's static table.
const STATUS_404: &[u8] = &[0x8d];

/// A caller goes when its stream has a head and data that nobody took, which by then the connection keeps; and the peer says
/// more of that stream while the next one is answered.
#[tokio::test]
async fn what_comes_of_a_stream_that_was_left_is_not_the_next_ones() {
    for (what, late) in [
        ("data", frame(DATA, 0, 1, b"late")),
        ("the end", frame(DATA, END, 1, b"late")),
        ("a reset", reset(1, 2)),
        ("nothing", Vec::new()),
    ] {
        let not_found = frame(HEADERS, 4, 3, STATUS_404);
        let peer = play(vec![vec![
            Preface(None),
            Until(HEADERS, 1),
            Write([head(1), frame(DATA, 0, 1, b"old")].concat()),
            Until(HEADERS, 1),
            Write([late.clone(), not_found, late.clone(), frame(DATA, 0, 3, b"n"), late].concat()),
            Write(frame(DATA, END, 3, b"ew")),
            Until(HEADERS, 1),
            Write(answer(5, "third")),
            Hold,
        ]])
        .await;
        // Every ten milliseconds all that has come is taken over from those who do not read.
        let limits = Http2Limits::default().with_laggard_after(Some(Duration::from_millis(40)));
        let transport =
            with(Config::default().with_http2(Http2Mode::PriorKnowledge).with_http2_limits(limits));
        let (context, request) = (Context::new(), post(peer.address));
        assert_eq!(transport.warm(&context, &request.url, 1).await.expect("a connection"), 1);
        {
            // Begun, and not looked at again.
            let mut left = pin!(transport.send(&context, request));
            assert!(left.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        let next = send(&transport, post(peer.address)).await.expect(what);
        assert_eq!(next.status, StatusCode::NOT_FOUND, "{what}");
        assert_eq!(text(next).await.expect(what), "new", "{what}");
        assert_eq!(text(send(&transport, post(peer.address)).await.expect(what)).await.expect(what), "third");
        assert_eq!(transport.stats().http2_opened, 1, "{what}");
    }
}
