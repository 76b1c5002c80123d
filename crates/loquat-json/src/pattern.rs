//! A text with holes: the literal parts must be equal byte for byte, the holes hold any JSON string or number, or spaces.
//!
//! This is what makes prediction sound. The text that a pattern was made from has passed the full validation; a text that
//! matches has the same bytes outside the holes and a valid string or number in each, or spaces where white space may be, so it is valid too, has the same
//! members in the same places, and its values are found by adding up how much longer or shorter the holes became. A
//! pattern knows nothing of where it came from, nor who tries it.
//!
//! The vector code relies on one thing that is kept here: no hole, nor the document, begins or ends inside a character.

use std::hint::black_box;
use std::ops::Range;

use crate::found::Hits;
use crate::vector;

/// Literal parts and holes, and where the wanted values are among them.
#[derive(Default)]
// What a comparison needs comes first, and of the hits what it needs.
#[repr(C)]
pub(crate) struct Pattern {
    text: String,
    /// In ascending order, apart from each other, inside the document, between characters.
    holes: Vec<Hole>,
    /// What of the text is the document: before and after it is its frame. Begins and ends between characters.
    document: Range<usize>,
    /// Places in `text`, each with the number of holes before it.
    pub(crate) hits: Hits,
}

/// What memory is moved by.
const LINE_BYTES: usize = 64;

/// Lines of a text that are asked for at once: those of most events. In a longer one the processor has seen by then where this goes.
const MOST_WARMED: usize = 8;

/// What of a pattern's text is kept for another one, in bytes: 99 of 100 recorded text events are shorter.
const MAX_KEPT_BYTES: usize = 2 * 1024;

/// What is written over it.
static BLANK: &str = match str::from_utf8(&[0; MAX_KEPT_BYTES]) {
    Ok(blank) => blank,
    Err(_) => "",
};

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    /// To be added to a place in the pattern's text, wrapping: it may be negative.
    pub(crate) by: usize,
    /// The string in the hole has escapes.
    pub(crate) escaped: bool,
}

impl Pattern {
    /// A document with holes, in no frame. `None` if the holes are none.
    pub(crate) fn new(document: String, holes: Vec<Hole>) -> Option<Self> {
        are_holes(&holes, &document).then(|| Self {
            document: 0..document.len(),
            text: document,
            holes,
            hits: Hits::default(),
        })
    }

    /// Becomes a document without holes, in a frame.
    pub(crate) fn frame(&mut self, before: &str, document: &str, after: &str) {
        self.holes.clear();
        self.document = before.len()..before.len() + document.len();
        self.text.clear();
        self.text.reserve(self.document.end + after.len());
        self.text.push_str(before);
        self.text.push_str(document);
        self.text.push_str(after);
    }

    /// Forgets what it held. Whether its memory is worth keeping for another one: it is not much. The memory of the text is full of
    /// zeros then, as far as it reaches, so that nothing of an event outlives its stream; of all else that is kept, places in it remain.
    pub(crate) fn empty(&mut self) -> bool {
        self.text.clear();
        self.holes.clear();
        self.document = 0..0;
        self.hits.clear();
        let Some(blank) = BLANK.get(..self.text.capacity()) else { return false };
        self.text.push_str(blank);
        self.hits.is_small()
    }

    /// See [`Extractor::warm`](crate::Extractor::warm).
    #[inline]
    pub(crate) fn warm(&self, field: usize) {
        for line in self.text.as_bytes().chunks(LINE_BYTES).take(MOST_WARMED) {
            black_box(line.first().copied());
        }
        black_box(self.holes.first().map(|hole| hole.start));
        self.hits.warm(field);
    }

    /// The frame's front, the document, the frame's end.
    #[inline]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    #[inline]
    pub(crate) fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// What of the text is the document.
    #[inline]
    pub(crate) fn document(&self) -> Range<usize> {
        self.document.clone()
    }

    /// The frame's front.
    pub(crate) fn before(&self) -> &str {
        self.text.get(..self.document.start).unwrap_or_default()
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.text.capacity() + self.holes.capacity() * size_of::<Hole>() + self.hits.bytes()
    }

