//! A streamed answer: pulled, lent, and always ended.
//!
//! Inside is a [`Source`], which first advances and then shows. The split lets [`Answer::next`] lend from the
//! source's own buffer without an allocation per delta, and lets a layer look at a step before it passes it on.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{self, Poll, ready},
    time::Instant,
};

use futures_core::Stream;

use crate::{Assembler, Delta, Ending, Error, ErrorKind, OwnedDelta, RateLimits, Response, Result};

/// Most bytes of content an [`Answer`] keeps by default: 64 MiB, a hundred times the longest answer a model gives.
pub const DEFAULT_MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// What a [`Source`] did when it was asked to go on.
#[derive(Debug)]
pub enum Step {
    /// There is a delta: [`Source::current`] shows it until the next advance.
    Delta,
    /// That was all. The source is not asked again.
    End(Ending),
}

/// Where an answer's deltas come from.
pub trait Source: Send {
    /// Goes on to the next delta, or to the end.
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step>;

    /// The delta that the last [`Step::Delta`] announced. Never [`Delta::End`]; what it shows before the first
    /// advance is unspecified.
    fn current(&self) -> Delta<'_>;

    /// Told before an advance by who was sent away from the last one and has been woken: among many sources that take turns one finds cold
    /// what it needs, piece by piece, and may look at all of that here, so that it is on its way from memory at once. Changes
    /// nothing; a source around another one passes it on.
    fn warm(&mut self) {}

    /// When the bytes arrived that the last step was made from, where the source has looked at the clock anyway: a
    /// watcher need not look again for every token. Several steps may come from one arrival.
    fn arrived(&self) -> Option<Instant> {
        None
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        (**self).poll_advance(cx)
    }

    fn current(&self) -> Delta<'_> {
        (**self).current()
    }

    fn warm(&mut self) {
        (**self).warm();
    }

    fn arrived(&self) -> Option<Instant> {
        (**self).arrived()
    }
}

/// What is known of an answer besides its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The provider's name for the request, which its support asks for.
    pub request_id: Option<String>,
    /// What the provider says of its limits.
    pub rate_limits: RateLimits,
}

/// A streamed answer. Pull it with [`next`](Self::next), or all at once with [`collect`](Self::collect).
///
/// It ends in exactly one [`Ending`] and keeps what arrived ([`so_far`](Self::so_far)), at most
/// [`DEFAULT_MAX_ANSWER_BYTES`]. Nothing is fetched that is not pulled, and no task runs behind it. Dropping it gives
/// the request up at once: an HTTP/2 stream is reset, an HTTP/1 connection closed, an engine stops at its next token.
#[must_use = "an answer does nothing unless it is pulled, and dropping it cancels the request"]
// One among many finds all of this cold at each delta: what a delta needs comes first, and the assembler begins with the rest of that.
#[repr(C)]
pub struct Answer {
    /// Dropped at the ending, so that its connection is free again although the answer is still held.
    source: Option<Box<dyn Source>>,
    /// Whoever pulls was sent away.
    is_away: bool,
    assembler: Option<Assembler>,
    /// While there is a source there is none.
    ending: Option<Ending>,
    /// Whether [`Delta::End`] has been handed out.
    shown_end: bool,
    meta: Meta,
}

impl Answer {
    /// An answer that pulls from that source.
    pub fn new(source: impl Source + 'static) -> Self {
        Self {
            source: Some(Box::new(source)),
            is_away: false,
            assembler: Some(Assembler::new(DEFAULT_MAX_ANSWER_BYTES)),
            ending: None,
            shown_end: false,
            meta: Meta::default(),
        }
    }

    /// With what is known besides.
    pub fn with_meta(mut self, meta: Meta) -> Self {
        if let Some(assembler) = &mut self.assembler {
            let response = assembler.response_mut();
            response.request_id.clone_from(&meta.request_id);
            response.rate_limits.clone_from(&meta.rate_limits);
        }
        self.meta = meta;
        self
    }

