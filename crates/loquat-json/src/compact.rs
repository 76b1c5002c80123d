//! The landmarks of a JSON text that has no white space between its tokens, found 64 bytes at a time: nearly every text that a
//! provider sends.
//!
//! In such a text every token is next to the one before it, so that nearly all of the grammar (RFC 8259 §2) is a matter of neighbours, and
//! is decided here for a whole block with a few operations on its masks. What is left, and is noted, are the places where nesting
//! or the bytes of a number or literal decide: colons, brackets, and those elements of arrays that are no strings. That is
//! a third of what an [`Outline`](crate::outline::Outline) notes. Who walks from one to the next
//! ([`Pass`](crate::pass::Pass)) completes the check.
//!
//! Whatever is not as it should be, or is merely unusual, is somebody else's matter: the outline's, which takes all texts and is
//! the oracle of this.

use std::ops::Range;

use crate::outline::{Classes, escapes};
use crate::vector::{self, BLOCK, Task, Vector};

/// What each of 64 bytes is to a text without white space, one bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Landmarks {
    pub(crate) quotes: u64,
    pub(crate) colons: u64,
    pub(crate) commas: u64,
    /// Brackets, braces, colons and commas, and perhaps control characters.
    pub(crate) marks: u64,
    /// There is a backslash, a control character or a byte that is not ASCII.
    pub(crate) has_rare: bool,
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

/// The landmarks of a text, and where its strings end. Reused from text to text: 257 blocks of 48 bytes at most.
///
/// The vector code relies on one thing that is kept here: no landmark is behind the text ([`rows`](Self::rows)).
#[derive(Default)]
pub(crate) struct Compact {
    rows: Vec<Row>,
    /// Of how many of these the text drawn last consists; 0 if that is none of these.
    drawn: usize,
    /// How long it is.
    length: usize,
    /// All escapes are between these places.
    escapes: Range<usize>,
    counts: Counts,
}

/// How many there are of what a text consists of: tells most shapes of texts apart before anybody looks at their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// As many as an [`Outline`](crate::outline::Outline) has.
    pub(crate) tokens: usize,
    /// Strings that are values, and those that are names.
    pub(crate) strings: usize,
    pub(crate) names: usize,
    /// Numbers and literals.
    pub(crate) scalars: usize,
}

/// What is known of a block.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row {
    /// Those that no backslash escapes.
    quotes: u64,
    colons: u64,
    commas: u64,
    marks: u64,
    backslashes: u64,
    /// Each colon and bracket outside of strings, the first byte of what follows a comma and is no string, and the closing quotes of
    /// strings that are elements of arrays, or are in the place of one.
    pub(crate) landmarks: u64,
}

impl Compact {
    /// Draws a text. `false` when it is not one of these. With `COUNTS`, [`counts`](Self::counts) are known afterwards.
    pub(crate) fn draw<const COUNTS: bool>(&mut self, json: &[u8]) -> bool {
        self.drawn = 0;
        json.len() <= MAX_TEXT_BYTES
            && vector::run_widest(Draw::<false, COUNTS> { compact: self, text: json }).is_some()
    }

    /// [`draw`](Self::draw) for the text at the front of `input` that a line end ends, if there is one and it is one of these. How long
    /// it is, and where in it all bytes are that are not ASCII.
    pub(crate) fn draw_line<const COUNTS: bool>(&mut self, input: &[u8]) -> Option<(usize, Range<usize>)> {
        let input = input.get(..MAX_TEXT_BYTES + 1).unwrap_or(input);
        vector::run_widest(Draw::<true, COUNTS> { compact: self, text: input })
    }

    /// Those of the text drawn last, if it was drawn with them.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// What is known of the text drawn last, if it is as long as this one; the highest bit that is set in them is a byte of it.
    #[inline(always)]
    pub(crate) fn rows(&self, text: &[u8]) -> Option<&[Row]> {
        if text.len() == self.length { self.rows.get(..self.drawn) } else { None }
    }

    /// The closing quote of the string whose opening one is at `opening`.
    #[inline(always)]
    pub(crate) fn closing(&self, opening: usize) -> Option<usize> {
        let mut block = opening / BLOCK;
        let mut quotes = self.rows.get(block)?.quotes & (u64::MAX - 1) << (opening % BLOCK);
        while quotes == 0 {
            block += 1;
            quotes = self.rows.get(block)?.quotes;
        }
        Some(block * BLOCK + quotes.trailing_zeros() as usize)
    }

