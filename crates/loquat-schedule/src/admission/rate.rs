//! Rates per minute with reserve-then-settle: a request pays an estimate first and the truth afterwards.
//!
//! A token bucket in whole numbers, exact to the nanosecond. A request larger than the bucket goes when the bucket is
//! full and leaves a debt, so that it waits no longer than it must and is never refused for its size.

use std::time::{Duration, Instant};

/// How much may be started per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimits {
    /// Requests per minute. Default `None`: no limit.
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute, prompt and answer. Default `None`: no limit.
    pub tokens_per_minute: Option<u64>,
    /// How much of a minute may be used up at once. Default 10 s: providers enforce their limits over less than a
    /// minute, and a sixth of it leaves room for a burst.
    pub burst: Duration,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { requests_per_minute: None, tokens_per_minute: None, burst: Duration::from_secs(10) }
    }
}

impl RateLimits {
    /// With that many requests per minute.
    #[must_use]
    pub fn with_requests_per_minute(mut self, requests: u32) -> Self {
        self.requests_per_minute = Some(requests);
        self
    }

    /// With that many tokens per minute.
    #[must_use]
    pub fn with_tokens_per_minute(mut self, tokens: u64) -> Self {
        self.tokens_per_minute = Some(tokens);
        self
    }

    /// With bursts of that much of a minute.
    #[must_use]
    pub fn with_burst(mut self, burst: Duration) -> Self {
        self.burst = burst;
        self
    }
}

/// What one unit weighs in a bucket: so that a nanosecond adds the rate itself.
const UNIT: i128 = 60_000_000_000;
/// The largest amount that is told apart: more than any provider sells in a year.
const MAX_AMOUNT: u64 = 1 << 48;

/// One rate.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Units per minute, which is weight per nanosecond. 0 never fills: nothing may go.
    rate: i128,
    capacity: i128,
    balance: i128,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(per_minute: u64, burst: Duration, now: Instant) -> Self {
        let rate = i128::from(per_minute.min(MAX_AMOUNT));
        let burst = i128::try_from(burst.min(Duration::from_secs(3600)).as_nanos()).unwrap_or(0);
        let capacity = (rate * burst).max(UNIT);
        Self { rate, capacity, balance: capacity, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let passed = i128::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(i128::MAX);
        self.balance = self.balance.saturating_add(passed.saturating_mul(self.rate)).min(self.capacity);
        self.at = self.at.max(now);
    }

    /// How long until `amount` may be taken; zero for now.
    pub(super) fn wait(&mut self, amount: u64, now: Instant) -> Duration {
        self.refill(now);
        let missing = weight(amount).min(self.capacity) - self.balance;
        if missing <= 0 {
            return Duration::ZERO;
        }
        if self.rate == 0 {
            return Duration::MAX;
        }
        let nanos = (missing + self.rate - 1) / self.rate;
        u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
    }

    /// Takes `amount`, into debt if need be.
    pub(super) fn take(&mut self, amount: u64) {
        self.balance = self.balance.saturating_sub(weight(amount));
    }

    /// Gives `amount` back.
    pub(super) fn give(&mut self, amount: u64) {
        self.balance = self.balance.saturating_add(weight(amount)).min(self.capacity);
    }
}

fn weight(amount: u64) -> i128 {
    i128::from(amount.min(MAX_AMOUNT)) * UNIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_evenly_and_lends_to_the_large() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = Bucket::new(60, Duration::from_secs(10), start);
        assert_eq!(bucket.wait(10, start), Duration::ZERO);
        bucket.take(10);
        assert_eq!(bucket.wait(1, start), Duration::from_secs(1));
        assert_eq!(bucket.wait(3, at(1)), Duration::from_secs(2));
        assert_eq!(bucket.wait(1000, at(2)), Duration::from_secs(8), "until it is full");
        bucket.take(100);
        assert_eq!(bucket.wait(1, at(10)), Duration::from_secs(91), "and then it is in debt");
        bucket.give(100);
        assert_eq!(bucket.wait(10, at(10)), Duration::ZERO, "settled");
        bucket.give(u64::MAX);
        bucket.take(u64::MAX);
        assert!(bucket.wait(1, at(10)) > Duration::from_secs(1 << 40), "no overflow");
    }

    #[test]
    fn a_rate_of_nothing_lets_its_first_unit_go_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(0, Duration::MAX, start);
        bucket.take(1);
        assert_eq!(bucket.wait(1, start + Duration::from_secs(1 << 30)), Duration::MAX);
    }
}
