//! Bytes in, deltas out, one truthful ending: the machine that every format shares.
//!
//! It does no IO and reads no clock. Which framing a body has is decided by its first byte and only then by its content
//! type, because servers answer a streamed request with a whole document, a whole one with a stream, and an error
//! with either, under any content type. What an event means is left to the format's [`Wire`].

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use loquat_core::{DEFAULT_MAX_ANSWER_BYTES, Delta, Ending, Error, ErrorKind, Result};
use loquat_json::{Event, Extractor, Found, Framer, Limits, ndjson, sse};

use crate::{
    Head,
    eventstream::{Frame, FrameReader},
    failure,
    fields::{Pick, fields},
    list::ListFramer,
    outbox::Outbox,
};

/// What a [`Decoder`] may hold or hand out. Exceeding one fails the answer with `TooLarge`, naming the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeLimits {
    /// Longest single event of a stream, in bytes. Default 8 MiB: an image inline still passes.
    pub max_event_bytes: usize,
    /// Most bytes of content in one answer. Default 64 MiB, a hundred times the longest answer a model gives.
    pub max_answer_bytes: usize,
    /// Most tool calls in one alternative. Default 1,024, what the assembler keeps at most.
    pub max_tool_calls: usize,
    /// Longest whole JSON answer, in bytes. Default 64 MiB.
    pub max_body_bytes: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_event_bytes: Limits::default().max_event_bytes,
            max_answer_bytes: DEFAULT_MAX_ANSWER_BYTES,
            max_tool_calls: 1024,
            max_body_bytes: DEFAULT_MAX_ANSWER_BYTES,
        }
    }
}

impl DecodeLimits {
    /// Replaces [`max_event_bytes`](Self::max_event_bytes).
    #[must_use]
    pub fn with_max_event_bytes(mut self, bytes: usize) -> Self {
        self.max_event_bytes = bytes;
        self
    }

    /// Replaces [`max_answer_bytes`](Self::max_answer_bytes).
    #[must_use]
    pub fn with_max_answer_bytes(mut self, bytes: usize) -> Self {
        self.max_answer_bytes = bytes;
        self
    }

    /// Replaces [`max_tool_calls`](Self::max_tool_calls).
    #[must_use]
    pub fn with_max_tool_calls(mut self, calls: usize) -> Self {
        self.max_tool_calls = calls;
        self
    }

    /// Replaces [`max_body_bytes`](Self::max_body_bytes).
    #[must_use]
    pub fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }
}

/// What [`Decoder::advance`] came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Advance {
    /// There is a delta: [`Decoder::current`] shows it until the next advance.
    Delta,
    /// All bytes are used up: [`Decoder::push`] more, or [`Decoder::end`].
    NeedBytes,
    /// That was all. Asked again, it says the same.
    End(Ending),
}

/// What a format makes of its events.
pub(crate) trait Wire: Send + fmt::Debug {
    /// What [`event`](Self::event) extracts with: events that look like the last few are framed and extracted in one pass.
    fn extractor(&mut self) -> &mut Extractor;

    /// Puts what an event says into `out`; says whether it carried anything (a ping does not).
    ///
    /// An error from here is what makes an event no event: not JSON, a bound exceeded. What a provider reports goes to
    /// [`Outbox::fail`].
    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError>;
}

/// One event, or a whole document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) name: &'a str,
    pub(crate) data: &'a str,
    /// The body was one JSON document and this is it.
    pub(crate) whole: bool,
    /// The event, if it was framed: its fields may be known already.
    framed: Option<Event<'a>>,
}

impl<'a> Incoming<'a> {
    fn framed(event: Event<'a>) -> Self {
        Self { name: event.name, data: event.data, whole: false, framed: Some(event) }
    }

    fn unframed(data: &'a str, whole: bool) -> Self {
        Self { name: "message", data, whole, framed: None }
    }

    fn named(name: &'a str, data: &'a str) -> Self {
        Self { name, data, whole: false, framed: None }
    }

