//! [`Block`]: where words begin in sixty-four bytes of text at once.
//!
//! Each kind of character is a number with a bit for each byte, so that "a letter behind no letter" is three instructions for all
//! of them, and which byte is what needs no guess. All bytes of a character are of its kind. Of those beyond ASCII only what lossy
//! conversion leaves for a byte that is no text, U+FFFD, is known at sight; the others are looked up one by one, and a block in
//! which they are many is none. What the patterns say about contractions, white space in a row, and marks and numbers beyond ASCII
//! is left to [`super::next`]: words are known up to there.

use super::{Class, Pattern, class_at, contraction};

/// Bytes that are looked at: those behind the last of the block say what it is.
pub(super) const SEEN_BYTES: usize = 66;
/// Most characters of a block that are looked up: with more, as in Chinese, words are about as long as a block.
const MAX_LOOKED_UP: u32 = 10;

/// Which kind each byte is of, a bit for each; in a block of zeros nothing is.
#[derive(Clone, Copy, Default)]
pub(super) struct Block {
    upper: u64,
    lower: u64,
    /// Letters without case, which stand for capitals and for small ones.
    either: u64,
    number: u64,
    space: u64,
    /// White space of ASCII that is neither ' ' nor an end of a line.
    tab: u64,
    newline: u64,
    /// All bytes of a character but its first.
    inner: u64,
    unsure: u64,
}

const UPPER: u8 = 1;
const LOWER: u8 = 2;
const NUMBER: u8 = 4;
const SPACE: u8 = 8;
const TAB: u8 = 16;
const NEWLINE: u8 = 32;
const INNER: u8 = 64;
/// To be looked up: characters beyond ASCII, apostrophes, ends of lines before a '/'.
const LOOK: u8 = 128;

/// One bit of each of eight bytes, the first lowest: the product gathers them in its highest byte.
#[inline]
fn bits(bytes: u64, kind: u8) -> u64 {
    ((bytes >> kind.trailing_zeros()) & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

impl Block {
    /// The block that begins at `at`, the beginning of a word, with these bytes. `None` where too much has to be looked up.
    #[inline]
    pub(super) fn new<P: Pattern>(text: &[u8], at: usize, bytes: &[u8; SEEN_BYTES]) -> Option<Self> {
        let mut kinds = [0u8; 64];
        for (kind, [byte, second, third]) in kinds.iter_mut().zip(bytes.array_windows()) {
            let is = |is: bool, kind: u8| if is { kind } else { 0 };
            let is_newline = (*byte == b'\n') | (*byte == b'\r');
            let is_replacement = (*byte == 0xEF) & (*second == 0xBF) & (*third == 0xBD);
            *kind = is(byte.is_ascii_uppercase(), UPPER)
                | is(byte.is_ascii_lowercase(), LOWER)
                | is(byte.is_ascii_digit(), NUMBER)
                | is(*byte == b' ', SPACE)
                | is((*byte == b'\t') | (*byte == 0x0B) | (*byte == 0x0C), TAB)
                | is(is_newline, NEWLINE)
                | is((*byte >= 0x80) & (*byte < 0xC0), INNER)
                | is(((*byte >= 0xC0) & !is_replacement) | (*byte == b'\''), LOOK)
                | is(is_newline & (*second == b'/'), LOOK);
        }
        let eights = kinds.as_chunks::<8>().0;
        let mut block = Self::default();
        let mut all = 0;
        for eight in eights.iter().rev() {
            let eight = u64::from_le_bytes(*eight);
            all |= eight;
            block.upper = block.upper << 8 | bits(eight, UPPER);
            block.lower = block.lower << 8 | bits(eight, LOWER);
            block.number = block.number << 8 | bits(eight, NUMBER);
            block.space = block.space << 8 | bits(eight, SPACE);
        }
        const SELDOM: u64 = (TAB | NEWLINE | INNER | LOOK) as u64 * 0x0101_0101_0101_0101;
        if all & SELDOM != 0 {
            let mut look = 0;
            for eight in eights.iter().rev() {
                let eight = u64::from_le_bytes(*eight);
                block.tab = block.tab << 8 | bits(eight, TAB);
                block.newline = block.newline << 8 | bits(eight, NEWLINE);
                block.inner = block.inner << 8 | bits(eight, INNER);
                look = look << 8 | bits(eight, LOOK);
            }
            if look.count_ones() > MAX_LOOKED_UP {
                return None;
            }
            block.look_up::<P>(text, at, look);
        }
        Some(block)
    }

    #[inline]
    fn look_up<P: Pattern>(&mut self, text: &[u8], at: usize, mut look: u64) {
        while look != 0 {
            let place = look.trailing_zeros();
            look &= look - 1;
            let here = at + place as usize;
            let (class, length) = class_at(text, here);
            let bytes = ((1 << length) - 1) << place;
            match class {
                Class::Upper => self.upper |= bytes,
                Class::Lower => self.lower |= bytes,
                Class::Letter => self.either |= bytes,
                Class::Mark if !P::CASED => {}
                Class::Other | Class::Symbol if contraction(text, here) == here => {}
                _ => self.unsure |= bytes,
            }
        }
    }

    /// Where words begin behind that which begins at the byte `from`, below 64, as far as it is known: a bit for each byte from there
    /// on.
    #[inline]
    pub(super) fn starts<P: Pattern>(&self, from: usize) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        let from = (from & 63) as u32;
        let upper = self.upper >> from;
        let lower = self.lower >> from;
        let either = self.either >> from;
        let number = self.number >> from;
        let space = self.space >> from;
        let tab = self.tab >> from;
        let newline = self.newline >> from;
        let inner = self.inner >> from;
        let white = space | tab | newline;
        let gap = tab | newline;
        // White space in a row, if not of ' ' alone; and where case begins behind letters that have none.
        let rows = gap & white << 1 | white & gap << 1;
        let mixed = if P::CASED { either << 1 & upper } else { 0 };
        let unsure = self.unsure >> from | rows | mixed | u64::MAX.unbounded_shl(64 - from);
        let letter = upper | lower | either;
        let other = !(letter | number | white | unsure);
        // Punctuation in a row is a word, with a space before it and an end of a line behind it. One character alone is the beginning of
        // the letters behind it, as a space is.
        let others = other & !inner & !(other << 1) & !(space << 1);
        let mut alone = others;
        for _ in 1..char::MAX.len_utf8() {
            alone |= alone << 1 & inner;
        }
        let with_before = (alone | space | tab) << 1;
        let goes_on = if P::CASED { letter << 1 & !(lower << 1 & upper) } else { letter << 1 };
        let letters = letter & !inner & !goes_on & !with_before;
        // Of spaces in a row, the last is for what follows.
        let spaces = space & (!(space << 1) | !(space >> 1));
        let gaps = gap & !(newline & other << 1);
        // What the next byte decides is known before the last that is; here, that is one bit less.
        let known = (unsure & unsure.wrapping_neg()).wrapping_sub(1) >> 1;
        (letters | numbers::<P>(number) | others | spaces | gaps) & known & !1
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
