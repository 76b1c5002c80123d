//! Whether Redis is asked at all: after some failures in a row it is left alone for a while, then asked once.
//!
//! Arithmetic over a `now`, without a clock. Not `loquat-schedule`'s breaker: that one is an endpoint's, with a caller waiting for
//! the outcome; here a refusal is a miss and costs nothing.

use std::time::{Duration, Instant};

/// Longest that it stays open.
const MAX_OPEN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    /// How often it has opened since the last success.
    openings: u32,
    open_until: Option<Instant>,
    /// Whether somebody was let through since it opened, of whom nothing has been heard yet.
    is_probing: bool,
    failures_to_open: u32,
    open_for: Duration,
}

impl Breaker {
    pub(super) fn new(failures_to_open: u32, open_for: Duration) -> Self {
        Self {
            failures: 0,
            openings: 0,
            open_until: None,
            is_probing: false,
            failures_to_open: failures_to_open.max(1),
            open_for,
        }
    }

    /// Whether to ask. While it is open one caller each time is let through when the time is over, and the others wait for
    /// what becomes of that.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match self.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.is_probing = true;
                self.open(now);
                true
            }
        }
    }

    pub(super) fn succeeded(&mut self) {
        (self.failures, self.openings, self.open_until, self.is_probing) = (0, 0, None, false);
    }

    /// `true` where this opens it, or leaves it open.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let is_over = self.open_until.is_none_or(|until| until <= now);
        // Who was let through fails long before the time is over that the others wait for it.
        if self.failures >= self.failures_to_open && (is_over || std::mem::take(&mut self.is_probing)) {
            self.openings = self.openings.saturating_add(1);
            self.open(now);
        }
        self.open_until.is_some()
    }

    fn open(&mut self, now: Instant) {
        let doubled = self.open_for.saturating_mul(1 << self.openings.saturating_sub(1).min(10));
        self.open_until = now.checked_add(doubled.min(MAX_OPEN));
    }

    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.open_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_through() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut breaker = Breaker::new(3, Duration::from_millis(100));
        assert!(!breaker.failed(at(0)) && !breaker.failed(at(0)));
        breaker.succeeded();
        assert!(!breaker.failed(at(1)) && !breaker.failed(at(1)) && breaker.failed(at(1)), "in a row");
        assert!(!breaker.admits(at(50)) && breaker.is_open(at(50)));
        assert!(breaker.admits(at(102)), "one");
        assert!(!breaker.admits(at(103)), "alone");
        assert!(breaker.failed(at(110)));
        assert!(!breaker.admits(at(250)) && breaker.admits(at(310)), "longer each time");
        breaker.succeeded();
        assert!(breaker.admits(at(451)) && breaker.admits(at(451)));
    }

    /// As with the defaults: one that is let through fails within a hundredth of the time that it is left alone for.
    #[test]
    fn it_is_left_alone_for_longer_each_time() {
        let start = Instant::now();
        let mut breaker = Breaker::new(1, Duration::from_millis(100));
        let mut now = start;
        breaker.failed(now);
        let mut waits = Vec::new();
        for _ in 0..12 {
            let opened = now;
            while !breaker.admits(now) {
                now += Duration::from_millis(1);
            }
            waits.push((now - opened).as_millis());
            now += Duration::from_millis(5);
            assert!(breaker.failed(now) && breaker.failed(now), "who was asked before fails, too");
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
        breaker.succeeded();
        assert!(!breaker.is_open(now) && breaker.failed(now) && !breaker.admits(now));
        assert!(breaker.admits(now + Duration::from_millis(100)), "from the beginning");
    }
}
