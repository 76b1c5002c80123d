//! Server-sent events: bytes in, events out.
//!
//! Follows [WHATWG HTML §9.2](https://html.spec.whatwg.org/multipage/server-sent-events.html), "Parsing an event stream"
//! and "Interpreting an event stream", to the letter, and knows nothing of providers, JSON or sockets. It works on
//! bytes and not on decoded text, because everything the grammar looks at is ASCII; only what is handed out is checked
//! to be UTF-8. There is one buffer: finished data lines at its front, the unfinished line behind them. An event that
//! lies in one read with one data line never enters it.

use std::fmt;
use std::time::Duration;

use memchr::{memchr, memchr2};

use crate::again::Place;
use crate::carry::{self, BomSkipper};
use crate::error::Error;
use crate::event::{Event, Limits, Mark, line_end, may_be_whole, within};
use crate::extract::Extractor;
use crate::found::{Found, Likeness};
use crate::template::{Frame, Framed, Framing};
use crate::vector;

/// How much of the lines that are no SSE is kept for [`Decoder::stray`], in bytes: enough for any error body that says
/// what went wrong at its beginning.
const MAX_STRAY_BYTES: usize = 4 * 1024;

/// Longest id that is kept, in bytes, what replaces those that are not UTF-8 included: it outlives its event, and goes into a header, of
/// which servers take far less.
const MAX_ID_BYTES: usize = carry::RETAINED_BYTES;

/// What no JSON begins with, but `data: [DONE]`, which ends most streams of OpenAI's format.
const LAST: &[u8; 8] = b"data: [D";

/// Cuts a byte stream into server-sent events, whatever the reads.
///
/// Linear in the input for every split, no allocation per event in steady state. One decoder serves one body. It holds an event
/// that lies in several reads once, at most [`Limits::max_event_bytes`]; of one that is not UTF-8 besides the text with
/// replacement characters, at most three times as long; and an id, which is as short as [`Event::id`] says.
///
/// ```
/// use loquat_json::{Limits, sse};
///
/// let mut decoder = sse::Decoder::new(Limits::default());
/// let mut seen = Vec::new();
/// for mut read in [&b"event: ping\nda"[..], b"ta: {}\n\ndata: [DONE]\r\n", b"\r\n"] {
///     while let Some(event) = decoder.next(&mut read)? {
///         seen.push((event.name.to_owned(), event.data.to_owned()));
///     }
/// }
/// assert_eq!(seen, [("ping".into(), "{}".into()), ("message".into(), "[DONE]".into())]);
/// # Ok::<(), loquat_json::Error>(())
/// ```
// One among many finds all of this cold at each event: what one needs that looks like the last comes first. The first of the vectors is
// among that, because what this is held in tells by it whether it holds this.
#[repr(C)]
pub struct Decoder {
    /// Bytes taken from the stream so far.
    offset: u64,
    limits: Limits,
    /// Nothing of an event has been taken, nothing waits to be cleared, nothing has failed: an event begins with the next byte.
    is_between: bool,
    /// The last byte was CR: an LF right after it belongs to the same line end.
    after_cr: bool,
    /// An event was lent: what it borrowed is cleared by the next call.
    lent: bool,
    /// `[data_start..data_end]` is the event's data so far, `[data_end..]` the unfinished line.
    buffer: Vec<u8>,
    bom: BomSkipper,
    failed: Option<Error>,
    /// Length of the finished lines since the last blank line.
    block_bytes: usize,
    data_start: usize,
    data_end: usize,
    /// A data line was seen since the last blank line.
    has_data: bool,
    name: String,
    id: String,
    /// That of the last block that has ended, and whether the block at hand has said another.
    last_id: String,
    id_is_new: bool,
    retry: Option<Duration>,
    stray: Vec<u8>,
    /// Data with invalid UTF-8 replaced; used only by events that have any.
    repaired: String,
}

/// A line without its end.
enum Line<'i> {
    /// Lies in the input.
    Whole(&'i [u8]),
    /// Lies in the buffer from `data_end` on, because it came in more than one read.
    Carried,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    Id,
    Retry,
    Comment,
    Unknown,
}

