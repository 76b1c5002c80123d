//! Limits in time: one absolute deadline, and what of it each part of an attempt may use.
//!
//! [`Progress`] is the arithmetic: deltas and a `now` go in, the next [`Due`] comes out. [`Limited`] is that around a
//! [`Model`](loquat_core::Model) which has no such limits of its own: an engine, a third party's. (loquat-client's
//! models bound themselves.) [`WithDeadline`] gives an operation its one deadline.
//!
//! Nothing here adds times up: each limit is an instant counted from the attempt's start, and the earliest wins, the
//! caller's deadline included.

mod layer;
mod progress;

use std::time::{Duration, Instant};

pub use layer::{Limited, WithDeadline};
pub use progress::{Bound, Due, Progress};

use crate::time::after;

/// How long the parts of an attempt may take.
///
/// | field | generation | [`Limits::unary`] | reason |
/// |---|---|---|---|
/// | `connect` | 5 s | 400 ms | a lost SYN is repeated after 1 s and 3 s: both repetitions fit; a unary call leaves half for the answer |
/// | `queue` | 3 s | 200 ms | a client that would wait longer is better told that the endpoint is full (linkerd fails fast at 3 s) |
/// | `first_byte` | 60 s | 800 ms | servers that send the head with the first token need as long for it |
/// | `first_token` | 60 s | 800 ms | a cold server loads a model in that time |
/// | `idle` | 30 s | 800 ms | reasoning models pause for long, dead peers for ever |
/// | `min_bytes_per_second` | 1, over 60 s | none | a peer that drips a byte every 29 s would keep `idle` content for ever |
/// | `total` | 600 s | 800 ms | as the official SDKs have it; a person or a router waits for a listing |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Making a connection. Known to whoever makes it: [`split`](Self::split) says until when.
    pub connect: Duration,
    /// Waiting for a permit. In a [`Schedule`](crate::Schedule) the shorter of this and
    /// [`AdmissionPolicy::max_wait`](crate::admission::AdmissionPolicy::max_wait) holds; [`Limited`] alone, which hands out no
    /// permits, has no use for it.
    pub queue: Duration,
    /// From sending to the peer's acceptance of the request (the response head). Of an answer that is not streamed,
    /// [`total`](Self::total) takes its place: its head comes when everything is done.
    pub first_byte: Duration,
    /// From sending to the first delta with content.
    pub first_token: Duration,
    /// Between two deltas with content, counted while somebody waits for them. Pings and events that nobody knows are
    /// no content.
    pub idle: Duration,
    /// Fewest bytes of content per second, over [`throughput_window`](Self::throughput_window) of waiting. 0: none.
    pub min_bytes_per_second: u32,
    /// The time over which throughput is taken.
    pub throughput_window: Duration,
    /// From sending to the end.
    pub total: Duration,
}

impl Default for Limits {
    /// For a generation, streamed or collected.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            queue: Duration::from_secs(3),
            first_byte: Duration::from_secs(60),
            first_token: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            min_bytes_per_second: 1,
            throughput_window: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

impl Limits {
    /// For listing, counting and asking for health when nothing is said: 800 ms in all.
    pub fn unary() -> Self {
        const ALL: Duration = Duration::from_millis(800);
        Self {
            connect: Duration::from_millis(400),
            queue: Duration::from_millis(200),
            first_byte: ALL,
            first_token: ALL,
            idle: ALL,
            min_bytes_per_second: 0,
            throughput_window: Duration::ZERO,
            total: ALL,
        }
    }

    /// With that limit to the first token, and to the head before it.
    #[must_use]
    pub fn with_first_token(mut self, limit: Duration) -> Self {
        (self.first_token, self.first_byte) = (limit, limit);
        self
    }

    /// With that limit between tokens.
    #[must_use]
    pub fn with_idle(mut self, limit: Duration) -> Self {
        self.idle = limit;
        self
    }

    /// With that least throughput; 0 for none.
    #[must_use]
    pub fn with_throughput(mut self, min_bytes_per_second: u32, window: Duration) -> Self {
        (self.min_bytes_per_second, self.throughput_window) = (min_bytes_per_second, window);
        self
    }

    /// With that limit for the whole.
    #[must_use]
    pub fn with_total(mut self, limit: Duration) -> Self {
        self.total = limit;
        self
    }

    /// With that limit in the queue.
    #[must_use]
    pub fn with_queue(mut self, limit: Duration) -> Self {
        self.queue = limit;
        self
    }

    /// The instants of an attempt that begins at `now` under that deadline.
    pub fn split(&self, now: Instant, deadline: Option<Instant>) -> Split {
        let total = after(now, self.total);
        let total = deadline.map_or(total, |deadline| deadline.min(total));
        let at = |limit| after(now, limit).min(total);
        Split {
            connect: at(self.connect),
            queue: at(self.queue),
            first_byte: at(self.first_byte),
            first_token: at(self.first_token),
            total,
        }
    }
}

/// Until when the parts of one attempt may take; none lies beyond `total`, and that not beyond the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Split {
    /// A connection must be made by then.
    pub connect: Instant,
    /// A permit must be had by then.
    pub queue: Instant,
    /// The peer must have accepted by then.
    pub first_byte: Instant,
    /// Content must have come by then.
    pub first_token: Instant,
    /// All must have come by then.
    pub total: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_outlives_the_deadline() {
        let now = Instant::now();
        let deadline = now + Duration::from_secs(4);
        let split = Limits::default().split(now, Some(deadline));
        assert_eq!(split.queue, now + Duration::from_secs(3));
        for at in [split.connect, split.first_byte, split.first_token, split.total] {
            assert_eq!(at, deadline);
        }
        assert_eq!(Limits::unary().split(now, None).total, now + Duration::from_millis(800));
        let endless = Limits::default().with_total(Duration::MAX).split(now, None);
        assert!(endless.total > now + Duration::from_secs(3600));
    }
}
