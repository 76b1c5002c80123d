//! One stream of an HTTP/2 connection, seen from both ends: its caller, who reads it when it likes, and the connection's
//! driver, who sees to it that a caller who does not read costs nobody but itself.
//!
//! `h2` keeps what has come on a stream frame by frame, and charges every small frame to its connection until it is read. A
//! caller who keeps up reads straight from there. Where one has fallen behind, the driver takes the frames out and joins the
//! small ones: then a stream that nobody reads costs its window in bytes and no more, and its frames no longer count.

use std::{
    future::Future,
    hint::black_box,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::ResponseFuture};
use http::response::Parts;

use super::{
    failure::{Failure, Laggard, ended},
    unread::Unread,
};
use crate::http1::Head;

/// What both ends share, for one stream after another.
#[derive(Debug)]
pub(super) struct Lane {
    state: Mutex<State>,
    /// How many bytes may be owed.
    most_owed: usize,
    /// Where it is among its connection's; read and written under the lock of those alone.
    pub(super) index: AtomicUsize,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) flow: Flow,
    /// Where the upload goes, while there is one.
    pub(super) sender: Option<SendStream<Bytes>>,
    /// The head, once it has come and until it is taken.
    pub(super) head: Option<Result<Head, h2::Error>>,
    pub(super) unread: Unread,
    /// Bytes that the caller has taken and the peer has not been told of.
    owed: usize,
    /// The caller's, when it waits.
    pub(super) waker: Option<Waker>,
    /// Whether the caller has taken everything there was since the driver last looked.
    pub(super) caught_up: bool,
    /// Whether it has taken anything since the last tick, and for how many ticks it has not.
    pub(super) took: bool,
    pub(super) idle_ticks: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            flow: Flow::Over,
            sender: None,
            head: None,
            unread: Unread::default(),
            owed: 0,
            waker: None,
            caught_up: true,
            took: false,
            idle_ticks: 0,
        }
    }
}

#[derive(Debug)]
pub(super) enum Flow {
    Head(ResponseFuture),
    Body(RecvStream),
    /// The stream failed; what lies unread came before that.
    Failed(h2::Error),
    Laggard(Laggard),
    Over,
}

/// What a stream leaves.
pub(super) type Left = (Flow, Option<SendStream<Bytes>>, Option<Waker>);

impl Lane {
    pub(super) fn new(most_owed: usize) -> Self {
        Self { state: Mutex::default(), most_owed, index: AtomicUsize::new(0) }
    }

    /// A stream begins, where none is.
    pub(super) fn begin(&self, response: ResponseFuture, sender: Option<SendStream<Bytes>>) {
        let mut state = self.lock();
        // The driver may have looked at it since the last one ended.
        (state.flow, state.sender, state.caught_up) = (Flow::Head(response), sender, true);
    }

    /// Its caller goes: the stream's handles, to be dropped outside the lock. Without them `h2` resets it.
    pub(super) fn end(&self) -> Left {
        let mut state = self.lock();
        let state = &mut *state;
        // Most often nothing of it is there, and asking is less than moving all.
        if state.head.is_some() || state.unread.bytes > 0 {
            (state.head, state.unread) = (None, Unread::default());
        }
        (state.owed, state.took, state.idle_ticks) = (0, false, 0);
        (std::mem::replace(&mut state.flow, Flow::Over), state.sender.take(), state.waker.take())
    }

    /// See [`Body::warm`](crate::Body::warm).
    #[inline]
    pub(super) fn warm(&self) {
        black_box((self.state.is_poisoned(), self.most_owed));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        self.lock().poll_data(self.most_owed, cx)
    }

    /// Nothing once the stream was given up.
    pub(super) fn with_sender<T>(&self, act: impl FnOnce(&mut SendStream<Bytes>) -> T) -> Option<T> {
        self.lock().sender.as_mut().map(act)
    }

    /// See [`Stream::was_reset_by_peer`](super::Stream::was_reset_by_peer).
    pub(super) fn was_reset_by_peer(&self) -> bool {
        let (mut state, mut cx) = (self.lock(), Context::from_waker(Waker::noop()));
        let state = &mut *state;
        let by_peer = |error: &h2::Error| error.is_remote() && error.is_reset();
        match &mut state.flow {
            Flow::Failed(error) => by_peer(error),
            // A reset is told of behind the data that came before it, which is no more than the stream's window.
            Flow::Body(stream) => loop {
                match stream.poll_data(&mut cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => break by_peer(&error),
                    // After the end of its answer only who sends on is told.
                    Poll::Ready(None) => {
                        let sender = state.sender.as_mut();
                        break sender
                            .is_some_and(|sender| matches!(sender.poll_reset(&mut cx), Poll::Ready(Ok(_))));
                    }
                    Poll::Pending => break false,
                }
            },
            Flow::Head(_) | Flow::Laggard(_) | Flow::Over => false,
        }
    }

