//! What an asynchronous runtime is at: workers, queue, how busy each is. Told by whoever has the runtime.
//!
//! This crate deliberately knows no runtime, since it has to go on while one stands still. So it asks a function, when
//! somebody looks; for tokio, all of it is in the stable part of `RuntimeMetrics`:
//!
//! ```
//! use loquat_observe::{Observer, RuntimeState, WorkerState};
//!
//! # let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
//! # let observer = Observer::new();
//! let metrics = runtime.handle().metrics();
//! observer.watch_runtime("main", move || {
//!     let worker = |index| {
//!         WorkerState::new(metrics.worker_total_busy_duration(index), metrics.worker_park_count(index))
//!     };
//!     RuntimeState::new((0..metrics.num_workers()).map(worker))
//!         .with_tasks(metrics.num_alive_tasks())
//!         .with_queue(metrics.global_queue_depth())
//! });
//! # assert!(observer.metrics(loquat_observe::TextFormat::Prometheus).contains("loquat_runtime_workers{runtime=\"main\"} 1"));
//! ```

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Most runtimes that are shown; those beyond are not. A program has one or two.
const MAX_RUNTIMES: usize = 16;
/// Most workers of one runtime that are looked at: the number of processors is far below.
const MAX_WORKERS: usize = 1024;

/// What a runtime says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeState {
    /// Each worker, in the same order each time.
    pub workers: Vec<WorkerState>,
    /// Tasks that have been spawned and have not ended.
    pub tasks: usize,
    /// Tasks that are ready and wait for any worker.
    pub queue: usize,
}

/// What a worker has done since its runtime began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerState {
    /// How long it was not waiting for work.
    pub busy: Duration,
    /// How often it lay down to wait for work.
    pub parks: u64,
}

impl WorkerState {
    /// Busy for so long, and parked so often.
    pub fn new(busy: Duration, parks: u64) -> Self {
        Self { busy, parks }
    }
}

impl RuntimeState {
    /// With those workers, of which the first 1,024 are kept.
    pub fn new(workers: impl IntoIterator<Item = WorkerState>) -> Self {
        Self { workers: workers.into_iter().take(MAX_WORKERS).collect(), ..Self::default() }
    }

    /// With so many tasks alive.
    #[must_use]
    pub fn with_tasks(mut self, tasks: usize) -> Self {
        self.tasks = tasks;
        self
    }

    /// With so many tasks that wait for a worker.
    #[must_use]
    pub fn with_queue(mut self, queue: usize) -> Self {
        self.queue = queue;
        self
    }

    pub(crate) fn busy(&self) -> Duration {
        self.workers.iter().fold(Duration::ZERO, |sum, worker| sum.saturating_add(worker.busy))
    }
}

type Ask = Arc<dyn Fn() -> RuntimeState + Send + Sync>;

/// The runtimes of a program, by name.
#[derive(Default)]
pub(crate) struct Runtimes(Mutex<Vec<(Arc<str>, Ask)>>);

/// One runtime, looked at twice.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) name: Arc<str>,
    pub(crate) state: RuntimeState,
    /// Of each worker: the part of the time in between that it was busy, 0 to 1, and how often it parked in it.
    pub(crate) between: Vec<(f64, u64)>,
}

impl Runtimes {
    /// Whether there was room for it.
    pub(crate) fn add(&self, name: Arc<str>, ask: Ask) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = all.len() < MAX_RUNTIMES;
        if has_room {
            all.push((name, ask));
        }
        has_room
    }

    /// All of them, over so long. Blocks for that time, and holds no lock in it.
    pub(crate) fn look(&self, over: Duration) -> Vec<Look> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first: Vec<(Instant, RuntimeState)> =
            all.iter().map(|(_, ask)| (Instant::now(), ask())).collect();
        if !all.is_empty() {
            thread::sleep(over);
        }
        let looks = all.into_iter().zip(first).map(|((name, ask), (at, before))| {
            let state = ask();
            let between = parts(&before, &state, at.elapsed());
            Look { name, state, between }
        });
        looks.collect()
    }
}

/// What the workers did in between. A worker adds to its busy time when it parks, so that a long poll shows at its end, all at
/// once: hence no more than the whole.
fn parts(before: &RuntimeState, after: &RuntimeState, passed: Duration) -> Vec<(f64, u64)> {
    let of = |(before, after): (&WorkerState, &WorkerState)| {
        let busy = after.busy.saturating_sub(before.busy).as_secs_f64();
        let part = if passed.is_zero() { 0.0 } else { (busy / passed.as_secs_f64()).min(1.0) };
        (part, after.parks.saturating_sub(before.parks))
    };
    before.workers.iter().zip(&after.workers).map(of).collect()
}

impl fmt::Debug for Runtimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(all.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_of_the_time_between_and_never_above_all_of_it() {
        let state = |busy: &[u64], parks| {
            RuntimeState::new(busy.iter().map(|ms| WorkerState::new(Duration::from_millis(*ms), parks)))
        };
        let (before, after) = (state(&[0, 100, 100], 5), state(&[50, 400, 90], 7));
        assert_eq!(parts(&before, &after, Duration::from_millis(100)), [(0.5, 2), (1.0, 2), (0.0, 2)]);
        assert_eq!(parts(&before, &after, Duration::ZERO), [(0.0, 2); 3]);
        assert_eq!(after.busy(), Duration::from_millis(540));
    }

    #[test]
    fn runtimes_and_workers_are_bounded() {
        let all = Runtimes::default();
        let added =
            (0..40).filter(|index| all.add(format!("{index}").into(), Arc::new(RuntimeState::default)));
        assert_eq!(added.count(), MAX_RUNTIMES);
        assert_eq!(all.look(Duration::ZERO).len(), MAX_RUNTIMES);
        assert_eq!(RuntimeState::new(std::iter::repeat(WorkerState::default())).workers.len(), MAX_WORKERS);
    }
}
