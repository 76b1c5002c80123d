//! The vector code, and all unsafe code of this crate: searches and comparisons of 32 and 64 bytes at a time.
//!
//! One algorithm, written against [`Vector`], runs at the widest level that the machine has: AVX2 where it is detected, SSE2
//! on every other x86-64, NEON on aarch64, machine words elsewhere. The last are the scalar twin too: the oracle of the tests, and
//! what `--cfg loquat_scalar` leaves. Text is checked to be UTF-8 by looking for bytes that are not ASCII; the standard library
//! alone decides about those.
//!
//! AVX-512 draws outlines and finds where strings end, and does nothing else: for outlines one compression of 64 places by the mask of
//! tokens takes the place of a loop over its bits, in half of the time. Prediction with it was written and measured too (Sapphire Rapids), 1 to 2 % slower than with
//! AVX2: events are too few blocks to make up for its masks' way into registers. NEON was run under an emulator only (`cargo
//! xtask sanitize aarch64`): that it is right is known, how fast it is is not.
#![allow(unsafe_code, reason = "text that has just been checked becomes a `str` without a second check")]

mod ends;
#[cfg(all(target_arch = "aarch64", target_endian = "little", not(loquat_scalar)))]
mod neon;
mod tokens;
#[cfg(any(
    fuzzing,
    test,
    loquat_scalar,
    not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))
))]
mod words;
#[cfg(all(target_arch = "x86_64", not(loquat_scalar)))]
mod x86;

// The widest level that need not be asked for.
cfg_select! {
    loquat_scalar => { use words::Words as Always; }
    target_arch = "x86_64" => { use x86::Sse2 as Always; }
    all(target_arch = "aarch64", target_endian = "little") => { use neon::Neon as Always; }
    _ => { use words::Words as Always; }
}

use crate::outline::{Classes, Outline};
use crate::pattern::{Content, Pattern, Shift};
use crate::scan;
use crate::string_ends::{Quotes, StringEnds};
pub(crate) use ends::{Closing, Ends, Place};
pub(crate) use tokens::{AHEAD, Tokens};

/// What a machine can do to many bytes at a time. A bit mask has bit n for byte n.
pub(crate) trait Vector: Copy {
    /// Which bytes are what to JSON.
    fn classify(self, block: &[u8; BLOCK]) -> Classes;

    /// [`classify`](Self::classify) for the block that begins at `at`, before the text's end; what of it is behind that are spaces.
    #[inline(always)]
    fn classify_at(self, text: &[u8], at: usize) -> Classes {
        let rest = text.get(at..).unwrap_or_default();
        if let Some(block) = rest.first_chunk() {
            return self.classify(block);
        }
        let before = BLOCK - rest.len();
        let classes = match text.last_chunk() {
            // Reaches back into what was classified.
            Some(block) => self.classify(block),
            None => {
                let mut block = [b' '; BLOCK];
                block[before..].copy_from_slice(rest);
                self.classify(&block)
            }
        };
        let behind = !(u64::MAX >> before);
        Classes {
            quotes: classes.quotes >> before,
            backslashes: classes.backslashes >> before,
            marks: classes.marks >> before,
            spaces: classes.spaces >> before | behind,
            controls: classes.controls >> before,
            highs: classes.highs >> before,
        }
    }

    /// Where the quotes are.
    fn quotes(self, block: &[u8; BLOCK]) -> Quotes;

    /// [`quotes`](Self::quotes) for the block that begins at `at`, before the text's end; what of it is behind that is nothing.
    #[inline(always)]
    fn quotes_at(self, text: &[u8], at: usize) -> Quotes {
        let rest = text.get(at..).unwrap_or_default();
        if let Some(block) = rest.first_chunk() {
            return self.quotes(block);
        }
        let before = BLOCK - rest.len();
        let Quotes { quotes, rare } = match text.last_chunk() {
            // Reaches back into what was looked at.
            Some(block) => self.quotes(block),
            None => {
                let mut block = [b' '; BLOCK];
                block[before..].copy_from_slice(rest);
                self.quotes(&block)
            }
        };
        Quotes { quotes: quotes >> before, rare: rare >> before }
    }

