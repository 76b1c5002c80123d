//! What the streams of one contender have given so far.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use loquat_benches::machine;
use memchr::memmem::Finder;

use crate::server::{BEFORE_TIME, TIME_DIGITS};

/// Counts chunks (events with text), and how long each was on its way while that is asked for.
pub struct Tally {
    finder: Finder<'static>,
    chunks: Cell<u64>,
    begun: Cell<usize>,
    measures: Cell<bool>,
    /// In milliseconds.
    delays: RefCell<Vec<f64>>,
    arrived: Cell<Duration>,
}

impl Tally {
    pub fn new() -> Self {
        Self {
            finder: Finder::new(BEFORE_TIME),
            chunks: Cell::default(),
            begun: Cell::default(),
            measures: Cell::default(),
            delays: RefCell::default(),
            arrived: Cell::default(),
        }
    }

    /// A stream has given its first chunk.
    pub fn begin(&self) {
        self.begun.set(self.begun.get() + 1);
    }

    pub fn begun(&self) -> usize {
        self.begun.get()
    }

    pub fn chunks(&self) -> u64 {
        self.chunks.get()
    }

    pub fn measure(&self, measures: bool) {
        self.measures.set(measures);
    }

    /// When the last chunk was there, while that is measured; by [`machine::monotonic`].
    #[allow(dead_code, reason = "for the bench that looks at one chunk")]
    pub fn arrived(&self) -> Duration {
        self.arrived.get()
    }

    #[allow(dead_code, reason = "for the bench that looks at many")]
    pub fn take_delays(&self) -> Vec<f64> {
        std::mem::take(&mut self.delays.borrow_mut())
    }

    /// The text of one chunk: ` t`, the time it was written, a word.
    pub fn text(&self, text: &str) {
        if let Some(time) = text.as_bytes().get(2..2 + TIME_DIGITS) {
            self.chunk(time);
        }
    }

    /// Bytes as they came, for those who decode nothing: how many chunks lie in them.
    pub fn bytes(&self, bytes: &[u8]) -> usize {
        let mut found = 0;
        for at in self.finder.find_iter(bytes) {
            let start = at + BEFORE_TIME.len();
            if let Some(time) = bytes.get(start..start + TIME_DIGITS) {
                self.chunk(time);
                found += 1;
            }
        }
        found
    }

    fn chunk(&self, time: &[u8]) {
        self.chunks.set(self.chunks.get() + 1);
        if self.measures.get() {
            let sent = time.iter().fold(0_u64, |all, digit| all * 10 + u64::from(digit & 15));
            let now = machine::monotonic();
            self.arrived.set(now);
            self.delays.borrow_mut().push((now.as_nanos() as u64).saturating_sub(sent) as f64 / 1e6);
        }
    }
}
