//! [`Limited`]: a model whose attempts are bounded. [`WithDeadline`]: a model whose operations have one deadline.

use std::{
    fmt,
    sync::Arc,
    task::{self, Poll},
};

use loquat_core::{Answer, BoxFuture, ChatRequest, Context, Delta, Ending, Model, Result, Source, Step};

use super::{Limits, Progress};
use crate::time::{Alarm, after, cancelled, check, now, or_cancelled, until};

/// A model around a model: an attempt that exceeds one of its [`Limits`] ends with a timeout that says which.
///
/// One timer per answer, re-armed only when it fires, and one reading of the clock per wait. Dropping the answer
/// drops the inner one.
#[derive(Debug, Clone)]
pub struct Limited<M> {
    inner: M,
    limits: Limits,
}

impl<M> Limited<M> {
    /// Within those limits.
    pub fn new(inner: M, limits: Limits) -> Self {
        Self { inner, limits }
    }
}

impl<M: Model> Limited<M> {
    async fn run(&self, context: &Context, request: Arc<ChatRequest>) -> Result<Answer> {
        check(context)?;
        let mut progress = Progress::new(self.limits, now(), context.deadline(), request.stream);
        let due = progress.due();
        let attempt = self.inner.infer(context, request);
        match or_cancelled(context, until(due.at, attempt)).await {
            Some(Some(answer)) => {
                progress.accept();
                Ok(answer?.map_source(|inner| Bounded {
                    inner: Some(inner),
                    progress,
                    alarm: Alarm::unset(),
                    since_look: 0,
                }))
            }
            Some(None) => Err(progress.error(due.bound)),
            None => Err(cancelled().with_delivery(loquat_core::Delivery::MaybeSent)),
        }
    }
}

impl<M: Model> Model for Limited<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(self.run(context, request))
    }
}

/// A source that never waits is looked at by the clock after so many deltas: it may be an endless one.
const DELTAS_PER_LOOK: u32 = 64;

struct Bounded {
    /// Dropped when a limit is reached, which cancels the attempt at once.
    inner: Option<Box<dyn Source>>,
    progress: Progress,
    alarm: Alarm,
    since_look: u32,
}

impl Bounded {
    fn overdue(&mut self, bound: super::Bound) -> Step {
        self.inner = None;
        let error = self.progress.error(bound);
        Step::End(match self.progress.has_content() {
            true => Ending::Truncated { cause: Some(error) },
            false => Ending::Failed(error),
        })
    }
}

impl Source for Bounded {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Step::End(Ending::Truncated { cause: None }));
        };
        match inner.poll_advance(cx) {
            Poll::Ready(Step::Delta) => {
                self.progress.delta(&inner.current());
                self.since_look += 1;
                if self.progress.is_waiting() || self.since_look >= DELTAS_PER_LOOK {
                    self.since_look = 0;
                    let (due, now) = (self.progress.due(), now());
                    if now >= due.at {
                        return Poll::Ready(self.overdue(due.bound));
                    }
                    self.progress.rest(now);
                }
                Poll::Ready(Step::Delta)
            }
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => {
                self.progress.wait(now());
                let due = self.progress.due();
                match self.alarm.poll(due.at, cx) {
                    Poll::Ready(()) => Poll::Ready(self.overdue(due.bound)),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn current(&self) -> Delta<'_> {
        const NOTHING: Delta<'_> = Delta::Start { id: "", model: "" };
        self.inner.as_ref().map_or(NOTHING, |inner| inner.current())
    }

    fn warm(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.warm();
        }
    }

    fn arrived(&self) -> Option<std::time::Instant> {
        self.inner.as_ref().and_then(|inner| inner.arrived())
    }
}

/// A model around a model: an operation without a deadline gets one. Outermost, so that queueing and retries count.
#[derive(Clone)]
pub struct WithDeadline<M> {
    inner: M,
    total: std::time::Duration,
}

impl<M> WithDeadline<M> {
    /// Operations end after `total`, unless their context says an earlier deadline.
    pub fn new(inner: M, total: std::time::Duration) -> Self {
        Self { inner, total }
    }
}

impl<M: Model> Model for WithDeadline<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            let context = context.clone().with_deadline(after(now(), self.total));
            self.inner.infer(&context, request).await
        })
    }
}

impl<M> fmt::Debug for WithDeadline<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithDeadline").field("total", &self.total).finish_non_exhaustive()
    }
}