    /// Whether a string may have an escape: in most texts that have any it is the delta alone that has them.
    #[inline(always)]
    pub(crate) fn may_have_escapes(&self, string: &Range<usize>) -> bool {
        string.start < self.escapes.end && string.end > self.escapes.start
    }

    /// Whether its memory is no more than texts of a stream take.
    pub(crate) fn is_small(&self) -> bool {
        self.rows.len() <= MAX_SMALL
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
    }
}

/// `LINE`: up to a line end, otherwise all of it. `COUNTS`: counts what there is.
struct Draw<'c, const LINE: bool, const COUNTS: bool> {
    compact: &'c mut Compact,
    text: &'c [u8],
}

impl<const LINE: bool, const COUNTS: bool> Task for Draw<'_, LINE, COUNTS> {
    type Output = Option<(usize, Range<usize>)>;

    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> Self::Output {
        let Self { compact, text } = self;
        compact.drawn = 0;
        let mut looks = Looks { escapes: 0..0, highs: 0..0, escaped: 0 };
        let mut block = 0;
        let length = loop {
            let start = block * BLOCK;
            if start >= text.len() {
                if LINE {
                    return None;
                }
                break text.len();
            }
            let Landmarks { quotes, colons, commas, marks, has_rare } = vector.landmarks_at(text, start);
            let mut row = Row { quotes, colons, commas, marks, backslashes: 0, landmarks: 0 };
            let end = if has_rare || looks.escaped != 0 {
                let classes = vector.classify_at(text, start);
                looks.rarer::<LINE>(text, start, classes, &mut row)?
            } else {
                None
            };
            match compact.rows.get_mut(block) {
                Some(kept) => *kept = row,
                None => {
                    make_room(&mut compact.rows);
                    *compact.rows.get_mut(block)? = row;
                }
            }
            block += 1;
            if let Some(end) = end {
                break end;
            }
        };
        let rows = compact.rows.get_mut(..block)?;
        let mut counted = Counted::default();
        if !connect::<_, COUNTS>(vector, rows, &mut counted) {
            return None;
        }
        if COUNTS {
            // What is behind the text has been called marks.
            let behind = block * BLOCK - length;
            let Counted { quotes, colons, marks, scalars } = counted;
            compact.counts = Counts {
                tokens: (quotes + marks + scalars).saturating_sub(behind),
                strings: (quotes / 2).saturating_sub(colons),
                names: colons,
                scalars,
            };
        }
        let rest = length + BLOCK - block * BLOCK;
        if let Some(last) = rows.last_mut()
            && rest < BLOCK
        {
            // So it has been called a landmark.
            last.landmarks &= !(u64::MAX << rest);
        }
        compact.drawn = block;
        compact.length = length;
        compact.escapes = looks.escapes;
        Some((length, looks.highs))
    }
}

/// What was seen of rare bytes.
struct Looks {
    /// Where the blocks are that have escapes.
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
    fn rarer<const LINE: bool>(
        &mut self,
        text: &[u8],
        start: usize,
        classes: Classes,
        row: &mut Row,
    ) -> Option<Option<usize>> {
        let (mut end, mut behind) = (None, 0);
        if classes.controls != 0 {
            let place = classes.controls.trailing_zeros();
            let at = start + place as usize;
            // Where a line ends is the only place for one.
            if !LINE || !matches!(text.get(at), Some(b'\n' | b'\r')) {
                return None;
            }
            (end, behind) = (Some(at), u64::MAX << place);
        } else if text.len() - start < BLOCK {
            behind = u64::MAX << (text.len() - start);
        }
        row.quotes &= !behind;
        row.colons &= !behind;
        row.commas &= !behind;
        row.marks |= behind;
        row.backslashes = classes.backslashes & !behind;
        let highs = classes.highs & !behind;
        if highs != 0 {
            if self.highs.is_empty() {
                self.highs.start = start + highs.trailing_zeros() as usize;
            }
            self.highs.end = start + BLOCK - highs.leading_zeros() as usize;
        }
        if row.backslashes | self.escaped != 0 {
            let escaped = escapes(text, start, row.backslashes, self.escaped);
            row.quotes &= !escaped.bytes;
            self.escaped = escaped.after;
            if escaped.wrong != 0 {
                return None;
            }
            if self.escapes.is_empty() {
                self.escapes.start = start;
            }
            self.escapes.end = start + BLOCK;
        }
        Some(end)
    }
}

