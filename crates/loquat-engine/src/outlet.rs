//! The bridge between the engine's thread and the caller's task: a bounded text buffer with a waker on one side and a
//! condition variable on the other.
//!
//! Text piles up in one buffer and is taken whole, by swapping: no allocation per token, and a caller that polls late gets
//! more at once. Dropping the caller's end stops the engine at its next token.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

use loquat_core::{CancellationToken, Context, Delta, Ending, Error, ErrorKind, Source, Step};

/// Text that may wait for the caller, bytes: some 10,000 tokens, so that only a caller who has stopped reading ever stalls it.
const MAX_WAITING_BYTES: usize = 64 << 10;
/// How long the engine waits for such a caller before it gives the answer up for the sake of the next in the queue.
const MAX_STALL: Duration = Duration::from_secs(30);
/// How often a stalled engine looks at deadline and cancellation.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct State {
    text: String,
    /// Whether any text was ever handed over.
    begun: bool,
    ending: Option<Ending>,
    waker: Option<Waker>,
    /// The caller is gone.
    abandoned: bool,
}

#[derive(Debug, Default)]
struct Bridge {
    state: Mutex<State>,
    taken: Condvar,
}

impl Bridge {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bridge's two ends.
pub(crate) fn bridge(id: String, model: Arc<str>, cancellation: &CancellationToken) -> (Outlet, Inlet) {
    let bridge = Arc::new(Bridge::default());
    let inlet = Inlet {
        bridge: Arc::clone(&bridge),
        cancelled: Box::pin(cancellation.clone().cancelled_owned()),
        shown: Shown::Nothing,
        text: String::new(),
        id,
        model,
    };
    (Outlet { bridge }, inlet)
}

/// The engine's end. Dropped without an ending, it ends the answer as failed.
#[derive(Debug)]
pub(crate) struct Outlet {
    bridge: Arc<Bridge>,
}

impl Outlet {
    /// Whether nobody listens any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.bridge.lock().abandoned
    }

    /// Hands text over and clears `text`, waiting while the buffer is full; `look` is called now and then meanwhile.
    ///
    /// # Errors
    /// The caller is gone, cancelled, out of time, or has not read for too long.
    pub(crate) fn send(&self, text: &mut String, context: &Context, look: impl Fn()) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let mut state = self.bridge.lock();
        let since = Instant::now();
        while !state.text.is_empty() && state.text.len() + text.len() > MAX_WAITING_BYTES && !state.abandoned
        {
            context.check()?;
            if since.elapsed() > MAX_STALL {
                let what = format!("nobody read the answer for {} s", MAX_STALL.as_secs());
                return Err(Error::new(ErrorKind::Timeout, what));
            }
            let (waited, timeout) =
                self.bridge.taken.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner);
            state = waited;
            if timeout.timed_out() {
                drop(state);
                look();
                state = self.bridge.lock();
            }
        }
        if state.abandoned {
            return Err(Error::new(ErrorKind::Cancelled, "the answer was dropped"));
        }
        state.text.push_str(text);
        state.begun = true;
        let waker = state.waker.take();
        drop(state);
        text.clear();
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Ends the answer: finished.
    pub(crate) fn finish(self, ending: Ending) {
        self.end(|_| ending);
    }

    /// Ends the answer: failed, or truncated if there was text already.
    pub(crate) fn fail(self, error: Error) {
        self.end(
            |begun| if begun { Ending::Truncated { cause: Some(error) } } else { Ending::Failed(error) },
        );
    }

    fn end(&self, ending: impl FnOnce(bool) -> Ending) {
        let mut state = self.bridge.lock();
        if state.ending.is_none() {
            state.ending = Some(ending(state.begun));
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let error = || Error::new(ErrorKind::Internal, "the engine stopped without an ending");
        self.end(
            |begun| if begun { Ending::Truncated { cause: Some(error()) } } else { Ending::Failed(error()) },
        );
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Start,
    Text,
}

/// The caller's end: the answer's [`Source`].
pub(crate) struct Inlet {
    bridge: Arc<Bridge>,
    cancelled: Pin<Box<dyn Future<Output = ()> + Send>>,
    shown: Shown,
    text: String,
    id: String,
    model: Arc<str>,
}

impl Source for Inlet {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        let mut state = self.bridge.lock();
        if !state.text.is_empty() {
            if self.shown == Shown::Nothing {
                self.shown = Shown::Start;
            } else {
                self.shown = Shown::Text;
                self.text.clear();
                std::mem::swap(&mut self.text, &mut state.text);
                drop(state);
                self.bridge.taken.notify_one();
            }
            return Poll::Ready(Step::Delta);
        }
        if let Some(ending) = state.ending.take() {
            state.abandoned = true;
            return Poll::Ready(Step::End(ending));
        }
        if self.cancelled.as_mut().poll(cx).is_ready() {
            state.abandoned = true;
            let error = Error::new(ErrorKind::Cancelled, "the caller cancelled the request");
            let begun = state.begun;
            drop(state);
            self.bridge.taken.notify_one();
            return Poll::Ready(Step::End(match begun {
                true => Ending::Truncated { cause: Some(error) },
                false => Ending::Failed(error),
            }));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn current(&self) -> Delta<'_> {
        match self.shown {
            Shown::Text => Delta::Text { choice: 0, text: &self.text },
            Shown::Nothing | Shown::Start => Delta::Start { id: &self.id, model: &self.model },
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.bridge.lock().abandoned = true;
        self.bridge.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stalled_engine_looks_after_those_who_wait() {
        let (outlet, inlet) = bridge(String::new(), "m".into(), &CancellationToken::new());
        let looks = std::cell::Cell::new(0);
        let context = Context::new().with_timeout(6 * LOOK);
        let send = |bytes| {
            outlet.send(&mut "x".repeat(bytes), &context, || looks.set(looks.get() + 1)).map_err(|e| e.kind())
        };
        assert_eq!((send(MAX_WAITING_BYTES), looks.get()), (Ok(()), 0));
        assert_eq!(send(1), Err(ErrorKind::Timeout));
        assert!(looks.get() >= 2, "looked {} times", looks.get());
        drop(inlet);
    }
}
