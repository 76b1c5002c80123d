//! [`Attempted`]: a model whose every call is one attempt of an operation.

use std::{fmt, sync::Arc, time::Duration};

use loquat_core::{Answer, BoxFuture, ChatRequest, Context, ErrorKind, Event, Model, Probe, Result};

use crate::{HeadTrace, Observer, Outcome, Place, call::Call, observer::Shared, series::Series};

/// A model around a model: one attempt per call. Put it inside of retries, around what asks an endpoint once.
///
/// It wraps no answer: once an attempt has one, its end is the operation's. So a token passes nothing of it.
pub struct Attempted<M> {
    inner: M,
    observer: Observer,
    place: Arc<Place>,
    series: Arc<Series>,
}

impl<M> Attempted<M> {
    pub(crate) fn new(inner: M, observer: Observer, place: Place) -> Self {
        let series = observer.0.series(&place);
        Self { inner, observer, place: Arc::new(place), series }
    }
}

impl<M: Model> Model for Attempted<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            let shared = self.observer.0.clone();
            let outer = context.probe().cloned();
            let call = outer.clone().and_then(|probe| Arc::downcast::<Call>(probe as Arc<_>).ok());
            let span = context.trace().child();
            let noted = call.and_then(|call| {
                call.goes_to(&self.place);
                if !call.records() {
                    return None;
                }
                let index = call.attempt(span, &self.place, shared.clock.now())?;
                Some((call, index))
            });
            let series = self.series.clone();
            let attempt = Arc::new(Attempt { shared, outer, series, noted });
            let mut guard = Guard { attempt: Some(attempt.clone()) };
            let context = context.clone().with_span(span).with_probe(attempt as Arc<_>);
            let result = self.inner.infer(&context, request).await;
            guard.came_out(match &result {
                Ok(_) => None,
                Err(error) => Some(Outcome::of(error)),
            });
            result
        })
    }
}

impl<M> fmt::Debug for Attempted<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempted").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Watches one attempt, and hands on what is the operation's.
struct Attempt {
    shared: Arc<Shared>,
    outer: Option<Arc<dyn Probe>>,
    series: Arc<Series>,
    /// The operation, and the attempt's number there.
    noted: Option<(Arc<Call>, usize)>,
}

impl Probe for Attempt {
    fn report(&self, event: &Event<'_>) {
        let Event::Head { status, protocol, reused, elapsed } = *event else {
            if let Some(outer) = &self.outer {
                outer.report(event);
            }
            return;
        };
        self.series.head(status, elapsed);
        if let Some((call, index)) = &self.noted {
            let head = HeadTrace { at: Duration::ZERO, status, protocol, reused };
            call.attempt_head(*index, self.shared.clock.now(), head);
        }
    }
}

/// An attempt that comes out once, be it by being dropped.
struct Guard {
    attempt: Option<Arc<Attempt>>,
}

impl Guard {
    /// `None`: it has an answer.
    fn came_out(&mut self, failure: Option<Outcome>) {
        let Some(attempt) = self.attempt.take() else { return };
        attempt.series.attempted(failure.and_then(Outcome::error_type));
        if let (Some(outcome), Some((call, index))) = (failure, &attempt.noted) {
            call.attempt_ended(*index, attempt.shared.clock.now(), outcome);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.came_out(Some(Outcome::Failed(ErrorKind::Cancelled, None)));
    }
}
