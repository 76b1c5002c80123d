//! Tasks by name: what each is at, which seem forgotten, and which holds a worker for too long.
//!
//! On stable Rust, a runtime says little about its tasks. So a future is wrapped before it is spawned
//! ([`Tasks::watch`]), and each of its polls writes down when it began: one reading of the clock and two stores a poll. A
//! [`Watchdog`] on a thread of its own looks for polls that do not come back, which the runtime itself could not report, as
//! it stands still. While there is one, a poll reads the clock at its end, too: so that one which took too long is reported even
//! where the watchdog got no processor meanwhile, though without its stack then.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed},
    },
    task::{self, Poll},
    thread,
    time::{Duration, Instant},
};

use loquat_core::{Clock, Error, ErrorKind, Result};

use crate::{metric::nanos, places::Places, stack::ThreadNumber};

/// A program's tasks, as far as they are watched. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Tasks(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    /// What the tasks' times count from.
    epoch: Instant,
    live: Places<Task>,
    /// How long a poll may take, in nanoseconds; 0 while nobody wants to know.
    threshold: AtomicU64,
    /// Polls that took longer and came back before a watchdog saw them.
    overran: Mutex<Vec<TaskState>>,
}

/// Most polls kept for a watchdog that does not come to run. Those beyond are not reported.
const MAX_OVERRAN: usize = 64;

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
    /// The poll that has been reported already.
    reported: AtomicU64,
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
    /// For how long of the poll its thread was ready to run and had no processor, as far as that is known: then it is the machine that
    /// has too much to do, and not the task. Only in a [`Watchdog`]'s reports of polls under way, with the feature `stack` on
    /// Linux, and from the time when the watchdog saw the poll first.
    pub waited: Option<Duration>,
    /// The functions that the poll is in, the innermost first. Only in a [`Watchdog`]'s reports, and only with the feature
    /// `stack` on Linux on x86-64; empty, too, where the poll came back before they could be had.
    pub stack: Vec<String>,
}

impl Tasks {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let epoch = clock.now();
        Self(Arc::new(Shared {
            clock,
            epoch,
            live: Places::default(),
            threshold: AtomicU64::new(0),
            overran: Mutex::default(),
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
            reported: AtomicU64::new(0),
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

    /// Polls that began so long ago and have not come back, and those that did come back since the last look, each once.
    fn blocked(&self, threshold: Duration, seen: &mut Seen) -> Vec<TaskState> {
        let mut blocked = std::mem::take(&mut *self.0.overran.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.0.now();
        let mut still = Seen::default();
        for task in self.0.live.all() {
            let state = task.state(now);
            if !state.is_polling {
                continue;
            }
            // Few polls are seen twice, and only theirs is worth a look at the thread.
            let poll = (Arc::as_ptr(&task) as usize, task.last.load(Relaxed));
            let thread = ThreadNumber::from_word(task.thread.load(Relaxed));
            let delay = || thread.and_then(ThreadNumber::run_delay);
            let since = match seen.0.get(&poll) {
                Some(since) => *since,
                None => delay(),
            };
            still.0.insert(poll, since);
            if state.idle > threshold && task.is_news(state.polls) {
                let waited = delay().zip(since).map(|(now, then)| now.saturating_sub(then).min(state.idle));
                blocked.push(TaskState { waited, stack: task.stack(&state), ..state });
            }
        }
        *seen = still;
        blocked
    }
}

/// Polls that were under way at the last look: the task and when the poll began, and how long its thread had waited for a processor in
/// its life. As many as there are threads that poll.
#[derive(Default)]
struct Seen(HashMap<(usize, u64), Option<Duration>>);

impl Shared {
    fn now(&self) -> u64 {
        nanos(self.clock.now().saturating_duration_since(self.epoch))
    }

    /// A poll comes back that took too long: the watchdog may have been without a processor itself.
    #[cold]
    fn overran(&self, task: &Task) {
        let state = TaskState { is_polling: false, ..task.state(self.now()) };
        if task.is_news(state.polls) {
            let mut overran = self.overran.lock().unwrap_or_else(PoisonError::into_inner);
            if overran.len() < MAX_OVERRAN {
                overran.push(state);
            }
        }
    }
}

impl Task {
    fn state(&self, now: u64) -> TaskState {
        let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
        // In this order: a poll that begins in between is seen as one that has just begun.
        let is_polling = self.polling.load(Relaxed);
        TaskState {
            name: self.name.clone(),
            location: format!("{}:{}", self.location.file(), self.location.line()),
            age: since(self.spawned),
            polls: self.polls.load(Relaxed),
            idle: since(self.last.load(Relaxed)),
            is_polling,
            waited: None,
            stack: Vec::new(),
        }
    }

    /// Whether nobody has been told of that poll. Then somebody is now.
    fn is_news(&self, poll: u64) -> bool {
        self.reported.swap(poll, Relaxed) != poll
    }

    /// Where its poll stands; nothing if it is another by now, or none: the thread would be at somebody else's.
    fn stack(&self, state: &TaskState) -> Vec<String> {
        let thread = ThreadNumber::from_word(self.thread.load(Relaxed));
        let stack = thread.map(ThreadNumber::stack).unwrap_or_default();
        let is_the_same = self.polling.load(Relaxed) && self.polls.load(Relaxed) == state.polls;
        if is_the_same { stack } else { Vec::new() }
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
        task.last.store(shared.now(), Relaxed);
        task.thread.store(ThreadNumber::current().map_or(0, ThreadNumber::word), Relaxed);
        task.polls.fetch_add(1, Relaxed);
        task.polling.store(true, Relaxed);
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
        task.polling.store(false, Relaxed);
    }
}

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("name", &self.entry.task.name).finish_non_exhaustive()
    }
}

/// How a [`Watchdog`] is set.
///
/// | field | default | reason |
/// |---|---|---|
/// | `threshold` | 50 ms | a worker that is held so long delays every stream it carries by a visible pause |
/// | `every` | 10 ms | a report comes a fifth of the threshold late at most |
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct WatchdogConfig {
    /// How long a poll may take.
    pub threshold: Duration,
    /// How often it looks.
    pub every: Duration,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self { threshold: Duration::from_millis(50), every: Duration::from_millis(10) }
    }
}

/// Looks for polls that hold a worker, on a thread of its own, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping a watchdog ends it"]
pub struct Watchdog {
    ended: Arc<AtomicBool>,
}

impl Watchdog {
    /// Tells `report` of each poll that takes longer than it may, once: while it still does, or else right after. What counts is
    /// the time on the clock, which is what other tasks of the worker wait for; [`TaskState::waited`] says how much of it is the
    /// machine's doing. With several, the last one's threshold holds for polls that have come back.
    ///
    /// # Errors
    /// [`ErrorKind::Local`] where there is no thread to be had.
    pub fn start(
        tasks: &Tasks,
        config: WatchdogConfig,
        mut report: impl FnMut(&TaskState) + Send + 'static,
    ) -> Result<Self> {
        let (tasks, ended) = (tasks.clone(), Arc::new(AtomicBool::new(false)));
        let watched = ended.clone();
        tasks.0.threshold.store(nanos(config.threshold).max(1), Relaxed);
        let looking = move || {
            let mut seen = Seen::default();
            while !watched.load(Relaxed) {
                thread::sleep(config.every);
                tasks.blocked(config.threshold, &mut seen).iter().for_each(&mut report);
            }
            tasks.0.threshold.store(0, Relaxed);
        };
        let spawned = thread::Builder::new().name("loquat-watchdog".into()).spawn(looking);
        spawned
            .map_err(|error| Error::new(ErrorKind::Local, "cannot start a watchdog").with_source(error))?;
        Ok(Self { ended })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::mpsc, task::Waker};

