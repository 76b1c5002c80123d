//! Whether a text is worth a place. Where nothing is ever asked twice, keeping it costs for nothing; so while almost nothing
//! hits, a text is looked for and gets a place when it is seen the second time (the doorkeeper of TinyLFU, Einziger et al. 2017),
//! and costs the hash of a sample and a word until then.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Texts remembered by their hash.
const SEEN: usize = 4096;
/// The share of hits is kept in parts of this, as an average over some hundred look-ups.
const ONE: u32 = 1 << 16;
const WEIGHT: u32 = 256;
/// Below one hit in sixteen the doorkeeper stands.
const SELDOM: u32 = ONE / 16;

#[derive(Debug)]
pub(crate) struct Admission {
    hits: AtomicU32,
    seen: Box<[AtomicU64]>,
}

impl Default for Admission {
    fn default() -> Self {
        // As if one in eight had hit: a new cache gives the first two hundred a chance, whatever they are.
        Self { hits: AtomicU32::new(ONE / 8), seen: (0..SEEN).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Admission {
    /// Races lose a look-up now and then, which an average bears.
    pub(crate) fn note(&self, hit: bool) {
        let now = self.hits.load(Relaxed);
        let next = now - now / WEIGHT + if hit { ONE / WEIGHT } else { 0 };
        if next != now {
            self.hits.store(next, Relaxed);
        }
    }

    /// That text is about to be asked for, and admitted then.
    #[cfg(feature = "redis")]
    pub(crate) fn expect(&self, hash: u64) {
        let index = usize::try_from(hash % SEEN as u64).unwrap_or_default();
        if let Some(seen) = self.seen.get(index) {
            seen.store(hash, Relaxed);
        }
    }

    /// Whether a text is worth a look, and a place if it has none. Of texts with the same hash, one that is not in their place at
    /// a glance is computed once more before it is looked for.
    pub(crate) fn admits(&self, hash: u64) -> bool {
        if self.hits.load(Relaxed) >= SELDOM {
            return true;
        }
        let index = usize::try_from(hash % SEEN as u64).unwrap_or_default();
        self.seen.get(index).is_none_or(|seen| seen.swap(hash, Relaxed) == hash)
    }
}
