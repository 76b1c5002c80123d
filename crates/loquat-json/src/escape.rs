//! What the escapes of a JSON string stand for (RFC 8259 §7). The string has been scanned: every escape is well-formed,
//! only its meaning may be half a character.

use memchr::memchr;

/// A stretch of a string.
pub(crate) enum Piece<'e> {
    /// Characters that stand for themselves; never empty.
    Text(&'e str),
    /// One escaped character, a pair of surrogates included.
    Char(char),
    /// Half of a pair without the other.
    Lone {
        /// The UTF-16 code unit, 0xD800 to 0xDFFF.
        unit: u16,
        /// Where its escape starts in the string.
        at: usize,
    },
}

/// The pieces of the text between the quotes.
#[derive(Clone)]
pub(crate) struct Pieces<'e> {
    raw: &'e str,
    at: usize,
}

/// Length of `\uXXXX`.
pub(crate) const UNICODE_ESCAPE_BYTES: usize = 6;

/// Whether an escape is the first half of a surrogate pair, U+D800 to U+DBFF.
pub(crate) fn is_high_half(escape: &[u8]) -> bool {
    matches!(escape, [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'A' | b'b' | b'B', ..])
}

pub(crate) fn pieces(raw: &str) -> Pieces<'_> {
    Pieces { raw, at: 0 }
}

impl<'e> Iterator for Pieces<'e> {
    type Item = Piece<'e>;

    fn next(&mut self) -> Option<Piece<'e>> {
        let start = self.at;
        let rest = self.raw.get(start..)?;
        let Some(escape) = rest.strip_prefix('\\') else {
            let length = plain_length(rest.as_bytes());
            self.at += length;
            return rest.get(..length).filter(|text| !text.is_empty()).map(Piece::Text);
        };
        self.at += 2;
        match letter(*escape.as_bytes().first()?) {
            Some(character) => Some(Piece::Char(character)),
            None => self.unicode(start),
        }
    }
}

/// What an escape of one letter stands for; `None` for the one by code.
#[inline]
fn letter(letter: u8) -> Option<char> {
    Some(match letter {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return None,
        itself => char::from(itself),
    })
}

/// Appends what the text between the quotes stands for up to the first escape by code, which is where the rest that is returned begins:
/// what most deltas are, in fewer steps than by their pieces.
#[inline]
pub(crate) fn append_before_codes<'e>(mut raw: &'e str, out: &mut String) -> &'e str {
    while !raw.is_empty() {
        let length = plain_length(raw.as_bytes());
        let (text, rest) = raw.split_at_checked(length).unwrap_or((raw, ""));
        if !text.is_empty() {
            out.push_str(text);
        }
        let Some(character) = rest.as_bytes().get(1).and_then(|byte| letter(*byte)) else { return rest };
        out.push(character);
        raw = rest.get(2..).unwrap_or_default();
    }
    raw
}

/// Up to the next escape. A delta is too short for a call to pay.
fn plain_length(rest: &[u8]) -> usize {
    let (near, far) = rest.split_at(rest.len().min(16));
    let position = near.iter().position(|byte| *byte == b'\\');
    match position {
        Some(position) => position,
        None if far.is_empty() => near.len(),
        None => near.len() + memchr(b'\\', far).unwrap_or(far.len()),
    }
}

impl<'e> Pieces<'e> {
    fn unicode(&mut self, start: usize) -> Option<Piece<'e>> {
        let unit = unit_at(self.raw.as_bytes(), start)?;
        self.at = start + UNICODE_ESCAPE_BYTES;
        if let Some(character) = char::from_u32(u32::from(unit)) {
            return Some(Piece::Char(character));
        }
        let pair = unit_at(self.raw.as_bytes(), self.at).and_then(|low| join(unit, low));
        match pair {
            Some(character) => {
                self.at += UNICODE_ESCAPE_BYTES;
                Some(Piece::Char(character))
            }
            None => Some(Piece::Lone { unit, at: start }),
        }
    }
}

/// The character of a surrogate and the unit after it, if they are a high and a low one.
pub(crate) fn join(surrogate: u16, next: u16) -> Option<char> {
    char::decode_utf16([surrogate, next]).next()?.ok()
}

/// The code unit of the `\uXXXX` that starts at `at`, if one does.
pub(crate) fn unit_at(raw: &[u8], at: usize) -> Option<u16> {
    let digits = raw.get(at..at + UNICODE_ESCAPE_BYTES)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Whether a string written with escapes is `name`, without decoding it anywhere.
pub(crate) fn equals(raw: &str, name: &str) -> bool {
    let mut rest = name;
    for piece in pieces(raw) {
        let after = match piece {
            Piece::Text(text) => rest.strip_prefix(text),
            Piece::Char(character) => rest.strip_prefix(character),
            Piece::Lone { .. } => None,
        };
        match after {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}
