//! The watchdog on real threads, beside load: it names who blocks for 80 ms, and is silent at 20.
//!
//! A thread that works for 20 ms may be without a processor for 50 more: its poll takes 70 on the clock, and is to be passed over all the
//! same, since not the task held its thread. So each run is judged by what it took but for the time its thread waited for a
//! processor, by the system's own account, measured from inside the poll and from outside: what took longer than the threshold inside must
//! be named, what took less outside must not, and where nobody keeps accounts (as without the feature `stack`) it is the time on the
//! clock. No run is left out, and none depends on how busy the machine is. `LOQUAT_WATCHDOG_RUNS` says how many there are.

#![allow(clippy::print_stdout, reason = "says how many runs there were")]

use std::{
    collections::HashMap,
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

#[test]
fn names_who_blocks_for_80_ms_and_is_silent_at_20_beside_load() {
    let runs: u64 = std::env::var("LOQUAT_WATCHDOG_RUNS").map_or(60, |runs| runs.parse().expect("a number"));
    let observer = Observer::new();
    let reports: Arc<Mutex<Vec<TaskState>>> = Arc::default();
    let (sink, config) = (reports.clone(), WatchdogConfig::default());
    let watchdog = Watchdog::start(observer.tasks(), config, move |report| {
        sink.lock().expect("not poisoned").push(report.clone());
    });
    let watchdog = watchdog.expect("a thread");

    let done = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let done = done.clone();
            thread::spawn(move || {
                while !done.load(Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
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
    // What came back last is reported at the next look.
    let expected = all.values().filter(|run| run.inside.own > config.threshold).count();
    let due = Instant::now() + Duration::from_secs(120);
    while reports.lock().expect("not poisoned").len() < expected {
        assert!(Instant::now() < due, "reports are missing");
        thread::sleep(Duration::from_millis(5));
    }
    drop(watchdog);
    done.store(true, Relaxed);
    load.into_iter().for_each(|thread| thread.join().expect("no panic"));
    drop(others);

    let reports = std::mem::take(&mut *reports.lock().expect("not poisoned"));
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

    let observer = Observer::new();
    let reports: Arc<Mutex<Vec<TaskState>>> = Arc::default();
    let (sink, config) = (reports.clone(), WatchdogConfig::default());
    let watchdog = Watchdog::start(observer.tasks(), config, move |report| {
        sink.lock().expect("not poisoned").push(report.clone());
    });
    let watchdog = watchdog.expect("a thread");

    // After the watchdog: what this thread begins now shares its processor.
    let all = sched_getaffinity(None).expect("it tells");
    let first = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).expect("one");
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).expect("it is ours");
    let done = AtomicBool::new(false);
    let (passed, slept) = thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
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
            let mut task = pin!(observer.tasks().watch(format!("works {index}"), body));
            assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
            took
        };
        let passed: Vec<Took> = (0..20).map(&mut works).collect();
        let slept: Vec<Run> =
            (0..5).map(|index| run(&observer, &format!("sleeps {index}"), 80, false)).collect();
        done.store(true, Relaxed);
        (passed, slept)
    });
    let due = Instant::now() + Duration::from_secs(120);
    while reports.lock().expect("not poisoned").len() < slept.len() {
        assert!(Instant::now() < due, "who sleeps is not named");
        thread::sleep(Duration::from_millis(5));
    }
    drop(watchdog);
    let reports = std::mem::take(&mut *reports.lock().expect("not poisoned"));
    let named: Vec<&str> = reports.iter().map(|report| &*report.name).collect();
    assert!((0..5).all(|index| named.contains(&&*format!("sleeps {index}"))), "{named:?}");
    let counts = waited() > Duration::ZERO;
    let mut waiting = 0;
    for (index, took) in passed.iter().enumerate() {
        assert!(took.all > config.threshold);
        let is_named = named.contains(&&*format!("works {index}"));
        // Between the two, either is right.
        assert!(!is_named || took.own + ROUGH > config.threshold, "{took:?} {reports:?}");
        assert!(is_named || took.own <= config.threshold, "{took:?}");
        waiting += u32::from(!is_named);
    }
    println!(
        "{} polls beside sixteen threads: {waiting} passed over; accounts are kept: {counts}",
        passed.len()
    );
    assert!(!counts || waiting > 0, "none had to wait: {passed:?}");
}
