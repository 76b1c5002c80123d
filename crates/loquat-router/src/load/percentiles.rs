//! The 95th percentile of the time to first token, by size of prompt: what is promised to callers, so what is shown and
//! what objectives are held against. Selection does not go by it: a percentile of a short window is noise.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// Sizes of prompts told apart.
pub const SIZES: usize = 4;
/// Up to how many tokens each size goes.
const LIMITS: [u32; SIZES - 1] = [1_000, 8_000, 64_000];
/// Four bins for each doubling from a millisecond on: at most 19 % beside the truth. The last holds all from 55 s on.
const BINS: usize = 64;
/// Two windows in turn: what is shown comes from the last 30 to 60 seconds.
const WINDOW_MS: u64 = 30_000;

/// What is known of one size of prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SizeLatency {
    /// The largest prompt of that size; `None` for the last, which has no end. Tokens.
    pub up_to_tokens: Option<u32>,
    /// How many answers it is taken from.
    pub sample: u32,
    /// What 95 of a hundred took at most; `None` without any.
    pub p95: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Percentiles {
    windows: [Window; 2],
}

#[derive(Debug)]
struct Window {
    /// Which stretch of time its counts are of, counted from 1.
    turn: AtomicU32,
    counts: [[AtomicU32; BINS]; SIZES],
}

impl Default for Percentiles {
    fn default() -> Self {
        Self { windows: std::array::from_fn(|_| Window::default()) }
    }
}

impl Default for Window {
    fn default() -> Self {
        let counts = std::array::from_fn(|_| std::array::from_fn(|_| AtomicU32::new(0)));
        Self { turn: AtomicU32::new(0), counts }
    }
}

impl Percentiles {
    /// Counts one. Whoever comes first in a new stretch clears the older window; a few counts of others may be lost then.
    pub(crate) fn record(&self, prompt_tokens: u32, took: Duration, now_ms: u64) {
        let turn = turn(now_ms);
        let window = &self.windows[turn as usize % 2];
        let seen = window.turn.load(Relaxed);
        if seen != turn && window.turn.compare_exchange(seen, turn, Relaxed, Relaxed).is_ok() {
            window.counts.iter().flatten().for_each(|count| count.store(0, Relaxed));
        }
        let size = LIMITS.iter().position(|&limit| prompt_tokens <= limit).unwrap_or(SIZES - 1);
        window.counts[size][bin(took)].fetch_add(1, Relaxed);
    }

    pub(crate) fn show(&self, now_ms: u64) -> [SizeLatency; SIZES] {
        let turn = turn(now_ms);
        std::array::from_fn(|size| {
            let mut counts = [0_u32; BINS];
            for window in &self.windows {
                if turn.wrapping_sub(window.turn.load(Relaxed)) <= 1 {
                    let held = window.counts[size].iter();
                    counts.iter_mut().zip(held).for_each(|(sum, count)| *sum += count.load(Relaxed));
                }
            }
            let sample: u32 = counts.iter().sum();
            let rank = (u64::from(sample) * 95).div_ceil(100);
            let mut below = 0;
            let at = counts.iter().position(|&count| {
                below += u64::from(count);
                below >= rank && below > 0
            });
            SizeLatency { up_to_tokens: LIMITS.get(size).copied(), sample, p95: at.map(upper) }
        })
    }
}

/// Which stretch of time that is in, counted from 1. It wraps after 4,000 years.
#[allow(clippy::cast_possible_truncation, reason = "see above")]
fn turn(now_ms: u64) -> u32 {
    (now_ms / WINDOW_MS) as u32 + 1
}

/// Which bin a time is counted in.
fn bin(took: Duration) -> usize {
    let quarters = (took.as_secs_f32() * 1e3).max(1.0).log2() * 4.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the bins")]
    let at = quarters.ceil().clamp(0.0, (BINS - 1) as f32) as usize;
    at
}

/// The longest time of a bin.
fn upper(bin: usize) -> Duration {
    Duration::from_secs_f32(1e-3 * 2_f32.powf(bin as f32 / 4.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_fifth_of_the_truth_and_only_of_late() {
        let percentiles = Percentiles::default();
        for ms in 1..=100 {
            percentiles.record(500, Duration::from_millis(ms * 10), 1000);
        }
        percentiles.record(9_000, Duration::from_secs(900), 1000);
        let shown = percentiles.show(2000);
        let p95 = shown[0].p95.expect("known").as_secs_f64();
        assert!((0.95..0.95 * 1.2).contains(&p95), "{p95}");
        assert_eq!((shown[0].sample, shown[0].up_to_tokens), (100, Some(1000)));
        assert_eq!((shown[1].sample, shown[1].p95), (0, None));
        assert_eq!(shown[2].sample, 1, "an endless first token is counted, too");
        percentiles.record(500, Duration::from_millis(5), 31_000);
        assert_eq!(percentiles.show(31_000)[0].sample, 101, "the last window and this one");
        assert_eq!(percentiles.show(61_000)[0].sample, 1);
        assert_eq!(percentiles.show(91_000)[0].sample, 0);
    }
}
