//! An event like the last one, taken in one go: framed, validated and extracted by one comparison. Nothing is consumed but what was
//! accepted, so that everything else is left to the way of all events.

use crate::extract::Extractor;
use crate::found::{Found, Likeness};
use crate::template::Framing;

/// Where a framing decoder stands, as far as an event that goes by without touching its buffers is concerned.
pub(crate) struct Place<'d> {
    pub(crate) framing: Framing,
    /// An event begins with the next byte, and nothing waits to be cleared.
    pub(crate) is_between: bool,
    pub(crate) max_event_bytes: usize,
    /// Bytes taken from the stream so far.
    pub(crate) offset: &'d mut u64,
}

impl Place<'_> {
    /// See [`Framer::next_again`](crate::Framer::next_again).
    #[inline(always)] // on the way of every event
    pub(crate) fn next_again<'a, 'i: 'a, T>(
        self,
        input: &mut &'i [u8],
        json: &'a mut Extractor,
        likeness: Likeness,
        accept: impl FnOnce(Found<'a>) -> Option<T>,
    ) -> Option<T> {
        if !self.is_between {
            return None;
        }
        let (length, found) = json.predict_again(self.framing, input, likeness)?;
        if length > self.max_event_bytes {
            return None;
        }
        let accepted = accept(found)?;
        *self.offset += length as u64;
        *input = input.get(length..).unwrap_or_default();
        Some(accepted)
    }
}
