//! One type for both framings, so that a provider picks one by content type and writes its loop once.

use std::hint::black_box;

use crate::error::Error;
use crate::event::Event;
use crate::extract::Extractor;
use crate::found::{Found, Likeness};
use crate::{ndjson, sse};

/// A framing decoder picked at run time; see [`sse::Decoder`] and [`ndjson::Decoder`].
///
/// ```
/// use loquat_json::{Framer, Limits, ndjson, sse};
///
/// fn events(content_type: &str, mut body: &[u8]) -> Result<usize, loquat_json::Error> {
///     let mut framer: Framer = match content_type {
///         "application/x-ndjson" => ndjson::Decoder::new(Limits::default()).into(),
///         _ => sse::Decoder::new(Limits::default()).into(),
///     };
///     let mut events = 0;
///     while framer.next(&mut body)?.is_some() {
///         events += 1;
///     }
///     Ok(events + usize::from(framer.finish()?.is_some()))
/// }
///
/// assert_eq!(events("text/event-stream", b"data: {}\n\ndata: {}\n\n"), Ok(2));
/// assert_eq!(events("application/x-ndjson", b"{}\n{}\n{}"), Ok(3));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Framer {
    /// Server-sent events (`text/event-stream`).
    Sse(sse::Decoder),
    /// Newline-delimited JSON (`application/x-ndjson`).
    Ndjson(ndjson::Decoder),
}

impl Framer {
    /// The next complete event, or `None` when `input` is used up.
    ///
    /// # Errors
    ///
    /// As [`sse::Decoder::next`] and [`ndjson::Decoder::next`].
    #[allow(clippy::should_implement_trait)] // lends, which `Iterator` cannot
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Event<'a>>, Error> {
        match self {
            Self::Sse(decoder) => decoder.next(input),
            Self::Ndjson(decoder) => decoder.next(input),
        }
    }

    /// [`next`](Self::next) for events that go to `json` afterwards, by [`Extractor::extract_event`]: one that looks like the
    /// last few and lies in one read is framed and extracted in the same pass. What comes out is the same.
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
        match self {
            Self::Sse(decoder) => decoder.next_for(input, json),
            Self::Ndjson(decoder) => decoder.next_for(input, json),
        }
    }

    /// What `accept` makes of what is found in the next event, if that looks like the last one, which `json` has found to be of this
    /// [`likeness`](Found::likeness): [`next_for`](Self::next_for) and [`Extractor::extract_event`] in one, for those who need no
    /// more of an event than one field. `None`, with nothing consumed, if `accept` says so, for any other event, one that is not
    /// all there, and errors: all of that [`next_for`](Self::next_for) is to be asked for.
    #[inline(always)] // on the way of every event
    pub fn next_again<'a, 'i: 'a, T>(
        &mut self,
        input: &mut &'i [u8],
        json: &'a mut Extractor,
        likeness: Likeness,
        accept: impl FnOnce(Found<'a>) -> Option<T>,
    ) -> Option<T> {
        let place = match self {
            Self::Sse(decoder) => decoder.place(),
            Self::Ndjson(decoder) => decoder.place(),
        };
        place.next_again(input, json, likeness, accept)
    }

    /// Looks at what the next event will be framed and extracted by, if it is like the last and asked for `field`: see
    /// [`Extractor::warm`].
    #[inline]
    pub fn warm(&mut self, json: &Extractor, field: usize) {
        let place = match self {
            Self::Sse(decoder) => decoder.place(),
            Self::Ndjson(decoder) => decoder.place(),
        };
        black_box(place.is_between);
        json.warm(field);
    }

    /// At the end of the body: the event that was not ended.
    ///
    /// # Errors
    ///
    /// As [`sse::Decoder::finish`] and [`ndjson::Decoder::finish`].
    pub fn finish(&mut self) -> Result<Option<Event<'_>>, Error> {
        match self {
            Self::Sse(decoder) => decoder.finish(),
            Self::Ndjson(decoder) => decoder.finish(),
        }
    }

    /// How many bytes of the stream are behind it; see [`sse::Decoder::offset`].
    pub fn offset(&self) -> u64 {
        match self {
            Self::Sse(decoder) => decoder.offset(),
            Self::Ndjson(decoder) => decoder.offset(),
        }
    }

    /// Lines that were no SSE field; see [`sse::Decoder::stray`]. Always empty for NDJSON, where every line that is not
    /// blank is an event.
    pub fn stray(&self) -> &[u8] {
        match self {
            Self::Sse(decoder) => decoder.stray(),
            Self::Ndjson(_) => &[],
        }
    }
}

impl From<sse::Decoder> for Framer {
    fn from(decoder: sse::Decoder) -> Self {
        Self::Sse(decoder)
    }
}

impl From<ndjson::Decoder> for Framer {
    fn from(decoder: ndjson::Decoder) -> Self {
        Self::Ndjson(decoder)
    }
}
