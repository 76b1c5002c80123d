//! How long a source is left alone: after failures for longer each time, and never by the clock's tick for all at once.

use std::time::Duration;

/// The longest wait after failures.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Failures in a row, and the wait that follows from them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    first: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits so long after the first failure, twice as long after each further one, at most 30 s.
    pub(crate) fn new(first: Duration) -> Self {
        Self { first, failures: 0 }
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// One more failure; how long to wait now.
    pub(crate) fn failed(&mut self) -> Duration {
        let wait = self.first.saturating_mul(1 << self.failures.min(16)).min(MAX_WAIT);
        self.failures = self.failures.saturating_add(1);
        spread(wait)
    }
}

/// That time, or up to a quarter less: many programs that began together do not ask together for ever.
pub(crate) fn spread(wait: Duration) -> Duration {
    // Without randomness there is no spread, and nothing else is lost.
    let part = getrandom::u32().unwrap_or(0);
    wait.saturating_sub(wait.mul_f64(f64::from(part) / f64::from(u32::MAX) / 4.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let mut within = |from: f64, to: f64| {
            let wait = backoff.failed().as_secs_f64();
            assert!((from..=to).contains(&wait), "{wait} is not within {from} to {to}");
        };
        within(0.75, 1.0);
        within(1.5, 2.0);
        within(3.0, 4.0);
        for _ in 0..40 {
            within(3.0, 30.0);
        }
        within(22.5, 30.0);
        backoff.succeeded();
        assert!(backoff.failed() <= Duration::from_secs(1));
    }
}
