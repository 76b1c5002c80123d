//! How a canary's share moves, and when it is rolled back.

use std::time::Duration;

/// How a canary's share moves.
///
/// | field | default | reason |
/// |---|---|---|
/// | `first_percent` | 5 | enough to learn from within minutes, little enough to lose |
/// | `step_percent` | 10 | additive increase |
/// | `max_percent` | 50 | the rest is a decision for people |
/// | `dwell` | 60 s | twice the time in which a bad release shows at 100 requests a second |
/// | `max_error_percent` | 0.3 | of answers that failed on the endpoint's side |
/// | `max_first_token` | 850 ms | for 95 of a hundred |
/// | `min_sample` | 200 | of each side; fewer are luck |
/// | `evidence` | 14 | excess a million times as likely as chance: an hour has thousands of chances; see the tests |
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CanaryPolicy {
    /// The share it begins with. Percent, 0 to 100.
    pub first_percent: f64,
    /// What is added after each dwell time without a breach. Percent.
    pub step_percent: f64,
    /// The share it does not go beyond. Percent.
    pub max_percent: f64,
    /// The shortest time between two moves.
    pub dwell: Duration,
    /// Failures allowed, in percent of the canary's requests.
    pub max_error_percent: f64,
    /// The time to first token that 95 of a hundred must keep.
    pub max_first_token: Duration,
    /// Requests of each side before anything is decided.
    pub min_sample: u32,
    /// How sure a rollback must be: the natural logarithm of a likelihood ratio. Half of it halves the share.
    pub evidence: f64,
}

impl Default for CanaryPolicy {
    fn default() -> Self {
        Self {
            first_percent: 5.0,
            step_percent: 10.0,
            max_percent: 50.0,
            dwell: Duration::from_secs(60),
            max_error_percent: 0.3,
            max_first_token: Duration::from_millis(850),
            min_sample: 200,
            evidence: 14.0,
        }
    }
}

impl CanaryPolicy {
    /// Begins with that share, grows by steps of that size up to `max_percent`.
    #[must_use]
    pub fn with_shares(mut self, first_percent: f64, step_percent: f64, max_percent: f64) -> Self {
        (self.first_percent, self.step_percent, self.max_percent) =
            (first_percent, step_percent, max_percent);
        self
    }

    /// Moves no more often than that.
    #[must_use]
    pub fn with_dwell(mut self, dwell: Duration) -> Self {
        self.dwell = dwell;
        self
    }

    /// Allows that many failures, and first tokens that late.
    #[must_use]
    pub fn with_limits(mut self, max_error_percent: f64, max_first_token: Duration) -> Self {
        (self.max_error_percent, self.max_first_token) = (max_error_percent, max_first_token);
        self
    }

    /// What is wrong with it.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |name: &str, value: f64, most: f64| {
            if !(value > 0.0 && value <= most) {
                problems.push(format!("{name} must be above 0 and at most {most}"));
            }
        };
        check("first_percent", self.first_percent, 100.0);
        check("step_percent", self.step_percent, 100.0);
        check("max_percent", self.max_percent, 100.0);
        check("max_error_percent", self.max_error_percent, 40.0);
        check("evidence", self.evidence, 100.0);
        if self.first_percent > self.max_percent {
            problems.push("first_percent is above max_percent".to_owned());
        }
        problems
    }
}
