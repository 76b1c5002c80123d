//! Tasks by name: what each is at, which seem forgotten, and which holds a worker for too long.
//!
//! On stable Rust, a runtime says little about its tasks. So a future is wrapped before it is spawned
//! ([`Tasks::watch`]), and each of its polls writes down when it began: one reading of the clock and some stores a poll. A
//! [`Watchdog`] on a thread of its own looks for polls that do not come back, which the runtime itself could not report, as
//! it stands still. While there is one, a poll reads the clock at its end, too: so that one which took too long is reported even
//! where the watchdog got no processor meanwhile, though without its stack then.

mod account;
mod watchdog;

use std::{
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicI32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{self, Poll},
    time::{Duration, Instant},
};

use loquat_core::Clock;

use crate::{metric::nanos, places::Places, stack::ThreadNumber};
pub(crate) use account::Account;
use account::{Accounts, Kernel};
use watchdog::Looking;
pub use watchdog::{Watchdog, WatchdogConfig};

/// A program's tasks, as far as they are watched. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Tasks(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    accounts: Box<dyn Accounts>,
    /// What the tasks' times count from.
    epoch: Instant,
    live: Places<Task>,
    /// How long a poll may take before some watchdog wants to know, in nanoseconds: the smallest of theirs; 0 while there is none.
    threshold: AtomicU64,
    looking: Mutex<Vec<Arc<Looking>>>,
}

/// No account.
const UNKNOWN: u64 = u64::MAX;

struct Task {
    name: Arc<str>,
    location: &'static Location<'static>,
    spawned: u64,
    polls: AtomicU64,
    /// When the last poll began; nanoseconds from the epoch.
    last: AtomicU64,
    polling: AtomicBool,
    /// Of the thread that polls; 0 where that is unknown.
    thread: AtomicI32,
    /// What that thread had got in its life when the poll began, in nanoseconds: how long it ran, and how long it waited for a
    /// processor. [`UNKNOWN`] where nobody asked.
    ran: AtomicU64,
    waited: AtomicU64,
}

/// What a task is at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskState {
    /// As it was named.
    pub name: Arc<str>,
    /// Where it was wrapped: file and line.
    pub location: String,
    /// Since when it lives.
    pub age: Duration,
    /// How often it was polled.
    pub polls: u64,
    /// Since its last poll began.
    pub idle: Duration,
    /// Whether it is being polled right now.
    pub is_polling: bool,
    /// For how long of the poll its thread was ready to run and had no processor, as far as that is known: the machine's doing, and not
    /// the task's. Only in a [`Watchdog`]'s reports, and only with the feature `stack` on Linux on x86-64.
    pub waited: Option<Duration>,
    /// The functions that the poll is in, the innermost first. Only in a [`Watchdog`]'s reports, and only with the feature
    /// `stack` on Linux on x86-64; empty, too, where the poll came back before they could be had.
    pub stack: Vec<String>,
}

impl Tasks {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_accounts(clock, Box::new(Kernel))
    }

    fn with_accounts(clock: Arc<dyn Clock>, accounts: Box<dyn Accounts>) -> Self {
        let epoch = clock.now();
        Self(Arc::new(Shared {
            clock,
            accounts,
            epoch,
            live: Places::default(),
            threshold: AtomicU64::new(0),
            looking: Mutex::default(),
        }))
    }

    /// The same future, watched from its first poll until it ends or is dropped. One allocation.
    #[track_caller]
    pub fn watch<F: Future>(&self, name: impl Into<Arc<str>>, future: F) -> Watched<F> {
        let now = self.0.now();
        let task = Arc::new(Task {
            name: name.into(),
            location: Location::caller(),
            spawned: now,
            polls: AtomicU64::new(0),
            last: AtomicU64::new(now),
            polling: AtomicBool::new(false),
            thread: AtomicI32::new(0),
            ran: AtomicU64::new(UNKNOWN),
            waited: AtomicU64::new(UNKNOWN),
        });
        let place = self.0.live.enter(task.clone());
        Watched { future: Box::pin(future), entry: Entry { shared: self.0.clone(), task, place } }
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<TaskState> {
        let now = self.0.now();
        let mut states: Vec<TaskState> = self.0.live.all().iter().map(|task| task.state(now)).collect();
        states.sort_by_key(|state| std::cmp::Reverse(state.age));
        states
    }

    /// Those that nobody has polled for so long: forgotten, perhaps, like a receiver whose sender is gone into a list.
    pub fn leak_suspects(&self, idle: Duration) -> Vec<TaskState> {
        let mut states = self.list();
        states.retain(|state| !state.is_polling && state.idle >= idle);
        states
    }
}

impl Shared {
    fn now(&self) -> u64 {
        nanos(self.clock.now().saturating_duration_since(self.epoch))
    }

    /// A poll comes back that took too long by the clock: a watchdog may have been without a processor itself.
    #[cold]
    fn overran(&self, task: &Task) {
        let now = || self.now();
        let (now, own) = match account::exact(&*self.accounts, &now) {
            Some(look) => (look.at, Some(look.account)),
            None => (now(), None),
        };
        let mut state = TaskState { is_polling: false, ..task.state(now) };
        state.waited = task.before().zip(own).map(|(before, own)| own.since(before).waited.min(state.idle));
        let own = state.idle.saturating_sub(state.waited.unwrap_or_default());
        for looking in &*self.looking() {
            looking.overran(task.poll(), own, &state);
        }
    }

