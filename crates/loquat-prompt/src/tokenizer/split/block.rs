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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Block {
    pub(super) upper: u64,
    pub(super) lower: u64,
    /// Letters without case, which stand for capitals and for small ones.
    pub(super) either: u64,
    pub(super) number: u64,
    pub(super) space: u64,
    /// White space of ASCII that is neither ' ' nor an end of a line.
    pub(super) tab: u64,
    pub(super) newline: u64,
    /// All bytes of a character but its first.
    pub(super) inner: u64,
    pub(super) unsure: u64,
}

/// What a machine can do to sixty-four bytes at a time.
pub(super) trait Level: Copy {
    /// Which bytes are of which kind, and which are to be looked up: characters beyond ASCII but U+FFFD, apostrophes, ends of lines
    /// before a '/'.
    fn kinds(self, bytes: &[u8; SEEN_BYTES]) -> (Block, u64);
}

impl Block {
    /// The block that begins at `at`, the beginning of a word, with these bytes. `None` where too much has to be looked up.
    #[inline(always)]
    pub(super) fn new<P: Pattern>(
        level: impl Level,
        text: &[u8],
        at: usize,
        bytes: &[u8; SEEN_BYTES],
    ) -> Option<Self> {
        let (mut block, look) = level.kinds(bytes);
        if look != 0 {
            if look.count_ones() > MAX_LOOKED_UP {
                return None;
            }
            block.look_up::<P>(text, at, look);
        }
        Some(block)
    }

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
    #[inline(always)]
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
#[inline(always)]
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
