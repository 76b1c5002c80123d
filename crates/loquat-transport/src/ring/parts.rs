//! What the ring is made of: the standard library's atomics, and the memory both sides copy to and from. The model test
//! puts loom's in their place.

#![allow(unsafe_code, reason = "two threads share one buffer; see the safety note of each block")]

use std::{cell::UnsafeCell, ops::Range};

pub(super) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Bytes that both sides can reach, who may touch which being the caller's to know.
pub(super) struct Store(Box<[UnsafeCell<u8>]>);

// SAFETY: the only accesses are the unsafe methods below, whose callers promise that no two of them overlap in time and
// place with one writing.
unsafe impl Sync for Store {}

impl Store {
    pub(super) fn new(bytes: usize) -> Self {
        Self((0..bytes).map(|_| UnsafeCell::new(0)).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Copies these bytes to there.
    ///
    /// # Safety
    /// Nobody else reads or writes that part at the same time.
    pub(super) unsafe fn write(&self, at: usize, bytes: &[u8]) {
        let part = &self.0[at..at + bytes.len()];
        let to = UnsafeCell::raw_get(part.as_ptr());
        // SAFETY: `part` is as long as `bytes` and lies in the store; an `UnsafeCell<u8>` is laid out as a `u8` and may be
        // written through a shared reference; the caller promises that nobody else touches it; `bytes`, a plain borrow,
        // cannot lie in it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    /// Lends two parts.
    ///
    /// # Safety
    /// Nobody writes to them until `look` returns.
    pub(super) unsafe fn lend<T>(
        &self,
        first: Range<usize>,
        second: Range<usize>,
        look: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> T {
        let part = |range: Range<usize>| {
            let part = &self.0[range];
            // SAFETY: it lies in the store, is initialized since `new`, and is not written to while `look` runs.
            unsafe { std::slice::from_raw_parts(UnsafeCell::raw_get(part.as_ptr()).cast_const(), part.len()) }
        };
        look(part(first), part(second))
    }
}

/// A value with two cache lines to itself: processors fetch lines in pairs.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);
