//! The scalar twin: eight bytes at a time in a machine word, for every machine, and the oracle of the others.

use super::Vector;
use crate::outline::Classes;
use crate::string_ends::Quotes;

/// One bit in each byte of a word.
const ONES: u64 = u64::MAX / 255;
/// The high bit of each byte of a word.
const HIGHS: u64 = ONES << 7;

/// Words instead of vectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words;

impl Vector for Words {
    #[inline(always)]
    fn classify(self, block: &[u8; 64]) -> Classes {
        let equal = |byte: u8| gather(block, |word| zeros(word ^ (ONES * u64::from(byte))));
        Classes {
            quotes: equal(b'"'),
            backslashes: equal(b'\\'),
            // The bit 0x20 makes brackets braces; a colon and a comma have it already.
            marks: gather(block, |word| {
                let is = |byte: u8, word| zeros(word ^ (ONES * u64::from(byte)));
                let braces = word | (ONES * 0x20);
                is(b'{', braces) | is(b'}', braces) | is(b':', word) | is(b',', word)
            }),
            spaces: equal(b' '),
            controls: gather(block, |word| zeros(word & (ONES * 0xe0))),
            highs: gather(block, |word| word & HIGHS),
        }
    }

    #[inline(always)]
    fn quotes(self, block: &[u8; 64]) -> Quotes {
        let Classes { quotes, backslashes, controls, highs, .. } = self.classify(block);
        Quotes { quotes, rare: backslashes | controls | highs }
    }

    #[inline(always)]
    fn stops_and_highs(self, chunk: &[u8; 32]) -> (u32, u32) {
        let mut block = [0; 64];
        block[..32].copy_from_slice(chunk);
        let low = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        let stops = gather(&block, |word| {
            let quote = zeros(word ^ (ONES * u64::from(b'"')));
            let backslash = zeros(word ^ (ONES * u64::from(b'\\')));
            quote | backslash | zeros(word & (ONES * 0xe0))
        });
        (low(stops), low(gather(&block, |word| word & HIGHS)))
    }

    #[inline(always)]
    fn is_equal(self, left: &[u8], right: &[u8], _: &[u8; 32], _: &[u8; 32]) -> bool {
        left == right
    }

    #[inline(always)]
    fn is_ascii(self, block: &[u8; 64]) -> bool {
        block.is_ascii()
    }
}

/// The high bit of each byte that is zero. Exact in every byte: no borrow or carry crosses one.
#[inline(always)]
fn zeros(word: u64) -> u64 {
    !(((word & !HIGHS) + !HIGHS) | word) & HIGHS
}

/// A bit for each byte of the block, from words whose high bits say so.
#[inline(always)]
fn gather(block: &[u8; 64], marks: impl Fn(u64) -> u64) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    let mut bits = 0;
    for (position, word) in words.iter().enumerate() {
        let marked = (marks(u64::from_le_bytes(*word)) >> 7) & ONES;
        // The multiplication moves the bit of byte n to bit 56 + n; nothing else meets it there.
        bits |= (marked.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * position);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_what_a_plain_look_says() {
        let (places, bytes) = if cfg!(miri) { (9, 31) } else { (1, 1) };
        for place in (0..64).step_by(places) {
            for byte in (0..=255u8).step_by(bytes) {
                let mut block = [b'x'; 64];
                block[place] = byte;
                block[(place + 1) % 64] = byte.wrapping_add(1);
                let plain = |is: fn(u8) -> bool| {
                    block.iter().rev().fold(0u64, |bits, byte| bits << 1 | u64::from(is(*byte)))
                };
                let stops = plain(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
                let classes = Classes {
                    quotes: plain(|byte| byte == b'"'),
                    backslashes: plain(|byte| byte == b'\\'),
                    marks: plain(|byte| matches!(byte, b'{' | b'}' | b'[' | b']' | b':' | b',')),
                    spaces: plain(|byte| byte == b' '),
                    controls: plain(|byte| byte < 0x20),
                    highs: plain(|byte| byte >= 0x80),
                };
                assert_eq!(Words.classify(&block), classes, "{block:?}");
                let rare = classes.backslashes | classes.controls | classes.highs;
                assert_eq!(Words.quotes(&block), Quotes { quotes: classes.quotes, rare }, "{block:?}");
                let half = block.first_chunk().unwrap();
                let highs = plain(|byte| byte >= 0x80);
                let low = |bits: u64| bits & 0xffff_ffff;
                let (half_stops, half_highs) = Words.stops_and_highs(half);
                assert_eq!((half_stops.into(), half_highs.into()), (low(stops), low(highs)));
                assert_eq!(Words.is_ascii(&block), highs == 0);
            }
        }
    }
}
