//! Hedging: a second attempt beside one that takes longer than nearly all do; the first to answer wins.
//!
//! Off by default, and never for a generation unless asked: a hedge runs the request twice on purpose, and a
//! generation is the dearest thing to run twice. [`Hedge`] is for any operation that returns a future, such as a
//! listing; [`Hedged`] is that around a [`Model`](loquat_core::Model). Dean and Barroso, *The Tail at Scale* (CACM 2013),
//! is where the 95th percentile comes from: it shortens the tail for about 5 % more load.

mod latency;
mod layer;
mod race;

use std::time::Duration;

pub use latency::Latencies;
pub use layer::Hedged;
pub use race::Hedge;

/// When a second attempt goes out.
///
/// | field | default | reason |
/// |---|---|---|
/// | `percentile` | 95 | one request in twenty is hedged, as in The Tail at Scale |
/// | `min_sample` | 50 | a percentile of fewer is one request's luck |
/// | `min_delay` | 10 ms | below it the network's own jitter decides |
/// | `generation` | no | twice the tokens, twice the bill |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgePolicy {
    /// A request that takes longer than this share of the recent ones is hedged, 0 to 100 percent. Default 95.
    pub percentile: u32,
    /// Fewest latencies that a percentile is taken of; until then nothing is hedged. Default 50, at most 256.
    pub min_sample: usize,
    /// The shortest wait before a hedge. Default 10 ms.
    pub min_delay: Duration,
    /// Whether [`Hedged`] may hedge generations. Default `false`: then that layer only passes on.
    pub generation: bool,
}

impl Default for HedgePolicy {
    fn default() -> Self {
        Self { percentile: 95, min_sample: 50, min_delay: Duration::from_millis(10), generation: false }
    }
}

impl HedgePolicy {
    /// Hedges what takes longer than that share, in percent, of at least so many.
    #[must_use]
    pub fn with_percentile(mut self, percentile: u32, min_sample: usize) -> Self {
        (self.percentile, self.min_sample) = (percentile, min_sample);
        self
    }

    /// Hedges generations as well: each hedge may cost a second generation.
    #[must_use]
    pub fn with_generation(mut self) -> Self {
        self.generation = true;
        self
    }
}
