//! Counters, gauges and histograms: a few atomics each, looked up once and held.
//!
//! Recording reads no clock, takes no lock and compares no label: a handle is bound to its labels when it is made. Values are
//! integers of a small unit (nanoseconds, tokens), so that a sum is one addition; they become seconds when somebody reads
//! them. A bucket's counts are summed up by the reader, not by the writer, as prometheus-client and OpenTelemetry do.

mod exemplar;
mod registry;
pub(crate) mod text;

use std::{
    fmt,
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

pub(crate) use exemplar::Exemplar;
use exemplar::Exemplars;
#[cfg(feature = "otlp")]
pub(crate) use registry::Point;
pub(crate) use registry::{About, Family, Kind, Labels, Registry, Value};
pub use text::TextFormat;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// So many more. Wraps after 2⁶⁴, which a reader takes for a restart.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// What it has come to.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    /// Up or down by so much.
    pub(crate) fn add(&self, change: i64) {
        self.0.fetch_add(change, Relaxed);
    }

    /// What it is.
    pub(crate) fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// The upper edges of a histogram's buckets, in the unit that is shown and in the one that is counted.
pub(crate) struct Bounds {
    /// As shown: seconds, tokens. The last bucket, `+Inf`, is not listed.
    pub(crate) shown: &'static [f64],
    /// How many of what is counted make one of what is shown.
    pub(crate) scale: f64,
}

/// `gen_ai.client.*.duration` and its like: 0.01·2ⁿ s, n = 0…13, as the conventions advise.
pub(crate) const DURATION: Bounds = Bounds {
    shown: &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92],
    scale: 1e9,
};
/// `gen_ai.client.token.usage`: 4ⁿ tokens, n = 0…13, as the conventions advise.
pub(crate) const TOKENS: Bounds = Bounds {
    shown: &[
        1.0,
        4.0,
        16.0,
        64.0,
        256.0,
        1024.0,
        4096.0,
        16384.0,
        65536.0,
        262_144.0,
        1_048_576.0,
        4_194_304.0,
        16_777_216.0,
        67_108_864.0,
    ],
    scale: 1.0,
};
/// A response's head: with an edge at 0.85 s, or a P95 of 850 ms could not be told from one of 1.2 s.
pub(crate) const RESPONSE: Bounds = Bounds {
    shown: &[0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0],
    scale: 1e9,
};
/// What is quick where it is healthy: a queue, a cache.
pub(crate) const SHORT: Bounds =
    Bounds { shown: &[1e-6, 5e-6, 2.5e-5, 1e-4, 5e-4, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0], scale: 1e9 };

/// A distribution over fixed buckets.
pub(crate) struct Histogram {
    /// The upper edges, inclusive, in the unit that is counted.
    edges: Box<[u64]>,
    /// One more than edges.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    bounds: &'static Bounds,
    exemplars: Exemplars,
}

impl Histogram {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "edges are constants above")]
    pub(crate) fn new(bounds: &'static Bounds) -> Self {
        let edges: Box<[u64]> =
            bounds.shown.iter().map(|edge| (edge * bounds.scale).round() as u64).collect();
        let counts: Box<[AtomicU64]> = (0..=edges.len()).map(|_| AtomicU64::new(0)).collect();
        let exemplars = Exemplars::new(counts.len());
        Self { edges, counts, sum: AtomicU64::new(0), bounds, exemplars }
    }

    /// One value more: nanoseconds, tokens.
    pub(crate) fn record(&self, value: u64) {
        let bucket = self.bucket(value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
    }

    /// One duration more.
    pub(crate) fn record_duration(&self, value: Duration) {
        self.record(nanos(value));
    }

    /// One duration more, with a trace where one can see such a case. Nobody waits for it: where two come at once, one
    /// is kept.
    pub(crate) fn record_with(&self, value: Duration, exemplar: Option<&Exemplar>) {
        self.record_duration(value);
        if let Some(exemplar) = exemplar {
            self.exemplars.keep(self.bucket(nanos(value)), nanos(value), exemplar);
        }
    }

    /// Many values at once, counted by bucket.
    pub(crate) fn record_all(&self, counts: &[u32], sum: u64) {
        for (count, more) in self.counts.iter().zip(counts) {
            if *more > 0 {
                count.fetch_add(u64::from(*more), Relaxed);
            }
        }
        self.sum.fetch_add(sum, Relaxed);
    }

    fn bucket(&self, value: u64) -> usize {
        self.edges.partition_point(|edge| *edge < value)
    }

    pub(crate) fn read(&self) -> Value {
        #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
        let sum = self.sum.load(Relaxed) as f64 / self.bounds.scale;
        Value::Histogram {
            bounds: self.bounds.shown,
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum,
            exemplars: self.exemplars.read(self.bounds.scale),
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("counts", &self.counts).field("sum", &self.sum).finish()
    }
}

/// Whole nanoseconds; 584 years at most. In 64 bits: `as_nanos` multiplies in 128.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_belongs_to_its_bucket() {
        let histogram = Histogram::new(&RESPONSE);
        let at = |millis| Duration::from_millis(millis);
        for millis in [850, 851, 0, 600_000] {
            histogram.record_duration(at(millis));
        }
        let Value::Histogram { bounds, counts, sum, .. } = histogram.read() else { panic!("a histogram") };
        let edge = bounds.iter().position(|bound| *bound == 0.85).expect("an edge at 0.85 s");
        assert_eq!((counts[edge], counts[edge + 1], counts[0]), (1, 1, 1));
        assert_eq!(counts.last(), Some(&1), "whatever is longer");
        assert!((sum - 601.701).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn many_at_once_are_as_many_one_by_one() {
        let (one, many) = (Histogram::new(&DURATION), Histogram::new(&DURATION));
        one.record(5_000_000);
        one.record(15_000_000);
        many.record_all(&[1, 1], 20_000_000);
        assert_eq!(format!("{one:?}"), format!("{many:?}"));
    }
}