    /// Takes over what a caller who has fallen behind has left with `h2`. How much lies unread.
    pub(super) fn relieve(&self, even_if_caught_up: bool) -> usize {
        let mut state = self.lock();
        let state = &mut *state;
        if !std::mem::take(&mut state.caught_up) || even_if_caught_up {
            let waker = state.waker.as_ref().unwrap_or(Waker::noop());
            let cx = &mut Context::from_waker(waker);
            if let Poll::Ready(answered) = state.flow.poll_head(cx) {
                state.head = Some(answered);
            }
            if let Flow::Body(stream) = &mut state.flow {
                loop {
                    match stream.poll_data(cx) {
                        Poll::Ready(Some(Ok(data))) => state.unread.push(data),
                        Poll::Ready(Some(Err(error))) => {
                            state.flow = Flow::Failed(error);
                            break;
                        }
                        Poll::Ready(None) | Poll::Pending => break,
                    }
                }
            }
        }
        state.unread.bytes
    }

    /// One more tick: for how many the caller has taken nothing, though at least so much was there.
    pub(super) fn tick(&self, least_bytes: usize) -> u32 {
        let mut state = self.lock();
        let idle = !std::mem::take(&mut state.took) && state.unread.bytes >= least_bytes.max(1);
        state.idle_ticks = if idle { state.idle_ticks + 1 } else { 0 };
        state.idle_ticks
    }

    /// Gives the stream up. Without its last handle `h2` resets it.
    pub(super) fn give_up(&self, unread_for: Duration) {
        let (handles, waker) = {
            let mut state = self.lock();
            if matches!(state.flow, Flow::Over) {
                return;
            }
            let laggard = Laggard { unread_bytes: state.unread.bytes, unread_for };
            state.unread = Unread::default();
            let flow = std::mem::replace(&mut state.flow, Flow::Laggard(laggard));
            ((flow, state.sender.take()), state.waker.take())
        };
        drop(handles);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl State {
    pub(super) fn wait(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    fn poll_data(&mut self, most_owed: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        if let Some(data) = self.unread.pop() {
            self.took = true;
            if let Flow::Body(stream) = &mut self.flow {
                give_back(&mut self.owed, data.len(), most_owed, stream);
            }
            return Poll::Ready(Some(Ok(data)));
        }
        let stream = match &mut self.flow {
            Flow::Body(stream) => stream,
            Flow::Laggard(laggard) => return Poll::Ready(Some(Err(Failure::Laggard(*laggard)))),
            Flow::Head(_) | Flow::Over => return Poll::Ready(None),
            Flow::Failed(_) => {
                let Flow::Failed(error) = std::mem::replace(&mut self.flow, Flow::Over) else {
                    return Poll::Ready(None);
                };
                return Poll::Ready(ended(error));
            }
        };
        loop {
            let Poll::Ready(polled) = stream.poll_data(cx) else {
                self.caught_up = true;
                self.wait(cx);
                return Poll::Pending;
            };
            match polled {
                Some(Ok(data)) => {
                    give_back(&mut self.owed, data.len(), most_owed, stream);
                    if !data.is_empty() {
                        self.took = true;
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(ended(error)),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Widens the stream's window by what was taken, once that is worth a question; what is owed at its end `h2` gives back by itself.
fn give_back(owed: &mut usize, taken: usize, most_owed: usize, stream: &mut RecvStream) {
    *owed += taken;
    if *owed > most_owed {
        // It cannot be more than what was received.
        let _ = stream.flow_control().release_capacity(std::mem::take(owed));
    }
}

impl Flow {
    /// The head, once: from then on the body is what is waited for.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, h2::Error>> {
        let Self::Head(response) = self else {
            return Poll::Pending;
        };
        let (answered, next) = match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => {
                let (Parts { status, headers, .. }, stream) = response.into_parts();
                (Ok(Head { status, headers }), Self::Body(stream))
            }
            Err(error) => (Err(error), Self::Over),
        };
        *self = next;
        Poll::Ready(answered)
    }
}

#[cfg(test)]
mod tests {
    use h2::Reason;

    use super::*;

    #[test]
    fn nothing_of_a_stream_stays_in_its_lane() {
        let lane = Lane::new(0);
        let laggard = Laggard { unread_bytes: 1, unread_for: Duration::ZERO };
        {
            let mut state = lane.lock();
            state.flow = Flow::Laggard(laggard);
            state.head = Some(Err(Reason::CANCEL.into()));
            state.unread.push(Bytes::from_static(b"data"));
            state.waker = Some(Waker::noop().clone());
            (state.owed, state.took, state.idle_ticks) = (1, true, 1);
        }
        assert!(matches!(lane.end(), (Flow::Laggard(left), None, Some(_)) if left == laggard));
        assert_eq!(format!("{:?}", *lane.lock()), format!("{:?}", State::default()));
    }
}
