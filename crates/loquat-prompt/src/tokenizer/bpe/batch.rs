//! [`Batch`]: the words of a text that repeats little, some at a time and step by step.
//!
//! Of such a text (base64, random bytes) the processor guesses wrongly, two or three times a word, which way it goes, and each
//! time throws away what it had begun of the next ones. So no word is done by itself. All are sorted by their length, without a
//! decision; the words of each length go their own way together, in which what waits for memory waits at once; and at last
//! the tokens are written out in order.

use std::hint::select_unpredictable;

use super::{
    memo::{Looks, MEMO_BYTES, Memo, Packed, Slots, memoized},
    merges::Token,
    vocabulary::Vocabulary,
    word::{self, FEW, Stack},
    words::{Window, window},
};

/// Words of a batch.
pub(crate) const BATCH: usize = 64;

/// The words that go one way, by their number in the batch.
#[derive(Clone, Copy)]
struct Way {
    words: [u8; BATCH],
    count: u8,
}

/// Words of more than [`MEMO_BYTES`], of one byte, of two, and of others, which are looked up in the memo.
const LONG: usize = 0;
const ONE: usize = 1;
const TWO: usize = 2;
const OTHER: usize = 3;
/// Of the latter those that are new: of three bytes, of four, of others.
const THREE: usize = 4;
const FOUR: usize = 5;
const REST: usize = 6;
/// A power of two, so that a way needs no bounds check.
const WAYS: usize = 8;

/// Some words and what became of them.
pub(super) struct Batch {
    starts: [usize; BATCH],
    ways: [Way; WAYS],
    keys: [Window; BATCH],
    tokens: [Packed; BATCH],
    /// Of the words that have more than three.
    many: [[Token; FEW]; BATCH],
    /// In order; a word's tokens are written as if they were three.
    written: [Token; BATCH * 3],
}

impl Batch {
    pub(super) const EMPTY: Self = Self {
        starts: [0; BATCH],
        ways: [Way { words: [0; BATCH], count: 0 }; WAYS],
        keys: [[0; 2]; BATCH],
        tokens: [Packed::NONE; BATCH],
        many: [[0; FEW]; BATCH],
        written: [0; BATCH * 3],
    };

    #[inline]
    fn push(&mut self, way: usize, number: u8, is_wanted: bool) {
        let way = &mut self.ways[way % WAYS];
        way.words[usize::from(way.count) % BATCH] = number;
        way.count += u8::from(is_wanted);
    }

    #[inline]
    fn count(&self, way: usize) -> usize {
        usize::from(self.ways[way].count)
    }

    #[inline]
    fn word(&self, way: usize, at: usize) -> usize {
        usize::from(self.ways[way].words[at % BATCH]) % BATCH
    }
}

impl Vocabulary {
    /// Encodes up to [`BATCH`] words from `at` on; see [`Self::encode_all`]. What was new, and whether to go on.
    #[inline]
    pub(super) fn encode_together<S: Stack>(
        &self,
        memo: &mut Memo,
        text: &[u8],
        at: usize,
        ends: &[usize],
        out: &mut S,
        mut go_on: impl FnMut(&S) -> bool,
    ) -> (Looks, bool) {
        let (mut slots, scratch, batch) = memo.parts_and_batch();
        self.sort(batch, at, ends);
        self.encode_one_and_two(batch, text);
        self.look_up(&slots, batch, text, ends);
        self.encode_new(&mut slots, batch, text, ends);
        let new = [THREE, FOUR, REST].iter().map(|way| batch.count(*way)).sum();
        let looks = Looks { new, shortest: batch.count(ONE) + batch.count(TWO) };
        let mut length = 0;
        for (index, end) in ends.iter().enumerate() {
            let index = index % BATCH;
            let tokens = batch.tokens[index];
            let count = tokens.count();
            if (1..=3).contains(&count) {
                if let Some(place) = batch.written.get_mut(length..).and_then(|rest| rest.first_chunk_mut()) {
                    *place = tokens.tokens();
                }
                length += count;
                continue;
            }
            out.extend(batch.written.get(..length).unwrap_or_default());
            length = 0;
            if count > 3 {
                out.extend(batch.many[index].get(..count).unwrap_or_default());
                continue;
            }
            let place = (batch.starts[index], *end);
            self.encode_long::<FEW>(scratch, text, place, out);
            if !go_on(out) {
                return (looks, false);
            }
        }
        out.extend(batch.written.get(..length).unwrap_or_default());
        (looks, go_on(out))
    }

