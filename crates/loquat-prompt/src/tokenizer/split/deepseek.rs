//! DeepSeek's pattern, which is three in a row: each cuts the pieces of the one before.
//!
//! First numbers of up to three digits, then runs of Chinese and Japanese characters, then words, marks and white space by a
//! pattern of the common family. What the last one does not match stays together as one piece, and the end of a piece is the
//! end of the text to it: so white space before a number is one word, and not one and its last character. Source: the
//! `pre_tokenizer` of DeepSeek V3's `tokenizer.json`.

use super::class::{Class, class_at};

/// The three, in their order.
pub(crate) const REGEXES: [&str; 3] = [
    r"\p{N}{1,3}",
    "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
    concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^"##,
        "\r\n",
        r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[",
        "\r\n",
        r"]*|\s*[",
        "\r\n",
        r"]+|\s+(?!\S)|\s+",
    ),
];

/// The end of the word that begins at `at`; `text` is the bytes of a `str` and `at` the beginning of a character in it.
pub(crate) fn next(text: &[u8], at: usize) -> usize {
    if class_at(text, at).0 == Class::Number {
        let mut end = at;
        for _ in 0..3 {
            match class_at(text, end) {
                (Class::Number, length) => end += length,
                _ => break,
            }
        }
        return end;
    }
    let piece = Piece { text, is_east: is_east(text, at) };
    if let Some(end) = piece.word(at) {
        return end;
    }
    // Up to where something matches again.
    let mut end = at + class_at(text, at).1.max(1);
    while let (Class::Other, length @ 1..) = piece.class(end) {
        if matches!(piece.class(end + length).0, Class::Upper | Class::Lower | Class::Letter | Class::Mark) {
            break;
        }
        end += length;
    }
    end
}

/// Whether a character of the second pattern is at `at`: U+3040 to U+30FF, U+4E00 to U+9FA5.
fn is_east(text: &[u8], at: usize) -> bool {
    match text.get(at..).and_then(<[u8]>::first_chunk::<3>) {
        Some([0xE3, 0x81..=0x83, _] | [0xE4, 0xB8..=0xFF, _] | [0xE5..=0xE8, ..]) => true,
        Some([0xE9, second, third]) => (*second, *third) <= (0xBE, 0xA5),
        _ => false,
    }
}

/// A piece that the first two patterns leave, of whichever kind.
struct Piece<'t> {
    text: &'t [u8],
    is_east: bool,
}

impl Piece<'_> {
    /// As [`class_at`]: where the piece ends, the text does.
    fn class(&self, at: usize) -> (Class, usize) {
        let found = class_at(self.text, at);
        let is_end = found.0 == Class::Number || is_east(self.text, at) != self.is_east;
        if is_end { (Class::Other, 0) } else { found }
    }

    /// The third pattern at `at`.
    fn word(&self, at: usize) -> Option<usize> {
        let (first, length) = self.class(at);
        let letters = match first {
            Class::Upper | Class::Lower | Class::Letter | Class::Mark => at,
            Class::Other | Class::Space => at + length,
            Class::Symbol if self.text.get(at).is_some_and(u8::is_ascii_punctuation) => {
                let letters = self.text.get(at + 1..).unwrap_or_default();
                let count = letters.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
                if count > 0 {
                    return Some(at + 1 + count);
                }
                at
            }
            Class::Symbol | Class::Number | Class::Newline => at,
        };
        let end = self.letters(letters);
        if end > letters {
            return Some(end);
        }
        let symbols = if self.text.get(at) == Some(&b' ') { at + 1 } else { at };
        let mut end = symbols;
        while let (Class::Symbol, length) = self.class(end) {
            end += length;
        }
        if end > symbols {
            while let (Class::Newline, length) = self.class(end) {
                end += length;
            }
            return Some(end);
        }
        self.space(at)
    }

    fn letters(&self, mut at: usize) -> usize {
        while let (Class::Upper | Class::Lower | Class::Letter | Class::Mark, length) = self.class(at) {
            at += length;
        }
        at
    }

    fn space(&self, start: usize) -> Option<usize> {
        let (mut at, mut last, mut line_end) = (start, start, None);
        while let (class @ (Class::Space | Class::Newline), length) = self.class(at) {
            last = at;
            at += length;
            if class == Class::Newline {
                line_end = Some(at);
            }
        }
        let is_whole = last == start || self.class(at).1 == 0;
        line_end.or((at > start).then_some(if is_whole { at } else { last }))
    }
}
