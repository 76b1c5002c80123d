//! One origin's connections, and the decision which of them a request gets.
//!
//! Rules, in order: the least loaded HTTP/2 connection with a free stream; the HTTP/1.1 connection that was used
//! last, if it is still alive and young enough for the request; a connection another request is making, while that
//! is expected to have room; a new connection; a wait.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use loquat_core::Error;

use super::{
    grant::{Permit, Slot, Ticket},
    parts::{Mutex, MutexGuard},
    queue::{Failure, Later, Queue, Turn},
};
use crate::{Http2Limits, PoolConfig, Protocol, http1::Http1, http2::Http2, stats::Counters};

/// A connection that has rested for less is not looked at before it is used again: the exchange itself reads before it
/// writes, and a close that is found then has cost nothing of the request. A look costs a tenth of a small request.
const TRUSTED_FOR: Duration = Duration::from_millis(1);

/// Streams that `h2` may reset by itself in a connection's life. New ones go elsewhere after half as many resets.
pub(crate) const MOST_RESETS: usize = 16 * 1024;
/// While a peer pauses, another connection is tried after that time, for who has waited as long...
pub(crate) const PROBE_AFTER: Duration = Duration::from_secs(1);
/// ...and then after twice as long each time, up to this: within the 20 s that a request waits by default there are four or five.
const MOST_BETWEEN_PROBES: Duration = Duration::from_secs(8);

/// See the [module](self).
pub(crate) struct Site {
    pub(super) state: Mutex<State>,
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
    /// Requests that wait.
    pub(super) queue: Queue,
    /// What connections here speak, once one has been made.
    pub(super) speaks: Option<Protocol>,
    /// Streams that a new HTTP/2 connection is expected to have.
    pub(super) streams: usize,
    /// The idle time that the peer did not grant lately, and when it was learnt.
    pub(super) early_close: Option<(Duration, Instant)>,
    /// When a peer that pauses was tried, since one last took streams.
    probes: Probes,
    /// The pool is gone: nothing is kept any more.
    pub(super) shut: bool,
}

/// Connections that are made to see whether a peer pauses still.
#[derive(Default)]
struct Probes {
    /// None before that.
    next: Option<Instant>,
    /// How long after the last one that is.
    wait: Duration,
    /// Whether one may be made now.
    is_due: bool,
}

impl Probes {
    /// Whether one is due, and then none for a while.
    fn begin(&mut self, now: Instant) -> bool {
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.wait = (self.wait * 2).clamp(PROBE_AFTER, MOST_BETWEEN_PROBES);
        self.next = now.checked_add(self.wait);
        self.is_due = true;
        true
    }
}

pub(super) struct Shared {
    pub(super) connection: Arc<Http2>,
    /// Streams reserved. Nobody looks at it but under this lock, so it is no atomic; whether that is enough is what `tests/slots_model.rs`
    /// tries.
    pub(super) in_use: usize,
    pub(super) idle_since: Instant,
    pub(super) retire_at: Option<Instant>,
    /// Streams reset by this side since then.
    pub(super) resets: usize,
    pub(super) resets_since: Instant,
    /// Those since it was made.
    pub(super) all_resets: usize,
}

impl State {
    /// Lets go of the HTTP/2 connections that take no new streams any more. Of those that are left some may do so at any moment; but
    /// who is asked after another finds the same.
    fn prune(&mut self, now: Instant) {
        self.http2.retain(|shared| {
            if shared.retire_at.is_some_and(|end| now >= end) {
                shared.connection.retire();
            }
            !shared.connection.is_closing()
        });
    }

    /// Whether the peer allows no streams for a while, which it may (RFC 9113 §6.5.2), and would not on another connection either. One
    /// may be led elsewhere, to who takes some, and a connection that says so with streams under way may mean itself; so one is
    /// tried for each that takes streams, and one more as long as none has taken nothing at all. Others follow in time, see
    /// [`Site::probe`]: two that let their streams end before they close may be two of many behind one name.
    fn is_paused(&self) -> bool {
        let (mut pausing, mut taking, mut takes_none) = (0, 0, false);
        for Shared { connection, in_use, .. } in &self.http2 {
            pausing += usize::from(connection.limit() == 0);
            taking += usize::from(connection.limit() > 0 && connection.is_settled());
            takes_none |= connection.takes_none(*in_use);
        }
        pausing > taking + usize::from(!takes_none)
    }

