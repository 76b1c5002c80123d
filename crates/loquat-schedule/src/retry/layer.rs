//! [`Retrying`]: a model that is asked again when that is safe, worth it and paid for.

use std::{fmt, future::Future, sync::Arc};

use loquat_core::{Answer, BoxFuture, ChatRequest, Context, Event, Model, Result, system_random};

use super::{Budget, Decision, Operation, RetryPolicy, operation::explain};
use crate::{
    Random,
    delivery::{may_have_run, of_both},
    time::{after, check, now, sleep},
};

/// A model around a model: asks again after a failure, as its [`RetryPolicy`] and [`Budget`] allow.
///
/// What it retries is the start of an answer. An answer that has begun is handed over at once and never replaced:
/// text that a caller has seen cannot be taken back. Each attempt gets the same request, not copied. The error is the last
/// attempt's, unless it says that nothing has run while an attempt before it may have: then it is that one's, or says so.
///
/// Use one per endpoint, and one alone: retries around retries multiply.
pub struct Retrying<M> {
    inner: M,
    policy: RetryPolicy,
    budget: Arc<Budget>,
    random: Arc<Random>,
}

impl<M> Retrying<M> {
    /// Around that model. The budget belongs to the endpoint; share it with whatever else adds attempts there.
    pub fn new(inner: M, policy: RetryPolicy, budget: Arc<Budget>) -> Self {
        Self { inner, policy, budget, random: Arc::new(Random::from_system()) }
    }

    /// With jitter from that generator, which may be seeded and shared.
    #[must_use]
    pub fn with_random(mut self, random: impl Into<Arc<Random>>) -> Self {
        self.random = random.into();
        self
    }

    /// The budget it draws on.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

impl<M: Model> Retrying<M> {
    async fn run(&self, context: &Context, request: Arc<ChatRequest>) -> Result<Answer> {
        check(context)?;
        let started = now();
        let keyed = self.policy.deduplicates.then(|| with_key(context)).flatten();
        let context = keyed.as_ref().unwrap_or(context);
        let repeatable = self.policy.deduplicates && context.idempotency_key().is_some();
        let operation = Operation::new(self.policy, started, context.deadline()).with_repeatable(repeatable);
        self.budget.deposit(started);
        let attempt = || self.inner.infer(context, request.clone());
        repeat(operation, context, &self.budget, &self.random, attempt).await
    }
}

/// Attempts of that operation, which has earned its share already, until one succeeds or there is to be no other.
pub(crate) async fn repeat<T, F: Future<Output = Result<T>>>(
    mut operation: Operation,
    context: &Context,
    budget: &Budget,
    random: &Random,
    attempt: impl Fn() -> F,
) -> Result<T> {
    // Of the attempts so far, one that may have run.
    let mut ran = None;
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let (failed_at, retries) = (now(), operation.retries());
        // As it is now: who could be asked before may be asked already.
        operation = operation.with_alternative(context.has_alternative());
        match operation.decide(&error, failed_at, budget, random) {
            Decision::Retry { wait } => {
                // A breaker that was open has told of itself, and the endpoint has not been asked.
                if operation.retries() > retries {
                    context.report(&Event::Retry { retry: operation.retries(), wait, error: &error });
                }
                if may_have_run(&error) {
                    ran = Some(error);
                }
                if let Err(error) = sleep(context, after(failed_at, wait)).await {
                    return Err(of_both(ran, error));
                }
            }
            Decision::Stop(stop) => {
                return Err(explain(of_both(ran, error), stop, operation.retries()));
            }
        }
    }
}

/// The context with a key of its own, unless it has one. `None` without the system's randomness: a key that is not
/// unique is worse than none. Nor is it a trace's id, which a forked process may have as well.
fn with_key(context: &Context) -> Option<Context> {
    if context.idempotency_key().is_some() {
        return Some(context.clone());
    }
    let key = u128::from_ne_bytes(system_random()?);
    Some(context.clone().with_idempotency_key(format!("loquat-{key:032x}")))
}

impl<M: Model> Model for Retrying<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(self.run(context, request))
    }
}

impl<M> fmt::Debug for Retrying<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying").field("policy", &self.policy).finish_non_exhaustive()
    }
}
