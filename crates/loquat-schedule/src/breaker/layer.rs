//! [`Guarded`]: a model behind a breaker.

use std::{fmt, future::Future, sync::Arc, time::Instant};

use loquat_core::{Answer, BoxFuture, ChatRequest, Context, Ending, ErrorKind, Event, Model, Result};

use super::{Breaker, Outcome, Permit};
use crate::{
    observed::{Observer, observe},
    refusal::{BREAKER_OPEN, hint, refused},
    time::{check, now},
};

/// A model around a model: asks only while the endpoint's [`Breaker`] lets it.
///
/// An attempt is judged by its error, or by its answer's ending: an endpoint that answers every request and finishes
/// none is not well. A probe is judged by its answer's first content already, and an answer that the caller drops not at all.
///
/// Put it inside retries and the queue, and outside of [`Limited`](crate::limits::Limited): what times an attempt out
/// must be below, or the breaker sees a cancelled attempt where there was a timeout.
pub struct Guarded<M> {
    inner: M,
    breaker: Arc<Breaker>,
}

impl<M> Guarded<M> {
    /// Behind that breaker, which belongs to the endpoint.
    pub fn new(inner: M, breaker: Arc<Breaker>) -> Self {
        Self { inner, breaker }
    }

    /// The breaker.
    pub fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }
}

impl<M: Model> Guarded<M> {
    async fn run(&self, context: &Context, request: Arc<ChatRequest>) -> Result<Answer> {
        let ask = || self.inner.infer(context, request);
        let (answer, permit) = guard(&self.breaker, context, |permit| permit, ask).await?;
        Ok(observe(answer, Trial { permit, deadline: context.deadline() }))
    }
}

/// One attempt, if the breaker lets it pass. One that fails has been judged; what becomes of another is for the caller to say.
/// `kind` tells a permit what it is for.
pub(crate) async fn guard<T, F: Future<Output = Result<T>>>(
    breaker: &Arc<Breaker>,
    context: &Context,
    kind: fn(Permit) -> Permit,
    attempt: impl FnOnce() -> F,
) -> Result<(T, Permit)> {
    check(context)?;
    let started = now();
    let permit = breaker.try_pass(started).map(kind).map_err(|rejected| {
        let wait = rejected.until.saturating_duration_since(started);
        context.report(&Event::CircuitOpen { wait });
        let message = format!(
            "the endpoint has failed too often and is left alone for another {:.1} s",
            wait.as_secs_f64()
        );
        refused(ErrorKind::Overloaded, BREAKER_OPEN, message).with_retry_hint(hint(wait))
    })?;
    match attempt().await {
        Ok(done) => Ok((done, permit)),
        Err(error) => {
            let now = now();
            let outcome = permit.outcome_of(&error, context.deadline(), now);
            permit.settle(outcome, now);
            Err(error)
        }
    }
}

impl<M: Model> Model for Guarded<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(self.run(context, request))
    }
}

impl<M> fmt::Debug for Guarded<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

/// An answer that settles its permit.
struct Trial {
    permit: Permit,
    /// The caller's.
    deadline: Option<Instant>,
}

impl Observer for Trial {
    fn begun(&mut self, now: Instant) {
        self.permit.begun(now);
    }

    fn ended(self, ending: &Ending, now: Instant) {
        let outcome = match ending {
            Ending::Finished { .. } => Outcome::Success,
            Ending::Failed(error) | Ending::Truncated { cause: Some(error) } => {
                self.permit.outcome_of(error, self.deadline, now)
            }
            Ending::Truncated { cause: None } => Outcome::Failure,
        };
        self.permit.settle(outcome, now);
    }
}
