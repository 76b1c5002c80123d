//! Seeded randomness for jitter: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) over one atomic counter.
//!
//! Jitter needs to be spread, cheap and repeatable from a seed; it protects nothing, so it need not be secret.

use std::sync::atomic::{AtomicU64, Ordering};

use loquat_core::TraceContext;

/// A shared generator. The same seed gives the same sequence to a single caller.
#[derive(Debug)]
pub struct Random(AtomicU64);

impl Random {
    /// The sequence of that seed.
    pub fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A sequence that differs from process to process.
    pub fn from_system() -> Self {
        Self::seeded(u64::from_le_bytes(TraceContext::random().span_id()))
    }

    /// The next 64 bits.
    pub fn bits(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly among `0..bound`; 0 for a bound of 0. The bias of the remainder is below 2⁻³² for the small bounds here.
    pub fn below(&self, bound: u32) -> u32 {
        #[allow(clippy::cast_possible_truncation, reason = "the product of 32 and 32 bits, shifted by 32")]
        let scaled = (((self.bits() >> 32) * u64::from(bound)) >> 32) as u32;
        scaled
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::from_system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_from_its_seed_and_stays_below() {
        // The reference implementation's first outputs for seed 1234567.
        let random = Random::seeded(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
        let random = Random::seeded(7);
        let mut seen = [0_u32; 5];
        (0..5000).for_each(|_| seen[random.below(5) as usize] += 1);
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
