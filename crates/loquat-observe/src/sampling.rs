//! Which operations' spans are kept: some from their head on, and, at their end, those that were worth a look.
//!
//! The head decides by the trace's id, as OpenTelemetry's `TraceIdRatioBased` does, so that all processes of a trace agree;
//! a trace that began elsewhere keeps the decision made there. Whoever comes by the end alone was not announced to the
//! provider.

use std::time::Duration;

/// Which operations' spans are kept. Those of the head are chosen by their trace's id, so that all processes of a trace agree;
/// those of the end for how they went.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Sampling {
    /// The part of traces kept from the head on, 0 to 1. Default 0.01.
    pub ratio: f64,
    /// Whether what failed is kept. Default yes; what its caller gave up does not count as failed.
    pub failed: bool,
    /// Operations that took at least so long are kept. Default none.
    pub slower_than: Option<Duration>,
    /// Operations whose first content took at least so long are kept. Default none.
    pub first_chunk_slower_than: Option<Duration>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { ratio: 0.01, failed: true, slower_than: None, first_chunk_slower_than: None }
    }
}

impl Sampling {
    /// All of them.
    pub fn all() -> Self {
        Self { ratio: 1.0, ..Self::default() }
    }

    /// That part from the head on, 0 to 1.
    #[must_use]
    pub fn with_ratio(mut self, ratio: f64) -> Self {
        self.ratio = ratio;
        self
    }

    /// Keeps what failed, or not.
    #[must_use]
    pub fn with_failed(mut self, failed: bool) -> Self {
        self.failed = failed;
        self
    }

    /// Keeps what took at least so long.
    #[must_use]
    pub fn with_slower_than(mut self, limit: Duration) -> Self {
        self.slower_than = Some(limit);
        self
    }

    /// Keeps what took at least so long to begin.
    #[must_use]
    pub fn with_first_chunk_slower_than(mut self, limit: Duration) -> Self {
        self.first_chunk_slower_than = Some(limit);
        self
    }

    /// Whether that trace is kept from its head on.
    pub(crate) fn takes(&self, trace_id: [u8; 16]) -> bool {
        drawn(trace_id, self.ratio)
    }

    /// Whether an operation is kept for how it went.
    pub(crate) fn keeps(&self, failed: bool, took: Duration, first_chunk: Option<Duration>) -> bool {
        (failed && self.failed)
            || self.slower_than.is_some_and(|limit| took >= limit)
            || self.first_chunk_slower_than.is_some_and(|limit| first_chunk.unwrap_or(took) >= limit)
    }
}

/// Whether that trace is of the part `ratio`. A smaller part is within a larger one.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float as an integer saturates, and a NaN is 0"
)]
pub(crate) fn drawn(trace_id: [u8; 16], ratio: f64) -> bool {
    const SPAN: u64 = 1 << 63;
    let [.., a, b, c, d, e, f, g, h] = trace_id;
    let drawn = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
    drawn < (ratio * SPAN as f64) as u64
}

#[cfg(test)]
mod tests {
    use loquat_core::TraceContext;

    use super::*;

    #[test]
    fn the_ratio_is_met_and_its_ends_are_exact() {
        let taken = |ratio| {
            let sampling = Sampling::default().with_ratio(ratio);
            (0..20_000).filter(|_| sampling.takes(TraceContext::random().trace_id())).count()
        };
        assert_eq!((taken(0.0), taken(1.0), taken(f64::NAN), taken(-1.0)), (0, 20_000, 0, 0));
        // 2,000 expected; ten standard deviations either way.
        assert!((1_580..2_420).contains(&taken(0.1)));
    }
}
