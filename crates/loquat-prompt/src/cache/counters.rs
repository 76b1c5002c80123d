//! What a cache counts. Every thread has a stripe of its own, so that counting a hit does not make two threads wait for one
//! cache line.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

const STRIPES: usize = 8;
/// Of how many look-ups one has its time taken: reading the clock twice costs about what the quickest look-up does.
const TIMED_OF: u64 = 64;

/// What happened in a cache so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheStats {
    /// Answered from the cache.
    pub hits: u64,
    /// Computed.
    pub misses: u64,
    /// Waited for another thread that was computing the same: hits of a kind, counted apart.
    pub joined: u64,
    /// Bytes of text answered from the cache.
    pub hit_bytes: u64,
    /// Bytes of text computed.
    pub missed_bytes: u64,
    /// Put into the cache.
    pub inserted: u64,
    /// Taken out to make room.
    pub evicted: u64,
    /// Entries now.
    pub entries: u64,
    /// Bytes now, texts and tokens and what keeps them.
    pub bytes: u64,
    /// Look-ups whose time was taken: one in 64, of whole answers each.
    pub timed: u64,
    /// How long those took, all together, computing what was not there included; asking a model for it apart.
    pub time: Duration,
}

impl CacheStats {
    /// Of the look-ups, how many were answered: 0 to 1.
    pub fn hit_ratio(&self) -> f64 {
        ratio(self.hits + self.joined, self.misses)
    }

    /// Of the bytes, how many were answered: 0 to 1.
    pub fn byte_hit_ratio(&self) -> f64 {
        ratio(self.hit_bytes, self.missed_bytes)
    }
}

fn ratio(hits: u64, misses: u64) -> f64 {
    let all = hits + misses;
    if all == 0 { 0.0 } else { hits as f64 / all as f64 }
}

/// One thread's share, on a cache line pair of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    hits: AtomicU64,
    misses: AtomicU64,
    joined: AtomicU64,
    hit_bytes: AtomicU64,
    missed_bytes: AtomicU64,
    inserted: AtomicU64,
    evicted: AtomicU64,
    timed: AtomicU64,
    timed_nanos: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters([Stripe; STRIPES]);

impl Counters {
    fn mine(&self) -> &Stripe {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = NEXT.fetch_add(1, Relaxed) % STRIPES;
        }
        // The index is below the length; the first stripe does as well as any.
        self.0.get(MINE.with(|mine| *mine)).unwrap_or(&self.0[0])
    }

    /// A look-up begins; to be handed to [`over`](Self::over) at its end. An instant where it is one that is timed.
    #[inline]
    pub(crate) fn begin(&self) -> Option<Instant> {
        let mine = self.mine();
        let so_far = mine.hits.load(Relaxed).wrapping_add(mine.misses.load(Relaxed));
        so_far.is_multiple_of(TIMED_OF).then(Instant::now)
    }

    /// A look-up is over.
    #[inline]
    pub(crate) fn over(&self, began: Option<Instant>) {
        if let Some(began) = began {
            let mine = self.mine();
            mine.timed.fetch_add(1, Relaxed);
            let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            mine.timed_nanos.fetch_add(nanos, Relaxed);
        }
    }

    pub(crate) fn hit(&self, bytes: usize) {
        let mine = self.mine();
        mine.hits.fetch_add(1, Relaxed);
        mine.hit_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// How many misses this thread has counted, with those that share its stripe.
    #[inline]
    pub(crate) fn computed_here(&self) -> u64 {
        self.mine().misses.load(Relaxed)
    }

    pub(crate) fn miss(&self, bytes: usize) {
        let mine = self.mine();
        mine.misses.fetch_add(1, Relaxed);
        mine.missed_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes of a miss, where they are known later than it.
    #[cfg(feature = "redis")]
    pub(crate) fn computed(&self, bytes: usize) {
        self.mine().missed_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn joined(&self, bytes: usize) {
        let mine = self.mine();
        mine.joined.fetch_add(1, Relaxed);
        mine.hit_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn inserted(&self) {
        self.mine().inserted.fetch_add(1, Relaxed);
    }

    pub(crate) fn evicted(&self) {
        self.mine().evicted.fetch_add(1, Relaxed);
    }

    /// Adds what was counted; entries and bytes are for the caller to say.
    pub(crate) fn add_to(&self, stats: &mut CacheStats) {
        for stripe in &self.0 {
            stats.hits += stripe.hits.load(Relaxed);
            stats.misses += stripe.misses.load(Relaxed);
            stats.joined += stripe.joined.load(Relaxed);
            stats.hit_bytes += stripe.hit_bytes.load(Relaxed);
            stats.missed_bytes += stripe.missed_bytes.load(Relaxed);
            stats.inserted += stripe.inserted.load(Relaxed);
            stats.evicted += stripe.evicted.load(Relaxed);
            stats.timed += stripe.timed.load(Relaxed);
            stats.time += Duration::from_nanos(stripe.timed_nanos.load(Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_up_in_so_many_is_timed() {
        let counters = Counters::default();
        for number in 0..3 * TIMED_OF {
            let began = counters.begin();
            match number % 2 {
                0 => counters.hit(1),
                _ => counters.miss(1),
            }
            counters.over(began);
        }
        let mut stats = CacheStats::default();
        counters.add_to(&mut stats);
        assert_eq!((stats.timed, stats.hits + stats.misses), (3, 3 * TIMED_OF));
        let before = Duration::from_millis(5);
        counters.over(Instant::now().checked_sub(before));
        let mut later = CacheStats::default();
        counters.add_to(&mut later);
        assert!(later.timed == 4 && later.time >= stats.time + before, "{later:?}");
    }
}
