//! Body bytes into deltas, under the limits that need parsed events: first token, idle, pace, total.
//!
//! One reading of the clock per socket read, and one timer per stream, moved only when it fires or when the limit
//! comes nearer. Time that the caller spends between pulls is not the peer's: the idle limit counts from the moment
//! somebody waits.

use std::{
    future::Future,
    hint::black_box,
    pin::Pin,
    task::{self, Poll, Waker},
    time::Duration,
};

use loquat_core::{ChatRequest, Delivery, Delta, Error, ErrorKind, Source, Step};
use loquat_provider::{Advance, Decoder};
use loquat_transport::Body;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    GenerationLimits,
    blot::Blot,
    pace::{Pace, WINDOW},
};

/// The instants that bound one answer.
#[derive(Debug)]
// What each wait looks at comes first.
#[repr(C)]
pub(crate) struct Watch {
    /// Since when the caller has been waiting for content; `None` while content is at hand.
    waiting_since: Option<Instant>,
    /// Events that had been parsed when the wait began.
    seen_events: u64,
    pace: Pace,
    limits: GenerationLimits,
    /// When the request was sent.
    started: Instant,
    /// The caller's deadline.
    deadline: Option<Instant>,
    /// Whether the answer comes in pieces: a whole one has no first token to wait for.
    streamed: bool,
    /// The request asked for reasoning: until something comes the model is taken to think.
    asked_to_think: bool,
}

/// Which limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Stage {
    has_content: bool,
    is_thinking: bool,
    /// The reason to stop has been given.
    is_finishing: bool,
}

impl Stage {
    #[inline]
    fn of(decoder: &Decoder) -> Self {
        Self {
            has_content: decoder.has_content(),
            is_thinking: decoder.is_thinking(),
            is_finishing: decoder.has_finish(),
        }
    }

    /// Whether tokens are to be expected at a pace.
    fn has_pace(self) -> bool {
        self.has_content && !self.is_thinking && !self.is_finishing
    }
}

/// A limit and when it is reached.
struct Due {
    at: Instant,
    name: &'static str,
    limit: Duration,
}

impl Watch {
    pub(crate) fn new(
        limits: GenerationLimits,
        started: Instant,
        deadline: Option<std::time::Instant>,
        request: &ChatRequest,
    ) -> Self {
        let deadline = deadline.map(Instant::from_std);
        let pace = Pace::new(limits.min_tokens_per_minute);
        let (streamed, asked_to_think) = (request.stream, asks_to_think(request));
        Self {
            limits,
            started,
            deadline,
            streamed,
            asked_to_think,
            waiting_since: None,
            seen_events: 0,
            pace,
        }
    }

    /// Somebody waits for bytes; what has been parsed so far ends the wait before, when the last bytes `arrived`.
    fn wait(&mut self, events: u64, arrived: Option<Instant>, now: Instant) {
        if events != self.seen_events {
            if self.pace.is_watched() {
                self.end_watched(events, arrived);
            }
            self.seen_events = events;
            self.waiting_since = None;
        }
        self.waiting_since.get_or_insert(now);
    }

    #[cold]
    fn end_watched(&mut self, events: u64, arrived: Option<Instant>) {
        if let (Some(since), Some(arrived)) = (self.waiting_since, arrived) {
            self.pace.rest(since, arrived, events);
        }
    }

    /// A look at the pace, where there is one; when the next look is due at the latest.
    fn look(&mut self, stage: Stage, now: Instant) -> Option<Instant> {
        if !stage.has_pace() {
            self.pace.pause();
            return None;
        }
        self.pace.look(self.seen_events, now);
        self.pace.next_look()
    }

