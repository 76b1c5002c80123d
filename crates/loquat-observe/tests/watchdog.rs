//! The watchdog on real threads, beside load: it names who blocks for 80 ms, and is silent at 20.
//!
//! A thread that works for 20 ms may be without a processor for 50 more: then its poll did take 70, and a watchdog that is silent would
//! be wrong. So each run is judged by what it really took on the clock, measured from inside the poll and from outside:
//! what took longer than the threshold inside must be named, what took less outside must not. No run is left out, and none depends on
//! how busy the machine is. `LOQUAT_WATCHDOG_RUNS` says how many there are.

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

/// What one poll took, seen from inside and from outside.
struct Run {
    meant: u64,
    inside: Duration,
    outside: Duration,
}

/// A poll that holds its thread for so long, working or asleep.
fn run(observer: &Observer, name: &str, meant: u64, works: bool) -> Run {
    let mut inside = Duration::ZERO;
    let body = poll_fn(|_| {
        let (began, span) = (Instant::now(), Duration::from_millis(meant));
        if works {
            while began.elapsed() < span {
                std::hint::spin_loop();
            }
        } else {
            thread::sleep(span);
        }
        inside = began.elapsed();
        Poll::Ready(())
    });
    let mut task = pin!(observer.tasks().watch(name, body));
    let began = Instant::now();
    assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    let outside = began.elapsed();
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
                        let name = format!("{worker}.{index} blocks for {meant}");
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
    let expected = all.values().filter(|run| run.inside > config.threshold).count();
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
        assert!(run.outside > config.threshold, "{report:?}, and it took {:?}", run.outside);
        assert!(report.idle > config.threshold && report.idle <= run.outside, "{report:?} {:?}", run.outside);
        assert!(report.waited.is_none_or(|waited| waited <= run.outside), "{report:?}");
    }
    let (mut disturbed, mut late) = (0, 0);
    for (name, run) in &all {
        if run.inside > config.threshold {
            let report =
                named.get(name.as_str()).unwrap_or_else(|| panic!("not named: {name}, {:?}", run.inside));
            disturbed += u32::from(run.meant == 20);
            late += u32::from(!report.is_polling);
        }
    }
    let blocked = all.values().filter(|run| run.meant == 80).count();
    assert!(reports.len() >= blocked);
    println!(
        "{} runs: {blocked} of 80 ms, all named, {late} of all reports after the poll; {} of 20 ms, {disturbed} of which took more \
         than {:?} for want of a processor",
        all.len(),
        all.len() - blocked,
        config.threshold
    );
}
