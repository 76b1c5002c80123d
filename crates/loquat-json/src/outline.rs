//! The outline of a JSON text: where its tokens are, found 64 bytes at a time.
//!
//! After Langdale and Lemire, "Parsing Gigabytes of JSON per Second" (VLDB Journal 28, 2019, §3.1): the quotes that no backslash
//! escapes say by their parity what is inside of strings, and what is outside of them is a bracket, a colon, a comma, white space,
//! or part of a number or literal. Strings are wholly checked here; the rest is left to whoever follows the tokens.

use std::ops::Range;

use crate::scan;
use crate::vector::{self, AHEAD, BLOCK, Task, Vector};

/// Stands for the place of a token after the last one: no text is that long.
pub(crate) const END: u32 = u32::MAX;

/// Places kept for reuse, in tokens. Nearly every chunk of a stream has less than a hundred, a list of embeddings thousands.
const MAX_KEPT: usize = 16 * 1024;

/// Places whose memory another extractor may have.
const MAX_SMALL: usize = 1024;

/// What each of 64 bytes is, one bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Classes {
    pub(crate) quotes: u64,
    pub(crate) backslashes: u64,
    /// Brackets, braces, colons and commas.
    pub(crate) marks: u64,
    /// The space alone; other white space is among the controls.
    pub(crate) spaces: u64,
    pub(crate) controls: u64,
    /// Bytes that are not ASCII.
    pub(crate) highs: u64,
}

/// Where tokens are: both quotes of each string, and the first byte of everything else that is neither in a string nor white
/// space. Reused from text to text; four bytes for a token, and kept small.
///
/// The vector code relies on one thing that is kept here: places are in ascending order, and [`AHEAD`] more, equal to the last, follow.
#[derive(Default)]
pub(crate) struct Outline {
    places: Vec<u32>,
    /// How many of these are tokens; 0 where what was drawn last was not sound.
    drawn: usize,
    /// There is an escape in some string.
    pub(crate) has_escapes: bool,
    /// All of them are between these places.
    escapes: Range<usize>,
}

impl Outline {
    /// Draws a text. `false` when a string in it does not end or is not valid, a control character is outside of them, or it is so
    /// long that places in it are no `u32`.
    pub(crate) fn draw(&mut self, json: &[u8]) -> bool {
        self.drawn = 0;
        json.len() < END as usize && vector::run_widest(Draw::<false> { outline: self, text: json }).is_some()
    }

    /// Draws the text at the front of `input` that a line end ends, if there is one and the text is as sound as [`draw`](Self::draw) wants
    /// it, without any other control character. How long it is, and whether it is ASCII.
    pub(crate) fn draw_line(&mut self, input: &[u8]) -> Option<(usize, bool)> {
        let input = input.get(..END as usize).unwrap_or(input);
        vector::run_widest(Draw::<true> { outline: self, text: input })
    }

    /// The tokens of the text drawn last.
    pub(crate) fn places(&self) -> &[u32] {
        self.places.get(..self.drawn).unwrap_or_default()
    }

    /// [`places`](Self::places), and those that follow.
    pub(crate) fn places_and_more(&self) -> &[u32] {
        self.places.get(..self.drawn + AHEAD).unwrap_or_default()
    }

    /// Whether its memory is no more than texts of a stream take.
    pub(crate) fn is_small(&self) -> bool {
        self.places.len() <= MAX_SMALL
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<u32>()
    }

    /// Whether a string may have an escape: in most texts that have any it is the delta alone that has them.
    #[inline(always)]
    pub(crate) fn may_have_escapes(&self, string: &Range<usize>) -> bool {
        self.has_escapes && string.start < self.escapes.end && string.end > self.escapes.start
    }

    /// Gives back what a text took that had very many tokens.
    #[inline]
    pub(crate) fn release(&mut self) {
        if self.places.len() > MAX_KEPT {
            self.places = Vec::new();
        }
    }
}

/// `LINE`: up to a line end, otherwise all of it.
struct Draw<'o, const LINE: bool> {
    outline: &'o mut Outline,
    text: &'o [u8],
}

