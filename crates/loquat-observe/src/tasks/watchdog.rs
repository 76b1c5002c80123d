//! [`Watchdog`]: who holds a worker for too long, told by a thread of the system that no task can hold.
//!
//! What counts is what the task does: the time in which it runs or sleeps. While its thread is ready and has no processor, it is the
//! machine that has too much to do; that time is taken off where it is known ([`super::account`]). From outside, a thread
//! that is ready is not to be told from one that runs; so of such a one only that counts which is certain: the processor time it has
//! used, and how long it was seen asleep. The rest is known when the poll comes back, and told then.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use loquat_core::{Error, ErrorKind, Result};

use super::{Task, TaskState, Tasks};
use crate::metric::nanos;

/// How a [`Watchdog`] is set.
///
/// | field | default | reason |
/// |---|---|---|
/// | `threshold` | 50 ms | a worker that is held so long delays every stream it carries by a visible pause |
/// | `every` | 10 ms | a thread that sleeps or runs all the while is told at the next look, the rest when the poll comes back |
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
    /// Tells `report` of each poll that takes longer than it may, once: while it still does, or else right after. The time in which
    /// its thread was ready to run and had no processor does not count, to within 5 ms, where it is known: with the feature `stack` on
    /// Linux on x86-64. Elsewhere the time on the clock counts. With several, the last one's threshold holds for polls that
    /// have come back.
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

/// Polls that were under way at the last look, by their task and when they began, and how long each has been asleep as far as that was
/// seen. As many as there are threads that poll.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<(usize, u64), Duration>);

impl Tasks {
    /// Polls that have taken so long and have not come back, and those that did come back since the last look, each once.
    pub(super) fn blocked(&self, threshold: Duration, seen: &mut Seen) -> Vec<TaskState> {
        let mut blocked = std::mem::take(&mut *self.0.overran.lock().unwrap_or_else(PoisonError::into_inner));
        let mut still = Seen::default();
        for task in self.0.live.all() {
            // The clock first: an account that is read later has no less in it.
            let mut state = task.state(self.0.now());
            if !state.is_polling {
                continue;
            }
            // Another task may come to lie where one lay that has ended; it does not begin at the same moment.
            let poll = (Arc::as_ptr(&task).addr(), task.last.load(Relaxed));
            let mut asleep = seen.0.get(&poll).copied().unwrap_or_default();
            let own = self.own_time(&task, &mut state, &mut asleep);
            still.0.insert(poll, asleep);
            if own > threshold && task.is_at(state.polls) && task.is_news(state.polls) {
                let stack = task.thread().map(crate::stack::ThreadNumber::stack).unwrap_or_default();
                // It may be another poll by now, or none: then the thread was at somebody else's.
                state.stack = if task.is_at(state.polls) { stack } else { Vec::new() };
                blocked.push(state);
            }
        }
        *seen = still;
        blocked
    }

    /// How long of its poll the task has run or slept, as far as that is certain.
    fn own_time(&self, task: &Task, state: &mut TaskState, asleep: &mut Duration) -> Duration {
        let look = task.thread().and_then(|thread| self.0.accounts.of(thread));
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
        future::{Future, poll_fn},
        sync::{Mutex, mpsc},
        task::{self, Poll, Waker},
    };

    use loquat_core::test_util::ManualClock;

    use super::*;
    use crate::{
        stack::ThreadNumber,
        tasks::{Account, Accounts},
    };

    /// What a test's thread has got, by the test's own word; nobody knows where it says nothing.
    #[derive(Debug, Clone, Default)]
    struct Told(Arc<Mutex<Option<(Account, bool)>>>);

    impl Accounts for Told {
        fn own(&self) -> Option<Account> {
            self.of(ThreadNumber::from_word(1)?).map(|(account, _)| account)
        }

        fn of(&self, _: ThreadNumber) -> Option<(Account, bool)> {
            *self.0.lock().expect("not poisoned")
        }
    }

    fn tasks() -> (Tasks, Arc<ManualClock>, Told) {
        let (clock, told) = (Arc::new(ManualClock::new()), Told::default());
        (Tasks::with_accounts(clock.clone(), Box::new(told.clone())), clock, told)
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
        let (tasks, clock, _) = tasks();
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
        let threshold = WatchdogConfig::default().threshold;
        tasks.0.threshold.store(nanos(threshold), Relaxed);
        *told.0.lock().expect("not poisoned") = Some((Account::default(), false));
        let (mut seen, mut now, mut reports) = (Seen::default(), 0, Vec::new());
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
                        account.waited += std::mem::take(&mut waiting);
                    }
                }
                if sees && now % 10 == 0 {
                    reports.extend(tasks.blocked(threshold, &mut seen).into_iter().map(|state| (now, state)));
                }
            }
            Poll::Ready(())
        });
        let mut task = Box::pin(tasks.watch("does", body));
        assert!(task.as_mut().poll(&mut task::Context::from_waker(Waker::noop())).is_ready());
        drop(task);
        reports.extend(tasks.blocked(threshold, &mut seen).into_iter().map(|state| (now, state)));
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
