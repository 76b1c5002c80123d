//! The wait for a cancellation, registered once for each task that waits.
//!
//! A token's future takes two locks whenever it is polled. Whoever waits for a socket is polled for each thing that comes from
//! it, mostly in the same task, and the token wakes that task already.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use loquat_core::CancellationToken;

/// See the [module](self). `W` is the token's own future, pinned.
pub(crate) struct Cancelled<W> {
    wait: W,
    waker: Waker,
}

impl<W: Future<Output = ()> + Unpin> Cancelled<W> {
    pub(crate) fn new(wait: W) -> Self {
        Self { wait, waker: Waker::noop().clone() }
    }

    /// Whether `token`, which must be the future's own, is cancelled; if not, wakes when it is.
    pub(crate) fn poll(&mut self, token: &CancellationToken, cx: &mut Context<'_>) -> Poll<()> {
        if self.waker.will_wake(cx.waker()) {
            return if token.is_cancelled() { Poll::Ready(()) } else { Poll::Pending };
        }
        self.waker.clone_from(cx.waker());
        Pin::new(&mut self.wait).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        task::Wake,
    };

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
        let wait = pin!(token.cancelled());
        let mut cancelled = Cancelled::new(wait);
        let woken = [Arc::new(Woken::default()), Arc::new(Woken::default())];
        let wakers = woken.each_ref().map(|woken| Waker::from(Arc::clone(woken)));
        for waker in [&wakers[0], &wakers[0], &wakers[1], &wakers[1]] {
            assert!(cancelled.poll(&token, &mut Context::from_waker(waker)).is_pending());
        }
        token.cancel();
        assert_eq!(woken.each_ref().map(|woken| woken.0.load(Relaxed)), [0, 1]);
        assert!(cancelled.poll(&token, &mut Context::from_waker(&wakers[0])).is_ready());
        assert!(
            Cancelled::new(pin!(token.cancelled()))
                .poll(&token, &mut Context::from_waker(&wakers[1]))
                .is_ready()
        );
    }

    #[test]
    fn the_same_task_sees_a_cancellation_between_two_polls() {
        let token = CancellationToken::new();
        let wait = pin!(token.cancelled());
        let mut cancelled = Cancelled::new(wait);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(cancelled.poll(&token, &mut Context::from_waker(&waker)).is_pending());
        token.cancel();
        assert!(cancelled.poll(&token, &mut Context::from_waker(&waker)).is_ready());
    }
}
