//! Plain counters: what was opened, reused, and is open now.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

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
    /// How often a request had to wait for another's connection or a free place, and for how long all of them together.
    /// Making a connection of its own is not counted.
    pub waits: u64,
    /// See `waits`.
    pub waited: Duration,
    /// Large buffers taken, to decompress or to upload, and how many of them had been used before.
    pub buffers_taken: u64,
    /// See `buffers_taken`.
    pub buffers_reused: u64,
}

impl Stats {
    /// The part of all requests that found a connection already open, 0 to 1; 0 before the first.
    #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
    pub fn reuse_ratio(&self) -> f64 {
        let all = self.reused + self.http1_opened + self.http2_opened;
        if all == 0 { 0.0 } else { self.reused as f64 / all as f64 }
    }
}

impl Stats {
    /// The part of the large buffers taken that had been used before, 0 to 1; 0 before the first.
    #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
    pub fn buffer_hit_ratio(&self) -> f64 {
        if self.buffers_taken == 0 { 0.0 } else { self.buffers_reused as f64 / self.buffers_taken as f64 }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    opened: [AtomicU64; 2],
    open: [AtomicUsize; 2],
    pub(crate) reused: AtomicU64,
    pub(crate) replaced: AtomicU64,
    waits: AtomicU64,
    waited_micros: AtomicU64,
}

impl Counters {
    pub(crate) fn opened(&self, protocol: Protocol) {
        self.opened[protocol as usize].fetch_add(1, Relaxed);
        self.open[protocol as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self, protocol: Protocol) {
        self.open[protocol as usize].fetch_sub(1, Relaxed);
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.waits.fetch_add(1, Relaxed);
        self.waited_micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
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
            waits: self.waits.load(Relaxed),
            waited: Duration::from_micros(self.waited_micros.load(Relaxed)),
            buffers_taken: 0,
            buffers_reused: 0,
        }
    }
}