    /// Looks at all of its text's memory, whatever was in it.
    #[cfg(test)]
    pub(crate) fn is_erased_and_small(&self) -> bool {
        let is_erased = self.text.len() == self.text.capacity() && self.text.bytes().all(|byte| byte == 0);
        is_erased && self.text.len() <= MAX_KEPT_BYTES && self.holes.is_empty() && self.hits.all.is_empty()
    }

    /// Puts another document into the frame, without holes.
    pub(crate) fn put(&mut self, document: &str) {
        self.holes.clear();
        replace(&mut self.text, self.document.clone(), document);
        self.document.end = self.document.start + document.len();
    }

    /// Makes holes at these places of the document.
    pub(crate) fn make_holes(&mut self, holes: impl Iterator<Item = Hole>) {
        self.holes.clear();
        self.holes.extend(holes);
        if !are_holes(&self.holes, self.text.get(self.document()).unwrap_or_default()) {
            self.holes.clear();
            debug_assert!(false, "no holes of this document");
        }
        self.shift_holes(self.document.start, 0);
    }

    /// Puts another frame around the document.
    pub(crate) fn put_into(&mut self, before: &str, after: &str) {
        let Range { start, end } = self.document();
        self.text.truncate(end);
        self.text.push_str(after);
        replace(&mut self.text, 0..start, before);
        self.shift_holes(before.len(), start);
        self.document = before.len()..end - start + before.len();
    }

    /// `by` to the right and `back` to the left.
    fn shift_holes(&mut self, by: usize, back: usize) {
        for hole in &mut self.holes {
            hole.start = hole.start - back + by;
            hole.end = hole.end - back + by;
        }
    }

    /// What matches the whole text at the front of `input`, and what of that is the document; see [`vector::match_event`].
    #[inline(always)] // on the way of every event
    pub(crate) fn match_event<'i>(
        &self,
        input: &'i [u8],
        shifts: &mut Vec<Shift>,
    ) -> Option<(&'i str, &'i str)> {
        vector::match_event(self, input, shifts)
    }

    /// What matches the document alone at the front of `input`.
    #[inline]
    pub(crate) fn match_document<'i>(&self, input: &'i [u8], shifts: &mut Vec<Shift>) -> Option<&'i str> {
        vector::match_document(self, input, shifts)
    }

    /// Where the hole is in a text that matched.
    pub(crate) fn hole_at(&self, hole: usize, shifts: &[Shift]) -> Option<(usize, usize)> {
        let Hole { start, end, .. } = *self.holes.get(hole)?;
        let start = start.wrapping_add(shifts.get(hole)?.by);
        Some((start, end.wrapping_add(shifts.get(hole + 1)?.by)))
    }
}

/// Whether these can be the holes of this document.
fn are_holes(holes: &[Hole], document: &str) -> bool {
    let mut taken = 0;
    holes.iter().all(|hole| {
        let is_apart = taken <= hole.start && hole.start <= hole.end;
        taken = hole.end;
        is_apart && document.is_char_boundary(hole.start) && document.is_char_boundary(hole.end)
    })
}

