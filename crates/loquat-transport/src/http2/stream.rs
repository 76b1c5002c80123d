//! The caller's end of a stream.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use h2::{SendStream, client::ResponseFuture};
use http::HeaderMap;

use super::{
    driver::Shared,
    failure::{Failure, is_early_answer},
    lane::{Flow, Lane},
    pump::Pump,
};
use crate::{http1::Head, timer::Timer};

/// The caller's end. Dropping it before the end resets the stream (`CANCEL`).
#[derive(Debug)]
pub(crate) struct Stream {
    lane: Arc<Lane>,
    shared: Arc<Shared>,
    /// While the upload has not ended.
    pump: Option<Box<Pump>>,
    /// Of who waits for the head.
    pub(crate) timer: Option<Timer>,
}

impl Stream {
    pub(super) fn new(
        response: ResponseFuture,
        upload: Option<(Pump, SendStream<Bytes>)>,
        shared: Arc<Shared>,
        most_owed: usize,
    ) -> Self {
        let (pump, sender) = upload.map(|(pump, sender)| (Box::new(pump), sender)).unzip();
        let (lane, timer) = shared.lanes.enter(|| Lane::new(most_owed), |lane| lane.begin(response, sender));
        Self { lane, shared, pump, timer: timer.and_then(Timer::here) }
    }

    /// See [`Body::warm`](crate::Body::warm).
    #[inline]
    pub(crate) fn warm(&self) {
        self.lane.warm();
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

    /// Whether an upload has not ended.
    pub(crate) fn is_sending(&self) -> bool {
        self.pump.is_some()
    }

    /// Whether the peer has reset it: then there is nothing left that could be reset here. For a stream that nobody reads any more, whose
    /// data this throws away.
    pub(crate) fn was_reset_by_peer(&self) -> bool {
        self.lane.was_reset_by_peer()
    }

    /// When the upload last got a piece off, while it has not ended.
    pub(crate) fn last_sent(&self) -> Option<Instant> {
        self.pump.as_ref().map(|pump| pump.last_sent.into())
    }

    /// The response's head, once.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        if self.pump.is_some() {
            self.poll_upload(cx)?;
        }
        let mut state = self.lane.lock();
        let state = &mut *state;
        // Where the driver has taken it, it is no longer with `h2`. Nobody asks again who has got it.
        let answered = match &mut state.head {
            None => state.flow.poll_head(cx),
            taken => taken.take().map_or(Poll::Pending, Poll::Ready),
        };
        if answered.is_pending() {
            state.caught_up = true;
            state.wait(cx);
        }
        answered.map(|answered| answered.map_err(|error| self.shared.blame(error)))
    }

    /// The next data of the body; the stream's window grows by what is handed out.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        if self.pump.is_some() {
            self.poll_upload(cx)?;
        }
        let polled = ready!(self.lane.poll_data(cx));
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
        // Dropped when no lock is held any more.
        let left = self.shared.lanes.leave(&self.lane, self.timer.take(), Lane::end);
        drop(left);
    }
}
