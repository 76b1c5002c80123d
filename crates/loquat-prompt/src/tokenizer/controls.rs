//! [`Controls`]: a vocabulary's control tokens, as they are written, and where a text writes one.
//!
//! One pass over a text for all of them together (Aho and Corasick, 1975): a user's text may write thousands, and looking for one
//! kind after the other from each of them on takes time square to that.

use std::{fmt, ops::Range};

use aho_corasick::{AhoCorasick, MatchKind};
use loquat_core::{Error, ErrorKind, Result};

/// A vocabulary's control tokens.
#[derive(Clone)]
pub struct Controls {
    tokens: Vec<(String, u32)>,
    /// Finds all of `tokens`, by their places in it.
    finder: AhoCorasick,
    longest: usize,
}

impl Controls {
    /// These tokens, each with how it is written; those that are written as nothing are left out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for more than there is room for: some two billion bytes together.
    pub fn try_new(tokens: impl IntoIterator<Item = (String, u32)>) -> Result<Self> {
        let tokens: Vec<_> = tokens.into_iter().filter(|(written, _)| !written.is_empty()).collect();
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(tokens.iter().map(|(written, _)| written))
            .map_err(|cause| Error::new(ErrorKind::TooLarge, "too many control tokens").with_source(cause))?;
        let longest = tokens.iter().map(|(written, _)| written.len()).max().unwrap_or(0);
        Ok(Self { tokens, finder, longest })
    }

    /// The token that is written so.
    pub fn token(&self, written: &str) -> Option<u32> {
        self.tokens.iter().find(|(known, _)| known == written).map(|(_, token)| *token)
    }

    /// How a token is written, if it is one of these.
    pub fn written(&self, token: u32) -> Option<&str> {
        self.tokens.iter().find(|(_, known)| *known == token).map(|(written, _)| written.as_str())
    }

    /// Bytes of the longest one as it is written; 0 where there are none.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The first that is written out in `text`: where, and which. The longest of those that begin at one place.
    pub fn find(&self, text: &str) -> Option<(Range<usize>, u32)> {
        let found = self.finder.find(text)?;
        let (_, token) = self.tokens.get(found.pattern().as_usize())?;
        Some((found.range(), *token))
    }

    /// All of them, with how each is written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.tokens.iter().map(|(written, token)| (written.as_str(), *token))
    }
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Controls({})", self.tokens.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_found_and_of_those_the_longest() {
        let written = ["<a>", "<a><b>", "<b>", "a", ""];
        let controls =
            Controls::try_new((10..).zip(written).map(|(token, w)| (w.to_owned(), token))).unwrap();
        let check = |text: &str, expected: Option<(Range<usize>, u32)>| {
            assert_eq!(controls.find(text), expected, "{text:?}");
        };
        check("", None);
        check("漢字 <c>", None);
        check("漢<a>", Some((3..6, 10)));
        check("x<a><b>", Some((1..7, 11)));
        check("<a><a><b>", Some((0..3, 10)));
        check("<b><a><b>", Some((0..3, 12)));
        check("<a", Some((1..2, 13)));
        assert_eq!(controls.longest(), 6);
        assert_eq!((controls.token("<b>"), controls.token("")), (Some(12), None));
        assert_eq!((controls.written(11), controls.written(14)), (Some("<a><b>"), None));
    }
}
