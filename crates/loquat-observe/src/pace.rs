//! How evenly an answer's content arrives, added up within the stream: a few integers, recorded at its end.

use std::time::Instant;

use crate::metric::{DURATION, Histogram};

/// The gaps between arrivals, by the buckets of [`DURATION`].
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Option<Instant>,
    chunks: u32,
    gaps: [u32; BUCKETS],
    sum: u64,
}

const BUCKETS: usize = DURATION.shown.len() + 1;
/// The first edge, 0.01 s, from which each is twice the one before.
const FIRST_EDGE: u64 = 10_000_000;

impl Pace {
    /// Content arrived then; `false` if that is known (several deltas may come from one arrival), or it is the first.
    ///
    /// For every chunk of every stream: one subtraction of times, which is a call into the standard library, and a few
    /// instructions more.
    #[inline]
    pub(crate) fn arrival(&mut self, at: Instant) -> bool {
        let Some(last) = self.last else { return false };
        let gap = at.saturating_duration_since(last);
        // 2³² s, which is longer than any machine is up, are far from the end of a `u64`.
        let gap = gap.as_secs().min(1 << 32) * 1_000_000_000 + u64::from(gap.subsec_nanos());
        if gap == 0 {
            return false;
        }
        let bucket = if gap <= FIRST_EDGE { 0 } else { bucket(gap) };
        if let Some(count) = self.gaps.get_mut(bucket) {
            *count += 1;
        }
        self.sum += gap;
        self.last = Some(at);
        self.chunks = self.chunks.saturating_add(1);
        true
    }

    /// The first content arrived then.
    pub(crate) fn begin(&mut self, at: Instant) {
        (self.last, self.chunks) = (Some(at), 1);
    }

    /// Nanoseconds from the first arrival to the last.
    pub(crate) fn span(&self) -> u64 {
        self.sum
    }

    pub(crate) fn chunks(&self) -> u32 {
        self.chunks
    }

    pub(crate) fn record(&self, histogram: &Histogram) {
        if self.chunks > 1 {
            histogram.record_all(&self.gaps, self.sum);
        }
    }
}

/// The smallest n with `gap <= 0.01·2ⁿ s`.
#[cold]
fn bucket(gap: u64) -> usize {
    if gap <= FIRST_EDGE {
        return 0;
    }
    let edges = (gap - 1) / FIRST_EDGE;
    (edges.ilog2() as usize + 1).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metric::Value;

    #[test]
    fn its_buckets_are_the_histograms() {
        let mut gap = 1_u64;
        let mut cases = Vec::new();
        while gap < 200_000_000_000 {
            cases.extend([gap - 1, gap, gap + 1]);
            gap = gap * 5 / 4 + 1;
        }
        for n in 0..14 {
            let edge = FIRST_EDGE << n;
            cases.extend([edge - 1, edge, edge + 1]);
        }
        for gap in cases {
            let histogram = Histogram::new(&DURATION);
            histogram.record(gap);
            let Value::Histogram { counts, .. } = histogram.read() else { panic!("a histogram") };
            assert_eq!(counts.iter().position(|count| *count == 1), Some(bucket(gap)), "{gap}");
        }
    }

    #[test]
    fn what_arrives_together_is_one_chunk() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert!(!pace.arrival(start));
        pace.begin(start);
        let arrivals = [0, 20, 20, 1000].map(|ms| pace.arrival(start + Duration::from_millis(ms)));
        assert_eq!(arrivals, [false, true, false, true]);
        assert_eq!((pace.chunks(), pace.sum, pace.gaps[1], pace.gaps[7]), (3, 1_000_000_000, 1, 1));
    }
}