    /// Whether this is the word that several formats end a stream with.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        !self.data.starts_with('{') && self.data.trim_ascii() == "[DONE]"
    }

    /// The fields in the data.
    #[inline]
    pub(crate) fn extract(self, extractor: &'a mut Extractor) -> Result<Found<'a>, loquat_json::Error> {
        match self.framed {
            Some(event) => extractor.extract_event(&event),
            None => extractor.extract_str(self.data),
        }
    }
}

/// Why an event could not be taken.
#[derive(Debug)]
pub(crate) enum EventError {
    Json(loquat_json::Error),
    Other(Error),
}

impl From<loquat_json::Error> for EventError {
    fn from(error: loquat_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<Error> for EventError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// What a body of JSON is taken for, where it is no event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Json {
    /// One document.
    Document,
    /// One document, or a list of events.
    List,
    /// An event a line, unless the content type says otherwise.
    Lines,
}

/// How the body is cut into events.
#[derive(Debug)]
enum Framing {
    /// Nothing but white space so far.
    Unknown {
        json: Json,
    },
    Events(Framer),
    List(ListFramer),
    Frames(Box<Frames>),
    /// One document, gathered until the body ends.
    Document(Vec<u8>),
}

/// Decodes the body of one response. Cheap to make, and made by [`Format::decoder`](crate::Format::decoder).
///
/// The loop: [`advance`](Self::advance) until it says [`Advance::End`]; after [`Advance::Delta`] look at
/// [`current`](Self::current), after [`Advance::NeedBytes`] [`push`](Self::push) the next chunk or say
/// [`end`](Self::end). `Debug` shows state and sizes, never content.
pub struct Decoder {
    /// `None`: there is none, and the answer has failed.
    wire: Option<Box<dyn Wire>>,
    framing: Framing,
    limits: DecodeLimits,
    input: Bytes,
    /// Bytes of `input` already used.
    used: usize,
    out: Outbox,
    events: u64,
    /// The body has ended, and of what.
    ended: Option<Option<Error>>,
    ending: Option<Ending>,
    content_type: Option<Box<str>>,
    request_id: Option<Box<str>>,
}

impl Decoder {
    pub(crate) fn new(
        head: &Head<'_>,
        limits: DecodeLimits,
        json: Json,
        wire: Result<Box<dyn Wire>, Error>,
    ) -> Self {
        let json = match (head.content_type(), json) {
            (Some(kind), Json::Lines) if kind.eq_ignore_ascii_case("application/json") => Json::Document,
            (Some(kind), _) if kind.to_ascii_lowercase().contains("ndjson") => Json::Lines,
            _ => json,
        };
        let mut out = Outbox::new(limits);
        let wire = wire.map_err(|error| out.fail(error)).ok();
        Self {
            wire,
            framing: Framing::Unknown { json },
            limits,
            input: Bytes::new(),
            used: 0,
            out,
            events: 0,
            ended: None,
            ending: None,
            content_type: head.content_type().map(Into::into),
            request_id: head.request_id().map(Into::into),
        }
    }

    /// Adds bytes as they arrived; no copy is made. To be called when [`advance`](Self::advance) says
    /// [`Advance::NeedBytes`]; earlier than that it costs a copy of what is left.
    #[inline]
    pub fn push(&mut self, chunk: Bytes) {
        if self.used < self.input.len() {
            let rest = &self.input[self.used..];
            self.input = [rest, &chunk].concat().into();
        } else {
            self.input = chunk;
        }
        self.used = 0;
    }

    /// The body has ended: in order (`None`), or because of `cause`. [`advance`](Self::advance) then gives what is left,
    /// and the ending. Only the first call counts.
    pub fn end(&mut self, cause: Option<Error>) {
        self.ended.get_or_insert(cause);
    }

    /// Goes on to the next delta, or says what is missing.
    #[inline]
    pub fn advance(&mut self) -> Advance {
        if self.out.advance() {
            return Advance::Delta;
        }
        if self.used >= self.input.len() && self.ended.is_none() && !self.out.is_over() {
            // What was pushed is of no use any more: its buffer goes back now.
            self.input = Bytes::new();
            self.used = 0;
            return Advance::NeedBytes;
        }
        self.refill()
    }

