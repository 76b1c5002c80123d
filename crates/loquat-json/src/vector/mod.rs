//! The vector code, and all unsafe code of this crate: searches and comparisons of 32 and 64 bytes at a time.
//!
//! One algorithm, written against [`Vector`], runs at the widest [`Level`] that the machine has: AVX2 where it is detected, SSE2
//! on every other x86-64, machine words elsewhere. The last are the scalar twin too: the oracle of the tests, and what
//! `--cfg loquat_scalar` leaves. Text is checked to be UTF-8 by looking for bytes that are not ASCII; the standard library
//! alone decides about those.
#![allow(unsafe_code, reason = "text that has just been checked becomes a `str` without a second check")]

#[cfg(any(test, loquat_scalar, not(target_arch = "x86_64")))]
mod words;
#[cfg(all(target_arch = "x86_64", not(loquat_scalar)))]
mod x86;

use std::ops::Range;

use crate::outline::Classes;
use crate::pattern::{Content, Pattern, Shift};
use crate::scan;

/// What a machine can do to many bytes at a time. A bit mask has bit n for byte n.
pub(crate) trait Vector: Copy {
    /// Which bytes are what to JSON.
    fn classify(self, block: &[u8; BLOCK]) -> Classes;

    /// In each bit, the parity of all bits up to it.
    #[inline(always)]
    fn parities(self, mut bits: u64) -> u64 {
        for shift in [1, 2, 4, 8, 16, 32] {
            bits ^= bits << shift;
        }
        bits
    }

    /// Which bytes are a quote, a backslash or a control character, and which are not ASCII.
    fn stops_and_highs(self, chunk: &[u8; CHUNK]) -> (u32, u32);

    /// Whether all chunks are equal, of as many as both have, and both tails.
    fn is_equal(
        self,
        left: &[[u8; CHUNK]],
        right: &[[u8; CHUNK]],
        left_tail: &[u8; CHUNK],
        right_tail: &[u8; CHUNK],
    ) -> bool;

    fn is_ascii(self, block: &[u8; BLOCK]) -> bool;
}

/// Bytes classified together: one bit each of a `u64`.
pub(crate) const BLOCK: usize = 64;
/// Bytes compared together.
const CHUNK: usize = 32;

/// Work that is compiled once for each level. `run`, and what it calls with the vector, has to be `#[inline(always)]`: what is not
/// inlined is compiled for every machine, without the instructions.
pub(crate) trait Task {
    type Output;

    fn run<V: Vector>(self, vector: V) -> Self::Output;
}

/// Runs a task at the widest level of this machine.
#[inline(always)] // the choice is three instructions
pub(crate) fn run<T: Task>(task: T) -> T::Output {
    #[cfg(all(target_arch = "x86_64", not(loquat_scalar)))]
    return match x86::Avx2::new() {
        Some(vector) => vector.run(task),
        None => task.run(x86::Sse2),
    };
    #[cfg(not(all(target_arch = "x86_64", not(loquat_scalar))))]
    task.run(words::Words)
}

/// The bytes as text, if they are UTF-8.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    if !run(IsAscii(bytes)) && !is_utf8_between(bytes) {
        return None;
    }
    // SAFETY: the bytes are ASCII, or ASCII around a stretch that the standard library has found to be UTF-8. ASCII bytes
    // are whole characters, so the concatenation is UTF-8 too.
    Some(unsafe { std::str::from_utf8_unchecked(bytes) })
}

struct IsAscii<'b>(&'b [u8]);

impl Task for IsAscii<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> bool {
        let Some(last) = self.0.last_chunk() else { return self.0.is_ascii() };
        let (blocks, _) = self.0.as_chunks();
        blocks.iter().all(|block| vector.is_ascii(block)) && vector.is_ascii(last)
    }
}

