//! Who holds the program's memory: what its allocator says, with names.
//!
//! It deliberately knows no allocator: only the program knows which it runs on, and hands over what that one keeps account of
//! ([`Observer::watch_heap`](crate::Observer::watch_heap)). Most keep none.

use loquat_core::Result;

use super::{Meaning, Profile, Turn};
use crate::stack;

/// Memory that was asked for at one place and has not been given back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapStack {
    /// Where it was asked for: the addresses of the code that was to go on, outermost first. Those beyond 128 are not shown.
    pub addresses: Vec<usize>,
    /// How much, in bytes: what a sample stands for, where the allocator samples.
    pub bytes: u64,
}

impl HeapStack {
    /// So much memory, asked for there.
    pub fn new(addresses: Vec<usize>, bytes: u64) -> Self {
        Self { addresses, bytes }
    }
}

/// Asks for who holds memory now.
pub(crate) type AskHeap = dyn Fn() -> Result<Vec<HeapStack>> + Send + Sync;

/// Takes one. Blocks for as long as the allocator needs to write down what it knows.
pub(crate) fn take(_turn: &Turn, ask: &AskHeap) -> Result<Profile> {
    let mut profile = Profile::new(Meaning::Heap);
    let mut names = stack::Names::default();
    for HeapStack { addresses, bytes } in ask()? {
        // An address is where a call returns to, which may be the next function already: the call stands before it.
        let calls = addresses.iter().take(stack::MAX_FRAMES).map(|address| address.saturating_sub(1) as u64);
        let stack = calls.map(|address| names.of(address)).collect();
        profile.add(stack, bytes);
    }
    Ok(profile)
}
