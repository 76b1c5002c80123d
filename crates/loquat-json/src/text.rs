//! String values: borrowed when they stand for themselves, decoded into the caller's buffer when they have escapes.
//!
//! A JSON string may hold half of a surrogate pair, which no Rust string can. One that is alone is an error or U+FFFD, as
//! the caller chooses; one whose other half comes with the next delta is put together by [`SplitPair`].

use std::fmt;
use std::ops::Range;

use crate::error::{Error, ErrorKind};
use crate::escape::{self, Piece, pieces};
use crate::vector;

/// A string value, not yet unescaped. `Debug` shows its length, not its content.
///
/// ```
/// use loquat_json::{Extractor, Fields};
///
/// let mut extractor = Extractor::new(Fields::compile(&["/plain", "/escaped"])?);
/// let found = extractor.extract(br#"{"plain":"a b","escaped":"a\tb"}"#)?;
/// let [plain, escaped] = [0, 1].map(|field| found.get(field).and_then(|value| value.as_str()).unwrap());
/// assert_eq!(plain.borrowed(), Some("a b"));
/// assert_eq!(escaped.borrowed(), None);
/// assert_eq!(escaped.decode(&mut String::new())?, "a\tb");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Str<'e> {
    raw: &'e str,
    escapes: Escapes,
    /// What it was found in, and where its opening quote is there.
    document: &'e str,
    at: usize,
}

/// As wide as a word, because a string is copied often, and faster without gaps.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Escapes {
    None,
    Some,
}

impl<'e> Str<'e> {
    /// The string whose quotes are the first and the last byte of that part of the document.
    #[inline]
    pub(crate) fn new(document: &'e str, start: usize, end: usize, escaped: bool) -> Self {
        let raw = document.get(start + 1..end.wrapping_sub(1)).unwrap_or_default();
        let escapes = if escaped { Escapes::Some } else { Escapes::None };
        Self { raw, escapes, document, at: start }
    }

    /// A part of a string, a quote or another part before it.
    #[inline]
    pub(crate) fn part(document: &'e str, part: Range<usize>, escaped: bool) -> Self {
        Self::new(document, part.start.wrapping_sub(1), part.end + 1, escaped)
    }

    pub(crate) fn quoted(&self) -> &'e str {
        self.document.get(self.at..self.at + self.raw.len() + 2).unwrap_or_default()
    }

    /// The text between the quotes as it was written, escapes and all.
    #[inline]
    pub fn raw(&self) -> &'e str {
        self.raw
    }

    /// True for `""`.
    pub fn is_empty(&self) -> bool {
        self.raw().is_empty()
    }

    /// The string itself, when it has no escapes. Costs nothing.
    #[inline]
    pub fn borrowed(&self) -> Option<&'e str> {
        (self.escapes == Escapes::None).then_some(self.raw)
    }

    /// The string, unescaped into `scratch` if need be. `scratch` is cleared first in that case and not touched otherwise;
    /// reused, it stops allocating.
    ///
    /// # Errors
    ///
    /// [`LoneSurrogate`](ErrorKind::LoneSurrogate).
    #[inline]
    pub fn decode<'s>(&self, scratch: &'s mut String) -> Result<&'s str, Error>
    where
        'e: 's,
    {
        if let Some(text) = self.borrowed() {
            return Ok(text);
        }
        scratch.clear();
        self.append_to(scratch)?;
        Ok(scratch)
    }

    /// Appends the string, unescaped.
    ///
    /// # Errors
    ///
    /// [`LoneSurrogate`](ErrorKind::LoneSurrogate); `out` is then as it was.
    pub fn append_to(&self, out: &mut String) -> Result<(), Error> {
        let before = out.len();
        for piece in pieces(self.raw()) {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Char(character) => out.push(character),
                Piece::Lone { at, .. } => {
                    out.truncate(before);
                    return Err(Error::new(ErrorKind::LoneSurrogate, self.at + 1 + at));
                }
            }
        }
        Ok(())
    }

    /// Appends the string if it has no escapes, and says whether: in less time than `push_str` of what [`borrowed`](Self::borrowed)
    /// gives, for the short texts that streams are made of.
    #[inline]
    pub fn append_borrowed_to(&self, out: &mut String) -> bool {
        if self.escapes == Escapes::None {
            vector::push_part(out, self.raw, self.document, self.at + 1);
        }
        self.escapes == Escapes::None
    }

    /// [`decode`](Self::decode) with U+FFFD for each lone surrogate.
    #[inline]
    pub fn decode_lossy<'s>(&self, scratch: &'s mut String) -> &'s str
    where
        'e: 's,
    {
        if let Some(text) = self.borrowed() {
            return text;
        }
        scratch.clear();
        self.append_lossy_to(scratch);
        scratch
    }

    /// [`append_to`](Self::append_to) with U+FFFD for each lone surrogate.
    #[inline(never)] // the way of few, kept out of that of many
    pub fn append_lossy_to(&self, out: &mut String) {
        let mut pair = SplitPair::default();
        self.append_joined_to(out, &mut pair);
        pair.finish(out);
    }

    /// [`append_lossy_to`](Self::append_lossy_to), except that half of a pair at the very end is kept in `pair` and joined
    /// with the other half if the next string starts with it: for text that comes in deltas.
    pub fn append_joined_to(&self, out: &mut String, pair: &mut SplitPair) {
        let raw = self.raw();
        let raw = if pair.is_waiting() { raw } else { escape::append_before_codes(raw, out) };
        if raw.is_empty() {
            return;
        }
        let end = raw.len();
        for piece in pieces(raw) {
            // Set at most once, before the first piece: half a pair is only ever kept at the end of a string.
            if let Some(high) = pair.high.take() {
                let joined = match piece {
                    Piece::Lone { unit, .. } => escape::join(high, unit),
                    _ => None,
                };
                out.push(joined.unwrap_or(char::REPLACEMENT_CHARACTER));
                if joined.is_some() {
                    continue;
                }
            }
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Char(character) => out.push(character),
                Piece::Lone { unit, at } if is_high(unit) && at + escape::UNICODE_ESCAPE_BYTES == end => {
                    pair.high = Some(unit);
                }
                Piece::Lone { .. } => out.push(char::REPLACEMENT_CHARACTER),
            }
        }
    }
}

