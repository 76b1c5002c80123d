//! [`Reached`]: of a list of merges, those that can happen, one for each token that is reached.
//!
//! Lists made from ranks name every pair that spells a token, Llama 3's two for each on average. But of a token's bytes, encoded
//! by themselves, the last merge is one certain pair; and where two tokens stand side by side in any text, what happened within
//! them happened as if they were all there is. So no other pair of that spelling ever meets, and a merge can happen if and only
//! if its two are the encoding of their bytes without it ([`are_neighbours`]). Only merges to shorter tokens have a say in that:
//! the list is gone through by length.

use std::collections::HashMap;

use super::merges::{self, Token, are_neighbours};

/// Steps that may be spent on merges out of order, a second's worth; Llama 3's list needs some thousands.
const MAX_STEPS: usize = 50_000_000;

/// A merge by the caller's numbers of tokens: the two parts and the whole, and how many bytes that has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Merge {
    pub(crate) parts: [usize; 2],
    pub(crate) whole: usize,
    pub(crate) length: usize,
}

/// Of a list of merges, those that can happen.
#[derive(Debug)]
pub(crate) struct Reached {
    /// The token by the caller's number; `Token::MAX` for what is not reached.
    pub(crate) tokens: Vec<Token>,
    /// What each token is made of; the first 256 are the bytes.
    pub(crate) halves: Vec<[Token; 2]>,
    /// The tokens within which a merge comes before one that it needs, in order.
    pub(crate) early: Vec<Token>,
}

impl Reached {
    /// Of `count` tokens, `bytes` are the single ones, and the merges come by rank. `None` where so many merges come before those
    /// that they need that it would take too long.
    pub(crate) fn new(bytes: &[usize; 256], count: usize, list: &[Merge]) -> Option<Self> {
        let mut state = State { ranked: vec![Token::MAX; count], ..State::default() };
        for (token, number) in (0..).zip(bytes) {
            *state.ranked.get_mut(*number)? = token;
        }
        let mut by_length: Vec<(Token, &Merge)> = (256..).zip(list).collect();
        by_length.sort_by_key(|(_, merge)| merge.length);
        for (rank, merge) in by_length {
            state.merge(rank, merge)?;
        }
        // Ranks have gaps, tokens none.
        let mut ranks: Vec<Token> = state.made.keys().copied().collect();
        ranks.sort_unstable();
        let token = |rank: Token| match rank {
            ..256 => Some(rank),
            _ => ranks.binary_search(&rank).ok().and_then(|place| Token::try_from(place + 256).ok()),
        };
        let mut halves: Vec<[Token; 2]> = (0..256).map(|token| [token; 2]).collect();
        let mut early = Vec::new();
        for (number, rank) in (256..).zip(&ranks) {
            let made = state.made.get(rank)?;
            if made.is_early {
                early.push(number);
            }
            halves.push([token(made.halves[0])?, token(made.halves[1])?]);
        }
        let tokens = state.ranked.iter().map(|rank| token(*rank).unwrap_or(Token::MAX)).collect();
        Some(Self { tokens, halves, early })
    }
}

/// What is reached so far. Tokens are called by the rank of their merge and 256, the bytes 0 to 255.
#[derive(Default)]
struct State {
    /// By the caller's number.
    ranked: Vec<Token>,
    made: HashMap<Token, Made>,
    pairs: HashMap<[Token; 2], Token>,
    steps: usize,
}

struct Made {
    halves: [Token; 2],
    /// Whether some merge within comes before one that it needs.
    is_early: bool,
}

impl State {
    /// `None` where the steps are used up.
    fn merge(&mut self, rank: Token, merge: &Merge) -> Option<()> {
        let ranked = |number: usize| self.ranked.get(number).copied().filter(|rank| *rank != Token::MAX);
        // A whole that is reached is so by another pair, which is the only one.
        let ([Some(left), Some(right)], None) = (merge.parts.map(ranked), ranked(merge.whole)) else {
            return Some(());
        };
        let is_early = |rank: Token| self.made.get(&rank).is_some_and(|made| made.is_early);
        let (left_early, right_early) = (is_early(left), is_early(right));
        let halves = |token: Token| self.made.get(&token).map_or([token; 2], |made| made.halves);
        let merged = |left, right| self.pairs.get(&[left, right]).copied();
        let meet = if left_early || right_early {
            self.steps += merge.length * merge.length;
            if self.steps > MAX_STEPS {
                return None;
            }
            merges::are_neighbours_by_definition(left, right, merged, halves)
        } else {
            are_neighbours(left, right, merged, halves)
        };
        if meet {
            let is_early = left_early || right_early || left > rank || right > rank;
            self.made.insert(rank, Made { halves: [left, right], is_early });
            self.pairs.insert([left, right], rank);
            *self.ranked.get_mut(merge.whole)? = rank;
        }
        Some(())
    }
}
