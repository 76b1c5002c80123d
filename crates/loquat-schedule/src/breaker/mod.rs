//! Circuit breaker: an endpoint that times out or mostly fails is left alone for a while, then probed once.
//!
//! [`Breaker`] is the arithmetic: outcomes and a `now` go in, the endpoint's [`Availability`](loquat_core::Availability)
//! word comes out, which a router reads without asking. [`Guarded`] is that around a [`Model`](loquat_core::Model).
//!
//! Two ways to open, as in linkerd: three timeouts in a row (a dead endpoint, seen at once even at low traffic), and a
//! success rate below a half over ten seconds (a sick one that still answers now and then). While open, each failed
//! probe doubles the ejection. Nygard, *Release It!*, ch. 5, is where the pattern comes from.

mod circuit;
mod layer;
mod window;

use std::time::Duration;

pub use circuit::{Breaker, Outcome, Permit, Rejected};
pub use layer::Guarded;
pub(crate) use layer::guard;

/// When an endpoint is left alone, and for how long.
///
/// | field | default | reason |
/// |---|---|---|
/// | `consecutive_timeouts` | 3 | one is chance, two are bad luck |
/// | `window` | 10 s | long enough for a sample, short enough to forget a restart |
/// | `min_sample` | 20 | fewer say nothing about a rate |
/// | `min_success_percent` | 50 | an endpoint that fails every other time does more harm than good |
/// | `ejection` | 5 s | a restart's time; short enough that a wrong verdict is cheap |
/// | `max_ejection` | 60 s | nobody finds out about a recovery later than that |
/// | `probe_limit` | 90 s | a probe's first token may take 60 s; one that is lost altogether must not block the next |
/// | `fair_time` | 500 ms | an attempt that had less says more about its caller than about the endpoint |
///
/// What ends by its caller's deadline, and not by a limit of the attempt, counts only if it had twice the median time that its kind
/// takes here, or once that while nobody else had anything from the endpoint, and never once its answer has begun: one tenant's haste
/// shuts an endpoint for nobody else. There are two kinds: answers, which take to their first content, and calls that are none, such as
/// a listing ([`EndpointSchedule::call`](crate::EndpointSchedule::call)), which take to their end. An endpoint of whose callers none
/// grants it its median is not shut by their timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerPolicy {
    /// That many timeouts with no success between them open it. 0 turns this rule off. Default 3.
    pub consecutive_timeouts: u32,
    /// The time over which the success rate is taken. Default 10 s, counted in tenths.
    pub window: Duration,
    /// Fewest outcomes within the window for its rate to count. Default 20.
    pub min_sample: u32,
    /// Below this share of successes it opens, 0 to 100 percent. 0 turns this rule off. Default 50.
    pub min_success_percent: u32,
    /// How long it stays open at first. Default 5 s; twice as long each time it opens again before it has been
    /// closed for as long.
    pub ejection: Duration,
    /// The longest it stays open. Default 60 s.
    pub max_ejection: Duration,
    /// After how long a probe without a verdict is given up as lost. Default 90 s.
    pub probe_limit: Duration,
    /// A timeout of an attempt that was granted less does not count. Default 500 ms.
    pub fair_time: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            consecutive_timeouts: 3,
            window: Duration::from_secs(10),
            min_sample: 20,
            min_success_percent: 50,
            ejection: Duration::from_secs(5),
            max_ejection: Duration::from_secs(60),
            probe_limit: Duration::from_secs(90),
            fair_time: Duration::from_millis(500),
        }
    }
}

impl BreakerPolicy {
    /// Opens after that many timeouts in a row.
    #[must_use]
    pub fn with_consecutive_timeouts(mut self, timeouts: u32) -> Self {
        self.consecutive_timeouts = timeouts;
        self
    }

    /// Opens below that success rate, in percent, over that time and at least that many outcomes.
    #[must_use]
    pub fn with_success_rate(mut self, percent: u32, window: Duration, min_sample: u32) -> Self {
        (self.min_success_percent, self.window, self.min_sample) = (percent, window, min_sample);
        self
    }

    /// Stays open for `first`, then twice as long each time, at most `longest`.
    #[must_use]
    pub fn with_ejection(mut self, first: Duration, longest: Duration) -> Self {
        (self.ejection, self.max_ejection) = (first, longest);
        self
    }

    /// Gives a probe up after that time.
    #[must_use]
    pub fn with_probe_limit(mut self, limit: Duration) -> Self {
        self.probe_limit = limit;
        self
    }

    /// Counts timeouts of attempts that were granted at least that.
    #[must_use]
    pub fn with_fair_time(mut self, time: Duration) -> Self {
        self.fair_time = time;
        self
    }
}
