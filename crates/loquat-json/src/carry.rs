//! Growing and giving back the buffers that carry an unfinished event from one read to the next.
//!
//! `Vec` alone doubles past any limit and never shrinks; a decoder that lives as long as a connection needs both ends.

use crate::error::{Error, ErrorKind};

/// Capacity kept from one event to the next, in bytes. The longest of 20,000 recorded text events has 27 KB, so a steady
/// stream never allocates; the one huge event (an image) does not stay in memory with the connection.
pub(crate) const RETAINED_BYTES: usize = 64 * 1024;

/// The byte-order mark that may open a stream, in UTF-8.
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Appends with amortized growth that stops at `ceiling`: the caller has checked that the bytes fit below it.
pub(crate) fn append(buffer: &mut Vec<u8>, bytes: &[u8], ceiling: usize) {
    buffer.reserve_exact(room(buffer.len(), buffer.capacity(), bytes.len(), ceiling));
    buffer.extend_from_slice(bytes);
}

/// [`append`] for text.
#[inline]
pub(crate) fn append_text(text: &mut String, piece: &str, ceiling: usize) {
    text.reserve_exact(room(text.len(), text.capacity(), piece.len(), ceiling));
    text.push_str(piece);
}

/// How much to reserve before `more` bytes are appended.
fn room(length: usize, capacity: usize, more: usize, ceiling: usize) -> usize {
    let needed = length.saturating_add(more);
    if needed <= capacity {
        return 0;
    }
    capacity.saturating_mul(2).min(ceiling).max(needed) - length
}

/// Empties a buffer and gives back what one unusual event made it grow to.
#[inline]
pub(crate) fn release(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > RETAINED_BYTES {
        buffer.shrink_to(RETAINED_BYTES);
    }
}

/// [`release`] for text.
#[inline]
pub(crate) fn release_text(text: &mut String) {
    text.clear();
    if text.capacity() > RETAINED_BYTES {
        text.shrink_to(RETAINED_BYTES);
    }
}

/// Appends bytes as text, each maximal subpart of an ill-formed sequence as one U+FFFD (WHATWG Encoding, "UTF-8
/// decode"). Applied line by line it equals decoding the whole stream first: CR and LF never continue a sequence.
///
/// Takes no more memory than what comes out, three times the bytes at worst: most lines are UTF-8, and need no counting.
pub(crate) fn append_lossy(text: &mut String, bytes: &[u8]) {
    if let Ok(valid) = std::str::from_utf8(bytes) {
        return text.push_str(valid);
    }
    text.reserve_exact(lossy_length(bytes));
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// How long the text is that [`append_lossy`] appends, in bytes: no shorter than these.
pub(crate) fn lossy_length(bytes: &[u8]) -> usize {
    let replaced = |chunk: std::str::Utf8Chunk<'_>| {
        let replacement = if chunk.invalid().is_empty() { 0 } else { char::REPLACEMENT_CHARACTER.len_utf8() };
        chunk.valid().len() + replacement
    };
    bytes.utf8_chunks().map(replaced).sum()
}

/// Recognizes one byte-order mark at the start of a stream, whatever the reads.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BomSkipper {
    matched: usize,
    done: bool,
}

impl BomSkipper {
    /// Advances `input` past what belongs to the mark. Returns bytes that looked like the start of one and were not:
    /// they belong to the first line.
    pub(crate) fn skip(&mut self, input: &mut &[u8]) -> &'static [u8] {
        while !self.done {
            match input.split_first() {
                None => break,
                Some((&byte, rest)) if byte == BOM[self.matched] => {
                    *input = rest;
                    self.matched += 1;
                    self.done = self.matched == BOM.len();
                }
                Some(_) => return self.finish(),
            }
        }
        &[]
    }

    /// True once the first bytes have been looked at.
    pub(crate) fn is_done(self) -> bool {
        self.done
    }

    /// The stream ends, or goes on with something else: whatever was held back is content.
    pub(crate) fn finish(&mut self) -> &'static [u8] {
        if self.done {
            return &[];
        }
        self.done = true;
        &BOM[..self.matched]
    }
}

/// Refuses `next` more bytes if they would make an event longer than `limit`. `stream_offset` is that of the first of
/// them, `used` the length of the event so far; the error names the first byte that does not fit, so that it is the
/// same for every split of the stream.
pub(crate) fn check_fits(used: usize, next: usize, limit: usize, stream_offset: u64) -> Result<(), Error> {
    let room = limit.saturating_sub(used);
    if next <= room {
        return Ok(());
    }
    Err(Error::in_stream(ErrorKind::TooLong, stream_offset + room as u64))
}
