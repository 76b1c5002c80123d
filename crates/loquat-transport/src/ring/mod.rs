//! A ring of bytes between two threads: one writes, one reads, neither waits for the other.
//!
//! For handing bytes out of the runtime: across a foreign interface, to a telemetry thread. It is deliberately **not** on the
//! way of a response: there the reader is the task that polls the socket, `h2` already queues per stream, and a second queue
//! costs a wake-up per chunk that the first did not: microseconds, whichever queue lies between, where the copy takes ten
//! nanoseconds (`cargo xtask bench ring`). Where both sides share a lock without waiting long for it, a `Vec` that the reader
//! takes whole is faster still; the ring is for a side that must not wait at all.
//!
//! The design is that of `rtrb` and of Lamport's queue before it: each side owns one index and keeps a stale copy of the
//! other's, which it reads again only when the copy says "full" or "empty"; the two indices lie on cache lines of their own;
//! the capacity is a power of two, so that an index is masked and not divided. Bytes, not items: a write is one or two
//! copies whatever its length.
//!
//! It knows no waker. Who must be told that something was written tells it in its own way, once per batch.
//!
//! The algorithm is in `spsc.rs`, over the few parts in `parts.rs`; `tests/ring_model.rs` compiles the same algorithm over
//! loom's parts and tries their interleavings.

mod parts;
mod spsc;

pub use spsc::{Consumer, MAX_CAPACITY_BYTES, Producer, ring};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_and_in_whatever_pieces() {
        let (mut producer, mut consumer) = ring(64);
        assert_eq!(producer.capacity(), 64);
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        let mut next = 0_u8;
        for step in 0..10_000_usize {
            let piece: Vec<u8> = (0..step % 23)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            let taken = producer.write(&piece);
            next = next.wrapping_sub(u8::try_from(piece.len() - taken).expect("short"));
            sent.extend_from_slice(&piece[..taken]);
            let mut buffer = vec![0; step % 19];
            if step % 2 == 0 {
                let read = consumer.read(&mut buffer);
                received.extend_from_slice(&buffer[..read]);
            } else {
                let used = consumer.read_with(|first, second| {
                    received.extend_from_slice(first);
                    received.extend_from_slice(second);
                    first.len() + second.len()
                });
                assert_eq!(consumer.available(), 0, "{used}");
            }
            assert_eq!(sent.len() - received.len(), consumer.available());
        }
        assert!(sent.starts_with(&received));
    }

    #[test]
    fn full_and_empty_and_closed_are_told_apart() {
        let (mut producer, mut consumer) = ring(3);
        assert_eq!(producer.capacity(), 4, "rounded up");
        assert_eq!((producer.write(b"hello"), producer.free()), (4, 0));
        assert_eq!(producer.write(b"o"), 0);
        let mut buffer = [0; 8];
        assert_eq!((consumer.read(&mut buffer), &buffer[..4]), (4, &b"hell"[..]));
        assert_eq!(consumer.read(&mut buffer), 0);
        // More than was shown cannot be taken.
        assert_eq!(producer.write(b"o"), 1);
        assert_eq!(consumer.read_with(|_, _| 100), 1);
        assert!(!consumer.is_closed() && !producer.is_closed());
        producer.write(b"x");
        drop(producer);
        assert!(consumer.is_closed());
        assert_eq!(consumer.read(&mut buffer), 1, "what was written before the close is still there");
        assert_eq!(ring(0).0.capacity(), 1);
        assert_eq!(ring(64).0.write(&[]), 0);
    }

    #[test]
    fn two_threads_agree_on_a_million_bytes() {
        let (mut producer, mut consumer) = ring(256);
        let writer = std::thread::spawn(move || {
            let mut value = 0_u32;
            while value < 250_000 {
                let bytes = value.to_le_bytes();
                let mut left = &bytes[..];
                while !left.is_empty() {
                    let taken = producer.write(left);
                    left = &left[taken..];
                    if taken == 0 {
                        std::thread::yield_now();
                    }
                }
                value += 1;
            }
        });
        let mut all = Vec::new();
        let mut buffer = [0; 100];
        loop {
            let closed = consumer.is_closed();
            let read = consumer.read(&mut buffer);
            all.extend_from_slice(&buffer[..read]);
            if read == 0 {
                if closed {
                    break;
                }
                std::thread::yield_now();
            }
        }
        writer.join().expect("no panic");
        assert_eq!(all.len(), 1_000_000);
        for (value, bytes) in all.chunks_exact(4).enumerate() {
            assert_eq!(u32::from_le_bytes(bytes.try_into().expect("four")) as usize, value);
        }
    }
}