    /// Keeps at most that many bytes; an answer that is longer fails with [`ErrorKind::TooLarge`].
    /// To be said before the first pull.
    pub fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.assembler = Some(Assembler::new(max_bytes));
        let meta = std::mem::take(&mut self.meta);
        self.with_meta(meta)
    }

    /// Keeps nothing: for those who only pass deltas on. [`so_far`](Self::so_far) is `None` from here.
    pub fn without_history(mut self) -> Self {
        self.assembler = None;
        self
    }

    /// What is known besides the content.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The next delta; after [`Delta::End`], `None`.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next call goes on where this one stood.
    pub async fn next(&mut self) -> Option<Delta<'_>> {
        if poll_fn(|cx| self.poll_advance(cx)).await { self.current() } else { None }
    }

    /// The next piece of the first alternative's text, `None` when the answer has finished. The shortest loop that
    /// still cannot mistake a part for the whole.
    ///
    /// # Errors
    /// What the answer failed of, or [`ErrorKind::Truncated`], with [`Error::partial`] holding what had arrived.
    ///
    /// # Cancel safety
    /// As [`next`](Self::next).
    pub async fn next_text(&mut self) -> Result<Option<&str>> {
        loop {
            if !poll_fn(|cx| self.poll_advance(cx)).await {
                return match &self.ending {
                    Some(ending) => ending.clone().into_result().map(|_| None),
                    None => Ok(None),
                };
            }
            match self.current() {
                Some(Delta::Text { choice: 0, .. }) => break,
                Some(Delta::End(Ending::Finished { .. })) => return Ok(None),
                Some(Delta::End(ending)) => {
                    let ending = ending.clone();
                    let kept = self.so_far().cloned().unwrap_or_default();
                    return conclude(kept, ending).map(|_| None);
                }
                _ => {}
            }
        }
        Ok(self.current().and_then(|delta| delta.text()))
    }

    /// [`next`](Self::next) for those who poll: `true` when [`current`](Self::current) has something new to show.
    pub fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<bool> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(self.ending.is_some() && !std::mem::replace(&mut self.shown_end, true));
        };
        if std::mem::take(&mut self.is_away) {
            // What is asked for from memory here, one after the other, is one wait.
            source.warm();
            if let Some(assembler) = &self.assembler {
                assembler.warm();
            }
        }
        let Poll::Ready(step) = source.poll_advance(cx) else {
            self.is_away = true;
            return Poll::Pending;
        };
        match step {
            Step::Delta => match &mut self.assembler {
                Some(assembler) => match assembler.push(source.current()) {
                    Ok(()) => Poll::Ready(true),
                    Err(error) => Poll::Ready(self.end(Ending::Failed(error))),
                },
                None => Poll::Ready(true),
            },
            Step::End(ending) => Poll::Ready(self.end(ending)),
        }
    }

    /// The delta that [`poll_advance`](Self::poll_advance) reached.
    pub fn current(&self) -> Option<Delta<'_>> {
        match (&self.source, &self.ending) {
            (Some(source), _) => Some(source.current()),
            (None, Some(ending)) => Some(Delta::End(ending)),
            (None, None) => None,
        }
    }

    fn end(&mut self, ending: Ending) -> bool {
        self.source = None;
        if let Some(assembler) = &mut self.assembler {
            // Only a bound can be exceeded here, and an ending adds no content.
            drop(assembler.push(Delta::End(&ending)));
        }
        self.ending = Some(ending);
        self.shown_end = true;
        true
    }

    /// How it ended; `None` while it has not.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// What has arrived so far; `None` after [`without_history`](Self::without_history).
    pub fn so_far(&self) -> Option<&Response> {
        self.assembler.as_ref().map(Assembler::response)
    }

    /// Pulls to the end and gives the whole answer, what was pulled before included.
    ///
    /// # Errors
    /// What the answer failed of, or [`ErrorKind::Truncated`]; [`Error::partial`] holds what had arrived.
    /// [`ErrorKind::Internal`] after [`without_history`](Self::without_history).
    pub async fn collect(mut self) -> Result<Response> {
        if self.assembler.is_none() {
            return Err(Error::new(
                ErrorKind::Internal,
                "collect() after without_history(): nothing was kept",
            ));
        }
        while poll_fn(|cx| self.poll_advance(cx)).await {}
        let kept = self.assembler.map(Assembler::into_response).unwrap_or_default();
        match self.ending {
            Some(ending) => conclude(kept, ending),
            None => Err(Error::new(ErrorKind::Internal, "the answer has no source")),
        }
    }

    /// A stream of owned deltas, [`OwnedDelta::End`] last, for those who need `'static`. One allocation per text.
    pub fn into_stream(self) -> DeltaStream {
        DeltaStream(self)
    }

    /// The same answer through another source: for a layer that watches or bounds what passes. What is known and kept
    /// stays. An answer that has ended is given back as it is, and `wrap` is not called.
    pub fn map_source<S: Source + 'static>(mut self, wrap: impl FnOnce(Box<dyn Source>) -> S) -> Self {
        self.source = self.source.map(|source| Box::new(wrap(source)) as _);
        self
    }

    /// The source alone, for a layer that wraps it. `None` once the answer has ended.
    pub fn into_source(self) -> Option<Box<dyn Source>> {
        self.source
    }
}

/// What was kept, or why it is not the whole.
fn conclude(kept: Response, ending: Ending) -> Result<Response> {
    match ending.into_result() {
        Ok(_) => Ok(kept),
        Err(error) if kept.choices.is_empty() => Err(error),
        Err(error) => Err(error.with_partial(kept)),
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("ending", &self.ending)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

/// See [`Answer::into_stream`]. Dropping it gives the request up.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct DeltaStream(Answer);

impl Stream for DeltaStream {
    type Item = OwnedDelta;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<OwnedDelta>> {
        let more = ready!(self.0.poll_advance(cx));
        Poll::Ready(if more { self.0.current().map(|delta| delta.to_owned()) } else { None })
    }
}
