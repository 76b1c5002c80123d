//! [`Hedged`]: a model that is asked twice when it is slow, where that was asked for.

use std::{
    collections::VecDeque,
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
    Answer, BoxFuture, ChatRequest, Context, Delta, Ending, Event, Model, OwnedDelta, Result, Source, Step,
};

use super::Hedge;

/// A model around a model. It does nothing unless [`HedgePolicy::generation`](super::HedgePolicy::generation) is set.
///
/// Then an attempt counts as begun at its first delta with content, since many servers send the response head, and that an
/// answer has begun, long before they have a token. The attempt that loses is dropped, which cancels it.
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

/// Most deltas kept before the first with content; a server that sends so many other events has begun as well.
const MAX_BEFORE: usize = 16;

/// The answer once its first content is known, or its end; what came before is given again to whoever pulls. A failure before any
/// content is the attempt's.
async fn begun(answer: Answer) -> Result<Answer> {
    let mut taken = None;
    let answer = answer.map_source(|inner| {
        taken = Some(inner);
        Nothing
    });
    let Some(mut inner) = taken else { return Ok(answer) };
    let mut before = VecDeque::new();
    loop {
        match poll_fn(|cx| inner.poll_advance(cx)).await {
            Step::End(Ending::Failed(error)) => return Err(error),
            Step::Delta if before.len() < MAX_BEFORE && inner.current().content_bytes().is_none() => {
                before.push_back((inner.current().to_owned(), inner.arrived()));
            }
            step => {
                let source = Peeked { inner, before, current: None, first: Some(step) };
                return Ok(answer.map_source(|_| source));
            }
        }
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

/// A delta, and when it arrived.
type Kept = (OwnedDelta, Option<Instant>);

/// A source whose first steps are known.
struct Peeked {
    inner: Box<dyn Source>,
    before: VecDeque<Kept>,
    /// Of those before, the one that was given last.
    current: Option<Kept>,
    first: Option<Step>,
}

impl Source for Peeked {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        self.current = self.before.pop_front();
        if self.current.is_some() {
            return Poll::Ready(Step::Delta);
        }
        match self.first.take() {
            Some(step) => Poll::Ready(step),
            None => self.inner.poll_advance(cx),
        }
    }

    fn current(&self) -> Delta<'_> {
        self.current.as_ref().map_or_else(|| self.inner.current(), |(delta, _)| delta.as_delta())
    }

    fn warm(&mut self) {
        self.inner.warm();
    }

    fn arrived(&self) -> Option<Instant> {
        self.current.as_ref().map_or_else(|| self.inner.arrived(), |(_, arrived)| *arrived)
    }
}