    #[inline]
    fn sort(&self, batch: &mut Batch, mut start: usize, ends: &[usize]) {
        const WAY: [u8; 16] = [0, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3];
        /// Where a word may be a token of its own, whatever its length.
        const ANY: [u8; 16] = [0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3];
        let by_length = if self.whole.is_empty() { &WAY } else { &ANY };
        for way in &mut batch.ways {
            way.count = 0;
        }
        for (number, end) in (0u8..).zip(ends) {
            let length = end - start;
            batch.starts[usize::from(number) % BATCH] = start;
            start = *end;
            let short = select_unpredictable(length > MEMO_BYTES, 0, length);
            batch.push(usize::from(by_length[short & 15]), number, true);
        }
    }

    #[inline]
    fn encode_one_and_two(&self, batch: &mut Batch, text: &[u8]) {
        for at in 0..batch.count(LONG) {
            batch.tokens[batch.word(LONG, at)] = Packed::NONE;
        }
        for at in 0..batch.count(ONE) {
            let index = batch.word(ONE, at);
            let byte = text.get(batch.starts[index]).copied().unwrap_or(0);
            batch.tokens[index] = Packed::one(self.words.byte(byte));
        }
        for at in 0..batch.count(TWO) {
            let index = batch.word(TWO, at);
            let bytes = text.get(batch.starts[index]..).and_then(|rest| rest.first_chunk::<2>());
            let bytes = bytes.copied().unwrap_or_default();
            let token = self.merges.merged_bytes(bytes);
            let apart = Packed::two(bytes.map(|byte| self.words.byte(byte)));
            batch.tokens[index] = select_unpredictable(token == Token::MAX, apart, Packed::one(token));
        }
    }

    /// Sorts the words that are not remembered into the ways of new ones.
    #[inline]
    fn look_up(&self, slots: &Slots<'_>, batch: &mut Batch, text: &[u8], ends: &[usize]) {
        const WAY: [u8; 16] = [6, 6, 6, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6];
        const ANY: [u8; 16] = [6; 16];
        let by_length = if self.whole.is_empty() { &WAY } else { &ANY };
        for at in 0..batch.count(OTHER) {
            let index = batch.word(OTHER, at);
            let start = batch.starts[index];
            let length = ends.get(index).map_or(0, |end| end - start);
            let key = memoized(window(text, start), length, self.owner);
            let (tokens, is_it) = slots.find(key);
            batch.tokens[index] = tokens;
            batch.keys[index] = key;
            let number = batch.ways[OTHER].words[at % BATCH];
            batch.push(usize::from(by_length[length & 15]), number, !is_it);
        }
    }

    #[inline]
    fn encode_new(&self, slots: &mut Slots<'_>, batch: &mut Batch, text: &[u8], ends: &[usize]) {
        for way in [THREE, FOUR, REST] {
            for at in 0..batch.count(way) {
                let index = batch.word(way, at);
                let key = batch.keys[index];
                let tokens = match way {
                    THREE => Some(word::merge_three(&self.words, &self.merges, key)),
                    FOUR => word::merge_four(&self.words, &self.merges, key),
                    _ => None,
                };
                let tokens = tokens.unwrap_or_else(|| {
                    let start = batch.starts[index];
                    let end = ends.get(index).copied().unwrap_or(start);
                    self.encode_short(text, (start, end), key, &mut batch.many[index])
                });
                batch.tokens[index] = tokens;
                slots.keep(key, tokens);
            }
        }
    }
}
