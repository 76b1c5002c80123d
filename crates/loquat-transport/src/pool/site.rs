//! One origin's connections, and the decision which of them a request gets.
//!
//! Rules, in order: the least loaded HTTP/2 connection with a free stream; the HTTP/1.1 connection that was used
//! last, if it is still alive and young enough for the request; a connection another request is making, while that
//! is expected to have room; a new connection; a wait.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use loquat_core::Error;
use tokio::sync::Notify;

use crate::{ConnectionInfo, Http2Limits, PoolConfig, Protocol, http1::Http1, http2::Http2, stats::Counters};

/// How long an early close is held against a peer: as long as a rolling update or a bad hour of a balancer.
const REMEMBER_EARLY_CLOSE: Duration = Duration::from_secs(600);
/// An idle connection is kept for that long whatever was learnt: requests that follow each other at once find it.
const LEAST_LIFETIME: Duration = Duration::from_secs(1);
/// A connection that has rested for less is not looked at before it is used again: the exchange itself reads before it
/// writes, and a close that is found then has cost nothing of the request. A look costs a tenth of a small request.
const TRUSTED_FOR: Duration = Duration::from_millis(1);

/// See the [module](self).
pub(crate) struct Site {
    state: Mutex<State>,
    /// One waiter is woken for a freed place, all when a connection was made or failed.
    changed: Notify,
    config: PoolConfig,
    http2: Http2Limits,
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
    /// The idle time that the peer did not grant lately, and when it was learnt.
    early_close: Option<(Duration, Instant)>,
    /// The pool is gone: nothing is kept any more.
    shut: bool,
}

struct Shared {
    connection: Arc<Http2>,
    /// Streams reserved. Nobody looks at it but under this lock, so it is no atomic.
    in_use: usize,
    idle_since: Instant,
    retire_at: Option<Instant>,
    /// Streams reset by this side since then.
    resets: usize,
    resets_since: Instant,
}

