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

/// Words up to so many bytes need no memory but the stack's.
const SMALL: usize = 64;

/// Encodes `text[start..end]`.
#[inline(never)]
pub(super) fn encode(
    words: &Words,
    merges: &Merges,
    text: &[u8],
    start: usize,
    end: usize,
    out: &mut impl Stack,
) {
    let length = end - start;
    if length <= SMALL {
        search(words, merges, text, (start, end), &mut ([(0, 0); SMALL + 1], 0), &mut [0u64; 2], out);
    } else {
        let mut path = (Vec::new(), 0);
        search(words, merges, text, (start, end), &mut path, &mut vec![0u64; length / 64 + 1], out);
    }
}

/// The tokens chosen so far, with the length of each. The first is a sentinel without length.
trait Path {
    fn push(&mut self, token: Token, length: usize);
    fn pop(&mut self) -> Option<(Token, usize)>;
    fn last(&self) -> Option<Token>;
}

type Step = (Token, u8);

impl Path for ([Step; SMALL + 1], usize) {
    #[inline]
    fn push(&mut self, token: Token, length: usize) {
        if let Some(step) = self.0.get_mut(self.1) {
            // A word is 64 bytes here, so a token's length is no more.
            *step = (token, u8::try_from(length).unwrap_or(u8::MAX));
            self.1 += 1;
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<(Token, usize)> {
        self.1 = self.1.checked_sub(1)?;
        self.0.get(self.1).map(|(token, length)| (*token, usize::from(*length)))
    }

    #[inline]
    fn last(&self) -> Option<Token> {
        self.0.get(self.1.checked_sub(1)?).map(|(token, _)| *token)
    }
}

impl Path for (Vec<(Token, usize)>, usize) {
    fn push(&mut self, token: Token, length: usize) {
        self.0.push((token, length));
    }

    fn pop(&mut self) -> Option<(Token, usize)> {
        self.0.pop()
    }

    fn last(&self) -> Option<Token> {
        self.0.last().map(|(token, _)| *token)
    }
}

/// Goes from place to place by the longest token that is a neighbour of the last. `dead` has a bit for each place from which
/// there is no way to the end.
#[inline]
fn search<P: Path>(
    words: &Words,
    merges: &Merges,
    text: &[u8],
    (start, end): (usize, usize),
    path: &mut P,
    dead: &mut [u64],
    out: &mut impl Stack,
) {
    let mut at = start;
    let mut limit = usize::MAX;
    while at < end {
        let (token, length) = words.longest(text, at, end, limit);
        let next = at + length - start;
        let is_alive = dead.get(next / 64).is_some_and(|bits| bits >> (next % 64) & 1 == 0);
        if is_alive && path.last().is_none_or(|last| merges.are_neighbours(last, token)) {
            path.push(token, length);
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
