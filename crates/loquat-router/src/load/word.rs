//! What the state machines here need of an atomic word: the standard library's in use, loom's in their tests, so that every
//! interleaving is gone through in an ordinary test.
//!
//! Each keeps all that it means in one word, so no other memory needs ordering after it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One atomic word.
pub(crate) trait Word {
    fn read(&self) -> u64;
    /// Puts `new` in the place of `old`; what was found there instead of it. It may fail for no reason.
    fn replace(&self, old: u64, new: u64) -> Result<(), u64>;
}

impl Word for AtomicU64 {
    fn read(&self) -> u64 {
        self.load(Relaxed)
    }

    fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        self.compare_exchange_weak(old, new, Relaxed, Relaxed).map(drop)
    }
}

/// Changes the word until nobody has got in between; what was there, where `change` had something to change.
pub(crate) fn update(word: &impl Word, change: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let mut old = word.read();
    loop {
        match word.replace(old, change(old)?) {
            Ok(()) => return Some(old),
            Err(seen) => old = seen,
        }
    }
}

#[cfg(test)]
impl Word for loom::sync::atomic::AtomicU64 {
    fn read(&self) -> u64 {
        self.load(Relaxed)
    }

    fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        self.compare_exchange(old, new, Relaxed, Relaxed).map(drop)
    }
}
