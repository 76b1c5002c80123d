//! A text with holes: the literal parts must be equal byte for byte, the holes hold any JSON string or number, or spaces.
//!
//! This is what makes prediction sound. The text that a pattern was made from has passed the full validation; a text that
//! matches has the same bytes outside the holes and a valid string or number in each, or spaces where white space may be, so it is valid too, has the same
//! members in the same places, and its values are found by adding up how much longer or shorter the holes became. A
//! pattern knows nothing of where it came from, nor who tries it.

use std::ops::Range;

use crate::found::Hits;
use crate::vector;

/// Literal parts and holes, and where the wanted values are among them.
#[derive(Default)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    pub(crate) holes: Vec<Hole>,
    /// Places in `text`, each with the number of holes before it.
    pub(crate) hits: Hits,
}

/// A stretch of the text that may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) content: Content,
}

/// What may be in a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// What is between the quotes of a string.
    Text,
    Number,
    /// Spaces, or none, before the document's last bracket: Anthropic pads its events there, each by another number of them.
    Spaces,
}

/// What a matched text differs by after each of the holes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shift {
    /// To be added to a place in the pattern's text, wrapping: it may be negative.
    pub(crate) by: usize,
    /// The string in the hole has escapes.
    pub(crate) escaped: bool,
}

impl Pattern {
    /// What matches at the front of `input`, of the part of the text that is `within`, which has all holes; see
    /// [`vector::match_front`].
    #[inline(always)] // on the way of every event
    pub(crate) fn match_front<'i>(
        &self,
        within: Range<usize>,
        input: &'i [u8],
        shifts: &mut Vec<Shift>,
    ) -> Option<&'i str> {
        vector::match_front(self, within, input, shifts)
    }

    /// Where the hole is in a text that matched.
    pub(crate) fn hole_at(&self, hole: usize, shifts: &[Shift]) -> Option<(usize, usize)> {
        let Hole { start, end, .. } = *self.holes.get(hole)?;
        let start = start.wrapping_add(shifts.get(hole)?.by);
        Some((start, end.wrapping_add(shifts.get(hole + 1)?.by)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern() -> Pattern {
        let hole = |start, end, content| Hole { start, end, content };
        Pattern {
            text: r#"{"a":"xy","n":12,"b":""}"#.to_owned(),
            holes: vec![
                hole(6, 8, Content::Text),
                hole(14, 16, Content::Number),
                hole(22, 22, Content::Text),
                hole(23, 23, Content::Spaces),
            ],
            ..Pattern::default()
        }
    }

    #[track_caller]
    fn check(input: &str, expected: Option<usize>) {
        let mut shifts = Vec::new();
        let pattern = pattern();
        let matched = pattern.match_front(0..pattern.text.len(), input.as_bytes(), &mut shifts);
        assert_eq!(matched, expected.and_then(|end| input.get(..end)), "{input}");
        if let Some(end) = expected {
            assert_eq!(end, pattern.text.len().wrapping_add(shifts[4].by));
        }
        for end in 0..expected.unwrap_or(0) {
            assert_eq!(
                pattern.match_front(0..24, &input.as_bytes()[..end], &mut shifts),
                None,
                "{input}, {end}"
            );
        }
    }

    #[test]
    fn holes_hold_any_string_or_number_and_nothing_else() {
        check(r#"{"a":"xy","n":12,"b":""}"#, Some(24));
        check(r#"{"a":"","n":-1.5e3,"b":"z"}"#, Some(27));
        check(r#"{"a":"\"","n":0,"b":"é"}, more"#, Some(25));
        check(r#"{"a":"\x","n":0,"b":""}"#, None);
        check(r#"{"a":"","n":01,"b":""}"#, None);
        check(r#"{"a":"","n":"1","b":""}"#, None);
        check(r#"{"a":"","m":1,"b":""}"#, None);
        check("{\"a\":\"\n\",\"n\":1,\"b\":\"\"}", None);
        check(r#"{"a":"","n":1,"b":""   }"#, Some(24));
        check(r#"{"a":"","n":1 ,"b":""}"#, None);
        check("{\"a\":\"\",\"n\":1,\"b\":\"\"\t}", None);
    }
}
