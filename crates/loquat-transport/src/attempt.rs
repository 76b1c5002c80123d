//! One attempt: from a request to the head of its response.
//!
//! Nothing is repeated here except what was certainly not taken by anybody, once: a reused connection that turned out
//! to be closed, a stream the peer refused. Everything else is the scheduler's to decide, from the error's
//! [`Delivery`](loquat_core::Delivery).

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use http::StatusCode;
use loquat_core::{Error, ErrorKind, Result};

use crate::{
    ConnectionInfo, HeadLimits, Http2Limits, Limits, Origin, Protocol, Request,
    buffers::Buffers,
    connect::{Connector, Link, unauthorized},
    http1::{Head, Http1},
    http2::{self, Greeted, Http2},
    pool::{Checkout, Making, PROBE_AFTER, Permit, Pool, Site, Slot, Ticket, Turn, Wants},
    timer::Timer,
    trail::{Expired, Stage, Trail, earlier, within},
    upload::Outgoing,
};
#[cfg(feature = "decompress")]
use crate::{DecompressLimits, decode};

/// Most connections passed over for one request because they were closing. More than a pool holds of them in practice.
const MAX_STALE: usize = 64;
/// Most refusals by a peer that pauses. More than there are tries while one waits, by default; but one that closes each time might be asked
/// without a wait.
const MAX_PAUSES: usize = 8;

/// What every attempt of a transport shares.
pub(crate) struct Inner {
    pub(crate) limits: Limits,
    pub(crate) http2: Http2Limits,
    pub(crate) head: HeadLimits,
    #[cfg(feature = "decompress")]
    pub(crate) decompress: DecompressLimits,
    pub(crate) connector: Connector,
    pub(crate) pool: Pool,
    pub(crate) buffers: Buffers,
}

/// Why one try failed, and what became of the request.
struct Failed {
    error: Error,
    again: Again,
    /// The place of the connection that failed, where another may be tried.
    left: Option<Permit>,
}

/// Whether another connection may do better, and is safe to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    /// The peer did not take the request; if it does the same again, that is for the caller to know.
    Once,
    /// The connection was on its way out before the request came, and is out of the pool now.
    Surely,
    /// The request went out before it was known that the peer takes none for a while. Who tries that for the others pays nothing for it.
    Paused,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, again: Again::No, left: None }
    }
}

/// Where the body will come from.
pub(crate) enum Source {
    Http1(Box<Http1>),
    Http2(http2::Stream, Slot),
}

impl Source {
    pub(crate) fn info(&self) -> ConnectionInfo {
        match self {
            Self::Http1(connection) => connection.info(),
            Self::Http2(_, slot) => slot.info(),
        }
    }
}

pub(crate) type Answered = (Head, Source);

impl Inner {
    /// The request, asking for a compressed body where that is left to the transport; whether it is.
    #[cfg(feature = "decompress")]
    pub(crate) fn accept_compressed(&self, request: &mut Request) -> bool {
        let asks = self.decompress.enabled && decode::may_ask(&request.headers);
        if asks {
            request.headers.insert(http::header::ACCEPT_ENCODING, decode::ACCEPT);
        }
        asks
    }

    pub(crate) async fn attempt(&self, request: &Request, trail: &mut Trail) -> Result<Answered> {
        let origin = request.url.origin();
        let site = self.pool.site(origin, self.connector.protocol(origin), trail.started);
        let mut wants = Wants { replayable: request.replayable, fresh: false };
        let (mut stale, mut pauses) = (0, 0);
        let mut now = trail.started;
        let mut turn = Turn::default();
        let mut left = None;
        loop {
            // The place of a connection that failed is given back only where this waits again.
            let looked = if left.is_none() { site.look(wants, &mut turn, now) } else { None };
            // Where a connection is there at once, the time is not asked for again.
            let (ready, since) = match looked {
                Some(Checkout::Http1(connection)) => (Ready::Http1(connection), now),
                Some(Checkout::Http2(slot)) => (Ready::Http2(slot), now),
                looked => {
                    let waited = site.checkout(wants, turn, left.take());
                    (self.checkout(&site, looked, waited, trail).await?, Instant::now())
                }
            };
            let tried = match ready {
                Ready::Http1(connection) => self.exchange_http1(connection, request, since, trail).await,
                Ready::Http2(slot) => self.exchange_http2(slot, request, since, trail).await,
            };
            match tried {
                Ok(answered) => return Ok(answered),
                // What has been read from a source cannot be sent again.
                Err(failed) if trail.upload.as_ref().is_some_and(Outgoing::has_begun) => {
                    return Err(failed.error);
                }
                Err(Failed { again: Again::Surely, .. }) if stale < MAX_STALE => stale += 1,
                Err(Failed { again: Again::Paused, .. }) if pauses < MAX_PAUSES => {
                    pauses += 1;
                    self.pool.count_replaced();
                }
                Err(Failed { again: Again::Once, left: place, .. }) if !wants.fresh => {
                    wants.fresh = true;
                    left = place;
                    self.pool.count_replaced();
                }
                Err(failed) => return Err(failed.error),
            }
            trail.restart();
            now = Instant::now();
        }
    }

