//! [`Portable`]: the kinds of sixty-four bytes, eight at a time, as any machine can.

use super::block::{Block, Level, SEEN_BYTES};

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

/// What any machine can do.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Level for Portable {
    #[inline(always)]
    fn kinds(self, bytes: &[u8; SEEN_BYTES]) -> (Block, u64) {
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
        let mut block = Block::default();
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
        let mut look = 0;
        if all & SELDOM != 0 {
            for eight in eights.iter().rev() {
                let eight = u64::from_le_bytes(*eight);
                block.tab = block.tab << 8 | bits(eight, TAB);
                block.newline = block.newline << 8 | bits(eight, NEWLINE);
                block.inner = block.inner << 8 | bits(eight, INNER);
                look = look << 8 | bits(eight, LOOK);
            }
        }
        (block, look)
    }
}
