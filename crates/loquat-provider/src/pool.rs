//! What a decoder has learnt and allocated, kept from one answer for the next of its format.
//!
//! Most answers are short: of twenty events the first ones would each be met as something new, and each buffer would grow
//! once more. Kept are the extractors, with the shapes of the events they saw, and the outbox's buffers; nothing of an answer is
//! ever read again, since every answer begins with everything else as new ([`Wire::renew`]). Nobody waits for the lock: who
//! does not get it makes new ones.

use std::sync::Mutex;

use crate::{outbox::Outbox, wire::Wire};

/// Most that is kept of one format: more answers than that at once are rare in one process, and each costs some 20 KiB as a rule.
const MAX_KEPT: usize = 16;

/// Answers with longer events than this are not kept, in bytes. A bound on what a hostile one leaves behind: an extractor keeps up to
/// some 100 bytes for each byte of the longest event, and what has been told of a response up to 700 KiB, so that a format keeps 27 MiB at the
/// very most. Text events have 300 bytes.
pub(crate) const MAX_EVENT_BYTES: usize = 8 * 1024;

/// The parts of a decoder that serve one answer after the other.
pub(crate) struct Pool(Mutex<Vec<(Box<dyn Wire>, Outbox)>>);

impl Pool {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The parts that were given back last. They are as their answer left them.
    pub(crate) fn take(&self) -> Option<(Box<dyn Wire>, Outbox)> {
        self.0.try_lock().ok()?.pop()
    }

    /// Keeps them, if there is room.
    pub(crate) fn give(&self, wire: Box<dyn Wire>, out: Outbox) {
        if let Ok(mut kept) = self.0.try_lock()
            && kept.len() < MAX_KEPT
        {
            kept.push((wire, out));
        }
    }
}
