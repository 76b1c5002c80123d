//! [`Memo`]: the words that were encoded last, per thread.
//!
//! A vocabulary's tables are some megabytes, more than a core keeps near; what a text uses of them is little and repeats. A word
//! of up to 15 bytes and three tokens lies here whole, so the question is one look into 1 MiB, at one cache line: of slots of 24 bytes,
//! which is all that is needed, each fourth would lie across two. A new word takes the place
//! of another: there is nothing to keep in order, and a text made to collide costs what it would without the memo.

use std::cell::RefCell;

use super::{
    batch::Batch,
    merges::{TOKEN_BITS, Token},
    word::Scratch,
    words::{Window, hash, masks},
};

/// Words kept.
const SLOTS: usize = 1 << 15;
/// Batches that count, or so: with fewer, known text passes for new now and then.
const AVERAGED: usize = 32;
/// Longest word kept, bytes.
pub(super) const MEMO_BYTES: usize = 15;

/// The word and whose it is; then its tokens, 20 bits each, and from bit 60 on how many; the rest is for its place.
type Slot = [u64; SLOT_WORDS];
const SLOT_WORDS: usize = 4;

/// The words that were encoded last. Without memory it keeps nothing.
#[derive(Default)]
pub(crate) struct Memo {
    /// Numbers one by one, since memory of zeros is had for nothing so, but none that begins where a slot should.
    memory: Vec<u64>,
    /// Where in it the first slot begins, at a place that a slot's size divides.
    first: usize,
    /// Where there was need of one.
    batch: Option<Box<Batch>>,
    /// How many of a thousand words were new, of late; [`AVERAGED`] times as many.
    new: usize,
    scratch: Scratch,
}

/// Whose a word is: memos are shared by the first fifteen vocabularies of a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner(u64);

impl Owner {
    /// The next vocabulary's.
    pub(super) fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};

        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Memo {
    const EMPTY: Self = Self { memory: Vec::new(), first: 0, batch: None, new: 0, scratch: Scratch::EMPTY };

    /// Lends the thread's.
    pub(crate) fn lend<R>(run: impl FnOnce(&mut Self) -> R) -> R {
        thread_local! {
            static MEMO: RefCell<Memo> = const { RefCell::new(Memo::EMPTY) };
        }
        // It is taken out and put back, so that an encoding within another one finds an empty place and no lock.
        let mut memo = MEMO.try_with(RefCell::take).unwrap_or_default();
        if memo.memory.is_empty() {
            memo.memory = vec![0; (SLOTS + 1) * SLOT_WORDS];
            memo.first = memo.memory.as_ptr().align_offset(size_of::<Slot>());
        }
        let result = run(&mut memo);
        // Where the thread ends just now, it is gone.
        let _ = MEMO.try_with(|place| place.replace(memo));
        result
    }

    /// Whether three in a hundred of the last words were new. Of prose and code that was never seen a tenth is, of random bytes a third,
    /// of base64 nearly all; of what is asked again, and of numbers, hardly any.
    pub(crate) fn is_new(&self) -> bool {
        self.new >= 30 * AVERAGED
    }

    /// So many of so many more words were new.
    #[inline]
    pub(super) fn remember(&mut self, new: usize, words: usize) {
        self.new += new * 1000 / words.max(1);
        self.new -= self.new / AVERAGED;
    }

    /// Where words and their tokens lie, and what is lent beside.
    #[inline]
    pub(super) fn parts(&mut self) -> (Slots<'_>, &mut Scratch) {
        (Slots::of(&mut self.memory, self.first), &mut self.scratch)
    }

    /// The same, and a batch.
    #[inline]
    pub(super) fn parts_and_batch(&mut self) -> (Slots<'_>, &mut Scratch, &mut Batch) {
        let batch = self.batch.get_or_insert_with(|| Box::new(Batch::EMPTY));
        (Slots::of(&mut self.memory, self.first), &mut self.scratch, batch)
    }
}

/// The words that are kept.
pub(super) struct Slots<'m>(&'m mut [Slot]);

