//! How slow an endpoint is: a peak-sensitive moving average in one atomic word.
//!
//! A sample above the average replaces it at once, one below pulls it down over time (Finagle's `PeakEwma`, after
//! tower's `load::PeakEwma`, which keeps it under a lock). Unasked, it fades: an endpoint that was slow once is tried
//! again some time. Half the word is the average (`f32`, microseconds), half the time of its last change (milliseconds,
//! which wrap after 49 days; what was unasked for as long has faded all the same). Model-checked below.

use std::sync::atomic::AtomicU64;

use super::word::{Word, update};

/// The moving average. Zero means that nothing is known.
#[derive(Debug)]
pub(crate) struct Estimate<W = AtomicU64>(W);

impl Default for Estimate {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl<W: Word> Estimate<W> {
    /// One more sample. Loops only while others get theirs in.
    pub(crate) fn record(&self, sample_us: f32, now_ms: u32, fade_ms: f32) {
        update(&self.0, |old| Some(folded(old, sample_us, now_ms, fade_ms)));
    }

    /// The average as it has faded by now, in microseconds; `None` when nothing is known.
    pub(crate) fn faded(&self, now_ms: u32, fade_ms: f32) -> Option<f32> {
        let (average, at) = unpack(self.0.read());
        (average > 0.0).then(|| average * (-since(at, now_ms) / fade_ms).exp())
    }

    /// Forgets.
    pub(crate) fn forget(&self) {
        update(&self.0, |_| Some(0));
    }
}

fn folded(old: u64, sample_us: f32, now_ms: u32, fade_ms: f32) -> u64 {
    let (average, at) = unpack(old);
    let elapsed = since(at, now_ms);
    let stamp = if elapsed > 0.0 || average == 0.0 { now_ms } else { at };
    // At least one: zero is taken for "nothing known".
    let sample = sample_us.clamp(1.0, MOST_US);
    if average == 0.0 {
        return pack(sample, stamp);
    }
    let keep = (-elapsed / fade_ms).exp();
    let next = if sample > average { sample } else { average * keep + sample * (1.0 - keep) };
    pack(next.max(1.0), stamp)
}

/// Beyond an hour all are as slow.
const MOST_US: f32 = 3_600e6;

/// Milliseconds since, none for what lies ahead.
#[allow(clippy::cast_precision_loss, reason = "a fade needs no more than a float's 24 bits")]
fn since(at: u32, now_ms: u32) -> f32 {
    now_ms.wrapping_sub(at).cast_signed().max(0) as f32
}

fn pack(average: f32, at: u32) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(at)
}

#[allow(clippy::cast_possible_truncation, reason = "the halves of a word")]
fn unpack(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FADE: f32 = 10_000.0;

    #[test]
    fn rises_at_once_falls_slowly_and_fades() {
        let estimate = Estimate::default();
        assert_eq!(estimate.faded(5, FADE), None);
        estimate.record(1000.0, 10, FADE);
        assert_eq!(estimate.faded(10, FADE), Some(1000.0));
        estimate.record(50_000.0, 20, FADE);
        assert_eq!(estimate.faded(20, FADE), Some(50_000.0), "a peak counts at once");
        estimate.record(1000.0, 1020, FADE);
        let falling = estimate.faded(1020, FADE).expect("known");
        assert!((44_000.0..47_000.0).contains(&falling), "{falling}");
        let faded = estimate.faded(11_020, FADE).expect("known");
        assert!((falling / faded - 1.0_f32.exp()).abs() < 0.01, "one time constant later");
        estimate.forget();
        assert_eq!(estimate.faded(11_020, FADE), None);
    }

    #[test]
    fn late_samples_nonsense_and_wrapping_time_do_no_harm() {
        let estimate = Estimate::default();
        estimate.record(1000.0, u32::MAX, FADE);
        estimate.record(2000.0, 4, FADE); // five milliseconds later
        estimate.record(500.0, u32::MAX - 7, FADE); // before: counts for nothing
        assert_eq!(estimate.faded(4, FADE), Some(2000.0));
        for nonsense in [f32::INFINITY, -5.0, 0.0] {
            estimate.record(nonsense, 5, FADE);
            assert!(estimate.faded(5, FADE).is_some_and(f32::is_finite));
        }
    }

    mod interleavings {
        use loom::{
            sync::{Arc, atomic::AtomicU64},
            thread,
        };

        use super::super::Estimate;

        #[test]
        fn loom_a_peak_is_never_lost() {
            loom::model(|| {
                let estimate = Arc::new(Estimate(AtomicU64::new(0)));
                let others: Vec<_> = [(300.0, 7), (9000.0, 7)]
                    .map(|(sample, at)| {
                        let estimate = estimate.clone();
                        thread::spawn(move || estimate.record(sample, at, 1e4))
                    })
                    .into();
                estimate.record(100.0, 7, 1e4);
                for other in others {
                    other.join().expect("no panic");
                }
                assert_eq!(estimate.faded(7, 1e4), Some(9000.0));
            });
        }
    }
}