/// `String::replace_range`, which goes byte by byte, in whole stretches.
fn replace(text: &mut String, range: Range<usize>, new: &str) {
    if text.get(range.clone()) == Some(new) {
        return;
    }
    let mut replaced = String::with_capacity(text.len() - range.len() + new.len());
    replaced.push_str(text.get(..range.start).unwrap_or_default());
    replaced.push_str(new);
    replaced.push_str(text.get(range.end..).unwrap_or_default());
    *text = replaced;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern() -> Pattern {
        let hole = |start, end, content| Hole { start, end, content };
        let holes = vec![
            hole(6, 8, Content::Text),
            hole(14, 16, Content::Number),
            hole(22, 22, Content::Text),
            hole(23, 23, Content::Spaces),
        ];
        Pattern::new(r#"{"a":"xy","n":12,"b":""}"#.to_owned(), holes).unwrap()
    }

    #[track_caller]
    fn check(input: &str, expected: Option<usize>) {
        let mut shifts = Vec::new();
        let pattern = pattern();
        let matched = pattern.match_document(input.as_bytes(), &mut shifts);
        assert_eq!(matched, expected.and_then(|end| input.get(..end)), "{input}");
        if let Some(end) = expected {
            assert_eq!(end, pattern.text.len().wrapping_add(shifts[4].by));
        }
        for end in 0..expected.unwrap_or(0) {
            assert_eq!(pattern.match_document(&input.as_bytes()[..end], &mut shifts), None, "{input}, {end}");
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

    /// Strings longer than a vector, with escapes at every place, near the end of the input and far from it.
    #[test]
    fn strings_of_any_length_fit() {
        let pattern = pattern();
        let mut shifts = Vec::new();
        // Miri takes minutes for what takes milliseconds otherwise.
        for length in (0..100).step_by(if cfg!(miri) { 33 } else { 1 }) {
            for (escape, is_valid) in
                [("", true), ("\\n", true), ("\\u00e9", true), ("\\u00g0", false), ("é", true)]
            {
                for place in (0..=length).step_by(if cfg!(miri) { 31 } else { 7 }) {
                    for more in ["", "                                        "] {
                        let text = format!("{}{escape}{}", "a".repeat(place), "b".repeat(length - place));
                        let whole = format!(r#"{{"a":"{text}","n":1,"b":"{text}"}}"#);
                        let input = [&whole, more].concat();
                        let matched = pattern.match_document(input.as_bytes(), &mut shifts);
                        assert_eq!(matched, is_valid.then_some(&whole[..]), "{input}");
                        if is_valid {
                            assert_eq!(pattern.hole_at(0, &shifts), Some((6, 6 + text.len())));
                            assert_eq!(shifts[1].escaped, escape.starts_with('\\'));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn halves_of_characters_do_not_fit() {
        let (pattern, mut shifts) = (pattern(), Vec::new());
        let whole = r#"{"a":"é","n":1,"b":"枇 枇 枇 枇 枇 枇 枇 枇 枇 枇 枇"}"#.as_bytes();
        assert!(pattern.match_document(whole, &mut shifts).is_some());
        for place in 0..whole.len() {
            let mut input = whole.to_owned();
            if input.remove(place) >= 0x80 {
                assert_eq!(pattern.match_document(&input, &mut shifts), None, "{place}");
            }
        }
    }

    /// One byte that is not UTF-8, or half a character, in ASCII of every length around two vectors.
    #[test]
    fn one_wrong_byte_does_not_fit() {
        let (pattern, mut shifts) = (pattern(), Vec::new());
        let (lengths, places) = if cfg!(miri) { (29, 13) } else { (1, 1) };
        for length in (1..100).step_by(lengths) {
            let whole =
                format!(r#"{{"a":"{}","n":1,"b":""}}{}"#, "x".repeat(length), " ".repeat(length % 40));
            assert!(pattern.match_document(whole.as_bytes(), &mut shifts).is_some());
            for place in (6..6 + length).step_by(places) {
                for byte in [0x80, 0xc3, 0xff, 0x1f, b'"', b'\\'] {
                    let mut input = whole.clone().into_bytes();
                    input[place] = byte;
                    assert_eq!(
                        pattern.match_document(&input, &mut shifts),
                        None,
                        "{length}, {place}, {byte}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_hole_inside_a_character_is_none() {
        let hole = |start, end| Hole { start, end, content: Content::Text };
        let made = |holes: Vec<Hole>| Pattern::new("é\"\"é".to_owned(), holes).is_some();
        assert!(made(vec![hole(3, 3)]));
        assert!(!made(vec![hole(1, 3)]));
        assert!(!made(vec![hole(3, 5)]));
        assert!(!made(vec![hole(3, 9)]));
        assert!(!made(vec![hole(3, 3), hole(2, 3)]));
    }
}
