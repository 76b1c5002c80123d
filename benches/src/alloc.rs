//! A global allocator that counts while it is asked to, and costs one relaxed load otherwise, so that a peer that allocates
//! is not made slower by being watched.

#![allow(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; this one only forwards to the system's"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The system's allocator with a counter; `#[global_allocator] static A: Counting = Counting;`.
#[derive(Debug)]
pub struct Counting;

fn count() {
    if IS_COUNTING.load(Relaxed) {
        COUNT.fetch_add(1, Relaxed);
    }
}

// SAFETY: every call is forwarded unchanged to `System`, which upholds the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How many times `body` allocated or grew an allocation, on any thread. One measurement at a time.
pub fn during(body: impl FnOnce()) -> u64 {
    let before = start();
    body();
    stop() - before
}

/// Counts from here on; the count so far.
pub fn start() -> u64 {
    IS_COUNTING.store(true, Relaxed);
    COUNT.load(Relaxed)
}

/// Counts no more; the count so far.
pub fn stop() -> u64 {
    IS_COUNTING.store(false, Relaxed);
    COUNT.load(Relaxed)
}
