//! An allocator that is chosen when a program starts, so that one program can be measured with each: `LOQUAT_ALLOCATOR` is
//! `jemalloc`, `mimalloc` or nothing for the system's. Choosing costs a load and a branch, alike for all.

#![allow(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; this one only forwards to one of three"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use mimalloc::MiMalloc;
use tikv_jemallocator::Jemalloc;

pub const VARIABLE: &std::ffi::CStr = c"LOQUAT_ALLOCATOR";

const UNKNOWN: u8 = 0;
const SYSTEM: u8 = 1;
const JEMALLOC: u8 = 2;
const MIMALLOC: u8 = 3;

static CHOSEN: AtomicU8 = AtomicU8::new(UNKNOWN);

/// See the [module](self).
pub struct Chosen;

fn chosen() -> u8 {
    match CHOSEN.load(Relaxed) {
        UNKNOWN => choose(),
        chosen => chosen,
    }
}

/// Before the first allocation, and so once; nothing here allocates.
#[cold]
fn choose() -> u8 {
    // SAFETY: the name ends in a zero byte; nothing changes the environment while a program starts.
    let value = unsafe { libc::getenv(VARIABLE.as_ptr()) };
    let chosen = if value.is_null() {
        SYSTEM
    } else {
        // SAFETY: a string of the environment is never empty of its last, zero byte, so there is a first one.
        match unsafe { value.cast::<u8>().read() } {
            b'j' => JEMALLOC,
            b'm' => MIMALLOC,
            _ => SYSTEM,
        }
    };
    CHOSEN.store(chosen, Relaxed);
    chosen
}

// SAFETY: every call is forwarded unchanged to an allocator that upholds the contract, and to the same one for the whole
// life of the program.
unsafe impl GlobalAlloc for Chosen {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on as they are.
        unsafe {
            match chosen() {
                JEMALLOC => Jemalloc.alloc(layout),
                MIMALLOC => MiMalloc.alloc(layout),
                _ => System.alloc(layout),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match chosen() {
                JEMALLOC => Jemalloc.alloc_zeroed(layout),
                MIMALLOC => MiMalloc.alloc_zeroed(layout),
                _ => System.alloc_zeroed(layout),
            }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match chosen() {
                JEMALLOC => Jemalloc.realloc(pointer, layout, new_size),
                MIMALLOC => MiMalloc.realloc(pointer, layout, new_size),
                _ => System.realloc(pointer, layout, new_size),
            }
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe {
            match chosen() {
                JEMALLOC => Jemalloc.dealloc(pointer, layout),
                MIMALLOC => MiMalloc.dealloc(pointer, layout),
                _ => System.dealloc(pointer, layout),
            }
        }
    }
}
