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
    for piece in pieces {
        let mut rest = match *piece {
            Piece::Text(text) => {
                run.push(text);
                continue;
            }
            Piece::Markup(text) => text,
        };
        while let Some((place, control)) = tokenizer.find_control(rest) {
            run.push(rest.get(..place.start).unwrap_or_default());
            tokenizer.encode(run.take(), tokens)?;
            run.clear();
            tokens.push(control);
            rest = rest.get(place.end..).unwrap_or_default();
        }
        run.push(rest);
    }
    tokenizer.encode(run.take(), tokens)
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
        // Not even where a template and a user write one half each.
        check(&[Piece::Markup("<|en"), Piece::Text("d|>")], &written);
        check(&[Piece::Text("<|en"), Piece::Markup("d|>")], &written);
    }
}
