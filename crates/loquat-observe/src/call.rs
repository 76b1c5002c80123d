//! One operation under way: what is noted down of it, and what becomes of that at its end.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use loquat_core::{
    ChatRequest, Context, Ending, Error, ErrorKind, Event, FinishReason, Probe, TraceContext, Usage,
};

#[cfg(feature = "capture")]
use crate::capture::Gather;

use crate::{
    Asked, AttemptTrace, CallTrace, HeadTrace, Note, Outcome, Place, StreamState, metric::Exemplar,
    observer::Shared, pace::Arrivals, series::Series,
};

/// Most attempts and notes kept of one operation: ten times what a schedule's defaults can make. Those beyond still count in
/// the metrics.
const MAX_ATTEMPTS: usize = 32;
const MAX_NOTES: usize = 128;
/// Longest word kept of an event, in bytes.
const MAX_WORD_BYTES: usize = 256;

/// See the [module](self). Its own probe.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) series: Arc<Series>,
    place: Arc<Place>,
    /// Sampled: decided at the head.
    pub(crate) trace: TraceContext,
    parent: Option<[u8; 8]>,
    asked: Asked,
    pub(crate) started: Instant,
    pub(crate) arrivals: Arrivals,
    /// Where the latest attempt went.
    at: Mutex<Option<Arc<Place>>>,
    record: Option<Mutex<Record>>,
}

#[derive(Default)]
struct Record {
    attempts: Vec<Attempt>,
    notes: Vec<(Instant, Note)>,
    response: (Box<str>, Box<str>),
}

struct Attempt {
    span: TraceContext,
    place: Arc<Place>,
    started: Instant,
    head: Option<(Instant, HeadTrace)>,
    /// How it ended; `None` while it runs, or its answer is on its way.
    ended: Option<(Instant, Outcome)>,
}

/// What is known at an operation's end.
pub(crate) struct End<'a> {
    pub(crate) at: Instant,
    pub(crate) outcome: Outcome,
    pub(crate) first_chunk: Option<Duration>,
    pub(crate) usage: Usage,
    pub(crate) finish_reason: Option<&'a FinishReason>,
    #[cfg(feature = "capture")]
    pub(crate) gather: Option<Box<Gather>>,
}

impl Outcome {
    pub(crate) fn of(error: &Error) -> Self {
        Self::Failed(error.kind(), error.status())
    }

    pub(crate) fn of_ending(ending: &Ending) -> Self {
        match ending {
            Ending::Finished { .. } => Self::Finished,
            Ending::Failed(error) => Self::of(error),
            Ending::Truncated { cause } => {
                Self::Failed(ErrorKind::Truncated, cause.as_ref().and_then(Error::status))
            }
        }
    }
}