    /// In each bit, the parity of all bits up to it.
    #[inline(always)]
    fn parities(self, mut bits: u64) -> u64 {
        for shift in [1, 2, 4, 8, 16, 32] {
            bits ^= bits << shift;
        }
        bits
    }

    /// Writes which bits are set, counted from `start`. What is written behind that many is of no use.
    #[inline(always)]
    fn note(self, mut bits: u64, start: u32, places: &mut [u32; BLOCK]) {
        for places in places.as_chunks_mut::<NOTED>().0 {
            for place in places {
                *place = start.wrapping_add(bits.trailing_zeros());
                bits &= bits.wrapping_sub(1);
            }
            if bits == 0 {
                break;
            }
        }
    }

    /// Which bytes are a quote, a backslash or a control character, and which are not ASCII.
    fn stops_and_highs(self, chunk: &[u8; CHUNK]) -> (u32, u32);

    /// Whether both texts are equal, which are as long as each other, of at least a chunk, and end in these chunks.
    fn is_equal(self, left: &[u8], right: &[u8], left_tail: &[u8; CHUNK], right_tail: &[u8; CHUNK]) -> bool;

    fn is_ascii(self, block: &[u8; BLOCK]) -> bool;
}

/// Bytes classified together: one bit each of a `u64`.
pub(crate) const BLOCK: usize = 64;
/// Places written together, whether there are as many or not.
const NOTED: usize = 8;
/// Bytes compared together.
const CHUNK: usize = 32;

/// Shifts that room is made for together: a chunk's shape has ten to fifteen holes.
const SHIFTS_AT_ONCE: usize = 16;

/// Work that is compiled once for each level. `run`, and what it calls with the vector, has to be `#[inline(always)]`: what is not
/// inlined is compiled for every machine, without the instructions.
pub(crate) trait Task {
    type Output;

    fn run<V: Vector>(self, vector: V) -> Self::Output;
}

#[cfg(fuzzing)]
thread_local! {
    static BY_WORDS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs something with plain words in the place of vectors: the fuzz targets hold both against the same oracles.
#[cfg(fuzzing)]
pub fn by_words<T>(run: impl FnOnce() -> T) -> T {
    BY_WORDS.set(true);
    let made = run();
    BY_WORDS.set(false);
    made
}

/// Runs a task at the widest level of this machine.
#[inline(always)] // the choice is three instructions
pub(crate) fn run<T: Task>(task: T) -> T::Output {
    #[cfg(fuzzing)]
    if BY_WORDS.get() {
        return task.run(words::Words);
    }
    #[cfg(all(target_arch = "x86_64", not(loquat_scalar)))]
    if let Some(vector) = x86::Avx2::new() {
        return vector.run(task);
    }
    task.run(Always)
}

/// [`run`] for a task that AVX-512 makes faster.
#[inline(always)]
pub(crate) fn run_widest<T: Task>(task: T) -> T::Output {
    #[cfg(fuzzing)]
    if BY_WORDS.get() {
        return task.run(words::Words);
    }
    #[cfg(all(target_arch = "x86_64", not(loquat_scalar)))]
    if let Some(vector) = x86::Avx512::new() {
        return vector.run(task);
    }
    run(task)
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

/// The text at the front of `input` up to its line end, drawn: [`Outline::draw_line`]; `None` if it is not UTF-8 either.
#[inline]
pub(crate) fn draw_line<'i>(outline: &mut Outline, input: &'i [u8]) -> Option<&'i str> {
    let (length, is_ascii) = outline.draw_line(input)?;
    let line = input.get(..length)?;
    if !is_ascii && !is_utf8_between(line) {
        return None;
    }
    // SAFETY: the outline has looked at each of these bytes and found them to be ASCII, or they are as in `text`.
    Some(unsafe { std::str::from_utf8_unchecked(line) })
}

