//! The edge where waiting happens: tokio's clock and timer, and the caller's cancellation. The only file with a clock.
//!
//! The layers read tokio's clock rather than the context's because they sleep on it: under `start_paused` both move
//! together. In production it is the system's monotonic clock, the one that deadlines are made with.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{self, Poll},
    time::{Duration, Instant},
};

use loquat_core::{Clock, Context, Delivery, Error, ErrorKind, Result};
use tokio::time::{Sleep, sleep_until};

/// Tokio's clock as a [`Clock`], for contexts in tests that run with tokio's time paused.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioClock;

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        now()
    }
}

/// The present instant.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// `from + by`, or far enough away to mean never where that overflows.
pub(crate) fn after(from: Instant, by: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    from.checked_add(by.min(NEVER)).unwrap_or(from)
}

/// A timer, to be polled beside something else. Re-armed only when it fires or when its instant comes nearer.
#[derive(Debug)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Costs nothing until it is polled.
    pub(crate) fn unset() -> Self {
        Self(None)
    }

    /// Ready when `at` has come. `at` may move between polls.
    pub(crate) fn poll(&mut self, at: Instant, cx: &mut task::Context<'_>) -> Poll<()> {
        let at = tokio::time::Instant::from_std(at);
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if at < sleep.deadline() {
            sleep.as_mut().reset(at);
        }
        loop {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if sleep.deadline() >= at || tokio::time::Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

/// Sleeps until then, unless the caller cancels or their deadline comes first.
pub(crate) async fn sleep(context: &Context, until: Instant) -> Result<()> {
    let mut alarm = Alarm::unset();
    let until = context.deadline().map_or(until, |deadline| deadline.min(until));
    let slept = poll_fn(|cx| alarm.poll(until, cx));
    if or_cancelled(context, slept).await.is_none() {
        return Err(cancelled());
    }
    check(context)
}

/// That future's output, or `None` if the caller cancels first.
pub(crate) async fn or_cancelled<F: Future>(context: &Context, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut cancelled = pin!(context.cancellation().cancelled());
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => cancelled.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// That future's output, or `None` when `at` comes first.
pub(crate) async fn until<F: Future>(at: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut alarm = Alarm::unset();
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => alarm.poll(at, cx).map(|()| None),
    })
    .await
}

/// As [`Context::check`], on tokio's clock.
pub(crate) fn check(context: &Context) -> Result<()> {
    if context.cancellation().is_cancelled() {
        return Err(cancelled());
    }
    match context.deadline() {
        Some(deadline) if deadline <= now() => {
            Err(Error::new(ErrorKind::Timeout, "the request's deadline has passed")
                .with_delivery(Delivery::NotSent))
        }
        _ => Ok(()),
    }
}

pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the caller cancelled the request").with_delivery(Delivery::NotSent)
}
