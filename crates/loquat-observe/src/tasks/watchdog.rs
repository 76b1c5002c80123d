//! [`Watchdog`]: who holds a worker for too long, told by a thread of the system that no task can hold.
//!
//! What counts is what the task does: the time in which it runs or sleeps. While its thread is ready and has no processor, it is the
//! machine that has too much to do; that time is taken off where it is known ([`super::account`]). From outside, a thread
//! that is ready is not to be told from one that runs; so of such a one only that counts which is certain: the processor time it has
//! used, and how long it was seen asleep. The rest is known when the poll comes back, and told then.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, Thread},
    time::Duration,
};

use loquat_core::{Error, ErrorKind, Result};

use super::{Shared, Task, TaskState, Tasks};
use crate::metric::nanos;

/// How often it looks at most: each look goes through all tasks.
const MIN_EVERY: Duration = Duration::from_millis(1);
/// Most polls that came back kept for a watchdog that does not come to run. Those beyond are not reported.
const MAX_OVERRAN: usize = 256;

/// How a [`Watchdog`] is set.
///
/// | field | default | reason |
/// |---|---|---|
/// | `threshold` | 50 ms | a worker that is held so long delays every stream it carries by a visible pause |
/// | `every` | 10 ms, at least 1 | a thread that sleeps or runs all the while is told at the next look, the rest when the poll comes back |
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
    thread: Thread,
}

impl Watchdog {
    /// Tells `report` of each poll that takes longer than it may, once: while it still does, or else right after. The time in which
    /// its thread was ready to run and had no processor does not count, to within 5 ms, where it is known: with the feature `stack` on
    /// Linux on x86-64. Elsewhere the time on the clock counts. Several look each for itself, by its own threshold; one that is
    /// dropped, or whose `report` panics, ends, and the others go on. Of polls that come back while `report` is at work, 256 are kept.
    ///
    /// Each thread that polls keeps a file open then, and reads it at most every 5 ms.
    ///
    /// # Errors
    /// [`ErrorKind::Local`] where there is no thread to be had.
    pub fn start(
        tasks: &Tasks,
        config: WatchdogConfig,
        mut report: impl FnMut(&TaskState) + Send + 'static,
    ) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let (mut place, watched) = (Place::take(tasks, config), ended.clone());
        let looks = move || {
            loop {
                thread::park_timeout(config.every.max(MIN_EVERY));
                if watched.load(Relaxed) {
                    return;
                }
                place.look().iter().for_each(&mut report);
            }
        };
        let spawned = thread::Builder::new().name("loquat-watchdog".into()).spawn(looks);
        let spawned = spawned
            .map_err(|error| Error::new(ErrorKind::Local, "cannot start a watchdog").with_source(error))?;
        Ok(Self { ended, thread: spawned.thread().clone() })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        self.thread.unpark();
    }
}

/// What the polls of the tasks know of a watchdog.
#[derive(Debug)]
pub(super) struct Looking {
    threshold: Duration,
    /// How old a poll must be before its thread's account is asked for, which is two files read: the gap between two looks. Most that a
    /// look finds have just begun, and are over by the next. What an older one has slept is found then, too, while it sleeps; one that
    /// stops before is told when it comes back, at the latest.
    young: Duration,
    /// Polls that took longer and came back since its last look.
    overran: Mutex<Vec<(Poll, TaskState)>>,
}

/// A task, and when its poll began.
type Poll = (usize, u64);

impl Looking {
    /// That poll took so long, and comes back.
    pub(super) fn overran(&self, poll: Poll, own: Duration, state: &TaskState) {
        if own <= self.threshold {
            return;
        }
        let mut overran = self.overran.lock().unwrap_or_else(PoisonError::into_inner);
        if overran.len() < MAX_OVERRAN {
            overran.push((poll, state.clone()));
        }
    }
}

/// A watchdog's place among those who look; it is given back when its thread ends, however that comes about.
#[derive(Debug)]
struct Place {
    tasks: Tasks,
    looking: Arc<Looking>,
    seen: HashMap<Poll, Seen>,
}

/// A poll that was under way at the last look, of which there are as many as there are threads that poll.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// How long it has been asleep as far as that was seen.
    asleep: Duration,
    is_told: bool,
}

