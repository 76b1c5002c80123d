//! The kinds of sixty-four bytes in two vectors, where AVX2 is detected.

use std::{arch::x86_64::__m256i, marker::PhantomData};

use pulp::{NullaryFnOnce, cast, x86::V3};

use super::{
    Pattern,
    block::{Block, Level, SEEN_BYTES},
    cut_blocks_by,
};

/// [`super::cut_blocks`] at this level.
pub(super) fn cut_blocks<P: Pattern>(simd: V3, text: &[u8], at: usize, ends: &mut [usize]) -> (usize, usize) {
    simd.vectorize(Cut::<P> { simd, text, at, ends, pattern: PhantomData })
}

/// A type of its own and no closure, which might not be inlined, and with it every instruction below would be a function call.
struct Cut<'a, P> {
    simd: V3,
    text: &'a [u8],
    at: usize,
    ends: &'a mut [usize],
    pattern: PhantomData<P>,
}

impl<P: Pattern> NullaryFnOnce for Cut<'_, P> {
    type Output = (usize, usize);

    #[inline(always)]
    fn call(self) -> (usize, usize) {
        cut_blocks_by::<P>(self.simd, self.text, self.at, self.ends)
    }
}

/// Sixty-four bytes; or, for each of them, all ones or zeros.
type Two = [__m256i; 2];

impl Level for V3 {
    #[inline(always)]
    fn kinds(self, bytes: &[u8; SEEN_BYTES]) -> (Block, u64) {
        let [first, second, ..] = bytes.as_chunks::<32>().0 else { return (Block::default(), u64::MAX) };
        let text = [cast(*first), cast(*second)];
        let mut block = Block {
            upper: bits(self, within(self, text, b'A', b'Z')),
            lower: bits(self, within(self, text, b'a', b'z')),
            number: bits(self, within(self, text, b'0', b'9')),
            space: bits(self, equal(self, text, b' ')),
            ..Block::default()
        };
        let beyond = bits(self, text);
        let white = bits(self, within(self, text, b'\t', b'\r'));
        let apostrophe = bits(self, equal(self, text, b'\''));
        let mut look = apostrophe;
        if white != 0 {
            block.newline = bits(self, equal(self, text, b'\n')) | bits(self, equal(self, text, b'\r'));
            block.tab = white & !block.newline;
            look |= block.newline & followed(self, text, bytes, 1, b'/');
        }
        if beyond != 0 {
            let begin = bits(self, within(self, text, 0xC0, 0xFF));
            block.inner = beyond & !begin;
            let replacement = bits(self, equal(self, text, 0xEF))
                & followed(self, text, bytes, 1, 0xBF)
                & followed(self, text, bytes, 2, 0xBD);
            look |= begin & !replacement;
        }
        (block, look)
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "a byte's bits")]
fn every(simd: V3, byte: u8) -> __m256i {
    simd.avx._mm256_set1_epi8(byte as i8)
}

#[inline(always)]
fn equal(simd: V3, [low, high]: Two, byte: u8) -> Two {
    let byte = every(simd, byte);
    [simd.avx2._mm256_cmpeq_epi8(low, byte), simd.avx2._mm256_cmpeq_epi8(high, byte)]
}

/// Which bytes are from the first to the last.
#[inline(always)]
fn within(simd: V3, [low, high]: Two, first: u8, last: u8) -> Two {
    // Comparisons are of signed bytes.
    let start = every(simd, first.wrapping_add(0x80));
    let end = every(simd, (last - first + 1).wrapping_add(0x80));
    let [low, high] = [simd.avx2._mm256_sub_epi8(low, start), simd.avx2._mm256_sub_epi8(high, start)];
    [simd.avx2._mm256_cmpgt_epi8(end, low), simd.avx2._mm256_cmpgt_epi8(end, high)]
}

/// The highest bit of each byte.
#[inline(always)]
#[expect(clippy::cast_sign_loss, reason = "32 bits")]
fn bits(simd: V3, [low, high]: Two) -> u64 {
    let low = simd.avx2._mm256_movemask_epi8(low) as u32;
    let high = simd.avx2._mm256_movemask_epi8(high) as u32;
    u64::from(low) | u64::from(high) << 32
}

/// Which bytes this one follows, so many further: one or two.
#[inline(always)]
fn followed(simd: V3, text: Two, bytes: &[u8; SEEN_BYTES], further: usize, byte: u8) -> u64 {
    let [.., second_last, last] = *bytes;
    let within = bits(simd, equal(simd, text, byte)) >> further;
    match further {
        1 => within | u64::from(second_last == byte) << 63,
        _ => within | u64::from(second_last == byte) << 62 | u64::from(last == byte) << 63,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::portable::Portable;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn kinds_are_those_of_any_machine(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(b"aZ09 '/\t\n\r\x0b\xEF\xBF\xBD".as_slice())],
                SEEN_BYTES,
            ),
        ) {
            let Some(simd) = V3::try_new() else {
                eprintln!("nothing compared: this machine has no AVX2");
                return Ok(());
            };
            let bytes = bytes.try_into().expect("so many");
            prop_assert_eq!(simd.kinds(&bytes), Portable.kinds(&bytes));
        }
    }
}
