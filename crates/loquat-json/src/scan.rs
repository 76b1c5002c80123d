//! The tokens of JSON (RFC 8259 §2, §6, §7): where each ends, or what is wrong with it. Knows nothing of nesting or of
//! what anybody looks for. The text is known to be UTF-8, so only ASCII is looked at.

use crate::error::{Error, ErrorKind};
use crate::vector;

/// One bit in each byte of a word.
const ONES: u64 = u64::MAX / 255;
/// The high bit of each byte of a word.
const HIGHS: u64 = ONES << 7;

/// The first byte at or after `at` that is not white space.
#[inline]
pub(crate) fn skip_space(json: &[u8], at: usize) -> usize {
    // Few texts have any.
    if json.get(at).is_some_and(|&byte| byte > b' ') { at } else { space_end(json, at) }
}

fn space_end(json: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = json.get(at) {
        at += 1;
    }
    at
}

/// What stands at `at` and should not, or that nothing stands there.
pub(crate) fn unexpected(json: &[u8], at: usize) -> Error {
    let kind = if at < json.len() { ErrorKind::Syntax } else { ErrorKind::UnexpectedEnd };
    Error::new(kind, at.min(json.len()))
}

/// The end of the string whose opening quote is right before `at`, its closing quote included, and whether it has
/// escapes.
#[inline]
pub(crate) fn string(json: &[u8], at: usize) -> Result<(usize, bool), Error> {
    let end = vector::plain_run(json, at);
    if json.get(end) == Some(&b'"') { Ok((end + 1, false)) } else { string_rest(json, end) }
}

/// What follows the first stretch without escapes.
#[cold]
fn string_rest(json: &[u8], mut at: usize) -> Result<(usize, bool), Error> {
    let mut escaped = false;
    loop {
        match json.get(at) {
            Some(b'"') => return Ok((at + 1, escaped)),
            Some(b'\\') => {
                escaped = true;
                at = escape(json, at + 1)?;
            }
            _ => return Err(unexpected(json, at)),
        }
        at = vector::plain_run(json, at);
    }
}

/// The first quote, backslash or control character at or after `at`, eight bytes at a time: the scalar twin of
/// [`vector::plain_run`].
pub(crate) fn plain_run(json: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = json.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        // Borrows run upward only, so the lowest bit set in each mask, hence in all, is never a false one.
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let quotes = quote.wrapping_sub(ONES) & !quote;
        let backslashes = backslash.wrapping_sub(ONES) & !backslash;
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let stops = (quotes | backslashes | controls) & HIGHS;
        if stops != 0 {
            return at + stops.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(byte) = json.get(at) {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        at += 1;
    }
    at
}

/// Whether there is a backslash in a short text.
#[inline]
pub(crate) fn has_backslash(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks();
    words.iter().any(|word| {
        let backslash = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'\\'));
        // Borrows run upward only, so that none of it is set without a backslash.
        backslash.wrapping_sub(ONES) & !backslash & HIGHS != 0
    }) || rest.contains(&b'\\')
}

/// Whether a backslash and this byte are an escape.
#[inline]
pub(crate) fn is_escaped_alone(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')
}

/// The end of the escape whose backslash is right before `at`. A lone surrogate is valid here: the grammar has it.
pub(crate) fn escape(json: &[u8], at: usize) -> Result<usize, Error> {
    match json.get(at) {
        Some(&byte) if is_escaped_alone(byte) => Ok(at + 1),
        Some(b'u') => {
            for digit in at + 1..at + 5 {
                if !json.get(digit).is_some_and(u8::is_ascii_hexdigit) {
                    return Err(unexpected(json, digit));
                }
            }
            Ok(at + 5)
        }
        _ => Err(unexpected(json, at)),
    }
}

/// The end of the number that starts at `at`. Any length is valid.
#[inline]
pub(crate) fn number(json: &[u8], at: usize) -> Result<usize, Error> {
    // Most are whole ones of less than sixteen digits.
    if let Some(chunk) = json.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        let (low, high) = (digits_at_front(chunk, 0), digits_at_front(chunk, 8));
        let length = if low == 8 { 8 + high } else { low };
        let ends = !matches!(chunk.get(length), None | Some(b'.' | b'e' | b'E'));
        if ends && (length == 1 || length > 1 && chunk[0] != b'0') {
            return Ok(at + length);
        }
    }
    any_number(json, at)
}

/// How long the number is at the front, if it is a whole one and what ends it is among these bytes, and not white space; `None` for
/// any other.
#[inline(always)] // on the way of every event with a number in it
pub(crate) fn short_number(chunk: &[u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(*chunk) ^ (ONES * u64::from(b'0'));
    let length = others(word).trailing_zeros() as usize / 8;
    let ends = matches!(chunk.get(length), Some(b',' | b'}' | b']'));
    // No digit at all, or a zero before others, is none.
    (ends && (length == 1 || length > 1 && chunk[0] != b'0')).then_some(length)
}

/// How many of eight bytes are digits, up to the first that is none.
#[inline(always)]
fn digits_at_front(chunk: &[u8; 16], from: usize) -> usize {
    let Some(eight) = chunk.get(from..).and_then(<[u8]>::first_chunk) else { return 0 };
    others(u64::from_le_bytes(*eight) ^ (ONES * u64::from(b'0'))).trailing_zeros() as usize / 8
}

/// The high bit of each of eight bytes that is no digit; of digits only the value is left.
#[inline(always)]
fn others(word: u64) -> u64 {
    // A digit is 0 to 9; in a byte from 10 on, or with its high bit set, the high bit is now set.
    (((word & !HIGHS) + ONES * 0x76) | word) & HIGHS
}

/// [`number`], whatever it is.
fn any_number(json: &[u8], mut at: usize) -> Result<usize, Error> {
    if json.get(at) == Some(&b'-') {
        at += 1;
    }
    at = if json.get(at) == Some(&b'0') { at + 1 } else { digits(json, at)? };
    if json.get(at) == Some(&b'.') {
        at = digits(json, at + 1)?;
    }
    if let Some(b'e' | b'E') = json.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = json.get(at) {
            at += 1;
        }
        at = digits(json, at)?;
    }
    Ok(at)
}

