//! The ring's algorithm, over whatever parts are beside it; see the module above.

#![allow(unsafe_code, reason = "says which part of the shared buffer belongs to whom")]

use std::fmt;

use super::parts::{
    Arc, AtomicBool, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    Padded, Store,
};

/// Largest ring, in bytes: 1 GiB.
pub const MAX_CAPACITY_BYTES: usize = 1 << 30;

struct Shared {
    /// Bytes read since the beginning, wrapping; the consumer writes it.
    head: Padded<AtomicUsize>,
    /// Bytes written since the beginning, wrapping; the producer writes it.
    tail: Padded<AtomicUsize>,
    /// Either side is gone.
    closed: Padded<AtomicBool>,
    /// A power of two long. What lies from `head` to `tail` is the consumer's to read, the rest the producer's to write.
    store: Store,
}

impl Shared {
    /// The part that begins at that count, up to the end of the memory, and where it goes on from the start.
    fn split(&self, from: usize, bytes: usize) -> (usize, usize) {
        let at = from & (self.store.len() - 1);
        (at, bytes.min(self.store.len() - at))
    }
}

/// A ring of at least that many bytes: rounded up to a power of two, at least 1, at most [`MAX_CAPACITY_BYTES`]. Allocated
/// whole at once.
#[must_use]
pub fn ring(capacity_bytes: usize) -> (Producer, Consumer) {
    let capacity = capacity_bytes.clamp(1, MAX_CAPACITY_BYTES).next_power_of_two();
    let shared = Arc::new(Shared {
        head: Padded(AtomicUsize::new(0)),
        tail: Padded(AtomicUsize::new(0)),
        closed: Padded(AtomicBool::new(false)),
        store: Store::new(capacity),
    });
    let producer = Producer { shared: Arc::clone(&shared), tail: 0, head: 0 };
    (producer, Consumer { shared, head: 0, tail: 0 })
}

/// The side that writes. Dropping it closes the ring; what was written can still be read.
pub struct Producer {
    shared: Arc<Shared>,
    tail: usize,
    /// The consumer's index as last seen: there may be more room by now, never less.
    head: usize,
}

impl Producer {
    /// Copies in as much as there is room for, and says how much. Never waits.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        if self.room() < bytes.len() {
            self.head = self.shared.head.0.load(Acquire);
        }
        let taken = bytes.len().min(self.room());
        let (at, first) = self.shared.split(self.tail, taken);
        // SAFETY: from `tail` on, `room` bytes are the producer's: the consumer gave them up before the store to `head`
        // that was loaded with `Acquire`, and does not read them before the store to `tail` below. There is one producer,
        // borrowed mutably.
        unsafe {
            self.shared.store.write(at, &bytes[..first]);
            self.shared.store.write(0, &bytes[first..taken]);
        }
        self.tail = self.tail.wrapping_add(taken);
        self.shared.tail.0.store(self.tail, Release);
        taken
    }

    fn room(&self) -> usize {
        self.shared.store.len() - self.tail.wrapping_sub(self.head)
    }

    /// Bytes that can be written now; at least that many until the next write.
    pub fn free(&mut self) -> usize {
        self.head = self.shared.head.0.load(Acquire);
        self.room()
    }

    /// Bytes the ring holds.
    pub fn capacity(&self) -> usize {
        self.shared.store.len()
    }

    /// Whether the consumer is gone: nobody will read what is written.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.0.load(Acquire)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.closed.0.store(true, Release);
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// The side that reads. Dropping it closes the ring.
pub struct Consumer {
    shared: Arc<Shared>,
    head: usize,
    /// The producer's index as last seen: there may be more by now, never less.
    tail: usize,
}

impl Consumer {
    /// Copies out as much as there is and fits, and says how much. Never waits.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        self.read_at_most(buffer.len(), |first, second| {
            let (one, rest) = buffer.split_at_mut(first.len());
            one.copy_from_slice(first);
            rest[..second.len()].copy_from_slice(second);
            first.len() + second.len()
        })
    }

    /// Shows all there is, in two pieces where it goes round the end, and takes out as many bytes as `look` says.
    pub fn read_with(&mut self, look: impl FnOnce(&[u8], &[u8]) -> usize) -> usize {
        self.tail = self.shared.tail.0.load(Acquire);
        self.read_at_most(usize::MAX, look)
    }

    fn read_at_most(&mut self, most: usize, look: impl FnOnce(&[u8], &[u8]) -> usize) -> usize {
        if self.seen() < most.min(self.shared.store.len()) {
            self.tail = self.shared.tail.0.load(Acquire);
        }
        let bytes = self.seen().min(most);
        let (at, first) = self.shared.split(self.head, bytes);
        // SAFETY: from `head` on, `seen` bytes are the consumer's: the producer wrote them before the store to `tail` that
        // was loaded with `Acquire`, and does not touch them before the store to `head` below. There is one consumer,
        // borrowed mutably.
        let used = unsafe { self.shared.store.lend(at..at + first, 0..bytes - first, look) }.min(bytes);
        self.head = self.head.wrapping_add(used);
        self.shared.head.0.store(self.head, Release);
        used
    }

    fn seen(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }

    /// Bytes that can be read now; at least that many until the next read.
    pub fn available(&mut self) -> usize {
        self.tail = self.shared.tail.0.load(Acquire);
        self.seen()
    }

    /// Whether the producer is gone. What it wrote before can still be read: ask first, then read.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.0.load(Acquire)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.closed.0.store(true, Release);
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.shared.tail.0.load(Relaxed).wrapping_sub(self.head);
        f.debug_struct("Consumer").field("bytes", &waiting).finish_non_exhaustive()
    }
}
