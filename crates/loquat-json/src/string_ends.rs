//! Where the strings end of a JSON text of one line: of nearly every text that a provider sends.
//!
//! In most of these every token is next to the one before it, so that where a string ends is all that has to be found: everything else is
//! at a known distance. That is a quarter of the places that an [`Outline`](crate::outline::Outline) notes. Strings are wholly
//! checked here; all the rest is left to who walks from one end to the next ([`Pass`](crate::pass::Pass)), over the spaces, too.
//!
//! Whatever is not as it should be, or is merely unusual, is somebody else's matter: the outline's, which takes all texts and is
//! the oracle of this.

use std::ops::Range;

use crate::outline::escapes;
use crate::vector::{self, BLOCK, Task, Vector};

/// What of 64 bytes decides where strings end, one bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Quotes {
    pub(crate) quotes: u64,
    /// Backslashes, control characters and bytes that are not ASCII.
    pub(crate) rare: u64,
}

/// Length of a text that is drawn, in bytes: longer ones are mostly one long string, over which an outline goes in fewer instructions.
/// Of 20,000 recorded events one in three thousand is longer.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Blocks of a text: those of the longest, and its line end.
const MAX_BLOCKS: usize = MAX_TEXT_BYTES / BLOCK + 1;

/// Blocks that room is made for together: nearly every event has no more.
const USUAL_BLOCKS: usize = 16;

/// Blocks whose memory another extractor may have.
const MAX_SMALL: usize = 64;

/// Where the strings of a text end. Reused from text to text: eight bytes for each of 257 blocks at most.
#[derive(Default)]
pub(crate) struct StringEnds {
    /// Of each block, a bit for each closing quote.
    blocks: Vec<u64>,
    /// Of how many of these the text drawn last consists; 0 if that is none of these.
    drawn: usize,
    /// How long it is.
    length: usize,
    /// How many strings it has, names included.
    strings: usize,
    /// All backslashes are between these places.
    escapes: Range<usize>,
    /// All bytes that are not ASCII are between these.
    highs: Range<usize>,
}

impl StringEnds {
    /// Draws a text. `false` when it is not one of these.
    pub(crate) fn draw(&mut self, json: &[u8]) -> bool {
        self.drawn = 0;
        json.len() <= MAX_TEXT_BYTES
            && vector::run_widest(Draw::<false> { string_ends: self, text: json }).is_some()
    }

    /// [`draw`](Self::draw) for the text at the front of `input` that a line end ends, if there is one and it is one of these. How long
    /// it is.
    pub(crate) fn draw_line(&mut self, input: &[u8]) -> Option<usize> {
        let input = input.get(..MAX_TEXT_BYTES + 1).unwrap_or(input);
        vector::run_widest(Draw::<true> { string_ends: self, text: input })
    }

    /// How many strings the text has that was drawn last, names included.
    pub(crate) fn strings(&self) -> usize {
        self.strings
    }

    /// The closing quotes of each block of the text drawn last, if it is as long as this one.
    #[inline(always)]
    pub(crate) fn blocks(&self, text: &[u8]) -> Option<&[u64]> {
        if text.len() == self.length { self.blocks.get(..self.drawn) } else { None }
    }

    /// Where in the text drawn last all bytes are that are not ASCII.
    pub(crate) fn highs(&self) -> Range<usize> {
        self.highs.clone()
    }

    /// Whether any string has an escape.
    #[inline(always)]
    pub(crate) fn has_escapes(&self) -> bool {
        self.escapes.end != 0
    }

    /// Whether a string may have an escape: in most texts that have any it is the delta alone that has them.
    #[inline(always)]
    pub(crate) fn may_have_escapes(&self, string: &Range<usize>) -> bool {
        string.start < self.escapes.end && string.end > self.escapes.start
    }

    /// Whether its memory is no more than texts of a stream take.
    pub(crate) fn is_small(&self) -> bool {
        self.blocks.len() <= MAX_SMALL
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<u64>()
    }
}

/// `LINE`: up to a line end, otherwise all of it.
struct Draw<'c, const LINE: bool> {
    string_ends: &'c mut StringEnds,
    text: &'c [u8],
}

impl<const LINE: bool> Task for Draw<'_, LINE> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> Self::Output {
        let Self { string_ends: StringEnds { blocks, drawn, length, strings, escapes, highs }, text } = self;
        *drawn = 0;
        let mut looks = Looks { escapes: 0..0, highs: 0..0, escaped: 0 };
        // All ones after a block that ends inside of a string, without its closing quote.
        let mut inside = 0;
        let (mut block, mut ended) = (0, 0);
        let end = loop {
            let start = block * BLOCK;
            if start >= text.len() {
                if LINE {
                    return None;
                }
                break text.len();
            }
            let Quotes { mut quotes, rare } = vector.quotes_at(text, start);
            let mut end = None;
            if rare | looks.escaped != 0 {
                let place = rare.trailing_zeros();
                let at = start + place as usize;
                if LINE && looks.escaped == 0 && matches!(text.get(at), Some(b'\n' | b'\r')) {
                    quotes &= !(u64::MAX << place);
                    end = Some(at);
                } else {
                    end = looks.rarer::<_, LINE>(vector, text, start, &mut quotes)?;
                }
            }
            // From each opening quote to right before its closing one.
            let strings = vector.parities(quotes) ^ inside;
            inside = (strings.cast_signed() >> 63).cast_unsigned();
            let closing = quotes & !strings;
            match blocks.get_mut(block) {
                Some(kept) => *kept = closing,
                None => {
                    make_room(blocks);
                    *blocks.get_mut(block)? = closing;
                }
            }
            block += 1;
            ended += closing.count_ones() as usize;
            if let Some(end) = end {
                break end;
            }
        };
        if inside != 0 {
            return None;
        }
        (*drawn, *length, *strings) = (block, end, ended);
        (*escapes, *highs) = (looks.escapes, looks.highs);
        Some(end)
    }
}

