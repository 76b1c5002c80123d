//! What is read into: memory that belongs to the thread.
//!
//! A stream waits much longer than it reads, and many of them take turns. Whoever reads next writes over what was read before, once
//! that is dropped, and finds the memory in the processor's cache; a buffer of its own, for each, would be in none.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio_util::io::poll_read_buf;

use crate::io::Stream;

/// Room to read into: of a thread, for all that it reads.
const ROOM_BYTES: usize = 32 * 1024;
/// Where somebody still holds bytes of the room, the rest of it is used while it is at least so much.
const LEAST_ROOM_BYTES: usize = 8 * 1024;
thread_local! {
    static ROOM: Cell<BytesMut> = Cell::default();
}

/// What there is to read, without a copy; empty at the end.
pub(super) fn fill(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    // A thread that is ending has none any more.
    let mut room = ROOM.try_with(Cell::take).unwrap_or_default();
    if !room.try_reclaim(ROOM_BYTES) && room.capacity() < LEAST_ROOM_BYTES {
        room = BytesMut::with_capacity(ROOM_BYTES);
    }
    let polled = poll_read_buf(Pin::new(stream), cx, &mut room);
    let bytes = room.split();
    let _ = ROOM.try_with(|place| place.set(room));
    ready!(polled)?;
    Poll::Ready(Ok(bytes.freeze()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::future::poll_fn;

    use tokio::{io::AsyncWriteExt, net::UnixStream};

    use super::*;

    /// All in one thread, as the room is a thread's.
    #[tokio::test]
    async fn memory_is_read_into_again_once_nobody_holds_its_bytes() {
        let pair = || {
            let (peer, socket) = UnixStream::pair().expect("a pair");
            (peer, Stream::unix(socket))
        };
        let (mut one, mut other) = (pair(), pair());
        let read = async |from: &mut (UnixStream, Stream), text: &str| {
            from.0.write_all(text.as_bytes()).await.expect("open");
            poll_fn(|cx| fill(&mut from.1, cx)).await.expect("open")
        };
        let first = read(&mut one, "first").await;
        let second = read(&mut other, "second").await;
        assert_eq!((&first[..], &second[..]), (&b"first"[..], &b"second"[..]));
        assert_ne!(first.as_ptr(), second.as_ptr());
        let place = first.as_ptr();
        drop((first, second));
        for text in ["third", "fourth"] {
            let bytes = read(&mut one, text).await;
            assert_eq!((&bytes[..], bytes.as_ptr()), (text.as_bytes(), place));
        }
        // Those who keep what they got take the room bit by bit, and then another.
        let kept: Vec<_> = {
            let mut kept = Vec::new();
            for _ in 0..3 * ROOM_BYTES / 1000 {
                kept.push(read(&mut other, &"x".repeat(1000)).await);
            }
            kept
        };
        assert!(kept.iter().all(|bytes| bytes.len() == 1000 && bytes.iter().all(|byte| *byte == b'x')));
    }
}
