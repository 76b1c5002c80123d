//! One stream of an HTTP/2 connection, seen from both ends: its caller, who reads it when it likes, and the connection's
//! driver, who sees to it that a caller who does not read costs nobody but itself.
//!
//! `h2` keeps what has come on a stream frame by frame, and charges every small frame to its connection until it is read. A
//! caller who keeps up reads straight from there. Where one has fallen behind, the driver takes the frames out and joins the
//! small ones: then a stream that nobody reads costs its window in bytes and no more, and its frames no longer count.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, client::ResponseFuture};
use http::{HeaderMap, response::Parts};

use super::{driver::Shared, pump::Pump};
use crate::upload::Outgoing;

/// Frames below this are joined when the driver takes them over; larger ones are kept as they are, without a copy.
const SMALL: usize = 1024;
/// Joined frames are handed out in pieces of about this size.
const JOINED: usize = 16 * 1024;

/// Why a stream ended before its answer did.
#[derive(Debug)]
pub(crate) enum Failure {
    H2(h2::Error),
    /// Its caller did not read it.
    Laggard(Laggard),
    /// The connection was given up: its peer answered no PING for so long.
    Silent(Duration),
    /// The source of the request's body failed.
    Upload(Outgoing),
}

impl Failure {
    /// Whether the peer was sent a reset for it, which is one more that it may hold against the connection.
    pub(crate) fn is_reset_here(&self) -> bool {
        matches!(self, Self::Laggard(_) | Self::Upload(_))
    }
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        Self::H2(error)
    }
}

/// The source of the error of a response that was given up because its body was not read
/// ([`Http2Limits::laggard_after`](crate::Http2Limits::laggard_after)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Laggard {
    /// Bytes that had come and were not read.
    pub unread_bytes: usize,
    /// For how long nothing had been read, at least.
    pub unread_for: Duration,
}

impl fmt::Display for Laggard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.unread_for.as_secs_f64();
        write!(f, "{} bytes lay unread for {seconds:.2} s", self.unread_bytes)
    }
}

impl std::error::Error for Laggard {}

/// What both ends share.
#[derive(Debug)]
pub(super) struct Lane(Mutex<State>);

#[derive(Debug)]
struct State {
    flow: Flow,
    /// Where the upload goes, while there is one.
    sender: Option<SendStream<Bytes>>,
    /// The head, once it has come and until it is taken.
    head: Option<Result<Parts, h2::Error>>,
    unread: Unread,
    /// The caller's, when it waits.
    waker: Option<Waker>,
    /// Whether the caller has taken everything there was since the driver last looked.
    caught_up: bool,
    /// Whether it has taken anything since the last tick, and for how many ticks it has not.
    took: bool,
    idle_ticks: u32,
}

#[derive(Debug)]
enum Flow {
    Head(ResponseFuture),
    Body(RecvStream),
    /// The stream failed; what lies unread came before that.
    Failed(h2::Error),
    Laggard(Laggard),
    Over,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing once the stream was given up.
    pub(super) fn with_sender<T>(&self, act: impl FnOnce(&mut SendStream<Bytes>) -> T) -> Option<T> {
        self.lock().sender.as_mut().map(act)
    }

