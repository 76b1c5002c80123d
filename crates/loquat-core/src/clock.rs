//! Where "now" comes from: a trait, so that every rule about time can be tested without waiting.

use std::{fmt, time::Instant};

/// A monotonic clock. Crates that only reason about time take a `now` or one of these and never read the system's.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present instant; never earlier than one it gave before.
    fn now(&self) -> Instant;
}

/// The system's monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
}
