//! One event, and how large one may become: what both framings share. Knows nothing of what the data means.

use std::fmt;
use std::time::Duration;

use memchr::memchr;

/// Limits on what a framing decoder holds for one stream.
///
/// ```
/// let limits = loquat_json::Limits::default().with_max_event_bytes(64 * 1024);
/// assert_eq!(limits.max_event_bytes, 65_536);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest event, in bytes: for SSE all lines since the last blank line, comments included and line ends not;
    /// for NDJSON the line. Default 8 MiB (8,388,608).
    ///
    /// Chosen so that an image of a few megabytes, inline as base64, still passes, while 64 streams stuck inside a
    /// line that never ends hold half a gigabyte at worst. The longest of 20,000 recorded text events has 27 KB, and
    /// memory is taken only as bytes arrive, so a normal stream never pays for the limit.
    pub max_event_bytes: usize,
}

impl Limits {
    /// Replaces [`max_event_bytes`](Self::max_event_bytes).
    #[must_use]
    pub fn with_max_event_bytes(mut self, max_event_bytes: usize) -> Self {
        self.max_event_bytes = max_event_bytes;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_event_bytes: 8 * 1024 * 1024 }
    }
}

/// One event, lent by the decoder (or by the bytes it was given) until its next call.
///
/// `Debug` shows lengths, not content.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The SSE event type: the value of the last `event:` field, `"message"` when absent or empty. Always `"message"`
    /// for NDJSON.
    pub name: &'a str,
    /// The data: the `data:` lines joined by LF, or the NDJSON line. Borrowed from the input when the event lay in
    /// one read with one data line; otherwise from the decoder's reused buffer.
    pub data: &'a str,
    /// The last event id seen so far, this event's own included. It persists from event to event until the server sends
    /// another; an empty `id:` takes it away again. One with a NUL in it is ignored, as the standard says, and so is one of more than
    /// 64 KiB (with replacement characters where it is not UTF-8), which no request could send back. `None` for NDJSON.
    pub id: Option<&'a str>,
    /// The reconnection time the server last asked for (`retry:`, whole milliseconds), which likewise persists. `None`
    /// until there is one, and for NDJSON.
    pub retry: Option<Duration>,
    /// The extractor that has already found this event's fields, while it still knows them.
    pub(crate) found_by: Mark,
    /// The data that they were found in: whoever holds the event may have put other data in its place.
    pub(crate) found_in: &'a str,
}

/// The length of the line end that starts at `at`, if one does that is certain to be whole: LF or CRLF.
#[inline]
pub(crate) fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'\n' => Some(1),
        b'\r' if bytes.get(at + 1) == Some(&b'\n') => Some(2),
        _ => None,
    }
}

/// Reads shorter than this, in bytes, are searched for a line end before anything is compared with them: of those that have none there
/// are many, and the search is a vector or two.
const TINY_READ_BYTES: usize = 128;

/// Whether a whole event may be at the front of the input; that of a long one is taken for granted.
#[inline]
pub(crate) fn may_be_whole(input: &[u8]) -> bool {
    input.len() >= TINY_READ_BYTES || memchr(b'\n', input).is_some()
}

/// What of the input an event at its front is looked for in whose end is not known yet: an event no longer than its limit, line ends
/// included, is all there, and of a longer one no more is looked at.
#[inline]
pub(crate) fn within(input: &[u8], limits: Limits) -> &[u8] {
    input.get(..limits.max_event_bytes).unwrap_or(input)
}

/// One extractor at one event, its turns counted from 1; the default is none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub(crate) extractor: u64,
    pub(crate) turn: u64,
}

/// By what was sent, whoever has looked at it.
impl PartialEq for Event<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.data, self.id, self.retry) == (other.name, other.data, other.id, other.retry)
    }
}

impl Eq for Event<'_> {}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("name_bytes", &self.name.len())
            .field("data_bytes", &self.data.len())
            .field("id_bytes", &self.id.map(str::len))
            .field("retry", &self.retry)
            .finish()
    }
}
