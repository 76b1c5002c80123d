//! [`Correction`]: what answers say of earlier counts, so that the next range is narrower and in the right place.
//!
//! A running mean of actual ÷ estimated and of how far each was from it, as TCP estimates its round trips (RFC 6298 §2): the range is
//! the mean ± 4 deviations. An exact count is one until answers contradict it, one after the other: then a mean of what is missing is
//! added to it, since a vocabulary is not wrong by a share, but a gateway may put its own words before each prompt.

use std::sync::{Mutex, PoisonError};

use super::Count;

/// Answers before a range is narrowed, or an exact count doubted: a first one says little about the second.
const AFTER: u32 = 3;
/// The range is never narrower than that on either side.
const LEAST_SPREAD: f64 = 0.01;
/// So many times more or less than the range says nothing, once: an answer to something else, or a number that is none.
const FAR: u64 = 2;

#[derive(Debug, Default)]
pub(super) struct Correction(Mutex<Both>);

#[derive(Debug, Default)]
struct Both {
    /// Actual ÷ estimated.
    estimated: Running,
    exact: Offset,
}

/// What exact counts lack, since answers contradicted them.
#[derive(Debug, Default, Clone, Copy)]
struct Offset {
    /// Tokens; of the answers that contradicted, in a row until there are enough.
    lacking: Running,
    /// Answers that did not, in a row, since then.
    equal: u32,
}

/// A running mean, and how far off its values are.
#[derive(Debug, Default, Clone, Copy)]
struct Running {
    answers: u32,
    mean: f64,
    deviation: f64,
    /// Answers in a row that were far off.
    far: u32,
}

impl Correction {
    pub(super) fn learn(&self, counted: Count, actual: u64) {
        if middle(counted) <= 0.0 {
            return;
        }
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.is_exact() {
            both.exact.learn(counted.low(), actual);
        } else {
            let (least, most) = (counted.low() / FAR, counted.high().saturating_mul(FAR));
            #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
            let ratio = actual.clamp(least, most) as f64 / middle(counted);
            both.estimated.add(ratio, !(least..=most).contains(&actual));
        }
    }

    pub(super) fn apply(&self, counted: Count) -> Count {
        let both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ratio, offset) = (both.estimated.range(LEAST_SPREAD), both.exact);
        drop(both);
        if counted.is_exact() {
            return offset.apply(counted.low());
        }
        let Some((least, most)) = ratio else { return counted };
        let at = |ratio: f64| middle(counted) * ratio.max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not below 0; the cast saturates"
        )]
        let (low, high) = (at(least).floor() as u64, at(most).ceil() as u64);
        Count::Estimated { low, high }
    }
}

impl Offset {
    /// So many tokens more than were counted are as many as any context window has.
    const MOST: u64 = 2_000_000;
    /// What a gateway may well say before each prompt. Tokens.
    const USUAL: u64 = 4_096;

    fn learn(&mut self, counted: u64, actual: u64) {
        if actual == counted {
            self.equal = self.equal.saturating_add(1);
            if self.lacking.answers < AFTER || self.equal >= AFTER {
                *self = Self::default();
            }
            return;
        }
        self.equal = 0;
        let usual = counted / FAR..=counted.saturating_mul(FAR).saturating_add(Self::USUAL);
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
        let offset = actual.min(counted.saturating_add(Self::MOST)) as f64 - counted as f64;
        self.lacking.add(offset, !usual.contains(&actual));
    }

    /// A range that what was counted is in, too.
    fn apply(&self, counted: u64) -> Count {
        let Some((least, most)) = self.lacking.range(1.0) else { return Count::Exact(counted) };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "not below 0, and far below 2^53; the cast saturates"
        )]
        let at = |offset: f64| (counted as f64 + offset).max(0.0) as u64;
        let (low, high) = (at(least), at(most).saturating_add(1));
        Count::Estimated { low: low.min(counted), high: high.max(counted) }
    }
}

impl Running {
    /// One more. What is far off counts where that is so again and again.
    fn add(&mut self, value: f64, is_far: bool) {
        self.far = if is_far { self.far.saturating_add(1) } else { 0 };
        if is_far && self.far < AFTER {
            return;
        }
        if self.answers == 0 {
            (self.mean, self.deviation) = (value, 0.0);
        } else {
            self.deviation += ((value - self.mean).abs() - self.deviation) / 4.0;
            self.mean += (value - self.mean) / 8.0;
        }
        self.answers = self.answers.saturating_add(1);
    }

    /// Where the next one is likely to be, no narrower than that on either side; `None` while too little is known.
    fn range(&self, least_spread: f64) -> Option<(f64, f64)> {
        let spread = (4.0 * self.deviation).max(least_spread);
        (self.answers >= AFTER).then_some((self.mean - spread, self.mean + spread))
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

    #[test]
    fn an_exact_count_that_answers_contradict_is_none() {
        let correction = Correction::default();
        let exact = Count::Exact(8);
        for actual in [11, 11, 8, 11, 11] {
            correction.learn(exact, actual);
            assert_eq!(correction.apply(exact), exact, "not three times in a row");
        }
        correction.learn(exact, 11);
        let corrected = correction.apply(exact);
        assert!(!corrected.is_exact(), "{corrected}");
        assert!(corrected.low() <= 11 && 11 <= corrected.high(), "{corrected}");
        let ranged = Count::Estimated { low: 8, high: 12 };
        assert_eq!(correction.apply(ranged), ranged, "of ranges nothing was said");
        // Three tokens are missing, and not a third.
        let long = correction.apply(Count::Exact(10_000));
        assert!(long.low() == 10_000 && (10_003..10_010).contains(&long.high()), "{long}");
        // Until they are no longer.
        for _ in 0..2 {
            correction.learn(exact, 8);
            assert!(!correction.apply(exact).is_exact());
        }
        correction.learn(exact, 8);
        assert_eq!(correction.apply(exact), exact);
    }

    #[test]
    fn a_gateways_own_words_are_added_and_not_multiplied() {
        let correction = Correction::default();
        for counted in [20, 35, 20, 50, 1_000] {
            correction.learn(Count::Exact(counted), counted + 500);
        }
        let long = correction.apply(Count::Exact(50_000));
        assert!(long.low() >= 50_000 && (50_500..50_600).contains(&long.high()), "{long}");
        for outlier in [u64::MAX, 0] {
            correction.learn(Count::Exact(20), outlier);
            assert_eq!(correction.apply(Count::Exact(50_000)), long, "{outlier}");
        }
    }

    #[test]
    fn one_number_that_cannot_be_spoils_nothing() {
        let counted = Count::Estimated { low: 800, high: 1200 };
        for outlier in [1_000_000_000_000_000, 0, 50] {
            let correction = Correction::default();
            correction.learn(counted, outlier);
            for actual in [1100, 1110, 1090, 1105] {
                correction.learn(counted, actual);
            }
            correction.learn(counted, outlier);
            let corrected = correction.apply(counted);
            assert!(corrected.low() >= 1000 && corrected.high() <= 1200, "{outlier}: {corrected}");
        }
        // Again and again it is what is meant, within bounds.
        let correction = Correction::default();
        for _ in 0..9 {
            correction.learn(counted, u64::MAX);
        }
        let corrected = correction.apply(counted);
        assert!(corrected.low() > 2000 && corrected.high() < 3000, "{corrected}");
    }
}