/// [`draw_line`] for a text of one line: [`StringEnds::draw_line`].
#[inline]
pub(crate) fn draw_ends_line<'i>(string_ends: &mut StringEnds, input: &'i [u8]) -> Option<&'i str> {
    let line = input.get(..string_ends.draw_line(input)?)?;
    let others = string_ends.highs();
    if !others.is_empty() && !is_utf8(line.get(others)?) {
        return None;
    }
    // SAFETY: each of these bytes was looked at and found to be ASCII, or they are as in `text`.
    Some(unsafe { std::str::from_utf8_unchecked(line) })
}

/// Appends `part`, which `text` has at `start`. For short ones, whose lengths nobody can predict: copies a whole chunk where both sides
/// have room for one, so that nothing depends on the length.
#[inline]
pub(crate) fn push_part(out: &mut String, part: &str, text: &str, start: usize) {
    let chunk = text.as_bytes().get(start..).and_then(<[u8]>::first_chunk::<CHUNK>);
    let chunk = chunk.filter(|chunk| part.len() <= CHUNK && part.as_ptr() == chunk.as_ptr());
    let Some(chunk) = chunk else { return out.push_str(part) };
    out.reserve(CHUNK);
    // SAFETY: the spare capacity has room for a chunk. The length grows by no more than that, over bytes that have been written and
    // are those of `part`, since they begin at the same address.
    unsafe {
        let out = out.as_mut_vec();
        out.spare_capacity_mut().as_mut_ptr().cast::<[u8; CHUNK]>().write_unaligned(*chunk);
        out.set_len(out.len() + part.len());
    }
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

/// What matches the whole of the pattern's text at the front of `input`: the stretches between the holes byte for byte, and in each
/// hole what its [`Content`] says; and what of it is the document. `shifts` then begins with one more than there are holes, the
/// first being that of the text before all of them; what follows these, and all of it without a match, is of no use.
///
/// Looks at no byte beyond the match for its decision, but for the one that ends a number.
#[inline(always)] // the call of what it calls is the one that counts
pub(crate) fn match_event<'i>(
    pattern: &Pattern,
    input: &'i [u8],
    shifts: &mut Vec<Shift>,
) -> Option<(&'i str, &'i str)> {
    let end = match_end(pattern, Part::Whole, input, shifts)?;
    let (document, text) = (pattern.document(), pattern.text().len());
    let whole = input.get(..end)?;
    let data = whole.get(document.start..end - (text - document.end))?;
    // SAFETY: what was compared are stretches of the pattern's text, which is UTF-8, between its holes, whose ends are between
    // characters ([`Pattern`]'s invariant), and what is in the holes is ASCII or has been found to be UTF-8; a concatenation
    // of UTF-8 is UTF-8. The document begins and ends between characters as well.
    Some(unsafe { (str::from_utf8_unchecked(whole), str::from_utf8_unchecked(data)) })
}

/// [`match_event`] for the document alone, without its frame.
#[inline]
pub(crate) fn match_document<'i>(
    pattern: &Pattern,
    input: &'i [u8],
    shifts: &mut Vec<Shift>,
) -> Option<&'i str> {
    let matched = input.get(..match_end(pattern, Part::Document, input, shifts)?)?;
    // SAFETY: as for `match_event`.
    Some(unsafe { str::from_utf8_unchecked(matched) })
}

/// What of a pattern is to match.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    Document,
}

/// Where what matches ends. Few arguments, so that all of them travel in registers.
#[inline(always)]
fn match_end(pattern: &Pattern, part: Part, input: &[u8], shifts: &mut Vec<Shift>) -> Option<usize> {
    #[cfg(fuzzing)]
    if BY_WORDS.get() {
        return match_end_by(words::Words, pattern, part, input, shifts);
    }
    #[cfg(all(target_arch = "x86_64", not(loquat_scalar)))]
    if let Some(vector) = x86::Avx2::new() {
        return vector.match_end(pattern, part, input, shifts);
    }
    match_end_elsewhere(pattern, part, input, shifts)
}

