//! The short cut of [`super::next`] for words of ASCII, which most are.
//!
//! Where a word, or the character that decides where it ends, is beyond ASCII, it says so and the caller goes the long way.

use super::{Contraction, Pattern, contraction};

/// Where a word ends.
pub(crate) enum Ascii {
    End(usize),
    /// A character beyond ASCII decides.
    Unsure,
}

const OTHER: u8 = 0;
const UPPER: u8 = 1;
const LOWER: u8 = 2;
const NUMBER: u8 = 3;
const SPACE: u8 = 4;
const NEWLINE: u8 = 5;
const BEYOND: u8 = 6;

static KINDS: [u8; 256] = {
    let mut kinds = [OTHER; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let byte = at as u8;
        kinds[at] = match byte {
            b'A'..=b'Z' => UPPER,
            b'a'..=b'z' => LOWER,
            b'0'..=b'9' => NUMBER,
            b' ' | b'\t' | 0x0B | 0x0C => SPACE,
            b'\r' | b'\n' => NEWLINE,
            0x80.. => BEYOND,
            _ => OTHER,
        };
        at += 1;
    }
    kinds
};

/// The kind of the byte at `at`; the end of the text is like none of them.
const END: u8 = 7;

#[inline]
fn kind(text: &[u8], at: usize) -> u8 {
    match text.get(at) {
        Some(byte) => KINDS[usize::from(*byte)],
        None => END,
    }
}

#[inline(always)]
pub(crate) fn next<P: Pattern>(text: &[u8], at: usize) -> Ascii {
    let first = kind(text, at);
    let start = match first {
        UPPER | LOWER => at,
        OTHER | SPACE => match kind(text, at + 1) {
            UPPER | LOWER => {
                if P::CONTRACTION == Contraction::Alone && text.get(at) == Some(&b'\'') {
                    let end = contraction(text, at);
                    if end > at {
                        return Ascii::End(end);
                    }
                }
                at + 1
            }
            BEYOND => return Ascii::Unsure,
            OTHER if first == OTHER || text.get(at) == Some(&b' ') => return punctuation::<P>(text, at + 1),
            _ if first == OTHER => return punctuation::<P>(text, at + 1),
            _ => return space::<P>(text, at),
        },
        NUMBER => return digits::<P>(text, at),
        NEWLINE => return space::<P>(text, at),
        _ => return Ascii::Unsure,
    };
    let mut end = start;
    if P::CASED {
        while kind(text, end) == UPPER {
            end += 1;
        }
        end = letters_end::<true>(text, end);
    } else {
        end = letters_end::<false>(text, end);
    }
    match text.get(end) {
        Some(0x80..) => Ascii::Unsure,
        Some(b'\'') if P::CONTRACTION == Contraction::Joined => Ascii::End(contraction(text, end)),
        _ => Ascii::End(end),
    }
}

const HIGH: u64 = 0x8080_8080_8080_8080;
const ONES: u64 = 0x0101_0101_0101_0101;

/// The end of the letters from `at`: small ones, or any. Eight bytes at a time: a sum carries into a byte's highest bit where
/// the byte is at least some value, since all seven others are below 0x80 without theirs.
#[inline]
fn letters_end<const SMALL: bool>(text: &[u8], mut at: usize) -> usize {
    while let Some(Ok(eight)) = text.get(at..at + 8).map(<[u8; 8]>::try_from) {
        let word = u64::from_le_bytes(eight);
        let folded = if SMALL { word } else { word | (0x20 * ONES) };
        let low = folded & !HIGH;
        let from_a = low + (0x80 - u64::from(b'a')) * ONES;
        let beyond_z = low + (0x7F - u64::from(b'z')) * ONES;
        let others = !(from_a & !beyond_z & !word) & HIGH;
        if others != 0 {
            return at + (others.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while kind(text, at) == LOWER || !SMALL && kind(text, at) == UPPER {
        at += 1;
    }
    at
}

#[inline]
fn digits<P: Pattern>(text: &[u8], start: usize) -> Ascii {
    let mut at = start + 1;
    while at < start + P::DIGITS {
        match kind(text, at) {
            NUMBER => at += 1,
            BEYOND => return Ascii::Unsure,
            _ => break,
        }
    }
    Ascii::End(at)
}

/// From the second character on: the first may have been the space before it.
#[inline]
fn punctuation<P: Pattern>(text: &[u8], mut at: usize) -> Ascii {
    while kind(text, at) == OTHER {
        at += 1;
    }
    if kind(text, at) == BEYOND {
        return Ascii::Unsure;
    }
    while kind(text, at) == NEWLINE || P::SLASH && text.get(at) == Some(&b'/') {
        at += 1;
    }
    Ascii::End(at)
}

#[inline]
fn space<P: Pattern>(text: &[u8], start: usize) -> Ascii {
    let mut at = start;
    let mut line_end = None;
    loop {
        match kind(text, at) {
            SPACE => at += 1,
            NEWLINE => {
                at += 1;
                line_end = Some(at);
            }
            BEYOND => return Ascii::Unsure,
            _ => break,
        }
    }
    Ascii::End(match line_end {
        _ if P::WHOLE_END && at == text.len() => at,
        Some(end) => end,
        None if at == text.len() || at == start + 1 => at,
        None => at - 1,
    })
}
