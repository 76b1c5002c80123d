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

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_util::io::poll_read_buf;

use crate::io::{Stream, Uncounted};

/// Room to read into: of a thread, for all that it reads.
const ROOM_BYTES: usize = 32 * 1024;
/// Where somebody still holds bytes of the room, the rest of it is used while it is at least so much.
const LEAST_ROOM_BYTES: usize = 8 * 1024;
thread_local! {
    static ROOM: Cell<BytesMut> = Cell::default();
}

/// How much one connection reads at once. Where reads fill the thread's room it has a larger one of its own, and as long as they do.
#[derive(Debug)]
// Mostly only the first is looked at.
#[repr(C)]
pub(super) struct Room {
    /// Bytes of the next read, at most.
    piece: usize,
    own: Option<Box<BytesMut>>,
    most: u32,
    /// Reads that nobody has counted yet, and how often memory was made for one.
    reads: u32,
    made: u32,
    /// Whether the last read would have fitted into half of it.
    was_small: bool,
}

impl Room {
    /// That never reads more at once than so many bytes.
    pub(super) fn new(most: usize) -> Self {
        let most_bytes = u32::try_from(most).unwrap_or(u32::MAX);
        Self { piece: ROOM_BYTES.min(most), own: None, most: most_bytes, reads: 0, made: 0, was_small: false }
    }

    /// How often it was read into since this was last asked, and how often memory was made for that.
    pub(super) fn take_counts(&mut self) -> (u32, u32) {
        (std::mem::take(&mut self.reads), std::mem::take(&mut self.made))
    }

    /// What there is to read, without a copy; empty at the end.
    pub(super) fn fill(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.piece <= ROOM_BYTES {
            // A thread that is ending has none any more.
            let mut room = ROOM.try_with(Cell::take).unwrap_or_default();
            let polled = read(&mut room, ROOM_BYTES, self.piece, &mut self.made, stream, cx);
            let _ = ROOM.try_with(|place| place.set(room));
            let bytes = ready!(polled)?;
            self.reads = self.reads.wrapping_add(1);
            if bytes.len() == self.piece {
                self.grow();
            }
            return Poll::Ready(Ok(bytes));
        }
        let own = self.own.get_or_insert_default();
        let bytes = ready!(read(own, self.piece, self.piece, &mut self.made, stream, cx))?;
        self.reads = self.reads.wrapping_add(1);
        if bytes.len() == self.piece {
            self.grow();
        } else if bytes.len() <= self.piece / 2 {
            // Twice in a row: one is often the rest of a body.
            if std::mem::replace(&mut self.was_small, true) {
                (self.piece, self.was_small) = (self.piece / 2, false);
                self.own = None;
            }
        } else {
            self.was_small = false;
        }
        Poll::Ready(Ok(bytes))
    }

    fn grow(&mut self) {
        (self.piece, self.was_small) = ((self.piece * 2).min(self.most as usize), false);
    }
}

/// Reads up to `most` bytes into that room, which has `bytes` where nobody holds any of them.
fn read(
    room: &mut BytesMut,
    bytes: usize,
    most: usize,
    made: &mut u32,
    stream: &mut Stream,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    if !room.try_reclaim(bytes) && room.capacity() < LEAST_ROOM_BYTES {
        *room = BytesMut::with_capacity(bytes);
        *made = made.wrapping_add(1);
    }
    ready!(poll_read_buf(Pin::new(&mut Uncounted(stream)), cx, &mut (&mut *room).limit(most)))?;
    Poll::Ready(Ok(room.split().freeze()))
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
        let mut room = Room::new(usize::MAX);
        async fn read(room: &mut Room, from: &mut (UnixStream, Stream), text: &str) -> Bytes {
            from.0.write_all(text.as_bytes()).await.expect("open");
            poll_fn(|cx| room.fill(&mut from.1, cx)).await.expect("open")
        }
        let first = read(&mut room, &mut one, "first").await;
        let second = read(&mut room, &mut other, "second").await;
        assert_eq!((&first[..], &second[..]), (&b"first"[..], &b"second"[..]));
        assert_ne!(first.as_ptr(), second.as_ptr());
        let place = first.as_ptr();
        drop((first, second));
        for text in ["third", "fourth"] {
            let bytes = read(&mut room, &mut one, text).await;
            assert_eq!((&bytes[..], bytes.as_ptr()), (text.as_bytes(), place));
        }
        assert_eq!(room.take_counts(), (4, 1), "made once for four reads");
        // Those who keep what they got take the room bit by bit, and then another: 25 of these fit before less than a quarter is left.
        let mut kept = Vec::new();
        for _ in 0..100 {
            kept.push(read(&mut room, &mut other, &"x".repeat(1000)).await);
        }
        assert!(kept.iter().all(|bytes| bytes.len() == 1000 && bytes.iter().all(|byte| *byte == b'x')));
        assert_eq!(room.take_counts(), (100, 3), "and the one that was there");
    }

    #[tokio::test]
    async fn pieces_grow_while_reads_fill_them_and_shrink_again() {
        const MOST: usize = 100_000;
        let (mut peer, socket) = UnixStream::pair().expect("a pair");
        let (mut stream, mut room) = (Stream::unix(socket), Room::new(MOST));
        let sender = tokio::spawn(async move {
            peer.write_all(&vec![b'x'; 3_000_000]).await.expect("open");
            peer
        });
        let (mut read, mut largest) = (0, 0);
        while read < 3_000_000 {
            let bytes = poll_fn(|cx| room.fill(&mut stream, cx)).await.expect("open");
            (read, largest) = (read + bytes.len(), largest.max(bytes.len()));
            assert!(bytes.len() <= MOST, "{}", bytes.len());
        }
        assert!(largest > ROOM_BYTES, "{largest}");
        let mut peer = sender.await.expect("no panic");
        for _ in 0..6 {
            peer.write_all(b"few").await.expect("open");
            assert_eq!(poll_fn(|cx| room.fill(&mut stream, cx)).await.expect("open"), "few");
        }
        assert_eq!((room.piece, room.own.is_none()), (MOST / 4, true));
    }
}
