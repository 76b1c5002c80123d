//! One origin's connections, and the decision which of them a request gets.
//!
//! Rules, in order: the least loaded HTTP/2 connection with a free stream; the HTTP/1.1 connection that was used
//! last, if it is still alive and young enough for the request; a connection another request is making, while that
//! is expected to have room; a new connection; a wait.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use loquat_core::Error;
use tokio::sync::Notify;

use crate::{ConnectionInfo, PoolConfig, Protocol, http1::Http1, http2::Http2, stats::Counters};

/// See the [module](self).
pub(crate) struct Site {
    state: Mutex<State>,
    /// One waiter is woken for a freed place, all when a connection was made or failed.
    changed: Notify,
    config: PoolConfig,
    counters: Arc<Counters>,
}

#[expect(clippy::vec_box, reason = "connections move in and out all the time: one pointer each")]
struct State {
    /// Idle HTTP/1.1 connections, the one used last at the end.
    idle: Vec<Box<Http1>>,
    http2: Vec<Shared>,
    /// Connections being made.
    connecting: usize,
    /// Connections that are open or being made.
    open: usize,
    /// Requests that wait for a connection another request is making.
    waiting: usize,
    /// What connections here speak, once one has been made.
    speaks: Option<Protocol>,
    /// Streams that a new HTTP/2 connection is expected to have.
    streams: usize,
    /// How often making a connection failed, and why the last time: those who waited for it fail with it.
    failures: u64,
    last_failure: Option<Error>,
    /// The pool is gone: nothing is kept any more.
    shut: bool,
}

struct Shared {
    connection: Arc<Http2>,
    idle_since: Instant,
}

/// What a request can make do with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wants {
    /// Whether it may be sent twice.
    pub(crate) replayable: bool,
    /// Whether an idle HTTP/1.1 connection will not do, because one has just failed.
    pub(crate) fresh: bool,
}

/// What a request got.
#[derive(Debug)]
pub(crate) enum Checkout {
    Http1(Box<Http1>),
    Http2(Slot),
    /// It may make a connection.
    Connect(Ticket),
    /// The connection it waited for could not be made.
    Failed(Error),
}

enum Decision {
    Got(Checkout),
    Wait { since_failure: u64, coalesced: bool },
}