impl<const LINE: bool> Task for Draw<'_, LINE> {
    type Output = Option<(usize, bool)>;

    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> Self::Output {
        let Self { outline: Outline { places, drawn, has_escapes, escapes }, text } = self;
        let mut pen = Pen::default();
        *drawn = 0;
        let length = loop {
            if pen.start >= text.len() {
                if LINE {
                    return None;
                }
                break text.len();
            }
            if let Some(end) = pen.draw::<_, LINE>(vector, text, places) {
                break end;
            }
        };
        if (pen.wrong | pen.inside) != 0 {
            return None;
        }
        let last = pen.drawn.checked_sub(1).and_then(|last| places.get(last)).copied().unwrap_or_default();
        if let Some(more) = places.get_mut(pen.drawn..).and_then(<[u32]>::first_chunk_mut) {
            *more = [last; AHEAD];
            *drawn = pen.drawn;
        }
        (*has_escapes, *escapes) = (pen.has_escapes, pen.escapes);
        Some((length, pen.highs == 0))
    }
}

/// What one block leaves to the next.
#[derive(Default)]
struct Pen {
    /// Where the next block starts.
    start: usize,
    /// Tokens so far.
    drawn: usize,
    /// All ones after a block that ends inside of a string, without its closing quote.
    inside: u64,
    /// One after a block that ends inside of a number or literal.
    after_scalar: u64,
    /// One after a block whose last byte escapes the next.
    escaped: u64,
    /// Not zero once something was wrong.
    wrong: u64,
    /// Not zero once a byte was not ASCII.
    highs: u64,
    has_escapes: bool,
    /// Where the blocks are that have them.
    escapes: Range<usize>,
}

impl Pen {
    /// Draws a block. Where the line ends, if it is asked for and does so in this block.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no text is longer than a `u32` says")]
    fn draw<V: Vector, const LINE: bool>(
        &mut self,
        vector: V,
        text: &[u8],
        places: &mut Vec<u32>,
    ) -> Option<usize> {
        let start = self.start;
        self.start += BLOCK;
        let Classes { mut quotes, mut backslashes, mut marks, mut spaces, controls, mut highs } =
            vector.classify_at(text, start);
        let mut end = None;
        if LINE && controls != 0 {
            let place = controls.trailing_zeros();
            let at = start + place as usize;
            if !matches!(text.get(at), Some(b'\n' | b'\r')) {
                self.wrong = 1;
            }
            end = Some(at);
            let behind = u64::MAX << place;
            quotes &= !behind;
            backslashes &= !behind;
            marks &= !behind;
            highs &= !behind;
            spaces |= behind;
        }
        self.highs |= highs;
        // A long string goes on. What is not used so far is not computed.
        if self.inside != 0 && (quotes | backslashes | controls | self.escaped) == 0 {
            return None;
        }
        if backslashes | self.escaped != 0 {
            let escaped = escapes(text, start, backslashes, self.escaped);
            quotes &= !escaped.bytes;
            self.escaped = escaped.after;
            self.wrong |= escaped.wrong;
            if !self.has_escapes {
                self.escapes.start = start;
            }
            self.escapes.end = self.start;
            self.has_escapes = true;
        }
        // From each opening quote to right before its closing one.
        let strings = vector.parities(quotes) ^ self.inside;
        self.inside = (strings.cast_signed() >> 63).cast_unsigned();
        if !LINE && controls != 0 {
            let other_spaces = other_spaces(text, start, controls) & !strings;
            self.wrong |= controls & !other_spaces;
            spaces |= other_spaces;
        }
        let scalars = !(strings | quotes | marks | spaces);
        let starts = scalars & !(scalars << 1 | self.after_scalar);
        self.after_scalar = scalars >> 63;
        let tokens = quotes | marks & !strings | starts;
        let at = self.drawn;
        self.drawn += tokens.count_ones() as usize;
        if places.len() < at + BLOCK + AHEAD {
            make_room(places);
        }
        if let Some(group) = places.get_mut(at..).and_then(<[u32]>::first_chunk_mut) {
            vector.note(tokens, start as u32, group);
        }
        end
    }
}

/// Room for the tokens of at least another block.
#[cold]
#[inline(never)]
fn make_room(places: &mut Vec<u32>) {
    let room = places.len() + places.len().max(4 * BLOCK);
    places.resize(room, 0);
}