#[inline(never)]
fn match_end_elsewhere(
    pattern: &Pattern,
    part: Part,
    input: &[u8],
    shifts: &mut Vec<Shift>,
) -> Option<usize> {
    match_end_by(Always, pattern, part, input, shifts)
}

/// [`match_end`] at a level.
#[inline(always)]
fn match_end_by<V: Vector>(
    vector: V,
    pattern: &Pattern,
    part: Part,
    input: &[u8],
    shifts: &mut Vec<Shift>,
) -> Option<usize> {
    let (text, holes, document) = (pattern.text().as_bytes(), pattern.holes(), pattern.document());
    let (start, end) = match part {
        Part::Whole => (0, text.len()),
        Part::Document => (document.start, document.end),
    };
    if shifts.len() <= holes.len() {
        make_room(shifts, holes.len() + 1);
    }
    let (mut rest, mut literal) = (input, start);
    let taken_and_start = input.len() + start;
    for (hole, shift) in holes.iter().zip(shifts.get_mut(1..)?) {
        // SAFETY: holes are in ascending order and inside the document ([`Pattern`]'s invariant).
        let before = unsafe { text.get_unchecked(literal..hole.start) };
        rest = after_literal(vector, before, rest)?;
        let (length, escaped) = match hole.content {
            Content::Text => string_length(vector, input, rest)?,
            Content::Number => (number_length(rest)?, false),
            Content::Spaces => (rest.iter().take_while(|byte| **byte == b' ').count(), false),
        };
        rest = rest.get(length..)?;
        literal = hole.end;
        *shift = Shift { by: taken_and_start.wrapping_sub(rest.len() + literal), escaped };
    }
    // SAFETY: as above.
    rest = after_literal(vector, unsafe { text.get_unchecked(literal..end) }, rest)?;
    Some(input.len() - rest.len())
}

/// For more than are asked for, since patterns with fewer and with more holes take turns.
#[cold]
#[inline(never)]
fn make_room(shifts: &mut Vec<Shift>, needed: usize) {
    shifts.resize(needed.next_multiple_of(SHIFTS_AT_ONCE), Shift::default());
}

/// What follows `literal`, if `input` begins with that.
#[inline(always)]
fn after_literal<'i, V: Vector>(vector: V, literal: &[u8], input: &'i [u8]) -> Option<&'i [u8]> {
    let (there, rest) = input.split_at_checked(literal.len())?;
    let is_equal = match (literal.last_chunk(), there.last_chunk()) {
        (Some(tail), Some(there_tail)) => vector.is_equal(literal, there, tail, there_tail),
        _ => is_equal_by::<16>(literal, there)
            .or_else(|| is_equal_by::<8>(literal, there))
            .or_else(|| is_equal_by::<4>(literal, there))
            .unwrap_or_else(|| literal.iter().eq(there)),
    };
    is_equal.then_some(rest)
}

/// Whether texts of the same length, of `N` to `2 * N` bytes, are equal; `None` for shorter ones.
#[inline(always)]
fn is_equal_by<const N: usize>(left: &[u8], right: &[u8]) -> Option<bool> {
    let is_first_equal = left.first_chunk::<N>()? == right.first_chunk::<N>()?;
    Some(is_first_equal && left.last_chunk::<N>() == right.last_chunk::<N>())
}