impl Decoder {
    /// A decoder for one body.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            bom: BomSkipper::default(),
            after_cr: false,
            lent: false,
            is_between: false,
            failed: None,
            offset: 0,
            block_bytes: 0,
            buffer: Vec::new(),
            data_start: 0,
            data_end: 0,
            has_data: false,
            name: String::new(),
            id: String::new(),
            last_id: String::new(),
            id_is_new: false,
            retry: None,
            stray: Vec::new(),
            repaired: String::new(),
        }
    }

    /// Consumes from the front of `input`, advancing the slice, until one event is complete. `None` means that the
    /// input is used up; the unfinished part is kept.
    ///
    /// Call it until it returns `None`, then read more. Events without a data line are not handed out.
    ///
    /// # Errors
    ///
    /// [`TooLong`](crate::ErrorKind::TooLong) as soon as an event exceeds its limit, finished or not. The error is
    /// final: it frees the buffer, and every later call returns it again.
    #[allow(clippy::should_implement_trait)] // lends, which `Iterator` cannot
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Event<'a>>, Error> {
        self.begin()?;
        self.skip_bom(input);
        self.skip_lf(input);
        self.is_between = self.is_at_event();
        if self.is_between
            && let Some(event) = plain(input)
            && event.length <= self.limits.max_event_bytes
        {
            return Ok(Some(self.lend_predicted(input, &event, Mark::default())));
        }
        self.is_between = false;
        // The event's only data line so far, as long as it can stay where it is.
        let mut direct = None;
        loop {
            match self.take_line(input, &mut direct)? {
                None => return Ok(None),
                Some(Line::Whole(&[])) => {
                    if std::mem::take(&mut self.id_is_new) {
                        self.last_id.clone_from(&self.id);
                    }
                    if self.end_block() {
                        break;
                    }
                }
                Some(Line::Whole(line)) => self.whole_line(line, &mut direct),
                Some(Line::Carried) => self.carried_line(),
            }
        }
        Ok(Some(self.lend(direct)))
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
            if let Some((event, found_by)) = json.predict_event(Framing::Events, input)
                && event.length <= self.limits.max_event_bytes
            {
                return Ok(Some(self.lend_predicted(input, &event, found_by)));
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
            framing: Framing::Events,
            is_between: self.is_between,
            max_event_bytes: self.limits.max_event_bytes,
            offset: &mut self.offset,
        }
    }

    /// [`next_for`](Self::next_for) for an event that does not look like the one before it, or is not all there, or follows one
    /// of those.
    #[inline(never)]
    fn next_rarer<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        json: &mut Extractor,
    ) -> Result<Option<Event<'a>>, Error> {
        if input.is_empty() {
            self.begin()?;
            return Ok(None);
        }
        let predicts = json.predicts();
        let was_between = self.is_between;
        if !was_between {
            self.begin()?;
            self.skip_bom(input);
            self.skip_lf(input);
            self.is_between = self.is_at_event();
        }
        if !predicts {
            if self.is_between
                && may_be_whole(input)
                && let Some((event, found_by)) = passed(within(input, self.limits), json)
            {
                return Ok(Some(self.lend_predicted(input, &event, found_by)));
            }
            return self.next(input);
        }
        json.expect(Framing::Events);
        if self.is_between
            && !input.starts_with(LAST)
            && may_be_whole(input)
            && let Some((event, found_by)) = json
                .predict_rarer_event(Framing::Events, input, was_between)
                .or_else(|| unframed(input, json))
            && event.length <= self.limits.max_event_bytes
        {
            return Ok(Some(self.lend_predicted(input, &event, found_by)));
        }
        let event = self.next(input)?;
        if event.is_none() {
            json.wait();
        }
        Ok(event)
    }

    /// Whether an event begins with the next byte, and nothing waits to be cleared.
    #[inline]
    fn is_at_event(&self) -> bool {
        self.bom.is_done()
            && self.block_bytes == 0
            && self.buffer.is_empty()
            && !self.has_data
            && self.name.is_empty()
            && self.stray.is_empty()
    }

    /// An event that has not touched any buffer.
    #[inline]
    fn lend_predicted<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        event: &Framed<'i>,
        found_by: Mark,
    ) -> Event<'a> {
        self.offset += event.length as u64;
        *input = input.get(event.length..).unwrap_or_default();
        Event {
            name: event.name,
            data: event.data,
            id: (!self.id.is_empty()).then_some(self.id.as_str()),
            retry: self.retry,
            found_by,
            found_in: event.data,
        }
    }

    /// At the end of the body: the event that no blank line ended, if it has data. `None` when nothing is left.
    ///
    /// The standard discards such an event and so does [`next`](Self::next). Some servers forget the last blank line,
    /// though, and some streams are cut: whether what is here is whole, only its content can tell, and the caller has to. Of a last line
    /// without its end only data counts: half an id would pass for one.
    ///
    /// # Errors
    ///
    /// Only the error that [`next`](Self::next) has already returned.
    pub fn finish(&mut self) -> Result<Option<Event<'_>>, Error> {
        self.is_between = false;
        self.begin()?;
        let held_back = self.bom.finish();
        self.buffer.extend_from_slice(held_back);
        match self.buffer.get(self.data_end..).map(parse) {
            // What was cut from it may have changed its meaning, of data only the content.
            Some((Field::Event | Field::Id | Field::Retry | Field::Comment, _)) => {
                self.buffer.truncate(self.data_end);
            }
            Some(_) if self.buffer.len() > self.data_end => self.carried_line(),
            _ => {}
        }
        if !self.end_block() {
            return Ok(None);
        }
        Ok(Some(self.lend(None)))
    }

    /// Lines that were no SSE field, joined by LF: the first 4 KiB since the last event handed out, those right before
    /// it included. After [`finish`](Self::finish) an unfinished last line is among them.
    ///
    /// A conforming reader skips such lines in silence. Servers that break off in mid-stream with a bare JSON error
    /// body, or with an `error: {…}` field, are found here.
    pub fn stray(&self) -> &[u8] {
        &self.stray
    }

    /// How many bytes of the stream are behind it: after an event, where in the stream that ends, line ends included. An error's
    /// [`offset`](Error::offset) counts from the same place.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The id of the last event that was ended by its blank line, as [`Event::id`] has it, with or without data: what a request that
    /// goes on with this stream says in `Last-Event-ID` (WHATWG HTML §9.2.3). That of an event that was cut, also of one that
    /// [`finish`](Self::finish) gives, is none: the event is still to come.
    pub fn last_event_id(&self) -> Option<&str> {
        (!self.last_id.is_empty()).then_some(self.last_id.as_str())
    }

    /// How long the server last asked to wait before a new connection, as [`Event::retry`] has it: it holds from its line on.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Begins with the last id of the stream that this one goes on with: it is that of all events until the server sends another.
    /// Ignored where the server's own would be (see [`Event::id`]).
    #[must_use]
    pub fn with_last_event_id(mut self, id: &str) -> Self {
        if may_be_id(id.as_bytes()) {
            id.clone_into(&mut self.id);
            id.clone_into(&mut self.last_id);
        }
        self
    }

    fn begin(&mut self) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.lent {
            self.lent = false;
            self.stray.clear();
            self.clear_block();
        }
        Ok(())
    }

    fn clear_block(&mut self) {
        self.data_start = 0;
        self.data_end = 0;
        self.block_bytes = 0;
        carry::release(&mut self.buffer);
        carry::release_text(&mut self.name);
        carry::release_text(&mut self.repaired);
    }

    fn fail(&mut self, error: Error) -> Error {
        self.failed = Some(error);
        self.clear_block();
        self.buffer = Vec::new();
        error
    }

    fn skip_bom(&mut self, input: &mut &[u8]) {
        let before = input.len();
        let held_back = self.bom.skip(input);
        self.offset += (before - input.len()) as u64;
        self.buffer.extend_from_slice(held_back);
    }

    /// The LF of a CRLF whose CR has already ended the line.
    fn skip_lf(&mut self, input: &mut &[u8]) {
        if self.after_cr && !input.is_empty() {
            self.after_cr = false;
            if let Some(rest) = input.strip_prefix(b"\n") {
                *input = rest;
                self.offset += 1;
            }
        }
    }

    /// The next line, looking at each byte once: what is left without a line end goes to the buffer and only what
    /// arrives after it is searched.
    fn take_line<'i>(
        &mut self,
        input: &mut &'i [u8],
        direct: &mut Option<&'i [u8]>,
    ) -> Result<Option<Line<'i>>, Error> {
        self.skip_lf(input);
        // Every other line is blank.
        let end = match input.first() {
            Some(b'\n') => Some(0),
            _ => memchr2(b'\n', b'\r', input),
        };
        let part = &input[..end.unwrap_or(input.len())];
        let carried = self.buffer.len() - self.data_end;
        let limit = self.limits.max_event_bytes;
        carry::check_fits(self.block_bytes + carried, part.len(), limit, self.offset)
            .map_err(|error| self.fail(error))?;
        self.offset += part.len() as u64;
        let Some(end) = end else {
            self.spill(direct);
            carry::append(&mut self.buffer, part, limit);
            *input = &[];
            return Ok(None);
        };
        self.after_cr = input[end] == b'\r';
        *input = &input[end + 1..];
        self.offset += 1;
        self.block_bytes += carried + part.len();
        if carried == 0 {
            return Ok(Some(Line::Whole(part)));
        }
        carry::append(&mut self.buffer, part, limit);
        Ok(Some(Line::Carried))
    }

    /// Moves the one data line that was still in the input to the buffer, because more is to follow.
    fn spill(&mut self, direct: &mut Option<&[u8]>) {
        if let Some(data) = direct.take() {
            carry::append(&mut self.buffer, data, self.limits.max_event_bytes);
            self.data_end = self.buffer.len();
        }
    }

    fn whole_line<'i>(&mut self, line: &'i [u8], direct: &mut Option<&'i [u8]>) {
        let (field, value) = parse(line);
        if field != Field::Data {
            return self.other_field(field, line, value);
        }
        if !self.has_data {
            self.has_data = true;
            *direct = Some(&line[value..]);
            return;
        }
        self.spill(direct);
        carry::append(&mut self.buffer, b"\n", self.limits.max_event_bytes);
        carry::append(&mut self.buffer, &line[value..], self.limits.max_event_bytes);
        self.data_end = self.buffer.len();
    }

    /// The line that ends here came in several reads: it is the tail of the buffer, and its value stays there.
    fn carried_line(&mut self) {
        let start = self.data_end;
        let (field, value) = parse(&self.buffer[start..]);
        if field == Field::Data {
            if self.has_data {
                // Joined by LF: one byte takes the place of `data:`, which was at least four.
                self.buffer[start] = b'\n';
                self.buffer.copy_within(start + value.., start + 1);
                self.buffer.truncate(self.buffer.len() - (value - 1));
            } else {
                self.has_data = true;
                self.data_start = start + value;
            }
            self.data_end = self.buffer.len();
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.other_field(field, &buffer[start..], value);
        buffer.truncate(start);
        self.buffer = buffer;
    }

    fn other_field(&mut self, field: Field, line: &[u8], value_start: usize) {
        let value = &line[value_start..];
        match field {
            Field::Event => replace(&mut self.name, value),
            Field::Id if may_be_id(value) => {
                replace(&mut self.id, value);
                self.id_is_new = true;
            }
            Field::Retry => self.retry = milliseconds(value).or(self.retry),
            Field::Unknown => {
                if !self.stray.is_empty() && self.stray.len() < MAX_STRAY_BYTES {
                    self.stray.push(b'\n');
                }
                let room = MAX_STRAY_BYTES - self.stray.len();
                self.stray.extend_from_slice(&line[..line.len().min(room)]);
            }
            Field::Data | Field::Id | Field::Comment => {}
        }
    }

    /// A blank line. True when there is an event to hand out.
    fn end_block(&mut self) -> bool {
        self.block_bytes = 0;
        if !self.has_data {
            self.clear_block();
            return false;
        }
        self.has_data = false;
        true
    }

    fn lend<'a>(&'a mut self, direct: Option<&'a [u8]>) -> Event<'a> {
        self.lent = true;
        let bytes = direct.unwrap_or(&self.buffer[self.data_start..self.data_end]);
        let data = match vector::text(bytes) {
            Some(data) => data,
            None => {
                carry::append_lossy(&mut self.repaired, bytes);
                &self.repaired
            }
        };
        Event {
            name: if self.name.is_empty() { "message" } else { &self.name },
            data,
            id: (!self.id.is_empty()).then_some(self.id.as_str()),
            retry: self.retry,
            found_by: Mark::default(),
            found_in: "",
        }
    }
}

