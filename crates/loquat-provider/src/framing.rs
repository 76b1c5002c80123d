//! How a body is cut into events, and what there is to an event that is no server-sent one and no line.
//!
//! Which of these a body is, its first byte says; see [`Decoder`](crate::Decoder).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use loquat_core::{Error, ErrorKind, Result};
use loquat_json::{Extractor, Framer};

use crate::{
    eventstream::{Frame, FrameReader},
    failure,
    fields::{Pick, fields},
    list::ListFramer,
    outbox::Outbox,
    wire::{EventError, Incoming, Wire, take},
};

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
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every answer has events, and a box would be one step more to each"
)]
pub(crate) enum Framing {
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

fields! {
    Bytes = "/bytes",
}

/// A binary event stream being read.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) reader: FrameReader,
    /// Finds what a frame carries on behalf of another format.
    pub(crate) envelope: Extractor,
    /// What it carries, reused.
    pub(crate) text: Vec<u8>,
}

impl Frames {
    pub(crate) fn new() -> Result<Self> {
        // All frames of the process have these fields: what an endpoint's look like is not for others to know.
        let envelope = Field::extractor()?.with_prediction(false);
        Ok(Self { reader: FrameReader::default(), envelope, text: Vec::new() })
    }
}

/// A frame's event. One that carries another format's (`chunk`) is unwrapped first.
pub(crate) fn frame_event(
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
        return take(wire, Incoming::named(frame.event_type, payload), out);
    }
    let found = envelope.extract_str(payload)?;
    let carried = Field::Bytes.text(found).and_then(|bytes| bytes.borrowed());
    text.clear();
    if STANDARD.decode_vec(carried.unwrap_or_default(), text).is_err() {
        return Err(Error::new(ErrorKind::Protocol, "what a frame carries is not base64").into());
    }
    let carried = std::str::from_utf8(text).map_err(not_text)?;
    take(wire, Incoming::named("message", carried), out)
}

/// An element of a list of events.
pub(crate) fn element_event(
    wire: &mut dyn Wire,
    element: &[u8],
    out: &mut Outbox,
) -> Result<bool, EventError> {
    let data = std::str::from_utf8(element)
        .map_err(|_| Error::new(ErrorKind::Protocol, "an element of the list of events is not UTF-8"))?;
    take(wire, Incoming::unframed(data, false), out)
}

/// A body that is one document. `cut`: it was lost on the way, and being no JSON is not its fault.
pub(crate) fn document(wire: &mut dyn Wire, body: &[u8], cut: bool, out: &mut Outbox) -> Result<()> {
    let data = std::str::from_utf8(body).map_err(|error| {
        let place = error.valid_up_to();
        Error::new(ErrorKind::Protocol, format!("the answer is not UTF-8 at byte {place}"))
    })?;
    match take(wire, Incoming::unframed(data, true), out) {
        Ok(_) => {
            out.finish();
            Ok(())
        }
        Err(EventError::Json(_)) if cut => Ok(()),
        // Several documents under the content type of one: lines after all.
        Err(EventError::Json(error)) if error.kind() == loquat_json::ErrorKind::TrailingBytes => {
            let mut number = 0;
            for data in data.lines().filter(|line| !line.trim().is_empty()) {
                match take(wire, Incoming::unframed(data, false), out) {
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

/// `number`: events with content before this one.
pub(crate) fn refused(error: EventError, number: u64) -> Error {
    match error {
        EventError::Other(error) => error,
        EventError::Json(error) => Error::new(
            ErrorKind::Protocol,
            format!("an event is not valid JSON at its byte {} ({number} events before it)", error.offset()),
        )
        .with_source(error),
    }
}
