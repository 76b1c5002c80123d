//! The vector code, and all unsafe code of this crate: searches that look at sixteen bytes at a time.
//!
//! Only what every x86-64 has (SSE2), so that nothing has to be detected while running; other machines use the scalar
//! twins, which are also what the tests compare with. Text is checked to be UTF-8 by skipping the ASCII before and after what
//! is not: the standard library's check goes on byte by byte after the first such character, but it alone decides about them.
#![allow(
    unsafe_code,
    reason = "vector loads, and text that has just been checked becomes a `str` without a second check"
)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_max_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
};

use crate::scan;

/// The bytes as text, if they are UTF-8.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    if !is_ascii(bytes) && !is_utf8_between(bytes) {
        return None;
    }
    // SAFETY: the bytes are ASCII, or ASCII around a stretch that the standard library has found to be UTF-8. ASCII bytes
    // are whole characters, so the concatenation is UTF-8 too.
    Some(unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// Bytes looked at together: one vector register of every x86-64 and aarch64.
const STRIDE: usize = 16;

/// The first quote, backslash or control character at or after `at`; the length if there is none.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn plain_run(json: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = json.get(at..).and_then(<[u8]>::first_chunk::<STRIDE>) {
        let bytes = load(chunk);
        // SAFETY: SSE2 belongs to every x86-64.
        let stops = unsafe {
            let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x22));
            let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x5c));
            let last_control = _mm_set1_epi8(0x1f);
            let controls = _mm_cmpeq_epi8(_mm_max_epu8(bytes, last_control), last_control);
            _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, backslashes), controls))
        };
        if stops != 0 {
            return at + stops.trailing_zeros() as usize;
        }
        at += STRIDE;
    }
    scan::plain_run(json, at)
}

/// The first quote, backslash or control character at or after `at`; the length if there is none.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn plain_run(json: &[u8], at: usize) -> usize {
    scan::plain_run(json, at)
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn load(chunk: &[u8; STRIDE]) -> __m128i {
    // SAFETY: the load reads 16 bytes from any address, and the chunk has 16; SSE2 belongs to every x86-64.
    unsafe { _mm_loadu_si128(chunk.as_ptr().cast::<__m128i>()) }
}

/// Whether all bytes are ASCII.
#[cfg(target_arch = "x86_64")]
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<STRIDE>() else { return bytes.is_ascii() };
    let (fours, rest) = bytes.as_chunks::<{ 4 * STRIDE }>();
    let mut seen = load(last);
    for four in fours {
        for chunk in four.as_chunks::<STRIDE>().0 {
            seen = or(seen, load(chunk));
        }
    }
    for chunk in rest.as_chunks::<STRIDE>().0 {
        seen = or(seen, load(chunk));
    }
    // SAFETY: SSE2 belongs to every x86-64.
    unsafe { _mm_movemask_epi8(seen) == 0 }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn or(left: __m128i, right: __m128i) -> __m128i {
    // SAFETY: SSE2 belongs to every x86-64.
    unsafe { _mm_or_si128(left, right) }
}

/// Whether all bytes are ASCII.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    bytes.is_ascii()
}

/// Whether what stands between the ASCII at the beginning and that at the end is UTF-8.
fn is_utf8_between(bytes: &[u8]) -> bool {
    const HIGHS: u128 = (u128::MAX / 255) << 7;
    let is_ascii = |chunk: &&[u8; STRIDE]| u128::from_ne_bytes(**chunk) & HIGHS == 0;
    let (chunks, _) = bytes.as_chunks::<STRIDE>();
    let before = chunks.iter().take_while(is_ascii).count() * STRIDE;
    let rest = bytes.get(before..).unwrap_or_default();
    let (_, chunks) = rest.as_rchunks::<STRIDE>();
    let after = chunks.iter().rev().take_while(is_ascii).count() * STRIDE;
    std::str::from_utf8(rest.get(..rest.len() - after).unwrap_or(rest)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_where_the_scalar_twin_says() {
        for length in [0, 1, 15, 16, 17, 31, 32, 40, 70] {
            for place in 0..length {
                for byte in 0..=255u8 {
                    let mut bytes = vec![0xe9; length];
                    bytes[place] = byte;
                    bytes[length - 1] ^= byte;
                    for start in [0, place / 2, place, place + 1, length] {
                        assert_eq!(plain_run(&bytes, start), scan::plain_run(&bytes, start), "{bytes:?}");
                    }
                }
            }
        }
    }

    /// Every short sequence of bytes that matter to UTF-8, at every place of a text of two vectors and more.
    #[test]
    fn agrees_with_the_standard_library() {
        const BYTES: [u8; 16] =
            [b'a', 0x00, 0x7f, 0x80, 0x9f, 0xa0, 0xbf, 0xc0, 0xc3, 0xe0, 0xe6, 0xed, 0xef, 0xf0, 0xf4, 0xf5];
        let step = if cfg!(miri) { 97 } else { 1 };
        for place in [0, 1, 13, 15, 16, 29, 32, 36] {
            for sequence in (0..1u32 << 16).step_by(step) {
                let mut bytes = [b'x'; 40];
                for (position, byte) in bytes[place..].iter_mut().take(4).enumerate() {
                    *byte = BYTES[(sequence >> (4 * position)) as usize % 16];
                }
                assert_eq!(text(&bytes), std::str::from_utf8(&bytes).ok(), "{bytes:?}");
            }
        }
    }

    #[test]
    fn characters_survive_at_every_place_and_length() {
        for length in 0..70 {
            for place in 0..=length {
                let whole = format!("{}枇🍊é{}", "a".repeat(place), "b".repeat(length - place));
                assert_eq!(text(whole.as_bytes()), Some(whole.as_str()));
                for cut in place + 1..place + 9 {
                    let bytes = &whole.as_bytes()[..cut];
                    assert_eq!(text(bytes), std::str::from_utf8(bytes).ok());
                }
            }
        }
    }
}
