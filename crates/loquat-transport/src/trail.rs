//! The way of one attempt: which stage it is at, over which connection, since when. Every error is made from it, so
//! that each says the address, the stage, the protocol, how long it waited, and how far the request got.

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

pub(crate) use loquat_core::Stage;
use loquat_core::{Delivery, Error, ErrorKind, History};

use crate::{ConnectionInfo, Origin, io::Meter, upload::Outgoing};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Trail {
    pub(crate) started: Instant,
    pub(crate) deadline: Option<Instant>,
    pub(crate) origin: Origin,
    pub(crate) stage: Stage,
    pub(crate) info: Option<ConnectionInfo>,
    delivery: Delivery,
    /// Whether it may have been sent over a connection before this one.
    was_sent: bool,
    mark: Option<Mark>,
    pub(crate) upload: Option<Outgoing>,
}

/// An HTTP/1.1 connection as it was before this request.
#[derive(Debug)]
struct Mark {
    meter: Arc<Meter>,
    /// Its count then: the request is not sent while that has not moved.
    before: u64,
    body_bytes: u64,
}

impl Trail {
    pub(crate) fn new(origin: Origin, deadline: Option<Instant>, upload: Option<Outgoing>) -> Self {
        Self {
            started: Instant::now(),
            deadline,
            origin,
            stage: Stage::Pool,
            info: None,
            delivery: Delivery::NotSent,
            was_sent: false,
            mark: None,
            upload,
        }
    }

    /// Starts over for another connection: over that, nothing of this request is out.
    pub(crate) fn restart(&mut self) {
        self.was_sent = self.delivery() != Delivery::NotSent;
        self.stage = Stage::Pool;
        self.info = None;
        self.mark = None;
        self.delivery = Delivery::NotSent;
    }

    /// From now on the request counts as sent once that connection takes another byte.
    pub(crate) fn sending(&mut self, info: ConnectionInfo, meter: &Arc<Meter>, body_bytes: usize) {
        self.stage = Stage::Sending;
        self.info = Some(info);
        let (meter, before) = (Arc::clone(meter), meter.written());
        self.mark = Some(Mark { meter, before, body_bytes: body_bytes as u64 });
    }

    /// From now on the request may have been sent.
    pub(crate) fn handed_over(&mut self, info: ConnectionInfo) {
        self.stage = Stage::Head;
        self.info = Some(info);
        self.delivery = Delivery::MaybeSent;
    }

    /// The head is in.
    pub(crate) fn head(&mut self, success: bool) {
        self.stage = Stage::Body;
        self.mark = None;
        self.delivery = if success { Delivery::Committed } else { Delivery::MaybeSent };
    }

    /// The peer says that it did not process the request.
    pub(crate) fn refused(&mut self) {
        self.mark = None;
        self.delivery = Delivery::NotSent;
    }

    /// Bytes of this request that an HTTP/1.1 connection has taken.
    pub(crate) fn written(&self) -> u64 {
        self.mark.as_ref().map_or(0, |mark| mark.meter.written() - mark.before)
    }

    /// Once more than the body is out, the head is too, and what is missing is the answer.
    fn stage(&self) -> Stage {
        match (&self.mark, &self.upload) {
            (_, Some(upload)) if self.stage == Stage::Head && !upload.has_ended() => Stage::Sending,
            (Some(_), Some(upload)) if self.written() > 0 && upload.has_ended() => Stage::Head,
            (Some(mark), None) if self.written() > mark.body_bytes => Stage::Head,
            _ => self.stage,
        }
    }

    pub(crate) fn delivery(&self) -> Delivery {
        let here = match &self.mark {
            Some(_) if self.written() > 0 => Delivery::MaybeSent,
            Some(_) => Delivery::NotSent,
            None => self.delivery,
        };
        // What was taken once stays taken, whatever became of it after that.
        if here == Delivery::NotSent && self.was_sent { Delivery::MaybeSent } else { here }
    }

    /// An error at this point: `what` happened, then where.
    pub(crate) fn error(&self, kind: ErrorKind, what: impl fmt::Display) -> Error {
        let (stage, elapsed) = (self.stage(), self.started.elapsed());
        let mut history = History::new(self.origin.to_string(), stage, elapsed);
        let waited = elapsed.as_secs_f64();
        let message = match &self.info {
            Some(info) => {
                history.address = info.peer.map(|peer| peer.to_string());
                (history.protocol, history.reused) = (Some(info.protocol.name()), Some(info.reused));
                format!("{what} ({stage} {}, {info}, after {waited:.2} s)", self.origin)
            }
            None => format!("{what} ({stage} {}, after {waited:.2} s)", self.origin),
        };
        Error::new(kind, message).with_delivery(self.delivery()).with_history(history)
    }

    pub(crate) fn expired(&self, expired: Expired, limit_name: &str) -> Error {
        match expired {
            Expired::Deadline => self.error(ErrorKind::Timeout, "the request's deadline passed"),
            Expired::Limit(limit) => self.error(
                ErrorKind::Timeout,
                format_args!("the limit of {:.2} s ({limit_name}) passed", limit.as_secs_f64()),
            ),
        }
    }

    pub(crate) fn cancelled(&self) -> Error {
        self.error(ErrorKind::Cancelled, "the caller cancelled the request")
    }
}

/// Which of two ends came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    Limit(Duration),
    Deadline,
}

/// The earlier of `from + limit` and `deadline`; `None` when there is neither.
pub(crate) fn earlier(
    from: Instant,
    limit: Option<Duration>,
    deadline: Option<Instant>,
) -> Option<(Instant, Expired)> {
    let limited = limit.and_then(|limit| Some((from.checked_add(limit)?, Expired::Limit(limit))));
    let deadline = deadline.map(|deadline| (deadline, Expired::Deadline));
    match (limited, deadline) {
        (Some(limited), Some(deadline)) if deadline.0 <= limited.0 => Some(deadline),
        (limited, deadline) => limited.or(deadline),
    }
}

/// Waits for `work` until the earlier of `limit` from now and `deadline`. No timer while there is nothing to wait for.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, Expired> {
    let Some((end, expired)) = earlier(Instant::now(), limit, deadline) else {
        return Ok(work.await);
    };
    let (mut work, mut sleep) = (pin!(work), pin!(None));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        if sleep.is_none() {
            sleep.set(Some(tokio::time::sleep_until(end.into())));
        }
        match sleep.as_mut().as_pin_mut() {
            Some(sleep) => sleep.poll(cx).map(|()| Err(expired)),
            None => Poll::Pending,
        }
    })
    .await
}