    /// Takes over what a caller who has fallen behind has left with `h2`. How much lies unread.
    pub(super) fn relieve(&self, even_if_caught_up: bool) -> usize {
        let mut state = self.lock();
        let state = &mut *state;
        if !std::mem::take(&mut state.caught_up) || even_if_caught_up {
            let waker = state.waker.as_ref().unwrap_or(Waker::noop());
            let cx = &mut Context::from_waker(waker);
            state.flow.advance(&mut state.head, cx);
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
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        if let Some(data) = self.unread.pop() {
            self.took = true;
            if let Flow::Body(stream) = &mut self.flow {
                // It cannot be more than what was received.
                let _ = stream.flow_control().release_capacity(data.len());
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
                    let _ = stream.flow_control().release_capacity(data.len());
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

/// The end that an error is.
fn ended(error: h2::Error) -> Option<Result<Bytes, Failure>> {
    (!is_early_answer(&error)).then_some(Err(Failure::H2(error)))
}

/// An answer may be complete before the upload was (RFC 9113 §8.1): that is no failure.
fn is_early_answer(error: &h2::Error) -> bool {
    error.is_remote() && error.reason() == Some(Reason::NO_ERROR) && error.is_reset()
}

impl Flow {
    /// From waiting for the head to the body, if the head is there.
    fn advance(&mut self, head: &mut Option<Result<Parts, h2::Error>>, cx: &mut Context<'_>) {
        if let Self::Head(response) = self
            && let Poll::Ready(answered) = Pin::new(response).poll(cx)
        {
            let (parts, flow) = match answered {
                Ok(response) => {
                    let (parts, stream) = response.into_parts();
                    (Ok(parts), Self::Body(stream))
                }
                Err(error) => (Err(error), Self::Over),
            };
            (*head, *self) = (Some(parts), flow);
        }
    }
}

/// What the driver has taken over. Its flow-control capacity is given back when it is read, so a window bounds it.
#[derive(Debug, Default)]
struct Unread {
    pieces: VecDeque<Bytes>,
    joined: BytesMut,
    bytes: usize,
}

impl Unread {
    fn push(&mut self, data: Bytes) {
        self.bytes += data.len();
        if data.len() < SMALL {
            self.joined.extend_from_slice(&data);
        }
        if self.joined.len() >= JOINED || (data.len() >= SMALL && !self.joined.is_empty()) {
            self.pieces.push_back(self.joined.split().freeze());
        }
        if data.len() >= SMALL {
            self.pieces.push_back(data);
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        if self.bytes == 0 {
            return None;
        }
        let data = self.pieces.pop_front().unwrap_or_else(|| self.joined.split().freeze());
        self.bytes -= data.len();
        Some(data)
    }
}

/// The caller's end. Dropping it before the end resets the stream (`CANCEL`).
#[derive(Debug)]
pub(crate) struct Stream {
    lane: Arc<Lane>,
    shared: Arc<Shared>,
    /// While the upload has not ended.
    pump: Option<Box<Pump>>,
}

impl Stream {
    pub(super) fn new(
        response: ResponseFuture,
        upload: Option<(Pump, SendStream<Bytes>)>,
        shared: Arc<Shared>,
    ) -> Self {
        let (pump, sender) = upload.map(|(pump, sender)| (Box::new(pump), sender)).unzip();
        let lane = Arc::new(Lane(Mutex::new(State {
            flow: Flow::Head(response),
            sender,
            head: None,
            unread: Unread::default(),
            waker: None,
            caught_up: true,
            took: false,
            idle_ticks: 0,
        })));
        shared.enter(&lane);
        Self { lane, shared, pump }
    }

    /// Sends on what there is room for.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if let Some(pump) = &mut self.pump
            && let Poll::Ready(done) = pump.poll(&self.lane, cx)
        {
            self.pump = None;
            self.lane.lock().sender = None;
            done?;
        }
        Ok(())
    }

    /// When the upload last got a piece off, while it has not ended.
    pub(crate) fn last_sent(&self) -> Option<Instant> {
        self.pump.as_ref().map(|pump| pump.last_sent.into())
    }

    /// The response's head, once.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Parts, Failure>> {
        self.poll_upload(cx)?;
        let mut state = self.lane.lock();
        let state = &mut *state;
        state.flow.advance(&mut state.head, cx);
        match state.head.take() {
            Some(answered) => Poll::Ready(answered.map_err(|error| self.shared.blame(error))),
            None if matches!(state.flow, Flow::Head(_)) => {
                state.caught_up = true;
                state.wait(cx);
                Poll::Pending
            }
            None => Poll::Pending, // taken before; nobody asks twice
        }
    }

    /// The next data of the body; the stream's window grows by what is handed out.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        self.poll_upload(cx)?;
        let polled = ready!(self.lane.lock().poll_data(cx));
        Poll::Ready(polled.map(|data| {
            data.map_err(|failure| match failure {
                Failure::H2(error) => self.shared.blame(error),
                other => other,
            })
        }))
    }

    /// The fields after the body, once that has ended.
    pub(crate) fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Failure>> {
        match &mut self.lane.lock().flow {
            Flow::Body(stream) => stream.poll_trailers(cx).map(|polled| match polled {
                Ok(trailers) => Ok(trailers),
                Err(error) if is_early_answer(&error) => Ok(None),
                Err(error) => Err(self.shared.blame(error)),
            }),
            _ => Poll::Ready(Ok(None)),
        }
    }

    /// Whether all has been read and nothing follows.
    pub(crate) fn is_end_stream(&self) -> bool {
        let state = self.lane.lock();
        match &state.flow {
            Flow::Body(stream) => state.unread.bytes == 0 && stream.is_end_stream(),
            Flow::Over => true,
            Flow::Head(_) | Flow::Failed(_) | Flow::Laggard(_) => false,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.leave(&self.lane);
        let handles = {
            let mut state = self.lane.lock();
            (std::mem::replace(&mut state.flow, Flow::Over), state.sender.take())
        };
        drop(handles);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_are_joined_and_large_ones_are_not_copied() {
        let mut unread = Unread::default();
        let large = Bytes::from(vec![b'L'; 4000]);
        for _ in 0..3 {
            for _ in 0..20_000 {
                unread.push(Bytes::from_static(b"s"));
            }
            unread.push(large.clone());
        }
        unread.push(Bytes::from_static(b"end"));
        assert!(unread.pieces.len() <= 3 * 3, "{} pieces", unread.pieces.len());
        let (mut whole, mut shared) = (Vec::new(), 0);
        while let Some(data) = unread.pop() {
            shared += usize::from(data.as_ptr() == large.as_ptr());
            whole.extend_from_slice(&data);
        }
        let round = [vec![b's'; 20_000], vec![b'L'; 4000]].concat();
        assert_eq!(whole, [round.repeat(3), b"end".to_vec()].concat());
        assert_eq!((shared, unread.bytes), (3, 0));
    }
}
