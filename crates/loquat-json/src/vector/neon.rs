//! NEON, which every aarch64 has that this is compiled for: sixteen bytes at a time.
//!
//! There is no instruction for the highest bits of all bytes, as on x86-64. What is true of 64 bytes becomes a `u64` by
//! giving each of eight neighbours a bit of its own and adding pairs up three times.
#![allow(unsafe_code, reason = "vector instructions")]

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vceqq_u8, vcgeq_u8, vcleq_u8, vdupq_n_u8, veorq_u8, vgetq_lane_u64, vld1q_u8,
    vmaxvq_u8, vorrq_u8, vpaddq_u8, vqtbl1q_u8, vreinterpretq_u64_u8,
};

use super::Vector;
use crate::outline::Classes;
use crate::string_ends::Quotes;

/// Sixteen bytes at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neon;

/// What 64 bytes are, all ones or none in each.
type Marked = [uint8x16_t; 4];

impl Vector for Neon {
    #[inline(always)]
    fn classify(self, block: &[u8; 64]) -> Classes {
        // SAFETY: this file is compiled only for targets that have NEON.
        unsafe { classify(block) }
    }

    #[inline(always)]
    fn quotes(self, block: &[u8; 64]) -> Quotes {
        // SAFETY: as above.
        unsafe { quotes(block) }
    }

    #[inline(always)]
    fn stops_and_highs(self, chunk: &[u8; 32]) -> (u32, u32) {
        // SAFETY: as above.
        unsafe { stops_and_highs(chunk) }
    }

    #[inline(always)]
    fn is_equal(self, left: &[u8], right: &[u8], left_tail: &[u8; 32], right_tail: &[u8; 32]) -> bool {
        // SAFETY: as above.
        unsafe { is_equal(left, right, left_tail, right_tail) }
    }

    #[inline(always)]
    fn is_ascii(self, block: &[u8; 64]) -> bool {
        // SAFETY: as above.
        unsafe { is_ascii(block) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn classify(block: &[u8; 64]) -> Classes {
    let bytes = load64(block);
    let (mut marks, mut controls) = (bytes, bytes);
    for (mark, control) in marks.iter_mut().zip(&mut controls) {
        *mark = marks16(*mark);
        *control = vcleq_u8(*control, vdupq_n_u8(0x1f));
    }
    let controls = bits64(controls);
    Classes {
        quotes: equal64(bytes, b'"'),
        backslashes: equal64(bytes, b'\\'),
        marks: bits64(marks) & !controls,
        spaces: equal64(bytes, b' '),
        controls,
        highs: highs64(bytes),
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn quotes(block: &[u8; 64]) -> Quotes {
    let bytes = load64(block);
    let mut rare = bytes;
    for bytes in &mut rare {
        let others = vorrq_u8(vcgeq_u8(*bytes, vdupq_n_u8(0x80)), vcleq_u8(*bytes, vdupq_n_u8(0x1f)));
        *bytes = vorrq_u8(others, vceqq_u8(*bytes, vdupq_n_u8(b'\\')));
    }
    Quotes { quotes: equal64(bytes, b'"'), rare: bits64(rare) }
}

/// Which of 64 bytes are not ASCII.
#[inline]
#[target_feature(enable = "neon")]
fn highs64(mut bytes: [uint8x16_t; 4]) -> u64 {
    for part in &mut bytes {
        *part = vcgeq_u8(*part, vdupq_n_u8(0x80));
    }
    bits64(bytes)
}

#[inline]
#[target_feature(enable = "neon")]
fn stops_and_highs(chunk: &[u8; 32]) -> (u32, u32) {
    let (halves, _) = chunk.as_chunks::<16>();
    let [low, high] = halves else { return (0, 0) };
    let (low, high) = (load16(low), load16(high));
    let first_high = vdupq_n_u8(0x80);
    let bits = bits64([stops16(low), stops16(high), vcgeq_u8(low, first_high), vcgeq_u8(high, first_high)]);
    (bits as u32, (bits >> 32) as u32)
}

#[inline]
#[target_feature(enable = "neon")]
fn is_equal(left: &[u8], right: &[u8], left_tail: &[u8; 32], right_tail: &[u8; 32]) -> bool {
    let mut differences = vdupq_n_u8(0);
    for (left, right) in [(left, right), (left_tail, right_tail)] {
        for (left, right) in left.as_chunks::<16>().0.iter().zip(right.as_chunks::<16>().0) {
            differences = vorrq_u8(differences, veorq_u8(load16(left), load16(right)));
        }
    }
    vmaxvq_u8(differences) == 0
}

#[inline]
#[target_feature(enable = "neon")]
fn is_ascii(block: &[u8; 64]) -> bool {
    let [a, b, c, d] = load64(block);
    vmaxvq_u8(vorrq_u8(vorrq_u8(a, b), vorrq_u8(c, d))) < 0x80
}

/// A bit for each of 64 bytes that are all ones or none.
#[inline]
#[target_feature(enable = "neon")]
fn bits64(marked: Marked) -> u64 {
    const WEIGHTS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    let weights = load16(&WEIGHTS);
    let [a, b, c, d] = marked;
    let first = vpaddq_u8(vandq_u8(a, weights), vandq_u8(b, weights));
    let second = vpaddq_u8(vandq_u8(c, weights), vandq_u8(d, weights));
    let sums = vpaddq_u8(first, second);
    vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)))
}

/// Which of 64 bytes are this one.
#[inline]
#[target_feature(enable = "neon")]
fn equal64(mut bytes: Marked, byte: u8) -> u64 {
    for sixteen in &mut bytes {
        *sixteen = vceqq_u8(*sixteen, vdupq_n_u8(byte));
    }
    bits64(bytes)
}

/// All ones in the bytes that are a bracket, a brace, a colon or a comma, or one of two control characters, as with AVX2: their
/// low halves say which of them each byte must be, and the bit 0x20 makes brackets braces.
#[inline]
#[target_feature(enable = "neon")]
fn marks16(bytes: uint8x16_t) -> uint8x16_t {
    const BY_LOW_HALF: [u8; 16] = *b"\0\0\0\0\0\0\0\0\0\0:{,}\0\0";
    let expected = vqtbl1q_u8(load16(&BY_LOW_HALF), vandq_u8(bytes, vdupq_n_u8(0x0f)));
    vceqq_u8(vorrq_u8(bytes, vdupq_n_u8(0x20)), expected)
}

/// All ones in the bytes that are a quote, a backslash or a control character.
#[inline]
#[target_feature(enable = "neon")]
fn stops16(bytes: uint8x16_t) -> uint8x16_t {
    let quotes = vceqq_u8(bytes, vdupq_n_u8(b'"'));
    let backslashes = vceqq_u8(bytes, vdupq_n_u8(b'\\'));
    let controls = vcleq_u8(bytes, vdupq_n_u8(0x1f));
    vorrq_u8(vorrq_u8(quotes, backslashes), controls)
}

#[inline]
#[target_feature(enable = "neon")]
fn load64(block: &[u8; 64]) -> Marked {
    let mut loaded = [vdupq_n_u8(0); 4];
    for (sixteen, chunk) in loaded.iter_mut().zip(block.as_chunks::<16>().0) {
        *sixteen = load16(chunk);
    }
    loaded
}

#[inline]
#[target_feature(enable = "neon")]
fn load16(chunk: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the load reads 16 bytes from any address, and the chunk has 16.
    unsafe { vld1q_u8(chunk.as_ptr()) }
}
