//! What a cache counts. Every thread has a stripe of its own, so that counting a hit does not make two threads wait for one
//! cache line; and nobody else writes there meanwhile, so that it is a store and no locked addition, of which a look-up of some hundred
//! nanoseconds would have two. A thread that ends leaves its stripe, with what was counted, to the next one. Where there are more
//! threads than stripes, those that came last share a few.

use std::{
    sync::atomic::{
        AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::{Duration, Instant},
};

/// Stripes of one thread each: three kilobytes of each tenant with the shared ones.
const ALONE: usize = 15;
/// Behind them those that the others share, in turn.
const SHARED: usize = 8;
const STRIPES: usize = ALONE + SHARED;
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

/// Who has which stripe.
#[derive(Debug)]
struct Taken {
    /// Those that have their thread, a bit each.
    alone: AtomicU32,
    /// How many threads have found none.
    sharing: AtomicUsize,
}

impl Taken {
    const fn new() -> Self {
        Self { alone: AtomicU32::new(0), sharing: AtomicUsize::new(0) }
    }
}

/// Those of the process: a thread has the same stripe in every cache.
static TAKEN: Taken = Taken::new();

thread_local! {
    static MINE: Mine = Mine::take(&TAKEN);
}

/// A thread's stripe, given back at its end.
#[derive(Debug)]
struct Mine {
    taken: &'static Taken,
    number: usize,
}

impl Mine {
    /// The first one that is free, or the next of those that are shared.
    fn take(taken: &'static Taken) -> Self {
        let free = |taken: u32| (!taken).trailing_zeros();
        let mark = |taken: u32| ((free(taken) as usize) < ALONE).then(|| taken | 1 << free(taken));
        // What its last thread has counted is seen by the next one.
        let number = match taken.alone.fetch_update(Acquire, Relaxed, mark) {
            Ok(before) => free(before) as usize,
            Err(_) => ALONE + taken.sharing.fetch_add(1, Relaxed) % SHARED,
        };
        Self { taken, number }
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        if self.number < ALONE {
            self.taken.alone.fetch_and(!(1 << self.number), Release);
        }
    }
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

/// A stripe, and whether nobody else writes there.
#[derive(Clone, Copy)]
struct Own<'a> {
    stripe: &'a Stripe,
    is_alone: bool,
}

impl Own<'_> {
    #[inline]
    fn add(&self, of: fn(&Stripe) -> &AtomicU64, more: u64) {
        let counter = of(self.stripe);
        if self.is_alone {
            counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
        } else {
            counter.fetch_add(more, Relaxed);
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters([Stripe; STRIPES]);

impl Counters {
    #[inline]
    fn own(&self) -> Own<'_> {
        // A thread that is about to end shares.
        self.of(MINE.try_with(|mine| mine.number).unwrap_or(ALONE))
    }

    #[inline]
    fn of(&self, number: usize) -> Own<'_> {
        match self.0.get(number) {
            Some(stripe) => Own { stripe, is_alone: number < ALONE },
            None => Own { stripe: &self.0[ALONE], is_alone: false },
        }
    }

    #[inline]
    fn mine(&self) -> &Stripe {
        self.own().stripe
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
            let own = self.own();
            own.add(|stripe| &stripe.timed, 1);
            let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            own.add(|stripe| &stripe.timed_nanos, nanos);
        }
    }

    #[inline]
    pub(crate) fn hit(&self, bytes: usize) {
        let own = self.own();
        own.add(|stripe| &stripe.hits, 1);
        own.add(|stripe| &stripe.hit_bytes, bytes as u64);
    }

    /// How many misses this thread has counted, with those that share its stripe.
    #[inline]
    pub(crate) fn computed_here(&self) -> u64 {
        self.mine().misses.load(Relaxed)
    }

    pub(crate) fn miss(&self, bytes: usize) {
        let own = self.own();
        own.add(|stripe| &stripe.misses, 1);
        own.add(|stripe| &stripe.missed_bytes, bytes as u64);
    }

    /// Bytes of a miss, where they are known later than it.
    #[cfg(feature = "redis")]
    pub(crate) fn computed(&self, bytes: usize) {
        self.own().add(|stripe| &stripe.missed_bytes, bytes as u64);
    }

    pub(crate) fn joined(&self, bytes: usize) {
        let own = self.own();
        own.add(|stripe| &stripe.joined, 1);
        own.add(|stripe| &stripe.hit_bytes, bytes as u64);
    }

    pub(crate) fn inserted(&self) {
        self.own().add(|stripe| &stripe.inserted, 1);
    }

    pub(crate) fn evicted(&self) {
        self.own().add(|stripe| &stripe.evicted, 1);
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
    fn a_stripe_has_one_thread_at_a_time() {
        static TAKEN: Taken = Taken::new();
        let mut all: Vec<Mine> = (0..ALONE).map(|_| Mine::take(&TAKEN)).collect();
        let numbers: Vec<usize> = all.iter().map(|mine| mine.number).collect();
        assert_eq!(numbers, (0..ALONE).collect::<Vec<_>>());
        let shared = [Mine::take(&TAKEN), Mine::take(&TAKEN)];
        assert_eq!(shared.each_ref().map(|mine| mine.number), [ALONE, ALONE + 1]);
        drop(shared);
        all.remove(7);
        assert_eq!(Mine::take(&TAKEN).number, 7, "left by one, taken by the next");
        assert_eq!(Mine::take(&TAKEN).number, 7);
        let counters = Counters::default();
        let is_alone: Vec<bool> = (0..=STRIPES).map(|number| counters.of(number).is_alone).collect();
        assert_eq!(is_alone.iter().position(|is_alone| !is_alone), Some(ALONE));
        assert!(!is_alone[STRIPES]);
        let _seven = Mine::take(&TAKEN);
        let sharing: Vec<usize> = (0..SHARED).map(|_| Mine::take(&TAKEN).number).collect();
        assert!(sharing.iter().all(|number| (ALONE..STRIPES).contains(number)), "{sharing:?}");
    }

    #[test]
    fn nothing_is_lost_whatever_threads_there_are() {
        let counters = Counters::default();
        // Many at once, who share what is left, and one after the other.
        for (together, rounds) in [(3 * STRIPES, 4), (1, 100), (2, 100)] {
            for _ in 0..rounds {
                std::thread::scope(|scope| {
                    for _ in 0..together {
                        scope.spawn(|| (0..1_000).for_each(|_| counters.hit(3)));
                    }
                });
            }
        }
        let mut stats = CacheStats::default();
        counters.add_to(&mut stats);
        let hits = 1_000 * (3 * STRIPES as u64 * 4 + 100 + 200);
        assert_eq!((stats.hits, stats.hit_bytes), (hits, 3 * hits));
    }

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
