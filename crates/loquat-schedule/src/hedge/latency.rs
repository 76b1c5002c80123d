//! The last latencies, and their percentiles: a ring of 256, sorted when asked.
//!
//! Exact over what it holds, 1 KiB, about a microsecond per question. A sketch would be smaller per latency and wrong
//! where it matters, at the edge of few samples.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

const KEPT: usize = 256;

/// The latencies of the last 256 attempts.
#[derive(Debug)]
pub struct Latencies(Mutex<Ring>);

#[derive(Debug)]
struct Ring {
    /// In microseconds.
    kept: [u32; KEPT],
    /// How many there have been, up to twice the ring: the parity of the turn does not matter.
    count: usize,
}

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        Self(Mutex::new(Ring { kept: [0; KEPT], count: 0 }))
    }

    /// One more; beyond 71 minutes all count the same.
    pub fn record(&self, latency: Duration) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ring.count % KEPT;
        ring.kept[at] = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        ring.count = if ring.count + 1 == 2 * KEPT { KEPT } else { ring.count + 1 };
    }

    /// What so many percent took at most; `None` with fewer than `min_sample`.
    pub fn percentile(&self, percent: u32, min_sample: usize) -> Option<Duration> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = ring.count.min(KEPT);
        if known < min_sample.clamp(1, KEPT) {
            return None;
        }
        let mut kept = ring.kept;
        drop(ring);
        let rank = (known * percent.min(100) as usize).div_ceil(100).max(1) - 1;
        let (_, &mut micros, _) = kept[..known].select_nth_unstable(rank);
        Some(Duration::from_micros(micros.into()))
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_the_last() {
        let latencies = Latencies::new();
        assert_eq!(latencies.percentile(50, 0), None);
        for ms in 1..=100 {
            latencies.record(Duration::from_millis(ms));
        }
        let percentile = |percent| latencies.percentile(percent, 100).map(|d| d.as_millis());
        assert_eq!(latencies.percentile(95, 101), None);
        assert_eq!(
            (percentile(0), percentile(50), percentile(95), percentile(100)),
            (Some(1), Some(50), Some(95), Some(100))
        );
        for _ in 0..1000 {
            latencies.record(Duration::from_secs(7));
        }
        assert_eq!(percentile(1), Some(7000), "the old are gone");
        latencies.record(Duration::MAX);
        assert_eq!(percentile(100), Some(u128::from(u32::MAX) / 1000));
    }
}
