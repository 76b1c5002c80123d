//! [`Merges`]: which two tokens become one, and which two can stand side by side.

use std::sync::atomic::{AtomicU64, Ordering};

/// A token, as its rank.
pub(crate) type Token = u32;

/// Bits of a token: a million of them, four times the largest vocabulary in use.
pub(crate) const TOKEN_BITS: u32 = 20;
/// Verdicts remembered: 256 KiB, which a core's own cache holds beside the rest.
const REMEMBERED: usize = 1 << 15;
/// Ten bits for each pair of the larger vocabularies, 256 KiB.
const FILTER_BITS: u32 = 21;
/// 2⁶⁴ ÷ the golden ratio: multiplied, near keys end up far apart (Knuth, volume 3, §6.4).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Which two tokens become one, and which two can stand side by side.
pub(super) struct Merges {
    /// The two that a token was made of; for a single byte, itself twice.
    halves: Vec<[Token; 2]>,
    /// The tokens within which a merge comes before one that it needs, in order. Mostly none.
    early: Vec<Token>,
    /// Open addressing: the pair in the upper 40 bits, the token it becomes plus one in the lower 24; 0 is free.
    pairs: Vec<u64>,
    shift: u32,
    /// Which pairs there may be, a bit for each hash: small enough to stay near.
    filter: Vec<u64>,
    /// What two bytes become, by the two; `Token::MAX` for nothing. Of a text in one script some kilobytes are in use.
    bytes: Vec<Token>,
    /// The last verdicts on pairs: the pair, the verdict in the lowest bit; `u64::MAX` is none. Races lose an entry, no more.
    verdicts: Vec<AtomicU64>,
}

fn key(left: Token, right: Token) -> u64 {
    u64::from(left) << TOKEN_BITS | u64::from(right)
}

#[inline]
fn pair(left: u8, right: u8) -> usize {
    usize::from(left) << 8 | usize::from(right)
}

#[expect(clippy::cast_possible_truncation, reason = "the shift leaves fewer bits than an index has")]
fn place(key: u64, shift: u32) -> usize {
    (key.wrapping_mul(SPREAD) >> shift) as usize
}

impl Merges {
    /// Tells what tokens are made of, and in which order.
    #[cfg(feature = "cache")]
    pub(super) fn tell(&self, tell: &mut dyn FnMut(&[u8])) {
        tell(&(self.halves.len() as u64).to_le_bytes());
        self.halves.iter().flatten().chain(&self.early).for_each(|token| tell(&token.to_le_bytes()));
    }

    /// All tokens by the two they were made of. At most 2²⁰ of them, of which the first 256 are these bytes. In `early`, in order,
    /// those within which a merge comes before one that it needs.
    pub(super) fn new(first: &[u8; 256], halves: Vec<[Token; 2]>, early: Vec<Token>) -> Self {
        // At most half full: a search ends after one or two.
        let slots = (halves.len() * 2).next_power_of_two().max(64);
        let shift = 64 - slots.trailing_zeros();
        let mut pairs = vec![0u64; slots];
        let mut filter = vec![0u64; 1 << (FILTER_BITS - 6)];
        let mut bytes = vec![Token::MAX; 1 << 16];
        for (token, [left, right]) in (0u64..).zip(&halves) {
            if token < 256 {
                continue;
            }
            if let (Some(left), Some(right)) = (first.get(*left as usize), first.get(*right as usize))
                && let Some(place) = bytes.get_mut(pair(*left, *right))
                && let Ok(token) = Token::try_from(token)
            {
                // Of two tokens with the same halves the first is the one that is reached.
                *place = token.min(*place);
            }
            let key = key(*left, *right);
            let bit = place(key, 64 - FILTER_BITS);
            if let Some(bits) = filter.get_mut(bit / 64) {
                *bits |= 1 << (bit % 64);
            }
            let mut at = place(key, shift);
            while let Some(slot) = pairs.get_mut(at) {
                if *slot == 0 {
                    *slot = key << 24 | (token + 1);
                    break;
                }
                at = (at + 1) & (slots - 1);
            }
        }
        let verdicts = std::iter::repeat_with(|| AtomicU64::new(u64::MAX)).take(REMEMBERED).collect();
        Self { halves, early, pairs, shift, filter, bytes, verdicts }
    }

    /// The two that `token` was made of; for a single byte, itself twice.
    pub(super) fn halves(&self, token: Token) -> [Token; 2] {
        self.halves.get(token as usize).copied().unwrap_or([token; 2])
    }

