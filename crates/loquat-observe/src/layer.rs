//! [`Observed`]: a model whose every call is watched from the request to the last token.

use std::{
    fmt,
    sync::Arc,
    task::{self, Poll},
    time::{Duration, Instant},
};

use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delta, Ending, ErrorKind, FinishReason, Model, Result, Source,
    Step, Usage,
};
#[cfg(feature = "capture")]
use loquat_core::{Part, Response, ToolCall};

#[cfg(feature = "capture")]
use crate::capture::Gather;

use crate::{
    Observer, Outcome, Place,
    call::{Call, End, word},
    pace::{Pace, Rare},
    series::Series,
    ticks::Ticks,
};

/// A model around a model: one operation per call. Put it outside of retries and routes.
///
/// For each arrival of content it adds to some numbers of the stream's own: no lock, no allocation, and no reading of the
/// clock where the source has read it. What they come to is recorded when the answer ends, or is dropped.
pub struct Observed<M> {
    inner: M,
    observer: Observer,
    place: Arc<Place>,
    series: Arc<Series>,
}

impl<M> Observed<M> {
    pub(crate) fn new(inner: M, observer: Observer, place: Place) -> Self {
        let series = observer.0.series(&place);
        Self { inner, observer, place: Arc::new(place), series }
    }

    fn begin(&self, context: &Context, request: &Arc<ChatRequest>) -> Running {
        let shared = &self.observer.0;
        let bound = if request.model.is_empty() || *request.model == *self.place.model {
            (self.series.clone(), self.place.clone())
        } else {
            let place = Place { model: word(&request.model).into(), ..(*self.place).clone() };
            (shared.series(&place), Arc::new(place))
        };
        let call = Call::begin(shared, bound, context, request);
        let slot = shared.live.enter(call.clone());
        Running {
            #[cfg(feature = "capture")]
            gather: call.capture(request),
            ticks: shared.ticks,
            call,
            slot,
            pace: Pace::default(),
            first_chunk: None,
            is_over: false,
        }
    }
}

impl<M: Model> Model for Observed<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            let mut running = self.begin(context, &request);
            let call = running.call.clone();
            let context = context.clone().with_span(call.trace).with_probe(call as Arc<_>);
            let answer = match self.inner.infer(&context, request).await {
                Ok(answer) => answer,
                Err(error) => {
                    running.over(Outcome::of(&error), Usage::default(), None);
                    return Err(error);
                }
            };
            if let Some(ending) = answer.ending() {
                #[cfg(feature = "capture")]
                running.gather_all(answer.so_far());
                running.ended(ending);
                return Ok(answer);
            }
            #[cfg(feature = "capture")]
            if running.gather.is_some() {
                return Ok(answer.map_source(|inner| Captured(Watched { inner, running, waited: true })));
            }
            Ok(answer.map_source(|inner| Watched { inner, running, waited: true }))
        })
    }
}

impl<M> fmt::Debug for Observed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("place", &self.place).finish_non_exhaustive()
    }
}

/// An operation that ends once: said to be over, or dropped by a caller who gave it up.
struct Running {
    call: Arc<Call>,
    ticks: Ticks,
    slot: usize,
    pace: Pace,
    first_chunk: Option<Duration>,
    is_over: bool,
    /// Where its content is captured.
    #[cfg(feature = "capture")]
    gather: Option<Box<Gather>>,
}

impl Running {
    #[cold]
    #[inline(never)]
    fn ended(&mut self, ending: &Ending) {
        let (usage, reason) = match ending {
            Ending::Finished { usage, reason } => (*usage, self.call.records().then_some(reason)),
            _ => (Usage::default(), None),
        };
        self.over(Outcome::of_ending(ending), usage, reason);
    }

