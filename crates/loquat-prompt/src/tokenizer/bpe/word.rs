//! The encoding of one word that is no token itself.

use super::{
    merges::{Merges, Token},
    words::Words,
};

/// Where a word's tokens go, and come back from where a shorter one must be tried.
pub(crate) trait Stack {
    fn push(&mut self, token: Token);
    fn pop(&mut self);
}

impl Stack for Vec<Token> {
    #[inline]
    fn push(&mut self, token: Token) {
        self.push(token);
    }

    #[inline]
    fn pop(&mut self) {
        self.pop();
    }
}

/// Longest word that is encoded by its definition, which for so few bytes is the shortest way.
pub(super) const FEW: usize = 16;

/// Memory that words lend each other.
#[derive(Default)]
pub(super) struct Scratch {
    /// The tokens chosen so far, with the length of each.
    path: Vec<(Token, usize)>,
    /// A bit for each place from which there is no way to the end.
    dead: Vec<u64>,
}

impl Scratch {
    pub(super) const EMPTY: Self = Self { path: Vec::new(), dead: Vec::new() };
}

/// Words up to so many bytes leave their memory to the next ones: a few kilobytes a thread.
const KEEP: usize = 4096;

/// Encodes `text[start..end]`, which is no token.
#[inline(never)]
pub(super) fn encode(
    words: &Words,
    merges: &Merges,
    scratch: &mut Scratch,
    text: &[u8],
    (start, end): (usize, usize),
    out: &mut impl Stack,
) {
    if end - start <= FEW {
        return merge(words, merges, text.get(start..end).unwrap_or_default(), 1, out);
    }
    scratch.path.clear();
    scratch.dead.clear();
    scratch.dead.resize((end - start) / 64 + 1, 0);
    search(words, merges, text, (start, end), scratch, out);
    if end - start > KEEP {
        *scratch = Scratch::default();
    }
}

/// The definition, for at most [`FEW`] bytes: the best merge of all, again and again, until `least` tokens are left. That is 1,
/// or 2 for a word that is known to be no token, so that its last two cannot become one.
#[inline]
pub(super) fn merge(words: &Words, merges: &Merges, word: &[u8], least: usize, out: &mut impl Stack) {
    let mut tokens = [Token::MAX; FEW];
    // What each becomes with the next one: that is its rank, too. None is greater than all.
    let mut merged = [Token::MAX; FEW];
    for (token, byte) in tokens.iter_mut().zip(word) {
        *token = words.byte(*byte);
    }
    for (merged, pair) in merged.iter_mut().zip(word.array_windows()) {
        *merged = merges.merged_bytes(*pair);
    }
    let mut length = word.len().min(FEW);
    while length > least {
        // The leftmost of the lowest.
        let (mut at, mut best) = (0, Token::MAX);
        for (index, merged) in merged.iter().enumerate().take(length - 1) {
            if *merged < best {
                (at, best) = (index, *merged);
            }
        }
        if best == Token::MAX {
            break;
        }
        // `at` is below `length - 1`, so these are within; the copies move what is behind by one.
        tokens.copy_within(at + 1..length, at);
        merged.copy_within(at + 1..length, at);
        length -= 1;
        tokens[at] = best;
        merged[length - 1] = Token::MAX;
        if length <= least {
            break;
        }
        if at + 1 < length {
            merged[at] = merges.merged(best, tokens[at + 1]).unwrap_or(Token::MAX);
        }
        if let Some(before) = at.checked_sub(1) {
            merged[before] = merges.merged(tokens[before], best).unwrap_or(Token::MAX);
        }
    }
    for token in tokens.iter().take(length) {
        out.push(*token);
    }
}

/// Goes from place to place by the longest token that is a neighbour of the last.
#[inline]
fn search(
    words: &Words,
    merges: &Merges,
    text: &[u8],
    (start, end): (usize, usize),
    Scratch { path, dead }: &mut Scratch,
    out: &mut impl Stack,
) {
    let mut at = start;
    let mut limit = usize::MAX;
    while at < end {
        let (token, length) = words.longest(text, at, end, limit);
        let next = at + length - start;
        let is_alive = dead.get(next / 64).is_some_and(|bits| bits >> (next % 64) & 1 == 0);
        if is_alive && path.last().is_none_or(|(last, _)| merges.are_neighbours(*last, token)) {
            path.push((token, length));
            out.push(token);
            at += length;
            limit = usize::MAX;
            continue;
        }
        limit = length - 1;
        while limit == 0 {
            // No token leads on from here.
            let place = at - start;
            if let Some(bits) = dead.get_mut(place / 64) {
                *bits |= 1 << (place % 64);
            }
            let Some((_, length)) = path.pop() else { return };
            out.pop();
            at -= length;
            limit = length - 1;
        }
    }
}
