//! The wait for a cancellation while a body is read, registered once.
//!
//! A token takes a lock whenever it is asked, and two when its future is polled. Whoever waits for a socket is polled for each
//! thing that comes from it, mostly in the same task: so the token is told once whom to wake, and that raises a flag first.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use loquat_core::CancellationToken;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// See the [module](self).
pub(crate) struct Cancelled {
    /// Kept, because dropping it would take the wait back.
    _wait: Pin<Box<WaitForCancellationFutureOwned>>,
    flag: Arc<Flag>,
    waker: Waker,
}

struct Flag {
    is_raised: AtomicBool,
    /// Whom to wake.
    waker: Mutex<Waker>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.is_raised.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        waker.wake();
    }
}

/// A token that is asked while there is nothing to wait for, and the wait from then on.
pub(crate) enum Cancelling {
    Asked(CancellationToken),
    Awaited(Cancelled),
}

impl Cancelling {
    /// Whether the token is cancelled.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Asked(token) => token.is_cancelled(),
            Self::Awaited(cancelled) => cancelled.is_cancelled(),
        }
    }

    /// Whether that is known without asking the token.
    #[inline]
    pub(crate) fn is_flagged(&self) -> bool {
        matches!(self, Self::Awaited(cancelled) if cancelled.is_cancelled())
    }

    /// Whether the token is cancelled; if not, wakes when it is.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        match self {
            Self::Asked(token) => {
                let mut cancelled = Cancelled::new(token);
                let polled = cancelled.poll(cx);
                *self = Self::Awaited(cancelled);
                polled
            }
            Self::Awaited(cancelled) => cancelled.poll(cx),
        }
    }
}

impl Cancelled {
    pub(crate) fn new(token: &CancellationToken) -> Self {
        let mut wait = Box::pin(token.clone().cancelled_owned());
        let noop = Waker::noop();
        let flag = Arc::new(Flag { is_raised: AtomicBool::new(false), waker: Mutex::new(noop.clone()) });
        let waker = Waker::from(Arc::clone(&flag));
        if wait.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            flag.is_raised.store(true, Ordering::Release);
        }
        Self { _wait: wait, flag, waker: noop.clone() }
    }

    /// Whether the token is cancelled.
    #[inline]
    fn is_cancelled(&self) -> bool {
        self.flag.is_raised.load(Ordering::Acquire)
    }

    /// Whether the token is cancelled; if not, wakes when it is.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if !self.waker.will_wake(cx.waker()) {
            self.waker.clone_from(cx.waker());
            self.flag.waker.lock().unwrap_or_else(PoisonError::into_inner).clone_from(cx.waker());
        }
        // After the waker is in its place: whoever raises the flag later wakes it.
        if self.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn whoever_polled_last_is_woken_once() {
        let token = CancellationToken::new();
        let mut cancelled = Cancelled::new(&token);
        let woken = [Arc::new(Woken::default()), Arc::new(Woken::default())];
        let wakers = woken.each_ref().map(|woken| Waker::from(Arc::clone(woken)));
        for waker in [&wakers[0], &wakers[0], &wakers[1], &wakers[1]] {
            assert!(cancelled.poll(&Context::from_waker(waker)).is_pending());
        }
        token.cancel();
        assert_eq!(woken.each_ref().map(|woken| woken.0.load(Relaxed)), [0, 1]);
        assert!(cancelled.poll(&Context::from_waker(&wakers[0])).is_ready());
        assert!(Cancelled::new(&token).poll(&Context::from_waker(&wakers[1])).is_ready());
    }

    #[test]
    fn the_same_task_sees_a_cancellation_between_two_polls() {
        let token = CancellationToken::new();
        let mut cancelled = Cancelled::new(&token);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(cancelled.poll(&Context::from_waker(&waker)).is_pending());
        token.cancel();
        assert!(cancelled.poll(&Context::from_waker(&waker)).is_ready());
    }
}