/// What matches at the front of `input`: the stretches of the pattern's text, as far as it is `within`, between the holes byte for
/// byte, and in each hole what its [`Content`] says. `shifts` is then one longer than there are holes, the
/// first being that of the text before all of them; without a match its content is of no use.
///
/// Looks at no byte beyond the match for its decision, but for the one that ends a number.
#[inline(always)] // the call of the task is the one that counts
pub(crate) fn match_front<'i>(
    pattern: &Pattern,
    within: Range<usize>,
    input: &'i [u8],
    shifts: &mut Vec<Shift>,
) -> Option<&'i str> {
    let end = run(Match { pattern, within, input, shifts })?;
    let matched = input.get(..end)?;
    // SAFETY: `Match` compares stretches of the pattern's text that are `str` themselves, and what is in the holes between them
    // is ASCII or has been found to be UTF-8; a concatenation of UTF-8 is UTF-8.
    Some(unsafe { std::str::from_utf8_unchecked(matched) })
}

struct Match<'m> {
    pattern: &'m Pattern,
    within: Range<usize>,
    input: &'m [u8],
    shifts: &'m mut Vec<Shift>,
}

impl Task for Match<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> Option<usize> {
        let Self { pattern: Pattern { text, holes, .. }, within, input, shifts } = self;
        if shifts.len() != holes.len() + 1 {
            shifts.clear();
            shifts.resize(holes.len() + 1, Shift::default());
        }
        let (mut literal, mut at) = (within.start, 0);
        for (hole, shift) in holes.iter().zip(shifts.get_mut(1..)?) {
            at = after_equal(vector, text.get(literal..hole.start)?, input, at)?;
            let (end, escaped) = hole_end(vector, input, at, hole.content)?;
            *shift = Shift { by: (end + within.start).wrapping_sub(hole.end), escaped };
            literal = hole.end;
            at = end;
        }
        after_equal(vector, text.get(literal..within.end)?, input, at)
    }
}

/// The place in `input` after `literal`, if that stands at `at`.
#[inline(always)]
fn after_equal<V: Vector>(vector: V, literal: &str, input: &[u8], at: usize) -> Option<usize> {
    let literal = literal.as_bytes();
    let end = at.checked_add(literal.len())?;
    let there = input.get(at..end)?;
    // Lengths that are no multiple of a width are covered by two that overlap.
    let is_equal = if let (Some(tail), Some(there_tail)) = (literal.last_chunk(), there.last_chunk()) {
        let (chunks, there_chunks) = (literal.as_chunks().0, there.as_chunks().0);
        vector.is_equal(chunks, there_chunks, tail, there_tail)
    } else {
        is_equal_by::<16>(literal, there)
            .or_else(|| is_equal_by::<8>(literal, there))
            .or_else(|| is_equal_by::<4>(literal, there))
            .unwrap_or_else(|| literal.iter().eq(there))
    };
    is_equal.then_some(end)
}

/// Whether texts of the same length, of `N` to `2 * N` bytes, are equal; `None` for shorter ones.
#[inline(always)]
fn is_equal_by<const N: usize>(left: &[u8], right: &[u8]) -> Option<bool> {
    let is_first_equal = left.first_chunk::<N>()? == right.first_chunk::<N>()?;
    Some(is_first_equal && left.last_chunk::<N>() == right.last_chunk::<N>())
}

/// The place after the number or the spaces, or of the quote after the string, whose content starts at `start`; and whether it has
/// escapes. `None` if it is no such thing, not UTF-8, or not there to its end.
#[inline(always)]
fn hole_end<V: Vector>(vector: V, input: &[u8], start: usize, content: Content) -> Option<(usize, bool)> {
    match content {
        Content::Text => {}
        Content::Number => return number_end(input, start),
        Content::Spaces => {
            let spaces = input.get(start..)?.iter().take_while(|byte| **byte == b' ').count();
            return Some((start + spaces, false));
        }
    }
    // Nearly all are strings without escapes, and most of those are short. Near the end of the input its last bytes are looked
    // at once more, those before `at` shifted out.
    let Some(last) = input.len().checked_sub(CHUNK) else { return string_end(input, start) };
    let (mut at, mut seen) = (start, 0);
    loop {
        let from = at.min(last);
        let chunk = input.get(from..)?.first_chunk()?;
        let (stops, highs) = vector.stops_and_highs(chunk);
        let again = u32::try_from(at - from).ok()?;
        let (stops, highs) = (stops.checked_shr(again)?, highs.checked_shr(again)?);
        if stops == 0 {
            seen |= highs;
            at = from + CHUNK;
            continue;
        }
        let end = at + stops.trailing_zeros() as usize;
        if input.get(end) != Some(&b'"') {
            return string_end(input, start);
        }
        seen |= highs & (stops & stops.wrapping_neg()).wrapping_sub(1);
        return (seen == 0 || is_utf8(input.get(start..end)?)).then_some((end, false));
    }
}