    /// A connection where none was there at once: what was found instead, or a wait.
    async fn checkout(
        &self,
        site: &Arc<Site>,
        looked: Option<Checkout>,
        waited: impl Future<Output = Checkout>,
        trail: &mut Trail,
    ) -> Result<Ready> {
        // Somebody else may be connecting for us, so the wait may take as long as that.
        let limit = self.limits.connect.saturating_add(self.limits.tls);
        let checkout = match looked {
            Some(checkout) => Ok(checkout),
            None => {
                let mut waited = pin!(waited);
                // Who looked for nothing before may be given something at once, and has not waited then.
                match poll_fn(|cx| Poll::Ready(waited.as_mut().poll(cx))).await {
                    Poll::Ready(checkout) => Ok(checkout),
                    Poll::Pending => {
                        let began = Instant::now();
                        let waited = wait(site, waited, limit, trail.deadline).await;
                        self.pool.counters.waited(began.elapsed());
                        waited
                    }
                }
            }
        };
        let checkout = checkout.map_err(|expired| {
            if site.waits_for_peer() {
                // Then it is the peer that was too slow.
                trail.stage = Stage::Connecting;
            }
            trail.expired(expired, "connect + tls")
        })?;
        match checkout {
            Checkout::Http1(connection) => Ok(Ready::Http1(connection)),
            Checkout::Http2(slot) => Ok(Ready::Http2(slot)),
            // What was made of another's request says nothing of this one.
            Checkout::Failed(error) => Err(error.with_delivery(trail.delivery())),
            // Boxed, because its state is large, and would make every request's as large.
            Checkout::Connect(ticket) => Box::pin(self.open(ticket, trail)).await,
        }
    }

    /// A new connection.
    pub(crate) async fn open(&self, ticket: Ticket, trail: &mut Trail) -> Result<Ready> {
        let origin = trail.origin.clone();
        match self.connector.connect(&origin, trail).await {
            Ok(link) => self.speak(link, ticket, trail).await,
            Err(error) => Err(give_up(ticket.making, error, trail)),
        }
    }

    /// A connection over that link.
    pub(crate) async fn speak(&self, link: Link, ticket: Ticket, trail: &mut Trail) -> Result<Ready> {
        // In this order: what is declared last is dropped first, see `Ticket`.
        let Ticket { mut permit, making } = ticket;
        permit.opened(link.info.protocol);
        trail.info = Some(link.info);
        match link.info.protocol {
            Protocol::Http1 => {
                making.made_http1();
                Ok(Ready::Http1(Box::new(Http1::new(link, &self.head, permit))))
            }
            Protocol::Http2 => {
                let greeting = Http2::greet(link, &self.http2, &self.head);
                match within(Some(self.limits.tls), trail.deadline, greeting).await {
                    Ok(Ok(greeted)) => {
                        Ok(Ready::Http2(self.share(greeted, making, permit, trail.origin.clone())))
                    }
                    Ok(Err(error)) => Err(give_up(making, http2::failure(error, trail), trail)),
                    Err(expired) => Err(give_up(making, trail.expired(expired, "tls"), trail)),
                }
            }
        }
    }

    /// Its driver may end at once, and gives the place back then: so it begins when nobody counts on a connection being made any more.
    pub(crate) fn share(&self, greeted: Greeted, making: Making, permit: Permit, origin: Origin) -> Slot {
        let (connection, driver) = Http2::new(greeted, &self.http2, permit, making.attempt(), origin);
        let slot = making.made_http2(connection);
        tokio::spawn(driver);
        slot
    }

    async fn exchange_http1(
        &self,
        mut connection: Box<Http1>,
        request: &Request,
        since: Instant,
        trail: &mut Trail,
    ) -> Result<Answered, Failed> {
        trail.sending(connection.info(), connection.meter(), request.body.len());
        let idle = connection.idle_for(trail.started);
        let meter = Arc::clone(connection.meter());
        let limit = self.first_byte(request);
        let mut timer = connection.timer.take().and_then(Timer::here);
        let upload = trail.upload.clone();
        turn().await;
        let answered = {
            let mut exchange = pin!(connection.exchange(request, upload.as_ref()));
            let mut expiry = earlier(since, limit, trail.deadline);
            poll_fn(|cx| {
                if let Poll::Ready(done) = exchange.as_mut().poll(cx) {
                    return Poll::Ready(Ok(done));
                }
                while let Some((end, expired)) = expiry {
                    if Timer::poll_until(&mut timer, end, cx).is_pending() {
                        break;
                    }
                    // The limit counts from the last byte written, which `end` was made without knowing.
                    match (expired, earlier(meter.last_write(), limit, trail.deadline)) {
                        (Expired::Limit(_), Some(later)) if later.0 > end => expiry = Some(later),
                        _ => return Poll::Ready(Err(expired)),
                    }
                }
                Poll::Pending
            })
            .await
        };
        connection.timer = timer;
        match answered {
            Ok(Ok(head)) => {
                if head.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
                    && let Some(forward) = connection.forward()
                {
                    trail.refused();
                    let what = unauthorized(forward.authorization.is_some());
                    return Err(trail.error(ErrorKind::Proxy, what).into());
                }
                Ok((head, Source::Http1(connection)))
            }
            Ok(Err(failure)) => {
                let untouched = trail.written() == 0;
                let reused = connection.info().reused;
                let closed_early = reused && failure.is_lost();
                if closed_early {
                    connection.permit().site().closed_early(idle);
                }
                let again = closed_early && (untouched || request.replayable);
                let again = if again { Again::Once } else { Again::No };
                let left = Some(connection.close());
                Err(Failed { error: failure.into_error(trail), again, left })
            }
            Err(expired) => Err(trail.expired(expired, "first_byte").into()),
        }
    }

