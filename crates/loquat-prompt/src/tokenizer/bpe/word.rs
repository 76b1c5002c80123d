//! The encoding of one word that is no token itself.

use std::hint::select_unpredictable;

use super::{
    memo::Packed,
    merges::{Merges, Token},
    words::{Window, Words},
};

/// Where a word's tokens go, and come back from where a shorter one must be tried.
pub(crate) trait Stack {
    fn push(&mut self, token: Token);
    fn pop(&mut self);
    fn extend(&mut self, tokens: &[Token]);
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

    #[inline]
    fn extend(&mut self, tokens: &[Token]) {
        self.extend_from_slice(tokens);
    }
}

/// Longest word that is encoded by its definition, which for so few bytes is the shortest way: longer ones have long tokens, to which a
/// search goes straight.
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

/// Encodes `text[start..end]`, which is no token; by its definition up to [`FEW`] bytes.
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
        let mut tokens = [0; FEW];
        let count = merge(words, merges, text.get(start..end).unwrap_or_default(), 1, &mut tokens);
        return out.extend(tokens.get(..count).unwrap_or_default());
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
pub(super) fn merge(
    words: &Words,
    merges: &Merges,
    word: &[u8],
    least: usize,
    tokens: &mut [Token; FEW],
) -> usize {
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
    length
}

/// [`merge`] for up to eight bytes, of which no step but the last waits for a decision.
#[inline]
pub(super) fn merge_eight(words: &Words, merges: &Merges, word: &[u8], out: &mut [Token; FEW]) -> usize {
    const MOST: usize = 8;
    let mut tokens = [Token::MAX; MOST];
    let mut merged = [Token::MAX; MOST];
    for (token, byte) in tokens.iter_mut().zip(word) {
        *token = words.byte(*byte);
    }
    for (merged, pair) in merged.iter_mut().zip(word.array_windows()) {
        *merged = merges.merged_bytes(*pair);
    }
    let mut length = word.len().min(MOST);
    loop {
        // The leftmost of the lowest; there are at most seven.
        let (mut at, mut best) = (0, merged[0]);
        for (index, merged) in merged.iter().enumerate().take(MOST - 1).skip(1) {
            let is_less = *merged < best;
            at = select_unpredictable(is_less, index, at);
            best = select_unpredictable(is_less, *merged, best);
        }
        if best == Token::MAX {
            break;
        }
        length -= 1;
        let before = tokens[at.wrapping_sub(1) % MOST];
        let after = tokens[(at + 2) % MOST];
        for index in 0..MOST - 1 {
            tokens[index] = select_unpredictable(index < at, tokens[index], tokens[index + 1]);
            merged[index] = select_unpredictable(index < at, merged[index], merged[index + 1]);
        }
        tokens[MOST - 1] = Token::MAX;
        tokens[at % MOST] = best;
        // Where there is none, what stands in its place is not used, and with `Token::MAX` nothing is merged.
        let right = merges.merged_or_none(best, after);
        let left = merges.merged_or_none(before, best);
        merged[at % MOST] = select_unpredictable(at + 1 < length, right, Token::MAX);
        let place = at.wrapping_sub(1) % MOST;
        merged[place] = select_unpredictable(at > 0, left, merged[place]);
    }
    if let Some(out) = out.first_chunk_mut() {
        *out = tokens;
    }
    length
}

/// [`merge`] for three bytes, those that the window begins with.
#[inline]
pub(super) fn merge_three(words: &Words, merges: &Merges, window: Window) -> Packed {
    let [first, second, third, ..] = window[0].to_le_bytes();
    let tokens = [first, second, third].map(|byte| words.byte(byte));
    let merged = [[first, second], [second, third]].map(|pair| merges.merged_bytes(pair));
    merge_last(merges, tokens, merged)
}

/// [`merge`] for four bytes, those that the window begins with; `None` where nothing is merged.
#[inline]
pub(super) fn merge_four(words: &Words, merges: &Merges, window: Window) -> Option<Packed> {
    let [first, second, third, fourth, ..] = window[0].to_le_bytes();
    let [a, b, c, d] = [first, second, third, fourth].map(|byte| words.byte(byte));
    let [ab, bc, cd] =
        [[first, second], [second, third], [third, fourth]].map(|pair| merges.merged_bytes(pair));
    let best = ab.min(bc).min(cd);
    if best == Token::MAX {
        return None;
    }
    let is_first = ab == best;
    let is_second = !is_first & (bc == best);
    let is_third = !is_first & !is_second;
    let tokens = [
        select_unpredictable(is_first, ab, a),
        select_unpredictable(is_first, c, select_unpredictable(is_second, bc, b)),
        select_unpredictable(is_third, cd, d),
    ];
    let left = merges.merged_or_none(tokens[0], tokens[1]);
    let right = merges.merged_or_none(tokens[1], tokens[2]);
    let merged = [select_unpredictable(is_third, ab, left), select_unpredictable(is_first, cd, right)];
    Some(merge_last(merges, tokens, merged))
}

/// The rest of [`merge`] from three tokens on, with what each becomes with the next.
#[inline]
fn merge_last(merges: &Merges, [a, b, c]: [Token; 3], [ab, bc]: [Token; 2]) -> Packed {
    let is_left = ab <= bc;
    let pair = [select_unpredictable(is_left, ab, a), select_unpredictable(is_left, c, bc)];
    let whole = merges.merged_or_none(pair[0], pair[1]);
    if whole != Token::MAX {
        return Packed::one(whole);
    }
    let is_nothing_merged = ab & bc == Token::MAX;
    select_unpredictable(is_nothing_merged, Packed::three([a, b, c]), Packed::two(pair))
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