/// The event at the front of the input, if it is at most one `event:` line, one `data:` line, both UTF-8, and a blank line, as nearly all
/// are. No shorter than what the limit on its length counts: its own line ends.
#[inline]
fn plain(input: &[u8]) -> Option<Framed<'_>> {
    let ((start, end), rest) = name_line(input)?;
    let name = if start < end { vector::text(input.get(start..end)?)? } else { "message" };
    let value = rest.strip_prefix(b"data:")?;
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let end = memchr2(b'\n', b'\r', value)?;
    let length = input.len() - value.len() + event_end(value, end)?;
    Some(Framed { length, name, data: vector::text(value.get(..end)?)? })
}

/// Where in the input the name is that an `event:` line at its front gives, empty without one; and what follows. `None` if that line is
/// not all there.
#[inline]
fn name_line(input: &[u8]) -> Option<((usize, usize), &[u8])> {
    let Some(value) = input.strip_prefix(b"event:") else { return Some(((0, 0), input)) };
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let end = memchr2(b'\n', b'\r', value)?;
    let start = input.len() - value.len();
    Some(((start, start + end), value.get(end + line_end(value, end)?..)?))
}

/// [`plain`] for an event whose data is JSON, found where it is framed. Draws all of the input if no line ends in it.
fn passed<'i>(input: &'i [u8], json: &mut Extractor) -> Option<(Framed<'i>, Mark)> {
    let ((start, end), rest) = name_line(input)?;
    let name = if start < end { vector::text(input.get(start..end)?)? } else { "message" };
    let value = rest.strip_prefix(b"data:")?;
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let (data, end, found_by) = json.pass_line(value, |end| event_end(value, end))?;
    Some((Framed { length: input.len() - value.len() + end, name, data }, found_by))
}

