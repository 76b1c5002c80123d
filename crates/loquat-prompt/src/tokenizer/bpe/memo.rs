//! [`Memo`]: the words that were encoded last, per thread.
//!
//! A vocabulary's tables are some megabytes, more than a core keeps near; what a text uses of them is little and repeats. A word
//! of up to 15 bytes and three tokens lies here whole, so the question is one look into 768 KiB. A new word takes the place
//! of another: there is nothing to keep in order, and a text made to collide costs what it would without the memo.

use std::cell::RefCell;

use super::{
    merges::{TOKEN_BITS, Token},
    word::{Scratch, Stack},
    words::{Window, hash, masks},
};

/// Words kept.
const SLOTS: usize = 1 << 15;
/// Longest word kept, bytes.
pub(super) const MEMO_BYTES: usize = 15;

/// The words that were encoded last. Without memory it keeps nothing.
#[derive(Default)]
pub(crate) struct Memo {
    /// The word and whose it is; then its tokens, 20 bits each, and from bit 60 on how many.
    slots: Vec<[u64; 3]>,
    pub(super) scratch: Scratch,
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
    const EMPTY: Self = Self { slots: Vec::new(), scratch: Scratch::EMPTY };

    /// Lends the thread's.
    pub(crate) fn lend<R>(run: impl FnOnce(&mut Self) -> R) -> R {
        thread_local! {
            static MEMO: RefCell<Memo> = const { RefCell::new(Memo::EMPTY) };
        }
        // It is taken out and put back, so that an encoding within another one finds an empty place and no lock.
        let mut memo = MEMO.try_with(RefCell::take).unwrap_or_default();
        if memo.slots.is_empty() {
            memo.slots = vec![[0; 3]; SLOTS];
        }
        let result = run(&mut memo);
        // Where the thread ends just now, it is gone.
        let _ = MEMO.try_with(|place| place.replace(memo));
        result
    }

    /// The slot of a word of 1 to 15 bytes.
    #[inline]
    pub(super) fn slot(&mut self, owner: Owner, window: Window, length: usize) -> Option<Slot<'_>> {
        if owner.0 > 15 {
            return None;
        }
        const LOW: [u64; 16] = masks(0);
        const HIGH: [u64; 16] = masks(8);
        let length = length & 15;
        let (low, high) = (window[0] & LOW[length], window[1] & HIGH[length]);
        let key = [low, high | (length as u64) << 56 | owner.0 << 60];
        let slot = self.slots.get_mut(hash(key) & (SLOTS - 1))?;
        Some(Slot { key, slot })
    }
}

/// A word's place.
pub(super) struct Slot<'m> {
    key: Window,
    slot: &'m mut [u64; 3],
}

impl Slot<'_> {
    /// The word's tokens, if it is the one that is kept.
    #[inline]
    pub(super) fn tokens(&self) -> Option<Tokens> {
        (self.slot[0] == self.key[0] && self.slot[1] == self.key[1]).then_some(Tokens(self.slot[2]))
    }

    /// Keeps the word, if its tokens are one to three.
    #[inline]
    pub(super) fn keep(self, tokens: &[Token]) {
        if (1..=3).contains(&tokens.len()) {
            let packed =
                tokens.iter().rev().fold(0, |packed, token| packed << TOKEN_BITS | u64::from(*token));
            *self.slot = [self.key[0], self.key[1], packed | (tokens.len() as u64) << 60];
        }
    }
}

/// One to three tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens(u64);

impl Tokens {
    #[inline]
    pub(super) fn push_to(self, out: &mut impl Stack) {
        const MASK: u64 = (1 << TOKEN_BITS) - 1;
        out.push((self.0 & MASK) as Token);
        if self.0 >> 60 > 1 {
            out.push((self.0 >> TOKEN_BITS & MASK) as Token);
            if self.0 >> 60 > 2 {
                out.push((self.0 >> (2 * TOKEN_BITS) & MASK) as Token);
            }
        }
    }
}
