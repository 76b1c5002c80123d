//! What a format is to the decoder: something that makes deltas of one event after the other.
//!
//! How a body is cut into events, when it is over and how it ended is the [decoder's](crate::Decoder) business.

use std::fmt;

use loquat_core::Error;
use loquat_json::{Event, Extractor, Found};

use crate::{DecodeLimits, DecoderMemory, outbox::Outbox};

/// What a format makes of its events.
pub(crate) trait Wire: Send + fmt::Debug {
    /// What [`event`](Self::event) extracts with: events that look like the last few are framed and extracted in one pass.
    fn extractor(&mut self) -> &mut Extractor;

    /// Puts what an event says into `out`; says whether it carried anything (a ping does not).
    ///
    /// An error from here is what makes an event no event: not JSON, a bound exceeded. What a provider reports goes to
    /// [`Outbox::fail`].
    fn event(&mut self, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError>;

    /// Learns in that memory, and no longer in its format's. Before its first event.
    fn learn_in(&mut self, memory: &DecoderMemory) {
        memory.adopt(0, self.extractor());
    }

    /// Forgets the answer so far, but for the shapes of its events: the next one may be any other. To be written only by formats
    /// with a [`Pool`](crate::pool::Pool).
    fn renew(&mut self, _limits: DecodeLimits) {}
}

/// Takes an event, and tells it as it came where that is asked for.
#[inline]
pub(crate) fn take(wire: &mut dyn Wire, event: Incoming<'_>, out: &mut Outbox) -> Result<bool, EventError> {
    let counts = wire.event(event, out)?;
    if out.keeps_events() && !event.is_done() {
        out.event_as_it_came(event.data)?;
    }
    Ok(counts)
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
    pub(crate) fn framed(event: Event<'a>) -> Self {
        Self { name: event.name, data: event.data, whole: false, framed: Some(event) }
    }

    pub(crate) fn unframed(data: &'a str, whole: bool) -> Self {
        Self { name: "message", data, whole, framed: None }
    }

    pub(crate) fn named(name: &'a str, data: &'a str) -> Self {
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
