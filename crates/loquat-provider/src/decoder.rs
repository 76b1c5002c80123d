//! Bytes in, deltas out, one truthful ending: the machine that every format shares.
//!
//! It does no IO and reads no clock. Which framing a body has is decided by its first byte and only then by its content
//! type, because servers answer a streamed request with a whole document, a whole one with a stream, and an error
//! with either, under any content type. What an event means is left to the format's [`Wire`].

use std::fmt;

use bytes::Bytes;
use loquat_core::{Delta, Ending, Error, ErrorKind, Result};
use loquat_json::{Limits, ndjson, sse};

use crate::{
    DecodeLimits, DecoderMemory, Head, failure,
    framing::{Frames, Framing, Json, document, element_event, frame_event, refused},
    list::ListFramer,
    outbox::Outbox,
    pool::{self, Pool},
    wire::{EventError, Incoming, Wire, take},
};

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

/// Decodes the body of one response. Cheap to make, and made by [`Format::decoder`](crate::Format::decoder).
///
/// The loop: [`advance`](Self::advance) until it says [`Advance::End`]; after [`Advance::Delta`] look at
/// [`current`](Self::current), after [`Advance::NeedBytes`] [`push`](Self::push) the next chunk or say
/// [`end`](Self::end). `Debug` shows state and sizes, never content.
// One among many finds all of this cold at each event: what an event needs that is more of the one before comes first, in five lines
// of memory, and one in which the framing begins.
#[repr(C, align(64))]
pub struct Decoder {
    input: Bytes,
    /// Bytes of `input` already used.
    used: usize,
    events: u64,
    /// `None`: there is none, and the answer has failed.
    wire: Option<Box<dyn Wire>>,
    out: Outbox,
    /// The body has ended, and of what.
    ended: Option<Option<Error>>,
    framing: Framing,
    limits: DecodeLimits,
    ending: Option<Ending>,
    /// Where wire and outbox go afterwards.
    pool: Option<DecoderMemory>,
    content_type: Option<Box<str>>,
    request_id: Option<Box<str>>,
}

impl Decoder {
    pub(crate) fn new(
        head: &Head<'_>,
        limits: DecodeLimits,
        json: Json,
        memory: Option<&DecoderMemory>,
        mut wire: Result<Box<dyn Wire>, Error>,
    ) -> Self {
        if let (Some(memory), Ok(wire)) = (memory, &mut wire) {
            wire.learn_in(memory);
        }
        Self::over(head, limits, json, wire, Outbox::new(limits))
    }

    /// One that goes on with what another left in the memory, or in its format's where there is none, and leaves it there in turn.
    pub(crate) fn reusing(
        head: &Head<'_>,
        limits: DecodeLimits,
        json: Json,
        memory: Option<&DecoderMemory>,
        pool: &'static Pool,
        make: impl FnOnce() -> Result<Box<dyn Wire>>,
    ) -> Self {
        let own = DecoderMemory::of_format(memory, pool);
        let memory: &DecoderMemory = own.unwrap_or(pool);
        let (wire, out) = match memory.take() {
            Some((mut wire, mut out)) => {
                wire.renew(limits);
                out.renew(limits);
                (Ok(wire), out)
            }
            None => {
                let mut wire = make();
                if let (Some(own), Ok(wire)) = (own, &mut wire) {
                    wire.learn_in(own);
                }
                (wire, Outbox::new(limits))
            }
        };
        let mut decoder = Self::over(head, limits, json, wire, out);
        decoder.pool = Some(memory.clone());
        decoder
    }

    fn over(
        head: &Head<'_>,
        limits: DecodeLimits,
        json: Json,
        wire: Result<Box<dyn Wire>>,
        mut out: Outbox,
    ) -> Self {
        let json = match (head.content_type(), json) {
            (Some(kind), Json::Lines) if kind.eq_ignore_ascii_case("application/json") => Json::Document,
            (Some(kind), _) if kind.to_ascii_lowercase().contains("ndjson") => Json::Lines,
            _ => json,
        };
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
            pool: None,
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
        if self.used < self.input.len() && self.more() {
            return Advance::Delta;
        }
        self.out.leave_direct();
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

    /// Looks at what the next event will be decoded with, if it is like the last: see [`Extractor::warm`](loquat_json::Extractor::warm).
    /// For who waited for bytes and is told that there are some, before they are fetched.
    #[inline]
    pub fn warm(&mut self) {
        let Self { wire: Some(wire), framing: Framing::Events(framer), out, .. } = self else { return };
        if let Some(field) = out.warm() {
            framer.warm(wire.extractor(), field);
        }
    }

    /// Takes the next event, if it is more of what the last one was and nothing else: the way of nearly all. Whether that gives a
    /// delta; what cannot go this way is left to the other.
    #[inline]
    fn more(&mut self) -> bool {
        let Self {
            wire: Some(wire), framing: Framing::Events(framer), input, used, out, events, pool, ..
        } = self
        else {
            return false;
        };
        if !out.expects_more() {
            return false;
        }
        let mut rest = input.get(*used..).unwrap_or_default();
        let Some(is_delta) = out.next_more(framer, wire.extractor(), &mut rest) else { return false };
        let length = input.len() - *used - rest.len();
        if length > pool::MAX_EVENT_BYTES {
            *pool = None;
        }
        *used += length;
        *events += 1;
        is_delta
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

    /// Events so far: pings and comments do not count, empty deltas and what frames an answer do. Whether any has said something is
    /// [`has_content`](Self::has_content).
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether what somebody waits for has come: text, thoughts that can be read, a refusal, a tool call, a picture or sound.
    pub fn has_content(&self) -> bool {
        self.out.has_content()
    }

    /// Whether the model is known to think: thoughts have begun, or their last words have come, and nothing has been said since.
    /// Providers may keep the thoughts to themselves and send pings alone for minutes.
    pub fn is_thinking(&self) -> bool {
        self.out.is_thinking()
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
            wire: Some(wire),
            framing: Framing::Events(framer),
            limits,
            input,
            used,
            out,
            events,
            pool,
            ..
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
        if event.data.len() > pool::MAX_EVENT_BYTES {
            *pool = None;
        }
        match take(wire.as_mut(), Incoming::framed(event), out) {
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
        let Self { wire: Some(wire), framing, limits, input, used, out, events, pool, .. } = self else {
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
                if !matches!(framing, Framing::Events(_)) {
                    *pool = None;
                }
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
        let Self { wire, framing, out, events, pool, .. } = self;
        if let Some(wire) = wire {
            let result = match framing {
                Framing::Unknown { .. } | Framing::List(_) | Framing::Frames(_) => Ok(()),
                Framing::Events(framer) => {
                    let result = match framer.finish() {
                        Ok(Some(event)) => {
                            if event.data.len() > pool::MAX_EVENT_BYTES {
                                *pool = None;
                            }
                            match take(wire.as_mut(), Incoming::framed(event), out) {
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

/// With what could not be read, unless the error has what it is about.
fn with_body(error: Error, unread: &[u8]) -> Error {
    if unread.is_empty() || error.raw_body().is_some() { error } else { error.with_raw_body(unread) }
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

impl Drop for Decoder {
    fn drop(&mut self) {
        if let (Some(pool), Some(wire)) = (self.pool.take(), self.wire.take())
            && self.out.is_small()
        {
            pool.give(wire, std::mem::replace(&mut self.out, Outbox::new(self.limits)));
        }
    }
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
