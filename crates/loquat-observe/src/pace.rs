//! How evenly an answer's content arrives, added up within the stream: a few integers, recorded at its end.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    metric::{DURATION, Histogram},
    ticks::NONE,
};

/// How often content has come, and when it did last. One stream writes it, whoever looks reads.
#[derive(Debug)]
pub(crate) struct Arrivals {
    chunks: AtomicU64,
    /// In [`Ticks`](crate::ticks::Ticks); [`NONE`] before the first.
    last: AtomicU64,
}

/// The gaps between arrivals that were longer than [`FIRST_EDGE`], by the buckets of [`DURATION`], of which the first means nothing here; and
/// the first arrival.
#[derive(Debug)]
pub(crate) struct Pace {
    first: u64,
    longer: [u32; BUCKETS],
}

/// What an arrival was, where it is not simply the next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rare {
    First,
    /// More of what came before: several deltas may come from one arrival.
    Known,
    Late,
}

const BUCKETS: usize = DURATION.shown.len() + 1;
/// The first edge, 0.01 s, from which each is twice the one before.
const FIRST_EDGE: u64 = 10_000_000;

impl Default for Arrivals {
    fn default() -> Self {
        Self { chunks: AtomicU64::new(0), last: AtomicU64::new(NONE) }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: NONE, longer: [0; BUCKETS] }
    }
}

impl Arrivals {
    pub(crate) fn chunks(&self) -> u32 {
        self.chunks.load(Relaxed).try_into().unwrap_or(u32::MAX)
    }

    /// The last one; `None` before the first.
    pub(crate) fn last(&self) -> Option<u64> {
        Some(self.last.load(Relaxed)).filter(|last| *last != NONE)
    }

    /// Content arrived then; whether it is the next after a gap so short that nothing more is to be written down.
    ///
    /// For every chunk of every stream: one comparison tells what is rarer.
    #[inline]
    pub(crate) fn is_next(&self, at: u64) -> bool {
        // A gap of nothing, or back in time, is beyond all as well as the one from before the first.
        let gap = at.wrapping_sub(self.last.load(Relaxed));
        if gap.wrapping_sub(1) >= FIRST_EDGE {
            return false;
        }
        self.add(at);
        true
    }

    #[inline]
    fn add(&self, at: u64) {
        // Nobody else writes.
        self.chunks.store(self.chunks.load(Relaxed) + 1, Relaxed);
        self.last.store(at, Relaxed);
    }
}

impl Pace {
    /// Content arrived then, of which [`Arrivals::is_next`] took no note.
    pub(crate) fn rare(&mut self, arrivals: &Arrivals, at: u64) -> Rare {
        let Some(last) = arrivals.last() else {
            self.first = at;
            arrivals.add(at);
            return Rare::First;
        };
        if at <= last {
            return Rare::Known;
        }
        if let Some(count) = self.longer.get_mut(bucket(at - last)) {
            *count = count.saturating_add(1);
        }
        arrivals.add(at);
        Rare::Late
    }

    /// Puts all gaps into that histogram.
    pub(crate) fn record(&self, arrivals: &Arrivals, histogram: &Histogram) {
        let (chunks, Some(last)) = (arrivals.chunks(), arrivals.last()) else { return };
        if chunks > 1 {
            let mut gaps = self.longer;
            // The short ones are not counted one by one.
            let [short, longer @ ..] = &mut gaps;
            let longer = longer.iter().fold(0_u32, |sum, count| sum.saturating_add(*count));
            *short = (chunks - 1).saturating_sub(longer);
            histogram.record_all(&gaps, last.saturating_sub(self.first));
        }
    }
}

/// The smallest n with `gap <= 0.01·2ⁿ s`.
fn bucket(gap: u64) -> usize {
    if gap <= FIRST_EDGE {
        return 0;
    }
    let edges = (gap - 1) / FIRST_EDGE;
    (edges.ilog2() as usize + 1).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
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

    /// What comes at these times, into a histogram: by the stream's numbers, and one by one.
    fn check(times: &[u64]) {
        [true, false].into_iter().for_each(|is_quick| check_so(times, is_quick));
    }

    /// The same where there is no quick way, too.
    fn check_so(times: &[u64], is_quick: bool) {
        let (arrivals, mut pace) = (Arrivals::default(), Pace::default());
        let (ours, plain) = (Histogram::new(&DURATION), Histogram::new(&DURATION));
        let (mut last, mut chunks) = (None, 0);
        for at in times.iter().copied() {
            if !(is_quick && arrivals.is_next(at)) {
                let expected = match last {
                    None => Rare::First,
                    Some(last) if at <= last => Rare::Known,
                    Some(_) => Rare::Late,
                };
                assert_eq!(pace.rare(&arrivals, at), expected, "{at} of {times:?}");
            }
            if last.is_none_or(|last| at > last) {
                last.iter().for_each(|last| plain.record(at - last));
                (last, chunks) = (Some(at), chunks + 1);
            }
            assert_eq!((arrivals.chunks(), arrivals.last()), (chunks, last), "{at} of {times:?}");
        }
        pace.record(&arrivals, &ours);
        assert_eq!(format!("{ours:?}"), format!("{plain:?}"), "{times:?}");
    }

    #[test]
    fn added_up_is_what_one_by_one_would_be() {
        const MS: u64 = 1_000_000;
        // Together, late, back in time, at edges; from 0, where no gap may be taken for one from before the first.
        for times in [
            &[][..],
            &[0],
            &[5],
            &[0, 0, 1],
            &[7 * MS, 27 * MS, 27 * MS, 1027 * MS],
            &[100 * MS, 90 * MS, 101 * MS],
            &[0, 10 * MS, 20 * MS + 1, 40 * MS + 1, 500_000 * MS],
        ] {
            check(times);
        }
        let mut state = 3_u64;
        for _ in 0..300 {
            let (mut at, mut times) = (1 << 40, Vec::new());
            for _ in 0..40 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                at += (state >> 33) >> (state >> 59);
                times.push(at);
            }
            check(&times);
        }
    }
}