    /// What two bytes become, or `Token::MAX`.
    #[inline]
    pub(super) fn merged_bytes(&self, [left, right]: [u8; 2]) -> Token {
        self.bytes.get(pair(left, right)).copied().unwrap_or(Token::MAX)
    }

    /// What the two become.
    #[inline]
    pub(super) fn merged(&self, left: Token, right: Token) -> Option<Token> {
        let key = key(left, right);
        let bit = place(key, 64 - FILTER_BITS);
        if self.filter.get(bit / 64)? >> (bit % 64) & 1 == 0 {
            return None;
        }
        let mut at = place(key, self.shift);
        loop {
            let slot = *self.pairs.get(at)?;
            if slot >> 24 == key && slot != 0 {
                return Some((slot & 0xFF_FFFF) as Token - 1);
            }
            if slot == 0 {
                return None;
            }
            at = (at + 1) & (self.pairs.len() - 1);
        }
    }

    /// What the two become, or `Token::MAX`; also where one of them is that.
    #[inline]
    pub(super) fn merged_or_none(&self, left: Token, right: Token) -> Token {
        self.merged(left, right).unwrap_or(Token::MAX)
    }

    /// Whether the encoding of the two tokens' bytes is the two tokens.
    #[inline]
    pub(super) fn are_neighbours(&self, left: Token, right: Token) -> bool {
        let key = key(left, right);
        let remembered = self.verdicts.get(place(key, 64 - REMEMBERED.trailing_zeros()));
        if let Some(remembered) = remembered {
            let verdict = remembered.load(Ordering::Relaxed);
            if verdict >> 1 == key {
                return verdict & 1 == 1;
            }
        }
        let merged = |left, right| self.merged(left, right);
        let is_early = !self.early.is_empty()
            && [left, right].iter().any(|token| self.early.binary_search(token).is_ok());
        let verdict = if is_early {
            are_neighbours_by_definition(left, right, merged, |token| self.halves(token))
        } else {
            are_neighbours(left, right, merged, |token| self.halves(token))
        };
        if let Some(remembered) = remembered {
            remembered.store(key << 1 | u64::from(verdict), Ordering::Relaxed);
        }
        verdict
    }
}

/// Whether the encoding of the two tokens' bytes is the two tokens, by what two become, if they do, and what one was made of.
/// Within each of the two, merges have to have happened by rank: else it is for [`are_neighbours_by_definition`] to say.
///
/// Undoes merges at the boundary, the latest first, and looks whether the two that then met would have been joined
/// before: a step for each half, so no more than the tokens have bytes.
#[inline]
pub(super) fn are_neighbours(
    mut left: Token,
    mut right: Token,
    merged: impl Fn(Token, Token) -> Option<Token>,
    halves: impl Fn(Token) -> [Token; 2],
) -> bool {
    // Only a merge with a lower rank than this came before what was undone last.
    let mut limit = Token::MAX;
    loop {
        if merged(left, right).is_some_and(|merged| merged < limit) {
            return false;
        }
        // Of two merges with one rank the left one is first: hence the one more on the right side.
        if left > right {
            limit = left;
            left = halves(left)[1];
            if left == limit {
                limit = right + 1;
                right = halves(right)[0];
                if right + 1 == limit {
                    return true;
                }
            }
        } else {
            limit = right + 1;
            right = halves(right)[0];
            if right + 1 == limit {
                limit = left;
                left = halves(left)[1];
                if left == limit {
                    return true;
                }
            }
        }
    }
}

/// [`are_neighbours`] whatever the ranks are: encodes the two tokens' bytes. Takes time square to their number.
pub(super) fn are_neighbours_by_definition(
    left: Token,
    right: Token,
    merged: impl Fn(Token, Token) -> Option<Token>,
    halves: impl Fn(Token) -> [Token; 2],
) -> bool {
    let (mut tokens, mut open) = (Vec::new(), vec![right, left]);
    while let Some(token) = open.pop() {
        match halves(token) {
            [half, _] if half == token => tokens.push(token),
            [first, second] => open.extend([second, first]),
        }
    }
    while tokens.len() > 2 {
        let pairs = tokens.array_windows().enumerate();
        let best = pairs.filter_map(|(at, [left, right])| Some((merged(*left, *right)?, at))).min();
        let Some((token, at)) = best else { return false };
        tokens.splice(at..at + 2, [token]);
    }
    tokens == [left, right] && merged(left, right).is_none()
}
