//! Newline-delimited JSON: one value a line. Knows nothing of what the values are, nor whether they are values.
//!
//! There is no standard worth the name; this follows what servers send and <https://github.com/ndjson/ndjson-spec>: lines
//! end in LF, a CR before it and blank lines are ignored. UTF-8 is not repaired as in [`sse`](crate::sse): RFC 8259 §8.1
//! demands it, and a replaced character would pass for the server's own.

use std::fmt;

use memchr::memchr;

use crate::again::Place;
use crate::carry::{self, BomSkipper};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Limits, Mark, line_end, may_be_whole, within};
use crate::extract::Extractor;
use crate::found::{Found, Likeness};
use crate::template::{Frame, Framed, Framing};
use crate::vector;

/// Cuts a byte stream into the lines of NDJSON, whatever the reads.
///
/// The same contract as [`sse::Decoder`](crate::sse::Decoder): linear, bounded, no allocation per event in steady
/// state, borrowed from the input when a line lies in one read.
///
/// ```
/// use loquat_json::{Limits, ndjson};
///
/// let mut decoder = ndjson::Decoder::new(Limits::default());
/// let mut read: &[u8] = b"{\"done\":false}\r\n\n{\"done\":true}";
/// assert_eq!(decoder.next(&mut read)?.map(|event| event.data), Some("{\"done\":false}"));
/// assert_eq!(decoder.next(&mut read)?, None);
/// assert_eq!(decoder.finish()?.map(|event| event.data), Some("{\"done\":true}"));
/// # Ok::<(), loquat_json::Error>(())
/// ```
pub struct Decoder {
    limits: Limits,
    bom: BomSkipper,
    /// The buffer was lent with an event: the next call clears it.
    lent: bool,
    /// Nothing of a line has been taken, nothing waits to be cleared, nothing has failed: a line begins with the next byte.
    is_between: bool,
    failed: Option<Error>,
    /// Bytes taken from the stream so far.
    offset: u64,
    /// The unfinished line.
    buffer: Vec<u8>,
}