    /// The limit that is reached first.
    fn due(&self, stage: Stage) -> Due {
        let limits = &self.limits;
        let after = |from: Instant, limit: Duration, name| Due { at: after(from, limit), name, limit };
        let since = self.waiting_since.unwrap_or(self.started);
        let Stage { has_content, is_thinking, is_finishing } = stage;
        let first = after(self.started, limits.first_token, "first-token");
        let pace = if is_finishing {
            after(since, limits.after_finish, "after-finish")
        } else if !has_content && !self.streamed {
            after(self.started, limits.total, "total")
        } else if !has_content && (is_thinking || self.asked_to_think) {
            later(first, after(since, limits.thinking, "thinking"))
        } else if is_thinking {
            after(since, limits.thinking, "thinking")
        } else if has_content {
            after(since, limits.idle, "idle")
        } else if self.seen_events == 0 {
            first
        } else if limits.idle < limits.first_token {
            later(first, after(since, limits.idle, "idle"))
        } else {
            later(first, after(since, limits.first_token, "first-token"))
        };
        let total = after(self.started, limits.total, "total");
        let slow = self.pace.due(self.seen_events, since).filter(|_| stage.has_pace());
        let slow = slow.map(|at| Due { at, name: "pace", limit: WINDOW });
        let deadline = self.deadline.map(|at| Due {
            at,
            name: "deadline",
            limit: at.saturating_duration_since(self.started),
        });
        [Some(total), slow, deadline].into_iter().flatten().fold(pace, |a, b| if b.at < a.at { b } else { a })
    }

    /// The error of a limit that has been reached.
    fn overdue(&self, due: &Due, stage: Stage) -> Error {
        let Due { name, limit, .. } = due;
        let limit = limit.as_secs_f64();
        let what = match (*name, stage.has_content) {
            ("total" | "deadline", _) => "the answer was not complete",
            ("pace", _) => &format!("fewer than {} tokens came", self.pace.wanted()),
            (_, false) => "no token came",
            _ => "no further token came",
        };
        Error::new(ErrorKind::Timeout, format!("{what} within the {name} limit of {limit:.1} s"))
            .with_delivery(Delivery::Committed)
    }
}

/// The limit that is reached last.
fn later(one: Due, other: Due) -> Due {
    if other.at > one.at { other } else { one }
}

/// Whether a request asks for reasoning, as far as its own fields say. The least effort there is begins to answer at once.
pub(crate) fn asks_to_think(request: &ChatRequest) -> bool {
    request.reasoning_budget_tokens.is_some_and(|tokens| tokens > 0)
        || request
            .reasoning_effort
            .as_deref()
            .is_some_and(|effort| !matches!(effort, "none" | "minimal" | "off"))
}

/// `from + limit`, or far enough away to mean never where that overflows.
fn after(from: Instant, limit: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    from.checked_add(limit.min(NEVER)).unwrap_or(from)
}

/// An answer being read from a body.
// One among many finds all of this cold at each chunk. The decoder is whole lines of memory and begins with what a chunk needs; what
// else one needs lies in the next three.
#[repr(C)]
pub(crate) struct BodySource {
    decoder: Decoder,
    /// When the last bytes came.
    arrived: Option<Instant>,
    timer: Timer,
    /// `None` once it has ended.
    body: Option<Body>,
    watch: Watch,
    /// Blotted out of whatever a peer says in an error.
    blot: Blot,
}

impl BodySource {
    pub(crate) fn new(body: Body, decoder: Decoder, watch: Watch, blot: Blot) -> Self {
        let timer = Timer::new(watch.due(Stage::default()).at);
        Self { body: Some(body), decoder, watch, timer, blot, arrived: None }
    }

    fn end_body(&mut self, cause: Option<Error>) {
        self.decoder.end(cause);
        self.body = None;
    }