impl Site {
    pub(super) fn new(
        config: PoolConfig,
        streams: usize,
        counters: Arc<Counters>,
        speaks: Option<Protocol>,
    ) -> Arc<Self> {
        let state = State {
            idle: Vec::new(),
            http2: Vec::new(),
            connecting: 0,
            open: 0,
            waiting: 0,
            speaks,
            streams,
            failures: 0,
            last_failure: None,
            shut: false,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new(), config, counters })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, or the permission to make one. Waits, without a limit of its own.
    ///
    /// # Cancel safety
    /// Dropping it gives the place in the queue up and loses nothing.
    pub(crate) async fn checkout(self: &Arc<Self>, wants: Wants) -> Checkout {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look, so that a change between look and wait is not missed.
            changed.as_mut().enable();
            let mut dead = Vec::new();
            let decision = self.decide(wants, &mut dead);
            drop(dead); // outside the lock, which their permits take
            let (since_failure, coalesced) = match decision {
                Decision::Got(checkout) => return checkout,
                Decision::Wait { since_failure, coalesced } => (since_failure, coalesced),
            };
            let waiting = Waiting { site: self, coalesced };
            changed.await;
            drop(waiting);
            if coalesced {
                let state = self.lock();
                if let Some(error) = &state.last_failure
                    && state.failures != since_failure
                    && state.http2.is_empty()
                {
                    return Checkout::Failed(error.clone());
                }
            }
        }
    }

    #[expect(clippy::vec_box, reason = "as in `State`")]
    fn decide(self: &Arc<Self>, wants: Wants, dead: &mut Vec<Box<Http1>>) -> Decision {
        let now = Instant::now();
        let mut state = self.lock();
        let state = &mut *state;
        state.http2.retain(|shared| !shared.connection.is_closing());
        let load = |shared: &&Shared| shared.connection.in_use.load(Relaxed);
        let free =
            state.http2.iter().filter(|shared| load(shared) < shared.connection.limit()).min_by_key(load);
        if let Some(shared) = free {
            shared.connection.in_use.fetch_add(1, Relaxed);
            self.counters.reused.fetch_add(1, Relaxed);
            let connection = Arc::clone(&shared.connection);
            return Decision::Got(Checkout::Http2(Slot { connection, site: Arc::clone(self), reused: true }));
        }
        if !wants.fresh {
            let mut index = state.idle.len();
            while index > 0 {
                index -= 1;
                let connection = &mut state.idle[index];
                let idle = connection.idle_for(now);
                if idle >= self.lifetime(connection) || !connection.is_usable() {
                    dead.push(state.idle.remove(index));
                } else if wants.replayable || idle < self.config.reuse_within {
                    self.counters.reused.fetch_add(1, Relaxed);
                    return Decision::Got(Checkout::Http1(state.idle.remove(index)));
                } else {
                    break; // those before it have been idle for longer
                }
            }
        }
        let unsettled = state.http2.iter().filter(|shared| !shared.connection.is_settled()).count();
        let coming = state.connecting + unsettled;
        if coming > 0 && state.speaks != Some(Protocol::Http1) {
            // Before the first connection nobody knows; then one is made and the others wait for what it speaks.
            let expected =
                if state.speaks.is_none() { usize::MAX } else { coming.saturating_mul(state.streams) };
            if state.waiting + coming < expected {
                state.waiting += 1;
                return Decision::Wait { since_failure: state.failures, coalesced: true };
            }
        }
        // The dead ones are still counted: their permits are dropped after the lock.
        let open = state.open - dead.len().min(state.open);
        if state.connecting >= self.config.max_connecting_per_origin.max(1) {
            return Decision::Wait { since_failure: state.failures, coalesced: false };
        }
        if open >= self.config.max_connections_per_origin.max(1) {
            // An idle one that this request cannot use makes place.
            if state.idle.is_empty() {
                return Decision::Wait { since_failure: state.failures, coalesced: false };
            }
            dead.push(state.idle.remove(0));
        }
        state.connecting += 1;
        state.open += 1;
        Decision::Got(Checkout::Connect(Ticket {
            permit: Permit { site: Arc::clone(self), protocol: None },
            making: Making { site: Arc::clone(self) },
        }))
    }

    /// How long that connection may be idle.
    fn lifetime(&self, connection: &Http1) -> Duration {
        connection
            .keep_alive()
            .map_or(self.config.idle_timeout, |promised| promised.min(self.config.idle_timeout))
    }

    /// Takes a connection back whose exchange is complete.
    pub(crate) fn rest(&self, mut connection: Box<Http1>) {
        if self.config.max_idle_per_origin == 0 || !connection.is_usable() {
            return;
        }
        connection.rest(Instant::now());
        let oldest = {
            let mut state = self.lock();
            if state.shut {
                drop(state);
                return;
            }
            let full = state.idle.len() >= self.config.max_idle_per_origin;
            let oldest = if full { Some(state.idle.remove(0)) } else { None };
            state.idle.push(connection);
            oldest
        };
        drop(oldest);
        self.changed.notify_one();
    }

    /// Takes out what has been idle for too long. Whether nothing is left.
    pub(super) fn sweep(&self, now: Instant, expired: &mut Vec<Expired>) -> bool {
        let mut state = self.lock();
        let old = |connection: &mut Box<Http1>| connection.idle_for(now) >= self.lifetime(connection);
        expired.extend(state.idle.extract_if(.., old).map(Expired::Http1));
        let old = |shared: &mut Shared| {
            let unused = shared.connection.in_use.load(Relaxed) == 0;
            let idle = now.saturating_duration_since(shared.idle_since);
            shared.connection.is_closing() || (unused && idle >= self.config.idle_timeout)
        };
        expired.extend(state.http2.extract_if(.., old).map(|shared| Expired::Http2(shared.connection)));
        state.open == 0 && state.waiting == 0
    }

    /// The HTTP/2 connections here allow that many streams, as one of them has just learnt; or one is gone.
    pub(crate) fn learnt(&self, streams: Option<usize>) {
        if let Some(streams) = streams {
            self.lock().streams = streams.max(1);
        }
        self.changed.notify_waiters();
    }

    /// Lets go of everything idle, now and later. What is in use ends with its use.
    pub(super) fn shut(&self) {
        let mut state = self.lock();
        state.shut = true;
        let (idle, http2) = (std::mem::take(&mut state.idle), std::mem::take(&mut state.http2));
        drop(state);
        drop((idle, http2));
    }

    fn release(&self, connection: &Arc<Http2>) {
        {
            // Under the lock, so that the idle time is never older than the last use.
            let mut state = self.lock();
            connection.in_use.fetch_sub(1, Relaxed);
            if let Some(shared) =
                state.http2.iter_mut().find(|shared| Arc::ptr_eq(&shared.connection, connection))
            {
                shared.idle_since = Instant::now();
            }
        }
        self.changed.notify_one();
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Site")
            .field("idle", &state.idle.len())
            .field("http2", &state.http2.len())
            .field("connecting", &state.connecting)
            .field("open", &state.open)
            .field("speaks", &state.speaks)
            .finish_non_exhaustive()
    }
}