/// What the backslashes of a block do.
pub(crate) struct Escapes {
    /// The bytes that one escapes.
    pub(crate) bytes: u64,
    /// One when the last byte escapes the one after the block.
    pub(crate) after: u64,
    /// Not zero when one is no escape of JSON.
    pub(crate) wrong: u64,
}

/// The escapes of the block that starts at `start`; `before`: one when its first byte is escaped. Outside of strings, where no
/// backslash may be, it does not matter what is said of it: it is part of a number or literal, in which nobody expects one.
#[cold]
#[inline(never)]
pub(crate) fn escapes(json: &[u8], start: usize, mut backslashes: u64, before: u64) -> Escapes {
    let mut escapes = Escapes { bytes: before, after: 0, wrong: 0 };
    backslashes &= !before;
    while backslashes != 0 {
        let place = backslashes.trailing_zeros();
        if scan::escape(json, start + place as usize + 1).is_err() {
            escapes.wrong = 1;
        }
        if place == 63 {
            escapes.after = 1;
            break;
        }
        let next = 1 << (place + 1);
        escapes.bytes |= next;
        backslashes &= !(next | 1 << place);
    }
    escapes
}

/// The white space among control characters.
#[cold]
#[inline(never)]
fn other_spaces(text: &[u8], start: usize, mut controls: u64) -> u64 {
    let mut spaces = 0;
    while controls != 0 {
        let place = controls.trailing_zeros();
        if let Some(b'\t' | b'\n' | b'\r') = text.get(start + place as usize) {
            spaces |= 1 << place;
        }
        controls &= controls - 1;
    }
    spaces
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caret under each token; `None` for what is refused.
    #[track_caller]
    fn check(json: &str, expected: Option<&str>) {
        // Wherever the text lies among the blocks.
        for before in (0..=2 * BLOCK).step_by(if cfg!(miri) { 43 } else { 1 }) {
            let text = [&" ".repeat(before), json].concat();
            let mut outline = Outline::default();
            let is_sound = outline.draw(text.as_bytes());
            assert_eq!(is_sound, expected.is_some(), "{json} at {before}");
            if let Some(expected) = expected {
                let places: Vec<usize> = outline.places().iter().map(|place| *place as usize).collect();
                let carets = expected.match_indices('^').map(|(place, _)| before + place);
                let carets: Vec<usize> = carets.collect();
                assert_eq!(places, carets, "{json} at {before}");
            }
            // As a line, whatever comes after it; a line has no other control characters.
            let is_line = !json.bytes().any(|byte| byte < b' ');
            for after in ["\n", "\r\n\r\n{\"next\": \"\u{e9}\"}"] {
                let drawn = outline.draw_line([&text, after].concat().as_bytes());
                let expected = expected.filter(|_| is_line).map(|_| (text.len(), json.is_ascii()));
                assert_eq!(drawn, expected, "{json} at {before}");
                if drawn.is_some() {
                    let as_line = outline.places().to_vec();
                    assert!(outline.draw(text.as_bytes()));
                    assert_eq!(outline.places(), as_line, "{json} at {before}");
                }
            }
            assert_eq!(outline.draw_line(text.as_bytes()), None, "{json} at {before} has no end");
        }
    }

    #[test]
    fn tokens_are_where_they_begin() {
        check(r#"{"a": [1, -2.5e3,true] , "":null}"#, Some("^^ ^^ ^^^ ^     ^^   ^ ^ ^^^^   ^"));
        check(r#"["\"\\", "x:\u0022,{"]"#, Some("^^    ^^ ^          ^^"));
        check("[\t1\r\n2 ]", Some("^ ^  ^ ^"));
        check(r#"1"2"x"#, Some("^^ ^^"));
        check("", Some(""));
    }

    #[test]
    fn what_is_wrong_with_strings_is_found() {
        for json in [r#"["a]"#, r#"["\x"]"#, r#"["\u12G4"]"#, "[\"a\tb\"]", "[1,\x0c2]", r#"["a\"]"#, "[\0]"]
        {
            check(json, None);
        }
    }
}