    /// Bytes from the socket into the decoder, or word of why there are none. Pending while there is neither.
    fn poll_bytes(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let Some(body) = &mut self.body else {
            // Told of the end, a decoder owes an ending, not a question.
            let bug =
                Error::new(ErrorKind::Internal, "the decoder asked for bytes after the end of the body");
            self.decoder.end(Some(bug));
            return Poll::Ready(());
        };
        let now = Instant::now();
        self.watch.wait(self.decoder.events(), self.arrived, now);
        match body.poll_chunk(cx) {
            Poll::Ready(Some(Ok(chunk))) => {
                // A peer that never stops, or sends nothing but pings, keeps the socket ready and the timer unasked.
                let stage = Stage::of(&self.decoder);
                let overdue = if now < self.timer.at && stage == self.timer.stage {
                    None
                } else {
                    Some(self.watch.due(stage)).filter(|due| now >= due.at)
                };
                if let Some(due) = overdue {
                    let error = self.watch.overdue(&due, stage);
                    self.end_body(Some(error));
                } else {
                    self.arrived = Some(now);
                    self.decoder.push(chunk);
                }
                Poll::Ready(())
            }
            Poll::Ready(Some(Err(error))) => {
                self.end_body(Some(error));
                Poll::Ready(())
            }
            Poll::Ready(None) => {
                self.end_body(None);
                Poll::Ready(())
            }
            Poll::Pending => self.poll_timer(now, cx),
        }
    }

    fn poll_timer(&mut self, now: Instant, cx: &mut task::Context<'_>) -> Poll<()> {
        // While the stage is the same, the limits only move away: what the timer is set to comes before all of them. The one that
        // may come nearer, pace, does so where it is looked at, which is here.
        let stage = Stage::of(&self.decoder);
        if self.timer.is_set(now, cx) && stage == self.timer.stage {
            return Poll::Pending;
        }
        self.timer.stage = stage;
        let mut now = now;
        loop {
            let look = self.watch.look(stage, now);
            let due = self.watch.due(stage);
            task::ready!(self.timer.poll_until(look.map_or(due.at, |look| look.min(due.at)), now, cx));
            now = Instant::now();
            if now >= due.at {
                let error = self.watch.overdue(&due, stage);
                self.end_body(Some(error));
                return Poll::Ready(());
            }
        }
    }
}

/// One timer for a stream. While nothing about it changes it is not even looked at: each look would cost memory that
/// nothing else of the stream uses, for every token.
// The sleep last, at which a chunk does not look.
#[repr(C)]
struct Timer {
    /// No limit is reached before.
    at: Instant,
    /// Whom it wakes, once it has been polled.
    waker: Option<Waker>,
    /// The stage that it was set in.
    stage: Stage,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(at)), at, stage: Stage::default(), waker: None }
    }

    /// Whether it is still to fire, and wakes this task then.
    fn is_set(&self, now: Instant, cx: &task::Context<'_>) -> bool {
        now < self.at && self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// Ready at that instant or before; wakes then. Set anew only where it would be too late, or has fired.
    fn poll_until(&mut self, end: Instant, now: Instant, cx: &mut task::Context<'_>) -> Poll<()> {
        if self.is_set(now, cx) && self.at <= end {
            return Poll::Pending;
        }
        if end < self.at || now >= self.at {
            self.sleep.as_mut().reset(end);
            self.at = end;
        }
        self.waker = Some(cx.waker().clone());
        self.sleep.as_mut().poll(cx)
    }
}

impl Source for BodySource {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        loop {
            match self.decoder.advance() {
                Advance::Delta => {
                    if self.watch.pace.is_watched() {
                        self.watch.pace.delta(&self.decoder.current());
                    }
                    return Poll::Ready(Step::Delta);
                }
                Advance::End(ending) => {
                    if let Some(body) = self.body.take() {
                        // The terminal event came before the end of the body: the connection may be of use yet.
                        body.finish();
                    }
                    return Poll::Ready(Step::End(self.blot.ending(ending)));
                }
                Advance::NeedBytes => task::ready!(self.poll_bytes(cx)),
            }
        }
    }

    fn current(&self) -> Delta<'_> {
        self.decoder.current()
    }

    fn warm(&mut self) {
        black_box((self.timer.at, self.watch.seen_events));
        if let Some(body) = &self.body {
            body.warm();
        }
        self.decoder.warm();
    }

    fn arrived(&self) -> Option<std::time::Instant> {
        self.arrived.map(Instant::into_std)
    }
}