    async fn exchange_http2(
        &self,
        mut slot: Slot,
        request: &Request,
        since: Instant,
        trail: &mut Trail,
    ) -> Result<Answered, Failed> {
        trail.info = Some(slot.info());
        trail.stage = Stage::Sending;
        let read_before = slot.connection().meter().read();
        let mut stream = match slot.connection().start(request, trail.upload.as_ref()) {
            Ok(stream) => stream,
            Err(error) => {
                // The connection is on its way out, or has no number left for a stream, and took nothing.
                let leaving = error.is_go_away() || error.is_io() || error.is_reset();
                let leaving = leaving || slot.connection().takes_no_more();
                slot.connection().retire();
                slot.settle();
                let again = if leaving { Again::Surely } else { Again::No };
                return Err(Failed { error: http2::failure(error, trail), again, left: None });
            }
        };
        trail.handed_over(slot.info());
        let limit = self.first_byte(request);
        let mut expiry = earlier(since, limit, trail.deadline);
        let mut last_sent = None;
        let answered = poll_fn(|cx| {
            if let Poll::Ready(answered) = stream.poll_head(cx) {
                return Poll::Ready(Ok(answered));
            }
            last_sent = stream.last_sent().or(last_sent);
            while let Some((end, expired)) = expiry {
                if Timer::poll_until(&mut stream.timer, end, cx).is_pending() {
                    break;
                }
                // The limit counts from the last piece of an upload.
                match (expired, last_sent.and_then(|sent| earlier(sent, limit, trail.deadline))) {
                    (Expired::Limit(_), Some(later)) if later.0 > end => expiry = Some(later),
                    _ => return Poll::Ready(Err(expired)),
                }
            }
            Poll::Pending
        })
        .await;
        match answered {
            Ok(Ok(head)) => Ok((head, Source::Http2(stream, slot))),
            Ok(Err(failure)) => {
                if !failure.is_reset_here() {
                    slot.settle();
                }
                let refused = http2::is_refusal(&failure);
                if refused {
                    trail.refused();
                }
                if http2::ends_connection(&failure) {
                    slot.connection().retire();
                }
                let again = match (refused, slot.connection().is_pausing()) {
                    (false, _) => Again::No,
                    (true, false) => Again::Once,
                    (true, true) => Again::Paused,
                };
                Err(Failed { error: http2::failure(failure, trail), again, left: None })
            }
            Err(expired) => {
                if slot.connection().meter().read() == read_before {
                    // Not a byte all the while, on any stream: the connection may be dead without knowing it.
                    slot.connection().retire();
                }
                Err(trail.expired(expired, "first_byte").into())
            }
        }
    }

    fn first_byte(&self, request: &Request) -> Option<Duration> {
        request.first_byte.or(self.limits.first_byte)
    }
}

/// For what others make or have, so long at most. Who waits for long sees to it that a peer that pauses is tried again.
async fn wait<T>(
    site: &Arc<Site>,
    mut waited: Pin<&mut impl Future<Output = T>>,
    limit: Duration,
    deadline: Option<Instant>,
) -> Result<T, Expired> {
    let mut left = limit;
    while left > PROBE_AFTER {
        match within(Some(PROBE_AFTER), deadline, waited.as_mut()).await {
            Err(Expired::Limit(_)) => site.probe(Instant::now()),
            done => return done,
        }
        left -= PROBE_AFTER;
    }
    let done = within(Some(left), deadline, waited).await;
    done.map_err(|expired| match expired {
        Expired::Limit(_) => Expired::Limit(limit),
        Expired::Deadline => Expired::Deadline,
    })
}

/// Once round the run queue before the write: tasks that are ready together read first and then write together.
/// A write for each read wakes a server on this machine for each, which with 64 callers cost a third of a
/// request's whole CPU time; alone, it is one more turn of an empty queue.
async fn turn() {
    let mut is_queued = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_queued, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A connection ready to take a request.
pub(crate) enum Ready {
    Http1(Box<Http1>),
    Http2(Slot),
}

/// Tells those who waited for this connection, unless it was only this request that ran out of time.
fn give_up(making: Making, error: Error, trail: &Trail) -> Error {
    if trail.deadline.is_none_or(|deadline| Instant::now() < deadline) {
        making.failed(&error);
    }
    error
}