/// What there is in all rows, strings left out. Whatever is behind the text is among the marks.
#[derive(Default)]
struct Counted {
    quotes: usize,
    colons: usize,
    marks: usize,
    scalars: usize,
}

/// Finds the landmarks of each row. `false` when what stands next to each other may not.
#[inline(always)]
fn connect<V: Vector, const COUNTS: bool>(vector: V, rows: &mut [Row], counted: &mut Counted) -> bool {
    // What one block leaves to the next. All ones after one that ends inside of a string, without its closing quote.
    let mut inside = 0;
    // One after a block whose last byte is such a thing.
    let (mut mark, mut colon, mut comma, mut scalar, mut name) = (0, 0, 0, 0, 0);
    // Whether the string that goes on is in the place of a name.
    let mut in_name = false;
    let mut wrong = 0;
    let mut last: Option<&mut Row> = None;
    for row in rows {
        let quotes = row.quotes;
        // From each opening quote to right before its closing one.
        let strings = vector.parities(quotes) ^ inside;
        inside = (strings.cast_signed() >> 63).cast_unsigned();
        let (marks, colons, commas) = (row.marks & !strings, row.colons & !strings, row.commas & !strings);
        let scalars = !(strings | quotes | marks);
        let openings = quotes & strings;
        let after_marks = shifted(marks, &mut mark);
        let after_colons = shifted(colons, &mut colon);
        let after_commas = shifted(commas, &mut comma);
        let after_scalars = shifted(scalars, &mut scalar);
        // A string and what else is no mark follows a mark, as a number's other bytes follow its first.
        wrong |= openings & !after_marks | scalars & !(after_marks | after_scalars);
        if COUNTS {
            counted.quotes += quotes.count_ones() as usize;
            counted.colons += colons.count_ones() as usize;
            counted.marks += marks.count_ones() as usize;
            counted.scalars += (scalars & after_marks).count_ones() as usize;
        }
        // A string that follows a comma or a bracket is a name, or an element of an array. Adding its first bit to it clears it, and
        // the carry marks its closing quote.
        let names = openings & !after_colons;
        let sum;
        (sum, in_name) = strings.carrying_add(names, in_name);
        // Names with escapes are somebody else's matter.
        wrong |= row.backslashes & strings & !sum;
        let after_names = shifted(sum & !strings, &mut name);
        // No other string is followed by a colon.
        wrong |= colons & !after_names;
        row.landmarks = marks & !commas | after_commas & !openings;
        let elements = after_names & !colons;
        if elements != 0 {
            row.landmarks |= elements >> 1;
            if let Some(last) = last {
                last.landmarks |= elements << 63;
            }
        }
        last = Some(row);
    }
    wrong | inside == 0
}

/// Each bit one further, the last one from block to block.
#[inline(always)]
fn shifted(bits: u64, carry: &mut u64) -> u64 {
    let shifted = bits << 1 | *carry;
    *carry = bits >> 63;
    shifted
}

/// Room for another block at least.
#[cold]
#[inline(never)]
fn make_room(rows: &mut Vec<Row>) {
    let room = (rows.len() + rows.len().max(USUAL_BLOCKS)).min(MAX_BLOCKS);
    rows.reserve_exact(room - rows.len());
    rows.resize(room, Row::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_text_takes_as_much_memory_as_is_said() {
        let mut compact = Compact::default();
        let line = |length: usize| format!("[\"{}\"]\n", "x".repeat(length - 4));
        let drawn = compact.draw_line::<false>(line(MAX_TEXT_BYTES).as_bytes());
        assert_eq!(drawn, Some((MAX_TEXT_BYTES, 0..0)));
        assert_eq!(compact.bytes(), 257 * 48);
        assert_eq!(compact.draw_line::<false>(line(MAX_TEXT_BYTES + 1).as_bytes()), None);
    }
}