impl Shared {
    /// One more reset. A peer takes many of them in short time for an attack, and closes the connection with all that is on
    /// it; so past a number new streams go elsewhere, and those that are left finish.
    fn count_reset(&mut self, now: Instant, limits: &Http2Limits) {
        if now.saturating_duration_since(self.resets_since) > limits.resets_within {
            (self.resets, self.resets_since) = (0, now);
        }
        self.resets += 1;
        if self.resets > limits.max_resets {
            self.connection.retire();
        }
    }
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
        http2: &Http2Limits,
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
            streams: http2.max_streams.max(1),
            early_close: None,
            failures: 0,
            last_failure: None,
            shut: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            config,
            http2: http2.clone(),
            counters,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What can be had without waiting.
    pub(crate) fn look(self: &Arc<Self>, wants: Wants, now: Instant) -> Option<Checkout> {
        let mut dead = Vec::new();
        match self.decide(wants, now, false, &mut dead) {
            Decision::Got(checkout) => Some(checkout),
            Decision::Wait { .. } => None,
        }
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
            let decision = self.decide(wants, Instant::now(), true, &mut dead);
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
    fn decide(
        self: &Arc<Self>,
        wants: Wants,
        now: Instant,
        will_wait: bool,
        dead: &mut Vec<Box<Http1>>,
    ) -> Decision {
        let mut state = self.lock();
        let state = &mut *state;
        state.http2.retain(|shared| {
            if shared.retire_at.is_some_and(|end| now >= end) {
                shared.connection.retire();
            }
            !shared.connection.is_closing()
        });
        let free = state.http2.iter_mut().filter(|shared| shared.in_use < shared.connection.limit());
        if let Some(shared) = free.min_by_key(|shared| shared.in_use) {
            shared.in_use += 1;
            self.counters.reused.fetch_add(1, Relaxed);
            let connection = Arc::clone(&shared.connection);
            return Decision::Got(Checkout::Http2(Slot {
                connection,
                site: Arc::clone(self),
                reused: true,
                settled: false,
            }));
        }
        if !wants.fresh {
            let mut index = state.idle.len();
            while index > 0 {
                index -= 1;
                let connection = &mut state.idle[index];
                let idle = connection.idle_for(now);
                if idle >= self.lifetime(connection, state.early_close, now) {
                    dead.push(state.idle.remove(index));
                } else if !(connection.is_settled() && idle < TRUSTED_FOR || connection.is_usable()) {
                    state.early_close = self.lowered(idle, state.early_close, now);
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
                state.waiting += usize::from(will_wait);
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
        Decision::Got(Checkout::Connect(self.ticket(state)))
    }

    fn ticket(self: &Arc<Self>, state: &mut State) -> Ticket {
        state.connecting += 1;
        state.open += 1;
        Ticket {
            permit: Permit { site: Arc::clone(self), protocol: None },
            making: Making { site: Arc::clone(self) },
        }
    }

    /// The permission to make a connection that nobody has asked for yet, until so many are there or coming.
    pub(crate) fn spare(self: &Arc<Self>, wanted: usize) -> Option<Ticket> {
        let mut state = self.lock();
        let wanted = wanted.min(self.config.max_connections_per_origin);
        let there = state.idle.len() + state.http2.len() + state.connecting;
        let has_room = there < wanted && state.connecting < self.config.max_connecting_per_origin;
        has_room.then(|| self.ticket(&mut state))
    }

    /// How long that connection may be idle: what the peer promised, what it kept lately, and the ceiling; nothing once it
    /// is too old.
    fn lifetime(&self, connection: &Http1, early: Option<(Duration, Instant)>, now: Instant) -> Duration {
        if connection.is_too_old(now) {
            return Duration::ZERO;
        }
        let promised = connection.keep_alive().unwrap_or(Duration::MAX);
        let kept = early.filter(|(_, learnt)| now.saturating_duration_since(*learnt) < REMEMBER_EARLY_CLOSE);
        self.config.idle_timeout.min(promised).min(kept.map_or(Duration::MAX, |(kept, _)| kept))
    }

    /// What to allow from now on, after a connection was found closed that had been idle for so long. When exactly it was
    /// closed nobody saw: four fifths is a guess that the next early close lowers further.
    fn lowered(
        &self,
        idle: Duration,
        before: Option<(Duration, Instant)>,
        now: Instant,
    ) -> Option<(Duration, Instant)> {
        let kept = (idle * 4 / 5).max(LEAST_LIFETIME);
        Some((before.map_or(kept, |(before, _)| before.min(kept)), now))
    }

    /// A connection failed under a request after it had been idle for so long.
    pub(crate) fn closed_early(&self, idle: Duration) {
        let mut state = self.lock();
        state.early_close = self.lowered(idle, state.early_close, Instant::now());
    }

    /// When a connection made now is too old: up to a fifth earlier than the limit, so that connections made together are
    /// not replaced together.
    pub(crate) fn retire_at(&self) -> Option<Instant> {
        let age = self.config.max_age?;
        // Each `RandomState` has keys of its own, which is all the chance that is needed.
        let random = u32::from(RandomState::new().build_hasher().finish().to_le_bytes()[0]);
        Instant::now().checked_add(age - age * random / (5 * 256))
    }

    /// Takes a connection back whose exchange is complete.
    pub(crate) fn rest(&self, mut connection: Box<Http1>) {
        if self.config.max_idle_per_origin == 0 || !(connection.is_settled() || connection.is_usable()) {
            return;
        }
        let now = Instant::now();
        connection.rest(now);
        let oldest = {
            let mut state = self.lock();
            if state.shut {
                drop(state);
                return;
            }
            if connection.is_too_old(now) {
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
        let early = state.early_close;
        let old =
            |connection: &mut Box<Http1>| connection.idle_for(now) >= self.lifetime(connection, early, now);
        expired.extend(state.idle.extract_if(.., old).map(Expired::Http1));
        let old = |shared: &mut Shared| {
            let unused = shared.in_use == 0;
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

    fn release(&self, connection: &Arc<Http2>, was_reset: bool) {
        {
            let mut state = self.lock();
            if let Some(shared) =
                state.http2.iter_mut().find(|shared| Arc::ptr_eq(&shared.connection, connection))
            {
                let now = Instant::now();
                shared.in_use -= 1;
                shared.idle_since = now;
                if was_reset {
                    shared.count_reset(now, &self.http2);
                }
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
        let site = Arc::clone(&self.site);
        let mut state = site.lock();
        state.speaks = Some(Protocol::Http2);
        if !state.shut {
            let now = Instant::now();
            state.http2.push(Shared {
                connection: Arc::clone(&connection),
                in_use: 1,
                idle_since: now,
                retire_at: site.retire_at(),
                resets: 0,
                resets_since: now,
            });
        }
        drop(state);
        Slot { connection, site, reused: false, settled: false }
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
    /// Whether the stream has ended by itself.
    settled: bool,
}

impl Slot {
    pub(crate) fn connection(&self) -> &Http2 {
        &self.connection
    }

    /// The stream has ended by itself: giving it back resets nothing.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        ConnectionInfo { reused: self.reused, ..self.connection.info }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.site.release(&self.connection, !self.settled);
    }
}
