//! What an endpoint has in hand: requests, and the tokens they are made of, in one atomic word.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Requests in the upper 20 bits, tokens in the lower 44: both change in one addition, and neither can reach the other
/// (a million requests of sixteen million tokens each).
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicU64);

const TOKEN_BITS: u32 = 44;
/// Most tokens that one request counts for.
pub(crate) const MOST_TOKENS: u32 = 1 << 24;

impl InFlight {
    /// A request comes; the tokens that were there before it.
    pub(crate) fn enter(&self, tokens: u32) -> u64 {
        split(self.0.fetch_add(1 << TOKEN_BITS | u64::from(tokens.min(MOST_TOKENS)), Relaxed)).1
    }

    /// A part of a request is done.
    pub(crate) fn lessen(&self, tokens: u32) {
        self.0.fetch_sub(u64::from(tokens.min(MOST_TOKENS)), Relaxed);
    }

    pub(crate) fn leave(&self, tokens: u32) {
        self.0.fetch_sub(1 << TOKEN_BITS | u64::from(tokens.min(MOST_TOKENS)), Relaxed);
    }

    /// Requests and tokens.
    pub(crate) fn read(&self) -> (u32, u64) {
        split(self.0.load(Relaxed))
    }
}

#[allow(clippy::cast_possible_truncation, reason = "20 bits")]
fn split(word: u64) -> (u32, u64) {
    ((word >> TOKEN_BITS) as u32, word & ((1 << TOKEN_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_both() {
        let load = InFlight::default();
        assert_eq!((load.enter(500), load.enter(u32::MAX)), (0, 500));
        assert_eq!(load.read(), (2, 500 + u64::from(MOST_TOKENS)));
        load.lessen(400);
        load.leave(100);
        load.leave(u32::MAX);
        assert_eq!(load.read(), (0, 0));
    }
}
