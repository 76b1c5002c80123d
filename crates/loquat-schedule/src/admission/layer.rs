//! [`Admitted`]: a model that is asked only as often as its endpoint bears.

use std::{fmt, sync::Arc, time::Instant};

use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delivery, Ending, Error, ErrorKind, Model, Part, Result,
};

use super::{Admission, Permit};
use crate::{
    observed::{Observer, observe},
    refusal::{is_local, waited_for_a_place},
    time::now,
};

/// A model around a model: each attempt waits for its permit, and holds it until its answer ends or is dropped.
///
/// Put it inside retries, so that no permit is held while one waits for the next attempt, and outside of the breaker,
/// so that what was let in is asked of an endpoint that is well now.
pub struct Admitted<M> {
    inner: M,
    admission: Arc<Admission>,
    estimate: fn(&ChatRequest) -> u64,
}

impl<M> Admitted<M> {
    /// Behind that admission, which belongs to the endpoint.
    pub fn new(inner: M, admission: Arc<Admission>) -> Self {
        Self { inner, admission, estimate: estimate_tokens }
    }

    /// With another estimate of what a request will use. It is settled when the answer says what it did use.
    #[must_use]
    pub fn with_estimate(mut self, estimate: fn(&ChatRequest) -> u64) -> Self {
        self.estimate = estimate;
        self
    }
}

impl<M: Model> Admitted<M> {
    async fn run(&self, context: &Context, request: Arc<ChatRequest>) -> Result<Answer> {
        let mut permit = self.admission.acquire(context, (self.estimate)(&request)).await?;
        match self.inner.infer(context, request).await {
            Ok(answer) => Ok(observe(answer, Visit { permit, deadline: context.deadline() })),
            Err(error) => {
                note(&mut permit, &error, context.deadline(), now());
                Err(error)
            }
        }
    }
}

/// What a failure means for the endpoint's limits; `deadline` is its caller's. Who is in a hurry would take room from all others, were
/// the end of that time taken for the endpoint's weakness.
fn note(permit: &mut Permit, error: &Error, deadline: Option<Instant>, now: Instant) {
    if error.delivery() == Delivery::NotSent {
        permit.unsent();
    } else if error.delivery() == Delivery::MaybeSent
        && matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Overloaded)
    {
        // Refused before a token was made; the request itself counts at most providers. An answer that had begun has used what
        // nobody knows: there the estimate stays.
        permit.used(0);
    }
    let too_much = match error.kind() {
        ErrorKind::RateLimited | ErrorKind::Overloaded => true,
        ErrorKind::Timeout => deadline.is_none_or(|deadline| now < deadline) && !waited_for_a_place(error),
        _ => false,
    };
    if too_much && !is_local(error) {
        permit.overloaded();
    }
}

/// A rough count of the tokens a request will use: a quarter of its bytes, and all that it may answer with (1,024 where
/// it does not say). Good to a factor of two for prose; binary parts count by nothing, since providers differ by orders
/// of magnitude there.
pub fn estimate_tokens(request: &ChatRequest) -> u64 {
    const BYTES_PER_TOKEN: usize = 4;
    const ANSWER_TOKENS: u32 = 1024;
    let parts = request.messages.iter().flat_map(|message| &message.parts).map(|part| match part {
        Part::Text(text) | Part::Refusal(text) => text.len(),
        Part::Reasoning(reasoning) => reasoning.text.len(),
        Part::ToolCall(call) => call.name.len() + call.arguments.len(),
        _ => 0,
    });
    let tools = request.tools.iter().map(|tool| tool.description.len() + tool.parameters.as_str().len());
    let prompt = parts.chain(tools).fold(0, usize::saturating_add) / BYTES_PER_TOKEN;
    (prompt as u64).saturating_add(request.max_output_tokens.unwrap_or(ANSWER_TOKENS).into())
}

impl<M: Model> Model for Admitted<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(self.run(context, request))
    }
}

impl<M> fmt::Debug for Admitted<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted").field("admission", &self.admission).finish_non_exhaustive()
    }
}

/// An answer under way.
struct Visit {
    permit: Permit,
    /// The caller's.
    deadline: Option<Instant>,
}

impl Observer for Visit {
    fn begun(&mut self, now: Instant) {
        self.permit.begun(now);
    }

    fn ended(mut self, ending: &Ending, now: Instant) {
        match ending {
            Ending::Finished { usage, .. } if !usage.is_unknown() => self.permit.used(usage.total_tokens()),
            Ending::Failed(error) | Ending::Truncated { cause: Some(error) } => {
                note(&mut self.permit, error, self.deadline, now);
            }
            _ => {}
        }
    }
}
