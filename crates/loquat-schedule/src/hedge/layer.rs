//! [`Hedged`]: a model that is asked twice when it is slow, where that was asked for.

use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{self, Poll},
    time::Instant,
};

use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delta, Ending, Event, Model, Result, Source, Step,
};

use super::Hedge;

/// A model around a model. It does nothing unless [`HedgePolicy::generation`](super::HedgePolicy::generation) is set.
///
/// Then an attempt counts as begun at its first delta, since many servers send the response head long before they
/// have a token. The attempt that loses is dropped, which cancels it.
pub struct Hedged<M> {
    inner: M,
    hedge: Arc<Hedge>,
}

impl<M> Hedged<M> {
    /// Hedged by that, which belongs to the endpoint.
    pub fn new(inner: M, hedge: Arc<Hedge>) -> Self {
        Self { inner, hedge }
    }
}

impl<M: Model> Model for Hedged<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        if !self.hedge.policy().generation {
            return self.inner.infer(context, request);
        }
        Box::pin(async move {
            let first = AtomicBool::new(true);
            let attempt = || async {
                if !first.swap(false, Relaxed) {
                    context.report(&Event::Hedge);
                }
                begun(self.inner.infer(context, request.clone()).await?).await
            };
            self.hedge.run(attempt).await
        })
    }
}

impl<M> fmt::Debug for Hedged<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedged").field("hedge", &self.hedge).finish_non_exhaustive()
    }
}

/// The answer once its first step is known, which it gives again to whoever pulls. A failure as the first step is the
/// attempt's.
async fn begun(answer: Answer) -> Result<Answer> {
    let mut taken = None;
    let answer = answer.map_source(|inner| {
        taken = Some(inner);
        Nothing
    });
    let Some(mut inner) = taken else { return Ok(answer) };
    match poll_fn(|cx| inner.poll_advance(cx)).await {
        Step::End(Ending::Failed(error)) => Err(error),
        step => Ok(answer.map_source(|_| Peeked { inner, first: Some(step) })),
    }
}

/// Stands where a source was taken out.
struct Nothing;

impl Source for Nothing {
    fn poll_advance(&mut self, _: &mut task::Context<'_>) -> Poll<Step> {
        Poll::Ready(Step::End(Ending::Truncated { cause: None }))
    }

    fn current(&self) -> Delta<'_> {
        Delta::Start { id: "", model: "" }
    }
}

/// A source whose first step is known.
struct Peeked {
    inner: Box<dyn Source>,
    first: Option<Step>,
}

impl Source for Peeked {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        match self.first.take() {
            Some(step) => Poll::Ready(step),
            None => self.inner.poll_advance(cx),
        }
    }

    fn current(&self) -> Delta<'_> {
        self.inner.current()
    }

    fn arrived(&self) -> Option<Instant> {
        self.inner.arrived()
    }
}
