//! Answers made of what is at hand: a text, deltas, a stream of them. For models whose words do not come over this toolkit's
//! wire: those of another library, a rule, a cache, a test.
//!
//! The rules are every answer's: the ending comes last and once, and what stops without one is a part.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{self, Poll, ready},
};

use futures_core::Stream;

use crate::{Answer, Delta, Ending, Error, ErrorKind, FinishReason, OwnedDelta, Source, Step, Usage};

impl Answer {
    /// An answer that says this and has finished: reason `stop`, nothing counted.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self::new(Replay::words(&[&text.into()]))
    }

    /// An answer of these deltas. [`OwnedDelta::End`] ends it, and what follows that is not told. Without one it is truncated, or
    /// failed where there is no delta at all. One whose text is empty is none: nothing has been said by it.
    pub fn from_deltas(deltas: impl IntoIterator<Item = OwnedDelta>) -> Self {
        Self::new(Replay::new(deltas))
    }

    /// An answer of deltas as they come, by the rules of [`from_deltas`](Self::from_deltas): the way back from
    /// [`into_stream`](Self::into_stream). Nothing is taken from the stream that is not pulled; it is dropped at the ending,
    /// and with the answer.
    pub fn from_stream(deltas: impl Stream<Item = OwnedDelta> + Send + 'static) -> Self {
        Self::new(Streamed { deltas: Box::pin(deltas), reached: None })
    }
}

/// A source that replays deltas, with an answer's rules ([`Answer::from_deltas`]).
#[derive(Debug)]
pub struct Replay {
    deltas: VecDeque<OwnedDelta>,
    reached: Option<OwnedDelta>,
}

impl Replay {
    /// Replays these.
    pub fn new(deltas: impl IntoIterator<Item = OwnedDelta>) -> Self {
        Self { deltas: deltas.into_iter().collect(), reached: None }
    }

    /// Replays these words as text, then finishes.
    pub fn words(words: &[&str]) -> Self {
        let text = words.iter().map(|word| OwnedDelta::Text { choice: 0, text: (*word).into() });
        let end = Ending::Finished { reason: FinishReason::Stop, usage: Usage::default() };
        Self::new(text.chain([OwnedDelta::End(end)]))
    }
}

impl Source for Replay {
    fn poll_advance(&mut self, _: &mut task::Context<'_>) -> Poll<Step> {
        let next = std::iter::from_fn(|| self.deltas.pop_front()).find(says_something);
        Poll::Ready(step(next, &mut self.reached))
    }

    fn current(&self) -> Delta<'_> {
        shown(self.reached.as_ref())
    }
}

struct Streamed<S> {
    deltas: Pin<Box<S>>,
    reached: Option<OwnedDelta>,
}

impl<S: Stream<Item = OwnedDelta> + Send> Source for Streamed<S> {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        loop {
            match ready!(self.deltas.as_mut().poll_next(cx)) {
                Some(delta) if !says_something(&delta) => {}
                next => return Poll::Ready(step(next, &mut self.reached)),
            }
        }
    }

    fn current(&self) -> Delta<'_> {
        shown(self.reached.as_ref())
    }
}

/// Whether it is more than an empty text, with which streams of other libraries begin: a router takes the first words for the
/// beginning of an answer, and then asks nobody else.
fn says_something(delta: &OwnedDelta) -> bool {
    match delta {
        OwnedDelta::Text { text, .. }
        | OwnedDelta::Reasoning { text, .. }
        | OwnedDelta::Refusal { text, .. }
        | OwnedDelta::ToolArguments { fragment: text, .. } => !text.is_empty(),
        _ => true,
    }
}

/// Where the next delta, or that there is none, leads to.
fn step(next: Option<OwnedDelta>, reached: &mut Option<OwnedDelta>) -> Step {
    match next {
        Some(OwnedDelta::End(ending)) => Step::End(ending),
        Some(delta) => {
            *reached = Some(delta);
            Step::Delta
        }
        None if reached.is_some() => Step::End(Ending::Truncated { cause: None }),
        None => {
            let error = Error::new(ErrorKind::Protocol, "the answer ended before it had begun");
            Step::End(Ending::Failed(error))
        }
    }
}

fn shown(reached: Option<&OwnedDelta>) -> Delta<'_> {
    reached.map_or(Delta::Start { id: "", model: "" }, OwnedDelta::as_delta)
}
