//! [`Rendered`]: a text of a template's, and who wrote which part of it.

use std::fmt;

use crate::tokenizer::Piece;

/// A rendered text that knows who wrote which part of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    pub(super) text: String,
    /// Where each piece ends, ascending, and whether it is the template's.
    pub(super) pieces: Vec<(usize, bool)>,
}

impl Rendered {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text alone.
    pub fn into_text(self) -> String {
        self.text
    }

    /// The text for [`Tokenizer::encode_prompt`](crate::Tokenizer::encode_prompt): control tokens in it are the template's.
    pub fn pieces(&self) -> Vec<Piece<'_>> {
        let mut from = 0;
        let piece = |(to, is_markup): &(usize, bool)| {
            let part = self.text.get(from..*to).unwrap_or_default();
            from = *to;
            if *is_markup { Piece::Markup(part) } else { Piece::Text(part) }
        };
        self.pieces.iter().map(piece).collect()
    }

    /// What was written since the last piece is one.
    pub(super) fn end_piece(&mut self, is_markup: bool) {
        let from = self.pieces.last().map_or(0, |(end, _)| *end);
        if self.text.len() > from {
            self.pieces.push((self.text.len(), is_markup));
        }
    }
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rendered({} bytes, {} pieces)", self.text.len(), self.pieces.len())
    }
}