    /// One that is of no use, where the peer pauses by what the others say, too.
    fn spare_paused(&mut self) -> Option<Shared> {
        let is_spare = |shared: &Shared| shared.in_use == 0 && shared.connection.limit() == 0;
        let index = self.http2.iter().position(is_spare)?;
        let spare = self.http2.remove(index);
        if self.is_paused() {
            return Some(spare);
        }
        self.http2.push(spare);
        None
    }

    /// How many may count on the connections that are being made, without those who make them.
    fn places(&self) -> usize {
        let unsettled = self.http2.iter().filter(|shared| !shared.connection.is_settled()).count();
        let coming = self.connecting + unsettled;
        match self.speaks {
            _ if coming == 0 => 0,
            Some(Protocol::Http1) => 0,
            // Before the first connection nobody knows; then one is made and the others wait for what it speaks.
            None => usize::MAX,
            Some(_) => coming.saturating_mul(self.streams).saturating_sub(coming),
        }
    }
}

impl Shared {
    /// One more reset. A peer takes many of them in short time for an attack, and closes the connection with all that is on
    /// it; so past a number new streams go elsewhere, and those that are left finish.
    fn count_reset(&mut self, now: Instant, limits: &Http2Limits) {
        if now.saturating_duration_since(self.resets_since) > limits.resets_within {
            (self.resets, self.resets_since) = (0, now);
        }
        self.resets += 1;
        self.all_resets += 1;
        if self.resets > limits.max_resets || self.all_resets > MOST_RESETS / 2 {
            self.connection.retire();
        }
    }
}

/// What a request can make do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// A connection could not be made that was begun while it waited.
    Failed(Error),
}

/// What a request has to wait for.
enum Wait {
    /// A connection that others are making, which so many from the front of the queue may count on.
    Making { places: usize },
    /// A place.
    Place,
}