/// Apart, as are the next two, to keep its variables out of the loop.
#[inline(never)]
fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

/// [`hole_end`] for a number.
#[inline(never)]
fn number_end(input: &[u8], start: usize) -> Option<(usize, bool)> {
    Some((scan::number(input, start).ok()?, false))
}

/// [`hole_end`] for any string.
#[inline(never)]
fn string_end(input: &[u8], start: usize) -> Option<(usize, bool)> {
    let (end, escaped) = scan::string(input, start).ok()?;
    text(input.get(start..end - 1)?)?;
    Some((end - 1, escaped))
}

/// The first quote, backslash or control character at or after `at`; the length if there is none.
#[inline]
pub(crate) fn plain_run(json: &[u8], at: usize) -> usize {
    run(PlainRun { json, at })
}

struct PlainRun<'j> {
    json: &'j [u8],
    at: usize,
}

impl Task for PlainRun<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> usize {
        let Self { json, mut at } = self;
        while let Some(chunk) = json.get(at..).and_then(<[u8]>::first_chunk) {
            let (stops, _) = vector.stops_and_highs(chunk);
            if stops != 0 {
                return at + stops.trailing_zeros() as usize;
            }
            at += CHUNK;
        }
        scan::plain_run(json, at)
    }
}

/// Whether what stands between the ASCII at the beginning and that at the end is UTF-8.
fn is_utf8_between(bytes: &[u8]) -> bool {
    const STRIDE: usize = 16;
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

    /// Every level that this machine has.
    fn on_all_levels<T: Task>(task: impl Fn() -> T, check: impl Fn(T::Output)) {
        check(task().run(words::Words));
        #[cfg(all(target_arch = "x86_64", not(loquat_scalar)))]
        {
            check(task().run(x86::Sse2));
            if let Some(vector) = x86::Avx2::new() {
                check(vector.run(task()));
            }
        }
    }

    /// What a block looks like to each of the trait's functions.
    struct Look<'b>(&'b [u8; BLOCK]);

    impl Task for Look<'_> {
        type Output = (Classes, u64, (u32, u32), bool, bool);

        fn run<V: Vector>(self, vector: V) -> Self::Output {
            let (chunks, _) = self.0.as_chunks();
            let is_equal = vector.is_equal(&chunks[..1], &chunks[1..], &chunks[0], &chunks[1]);
            let classes = vector.classify(self.0);
            let parities = vector.parities(classes.quotes ^ classes.spaces);
            (classes, parities, vector.stops_and_highs(&chunks[0]), vector.is_ascii(self.0), is_equal)
        }
    }

    #[test]
    fn all_levels_see_the_same() {
        // Miri takes minutes for what takes milliseconds otherwise.
        let (places, bytes) = if cfg!(miri) { (13, 37) } else { (1, 1) };
        for place in (0..BLOCK).step_by(places) {
            for byte in (0..=255u8).step_by(bytes) {
                for fill in [b'x', byte] {
                    let mut block = [fill; BLOCK];
                    block[place] = byte;
                    block[(place + 7) % BLOCK] = byte.wrapping_add(0x80);
                    let twin = Look(&block).run(words::Words);
                    on_all_levels(|| Look(&block), |seen| assert_eq!(seen, twin, "{block:?}"));
                }
            }
        }
    }

    #[test]
    fn a_run_ends_where_the_scalar_twin_says() {
        let (places, bytes) = if cfg!(miri) { (11, 29) } else { (1, 1) };
        for length in [0, 1, 15, 16, 17, 31, 32, 40, 70] {
            for place in (0..length).step_by(places) {
                for byte in (0..=255u8).step_by(bytes) {
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
        for length in (0..70).step_by(if cfg!(miri) { 17 } else { 1 }) {
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