impl Place {
    fn take(tasks: &Tasks, config: WatchdogConfig) -> Self {
        let young = config.every.max(MIN_EVERY).min(config.threshold);
        let looking = Arc::new(Looking { threshold: config.threshold, young, overran: Mutex::default() });
        tasks.0.change(|all| all.push(looking.clone()));
        Self { tasks: tasks.clone(), looking, seen: HashMap::new() }
    }

    /// Polls that have taken so long and have not come back, and those that did come back since the last look, each once.
    fn look(&mut self) -> Vec<TaskState> {
        let (mut blocked, mut still) = (Vec::new(), HashMap::<Poll, Seen>::new());
        let shared = &self.tasks.0;
        for task in shared.live.all() {
            // The clock first: an account that is read later has no less in it.
            let now = shared.now();
            if task.polls_since(now).is_none_or(|since| since < self.looking.young) {
                continue;
            }
            let mut state = task.state(now);
            if !state.is_polling {
                continue;
            }
            let poll = task.poll();
            let mut seen = self.seen.get(&poll).copied().unwrap_or_default();
            let own = shared.own_time(&task, &mut state, &mut seen.asleep);
            if !task.is_at(state.polls) {
                // What was read may be another poll's. One that has ended is among those that came back.
                continue;
            }
            if own > self.looking.threshold && !seen.is_told {
                seen.is_told = true;
                let stack = task.thread().map(crate::stack::ThreadNumber::stack).unwrap_or_default();
                // It may be another poll by now, or none: then the thread was at somebody else's.
                state.stack = if task.is_at(state.polls) { stack } else { Vec::new() };
                blocked.push(state);
            }
            still.insert(poll, seen);
        }
        // Last: a poll that is not under way any more is among them by now, and it is still known whether it has been told.
        let overran = mem::take(&mut *self.looking.overran.lock().unwrap_or_else(PoisonError::into_inner));
        for (poll, state) in overran {
            let was_told = self.seen.get(&poll).is_some_and(|seen| seen.is_told);
            if !mem::replace(&mut still.entry(poll).or_default().is_told, true) && !was_told {
                blocked.push(state);
            }
        }
        self.seen = still;
        blocked
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tasks.0.change(|all| all.retain(|one| !Arc::ptr_eq(one, &self.looking)));
    }
}