/// What a sweep took out; dropped outside the locks.
#[derive(Debug)]
pub(super) enum Expired {
    Http1(#[expect(dead_code, reason = "held to be dropped")] Box<Http1>),
    Http2(#[expect(dead_code, reason = "held to be dropped")] Arc<Http2>),
}

/// A place in the queue.
struct Waiting<'a> {
    site: &'a Site,
    coalesced: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.coalesced {
            self.site.lock().waiting -= 1;
        }
    }
}

/// The place a connection takes among its origin's; given back when the connection is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    site: Arc<Site>,
    /// What is counted as open; nothing while it is being made.
    protocol: Option<Protocol>,
}

impl Permit {
    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Counts the connection as open from here.
    pub(crate) fn opened(&mut self, protocol: Protocol) {
        self.protocol = Some(protocol);
        self.site.counters.opened(protocol);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(protocol) = self.protocol {
            self.site.counters.closed(protocol);
        }
        self.site.lock().open -= 1;
        self.site.changed.notify_one();
    }
}

/// The permission to make one connection. Dropped unused, it lets another request try.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// To be kept as long as the connection lives.
    pub(crate) permit: Permit,
    pub(crate) making: Making,
}

/// A connection that is being made; others may count on it.
#[derive(Debug)]
pub(crate) struct Making {
    site: Arc<Site>,
}

impl Making {
    /// It speaks HTTP/1.1.
    pub(crate) fn made_http1(self) {
        self.site.lock().speaks = Some(Protocol::Http1);
    }

    /// It speaks HTTP/2 and is shared from here; the first stream is the maker's.
    pub(crate) fn made_http2(self, connection: Http2) -> Slot {
        let connection = Arc::new(connection);
        connection.in_use.fetch_add(1, Relaxed);
        let site = Arc::clone(&self.site);
        let mut state = site.lock();
        state.speaks = Some(Protocol::Http2);
        if !state.shut {
            state.http2.push(Shared { connection: Arc::clone(&connection), idle_since: Instant::now() });
        }
        drop(state);
        Slot { connection, site, reused: false }
    }

    /// It could not be made: those who waited for it fail with the same error.
    pub(crate) fn failed(self, error: &Error) {
        let mut state = self.site.lock();
        state.failures += 1;
        state.last_failure = Some(error.clone());
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.site.lock().connecting -= 1;
        self.site.changed.notify_waiters();
    }
}

/// One reserved stream on an HTTP/2 connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    connection: Arc<Http2>,
    site: Arc<Site>,
    reused: bool,
}

impl Slot {
    pub(crate) fn connection(&self) -> &Http2 {
        &self.connection
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        ConnectionInfo { reused: self.reused, ..self.connection.info }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.site.release(&self.connection);
    }
}
