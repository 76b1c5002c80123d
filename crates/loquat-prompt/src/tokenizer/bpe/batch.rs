//! [`Batch`]: the words of a text that does not repeat all the time, some at a time and step by step.
//!
//! Which way a word goes the processor guesses wrongly now and then, two or three times a word in a text that repeats little (base64,
//! random bytes), and each time throws away what it had begun of the next ones; and what a word needs of a vocabulary's tables, some
//! megabytes, is seldom near. So no word is done by itself. All are looked up in the memo, without a decision; those that are new go
//! the way of their length together, in which what waits for memory waits at once; and at last the tokens are written out in order.

use std::hint::select_unpredictable;

use super::{
    memo::{MEMO_BYTES, Memo, Packed, Slots, length_of, memoized},
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

/// New words of one byte, of two, of three, of four, of more.
const ONE: usize = 0;
const TWO: usize = 1;
const THREE: usize = 2;
const FOUR: usize = 3;
const REST: usize = 4;
/// Of the last those that are no token.
const MERGED: usize = 5;
/// All new ones.
const NEW: usize = 6;
/// A power of two, so that a way needs no bounds check.
const WAYS: usize = 8;

/// Some words and what became of them.
pub(super) struct Batch {
    ways: [Way; WAYS],
    keys: [Window; BATCH],
    /// Where in the memo.
    places: [usize; BATCH],
    /// Of words of more than [`MEMO_BYTES`] none.
    tokens: [Packed; BATCH],
    /// Of the words that have more than three.
    many: [[Token; FEW]; BATCH],
    /// In order; a word's tokens are written as if they were three.
    written: [Token; BATCH * 3],
}

impl Batch {
    pub(super) const EMPTY: Self = Self {
        ways: [Way { words: [0; BATCH], count: 0 }; WAYS],
        keys: [[0; 2]; BATCH],
        places: [0; BATCH],
        tokens: [Packed::NONE; BATCH],
        many: [[0; FEW]; BATCH],
        written: [0; BATCH * 3],
    };

    #[inline]
    fn push(&mut self, way: usize, number: u8) {
        let way = &mut self.ways[way % WAYS];
        way.words[usize::from(way.count) % BATCH] = number;
        way.count += 1;
    }

    #[inline]
    fn count(&self, way: usize) -> usize {
        usize::from(self.ways[way].count)
    }

    #[inline]
    fn word(&self, way: usize, at: usize) -> (u8, usize) {
        let number = self.ways[way].words[at % BATCH];
        (number, usize::from(number) % BATCH)
    }
}

/// Where a word of a batch begins and ends.
#[inline]
fn place(at: usize, ends: &[usize], index: usize) -> (usize, usize) {
    let start = index.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(at);
    (start, ends.get(index).copied().unwrap_or(start))
}

impl Vocabulary {
    /// [`Self::encode_all`] step by step. How many words were new, and whether to go on.
    #[inline]
    pub(super) fn encode_together<S: Stack>(
        &self,
        memo: &mut Memo,
        text: &[u8],
        at: usize,
        ends: &[usize],
        out: &mut S,
        mut go_on: impl FnMut(&S) -> bool,
    ) -> (usize, bool) {
        let (mut slots, scratch, batch) = memo.parts_and_batch();
        self.look_up(&slots, batch, text, at, ends);
        let new = batch.count(NEW);
        if new > 0 {
            self.encode_new(&mut slots, batch, text, at, ends);
        }
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
            let (start, _) = place(at, ends, index);
            self.encode_long(&mut slots, scratch, text, (start, *end), out);
            if !go_on(out) {
                return (new, false);
            }
        }
        out.extend(batch.written.get(..length).unwrap_or_default());
        (new, go_on(out))
    }

    /// The tokens of the words that are remembered, and which are not. First where all of them would lie: a processor has some two
    /// hundred instructions in hand, and the fewer there are between two words that memory is asked for, the more it is asked for at once.
    #[inline]
    fn look_up(&self, slots: &Slots<'_>, batch: &mut Batch, text: &[u8], at: usize, ends: &[usize]) {
        let mut start = at;
        for (index, end) in ends.iter().enumerate() {
            let index = index % BATCH;
            let key = memoized(window(text, start), end - start, self.owner);
            start = *end;
            batch.keys[index] = key;
            batch.places[index] = slots.place(key);
        }
        let (mut start, mut new) = (at, 0u8);
        for (number, end) in (0u8..).zip(ends) {
            let index = usize::from(number) % BATCH;
            let is_long = end - start > MEMO_BYTES;
            start = *end;
            let (tokens, is_it) = slots.find_at(batch.places[index], batch.keys[index]);
            batch.tokens[index] = select_unpredictable(is_long, Packed::NONE, tokens);
            batch.ways[NEW].words[usize::from(new) % BATCH] = number;
            new += u8::from(!is_it & !is_long);
        }
        batch.ways[NEW].count = new;
    }

    fn encode_new(&self, slots: &mut Slots<'_>, batch: &mut Batch, text: &[u8], at: usize, ends: &[usize]) {
        const WAY: [u8; 16] = [4, 0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4];
        /// Where a word may be a token of its own, whatever its length.
        const ANY: [u8; 16] = [4, 0, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4];
        let by_length = if self.whole.is_empty() { &WAY } else { &ANY };
        for way in [ONE, TWO, THREE, FOUR, REST, MERGED] {
            batch.ways[way].count = 0;
        }
        for new in 0..batch.count(NEW) {
            let (number, index) = batch.word(NEW, new);
            batch.push(usize::from(by_length[length_of(batch.keys[index]) & 15]), number);
        }
        // All of them are asked for before one is merged.
        for rest in 0..batch.count(REST) {
            let (number, index) = batch.word(REST, rest);
            let key = batch.keys[index];
            match self.token(text, place(at, ends, index), key) {
                Some(token) => {
                    batch.tokens[index] = Packed::one(token);
                    slots.keep(key, Packed::one(token));
                }
                None => batch.push(MERGED, number),
            }
        }
        for way in [ONE, TWO, THREE, FOUR, MERGED] {
            for new in 0..batch.count(way) {
                let (_, index) = batch.word(way, new);
                let key = batch.keys[index];
                let [first, second, ..] = key[0].to_le_bytes();
                let tokens = match way {
                    ONE => Some(Packed::one(self.words.byte(first))),
                    TWO => {
                        let token = self.merges.merged_bytes([first, second]);
                        let apart = Packed::two([first, second].map(|byte| self.words.byte(byte)));
                        Some(select_unpredictable(token == Token::MAX, apart, Packed::one(token)))
                    }
                    THREE => Some(word::merge_three(&self.words, &self.merges, key)),
                    FOUR => word::merge_four(&self.words, &self.merges, key),
                    _ => None,
                };
                let place = place(at, ends, index);
                let tokens =
                    tokens.unwrap_or_else(|| self.encode_parted(text, place, &mut batch.many[index]));
                batch.tokens[index] = tokens;
                slots.keep(key, tokens);
            }
        }
    }
}
