//! For the tests of those who build on this crate: a [`Model`] that says what it was told to say, and a [`Clock`]
//! moved by hand.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{Answer, BoxFuture, ChatRequest, Clock, Context, Error, ErrorKind, Model, OwnedDelta, Result};

pub use crate::made::Replay;

/// Makes this thread draw the same [`TraceContext::random`](crate::TraceContext::random) from here on as each time that it was given
/// this seed, for some hundred draws: as a process does that has forked.
pub fn seed_ids(seed: u64) {
    crate::context::seed_ids(seed);
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
                Some(answer) => Ok(Answer::from_deltas(answer?)),
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
