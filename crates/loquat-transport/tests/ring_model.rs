//! The ring's algorithm under loom: the interleavings of one writer and one reader, and of what each sees of the other's
//! memory. It is compiled here a second time, over loom's parts; a byte touched by both sides at once fails the model.
#![allow(
    unsafe_code,
    dead_code,
    unreachable_pub,
    reason = "the ring's own source, and parts of the same shape"
)]

#[path = "../src/ring"]
mod ring {
    pub mod parts {
        use std::ops::Range;

        pub use loom::sync::{
            Arc,
            atomic::{AtomicBool, AtomicUsize, Ordering},
        };

        pub struct Store {
            bytes: Vec<loom::cell::UnsafeCell<u8>>,
        }

        // SAFETY: as in the ring's own parts; loom checks it.
        unsafe impl Sync for Store {}

        impl Store {
            pub fn new(bytes: usize) -> Self {
                Self { bytes: (0..bytes).map(|_| loom::cell::UnsafeCell::new(0)).collect() }
            }

            pub fn len(&self) -> usize {
                self.bytes.len()
            }

            /// # Safety
            /// As in the ring's own parts.
            pub unsafe fn write(&self, at: usize, bytes: &[u8]) {
                for (cell, byte) in self.bytes[at..].iter().zip(bytes) {
                    // SAFETY: loom fails the model when it is not exclusive.
                    cell.with_mut(|to| unsafe { *to = *byte });
                }
            }

            /// # Safety
            /// As in the ring's own parts.
            pub unsafe fn lend<T>(
                &self,
                first: Range<usize>,
                second: Range<usize>,
                look: impl FnOnce(&[u8], &[u8]) -> T,
            ) -> T {
                let part = |range: Range<usize>| -> Vec<u8> {
                    // SAFETY: as above.
                    self.bytes[range].iter().map(|cell| cell.with(|from| unsafe { *from })).collect()
                };
                look(&part(first), &part(second))
            }
        }

        #[derive(Default)]
        pub struct Padded<T>(pub T);
    }

    pub mod spsc;
}

use ring::spsc::ring;

/// Writes those bytes in pieces of that size, once each, while the other side reads as often with a buffer of that size;
/// then the rest is read. What was taken comes out, in order. Nobody tries until it works: that would have no end to try.
fn check(capacity: usize, bytes: &'static [u8], write: usize, read: usize) {
    let mut model = loom::model::Builder::new();
    // Where one thread is interrupted by the other against its will: three times find what more find, in seconds.
    model.preemption_bound = Some(3);
    model.check(move || {
        let (mut producer, mut consumer) = ring(capacity);
        let writer = loom::thread::spawn(move || {
            let mut taken = Vec::new();
            for piece in bytes.chunks(write) {
                let count = producer.write(piece);
                taken.extend_from_slice(&piece[..count]);
            }
            taken
        });
        let mut all = Vec::new();
        let mut buffer = vec![0; read];
        for _ in bytes.chunks(write) {
            let count = consumer.read(&mut buffer);
            all.extend_from_slice(&buffer[..count]);
        }
        let taken = writer.join().expect("no panic");
        assert!(consumer.is_closed());
        consumer.read_with(|first, second| {
            all.extend_from_slice(first);
            all.extend_from_slice(second);
            first.len() + second.len()
        });
        assert_eq!(all, taken);
    });
}

#[test]
fn bytes_arrive_in_order_however_the_threads_interleave() {
    check(1, b"ab", 1, 1);
    check(2, b"abc", 1, 2);
    check(2, b"abcd", 2, 1);
    check(4, b"abcde", 3, 3);
}

#[test]
fn a_consumer_that_leaves_is_noticed() {
    loom::model(|| {
        let (mut producer, consumer) = ring(2);
        let reader = loom::thread::spawn(move || drop(consumer));
        producer.write(b"abc");
        reader.join().expect("no panic");
        assert!(producer.is_closed());
        assert_eq!(producer.write(b"c"), 0);
    });
}