impl Shared {
    /// Changes who looks, and with it from when on a poll is somebody's business.
    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Looking>>)) {
        let mut all = self.looking();
        change(&mut all);
        let smallest = all.iter().map(|one| nanos(one.threshold).max(1)).min();
        self.threshold.store(smallest.unwrap_or(0), Relaxed);
    }

    /// How long of its poll the task has run or slept, as far as that is certain.
    fn own_time(&self, task: &Task, state: &mut TaskState, asleep: &mut Duration) -> Duration {
        let look = task.thread().and_then(|thread| self.accounts.of(thread));
        let Some(((account, is_asleep), before)) = look.zip(task.before()) else { return state.idle };
        let got = account.since(before);
        let waited = got.waited.min(state.idle);
        state.waited = Some(waited);
        let own = state.idle.saturating_sub(waited);
        if is_asleep {
            *asleep = own.saturating_sub(got.ran);
            return own;
        }
        asleep.saturating_add(got.ran).min(state.idle)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fmt,
        future::{Future, poll_fn},
        pin::{Pin, pin},
        sync::{atomic::AtomicUsize, mpsc},
        task::{self, Poll, Waker},
        time::Instant,
    };

    use loquat_core::{Clock, test_util::ManualClock};

    use super::*;
    use crate::{
        stack::ThreadNumber,
        tasks::{Account, Accounts, Watched},
    };

    /// What a test's thread has got, by the test's own word; nobody knows where it says nothing.
    #[derive(Debug, Clone, Default)]
    struct Told(Arc<Mutex<Option<(Account, bool)>>>, Arc<AtomicUsize>);

    impl Accounts for Told {
        fn own(&self) -> Option<Account> {
            self.0.lock().expect("not poisoned").map(|(account, _)| account)
        }

        fn of(&self, _: ThreadNumber) -> Option<(Account, bool)> {
            self.1.fetch_add(1, Relaxed);
            *self.0.lock().expect("not poisoned")
        }
    }

    fn tasks() -> (Tasks, Arc<ManualClock>, Told) {
        let (clock, told) = (Arc::new(ManualClock::new()), Told::default());
        (Tasks::with_accounts(clock.clone(), Box::new(told.clone())), clock, told)
    }

    fn poll(task: Pin<&mut Watched<impl Future>>) {
        assert!(task.poll(&mut task::Context::from_waker(Waker::noop())).is_ready());
    }

    /// A poll that takes so many milliseconds, after which these watchdogs look, and in it wherever `looks` says. Whom each names.
    fn poll_of(
        tasks: &Tasks,
        clock: &ManualClock,
        millis: u64,
        looks: impl Fn(u64) -> bool,
        places: &mut [Place],
    ) -> Vec<Vec<String>> {
        let mut named = vec![Vec::new(); places.len()];
        let mut look = || {
            for (place, named) in places.iter_mut().zip(&mut named) {
                named.extend(place.look().into_iter().map(|state| state.name.to_string()));
            }
        };
        let body = poll_fn(|_| {
            for millisecond in 0..millis {
                clock.advance(Duration::from_millis(1));
                if looks(millisecond) {
                    look();
                }
            }
            Poll::Ready(())
        });
        poll(pin!(tasks.watch(format!("takes {millis}"), body)));
        look();
        named
    }

    fn of(millis: u64) -> WatchdogConfig {
        WatchdogConfig { threshold: Duration::from_millis(millis), ..WatchdogConfig::default() }
    }

    #[test]
    fn each_of_several_looks_for_itself_and_goes_on_when_another_ends() {
        let (tasks, clock, _) = tasks();
        let named = |millis, sees, places: &mut [Place]| {
            let of_each = poll_of(&tasks, &clock, millis, |at| sees && at % 10 == 0, places);
            of_each.iter().map(Vec::len).collect::<Vec<_>>()
        };
        let mut places =
            vec![Place::take(&tasks, of(50)), Place::take(&tasks, of(20)), Place::take(&tasks, of(200))];
        for sees in [true, false] {
            for (millis, expected) in [(10, [0, 0, 0]), (30, [0, 1, 0]), (80, [1, 1, 0]), (300, [1, 1, 1])] {
                assert_eq!(named(millis, sees, &mut places), expected, "{millis} ms, seen meanwhile: {sees}");
            }
        }
        drop(places.remove(1));
        for (millis, expected) in [(30, [0, 0]), (80, [1, 0]), (300, [1, 1])] {
            assert_eq!(
                named(millis, false, &mut places),
                expected,
                "{millis} ms, and the first to want to know has gone"
            );
        }
        drop(places.remove(0));
        assert_eq!((named(80, false, &mut places), named(300, false, &mut places)), (vec![0], vec![1]));
        drop(places);
        assert_eq!(tasks.0.threshold.load(Relaxed), 0, "no poll pays for nobody");
        let mut places = [Place::take(&tasks, of(0))];
        assert_eq!(named(1, false, &mut places), [1], "a threshold of nothing is one");
    }

    #[test]
    fn who_has_just_begun_is_not_asked_after() {
        let (tasks, clock, told) = tasks();
        let mut places = [Place::take(&tasks, WatchdogConfig::default())];
        for (millis, asked) in [(1, 0), (9, 0), (10, 1), (80, 71)] {
            poll_of(&tasks, &clock, millis, |_| true, &mut places);
            assert_eq!(told.1.swap(0, Relaxed), asked, "{millis} ms, looked at at each of them");
        }
        // A threshold below the gap between two looks: what is beyond it is told at the first.
        let mut places = [Place::take(&tasks, of(3))];
        assert_eq!(poll_of(&tasks, &clock, 5, |at| at == 3, &mut places), [["takes 5"]]);
    }

    /// Waits until that is so.
    fn until(is_so: impl Fn() -> bool) {
        let due = Instant::now() + Duration::from_secs(120);
        while !is_so() {
            assert!(Instant::now() < due, "it does not come to be");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn one_that_ends_leaves_the_next_alone() {
        let (tasks, clock, _) = tasks();
        let first = Watchdog::start(&tasks, of(50), |_| ()).expect("a thread");
        drop(first);
        let (sender, told) = mpsc::channel();
        let report = move |state: &TaskState| drop(sender.send(state.name.to_string()));
        let second = Watchdog::start(&tasks, of(50), report).expect("a thread");
        until(|| tasks.0.looking().len() == 1);
        poll_of(&tasks, &clock, 80, |_| false, &mut []);
        assert_eq!(told.recv_timeout(Duration::from_secs(120)), Ok("takes 80".into()));
        drop(second);
        until(|| tasks.0.looking().is_empty());
        assert_eq!(told.recv(), Err(mpsc::RecvError), "its thread has ended");
    }

    /// A clock whose next reading has something happen first.
    #[derive(Default)]
    struct Happens(ManualClock, Mutex<Option<Box<dyn FnOnce() + Send>>>);

    impl Clock for Happens {
        fn now(&self) -> Instant {
            let happens = self.1.lock().expect("not poisoned").take();
            happens.into_iter().for_each(|happens| happens());
            self.0.now()
        }
    }

    impl fmt::Debug for Happens {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Happens")
        }
    }

    #[test]
    fn a_poll_that_was_told_and_comes_back_during_a_look_is_not_told_again() {
        let clock = Arc::new(Happens::default());
        let tasks = Tasks::with_accounts(clock.clone(), Box::new(Told::default()));
        let mut place = Place::take(&tasks, of(50));
        let (go, begun, watched) = (mpsc::channel(), mpsc::channel(), tasks.clone());
        let polling = thread::spawn(move || {
            let body = poll_fn(|_| {
                begun.0.send(()).expect("somebody listens");
                go.1.recv().expect("it goes on");
                Poll::Ready(())
            });
            poll(pin!(watched.watch("comes back", body)));
        });
        begun.1.recv().expect("it has begun");
        clock.0.advance(Duration::from_millis(80));
        assert_eq!(place.look().len(), 1, "while it is at it");
        *clock.1.lock().expect("not poisoned") = Some(Box::new(move || {
            go.0.send(()).expect("it waits");
            polling.join().expect("no panic");
        }));
        assert_eq!((place.look(), place.look()), (Vec::new(), Vec::new()));
        assert!(clock.1.lock().expect("not poisoned").is_none(), "it has come back");
    }

    #[test]
    fn one_whose_report_panics_ends_and_the_others_go_on() {
        let (tasks, clock, _) = tasks();
        let (sender, told) = mpsc::channel();
        let report = move |state: &TaskState| drop(sender.send(state.name.to_string()));
        let other = Watchdog::start(&tasks, of(50), report).expect("a thread");
        let panics = Watchdog::start(&tasks, of(20), |_| panic!("on purpose")).expect("a thread");
        poll_of(&tasks, &clock, 30, |_| false, &mut []);
        until(|| tasks.0.looking().len() == 1);
        poll_of(&tasks, &clock, 80, |_| false, &mut []);
        assert_eq!(told.recv_timeout(Duration::from_secs(120)), Ok("takes 80".into()));
        drop((panics, other));
        until(|| tasks.0.threshold.load(Relaxed) == 0);
    }

    #[test]
    fn names_who_blocks_for_80_ms_and_is_silent_at_20() {
        let (tasks, clock, _) = tasks();
        let others: Vec<_> = (0..50)
            .map(|index| tasks.watch(format!("other {index}"), poll_fn(|_| Poll::Pending::<()>)))
            .collect();
        let mut places = [Place::take(&tasks, WatchdogConfig::default())];
        let mut state = 7_u64;
        for run in 0..1000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (millis, offset) = (if state >> 63 == 0 { 20 } else { 80 }, state >> 33 & 15);
            let looks = |at: u64| (at + offset).is_multiple_of(10);
            let [named] = &*poll_of(&tasks, &clock, millis, looks, &mut places) else { panic!("one looks") };
            let expected: &[&str] = if millis == 80 { &["takes 80"] } else { &[] };
            assert_eq!(named, expected, "run {run}");
        }
        drop(others);
    }

    /// What a thread does in a test, each for so many milliseconds.
    #[derive(Clone, Copy)]
    enum Does {
        Runs(u64),
        Sleeps(u64),
        Waits(u64),
    }
    use Does::{Runs, Sleeps, Waits};

    /// When, in milliseconds from its beginning, a poll is reported in which its thread does that, and how long it waited by that report;
    /// `sees`: whether the watchdog looks meanwhile, every ten milliseconds, and not only when it is over.
    fn reported(does: &[Does], sees: bool) -> Option<(u64, u64)> {
        let (tasks, clock, told) = tasks();
        let mut place = Place::take(&tasks, WatchdogConfig::default());
        *told.0.lock().expect("not poisoned") = Some((Account::default(), false));
        let (mut now, mut reports) = (0, Vec::new());
        let body = poll_fn(|_| {
            let each = does.iter().flat_map(|one| {
                let (Runs(millis) | Sleeps(millis) | Waits(millis)) = *one;
                (0..millis).map(move |index| (*one, index + 1 == millis))
            });
            let mut waiting = Duration::ZERO;
            for (one, is_last) in each {
                clock.advance(Duration::from_millis(1));
                now += 1;
                {
                    let mut told = told.0.lock().expect("not poisoned");
                    let (account, is_asleep) = told.as_mut().expect("told");
                    *is_asleep = matches!(one, Sleeps(_)) && !is_last;
                    match one {
                        Runs(_) => account.ran += Duration::from_millis(1),
                        Sleeps(_) => {}
                        Waits(_) => waiting += Duration::from_millis(1),
                    }
                    // The system counts a wait when it is over.
                    if is_last {
                        account.waited += mem::take(&mut waiting);
                    }
                }
                if sees && now % 10 == 0 {
                    reports.extend(place.look().into_iter().map(|state| (now, state)));
                }
            }
            Poll::Ready(())
        });
        poll(pin!(tasks.watch("does", body)));
        reports.extend(place.look().into_iter().map(|state| (now, state)));
        assert!(reports.len() < 2, "once: {reports:?}");
        let (at, state) = reports.pop()?;
        Some((at, u64::try_from(state.waited.expect("known").as_millis()).expect("small")))
    }

    #[test]
    fn waiting_for_a_processor_is_not_holding_it() {
        for (does, meanwhile, after) in [
            // Fifty are allowed.
            (&[Runs(50)][..], None, None),
            (&[Sleeps(50)], None, None),
            (&[Runs(80)], Some((60, 0)), Some((80, 0))),
            (&[Sleeps(80)], Some((60, 0)), Some((80, 0))),
            // Ready for ever, and never its turn.
            (&[Waits(10_000)], None, None),
            (&[Runs(10), Waits(60), Runs(10)], None, None),
            (&[Sleeps(20), Waits(500)], None, None),
            (&[Waits(500), Runs(45), Waits(500)], None, None),
            // Its own time adds up, whatever is in between.
            (&[Runs(30), Waits(100), Runs(30)], Some((160, 100)), Some((160, 100))),
            (&[Sleeps(30), Waits(100), Sleeps(30)], Some((160, 100)), Some((160, 100))),
            (&[Waits(45), Sleeps(80)], Some((100, 45)), Some((125, 45))),
            (&[Waits(15), Runs(80)], Some((70, 15)), Some((95, 15))),
            // Asleep, as was seen, and then at work; who is ready only now may have been waiting.
            (&[Sleeps(40), Runs(40)], Some((70, 0)), Some((80, 0))),
            (&[Sleeps(65), Waits(200)], Some((60, 0)), Some((265, 200))),
        ] {
            let shown = || {
                let words = does.iter().map(|one| match one {
                    Runs(millis) => format!("runs {millis}"),
                    Sleeps(millis) => format!("sleeps {millis}"),
                    Waits(millis) => format!("waits {millis}"),
                });
                words.collect::<Vec<_>>().join(", ")
            };
            assert_eq!(reported(does, true), meanwhile, "seen meanwhile: {}", shown());
            assert_eq!(reported(does, false), after, "seen after: {}", shown());
        }
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