    /// Of an answer that has ended before anybody could watch it.
    #[cfg(feature = "capture")]
    fn gather_all(&mut self, answer: Option<&Response>) {
        let (Some(gather), Some(answer)) = (&mut self.gather, answer) else { return };
        for (choice, one) in (0..).zip(&answer.choices) {
            let mut calls = 0..;
            for part in &one.message.parts {
                match part {
                    Part::Text(text) => gather.push(Delta::Text { choice, text }),
                    Part::Refusal(text) => gather.push(Delta::Refusal { choice, text }),
                    Part::Reasoning(thoughts) => {
                        gather.push(Delta::Reasoning { choice, text: &thoughts.text });
                    }
                    Part::ToolCall(ToolCall { id, name, arguments, .. }) => {
                        let call = calls.next().unwrap_or(u32::MAX);
                        gather.push(Delta::ToolCall { choice, call, id, name });
                        gather.push(Delta::ToolArguments { choice, call, fragment: arguments });
                    }
                    _ => {}
                }
            }
        }
    }

    fn over(&mut self, outcome: Outcome, usage: Usage, reason: Option<&FinishReason>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let call = &*self.call;
        call.shared.live.leave(self.slot);
        call.series.chunks.add(u64::from(call.arrivals.chunks()));
        self.pace.record(&call.arrivals, &call.series.per_chunk);
        let at = call.shared.clock.now();
        call.end(&mut End {
            at,
            outcome,
            first_chunk: self.first_chunk,
            usage,
            finish_reason: reason,
            #[cfg(feature = "capture")]
            gather: self.gather.take(),
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.over(Outcome::Failed(ErrorKind::Cancelled, None), Usage::default(), None);
    }
}

struct Watched {
    inner: Box<dyn Source>,
    running: Running,
    /// Whether somebody has waited since the last delta of which the source did not say when it arrived: then the next has just arrived.
    /// A source says it of all or of none.
    waited: bool,
}

impl Watched {
    /// What is rarer than the next chunk after a short gap. Apart, so that the common way saves few registers.
    #[cold]
    #[inline(never)]
    fn rarer(&mut self, at: Option<Instant>) {
        let running = &mut self.running;
        if running.call.arrivals.last().is_none() {
            match self.inner.current() {
                Delta::Start { id, model } => return running.call.answered_by(id, model),
                Delta::Raw { .. } | Delta::Detail { .. } => return,
                _ => {}
            }
        } else if at.is_none() && !self.waited {
            return; // came together with the one before
        }
        self.waited = false;
        let at = at.unwrap_or_else(|| running.call.shared.clock.now());
        if running.pace.rare(&running.call.arrivals, running.ticks.of(at)) == Rare::First {
            running.first_chunk = Some(at.saturating_duration_since(running.call.started));
        }
    }
}

impl Source for Watched {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        // Taken apart and put together, so that the ending's bytes are copied only where there is one.
        match self.inner.poll_advance(cx) {
            Poll::Ready(Step::Delta) => {
                let at = self.inner.arrived();
                let quick = at.and_then(|at| self.running.ticks.quick(at));
                if !quick.is_some_and(|at| self.running.call.arrivals.is_next(at)) {
                    self.rarer(at);
                }
                Poll::Ready(Step::Delta)
            }
            Poll::Pending => {
                self.waited = true;
                Poll::Pending
            }
            Poll::Ready(Step::End(ending)) => {
                self.running.ended(&ending);
                Poll::Ready(Step::End(ending))
            }
        }
    }

    fn current(&self) -> Delta<'_> {
        self.inner.current()
    }

    fn warm(&mut self) {
        self.inner.warm();
    }

    fn arrived(&self) -> Option<Instant> {
        self.inner.arrived()
    }
}

/// A watched answer whose content is copied as it passes. The others never come here.
#[cfg(feature = "capture")]
struct Captured(Watched);

#[cfg(feature = "capture")]
impl Source for Captured {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        let step = self.0.poll_advance(cx);
        if let (Poll::Ready(Step::Delta), Watched { inner, running, .. }) = (&step, &mut self.0)
            && let Some(gather) = &mut running.gather
        {
            gather.push(inner.current());
        }
        step
    }

    fn current(&self) -> Delta<'_> {
        self.0.current()
    }

    fn warm(&mut self) {
        self.0.warm();
    }

    fn arrived(&self) -> Option<Instant> {
        self.0.arrived()
    }
}
