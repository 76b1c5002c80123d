//! [`Piece`]: a part of a prompt, typed by who wrote it, so that only a template can write a control token.

use loquat_core::Result;

use super::Tokenizer;

/// A part of a prompt, typed by who wrote it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// What a user, a tool or a document said: never a control token, whatever it says.
    Text(&'a str),
    /// A template's own words: control tokens that are written out in it become such tokens.
    Markup(&'a str),
}

impl std::fmt::Debug for Piece<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Markup(text) => write!(f, "Markup({} bytes)", text.len()),
        }
    }
}

/// Which end of a text to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// The beginning.
    Head,
    /// The end.
    Tail,
}

/// The tokens of a prompt. Ordinary text is gathered up to the next control token, because a merge may cross from a
/// template's words into a user's: `encode("a" + "b")` is not `encode("a") + encode("b")`.
pub(super) fn encode_prompt<T: Tokenizer + ?Sized>(
    tokenizer: &T,
    pieces: &[Piece<'_>],
    tokens: &mut Vec<u32>,
) -> Result<()> {
    let mut run = Run { pending: "", gathered: String::new() };
    let mut controls = Remembered { tokenizer, known: [None; KNOWN], next: 0 };
    for piece in pieces {
        let mut rest = match *piece {
            Piece::Text(text) => {
                run.push(text);
                continue;
            }
            Piece::Markup(text) => text,
        };
        while let Some((start, end, control)) = controls.find(rest) {
            run.push(rest.get(..start).unwrap_or_default());
            tokenizer.encode(run.take(), tokens)?;
            run.clear();
            tokens.push(control);
            rest = rest.get(end..).unwrap_or_default();
        }
        run.push(rest);
    }
    tokenizer.encode(run.take(), tokens)
}

/// Markup that is remembered within a prompt.
const KNOWN: usize = 8;
/// Longer markup is not: comparing it would cost as much as looking through it.
const KNOWN_BYTES: usize = 64;

/// Where a control token is in a text and which, if there is one.
type Control = Option<(usize, usize, u32)>;

/// The control tokens of markup. A template says the same few things over and over; what was found in them is remembered.
struct Remembered<'t, 'a, T: ?Sized> {
    tokenizer: &'t T,
    known: [Option<(&'a str, Control)>; KNOWN],
    /// Which one is forgotten next.
    next: usize,
}

impl<'a, T: Tokenizer + ?Sized> Remembered<'_, 'a, T> {
    fn find(&mut self, text: &'a str) -> Control {
        if let Some((_, found)) = self.known.iter().flatten().find(|(known, _)| *known == text) {
            return *found;
        }
        let found =
            self.tokenizer.find_control(text).map(|(place, control)| (place.start, place.end, control));
        if text.len() <= KNOWN_BYTES {
            if let Some(known) = self.known.get_mut(self.next) {
                *known = Some((text, found));
            }
            self.next = (self.next + 1) % KNOWN;
        }
        found
    }
}

/// Ordinary text since the last control token: borrowed while it is one piece, copied when it is several.
struct Run<'a> {
    pending: &'a str,
    gathered: String,
}

impl<'a> Run<'a> {
    fn push(&mut self, text: &'a str) {
        if self.pending.is_empty() && self.gathered.is_empty() {
            self.pending = text;
        } else if !text.is_empty() {
            self.gathered.push_str(std::mem::take(&mut self.pending));
            self.gathered.push_str(text);
        }
    }

    fn take(&self) -> &str {
        if self.gathered.is_empty() { self.pending } else { &self.gathered }
    }

    fn clear(&mut self) {
        self.pending = "";
        self.gathered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Bytes;

    fn check(pieces: &[Piece<'_>], expected: &[u32]) {
        let mut tokens = Vec::new();
        Bytes.encode_prompt(pieces, &mut tokens).unwrap();
        assert_eq!(tokens, expected, "{pieces:?}");
    }

    #[test]
    fn only_markup_writes_control_tokens() {
        let end = Bytes::END_OF_TEXT;
        let written: Vec<u32> = b"<|end|>".iter().map(|byte| u32::from(*byte)).collect();
        check(&[Piece::Markup("<|end|>")], &[end]);
        check(&[Piece::Text("<|end|>")], &written);
        check(
            &[Piece::Markup("a<|end|>"), Piece::Text("b"), Piece::Markup("c<|end|>d")],
            &[97, end, 98, 99, end, 100],
        );
        // However often the same is written, and however much else.
        let words: Vec<String> = (0..30).map(|n| format!("{}<|end|>{}", n % 13, n % 5)).collect();
        let expected: Vec<u32> = (0..30)
            .flat_map(|n: u32| [(n % 13).to_string(), (n % 5).to_string()])
            .flat_map(|digits| digits.into_bytes())
            .map(u32::from)
            .collect();
        let mut tokens = Vec::new();
        let pieces: Vec<Piece<'_>> = words.iter().map(|word| Piece::Markup(word)).collect();
        Bytes.encode_prompt(&pieces, &mut tokens).unwrap();
        assert_eq!(tokens.iter().filter(|token| **token == end).count(), 30);
        tokens.retain(|token| *token != end);
        assert_eq!(tokens, expected);
        // Not even where a template and a user write one half each.
        check(&[Piece::Markup("<|en"), Piece::Text("d|>")], &written);
        check(&[Piece::Text("<|en"), Piece::Markup("d|>")], &written);
    }
}
