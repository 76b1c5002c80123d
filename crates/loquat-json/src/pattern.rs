//! A text with holes: the literal parts must be equal byte for byte, the holes hold any JSON string or number.
//!
//! This is what makes prediction sound. The text that a pattern was made from has passed the full validation; a text that
//! matches has the same bytes outside the holes and a valid string or number in each, so it is valid too, has the same
//! members in the same places, and its values are found by adding up how much longer or shorter the holes became. A
//! pattern knows nothing of where it came from, nor who tries it.

use crate::found::{Hit, Kind};
use crate::scan;

/// Literal parts and holes, and where the wanted values are among them.
#[derive(Default)]
pub(crate) struct Pattern {
    pub(crate) text: Vec<u8>,
    pub(crate) holes: Vec<Hole>,
    /// Places in `text`, each with the number of holes before it.
    pub(crate) hits: Vec<Hit>,
    /// By field: one more than the index of its last hit, or 0.
    pub(crate) last: Vec<u32>,
}

/// A stretch of the text that may differ: what is between the quotes of a string, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) number: bool,
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
    /// Where the match ends that starts at the front of `input`. `shifts` is then one longer than there are holes, the first
    /// being that of the text before all of them; without a match its content is of no use.
    ///
    /// Looks at no byte beyond the match, but for the one that ends a number. Whether `input` is UTF-8 is the caller's
    /// concern; no hole ends inside a character.
    #[inline]
    pub(crate) fn match_front(&self, input: &[u8], shifts: &mut Vec<Shift>) -> Option<usize> {
        shifts.clear();
        shifts.reserve(self.holes.len() + 1);
        shifts.push(Shift::default());
        let (mut literal, mut at) = (0, 0);
        for hole in &self.holes {
            at = after_equal(self.text.get(literal..hole.start)?, input, at)?;
            let (end, escaped) = match hole.number {
                true => (scan::number(input, at).ok()?, false),
                false => {
                    let (end, escaped) = scan::string(input, at).ok()?;
                    (end - 1, escaped)
                }
            };
            shifts.push(Shift { by: end.wrapping_sub(hole.end), escaped });
            literal = hole.end;
            at = end;
        }
        after_equal(self.text.get(literal..)?, input, at)
    }

    /// Whether all of `input` matches. Looks at its end first, which tells most shapes of one stream apart at once: they begin
    /// alike.
    pub(crate) fn matches(&self, input: &[u8], shifts: &mut Vec<Shift>) -> bool {
        let tail = self.text.get(self.holes.last().map_or(0, |hole| hole.end)..).unwrap_or_default();
        input.ends_with(tail) && self.match_front(input, shifts) == Some(input.len())
    }

    /// Where the hole is in a text that matched.
    pub(crate) fn hole_at(&self, hole: usize, shifts: &[Shift]) -> Option<(usize, usize)> {
        let Hole { start, end, .. } = *self.holes.get(hole)?;
        let start = start.wrapping_add(shifts.get(hole)?.by);
        Some((start, end.wrapping_add(shifts.get(hole + 1)?.by)))
    }

    /// Notes which hit is the last of each field.
    pub(crate) fn index(&mut self, fields: usize) {
        self.last.clear();
        self.last.resize(fields, 0);
        index_hits(&self.hits, &mut self.last);
    }
}

/// Notes which hit is the last of each field. `last` has one 0 for each field.
pub(crate) fn index_hits(hits: &[Hit], last: &mut [u32]) {
    for (position, hit) in (1..).zip(hits) {
        if let (Some(last), true) = (last.get_mut(hit.field as usize), hit.kind != Kind::Superseded) {
            *last = position;
        }
    }
}

/// The place in `input` after `literal`, if that stands at `at`.
#[inline]
fn after_equal(literal: &[u8], input: &[u8], at: usize) -> Option<usize> {
    let end = at.checked_add(literal.len())?;
    (input.get(at..end)? == literal).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern() -> Pattern {
        let hole = |start, end, number| Hole { start, end, number };
        Pattern {
            text: br#"{"a":"xy","n":12,"b":""}"#.to_vec(),
            holes: vec![hole(6, 8, false), hole(14, 16, true), hole(22, 22, false)],
            ..Pattern::default()
        }
    }

    #[track_caller]
    fn check(input: &str, expected: Option<usize>) {
        let mut shifts = Vec::new();
        let pattern = pattern();
        assert_eq!(pattern.match_front(input.as_bytes(), &mut shifts), expected, "{input}");
        if let Some(end) = expected {
            assert_eq!(end, pattern.text.len().wrapping_add(shifts[3].by));
        }
        for end in 0..expected.unwrap_or(0) {
            assert_eq!(pattern.match_front(&input.as_bytes()[..end], &mut shifts), None, "{input}, {end}");
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
        check(r#"{"a":"","n":1,"b":"" }"#, None);
    }
}