/// What was seen of rare bytes.
struct Looks {
    /// Where the backslashes are.
    escapes: Range<usize>,
    /// Where the bytes are that are not ASCII.
    highs: Range<usize>,
    /// One after a block whose last byte escapes the next.
    escaped: u64,
}

impl Looks {
    /// Looks at rare bytes in the block that begins at `start`. Where the text ends, if it is a line and does so in this block; nothing
    /// at all if it is not as it should be.
    #[inline(always)]
    fn rarer<V: Vector, const LINE: bool>(
        &mut self,
        vector: V,
        text: &[u8],
        start: usize,
        quotes: &mut u64,
    ) -> Option<Option<usize>> {
        let classes = vector.classify_at(text, start);
        let (mut end, mut behind) = (None, 0);
        if classes.controls != 0 {
            let place = classes.controls.trailing_zeros();
            let at = start + place as usize;
            // Where a line ends is the only place for one.
            if !LINE || !matches!(text.get(at), Some(b'\n' | b'\r')) {
                return None;
            }
            (end, behind) = (Some(at), u64::MAX << place);
        }
        *quotes &= !behind;
        let highs = classes.highs & !behind;
        if highs != 0 {
            if self.highs.is_empty() {
                self.highs.start = start + highs.trailing_zeros() as usize;
            }
            self.highs.end = start + BLOCK - highs.leading_zeros() as usize;
        }
        let backslashes = classes.backslashes & !behind;
        if backslashes | self.escaped != 0 {
            let escaped = escapes(text, start, backslashes, self.escaped);
            *quotes &= !escaped.bytes;
            self.escaped = escaped.after;
            if escaped.wrong != 0 {
                return None;
            }
            if backslashes != 0 {
                if self.escapes.is_empty() {
                    self.escapes.start = start + backslashes.trailing_zeros() as usize;
                }
                self.escapes.end = start + BLOCK - backslashes.leading_zeros() as usize;
            }
        }
        Some(end)
    }
}

/// Room for another block at least.
#[cold]
#[inline(never)]
fn make_room(blocks: &mut Vec<u64>) {
    let room = (blocks.len() + blocks.len().max(USUAL_BLOCKS)).min(MAX_BLOCKS);
    blocks.reserve_exact(room - blocks.len());
    blocks.resize(room, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two drawn texts' worth of blocks in all ways: the ends are where a plain search says.
    #[test]
    fn strings_end_where_a_plain_search_says() {
        for length in (0..150).step_by(if cfg!(miri) { 37 } else { 1 }) {
            let long = "x".repeat(length);
            for text in [
                format!(r#"{{"{long}":"[:]","a":[1,{{}},"s"]}}"#),
                format!(r#"["","{long}\"","\\","{long}","\\\"","é\u00e9"]"#),
                format!("[{}0]", "\"\",".repeat(length)),
            ] {
                let mut expected = Vec::new();
                let (mut is_open, mut is_escaped) = (false, false);
                for (at, byte) in text.bytes().enumerate() {
                    if byte == b'"' && !is_escaped {
                        if is_open {
                            expected.push(at);
                        }
                        is_open = !is_open;
                    }
                    is_escaped = byte == b'\\' && !is_escaped;
                }
                let highs = text.find('é').map_or(0..0, |at| at..at + 2);
                let mut string_ends = StringEnds::default();
                for line in [None, Some("\n"), Some("\r\n\"")] {
                    match line {
                        None => assert!(string_ends.draw(text.as_bytes()), "{text}"),
                        Some(behind) => {
                            let drawn = string_ends.draw_line([&text, behind].concat().as_bytes());
                            assert_eq!(drawn, Some(text.len()), "{text}");
                        }
                    }
                    assert_eq!(string_ends.strings(), expected.len(), "{text}");
                    assert_eq!(string_ends.highs(), highs, "{text}");
                    let blocks = string_ends.blocks(text.as_bytes()).unwrap();
                    let is_end = |at: &usize| blocks[at / BLOCK] >> (at % BLOCK) & 1 != 0;
                    let ends: Vec<usize> = (0..blocks.len() * BLOCK).filter(is_end).collect();
                    assert_eq!(ends, expected, "{text}");
                    assert!(string_ends.blocks(&text.as_bytes()[1..]).is_none(), "another text");
                }
            }
        }
    }

    #[test]
    fn the_longest_text_takes_as_much_memory_as_is_said() {
        let mut string_ends = StringEnds::default();
        let line = |length: usize| format!("[\"{}\"]\n", "x".repeat(length - 4));
        assert_eq!(string_ends.draw_line(line(MAX_TEXT_BYTES).as_bytes()), Some(MAX_TEXT_BYTES));
        assert_eq!(string_ends.bytes(), 257 * 8);
        assert_eq!(string_ends.draw_line(line(MAX_TEXT_BYTES + 1).as_bytes()), None);
    }
}
