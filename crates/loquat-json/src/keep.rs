//! Keeping what was lent, without a copy where there need be none.

use bytes::Bytes;

/// `part` of `read`, to be kept when both are gone. Borrowed until then: decoding itself counts no references.
///
/// Shares the memory of `read` where `part` lies in it: the [`data`](crate::Event::data) of an event that came in one read with one data
/// line, and any text of it that is there as written ([`Str::borrowed`](crate::Str::borrowed), [`Raw`](crate::Raw)). Anything else
/// (an event in two reads, which is in the decoder's buffer) is copied, in its own length.
///
/// What shares keeps the whole read in memory, however small it is itself: to keep few of many events for long,
/// [`Bytes::copy_from_slice`] holds less.
///
/// ```
/// use bytes::Bytes;
/// use loquat_json::{Limits, keep, sse};
///
/// let mut events = sse::Decoder::new(Limits::default());
/// let mut kept = Vec::new();
/// for frame in [Bytes::from_static(b"data: one\n\ndata: t"), Bytes::from_static(b"wo\n\n")] {
///     let mut read = &frame[..];
///     while let Some(event) = events.next(&mut read)? {
///         kept.push(keep(event.data, &frame));
///     }
/// }
/// assert_eq!(kept, ["one", "two"]);
/// # Ok::<(), loquat_json::Error>(())
/// ```
pub fn keep(part: impl AsRef<[u8]>, read: &Bytes) -> Bytes {
    let part = part.as_ref();
    let shared = part.as_ptr().addr().checked_sub(read.as_ptr().addr()).and_then(|start| {
        let end = start.checked_add(part.len())?;
        // An empty slice would keep a whole read for nothing.
        (end <= read.len() && start < end).then(|| read.slice(start..end))
    });
    shared.unwrap_or_else(|| Bytes::copy_from_slice(part))
}