    fn looking(&self) -> MutexGuard<'_, Vec<Arc<Looking>>> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    fn state(&self, now: u64) -> TaskState {
        let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
        // In this order: a poll that begins in between is seen as one that has just begun.
        let is_polling = self.polling.load(Acquire);
        TaskState {
            name: self.name.clone(),
            location: format!("{}:{}", self.location.file(), self.location.line()),
            age: since(self.spawned),
            polls: self.polls.load(Acquire),
            idle: since(self.last.load(Relaxed)),
            is_polling,
            waited: None,
            stack: Vec::new(),
        }
    }

    /// Which poll it is at, or was at last. Another task may come to lie where one lay that has ended; it does not begin at the same
    /// moment.
    fn poll(&self) -> (usize, u64) {
        (std::ptr::from_ref(self).addr(), self.last.load(Relaxed))
    }

    /// For how long it has been polled; `None` where nobody polls it.
    fn polls_since(&self, now: u64) -> Option<Duration> {
        let is_polling = self.polling.load(Acquire);
        is_polling.then(|| Duration::from_nanos(now.saturating_sub(self.last.load(Relaxed))))
    }

    /// Whether that poll is still at it: otherwise what was read of it since may be another's.
    fn is_at(&self, poll: u64) -> bool {
        self.polling.load(Acquire) && self.polls.load(Acquire) == poll
    }

    /// Who polls.
    fn thread(&self) -> Option<ThreadNumber> {
        ThreadNumber::from_word(self.thread.load(Acquire))
    }

    /// What its thread had got when the poll began.
    fn before(&self) -> Option<Account> {
        let (ran, waited) = (self.ran.load(Acquire), self.waited.load(Acquire));
        let is_known = ran != UNKNOWN && waited != UNKNOWN;
        is_known.then(|| Account { ran: Duration::from_nanos(ran), waited: Duration::from_nanos(waited) })
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("live", &self.0.live.all().len()).finish()
    }
}

/// A future that is watched; see [`Tasks::watch`].
#[must_use = "futures do nothing unless polled"]
pub struct Watched<F> {
    future: Pin<Box<F>>,
    entry: Entry,
}

/// A task's place in the list, for as long as it lives.
struct Entry {
    shared: Arc<Shared>,
    task: Arc<Task>,
    place: usize,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.live.leave(self.place);
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let Self { future, entry } = &mut *self;
        let polling = Polling::begin(&entry.task, &entry.shared);
        let polled = future.as_mut().poll(cx);
        drop(polling);
        polled
    }
}

/// A poll under way; over, too, when it panics.
struct Polling<'a>(&'a Task, &'a Shared);

impl<'a> Polling<'a> {
    fn begin(task: &'a Task, shared: &'a Shared) -> Self {
        let (now, before) = if shared.threshold.load(Relaxed) == 0 {
            (shared.now(), None)
        } else {
            account::before(&*shared.accounts, &|| shared.now(), std::ptr::from_ref(shared).addr())
        };
        let (ran, waited) =
            before.map_or((UNKNOWN, UNKNOWN), |before| (nanos(before.ran), nanos(before.waited)));
        task.last.store(now, Relaxed);
        task.thread.store(ThreadNumber::current().map_or(0, ThreadNumber::word), Relaxed);
        task.ran.store(ran, Relaxed);
        task.waited.store(waited, Relaxed);
        // Whoever sees this poll's number or that it is under way sees the rest of it, too.
        task.polls.fetch_add(1, Release);
        task.polling.store(true, Release);
        Self(task, shared)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let Self(task, shared) = *self;
        let threshold = shared.threshold.load(Relaxed);
        if threshold > 0 && shared.now().saturating_sub(task.last.load(Relaxed)) > threshold {
            shared.overran(task);
        }
        task.polling.store(false, Release);
    }
}

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("name", &self.entry.task.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use loquat_core::test_util::ManualClock;

    use super::*;

    fn tasks() -> (Tasks, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        (Tasks::new(clock.clone()), clock)
    }

    #[test]
    fn a_forgotten_task_is_listed_and_one_that_ended_is_not() {
        let (tasks, clock) = tasks();
        let mut forgotten = Box::pin(tasks.watch("forgotten", poll_fn(|_| Poll::Pending::<()>)));
        let mut busy = Box::pin(tasks.watch("busy", poll_fn(|_| Poll::Pending::<()>)));
        let mut cx = task::Context::from_waker(Waker::noop());
        assert!(forgotten.as_mut().poll(&mut cx).is_pending());
        drop(tasks.watch("ended", async {}));
        clock.advance(Duration::from_secs(600));
        assert!(busy.as_mut().poll(&mut cx).is_pending());
        let names =
            |states: Vec<TaskState>| states.iter().map(|state| state.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(tasks.leak_suspects(Duration::from_secs(300))), ["forgotten"]);
        let [state, _] = tasks.list().try_into().expect("two");
        assert!(state.location.contains("tasks/mod.rs:") && state.polls == 1, "{state:?}");
        drop((forgotten, busy));
        assert!(tasks.list().is_empty());
    }

    #[test]
    fn a_poll_that_panics_is_over() {
        let (tasks, clock) = tasks();
        let mut task = Box::pin(tasks.watch("panics", poll_fn(|_| -> Poll<()> { panic!("on purpose") })));
        let mut cx = task::Context::from_waker(Waker::noop());
        let poll = std::panic::AssertUnwindSafe(|| task.as_mut().poll(&mut cx));
        assert!(std::panic::catch_unwind(poll).is_err());
        clock.advance(Duration::from_secs(1));
        let [state] = tasks.list().try_into().expect("one");
        assert!(!state.is_polling && state.polls == 1, "{state:?}");
    }
}