    /// Decodes what is there, until it gives a delta or there is no more of it.
    #[inline(never)]
    fn refill(&mut self) -> Advance {
        loop {
            self.out.recycle();
            let result = if self.out.is_over() {
                match &self.ending {
                    Some(ending) => return Advance::End(ending.clone()),
                    None => self.conclude(),
                }
                Ok(())
            } else if self.used < self.input.len() {
                self.step()
            } else if self.ended.is_some() {
                self.last_step();
                Ok(())
            } else {
                self.input = Bytes::new();
                self.used = 0;
                return Advance::NeedBytes;
            };
            if let Err(error) = result {
                self.out.fail(error);
            }
            if self.out.advance() {
                return Advance::Delta;
            }
        }
    }

    /// The delta that the last [`Advance::Delta`] announced; otherwise unspecified.
    #[inline]
    pub fn current(&self) -> Delta<'_> {
        self.out.current()
    }

    /// Events with content so far: pings and comments do not count, so a timer that watches for content may watch this.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether the model has given its reason to stop (for every alternative that began): what may still come is usage
    /// and the terminal event, and a client need not wait for those as long as for content.
    pub fn has_finish(&self) -> bool {
        self.out.has_finish()
    }

    /// Takes one event of those that are in the input, or what there is of one.
    #[inline]
    fn step(&mut self) -> Result<()> {
        let Self {
            wire: Some(wire), framing: Framing::Events(framer), limits, input, used, out, events, ..
        } = self
        else {
            return self.rarer_step();
        };
        let mut rest = input.get(*used..).unwrap_or_default();
        let taken = framer.next_for(&mut rest, wire.extractor());
        *used = input.len() - rest.len();
        let event = match taken {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(()),
            Err(error) => return Err(unframed(error, limits)),
        };
        match wire.event(Incoming::framed(event), out) {
            Ok(counts) => *events += u64::from(counts),
            Err(error) => return Err(with_body(refused(error, *events), event.data.as_bytes())),
        }
        // The lines before the event that were no event: an error body may hide there.
        let stray = framer.stray();
        if !stray.is_empty()
            && let Some(error) = failure::in_stray(stray)
        {
            out.fail(error);
        }
        Ok(())
    }

    /// [`step`](Self::step) in a body that is no sequence of events, or whose first byte is still to come.
    #[inline(never)]
    fn rarer_step(&mut self) -> Result<()> {
        let Self { wire: Some(wire), framing, limits, input, used, out, events, .. } = self else {
            return Ok(());
        };
        let mut rest = input.get(*used..).unwrap_or_default();
        match framing {
            // Taken by the other.
            Framing::Events(_) => {}
            Framing::Unknown { json } => {
                let blank = rest.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
                // White space before an event stream is blank lines, before JSON nothing at all.
                *used += blank;
                let Some(first) = rest.get(blank) else { return Ok(()) };
                let limits = Limits::default().with_max_event_bytes(limits.max_event_bytes);
                *framing = match (first, *json) {
                    // A frame's length, which is below 16 MiB: neither text nor JSON begins like that.
                    (0, _) => Framing::Frames(Box::new(Frames::new()?)),
                    (b'[', Json::List) => Framing::List(ListFramer::default()),
                    (b'{' | b'[', Json::Document | Json::List) => Framing::Document(Vec::new()),
                    (b'{' | b'[', Json::Lines) => Framing::Events(ndjson::Decoder::new(limits).into()),
                    _ => Framing::Events(sse::Decoder::new(limits).into()),
                };
            }
            Framing::Document(body) => {
                if body.len().saturating_add(rest.len()) > limits.max_body_bytes {
                    return Err(too_long("max_body_bytes", limits.max_body_bytes));
                }
                body.extend_from_slice(rest);
                *used = input.len();
            }
            Framing::List(framer) => {
                let taken = framer.next(&mut rest, limits.max_event_bytes);
                *used = input.len() - rest.len();
                let Some(element) = taken? else { return Ok(()) };
                let result = element_event(wire.as_mut(), &element, out);
                framer.release(element);
                match result {
                    Ok(counts) => *events += u64::from(counts),
                    Err(error) => return Err(refused(error, *events)),
                }
            }
            Framing::Frames(frames) => {
                let taken = frames.reader.next(&mut rest, limits.max_event_bytes);
                *used = input.len() - rest.len();
                let Some(frame) = taken? else { return Ok(()) };
                match frame_event(wire.as_mut(), frame, &mut frames.envelope, &mut frames.text, out) {
                    Ok(counts) => *events += u64::from(counts),
                    Err(error) => return Err(refused(error, *events)),
                }
            }
        }
        Ok(())
    }

