//! Admission: how many attempts an endpoint is given at once and per minute, and who is next when it has enough.
//!
//! [`Gate`] is the arithmetic: arrivals, departures and a `now` go in, grants come out. [`Admission`] is that with
//! wakers: a place in the queue is a future, and dropping it leaves no trace. [`Admitted`] is both around a
//! [`Model`](loquat_core::Model). No task runs behind any of them.
//!
//! Who is next: tenants take turns, so that a flood of one delays the others by one request each, and within a tenant
//! the earliest deadline goes first, which is the order that meets the most deadlines if all can be met (Liu and
//! Layland, JACM 1973). What has expired is dropped before it costs the endpoint anything.

mod concurrency;
mod desk;
mod gate;
mod layer;
mod queue;
mod rate;

use std::time::Duration;

pub use concurrency::{Concurrency, Gradient};
pub use desk::{Admission, Permit};
pub use gate::{Arrival, Ask, Gate, Grant, Report, Verdict};
pub use layer::{Admitted, estimate_tokens};
pub use rate::RateLimits;

/// What an endpoint is given.
///
/// | field | default | reason |
/// |---|---|---|
/// | `concurrency` | fixed, 64 | a server of one's own batches about as many; a provider's own limit is its 429 |
/// | `max_waiting` | 1,024 | at 64 at once and a second each, a full queue is 16 s deep: more than anybody should wait |
/// | `max_wait` | 3 s | whoever would wait longer is better told (linkerd fails as fast) |
/// | `rates` | none | providers differ by account |
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct AdmissionPolicy {
    /// How many attempts may be under way at once. Default 64, fixed.
    pub concurrency: Concurrency,
    /// Most attempts waiting, of all tenants. Default 1,024. When it is full, an arrival of a tenant that has fewer
    /// waiting than another takes the place of that other's last.
    pub max_waiting: usize,
    /// The longest wait. Default 3 s; the operation's deadline, where earlier, ends it too.
    pub max_wait: Duration,
    /// How much may be started per minute. Default: no limit.
    pub rates: RateLimits,
}

impl Default for AdmissionPolicy {
    fn default() -> Self {
        Self {
            concurrency: Concurrency::Fixed(64),
            max_waiting: 1024,
            max_wait: Duration::from_secs(3),
            rates: RateLimits::default(),
        }
    }
}

impl AdmissionPolicy {
    /// With that many at once.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: Concurrency) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// With a queue of at most that many, for at most that long.
    #[must_use]
    pub fn with_queue(mut self, max_waiting: usize, max_wait: Duration) -> Self {
        (self.max_waiting, self.max_wait) = (max_waiting, max_wait);
        self
    }

    /// With those rates.
    #[must_use]
    pub fn with_rates(mut self, rates: RateLimits) -> Self {
        self.rates = rates;
        self
    }
}