impl Decoder {
    /// A decoder for one body.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            bom: BomSkipper::default(),
            lent: false,
            is_between: false,
            failed: None,
            offset: 0,
            buffer: Vec::new(),
        }
    }

    /// Consumes from the front of `input`, advancing the slice, until one line is complete. `None` means that the
    /// input is used up; the unfinished line is kept. Lines of nothing but spaces, tabs and CR are skipped.
    ///
    /// # Errors
    ///
    /// [`TooLong`](ErrorKind::TooLong) as soon as a line exceeds its limit, finished or not;
    /// [`Utf8`](ErrorKind::Utf8) for a line that is not UTF-8. Errors are final: every later call returns the same.
    #[allow(clippy::should_implement_trait)] // lends, which `Iterator` cannot
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Event<'a>>, Error> {
        self.is_between = false;
        self.begin()?;
        self.skip_bom(input);
        // The line when it lies in the input; otherwise it is the buffer.
        let direct = loop {
            let end = memchr(b'\n', input);
            let part = &input[..end.unwrap_or(input.len())];
            let limit = self.limits.max_event_bytes;
            carry::check_fits(self.buffer.len(), part.len(), limit, self.offset)
                .map_err(|error| self.fail(error))?;
            self.offset += part.len() as u64;
            let Some(end) = end else {
                carry::append(&mut self.buffer, part, limit);
                *input = &[];
                return Ok(None);
            };
            *input = &input[end + 1..];
            self.offset += 1;
            if !self.buffer.is_empty() {
                carry::append(&mut self.buffer, part, limit);
                if !is_blank(&self.buffer) {
                    break None;
                }
                carry::release(&mut self.buffer);
            } else if !is_blank(part) {
                break Some(part);
            }
        };
        self.lend(direct, 1).map(Some)
    }

    /// [`next`](Self::next) for events that go to `json` afterwards; see [`Framer::next_for`](crate::Framer::next_for).
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    #[inline]
    pub fn next_for<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        json: &mut Extractor,
    ) -> Result<Option<Event<'a>>, Error> {
        if self.is_between {
            if input.is_empty() {
                return Ok(None);
            }
            if let Some((line, found_by)) = json.predict_event(Framing::Lines, input)
                && line.data.len() < self.limits.max_event_bytes
            {
                return Ok(Some(self.lend_predicted(input, &line, found_by)));
            }
        }
        self.next_rarer(input, json)
    }

    /// What `accept` makes of the next event, if that looks like the last one; see [`Framer::next_again`](crate::Framer::next_again).
    #[inline(always)] // on the way of every event
    pub fn next_again<'a, 'i: 'a, T>(
        &mut self,
        input: &mut &'i [u8],
        json: &'a mut Extractor,
        likeness: Likeness,
        accept: impl FnOnce(Found<'a>) -> Option<T>,
    ) -> Option<T> {
        self.place().next_again(input, json, likeness, accept)
    }

    #[inline]
    pub(crate) fn place(&mut self) -> Place<'_> {
        Place {
            framing: Framing::Lines,
            is_between: self.is_between,
            max_event_bytes: self.limits.max_event_bytes,
            offset: &mut self.offset,
        }
    }

    /// [`next_for`](Self::next_for) for a line that does not look like the one before it, or is not all there, or follows one of
    /// those.
    #[inline(never)]
    fn next_rarer<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        json: &mut Extractor,
    ) -> Result<Option<Event<'a>>, Error> {
        let was_between = self.is_between;
        self.begin()?;
        if input.is_empty() {
            return Ok(None);
        }
        let predicts = json.predicts();
        if !self.bom.is_done() {
            self.skip_bom(input);
        }
        self.is_between = self.bom.is_done() && self.buffer.is_empty();
        if !predicts {
            if self.is_between
                && may_be_whole(input)
                && let Some((data, ending, found_by)) =
                    json.pass_line(within(input, self.limits), |end| line_end(input, end))
            {
                let line = Framed { length: data.len() + ending, name: "", data };
                return Ok(Some(self.lend_predicted(input, &line, found_by)));
            }
            return self.next(input);
        }
        json.expect(Framing::Lines);
        if self.is_between
            && may_be_whole(input)
            && let Some((line, found_by)) =
                json.predict_rarer_event(Framing::Lines, input, was_between).or_else(|| unframed(input, json))
            && line.data.len() < self.limits.max_event_bytes
        {
            return Ok(Some(self.lend_predicted(input, &line, found_by)));
        }
        let event = self.next(input)?;
        if event.is_none() {
            json.wait();
        }
        Ok(event)
    }

    /// A line that has not touched the buffer.
    #[inline]
    fn lend_predicted<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        line: &Framed<'i>,
        found_by: Mark,
    ) -> Event<'a> {
        self.offset += line.length as u64;
        *input = input.get(line.length..).unwrap_or_default();
        Event { name: "message", data: line.data, id: None, retry: None, found_by, found_in: line.data }
    }

    /// How many bytes of the stream are behind it: after an event, where in the stream that ends, line ends included. An error's
    /// [`offset`](Error::offset) counts from the same place.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// At the end of the body: the last line, if it had no line end. Unlike in SSE this is the ordinary end of many
    /// streams; whether the line is whole shows when it is parsed.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn finish(&mut self) -> Result<Option<Event<'_>>, Error> {
        self.is_between = false;
        self.begin()?;
        let held_back = self.bom.finish();
        self.buffer.extend_from_slice(held_back);
        if is_blank(&self.buffer) {
            carry::release(&mut self.buffer);
            return Ok(None);
        }
        self.lend(None, 0).map(Some)
    }

    fn begin(&mut self) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.lent {
            self.lent = false;
            carry::release(&mut self.buffer);
        }
        Ok(())
    }

    fn skip_bom(&mut self, input: &mut &[u8]) {
        let before = input.len();
        let held_back = self.bom.skip(input);
        self.offset += (before - input.len()) as u64;
        self.buffer.extend_from_slice(held_back);
    }

    fn fail(&mut self, error: Error) -> Error {
        self.failed = Some(error);
        self.buffer = Vec::new();
        error
    }

    /// `line_end` is how many bytes ended the line.
    fn lend<'a>(&'a mut self, direct: Option<&'a [u8]>, line_end: u64) -> Result<Event<'a>, Error> {
        self.lent = true;
        let wrong = |line: &[u8], at: usize, offset: u64| {
            Error::in_stream(ErrorKind::Utf8, offset - line_end - (line.len() - at) as u64)
        };
        let line = match direct {
            Some(line) => line,
            None => match text_of(&self.buffer) {
                Ok(_) => &self.buffer,
                Err(at) => {
                    let error = wrong(&self.buffer, at, self.offset);
                    return Err(self.fail(error));
                }
            },
        };
        match text_of(line) {
            Ok(data) => Ok(Event {
                name: "message",
                data,
                id: None,
                retry: None,
                found_by: Mark::default(),
                found_in: "",
            }),
            Err(at) => {
                let error = wrong(line, at, self.offset);
                self.failed = Some(error);
                Err(error)
            }
        }
    }
}

/// A line without the CR at its end, or where it is not UTF-8.
fn text_of(line: &[u8]) -> Result<&str, usize> {
    let text = line.strip_suffix(b"\r").unwrap_or(line);
    // The slow way says where.
    match vector::text(text) {
        Some(text) => Ok(text),
        None => std::str::from_utf8(text).map_err(|error| error.valid_up_to()),
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ndjson::Decoder")
            .field("limits", &self.limits)
            .field("offset", &self.offset)
            .field("carried_bytes", &self.buffer.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// The line at the front of the input, if it is JSON as predicted, when the line ends differ.
fn unframed<'i>(input: &'i [u8], json: &mut Extractor) -> Option<(Framed<'i>, Mark)> {
    let end_of = |end| line_end(input, end);
    let (data, ending, found_by) =
        json.predict_unframed(input, end_of).or_else(|| json.look_through_line(input, end_of))?;
    let length = data.len() + ending;
    let after = vector::text(input.get(data.len()..length)?)?;
    json.put_into(Frame { framing: Framing::Lines, before: "", after, name: (0, 0) });
    Some((Framed { length, name: "", data }, found_by))
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}
