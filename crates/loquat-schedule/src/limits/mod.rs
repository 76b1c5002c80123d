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

use std::time::Duration;

pub use layer::{Limited, WithDeadline};
pub use progress::{Bound, Due, Progress};

/// How long the parts of a generation may take, streamed or not. Connecting is not among them, as whoever connects bounds it
/// (loquat-transport's limits do), nor is what is no generation: listing and counting are loquat-client's.
///
/// | field | default | reason |
/// |---|---|---|
/// | `queue` | 3 s | a client that would wait longer is better told that the endpoint is full (linkerd fails fast at 3 s) |
/// | `first_byte` | 60 s | servers that send the head with the first token need as long for it |
/// | `first_token` | 60 s | a cold server loads a model in that time |
/// | `idle` | 30 s | reasoning models pause for long, dead peers for ever |
/// | `min_bytes_per_second` | 1, over 60 s | a peer that drips a byte every 29 s would keep `idle` content for ever |
/// | `total` | 600 s | as the official SDKs have it |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
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
    fn default() -> Self {
        Self {
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
}