/// How long the string is whose content `rest`, the end of `input`, begins with, up to its closing quote; and whether it has
/// escapes. `None` if it is no such thing, not UTF-8, or not there to its end.
#[inline(always)]
fn string_length<V: Vector>(vector: V, input: &[u8], rest: &[u8]) -> Option<(usize, bool)> {
    // Nearly all are short ASCII without escapes.
    let (stops, highs) = match rest.first_chunk() {
        Some(chunk) => vector.stops_and_highs(chunk),
        None => {
            // The last bytes of the input are looked at, those before `rest` shifted out.
            let Some(last) = input.last_chunk() else { return long_string_length(rest) };
            let before = u32::try_from(CHUNK - rest.len()).ok()?;
            let (stops, highs) = vector.stops_and_highs(last);
            (stops.checked_shr(before)?, highs.checked_shr(before)?)
        }
    };
    if stops == 0 {
        return second_chunk(vector, rest, highs).or_else(|| long_string_length(rest));
    }
    let (mut ahead, mut escaped) = (stops, false);
    while ahead != 0 {
        let at = ahead.trailing_zeros();
        let length = at as usize;
        match rest.get(length)? {
            b'"' => {
                let is_ascii = highs & !(u32::MAX << at) == 0;
                return (is_ascii || is_utf8(rest.get(..length)?)).then_some((length, escaped));
            }
            b'\\' if rest.get(length + 1).is_some_and(|byte| scan::is_escaped_alone(*byte)) => {
                escaped = true;
                ahead &= !(0b11 << at);
                // The second byte of an escape that the chunk cuts would be a stop of its own, had it been there.
                if at + 1 == u32::BITS {
                    break;
                }
            }
            _ => break,
        }
    }
    long_string_length(rest)
}

/// [`string_length`] for ids, which are longer than a chunk: without escapes, ending in the second. `highs` are those of the first.
#[inline(always)]
fn second_chunk<V: Vector>(vector: V, rest: &[u8], highs: u32) -> Option<(usize, bool)> {
    let (stops, more) = vector.stops_and_highs(rest.get(CHUNK..)?.first_chunk()?);
    let at = stops.trailing_zeros();
    let length = CHUNK + at as usize;
    let is_ascii = highs | more & !u32::MAX.checked_shl(at)? == 0;
    (is_ascii && rest.get(length) == Some(&b'"')).then_some((length, false))
}

/// [`string_length`] for any.
#[inline(never)]
fn long_string_length(rest: &[u8]) -> Option<(usize, bool)> {
    run(StringLength(rest))
}

struct StringLength<'r>(&'r [u8]);

impl Task for StringLength<'_> {
    type Output = Option<(usize, bool)>;

    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> Option<(usize, bool)> {
        let Self(rest) = self;
        let (mut at, mut seen, mut escaped) = (0, 0, false);
        while let Some(chunk) = rest.get(at..)?.first_chunk() {
            let (stops, highs) = vector.stops_and_highs(chunk);
            if stops == 0 {
                seen |= highs;
                at += CHUNK;
                continue;
            }
            seen |= highs & (stops & stops.wrapping_neg()).wrapping_sub(1);
            at += stops.trailing_zeros() as usize;
            match rest.get(at)? {
                b'"' => return (seen == 0 || is_utf8(rest.get(..at)?)).then_some((at, escaped)),
                b'\\' => at = scan::escape(rest, at + 1).ok()?,
                _ => return None,
            }
            escaped = true;
        }
        let (end, has_more) = scan::string(rest, at).ok()?;
        is_utf8(rest.get(..end - 1)?).then_some((end - 1, escaped || has_more))
    }
}

/// Apart, as is the next, to keep its variables out of the loop.
#[inline(never)]
fn is_utf8(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok()
}

/// How long the number is that `rest` begins with: most are whole ones of less than eight digits.
#[inline(always)]
fn number_length(rest: &[u8]) -> Option<usize> {
    match rest.first_chunk().and_then(scan::short_number) {
        Some(length) => Some(length),
        None => any_number_length(rest),
    }
}

#[inline(never)]
fn any_number_length(rest: &[u8]) -> Option<usize> {
    scan::number(rest, 0).ok()
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
mod tests;