impl<'m> Slots<'m> {
    /// Those in that memory, from there on. Whatever that is, they are in it.
    #[inline]
    fn of(memory: &'m mut [u64], first: usize) -> Self {
        let (slots, _) = memory.get_mut(first..).unwrap_or_default().as_chunks_mut();
        Self(slots.get_mut(..SLOTS).unwrap_or_default())
    }

    /// Where a word lies, if it does.
    #[inline]
    pub(super) fn place(&self, key: Window) -> usize {
        hash(key) & self.0.len().wrapping_sub(1)
    }

    /// The word's tokens, and whether it is the one that is kept.
    #[inline]
    pub(super) fn find(&self, key: Window) -> (Packed, bool) {
        self.find_at(self.place(key), key)
    }

    /// [`find`](Self::find) where its place is known.
    #[inline]
    pub(super) fn find_at(&self, place: usize, key: Window) -> (Packed, bool) {
        let [low, high, tokens, _] = self.0.get(place).copied().unwrap_or_default();
        (Packed(tokens), (low ^ key[0]) | (high ^ key[1]) == 0)
    }

    /// Keeps the word, if its tokens are no more than three and its vocabulary keeps any.
    #[inline]
    pub(super) fn keep(&mut self, key: Window, tokens: Packed) {
        let place = self.place(key);
        if key[1] >> 60 != 0
            && tokens.count() <= 3
            && let Some(slot) = self.0.get_mut(place)
        {
            *slot = [key[0], key[1], tokens.0, 0];
        }
    }
}

/// How many tokens a word has and, of up to three, which: 20 bits each, the first lowest. Of none it is not known yet what they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed(u64);

impl Packed {
    pub(super) const NONE: Self = Self(0);
    const COUNT: u32 = 60;

    /// So many tokens that lie elsewhere.
    #[inline]
    pub(super) fn many(count: usize) -> Self {
        Self((count as u64) << Self::COUNT)
    }

    #[inline]
    pub(super) fn one(token: Token) -> Self {
        Self(1 << Self::COUNT | u64::from(token))
    }

    #[inline]
    pub(super) fn two([first, second]: [Token; 2]) -> Self {
        Self(2 << Self::COUNT | u64::from(second) << TOKEN_BITS | u64::from(first))
    }

    #[inline]
    pub(super) fn three([first, second, third]: [Token; 3]) -> Self {
        let tokens = u64::from(third) << (2 * TOKEN_BITS) | u64::from(second) << TOKEN_BITS;
        Self(3 << Self::COUNT | tokens | u64::from(first))
    }

    #[inline]
    pub(super) fn count(self) -> usize {
        (self.0 >> Self::COUNT) as usize
    }

    /// The tokens, if they are no more than three; what is behind them is of no meaning.
    #[inline]
    pub(super) fn tokens(self) -> [Token; 3] {
        const MASK: u64 = (1 << TOKEN_BITS) - 1;
        [self.0, self.0 >> TOKEN_BITS, self.0 >> (2 * TOKEN_BITS)].map(|token| (token & MASK) as Token)
    }
}

/// A word's key: its bytes, up to [`MEMO_BYTES`], how many they are and whose it is, 0 for whose words are not kept.
#[inline]
pub(super) fn memoized(window: Window, length: usize, Owner(owner): Owner) -> Window {
    const LOW: [u64; 16] = masks(0);
    const HIGH: [u64; 16] = masks(8);
    let length = length & 15;
    let owner = if owner > 15 { 0 } else { owner };
    [window[0] & LOW[length], window[1] & HIGH[length] | (length as u64) << 56 | owner << 60]
}

/// How long the word is whose key it is.
#[inline]
pub(super) fn length_of(key: Window) -> usize {
    (key[1] >> 56) as usize & 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_lies_on_one_cache_line_whenever_a_thread_begins() {
        for _ in 0..8 {
            std::thread::spawn(|| {
                Memo::lend(|memo| {
                    let (slots, _) = memo.parts();
                    assert_eq!(slots.0.len(), SLOTS, "all of them");
                    assert_eq!(slots.0.as_ptr().align_offset(size_of::<Slot>()), 0);
                });
            })
            .join()
            .expect("it holds");
        }
    }
}