impl Site {
    /// Whether who waits here waits for the peer, which is being connected to, has yet to say how many streams it takes or takes none for
    /// now; and not for a place among connections that are all in use.
    pub(crate) fn waits_for_peer(&self) -> bool {
        let state = self.lock();
        state.places() > 0 || state.is_paused()
    }

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
            queue: Queue::default(),
            speaks,
            streams: http2.max_streams.max(1),
            early_close: None,
            probes: Probes::default(),
            shut: false,
        };
        Arc::new(Self { state: Mutex::new(state), config, http2: http2.clone(), counters })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.counters.locks.lock(&self.state)
    }

    /// What can be had without waiting: nothing, where others wait. Who has not come before has from here.
    pub(crate) fn look(self: &Arc<Self>, wants: Wants, turn: &mut Turn, now: Instant) -> Option<Checkout> {
        let mut later = Later::default();
        let found = {
            let mut state = self.lock();
            state.queue.come(turn);
            if !state.queue.is_empty() {
                return None;
            }
            state.prune(now);
            self.find(&mut state, wants, 0, now, &mut later)
        };
        later.now(self);
        found.ok()
    }

    /// A connection, or the permission to make one. Waits, without a limit of its own, before all who came later.
    ///
    /// `left` is the place of a connection that turned out dead. It is given back under the lock under which its holder waits again:
    /// else it would go to who came later and waits already.
    ///
    /// # Cancel safety
    /// Dropping it gives the place in the queue up and loses nothing.
    pub(crate) async fn checkout(
        self: &Arc<Self>,
        wants: Wants,
        turn: Turn,
        mut left: Option<Permit>,
    ) -> Checkout {
        loop {
            let mut place = {
                let mut state = self.lock();
                if let Some(left) = &mut left {
                    left.give_back(&mut state);
                }
                let (place, has_more) = state.queue.join(self, wants, turn);
                // Something may be idle that those who wait cannot use.
                let has_idle = !wants.fresh && !state.idle.is_empty();
                // Asked in turn with those who wait, and not by itself: something may be there that they have not been told of.
                if has_more || has_idle || left.is_some() {
                    self.serve(state, None);
                }
                place
            };
            left = None;
            if let Some(checkout) = place.served().await {
                return checkout;
            }
        }
    }

    /// After a change: those who wait get what there is now, in turn.
    ///
    /// Who counted on a connection that could not be made counts on the others that are being made, or has one made, as if that
    /// attempt had not been: that was another's. But it has had an attempt of its own in one that was begun while it waited, since its
    /// last try if it had one. So what happens to one connection alone fails one request alone, and all who wait at a host that is gone
    /// know after two attempts.
    fn serve(self: &Arc<Self>, mut state: MutexGuard<'_, State>, failure: Option<&Failure>) {
        let mut later = Later::default();
        if !state.queue.is_empty() {
            let (now, mut ahead) = (Instant::now(), 0);
            state.prune(now);
            if let Some(failure) = failure.filter(|_| state.http2.is_empty()) {
                let places = state.places();
                state.queue.fail(places, failure, &mut later);
            }
            while let Some(wants) = state.queue.wants(ahead) {
                match self.find(&mut state, wants, ahead, now, &mut later) {
                    Ok(checkout) => state.queue.hand_over(ahead, checkout, &mut later),
                    // Where nothing is idle, of which not everybody can use everything, it is the same for all of them.
                    Err(Wait::Making { places }) if state.idle.is_empty() => {
                        ahead = state.queue.all_count(places);
                    }
                    Err(Wait::Making { places }) => ahead = state.queue.counts(ahead, places),
                    Err(Wait::Place) => {
                        state.queue.counts_not(ahead);
                        self.serve_idle(&mut state, ahead + 1, now, &mut later);
                        break;
                    }
                }
            }
        }
        state.probes.is_due = false;
        drop(state);
        later.now(self);
    }

    /// There is no place for those from there on; but what is idle, and of no use to who is before them, they get.
    fn serve_idle(&self, state: &mut State, mut from: usize, now: Instant, later: &mut Later) {
        let mut only_replayable = false;
        while !state.idle.is_empty()
            && let Some((ahead, wants)) = state.queue.next_for_idle(from, only_replayable)
        {
            match self.find_idle(state, wants, now, later) {
                Some(checkout) => {
                    state.queue.hand_over(ahead, checkout, later);
                    from = ahead;
                }
                // Too old for it, and so for all who are like it.
                None => {
                    only_replayable = true;
                    from = ahead + 1;
                }
            }
        }
    }

    /// Changes the state by that, and serves who waits.
    pub(super) fn change(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        self.serve(state, None);
    }

    /// A connection is no longer being made.
    pub(super) fn not_made(self: &Arc<Self>, failure: Option<&Failure>) {
        let mut state = self.lock();
        state.connecting -= 1;
        self.serve(state, failure);
    }

    /// [`change`](Self::change) where that says that it made a difference to who waits.
    pub(super) fn change_if(self: &Arc<Self>, change: impl FnOnce(&mut State) -> bool) {
        let mut state = self.lock();
        if change(&mut state) {
            self.serve(state, None);
        }
    }

    /// What a request with these wants gets now, behind so many others who wait. After [`State::prune`], and what it has left is the
    /// same for all who are asked under one lock: a limit changes under that lock alone.
    fn find(
        self: &Arc<Self>,
        state: &mut State,
        wants: Wants,
        ahead: usize,
        now: Instant,
        later: &mut Later,
    ) -> Result<Checkout, Wait> {
        let free = state.http2.iter_mut().filter(|shared| shared.in_use < shared.connection.limit());
        if let Some(shared) = free.min_by_key(|shared| shared.in_use) {
            shared.in_use += 1;
            self.counters.reused.fetch_add(1, Relaxed);
            let connection = Arc::clone(&shared.connection);
            return Ok(Checkout::Http2(Slot::new(connection, Arc::clone(self), true)));
        }
        if !wants.fresh
            && let Some(checkout) = self.find_idle(state, wants, now, later)
        {
            return Ok(checkout);
        }
        let places = state.places();
        if ahead < places {
            return Err(Wait::Making { places });
        }
        if state.is_paused() && !std::mem::take(&mut state.probes.is_due) {
            return Err(Wait::Place);
        }
        // The dead ones are still counted: their permits are dropped after the lock.
        let open = state.open - later.dead.len().min(state.open);
        if state.connecting >= self.config.max_connecting_per_origin.max(1) {
            return Err(Wait::Place);
        }
        if open >= self.config.max_connections_per_origin.max(1) {
            // An idle one that this request cannot use makes place.
            if state.idle.is_empty() {
                return Err(Wait::Place);
            }
            later.dead.push(state.idle.remove(0));
        }
        Ok(Checkout::Connect(self.ticket(state)))
    }

    /// The idle connection that was used last, if it is alive, and young enough for these wants.
    fn find_idle(
        &self,
        state: &mut State,
        wants: Wants,
        now: Instant,
        later: &mut Later,
    ) -> Option<Checkout> {
        while let Some(connection) = state.idle.last_mut() {
            let idle = connection.idle_for(now);
            if idle < self.lifetime(connection, state.early_close, now) {
                if !(connection.is_settled() && idle < TRUSTED_FOR || connection.is_usable()) {
                    state.early_close = self.lowered(idle, state.early_close, now);
                } else if wants.replayable || idle < self.config.reuse_within {
                    self.counters.reused.fetch_add(1, Relaxed);
                    return state.idle.pop().map(Checkout::Http1);
                } else {
                    return None; // those before it have been idle for longer
                }
            }
            later.dead.extend(state.idle.pop());
        }
        None
    }

    fn ticket(self: &Arc<Self>, state: &mut State) -> Ticket {
        state.connecting += 1;
        state.open += 1;
        Ticket::new(self, state.queue.begin())
    }

    /// The permission to make a connection that nobody has asked for yet, until so many are there or coming.
    pub(crate) fn spare(self: &Arc<Self>, wanted: usize, now: Instant) -> Option<Ticket> {
        let mut later = Later::default();
        let ticket = self.find_spare(&mut self.lock(), wanted, now, &mut later);
        later.now(self);
        ticket
    }

    fn find_spare(
        self: &Arc<Self>,
        state: &mut State,
        wanted: usize,
        now: Instant,
        later: &mut Later,
    ) -> Option<Ticket> {
        state.prune(now);
        // Those that have died, or are about to, are none that are there.
        let early_close = state.early_close;
        let is_dead = |connection: &mut Box<Http1>| {
            connection.idle_for(now) >= self.lifetime(connection, early_close, now) || !connection.is_usable()
        };
        later.dead.extend(state.idle.extract_if(.., is_dead));
        let open = state.open - later.dead.len().min(state.open);
        let wanted = wanted.min(self.config.max_connections_per_origin);
        let there = state.idle.len() + state.http2.len() + state.connecting;
        // Those in use are none of those that are wanted, but they take their places all the same.
        let has_place = open < self.config.max_connections_per_origin.max(1);
        let has_room =
            there < wanted && has_place && state.connecting < self.config.max_connecting_per_origin;
        has_room.then(|| self.ticket(state))
    }

    /// Somebody has waited for a while. Where the peer pauses, one of those who wait may try another connection, now and then. What those
    /// before it left without any use goes: however long the pause, there are no more of them than have streams under way, and two.
    pub(crate) fn probe(self: &Arc<Self>, now: Instant) {
        let mut state = self.lock();
        state.prune(now);
        if state.queue.is_empty() || !state.is_paused() || !state.probes.begin(now) {
            return;
        }
        let spare = state.spare_paused();
        self.serve(state, None);
        drop(spare); // its driver is woken outside the lock
    }

    /// One of the HTTP/2 connections here learns by that, under the lock, how many streams its peer allows. Nobody who comes finds it out
    /// before those who wait are told.
    pub(crate) fn learnt(self: &Arc<Self>, learn: impl FnOnce() -> usize) {
        self.change(|state| {
            // None at all is what it takes for a while, and not what another connection will take.
            let streams = learn();
            if streams > 0 {
                state.streams = streams;
                state.probes = Probes::default();
            }
        });
    }

    /// One of the HTTP/2 connections here is gone, or going, by that, under the lock. Those who counted on it look for another one, or fail
    /// with the same error, where there is one.
    pub(crate) fn lost(self: &Arc<Self>, lose: impl FnOnce(), failure: Option<&Failure>) {
        let state = self.lock();
        lose();
        self.serve(state, failure);
    }

    /// Lets go of everything idle, now and later. What is in use ends with its use.
    pub(super) fn shut(&self) {
        let mut state = self.lock();
        state.shut = true;
        let (idle, http2) = (std::mem::take(&mut state.idle), std::mem::take(&mut state.http2));
        drop(state);
        drop((idle, http2));
    }

    pub(super) fn release(self: &Arc<Self>, connection: &Arc<Http2>, was_reset: bool) {
        self.change(|state| {
            let mut all = state.http2.iter_mut();
            if let Some(shared) = all.find(|shared| Arc::ptr_eq(&shared.connection, connection)) {
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
        });
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
