//! What tokio says of itself, for an observer, which knows no runtime: by the stable part of its metrics
//! (<https://docs.rs/tokio/latest/tokio/runtime/struct.RuntimeMetrics.html>).

use std::sync::Arc;

use loquat_observe::{Observer, RuntimeState, WorkerState};

/// Shows tokio's runtime under that name, as metrics and as `/debug/runtime`: workers, how busy each is, how often it parks, tasks
/// alive, tasks that wait in the queue. It is asked when somebody looks, by the thread that looks.
pub fn watch_runtime(observer: &Observer, name: impl Into<Arc<str>>, runtime: &tokio::runtime::Handle) {
    let metrics = runtime.metrics();
    observer.watch_runtime(name, move || {
        let worker = |index| {
            WorkerState::new(metrics.worker_total_busy_duration(index), metrics.worker_park_count(index))
        };
        RuntimeState::new((0..metrics.num_workers()).map(worker))
            .with_tasks(metrics.num_alive_tasks())
            .with_queue(metrics.global_queue_depth())
    });
}