/// Where the event ends whose data line does so at `end`, if a blank line follows.
#[inline]
fn event_end(value: &[u8], end: usize) -> Option<usize> {
    let blank = end + line_end(value, end)?;
    Some(blank + line_end(value, blank)?)
}

/// The event at the front of the input, if it is at most one `event:` line, one `data:` line that is JSON, as predicted or otherwise,
/// and a blank line, when these stand otherwise around the JSON than was predicted. The data has no line end in it,
/// because valid JSON has none in its strings, and none outside of them that was not in the text or shape it was predicted from, which
/// had none.
fn unframed<'i>(input: &'i [u8], json: &mut Extractor) -> Option<(Framed<'i>, Mark)> {
    let (name, rest) = name_line(input)?;
    let value = rest.strip_prefix(b"data:")?;
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let end_of = |end| event_end(value, end);
    let (data, end, found_by) =
        json.predict_unframed(value, end_of).or_else(|| json.look_through_line(value, end_of))?;
    let start = input.len() - value.len();
    // Of the data it is known.
    let before = vector::text(input.get(..start)?)?;
    let after = vector::text(value.get(data.len()..end)?)?;
    json.put_into(Frame { framing: Framing::Events, before, after, name });
    let name = Some(name).filter(|(start, end)| start < end);
    let name = name.map_or(Some("message"), |(start, end)| before.get(start..end))?;
    Some((Framed { length: start + end, name, data }, found_by))
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("sse::Decoder")
            .field("limits", &self.limits)
            .field("offset", &self.offset)
            .field("carried_bytes", &self.buffer.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// What a non-empty line is, and where its value starts: after the colon and one space, at the end without a colon.
fn parse(line: &[u8]) -> (Field, usize) {
    // Nearly every line is one of these.
    if line.starts_with(b"data:") {
        return (Field::Data, 5 + usize::from(line.get(5) == Some(&b' ')));
    }
    let colon = memchr(b':', line);
    let field = match &line[..colon.unwrap_or(line.len())] {
        b"data" => Field::Data,
        b"event" => Field::Event,
        b"id" => Field::Id,
        b"retry" => Field::Retry,
        b"" => Field::Comment,
        _ => Field::Unknown,
    };
    let value = match colon {
        None => line.len(),
        Some(colon) => colon + 1 + usize::from(line.get(colon + 1) == Some(&b' ')),
    };
    (field, value)
}

/// "If the field value does not contain U+0000 NULL", and is short enough as the text that it becomes.
fn may_be_id(value: &[u8]) -> bool {
    value.len() <= MAX_ID_BYTES && memchr(0, value).is_none() && carry::lossy_length(value) <= MAX_ID_BYTES
}

fn replace(text: &mut String, value: &[u8]) {
    carry::release_text(text);
    carry::append_lossy(text, value);
}

/// The reconnection time, if the value "consists of only ASCII digits"; larger than `u64` is the largest `u64`.
fn milliseconds(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = value
        .iter()
        .fold(0u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Duration::from_millis(number))
}
