//! [`Joins`]: which characters stand side by side in some token.
//!
//! Chinese and Japanese have no spaces, so a pattern's word is half a sentence, which never comes twice. But of the pairs of characters
//! in it few are within a token. Where no token lies across the place between two of them, nothing that is merged does, and what is
//! to the left and to the right is encoded by itself: the parts are a word or a character each, and are remembered like other words.
//!
//! Only places between characters of three bytes are told, the second an ideograph or kana: those of other scripts have spaces.

use std::ops::RangeInclusive;

use super::words::window;

/// A bit for each hash, 128 KiB. Of the vocabularies in use one pair in twenty that is in no token passes for one that is: a cut
/// less, no more.
const FILTER_BITS: u32 = 20;
/// Pairs at most: with more, as with tokens that begin or end within characters, hardly a place would be left to cut at.
const MAX_PAIRS: usize = 1 << 18;
/// 2⁶⁴ ÷ the golden ratio: multiplied, near keys end up far apart (Knuth, volume 3, §6.4).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// Two characters, the first byte lowest.
const PAIR: u64 = 0xFFFF_FFFF_FFFF;

/// Which characters stand side by side in some token.
pub(super) struct Joins {
    /// Empty where words are not cut.
    pairs: Vec<u64>,
}

/// First bytes of the characters from U+3000 to U+9FFF.
#[inline]
fn begins_second(byte: u8) -> bool {
    matches!(byte, 0xE3..=0xE9)
}

/// Of characters of three bytes.
#[inline]
fn begins_first(byte: u8) -> bool {
    matches!(byte, 0xE0..=0xEF)
}

#[inline]
fn place(pair: u64) -> usize {
    ((pair & PAIR).wrapping_mul(SPREAD) >> (64 - FILTER_BITS)) as usize
}

impl Joins {
    /// No word is cut.
    pub(super) const NONE: Self = Self { pairs: Vec::new() };

    /// Those of these tokens, which are all that there are.
    pub(super) fn new<'t>(tokens: impl Iterator<Item = &'t [u8]>) -> Self {
        let (mut pairs, mut count) = (vec![0; 1 << (FILTER_BITS - 6)], 0);
        for token in tokens {
            let seconds = token.iter().enumerate().skip(1).filter(|(_, byte)| begins_second(**byte));
            for (at, _) in seconds {
                let (before, behind) = token.split_at(at);
                let back =
                    |bytes: usize| before.len().checked_sub(bytes).and_then(|at| before.get(at)).copied();
                let ahead = |bytes: usize| behind.get(bytes).copied();
                for first in characters([back(3), back(2), back(1)]) {
                    for second in characters([ahead(0), ahead(1), ahead(2)]) {
                        count += 1;
                        if count > MAX_PAIRS {
                            return Self::NONE;
                        }
                        let place = place(first | second << 24);
                        if let Some(bits) = pairs.get_mut(place / 64) {
                            *bits |= 1 << (place % 64);
                        }
                    }
                }
            }
        }
        Self { pairs }
    }

    /// Whether it is worth looking for places in this word: at sight, so that a megabyte of letters is not looked through for nothing.
    #[inline]
    pub(super) fn may_cut(&self, word: &[u8]) -> bool {
        !self.pairs.is_empty() && !word.is_ascii()
    }

    /// The first place behind `start`, where a character begins, at which the word that ends at `end` can be cut, or `end`.
    #[inline]
    pub(super) fn cut(&self, text: &[u8], start: usize, end: usize) -> usize {
        let mut at = start;
        while at < end {
            let pair = window(text, at)[0];
            let [first, _, _, second, ..] = pair.to_le_bytes();
            at += match first {
                ..0xC0 => 1,
                0xC0..0xE0 => 2,
                0xE0..0xF0 => 3,
                _ => 4,
            };
            if begins_first(first) && begins_second(second) && at < end {
                let place = place(pair);
                if self.pairs.get(place / 64).is_some_and(|bits| bits >> (place % 64) & 1 == 0) {
                    return at;
                }
            }
        }
        end
    }
}

/// The characters of three bytes with these, where they are known, the first byte lowest.
fn characters(known: [Option<u8>; 3]) -> impl Iterator<Item = u64> {
    let bytes = move |at: usize, all: RangeInclusive<u8>| {
        let bytes = match known[at] {
            None => all,
            Some(byte) if all.contains(&byte) => byte..=byte,
            // It is not of such a character, and none has it.
            Some(_) => RangeInclusive::new(1, 0),
        };
        bytes.map(u64::from)
    };
    bytes(0, 0xE0..=0xEF).flat_map(move |first| {
        bytes(1, 0x80..=0xBF)
            .flat_map(move |second| bytes(2, 0x80..=0xBF).map(move |third| first | second << 8 | third << 16))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(tokens: &[&[u8]], text: &str) -> Vec<String> {
        let joins = Joins::new(tokens.iter().copied());
        let (mut parts, mut start) = (Vec::new(), 0);
        while start < text.len() {
            let cut = joins.cut(text.as_bytes(), start, text.len());
            parts.push(text[start..cut].to_owned());
            start = cut;
        }
        parts
    }

    #[test]
    fn a_word_is_cut_where_no_token_lies() {
        let check = |tokens: &[&[u8]], text: &str, expected: &[&str]| {
            assert_eq!(parts(tokens, text), expected, "{text} by {tokens:x?}");
        };
        check(&[], "", &[]);
        check(&[], "漢字", &["漢", "字"]);
        check(&["漢字".as_bytes(), "く".as_bytes()], "漢字を書く", &["漢字", "を", "書", "く"]);
        check(&["字を".as_bytes()], "漢字を書く", &["漢", "字を", "書", "く"]);
        // Tokens that begin or end within a character: the last byte of 漢 is a2, the first two of 字 are e5 ad.
        check(&[b"\xA2\xE5\xAD"], "漢字漢", &["漢字", "漢"]);
        check(&[b"\xBC\xA2\xE5\xAD"], "漢字漢", &["漢字", "漢"]);
        check(&[b"\xA3\xE5\xAD", b"\xA2\xE5\xAE", b"\xBB\xA2\xE5"], "漢字", &["漢", "字"]);
        // Between other characters nobody looks.
        check(&[], "aé漢한字", &["aé漢한", "字"]);
        // As many as this are as good as all.
        check(&[b"\x80\xE4"], "漢字", &["漢字"]);
    }
}
