//! [`Correction`]: what answers say of earlier counts, so that the next range is narrower and in the right place.
//!
//! A running mean of actual ÷ estimated and of how far each was from it, as TCP estimates its round trips (RFC 6298 §2): the range is
//! the mean ± 4 deviations.

use std::sync::{Mutex, PoisonError};

use super::Count;

/// Answers before a range is narrowed: a first one says little about the second.
const AFTER: u32 = 3;
/// The range is never narrower than that on either side.
const LEAST_SPREAD: f64 = 0.01;

#[derive(Debug, Default)]
pub(super) struct Correction(Mutex<State>);

#[derive(Debug, Default, Clone, Copy)]
struct State {
    answers: u32,
    ratio: f64,
    deviation: f64,
}

impl Correction {
    pub(super) fn learn(&self, counted: Count, actual: u64) {
        let middle = middle(counted);
        if counted.is_exact() || middle <= 0.0 {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
        let ratio = actual as f64 / middle;
        if state.answers == 0 {
            (state.ratio, state.deviation) = (ratio, 0.0);
        } else {
            state.deviation += ((ratio - state.ratio).abs() - state.deviation) / 4.0;
            state.ratio += (ratio - state.ratio) / 8.0;
        }
        state.answers = state.answers.saturating_add(1);
    }

    pub(super) fn apply(&self, counted: Count) -> Count {
        let state = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.is_exact() || state.answers < AFTER {
            return counted;
        }
        let spread = (4.0 * state.deviation).max(LEAST_SPREAD);
        let at = |ratio: f64| middle(counted) * ratio.max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not below 0; the cast saturates"
        )]
        let (low, high) = (at(state.ratio - spread).floor() as u64, at(state.ratio + spread).ceil() as u64);
        Count::Estimated { low, high }
    }
}

fn middle(counted: Count) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
    let sum = counted.low().saturating_add(counted.high()) as f64;
    sum / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_narrow_the_range() {
        let correction = Correction::default();
        let counted = Count::Estimated { low: 800, high: 1200 };
        for actual in [1100, 1110] {
            correction.learn(counted, actual);
            assert_eq!(correction.apply(counted), counted, "two answers say little");
        }
        for actual in [1090, 1105, 1095] {
            correction.learn(counted, actual);
        }
        let corrected = correction.apply(counted);
        assert!(corrected.low() <= 1100 && 1100 <= corrected.high(), "{corrected}");
        assert!(corrected.high() - corrected.low() < 100, "{corrected}");
        assert_eq!(correction.apply(Count::Exact(7)), Count::Exact(7));
    }
}
