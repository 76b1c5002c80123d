//! For the tests of those who build on this crate: a [`Model`] that says what it was told to say, and a [`Clock`]
//! moved by hand.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{self, Poll},
    time::{Duration, Instant},
};

use crate::{
    Answer, BoxFuture, ChatRequest, Clock, Context, Delta, Ending, Error, ErrorKind, FinishReason, Model,
    OwnedDelta, Result, Source, Step, Usage,
};

/// Makes this thread draw the same [`TraceContext::random`](crate::TraceContext::random) from here on as each time that it was given
/// this seed, for some hundred draws: as a process does that has forked.
pub fn seed_ids(seed: u64) {
    crate::context::seed_ids(seed);
}

/// A source that replays deltas. The ending is the last element; without one the answer is truncated.
#[derive(Debug)]
pub struct Replay {
    deltas: VecDeque<OwnedDelta>,
    current: OwnedDelta,
}

impl Replay {
    /// Replays these.
    pub fn new(deltas: impl IntoIterator<Item = OwnedDelta>) -> Self {
        Self {
            deltas: deltas.into_iter().collect(),
            current: OwnedDelta::Start { id: String::new(), model: String::new() },
        }
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
        Poll::Ready(match self.deltas.pop_front() {
            Some(OwnedDelta::End(ending)) => Step::End(ending),
            Some(delta) => {
                self.current = delta;
                Step::Delta
            }
            None => Step::End(Ending::Truncated { cause: None }),
        })
    }

    fn current(&self) -> Delta<'_> {
        self.current.as_delta()
    }
}

/// A model that answers from a script and remembers what it was asked.
#[derive(Default)]
pub struct Scripted {
    script: Mutex<VecDeque<Result<Vec<OwnedDelta>>>>,
    asked: Mutex<Vec<Arc<ChatRequest>>>,
}

impl Scripted {
    /// Nothing scripted: every request fails until [`then`](Self::then) adds an answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers the next request with these deltas, or refuses it.
    #[must_use]
    pub fn then(self, answer: Result<Vec<OwnedDelta>>) -> Self {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push_back(answer);
        self
    }

    /// The requests so far, oldest first.
    pub fn asked(&self) -> Vec<Arc<ChatRequest>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").finish_non_exhaustive()
    }
}

impl Model for Scripted {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            context.check()?;
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            let next = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(answer) => Ok(Answer::new(Replay::new(answer?))),
                None => Err(Error::new(ErrorKind::Internal, "the script has no further answer")),
            }
        })
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<Instant>);

impl ManualClock {
    /// Starts at the present.
    pub fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