    use loquat_core::test_util::ManualClock;

    use super::*;

    fn tasks() -> (Tasks, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        (Tasks::new(clock.clone()), clock)
    }

    /// A poll that takes so many milliseconds, during which the watchdog looks every ten, as its thread would.
    fn poll_of(tasks: &Tasks, clock: &ManualClock, millis: u64, offset: u64) -> Vec<TaskState> {
        let mut reports = Vec::new();
        let threshold = WatchdogConfig::default().threshold;
        let mut seen = Seen::default();
        let body = poll_fn(|_| {
            for millisecond in 0..millis {
                clock.advance(Duration::from_millis(1));
                if (millisecond + offset).is_multiple_of(10) {
                    reports.extend(tasks.blocked(threshold, &mut seen));
                }
            }
            Poll::Ready(())
        });
        let mut task = Box::pin(tasks.watch(format!("takes {millis}"), body));
        assert!(task.as_mut().poll(&mut task::Context::from_waker(Waker::noop())).is_ready());
        drop(task);
        reports
    }

    #[test]
    fn names_who_blocks_for_80_ms_and_is_silent_at_20() {
        let (tasks, clock) = tasks();
        let others: Vec<_> = (0..50)
            .map(|index| tasks.watch(format!("other {index}"), poll_fn(|_| Poll::Pending::<()>)))
            .collect();
        let mut state = 7_u64;
        for run in 0..1000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (millis, offset) = (if state >> 63 == 0 { 20 } else { 80 }, state >> 33 & 15);
            let reports = poll_of(&tasks, &clock, millis, offset);
            let names: Vec<&str> = reports.iter().map(|report| &*report.name).collect();
            let expected: &[&str] = if millis == 80 { &["takes 80"] } else { &[] };
            assert_eq!(names, expected, "run {run}");
        }
        drop(others);
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
        assert!(state.location.contains("tasks.rs:") && state.polls == 1, "{state:?}");
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
        assert!(tasks.blocked(Duration::ZERO, &mut Seen::default()).is_empty());
    }

    #[test]
    fn a_real_thread_reports_a_poll_that_is_still_at_it() {
        let tasks = Tasks::new(Arc::new(loquat_core::SystemClock));
        let (sender, receiver) = mpsc::channel();
        let report = move |state: &TaskState| drop(sender.send(state.clone()));
        let watchdog = Watchdog::start(&tasks, WatchdogConfig::default(), report).expect("a thread");
        // It holds its worker until it has been reported, however busy the machine is.
        let body = poll_fn(|_| Poll::Ready(receiver.recv_timeout(Duration::from_secs(60))));
        let mut task = Box::pin(tasks.watch("holds on", body));
        let Poll::Ready(reported) = task.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) else {
            panic!("it ends in one poll")
        };
        let state = reported.expect("a report");
        #[cfg(all(feature = "stack", target_os = "linux", target_arch = "x86_64"))]
        assert!(
            state
                .stack
                .iter()
                .any(|frame| frame.contains("a_real_thread_reports_a_poll_that_is_still_at_it")),
            "{:#?}",
            state.stack
        );
        assert!(&*state.name == "holds on" && state.is_polling && state.idle >= Duration::from_millis(50));
        drop(watchdog);
    }
}
