//! A timer that is set as seldom as possible.
//!
//! Setting one in tokio takes the lock of the timer wheel and, when it is the earliest, wakes the runtime out of its poll:
//! measured, a third of what a request costs. So a timer is kept with its connection and left as it is while it would fire
//! too early rather than too late: when it fires and the wait is not over, it is set to the end of that.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tokio::{
    runtime::{Handle, Id},
    time::{Sleep, sleep_until},
};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// Whose clock it hangs on. One of a runtime that is gone panics when asked.
    runtime: Id,
}

impl Timer {
    /// Whether that instant has passed; if not, wakes then. Makes the timer, or one anew, where there is none to use.
    pub(crate) fn poll_until(timer: &mut Option<Self>, end: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let end = end.into();
        let make = || Self { sleep: Box::pin(sleep_until(end)), runtime: Handle::current().id() };
        let sleep = &mut timer.get_or_insert_with(make).sleep;
        if end < sleep.deadline() {
            sleep.as_mut().reset(end);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= end {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(end);
        }
        Poll::Pending
    }

    /// The timer, if it can be used here.
    pub(crate) fn here(self) -> Option<Self> {
        (Handle::try_current().ok()?.id() == self.runtime).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    #[tokio::test]
    async fn one_timer_serves_waits_that_end_later_and_sooner() {
        let begin = Instant::now();
        let mut timer = None;
        for millis in [5, 40, 20, 60] {
            let end = begin + Duration::from_millis(millis);
            poll_fn(|cx| Timer::poll_until(&mut timer, end, cx)).await;
            assert!(Instant::now() >= end, "{millis} ms");
        }
        // Left as it is for a wait that ends later, set anew for one that ends sooner.
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let far = Instant::now() + Duration::from_secs(100);
        assert!(Timer::poll_until(&mut timer, far, &mut cx).is_pending());
        let set = timer.as_ref().map(|timer| timer.sleep.deadline());
        assert!(Timer::poll_until(&mut timer, far + Duration::from_secs(1), &mut cx).is_pending());
        assert_eq!(timer.as_ref().map(|timer| timer.sleep.deadline()), set);
        assert!(Timer::poll_until(&mut timer, far - Duration::from_secs(1), &mut cx).is_pending());
        assert_ne!(timer.as_ref().map(|timer| timer.sleep.deadline()), set);
    }

    #[test]
    fn a_timer_of_another_runtime_is_not_used() {
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (one, other) = (runtime(), runtime());
        let timer = one.block_on(async {
            let mut timer = None;
            let end = Instant::now() + Duration::from_millis(1);
            poll_fn(|cx| Timer::poll_until(&mut timer, end, cx)).await;
            let timer = timer.and_then(Timer::here);
            assert!(timer.is_some());
            timer
        });
        drop(one);
        other.block_on(async { assert!(timer.and_then(Timer::here).is_none()) });
    }
}
