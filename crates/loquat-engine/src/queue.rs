//! The waiting line before the engine's one working thread: bounded, and swept of those whose time has run out.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use loquat_core::{Error, ErrorKind, RetryHint};

use crate::generate::Job;

/// Jobs waiting for the working thread.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    max_waiting: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Whether the working thread is at a job.
    busy: bool,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(max_waiting: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), max_waiting }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// The line is full, or the working thread is gone.
    pub(crate) fn push(&self, job: Job) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Internal, "the engine's thread has stopped"));
        }
        // With nothing at work the first does not wait.
        if state.waiting.len() >= self.max_waiting.saturating_add(usize::from(!state.busy)) {
            let what =
                format!("the engine's queue is full: {} requests are waiting already", self.max_waiting);
            let hint = RetryHint::after(std::time::Duration::from_secs(1));
            return Err(Error::new(ErrorKind::Overloaded, what)
                .with_delivery(loquat_core::Delivery::NotSent)
                .with_retry_hint(hint));
        }
        state.waiting.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// The job at work is as good as done: who asks next, because it has been told so, does not wait.
    pub(crate) fn done(&self) {
        self.lock().busy = false;
    }

    /// The next job; `None` once the queue is closed and empty.
    pub(crate) fn pop(&self) -> Option<Job> {
        let mut state = self.lock();
        state.busy = false;
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.busy = true;
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the jobs that nobody waits for any more, so that they fail in time although another is running.
    pub(crate) fn sweep(&self) {
        let mut state = self.lock();
        if state.waiting.iter().all(Job::is_wanted) {
            return;
        }
        let (stay, go): (VecDeque<Job>, Vec<Job>) = {
            let mut stay = VecDeque::new();
            let mut go = Vec::new();
            for job in state.waiting.drain(..) {
                if job.is_wanted() { stay.push_back(job) } else { go.push(job) }
            }
            (stay, go)
        };
        state.waiting = stay;
        drop(state);
        go.into_iter().for_each(Job::expire);
    }

    /// No more jobs from here; those waiting are still served.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Closes, and drops what waits: their answers end as failed.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }
}
