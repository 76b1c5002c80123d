//! The queue before an exporter's thread: a bounded list under a lock that is held for a few instructions.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use crate::{CallTrace, metric::Counter, names::Names, observer::Shared};

/// Whose metrics; gone with its last owner.
type Watched = Weak<Shared>;

pub(super) struct Queue {
    state: Mutex<State>,
    /// The thread waits here.
    wake: Condvar,
    /// Those who flush wait here.
    done: Condvar,
    max_queued: usize,
    max_batch: usize,
    pub(super) accepted: Counter,
    pub(super) exported: Counter,
    pub(super) overflown: Counter,
    pub(super) undelivered: Counter,
    pub(super) refused: Counter,
}

#[derive(Default)]
struct State {
    calls: VecDeque<Arc<CallTrace>>,
    observer: Watched,
    names: Option<&'static Names>,
    /// How many flushes were asked for, and how many are done.
    flushes: u64,
    flushed: u64,
    closed: bool,
}

/// Why the thread goes on, and with what.
pub(super) struct Woken {
    pub(super) calls: Vec<Arc<CallTrace>>,
    /// The flush that is wanted.
    pub(super) flushing: Option<u64>,
    pub(super) closed: bool,
}

impl Queue {
    pub(super) fn new(max_queued: usize, max_batch: usize) -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            done: Condvar::new(),
            max_queued,
            // More than fit would never be there.
            max_batch: max_batch.min(max_queued).max(1),
            accepted: Counter::default(),
            exported: Counter::default(),
            overflown: Counter::default(),
            undelivered: Counter::default(),
            refused: Counter::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts it in, or counts it as dropped. Wakes the thread for a full batch only: else it comes by itself.
    pub(super) fn push(&self, call: Arc<CallTrace>) {
        let mut state = self.lock();
        if state.calls.len() >= self.max_queued {
            drop(state);
            return self.overflown.increment();
        }
        state.calls.push_back(call);
        let is_batch = state.calls.len() == self.max_batch;
        drop(state);
        self.accepted.increment();
        if is_batch {
            self.wake.notify_one();
        }
    }

    /// Waits for a batch, a flush, the end, or so long; takes what is there, a batch at most.
    pub(super) fn take(&self, wait: Duration) -> Woken {
        let due = Instant::now() + wait.min(super::LONGEST_PAUSE);
        let mut state = self.lock();
        loop {
            let left = due.saturating_duration_since(Instant::now());
            let wanted = state.flushes > state.flushed || state.closed;
            if wanted || left.is_zero() || state.calls.len() >= self.max_batch {
                break;
            }
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let count = state.calls.len().min(self.max_batch);
        let calls = state.calls.drain(..count).collect();
        let flushing = (state.flushes > state.flushed).then_some(state.flushes);
        Woken { calls, flushing, closed: state.closed }
    }

    /// Waits so long, or until everybody has gone: then `true`.
    pub(super) fn pause(&self, wait: Duration) -> bool {
        let due = Instant::now() + wait;
        let mut state = self.lock();
        while !state.closed {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let due = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        state.flushes += 1;
        let own = state.flushes;
        self.wake.notify_one();
        while state.flushed < own {
            let left =
                due.map_or(Duration::from_secs(3600), |due| due.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            state = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(super) fn flushed(&self, flush: u64) {
        let mut state = self.lock();
        state.flushed = state.flushed.max(flush);
        drop(state);
        self.done.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    pub(super) fn attach(&self, observer: &Arc<Shared>) {
        let mut state = self.lock();
        state.observer = Arc::downgrade(observer);
        state.names = Some(observer.names);
    }

    /// The names of the observer that it works for, which may be gone already.
    pub(super) fn names(&self) -> &'static Names {
        self.lock().names.unwrap_or_else(|| crate::Conventions::default().names())
    }

    pub(super) fn observer(&self) -> Option<Arc<Shared>> {
        self.lock().observer.upgrade()
    }
}