    /// The body has ended and the input is used up: takes what was not ended properly, and concludes.
    fn last_step(&mut self) {
        let Self { wire, framing, out, events, .. } = self;
        if let Some(wire) = wire {
            let result = match framing {
                Framing::Unknown { .. } | Framing::List(_) | Framing::Frames(_) => Ok(()),
                Framing::Events(framer) => {
                    let result = match framer.finish() {
                        Ok(Some(event)) => {
                            match wire.event(Incoming::framed(event), out) {
                                Ok(counts) => {
                                    *events += u64::from(counts);
                                    Ok(())
                                }
                                // A cut event, which is for the ending to say: no line end vouches for it.
                                Err(EventError::Json(_)) => Ok(()),
                                Err(EventError::Other(error)) => Err(error),
                            }
                        }
                        Ok(None) => Ok(()),
                        Err(error) => Err(unframed(error, &self.limits)),
                    };
                    if let Some(error) = failure::in_stray(framer.stray()) {
                        out.fail(error);
                    }
                    result
                }
                Framing::Document(body) => {
                    *events += 1;
                    document(wire.as_mut(), body, matches!(self.ended, Some(Some(_))), out)
                }
            };
            if let Err(error) = result {
                out.fail(error);
            }
        }
        self.conclude();
    }

    fn conclude(&mut self) {
        if let Err(error) = self.out.settle() {
            self.out.fail(error);
        }
        let cause = self.ended.as_ref().and_then(Clone::clone);
        let content_type = self.content_type.as_deref();
        let ending = self.out.ending(cause, || nothing(content_type));
        let ending = match (ending, &self.request_id) {
            (Ending::Failed(error), id) => {
                // What could not be read is what its reader asks for first.
                let unread = match &self.framing {
                    Framing::Document(body) => body,
                    Framing::Events(framer) => framer.stray(),
                    _ => &[][..],
                };
                let error = with_body(error, unread);
                Ending::Failed(match id {
                    Some(id) if error.request_id().is_none() => error.with_request_id(&**id),
                    _ => error,
                })
            }
            (Ending::Truncated { cause: Some(cause) }, Some(id)) if cause.request_id().is_none() => {
                Ending::Truncated { cause: Some(cause.with_request_id(&**id)) }
            }
            (ending, _) => ending,
        };
        self.ending = Some(ending);
        self.out.close();
        self.input = Bytes::new();
        self.used = 0;
        self.framing = Framing::Unknown { json: Json::Document };
    }
}

fields! {
    Bytes = "/bytes",
}

/// A binary event stream being read.
#[derive(Debug)]
struct Frames {
    reader: FrameReader,
    /// Finds what a frame carries on behalf of another format.
    envelope: Extractor,
    /// What it carries, reused.
    text: Vec<u8>,
}

impl Frames {
    fn new() -> Result<Self> {
        Ok(Self { reader: FrameReader::default(), envelope: Field::extractor()?, text: Vec::new() })
    }
}