impl Call {
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        (series, place): (Arc<Series>, Arc<Place>),
        context: &Context,
        request: &ChatRequest,
    ) -> Arc<Self> {
        let outer = context.trace();
        let is_part = context.is_joined() || context.probe().is_some();
        let sampled = shared.samples(outer, is_part);
        series.in_flight.add(1);
        Arc::new(Self {
            trace: outer.child().with_sampled(sampled),
            parent: is_part.then(|| outer.span_id()),
            asked: Asked {
                max_output_tokens: request.max_output_tokens,
                temperature: request.temperature,
                top_p: request.top_p,
                seed: request.seed,
                choices: request.choices,
                stream: request.stream,
            },
            started: shared.clock.now(),
            arrivals: Arrivals::default(),
            at: Mutex::default(),
            record: shared.records().then(Mutex::default),
            shared: shared.clone(),
            series,
            place,
        })
    }

    pub(crate) fn records(&self) -> bool {
        self.record.is_some()
    }

    /// Whether its content is captured, and what gathers it then.
    #[cfg(feature = "capture")]
    pub(crate) fn capture(&self, request: &Arc<ChatRequest>) -> Option<Box<Gather>> {
        let capturer = self.shared.capturer.as_ref().filter(|_| self.records())?;
        capturer.begin(self.trace.trace_id(), request)
    }

    fn lock(&self) -> Option<MutexGuard<'_, Record>> {
        Some(self.record.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An attempt goes there.
    pub(crate) fn goes_to(&self, place: &Arc<Place>) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(place.clone());
    }

    /// An attempt begins; its number, where there is room to note it.
    pub(crate) fn attempt(&self, span: TraceContext, place: &Arc<Place>, started: Instant) -> Option<usize> {
        let mut record = self.lock()?;
        let index = record.attempts.len();
        (index < MAX_ATTEMPTS).then(|| {
            record.attempts.push(Attempt { span, place: place.clone(), started, head: None, ended: None });
            index
        })
    }

    pub(crate) fn attempt_head(&self, index: usize, at: Instant, head: HeadTrace) {
        if let Some(mut record) = self.lock()
            && let Some(attempt) = record.attempts.get_mut(index)
        {
            attempt.head = Some((at, head));
        }
    }

    pub(crate) fn attempt_ended(&self, index: usize, at: Instant, outcome: Outcome) {
        if let Some(mut record) = self.lock()
            && let Some(attempt) = record.attempts.get_mut(index)
        {
            attempt.ended = Some((at, outcome));
        }
    }

    /// Who answers, as it says itself.
    pub(crate) fn answered_by(&self, id: &str, model: &str) {
        if let Some(mut record) = self.lock() {
            record.response = (word(id), word(model));
        }
    }

    pub(crate) fn state(&self, now: Instant) -> StreamState {
        let age = now.saturating_duration_since(self.started);
        StreamState {
            place: self.place.clone(),
            attempt: self.at.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            trace_id: self.trace.trace_id(),
            age,
            chunks: self.arrivals.chunks(),
            idle: self.arrivals.last().map_or(age, |last| {
                Duration::from_nanos(self.shared.ticks.of(now).saturating_sub(last)).min(age)
            }),
        }
    }

    /// It is over. To be said once.
    pub(crate) fn end(&self, end: &mut End<'_>) {
        let took = end.at.saturating_duration_since(self.started);
        let error = end.outcome.error_type();
        let failed = error.is_some() && !matches!(end.outcome, Outcome::Failed(ErrorKind::Cancelled, _));
        let kept = self.records()
            && (self.trace.is_sampled() || self.shared.sampling.keeps(failed, took, end.first_chunk));
        let exemplar = kept.then(|| Exemplar {
            trace_id: self.trace.trace_id(),
            span_id: self.trace.span_id(),
            at: self.shared.wall(end.at),
        });
        let series = &self.series;
        series.in_flight.add(-1);
        series.ended(took, error, exemplar.as_ref());
        series.used(&end.usage);
        if let Some(first) = end.first_chunk {
            series.first_chunk.record_with(first, exemplar.as_ref());
        }
        if kept {
            let trace = Arc::new(self.trace_of(took, end));
            self.shared.keepers.iter().for_each(|keeper| keeper.keep(&trace));
        }
    }

    fn trace_of(&self, took: Duration, end: &mut End<'_>) -> CallTrace {
        let record = self.lock().map(|mut record| std::mem::take(&mut *record)).unwrap_or_default();
        let since = |at: Instant| at.saturating_duration_since(self.started);
        let attempts = record.attempts.into_iter().map(|attempt| {
            let (ended, outcome) = attempt.ended.unwrap_or((end.at, end.outcome));
            AttemptTrace {
                span_id: attempt.span.span_id(),
                place: attempt.place,
                started: since(attempt.started),
                ended: since(ended),
                head: attempt.head.map(|(at, head)| HeadTrace { at: since(at), ..head }),
                outcome,
            }
        });
        let mut notes: Vec<_> = record.notes.into_iter().map(|(at, note)| (since(at), note)).collect();
        notes.extend(end.first_chunk.map(|first| (first, Note::FirstChunk)));
        notes.sort_by_key(|(at, _)| *at);
        CallTrace {
            trace: self.trace.with_sampled(true),
            parent: self.parent,
            place: self.place.clone(),
            asked: self.asked,
            started: self.shared.wall(self.started),
            took,
            first_chunk: end.first_chunk,
            chunks: self.arrivals.chunks(),
            response: record.response,
            finish_reason: end.finish_reason.map(|reason| word(reason.as_str())),
            usage: end.usage,
            attempts: attempts.collect(),
            notes,
            outcome: end.outcome,
            #[cfg(feature = "capture")]
            content: end.gather.take().map(|gather| Arc::new(gather.over(end.finish_reason))),
        }
    }
}

/// A peer's or an operator's word, at a bounded length.
pub(crate) fn word(text: &str) -> Box<str> {
    text.get(..text.floor_char_boundary(MAX_WORD_BYTES)).unwrap_or(text).into()
}

/// A label, at a bounded length: who chooses it may be a caller.
pub(crate) fn bounded(text: Arc<str>) -> Arc<str> {
    if text.len() <= MAX_WORD_BYTES { text } else { word(&text).into() }
}

impl Probe for Call {
    fn report(&self, event: &Event<'_>) {
        self.series.event(event);
        let Some(mut record) = self.lock() else { return };
        let note = match *event {
            Event::Admitted { waited } => Note::Admitted(waited),
            Event::CircuitOpen { wait } => Note::CircuitOpen(wait),
            Event::Retry { retry, wait, error } => Note::Retry(retry, wait, error.kind()),
            Event::Hedge => Note::Hedge,
            Event::Route { endpoint, reason } => Note::Route(word(endpoint), word(reason)),
            _ => return,
        };
        if record.notes.len() < MAX_NOTES {
            record.notes.push((self.shared.clock.now(), note));
        }
    }
}
