//! Chance: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) over a counter that is counted anyway, repeatable from a seed.

use loquat_core::TraceContext;

/// Where chance begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn from_system() -> Self {
        Self::seeded(u64::from_le_bytes(TraceContext::random().span_id()))
    }

    /// The chance of the decision of that number.
    pub(crate) fn draw(self, number: u64) -> Draw {
        Draw(self.0.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

/// The chance of one decision.
#[derive(Debug, Clone, Copy)]
pub struct Draw(u64);

impl Draw {
    /// The chance that this seed stands for.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0xd1b5_4a32_d192_ed03);
        crate::ability::mix(self.0)
    }

    /// Evenly among `0..bound`; 0 for a bound of 0.
    #[allow(clippy::cast_possible_truncation, reason = "less than the bound")]
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }
}
