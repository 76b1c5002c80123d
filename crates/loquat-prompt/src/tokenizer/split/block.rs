//! [`Block`]: where words begin in sixty-four bytes of ASCII at once.
//!
//! Each kind of character is a number with a bit for each byte, so that "a letter behind no letter" is three instructions for all
//! of them, and which byte is what needs no guess. What the patterns say about ends of lines, contractions and white space other
//! than ' ' is left to [`super::next`]: words are known up to there.

use super::Pattern;

/// Which kind each byte is of, a bit for each; in a block of zeros nothing is.
#[derive(Clone, Copy, Default)]
pub(super) struct Block {
    upper: u64,
    lower: u64,
    number: u64,
    space: u64,
    unsure: u64,
}

const UPPER: u8 = 1;
const LOWER: u8 = 2;
const NUMBER: u8 = 4;
const SPACE: u8 = 8;
/// White space other than ' ', apostrophes, and what is beyond ASCII.
const UNSURE: u8 = 16;

/// One bit of each of eight bytes, the first lowest: the product gathers them in its highest byte.
#[inline]
fn bits(bytes: u64, kind: u8) -> u64 {
    ((bytes >> kind.trailing_zeros()) & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

impl Block {
    #[inline]
    pub(super) fn new(bytes: &[u8; 64]) -> Self {
        let mut kinds = [0u8; 64];
        for (kind, byte) in kinds.iter_mut().zip(bytes) {
            let is = |is: bool, kind: u8| if is { kind } else { 0 };
            *kind = is(byte.is_ascii_uppercase(), UPPER)
                | is(byte.is_ascii_lowercase(), LOWER)
                | is(byte.is_ascii_digit(), NUMBER)
                | is(*byte == b' ', SPACE)
                | is(*byte >= 0x80 || *byte == b'\'' || matches!(byte, 0x09..=0x0D), UNSURE);
        }
        let mut block = Self::default();
        for eight in kinds.as_chunks::<8>().0.iter().rev() {
            let eight = u64::from_le_bytes(*eight);
            block.upper = block.upper << 8 | bits(eight, UPPER);
            block.lower = block.lower << 8 | bits(eight, LOWER);
            block.number = block.number << 8 | bits(eight, NUMBER);
            block.space = block.space << 8 | bits(eight, SPACE);
            block.unsure = block.unsure << 8 | bits(eight, UNSURE);
        }
        block
    }

    /// Where words begin behind that which begins at the byte `from`, below 64, as far as it is known: a bit for each byte from there
    /// on.
    #[inline]
    pub(super) fn starts<P: Pattern>(&self, from: usize) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        let from = (from & 63) as u32;
        let upper = self.upper >> from;
        let lower = self.lower >> from;
        let number = self.number >> from;
        let space = self.space >> from;
        let unsure = self.unsure >> from | u64::MAX.unbounded_shl(64 - from);
        let letter = upper | lower;
        let other = !(letter | number | space | unsure);
        // Punctuation in a row is a word, with a space before it. One alone is the beginning of the letters behind it, as a space is.
        let others = other & !(other << 1) & !(space << 1);
        let with_before = (others | space) << 1;
        let goes_on = if P::CASED { letter << 1 & !(lower << 1 & upper) } else { letter << 1 };
        let letters = letter & !goes_on & !with_before;
        // Of spaces in a row, the last is for what follows.
        let spaces = space & (!(space << 1) | !(space >> 1));
        // What the next byte decides is known before the last that is; here, that is one bit less.
        let known = (unsure & unsure.wrapping_neg()).wrapping_sub(1) >> 1;
        (letters | numbers::<P>(number) | others | spaces) & known & !1
    }
}

/// Where numbers begin among the digits.
#[inline]
fn numbers<P: Pattern>(digit: u64) -> u64 {
    let mut starts = digit & !(digit << 1);
    // That many digits behind a beginning in the same row, the next number begins.
    let mut in_row = digit;
    for _ in 0..P::DIGITS {
        in_row &= in_row << 1;
    }
    let mut next = starts << P::DIGITS & in_row;
    while next != 0 {
        starts |= next;
        next = next << P::DIGITS & in_row;
    }
    starts
}