/// A frame's event. One that carries another format's (`chunk`) is unwrapped first.
fn frame_event(
    wire: &mut dyn Wire,
    frame: Frame<'_>,
    envelope: &mut Extractor,
    text: &mut Vec<u8>,
    out: &mut Outbox,
) -> Result<bool, EventError> {
    let not_text = |_| Error::new(ErrorKind::Protocol, "what a frame carries is not UTF-8");
    let payload = std::str::from_utf8(frame.payload).map_err(not_text)?;
    if frame.message_type != "event" && !frame.message_type.is_empty() {
        out.fail(failure::of_frame(frame.exception, frame.error_message, payload));
        return Ok(true);
    }
    if frame.event_type != "chunk" {
        return wire.event(Incoming::named(frame.event_type, payload), out);
    }
    let found = envelope.extract_str(payload)?;
    let carried = Field::Bytes.text(found).and_then(|bytes| bytes.borrowed());
    text.clear();
    if STANDARD.decode_vec(carried.unwrap_or_default(), text).is_err() {
        return Err(Error::new(ErrorKind::Protocol, "what a frame carries is not base64").into());
    }
    let carried = std::str::from_utf8(text).map_err(not_text)?;
    wire.event(Incoming::named("message", carried), out)
}

/// An element of a list of events.
fn element_event(wire: &mut dyn Wire, element: &[u8], out: &mut Outbox) -> Result<bool, EventError> {
    let data = std::str::from_utf8(element)
        .map_err(|_| Error::new(ErrorKind::Protocol, "an element of the list of events is not UTF-8"))?;
    wire.event(Incoming::unframed(data, false), out)
}

/// A body that is one document. `cut`: it was lost on the way, and being no JSON is not its fault.
fn document(wire: &mut dyn Wire, body: &[u8], cut: bool, out: &mut Outbox) -> Result<()> {
    let data = std::str::from_utf8(body).map_err(|error| {
        let place = error.valid_up_to();
        Error::new(ErrorKind::Protocol, format!("the answer is not UTF-8 at byte {place}"))
    })?;
    match wire.event(Incoming::unframed(data, true), out) {
        Ok(_) => {
            out.finish();
            Ok(())
        }
        Err(EventError::Json(_)) if cut => Ok(()),
        // Several documents under the content type of one: lines after all.
        Err(EventError::Json(error)) if error.kind() == loquat_json::ErrorKind::TrailingBytes => {
            let mut number = 0;
            for data in data.lines().filter(|line| !line.trim().is_empty()) {
                match wire.event(Incoming::unframed(data, false), out) {
                    Ok(_) => number += 1,
                    Err(EventError::Json(_)) if cut => return Ok(()),
                    Err(error) => return Err(refused(error, number)),
                }
                if out.is_over() {
                    break;
                }
            }
            Ok(())
        }
        Err(EventError::Json(error)) => {
            Err(Error::new(ErrorKind::Protocol, "the answer is not valid JSON").with_source(error))
        }
        Err(EventError::Other(error)) => Err(error),
    }
}

/// With what could not be read, unless the error has what it is about.
fn with_body(error: Error, unread: &[u8]) -> Error {
    if unread.is_empty() || error.raw_body().is_some() { error } else { error.with_raw_body(unread) }
}

/// `number`: events with content before this one.
fn refused(error: EventError, number: u64) -> Error {
    match error {
        EventError::Other(error) => error,
        EventError::Json(error) => Error::new(
            ErrorKind::Protocol,
            format!("an event is not valid JSON at its byte {} ({number} events before it)", error.offset()),
        )
        .with_source(error),
    }
}

fn unframed(error: loquat_json::Error, limits: &DecodeLimits) -> Error {
    match error.kind() {
        loquat_json::ErrorKind::TooLong => {
            too_long("max_event_bytes", limits.max_event_bytes).with_source(error)
        }
        _ => Error::new(ErrorKind::Protocol, format!("the stream is malformed at byte {}", error.offset()))
            .with_source(error),
    }
}

fn too_long(limit: &str, bytes: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("the answer exceeds {limit} ({bytes})"))
}

fn nothing(content_type: Option<&str>) -> Error {
    let what = match content_type {
        Some(kind) => format!("the body ended without an answer in it (content type {kind:?})"),
        None => "the body ended without an answer in it".to_owned(),
    };
    Error::new(ErrorKind::Protocol, what)
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("wire", &self.wire)
            .field("events", &self.events)
            .field("unused_bytes", &(self.input.len() - self.used))
            .field("body_ended", &self.ended.is_some())
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}