impl fmt::Debug for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Str({} bytes)", self.raw().len())
    }
}

/// Half of a surrogate pair that a delta ended with, waiting for the delta that brings the other half.
///
/// Servers that cut text by UTF-16 code units send an emoji as `"\ud83d"` and then `"\ude00"`. One of these per text
/// (per choice, per tool call), from its first delta to its last:
///
/// ```
/// use loquat_json::{Extractor, Fields, SplitPair};
///
/// let mut extractor = Extractor::new(Fields::compile(&["/text"])?);
/// let (mut text, mut pair) = (String::new(), SplitPair::default());
/// for delta in [r#"{"text":"hi \ud83d"}"#, r#"{"text":""}"#, r#"{"text":"\ude00"}"#] {
///     let found = extractor.extract_str(delta)?;
///     if let Some(delta) = found.str(0) {
///         delta.append_joined_to(&mut text, &mut pair);
///     }
/// }
/// pair.finish(&mut text);
/// assert_eq!(text, "hi 😀");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SplitPair {
    high: Option<u16>,
}

impl SplitPair {
    /// True while half a pair is kept.
    pub fn is_waiting(&self) -> bool {
        self.high.is_some()
    }

    /// The text is over: what still waits is U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        out.extend(self.high.take().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `deltas` are written between quotes; what they make together.
    fn check(deltas: &[&str], expected: &str) {
        let (mut text, mut pair) = (String::new(), SplitPair::default());
        for delta in deltas {
            let quoted = format!("\"{delta}\"");
            Str::new(&quoted, 0, quoted.len(), delta.contains('\\')).append_joined_to(&mut text, &mut pair);
        }
        pair.finish(&mut text);
        assert_eq!(text, expected, "{deltas:?}");
    }

    #[test]
    fn a_pair_survives_the_border_between_two_deltas() {
        check(&[r"a\ud83d", r"\ude00b"], "a😀b");
        check(&[r"\ud83d", "", r"\uDE00"], "😀");
        check(&[r"\ud83d\ude00", r"\ud83d\ude00"], "😀😀");
        check(&[r"\ud83d"], "\u{fffd}");
        check(&[r"\ud83d", "x"], "\u{fffd}x");
        check(&[r"\ud83d", r"\n"], "\u{fffd}\n");
        check(&[r"\ud83d", r"\ud83d", r"\ude00"], "\u{fffd}😀");
        check(&[r"\ud83d", r"\ud83d\ude00"], "\u{fffd}😀");
        check(&[r"\ude00", r"\ude00"], "\u{fffd}\u{fffd}");
        check(&[r"\ud83dx", r"\ude00"], "\u{fffd}x\u{fffd}");
        check(&[r"\ud83d\\ude00"], "\u{fffd}\\ude00");
    }

    /// Of every length around a vector's, at every distance from the document's end, into buffers with and without room.
    #[test]
    fn a_borrowed_text_is_appended_as_it_is() {
        for length in (0..70).step_by(if cfg!(miri) { 11 } else { 1 }) {
            for behind in [0, 1, 29, 30, 31, 32, 33] {
                for character in ["a", "é", "枇"] {
                    let text = character.repeat(length);
                    let document = format!("{{\"n\":\"{text}\"{}", " ".repeat(behind));
                    let string = Str::new(&document, 5, 7 + text.len(), false);
                    for mut out in [String::new(), "é".to_owned(), String::with_capacity(40)] {
                        let expected = format!("{out}{text}");
                        assert!(string.append_borrowed_to(&mut out));
                        assert_eq!(out, expected);
                    }
                    let escaped = Str::new(&document, 5, 7 + text.len(), true);
                    let mut out = "x".to_owned();
                    assert!(!escaped.append_borrowed_to(&mut out));
                    assert_eq!(out, "x");
                }
            }
        }
    }

    #[test]
    fn escapes_mean_what_the_rfc_says() {
        check(&[r#"\"\\\/\b\f\n\r\t\u00e9\u4e2d"#], "\"\\/\u{8}\u{c}\n\r\té中");
    }

    #[test]
    fn a_lone_surrogate_is_an_error_and_leaves_the_output_alone() {
        let text = Str::new(r#"{"name" : "ab\ud800c"}"#, 10, 21, true);
        let mut out = String::from("before");
        let error = text.append_to(&mut out).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::LoneSurrogate, 13));
        assert_eq!(out, "before");
        assert_eq!(text.decode_lossy(&mut out), "ab\u{fffd}c");
    }
}
