//! One origin's connections, and the decision which of them a request gets.
//!
//! Rules, in order: the least loaded HTTP/2 connection with a free stream; the HTTP/1.1 connection that was used
//! last, if it is still alive and young enough for the request; a connection another request is making, while that
//! is expected to have room; a new connection; a wait.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use loquat_core::Error;
use tokio::sync::Notify;

use super::grant::{Slot, Ticket};
use crate::{Http2Limits, PoolConfig, Protocol, http1::Http1, http2::Http2, stats::Counters};

/// A connection that has rested for less is not looked at before it is used again: the exchange itself reads before it
/// writes, and a close that is found then has cost nothing of the request. A look costs a tenth of a small request.
const TRUSTED_FOR: Duration = Duration::from_millis(1);

/// See the [module](self).
pub(crate) struct Site {
    state: Mutex<State>,
    /// One waiter is woken for a freed place, all when a connection was made or failed.
    pub(super) changed: Notify,
    pub(super) config: PoolConfig,
    http2: Http2Limits,
    pub(crate) counters: Arc<Counters>,
}

#[expect(clippy::vec_box, reason = "connections move in and out all the time: one pointer each")]
pub(super) struct State {
    /// Idle HTTP/1.1 connections, the one used last at the end.
    pub(super) idle: Vec<Box<Http1>>,
    pub(super) http2: Vec<Shared>,
    /// Connections being made.
    pub(super) connecting: usize,
    /// Connections that are open or being made.
    pub(super) open: usize,
    /// Requests that wait for a connection another request is making.
    pub(super) waiting: usize,
    /// What connections here speak, once one has been made.
    pub(super) speaks: Option<Protocol>,
    /// Streams that a new HTTP/2 connection is expected to have.
    pub(super) streams: usize,
    /// How often making a connection failed, and why the last time: those who waited for it fail with it.
    pub(super) failures: u64,
    pub(super) last_failure: Option<Error>,
    /// The idle time that the peer did not grant lately, and when it was learnt.
    pub(super) early_close: Option<(Duration, Instant)>,
    /// The pool is gone: nothing is kept any more.
    pub(super) shut: bool,
}

pub(super) struct Shared {
    pub(super) connection: Arc<Http2>,
    /// Streams reserved. Nobody looks at it but under this lock, so it is no atomic, and there is no order of accesses for loom to try.
    pub(super) in_use: usize,
    pub(super) idle_since: Instant,
    pub(super) retire_at: Option<Instant>,
    /// Streams reset by this side since then.
    pub(super) resets: usize,
    pub(super) resets_since: Instant,
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

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.counters.locks.lock(&self.state)
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
            return Decision::Got(Checkout::Http2(Slot::new(connection, Arc::clone(self), true)));
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
        Ticket::new(self)
    }

    /// The permission to make a connection that nobody has asked for yet, until so many are there or coming.
    pub(crate) fn spare(self: &Arc<Self>, wanted: usize) -> Option<Ticket> {
        let mut state = self.lock();
        let wanted = wanted.min(self.config.max_connections_per_origin);
        let there = state.idle.len() + state.http2.len() + state.connecting;
        // Those in use are none of those that are wanted, but they take their places all the same.
        let has_place = state.open < self.config.max_connections_per_origin.max(1);
        let has_room =
            there < wanted && has_place && state.connecting < self.config.max_connecting_per_origin;
        has_room.then(|| self.ticket(&mut state))
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

    pub(super) fn release(&self, connection: &Arc<Http2>, was_reset: bool) {
        {
            let mut state = self.lock();
            if let Some(shared) =
                state.http2.iter_mut().find(|shared| Arc::ptr_eq(&shared.connection, connection))
            {
                shared.in_use -= 1;
                // The clock is asked only where the answer is of use.
                if was_reset || shared.in_use == 0 {
                    let now = Instant::now();
                    shared.idle_since = now;
                    if was_reset {
                        shared.count_reset(now, &self.http2);
                    }
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
