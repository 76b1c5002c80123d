//! The watchdog on real threads, beside load: it names who blocks for 80 ms, and is silent at 20.
//!
//! A thread that works for 20 ms may be without a processor for 50 more: its poll takes 70 on the clock, and is to be passed over all the
//! same, since not the task held its thread. So each run is judged by what it took but for the time its thread waited for a
//! processor, by the system's own account, measured from inside the poll and from outside: what took longer than the threshold inside must
//! be named, what took less outside must not, and where nobody keeps accounts (as without the feature `stack`) it is the time on the
//! clock. No run is left out, and none depends on how busy the machine is. `LOQUAT_WATCHDOG_RUNS` says how many there are.

#![allow(clippy::print_stdout, reason = "says how many runs there were")]

use std::{
    collections::{HashMap, HashSet},
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use loquat_observe::{
    Observer,
    tasks::{TaskState, Watchdog, WatchdogConfig},
};

const WORKERS: u64 = 2;

/// How much less than its thread waited the watchdog may take off a poll: an account may be 5 ms old, and may have been asked for with
/// 1 ms in between, at either end.
const ROUGH: Duration = Duration::from_millis(7);

/// What one poll took, seen from inside and from outside.
struct Run {
    meant: u64,
    inside: Took,
    outside: Took,
}

/// What passed on the clock, and how long of it the thread did not wait for a processor.
#[derive(Debug, Clone, Copy, Default)]
struct Took {
    all: Duration,
    own: Duration,
}

/// The same for all that begins and ends between its making and [`took`](Self::took).
struct Since(Instant, Duration);

impl Since {
    fn now() -> Self {
        let waited = waited();
        Self(Instant::now(), waited)
    }

    fn took(&self) -> Took {
        let all = self.0.elapsed();
        Took { all, own: all.saturating_sub(waited().saturating_sub(self.1)) }
    }
}

/// How long this thread has waited for a processor in its life; nothing where that is not counted, or where the watchdog cannot ask.
fn waited() -> Duration {
    if !cfg!(all(feature = "stack", target_os = "linux", target_arch = "x86_64")) {
        return Duration::ZERO;
    }
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = text.split_whitespace().nth(1).map(|number| number.parse().expect("a number"));
    waited.map_or(Duration::ZERO, Duration::from_nanos)
}

/// A poll that holds its thread for so long, working or asleep.
fn run(observer: &Observer, name: &str, meant: u64, works: bool) -> Run {
    let mut inside = Took::default();
    let body = poll_fn(|_| {
        let since = Since::now();
        let span = Duration::from_millis(meant);
        if works {
            while since.took().own < span {
                std::hint::spin_loop();
            }
        } else {
            thread::sleep(span);
        }
        inside = since.took();
        Poll::Ready(())
    });
    let mut task = pin!(observer.tasks().watch(name, body));
    let since = Since::now();
    assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    let outside = since.took();
    Run { meant, inside, outside }
}

/// A watchdog, and whom it has named so far.
struct Named {
    reports: Arc<Mutex<Vec<TaskState>>>,
    watchdog: Watchdog,
}

impl Named {
    fn start(observer: &Observer, config: WatchdogConfig) -> Self {
        let reports: Arc<Mutex<Vec<TaskState>>> = Arc::default();
        let sink = reports.clone();
        let report = move |report: &TaskState| sink.lock().expect("not poisoned").push(report.clone());
        Self { reports, watchdog: Watchdog::start(observer.tasks(), config, report).expect("a thread") }
    }

    /// All reports, once everybody who must be is among them: what came back last is reported at the next look.
    fn until(self, must: &[&str]) -> Vec<TaskState> {
        let due = Instant::now() + Duration::from_secs(120);
        loop {
            let missing = {
                let reports = self.reports.lock().expect("not poisoned");
                let named: HashSet<&str> = reports.iter().map(|report| &*report.name).collect();
                must.iter().find(|name| !named.contains(**name))
            };
            let Some(missing) = missing else { break };
            assert!(Instant::now() < due, "not named: {missing}");
            thread::sleep(Duration::from_millis(5));
        }
        drop(self.watchdog);
        std::mem::take(&mut *self.reports.lock().expect("not poisoned"))
    }
}

/// Threads that want a processor all the time, until this is dropped, be it by a panic.
struct Load {
    done: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    /// Of so many threads, on the processors of the one that asks.
    fn of(threads: u32) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let mut load = Self { done, threads: Vec::new() };
        for _ in 0..threads {
            let done = load.done.clone();
            load.threads.push(thread::spawn(move || {
                while !done.load(Relaxed) {
                    std::hint::spin_loop();
                }
            }));
        }
        load
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.done.store(true, Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

#[test]
fn names_who_blocks_for_80_ms_and_is_silent_at_20_beside_load() {
    let runs: u64 = std::env::var("LOQUAT_WATCHDOG_RUNS").map_or(60, |runs| runs.parse().expect("a number"));
    let (observer, config) = (Observer::new(), WatchdogConfig::default());
    let (watching, load) = (Named::start(&observer, config), Load::of(2));
    // Tasks that never come to run, among which the ones that block have to be found.
    let others: Vec<_> = (0..50)
        .map(|index| observer.tasks().watch(format!("other {index}"), std::future::pending::<()>()))
        .collect();

    let all: HashMap<String, Run> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let observer = &observer;
                scope.spawn(move || {
                    let mut state = worker + 1;
                    let each = runs.div_ceil(WORKERS);
                    let mine = (0..each).map(|index| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let (meant, works) = (if state >> 63 == 0 { 20 } else { 80 }, state >> 62 & 1 == 0);
                        let name =
                            format!("{worker}.{index} {} {meant}", if works { "works" } else { "sleeps" });
                        let run = run(observer, &name, meant, works);
                        (name, run)
                    });
                    mine.collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    let long = all.iter().filter(|(_, run)| run.inside.own > config.threshold);
    let reports = watching.until(&long.map(|(name, _)| name.as_str()).collect::<Vec<_>>());
    drop((load, others));

    let mut named: HashMap<&str, &TaskState> = HashMap::new();
    for report in &reports {
        assert!(named.insert(&report.name, report).is_none(), "named twice: {report:?}");
        let run = all.get(&*report.name).unwrap_or_else(|| panic!("it does not block: {report:?}"));
        assert!(run.outside.own + ROUGH > config.threshold, "{report:?}, and it took {:?}", run.outside);
        assert!(
            report.idle > config.threshold && report.idle <= run.outside.all,
            "{report:?} {:?}",
            run.outside
        );
        assert!(report.waited.is_none_or(|waited| waited <= run.outside.all), "{report:?}");
    }
    let (mut delayed, mut late) = (0, 0);
    for (name, run) in &all {
        delayed += u32::from(run.meant == 20 && run.inside.all > config.threshold);
        if run.inside.own > config.threshold {
            let report =
                named.get(name.as_str()).unwrap_or_else(|| panic!("not named: {name}, {:?}", run.inside));
            late += u32::from(!report.is_polling);
        }
    }
    let of = |meant: u64| all.values().filter(|run| run.meant == meant).count();
    let named_of = |meant: u64| reports.iter().filter(|report| all[&*report.name].meant == meant).count();
    assert_eq!(named_of(80), of(80), "whatever else happens, who blocks for 80 ms is named");
    println!(
        "{} runs: {} of 80 ms, all named, {late} of them after the poll; {} of 20 ms, {delayed} of which took more than {:?} on the \
         clock, and {} named",
        all.len(),
        of(80),
        of(20),
        config.threshold,
        named_of(20)
    );
}

/// One processor, and sixteen threads beside that want it: who works for a blink has to wait for its turn a long time, and is passed over; who sleeps
/// there is named.
#[cfg(all(feature = "stack", target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_poll_that_gets_no_processor_is_passed_over_and_one_that_sleeps_is_named() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let (observer, config) = (Observer::new(), WatchdogConfig::default());
    let watching = Named::start(&observer, config);

    // After the watchdog: what this thread begins now shares its processor.
    let all = sched_getaffinity(None).expect("it tells");
    let first = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).expect("one");
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).expect("it is ours");
    let load = Load::of(16);
    // Each yields its turn, so that it has to wait for the next.
    let mut works = |index: u32| {
        let mut took = Took::default();
        let body = poll_fn(|_| {
            let since = Since::now();
            while since.0.elapsed() < config.threshold + ROUGH {
                thread::yield_now();
            }
            took = since.took();
            Poll::Ready(())
        });
        let name = format!("works {index}");
        let mut task = pin!(observer.tasks().watch(name.as_str(), body));
        assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        (name, took)
    };
    let passed: Vec<(String, Took)> = (0..20).map(&mut works).collect();
    let slept: Vec<String> = (0..5).map(|index| format!("sleeps {index}")).collect();
    for name in &slept {
        run(&observer, name, 80, false);
    }
    drop(load);

    let long = passed.iter().filter(|(_, took)| took.own > config.threshold);
    let must: Vec<&str> = long.map(|(name, _)| name).chain(&slept).map(String::as_str).collect();
    let reports = watching.until(&must);
    let named: Vec<&str> = reports.iter().map(|report| &*report.name).collect();
    let counts = waited() > Duration::ZERO;
    let mut waiting = 0;
    for (name, took) in &passed {
        assert!(took.all > config.threshold);
        let is_named = named.contains(&name.as_str());
        // Between the two, either is right.
        assert!(!is_named || took.own + ROUGH > config.threshold, "{took:?} {reports:?}");
        waiting += u32::from(!is_named);
    }
    println!(
        "{} polls beside sixteen threads: {waiting} passed over; accounts are kept: {counts}",
        passed.len()
    );
    assert!(!counts || waiting > 0, "none had to wait: {passed:?}");
}
