//! An upload onto an HTTP/2 stream: as much as the peer's window takes, pulled from its source only then.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::time::Instant;

use super::{MOST_PIECE, failure::Failure, lane::Lane};
use crate::upload::Outgoing;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Pump {
    upload: Outgoing,
    /// What has been pulled and has no room yet.
    pending: Bytes,
    pub(super) last_sent: Instant,
}

impl Pump {
    pub(super) fn new(upload: Outgoing) -> Self {
        Self { upload, pending: Bytes::new(), last_sent: Instant::now() }
    }

    /// Ready once all is sent, or nobody wants more of it.
    pub(super) fn poll(&mut self, lane: &Lane, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            if self.pending.is_empty() && !self.upload.has_ended() {
                // The source is a stranger: no lock is held while it runs.
                match ready!(self.upload.poll_next(cx)) {
                    Some(Ok(bytes)) => self.pending = bytes,
                    Some(Err(_)) => {
                        lane.with_sender(|sender| sender.send_reset(Reason::CANCEL));
                        return Poll::Ready(Err(Failure::Upload(self.upload.clone())));
                    }
                    None => {}
                }
            }
            let (upload, pending) = (&self.upload, &mut self.pending);
            let sent = lane.with_sender(|sender| push(sender, upload, pending, cx));
            match ready!(sent.unwrap_or(Poll::Ready(false))) {
                true => self.last_sent = Instant::now(),
                false => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Sends what has room. False when that was the end, or the stream's: the answer tells which.
fn push(
    sender: &mut SendStream<Bytes>,
    upload: &Outgoing,
    pending: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    if pending.is_empty() {
        let _ = sender.send_data(Bytes::new(), true);
        return Poll::Ready(false);
    }
    sender.reserve_capacity(pending.len().min(MOST_PIECE));
    let Some(Ok(room)) = ready!(sender.poll_capacity(cx)) else {
        return Poll::Ready(false);
    };
    let piece = pending.split_to(room.min(pending.len()));
    let is_end = pending.is_empty() && upload.has_ended();
    Poll::Ready(sender.send_data(piece, is_end).is_ok() && !is_end)
}
