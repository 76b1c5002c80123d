//! An instant as one number, for what is done for every token: without the call into the standard library that a difference of
//! instants is, forty instructions and the same again around it.
//!
//! The standard library shows no instant's number, but hashes it: seconds and nanoseconds, as two integers, inlined. That it
//! does is not promised. So it is looked at when an observer is made ([`Ticks::new`]), on instants whose distances are known; where it is
//! otherwise, the difference is taken, which is right everywhere.

use std::{
    hash::{Hash, Hasher},
    time::{Duration, Instant},
};

use crate::metric::nanos;

/// How instants become numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticks {
    /// What is counted from, where the short way does not hold.
    epoch: Instant,
    is_short: bool,
}

impl Ticks {
    pub(crate) fn new(epoch: Instant) -> Self {
        // Differences that carry into the seconds and such as do not.
        let apart = [(0, 1), (0, 999_999_999), (1, 0), (1, 1), (86_400, 7)];
        let holds = |(seconds, more): (u64, u32)| {
            let apart = Duration::new(seconds, more);
            epoch
                .checked_add(apart)
                .is_some_and(|later| short(later).wrapping_sub(short(epoch)) == nanos(apart))
        };
        Self { epoch, is_short: apart.into_iter().all(holds) && short(epoch) < NONE }
    }

    /// Nanoseconds from something that stays the same, below 2⁶³: 292 years.
    pub(crate) fn of(&self, at: Instant) -> u64 {
        self.quick(at).unwrap_or_else(|| nanos(at.saturating_duration_since(self.epoch)).min(NONE - 1))
    }

    /// The same in three instructions, or not at all.
    #[inline]
    pub(crate) fn quick(&self, at: Instant) -> Option<u64> {
        self.is_short.then(|| short(at))
    }
}

/// What no instant is: further from each than any gap is long.
pub(crate) const NONE: u64 = 1 << 63;

#[inline]
fn short(at: Instant) -> u64 {
    let mut parts = Parts(0);
    at.hash(&mut parts);
    parts.finish()
}

/// Takes what is hashed for seconds and nanoseconds.
struct Parts(u64);

impl Hasher for Parts {
    #[inline]
    fn write_u64(&mut self, seconds: u64) {
        self.0 = self.0.wrapping_add(seconds.wrapping_mul(1_000_000_000));
    }

    #[inline]
    fn write_i64(&mut self, seconds: i64) {
        self.write_u64(seconds.cast_unsigned());
    }

    #[inline]
    fn write_u32(&mut self, nanos: u32) {
        self.0 = self.0.wrapping_add(u64::from(nanos));
    }

    /// Of an instant that is neither: no two differ then.
    fn write(&mut self, _: &[u8]) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree_and_the_short_one_is_taken_here() {
        let epoch = Instant::now();
        let ticks = Ticks::new(epoch);
        // If this fails, a new standard library hashes otherwise: every token costs more then, and nothing else.
        assert!(ticks.is_short || cfg!(not(any(unix, windows))), "{ticks:?}");
        let long = Ticks { is_short: false, ..ticks };
        let mut state = 1_u64;
        for _ in 0..10_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (first, second) = (state >> 20, state >> 33);
            let (first, second) = (epoch + Duration::from_nanos(first), epoch + Duration::from_nanos(second));
            let apart = |ticks: Ticks| ticks.of(first).wrapping_sub(ticks.of(second));
            assert_eq!(apart(ticks), apart(long), "{state}");
            assert!(ticks.of(first) < NONE && long.of(first) < NONE);
        }
    }

    #[test]
    fn what_is_before_the_epoch_is_no_surprise() {
        let now = Instant::now();
        let Some(before) = now.checked_sub(Duration::from_nanos(1)) else { return };
        let ticks = Ticks { epoch: now, is_short: false };
        assert_eq!((ticks.of(before), ticks.of(now)), (0, 0));
    }
}
