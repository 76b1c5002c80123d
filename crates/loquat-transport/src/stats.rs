//! Plain counters: what was opened, reused, and is open now.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::Protocol;

/// What a transport did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// HTTP/1.1 connections made.
    pub http1_opened: u64,
    /// HTTP/2 connections made.
    pub http2_opened: u64,
    /// HTTP/1.1 connections open now, idle ones included.
    pub http1_open: usize,
    /// HTTP/2 connections open now.
    pub http2_open: usize,
    /// Requests that went over a connection which had carried another before, or carries others beside it.
    pub reused: u64,
    /// Requests repeated silently on another connection because the first had certainly not taken them.
    pub replaced: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    opened: [AtomicU64; 2],
    open: [AtomicUsize; 2],
    pub(crate) reused: AtomicU64,
    pub(crate) replaced: AtomicU64,
}

impl Counters {
    pub(crate) fn opened(&self, protocol: Protocol) {
        self.opened[protocol as usize].fetch_add(1, Relaxed);
        self.open[protocol as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self, protocol: Protocol) {
        self.open[protocol as usize].fetch_sub(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let (one, two) = (Protocol::Http1 as usize, Protocol::Http2 as usize);
        Stats {
            http1_opened: self.opened[one].load(Relaxed),
            http2_opened: self.opened[two].load(Relaxed),
            http1_open: self.open[one].load(Relaxed),
            http2_open: self.open[two].load(Relaxed),
            reused: self.reused.load(Relaxed),
            replaced: self.replaced.load(Relaxed),
        }
    }
}