/// [`number`] for who does not care what is wrong with it.
#[inline]
pub(crate) fn number_end(json: &[u8], at: usize) -> Option<usize> {
    // Most are one digit alone.
    let is_digit_alone = json.get(at).is_some_and(u8::is_ascii_digit)
        && json.get(at + 1).is_some_and(|next| matches!(next, b',' | b'}' | b']'));
    if is_digit_alone { Some(at + 1) } else { number(json, at).ok() }
}

/// The end of one digit or more.
fn digits(json: &[u8], start: usize) -> Result<usize, Error> {
    let mut at = start;
    // Eight at a time: timestamps have ten, embeddings seventeen.
    while let Some(chunk) = json.get(at..).and_then(<[u8]>::first_chunk) {
        let others = others(u64::from_le_bytes(*chunk) ^ (ONES * u64::from(b'0')));
        if others != 0 {
            at += others.trailing_zeros() as usize / 8;
            return if at == start { Err(unexpected(json, at)) } else { Ok(at) };
        }
        at += 8;
    }
    while json.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    if at == start { Err(unexpected(json, at)) } else { Ok(at) }
}

/// Whether `word` stands at `at`.
#[inline(always)]
pub(crate) fn is_word<const N: usize>(json: &[u8], at: usize, word: &[u8; N]) -> bool {
    json.get(at..).and_then(<[u8]>::first_chunk) == Some(word)
}

/// Whether white space stands at `at`, or nothing.
#[inline]
pub(crate) fn is_space_or_end(json: &[u8], at: usize) -> bool {
    matches!(json.get(at), None | Some(b' ' | b'\n' | b'\r' | b'\t'))
}

/// The end of `word` (`true`, `false`, `null`), which starts at `at`.
#[inline]
pub(crate) fn literal(json: &[u8], at: usize, word: &[u8]) -> Result<usize, Error> {
    if json.get(at..).is_some_and(|rest| rest.starts_with(word)) {
        return Ok(at + word.len());
    }
    for (offset, expected) in word.iter().enumerate() {
        if json.get(at + offset) != Some(expected) {
            return Err(unexpected(json, at + offset));
        }
    }
    Ok(at + word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte value at every place of a run: the word-wise search stops where a plain search does.
    #[test]
    fn a_run_ends_where_a_plain_search_says() {
        for length in [1, 7, 8, 9, 17] {
            for place in 0..length {
                for first in 0..=255u8 {
                    for second in [b'a', b'"', b'\\', 0x1f, 0x20, 0x7f, 0x80, 0xff] {
                        let mut text = vec![b'x'; length];
                        text[place] = first;
                        if place + 1 < length {
                            text[place + 1] = second;
                        }
                        let expected = text
                            .iter()
                            .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
                            .unwrap_or(length);
                        assert_eq!(plain_run(&text, 0), expected, "{text:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_end_where_the_grammar_says() {
        fn check(text: &str, expected: Result<usize, u64>) {
            let got = number(text.as_bytes(), 0).map_err(|error| error.offset());
            assert_eq!(got, expected, "{text}");
        }
        check("0", Ok(1));
        check("-0,", Ok(2));
        check("01", Ok(1));
        check("12.50e+3]", Ok(8));
        check("1E9", Ok(3));
        check(&"9".repeat(1000), Ok(1000));
        check("", Err(0));
        check("-", Err(1));
        check("+1", Err(0));
        check(".5", Err(0));
        check("1.", Err(2));
        check("1e", Err(2));
        check("1e-x", Err(3));
    }

    /// All texts of five of the bytes that matter, with digits or what ends them behind.
    #[test]
    fn a_short_number_is_one() {
        const BYTES: &[u8; 12] = b"019.eE-, }]a";
        for behind in [*b"123", *b"1,2", *b"}\n\n"] {
            for sequence in 0..BYTES.len().pow(5) {
                let at = |place: u32| BYTES[sequence / BYTES.len().pow(place) % BYTES.len()];
                let [a, b, c] = behind;
                let chunk = [at(0), at(1), at(2), at(3), at(4), a, b, c];
                let end = number(&chunk, 0).ok().filter(|end| {
                    chunk[..*end].iter().all(u8::is_ascii_digit)
                        && chunk.get(*end).is_some_and(|next| b",}]".contains(next))
                });
                assert_eq!(short_number(&chunk), end, "{:?}", str::from_utf8(&chunk));
            }
        }
    }
}
