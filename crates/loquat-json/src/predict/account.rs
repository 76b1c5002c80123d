//! Whether prediction pays: what templates save a stream, and what it costs to have them.
//!
//! A stream tells the store that it shares with its like, and that says whether the next one begins with prediction
//! ([`Shapes::pays`]).

use std::mem;

use crate::shape::Shapes;

/// Events that a stream begins with unpredicted where prediction does not pay. One that goes on for longer may be of another kind.
pub(super) const HELD_BACK: u32 = 48;

/// What it costs, beside the full pass, in what a template saves of one event: a thousand cycles where recorded streams were measured on
/// Zen 3, each read as cold as it comes; of texts of one line, as nearly all are.
pub(super) mod cost {
    /// To count the strings of a document and look for its shape.
    pub(in crate::predict) const LOOK: i32 = 1;
    /// To make a template.
    pub(in crate::predict) const TEMPLATE: i32 = 2;
    /// To have looked in vain, and to pass the document as one that may be learned.
    pub(in crate::predict) const PASS: i32 = 2;
    /// To learn a shape.
    pub(in crate::predict) const SHAPE: i32 = 5;
}

/// One stream's.
#[derive(Default)]
pub(super) struct Account {
    /// Events that a template fitted since the store was last told.
    fitted: u32,
    /// What prediction has cost since then; see [`cost`].
    spent: i32,
    /// How many events are still to be passed before the first is predicted, once that is decided.
    held_back: Option<u32>,
    /// The store was told: there was more than one text.
    is_stream: bool,
}

impl Account {
    /// Whether the next event may be predicted; `None` before the first.
    #[inline]
    pub(super) fn is_on(&self) -> Option<bool> {
        Some(self.held_back? == 0)
    }

    /// Whether the first may be.
    pub(super) fn begin(&mut self, store: &Shapes) -> bool {
        let pays = store.pays();
        self.held_back = Some(if pays { 0 } else { HELD_BACK });
        pays
    }

    /// The next event is passed without being predicted.
    pub(super) fn hold_back(&mut self, store: &Shapes) {
        if let Some(events) = &mut self.held_back {
            // Streams do without, documents would have had nothing from it.
            if *events == HELD_BACK - 1 {
                store.settle(1);
            }
            *events = events.saturating_sub(1);
        }
    }

    /// A template fitted.
    #[inline(always)] // on the way of every event
    pub(super) fn save(&mut self) {
        self.fitted = self.fitted.wrapping_add(1);
    }

    pub(super) fn spend(&mut self, cost: i32) {
        self.spent = self.spent.saturating_add(cost);
    }

    /// Tells the store what was saved and spent before the text that comes now.
    pub(super) fn settle(&mut self, store: &Shapes) {
        if self.fitted > 0 || self.spent > 0 {
            let fitted = i32::try_from(mem::take(&mut self.fitted)).unwrap_or(i32::MAX);
            store.settle(fitted.saturating_sub(mem::take(&mut self.spent)));
            self.is_stream = true;
        }
    }

    /// No other text comes. Of one that was alone nothing is said: a whole document has no successors that could repay it.
    pub(super) fn end(&mut self, store: &Shapes) {
        if self.fitted > 0 || self.is_stream {
            self.settle(store);
        }
    }
}
