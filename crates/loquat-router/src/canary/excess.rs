//! Whether the canary's share of something bad exceeds the baseline's: Page's cumulative sum test (Biometrika, 1954) over
//! log-likelihood ratios (Wald, 1945), decidable after every single request.
//!
//! What is bad is a yes or no: an error, or a first token later than the limit. The second makes a percentile of it: the 95th
//! is above the limit exactly when more than 5 % are. The sum rises with evidence for the excess, falls without, and never
//! below zero, so that a release that turns bad after an hour is noticed as fast as one that begins so.

/// How many standard errors worse the baseline is taken to be where as many of the canary's are compared with it.
const LUCK: f64 = 1.5;
/// What the baseline does is remembered of so many times as many requests as the limit allows one bad one in (2,000 at 0.3 %), however
/// long ago they were: of fewer the share would be luck, and what it is taken for while nothing is known would count more
/// than what is.
const REMEMBERED: f64 = 6.0;

/// The sum of evidence.
#[derive(Debug, Clone, Default)]
pub(super) struct Excess {
    sum: f64,
    /// The canary's, since the sum was last zero.
    bad: u64,
    seen: u64,
}

impl Excess {
    /// One more of the canary's. `expected` is the baseline's share, `limit` the share that is allowed.
    pub(super) fn record(&mut self, is_bad: bool, expected: f64, limit: f64) {
        let (bad, good) = steps(expected, limit);
        self.sum = (self.sum + if is_bad { bad } else { good }).max(0.0);
        if self.sum == 0.0 {
            (self.bad, self.seen) = (0, 0);
        } else {
            self.seen += 1;
            self.bad += u64::from(is_bad);
        }
    }

    /// One that was recorded as good is not. `is_of_before` where that was before the sum was last zero: it is not among those
    /// seen then. What it had lowered the sum by is taken back, or a little more, where zero stopped it.
    pub(super) fn turns_bad(&mut self, is_of_before: bool, expected: f64, limit: f64) {
        let (bad, good) = steps(expected, limit);
        self.sum += bad - good;
        self.bad += 1;
        self.seen = (self.seen + u64::from(is_of_before)).max(self.bad);
    }

    /// The evidence: the natural logarithm of how much likelier the excess is than chance.
    pub(super) fn evidence(&self) -> f64 {
        self.sum
    }

    /// How many were compared since the evidence began.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// The share since the evidence began, and whether it is above the limit.
    pub(super) fn share(&self) -> f64 {
        self.bad as f64 / self.seen.max(1) as f64
    }
}

/// How far a bad one raises the sum, and how far a good one lowers it (a negative number).
fn steps(expected: f64, limit: f64) -> (f64, f64) {
    // What would be worth noticing: twice what is allowed, and twice what the baseline does.
    // Where the baseline is mostly bad itself, halfway to always.
    let expected = expected.clamp(1e-6, 1.0 - 1e-6);
    let excess = (2.0 * limit).max(2.0 * expected).min((1.0 + expected) / 2.0);
    ((excess / expected).ln(), ((1.0 - excess) / (1.0 - expected)).ln())
}

/// The baseline's share of the same, of the last minutes, or of as many requests as are needed to tell: older counts fade.
#[derive(Debug, Clone, Default)]
pub(super) struct Share {
    bad: f64,
    seen: f64,
}

impl Share {
    pub(super) fn record(&mut self, is_bad: bool) {
        self.seen += 1.0;
        self.bad += f64::from(u8::from(is_bad));
    }

    /// One that was recorded as good is not.
    pub(super) fn turns_bad(&mut self) {
        self.bad = (self.bad + 1.0).min(self.seen);
    }

    /// What is left of the counts after that share of their half-life. `limit` is the share that is allowed.
    pub(super) fn fade(&mut self, half_lives: f64, limit: f64) {
        let needed = REMEMBERED / limit;
        if self.seen <= needed {
            return;
        }
        let keep = 0.5_f64.powf(half_lives).max(needed / self.seen);
        self.bad *= keep;
        self.seen *= keep;
    }

    /// The share, taken for the limit itself as far as nothing is known: one bad one in as many as the limit allows, which makes
    /// no share smaller than it was seen. It is held against `compared` of the canary's: the more these are beside what was seen, the more the baseline's own luck
    /// counts, and it is taken for so much worse.
    pub(super) fn expected(&self, limit: f64, compared: u64) -> f64 {
        let known = self.seen + 1.0 / limit;
        let share = ((self.bad + 1.0) / known).max(self.bad / self.seen.max(1.0));
        let error = (share * (1.0 - share).max(0.0) / known).sqrt();
        share + LUCK * error * (compared as f64 / known).min(1.0).sqrt()
    }

    #[cfg(test)]
    fn seen(&self) -> f64 {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_comes_from_excess_alone_and_is_not_saved_up() {
        let mut excess = Excess::default();
        (0..100_000).for_each(|at| excess.record(at % 1000 == 0, 0.001, 0.003));
        assert!(excess.evidence() < 3.0, "{}", excess.evidence());
        let mut needed = 0;
        while excess.evidence() < 11.0 {
            excess.record(needed % 50 == 0, 0.001, 0.003);
            needed += 1;
        }
        assert!(needed < 600, "two percent are noticed after {needed}");
        assert!(excess.share() > 0.01);
        let (sum, count, bad) = (excess.evidence(), excess.seen(), excess.bad);
        excess.record(false, 0.001, 0.003);
        excess.turns_bad(false, 0.001, 0.003);
        let mut whole = Excess { sum, seen: count, bad };
        whole.record(true, 0.001, 0.003);
        assert!((excess.evidence() - whole.evidence()).abs() < 1e-9, "it is as if it had been bad at once");
        assert_eq!((excess.seen(), excess.bad), (count + 1, bad + 1));
        excess.turns_bad(true, 0.001, 0.003);
        assert_eq!((excess.seen(), excess.bad), (count + 2, bad + 2), "one of before is one more");
        let mut share = Share::default();
        assert!((share.expected(0.05, 0) - 0.05).abs() < 1e-9, "unknown: the limit");
        (0..1000).for_each(|at| share.record(at % 10 == 0));
        assert!((share.expected(0.05, 0) - 0.1).abs() < 0.005);
        share.turns_bad();
        assert!((share.expected(0.05, 0) - 0.1).abs() < 0.006 && share.seen() == 1000.0);
        share.fade(1.0, 0.05);
        assert!((share.seen() - 500.0).abs() < 1e-9);
        share.fade(100.0, 0.05);
        assert!((share.seen() - 120.0).abs() < 1e-9, "as many as are needed stay");
        assert!((share.expected(0.05, 0) - 0.1).abs() < 0.006, "and what is unknown makes it no better");
    }
}
