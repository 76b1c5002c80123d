//! Large buffers that are used again: what a decoder writes into, what an upload is read into.
//!
//! Bodies as they come need none: HTTP/1.1 reads into the thread's memory, which counts for itself how often that was there
//! ([`Stats::reads`](crate::Stats::reads)), and `h2` into its own, and slices of it are handed on. Where one is needed, a
//! used one saves what zeroing and its page faults cost: 0.6 of 0.6 µs for 32 KiB of which little is used, 0.7 of 1.4 µs where all
//! of it is, 1.2 of 2.7 µs for 64 KiB. A buffer is zeroed when it is made and not again; it comes back when the last [`Bytes`] over it is dropped, unless enough rest already or
//! somebody else is at the shelf just then: making a new one is cheaper than waiting.

mod shelf;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use shelf::Shelf;

/// What a shelf is made of here; its model has others.
mod parts {
    pub(super) use std::sync::Mutex;
}

/// How large a buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// 32 KiB: a decoder's window, and more than most answers.
    #[cfg_attr(
        all(not(feature = "decompress"), not(test)),
        expect(dead_code, reason = "only decoders take it")
    )]
    Small,
    /// 64 KiB: what a file is read in.
    Large,
}

impl Size {
    fn bytes(self) -> usize {
        match self {
            Self::Small => 32 * 1024,
            Self::Large => 64 * 1024,
        }
    }
}

/// See the [module](self). Cheap to clone; clones share the buffers.
#[derive(Debug, Clone)]
pub(crate) struct Buffers(Arc<Shelves>);

#[derive(Debug)]
struct Shelves {
    resting: [Shelf; 2],
    taken: AtomicU64,
    reused: AtomicU64,
}

impl Buffers {
    /// That keeps so many of each size.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Shelves {
            resting: [Shelf::new(most), Shelf::new(most)],
            taken: AtomicU64::new(0),
            reused: AtomicU64::new(0),
        }))
    }

    pub(crate) fn take(&self, size: Size) -> Buffer {
        let shelves = &self.0;
        shelves.taken.fetch_add(1, Relaxed);
        let resting = shelves.resting[size as usize].take();
        shelves.reused.fetch_add(u64::from(resting.is_some()), Relaxed);
        let memory = resting.unwrap_or_else(|| vec![0; size.bytes()].into_boxed_slice());
        Buffer { memory, size, home: Arc::clone(shelves) }
    }

    /// How many were taken, and how many of them had been used before.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.0.taken.load(Relaxed), self.0.reused.load(Relaxed))
    }
}

/// One buffer; goes home when it is dropped.
pub(crate) struct Buffer {
    memory: Box<[u8]>,
    size: Size,
    home: Arc<Shelves>,
}

impl Buffer {
    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// The first so many bytes, without a copy if `whole` buffer's worth is in them; few bytes are copied, so that they do not
    /// keep all of it. Gives the buffer itself back in that case.
    pub(crate) fn freeze(self, filled: usize) -> (Bytes, Option<Self>) {
        if filled >= self.memory.len() / 2 {
            return (Bytes::from_owner(Filled { buffer: self, filled }), None);
        }
        (Bytes::copy_from_slice(self.memory.get(..filled).unwrap_or_default()), Some(self))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.resting[self.size as usize].put(std::mem::take(&mut self.memory));
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Buffer").field(&self.size).finish()
    }
}

struct Filled {
    buffer: Buffer,
    filled: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.buffer.memory.get(..self.filled).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shelf is a mutex that nobody waits for, so what there is to get wrong is the count and who holds what: many threads take,
    /// write, read again and give back; no two may hold the same memory, and no more may rest than were allowed.
    #[test]
    fn many_threads_share_a_shelf() {
        const THREADS: u8 = 8;
        const ROUNDS: usize = 2_000;
        let buffers = Buffers::new(3);
        std::thread::scope(|scope| {
            for thread in 1..=THREADS {
                let buffers = buffers.clone();
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let mut buffer = buffers.take(Size::Small);
                        buffer.as_mut()[..64].fill(thread);
                        std::thread::yield_now();
                        assert!(buffer.as_mut()[..64].iter().all(|byte| *byte == thread), "shared");
                        // Half of them come home from another thread's hands: as the last bytes over them.
                        if round % 2 == 0 {
                            let (bytes, none) = buffer.freeze(20_000);
                            assert!(none.is_none() && bytes[..64].iter().all(|byte| *byte == thread));
                            if round % 100 == 0 {
                                std::thread::spawn(move || drop(bytes)).join().expect("nothing to panic at");
                            }
                        }
                    }
                });
            }
        });
        let (taken, reused) = buffers.counts();
        assert_eq!(taken, u64::from(THREADS) * ROUNDS as u64);
        assert!(reused > 0 && reused < taken, "{reused} of {taken}");
        let resting = buffers.0.resting[Size::Small as usize].len();
        assert!((1..=3).contains(&resting), "{resting}");
    }

    #[test]
    fn a_buffer_comes_home_with_the_last_bytes_over_it() {
        let buffers = Buffers::new(1);
        let mut buffer = buffers.take(Size::Large);
        buffer.as_mut()[..3].copy_from_slice(b"abc");
        let (few, buffer) = buffer.freeze(3);
        let (much, none) = buffer.expect("few bytes leave the buffer").freeze(40_000);
        assert!(none.is_none());
        assert_eq!((&few[..], &much[..3], much.len()), (&b"abc"[..], &b"abc"[..], 40_000));
        let slice = much.slice(..1);
        drop(much);
        drop(buffers.take(Size::Large)); // another, while the first is still read
        drop(slice); // there is one at rest already
        drop(buffers.take(Size::Large));
        drop(buffers.take(Size::Small)); // of another shelf
        assert_eq!(buffers.counts(), (4, 1));
        assert_eq!(buffers.0.resting[1].len(), 1);
    }
}
