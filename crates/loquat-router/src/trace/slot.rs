//! One place of the ring: a sequence lock over atomic words (Boehm, "Can seqlocks get along with programming language memory
//! models?", 2012, figure 6), odd while it is written. Model-checked below, over loom's atomics and fewer words.

use std::sync::atomic::{AtomicU64, Ordering};

/// An atomic word, and the fence that goes with it: the standard library's in use, loom's in the tests.
pub(super) trait Atomic {
    fn new(value: u64) -> Self;
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    /// Whether `old` was there and `new` is now; all that follows comes after that.
    fn replace(&self, old: u64, new: u64) -> bool;
    fn fence(order: Ordering);
}

macro_rules! atomic {
    ($word:ty, $fence:path) => {
        impl Atomic for $word {
            fn new(value: u64) -> Self {
                Self::new(value)
            }

            fn load(&self, order: Ordering) -> u64 {
                self.load(order)
            }

            fn store(&self, value: u64, order: Ordering) {
                self.store(value, order);
            }

            fn replace(&self, old: u64, new: u64) -> bool {
                self.compare_exchange(old, new, Ordering::Acquire, Ordering::Relaxed).is_ok()
            }

            fn fence(order: Ordering) {
                $fence(order);
            }
        }
    };
}

atomic!(AtomicU64, std::sync::atomic::fence);

/// A cache line each: neighbours are written by different threads at once.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot<A, const WORDS: usize> {
    /// Twice the number of the record that is in it, plus two; one less while that is written; 0 for none.
    sequence: A,
    words: [A; WORDS],
}

impl<A: Atomic, const WORDS: usize> Slot<A, WORDS> {
    pub(super) fn new() -> Self {
        Self { sequence: A::new(0), words: std::array::from_fn(|_| A::new(0)) }
    }

    /// Writes the record of that number, which nobody else has; not where another is being written, or a later one is there.
    pub(super) fn write(&self, number: u64, values: [u64; WORDS]) {
        let seen = self.sequence.load(Ordering::Relaxed);
        let writing = 2 * number + 1;
        if seen % 2 == 1 || seen > writing || !self.sequence.replace(seen, writing) {
            return;
        }
        // Readers must not see the words before they can see that the slot is being written.
        A::fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        self.sequence.store(writing + 1, Ordering::Release);
    }

    /// The record of that number, if it is there and stays while it is read.
    pub(super) fn read(&self, number: u64) -> Option<[u64; WORDS]> {
        let whole = 2 * number + 2;
        if self.sequence.load(Ordering::Acquire) != whole {
            return None;
        }
        let words = std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed));
        // The words must have been read before the sequence is looked at again.
        A::fence(Ordering::Acquire);
        (self.sequence.load(Ordering::Relaxed) == whole).then_some(words)
    }
}

#[cfg(test)]
mod tests {
    use loom::{
        sync::{Arc, atomic::AtomicU64},
        thread,
    };

    use super::{Atomic, Ordering, Slot};

    atomic!(AtomicU64, loom::sync::atomic::fence);

    const OLD: [u64; 2] = [10, 11];
    const NEW: [u64; 2] = [20, 21];

    #[test]
    fn loom_what_is_read_was_written_whole() {
        loom::model(|| {
            let slot = Arc::new(Slot::<AtomicU64, 2>::new());
            slot.write(0, OLD);
            let writer = slot.clone();
            let writer = thread::spawn(move || writer.write(8, NEW));
            if let Some(read) = slot.read(0) {
                assert_eq!(read, OLD);
            }
            if let Some(read) = slot.read(8) {
                assert_eq!(read, NEW);
            }
            writer.join().expect("no panic");
            assert_eq!(slot.read(8), Some(NEW));
            assert_eq!(slot.read(0), None);
        });
    }

    /// Two who write at once, as when the ring wraps within one write: one of them may be left out, never mixed.
    #[test]
    fn loom_writers_do_not_mix() {
        loom::model(|| {
            let slot = Arc::new(Slot::<AtomicU64, 2>::new());
            let writer = |number, values| {
                let slot = slot.clone();
                thread::spawn(move || slot.write(number, values))
            };
            let writers = [writer(0, OLD), writer(8, NEW)];
            for (number, values) in [(0, OLD), (8, NEW)] {
                assert!(slot.read(number).is_none_or(|read| read == values), "read while it is written");
            }
            for writer in writers {
                writer.join().expect("no panic");
            }
            match (slot.read(0), slot.read(8)) {
                (Some(read), None) => assert_eq!(read, OLD),
                (None, read) => assert_eq!(read, Some(NEW)),
                both => panic!("two in one place: {both:?}"),
            }
        });
    }
}
