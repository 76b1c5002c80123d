//! What a bench asks of the machine: a core of its own, the time it has computed, how often it was woken.

use std::time::Duration;

use rustix::{
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// Pins this thread, and those it starts, to one of the cores it may use. With one core only, all ends share it: still the
/// same for all.
pub fn pin(which: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let mut one = CpuSet::new();
    one.set(cores[which % cores.len()]);
    let _ = sched_setaffinity(None, &one);
}

/// Lets this thread, and those it starts, use that many cores again.
pub fn unpin(cores: usize) {
    let mut all = CpuSet::new();
    (0..cores).for_each(|core| all.set(core));
    let _ = sched_setaffinity(None, &all);
}

/// CPU time of this process, all threads, user and kernel.
pub fn process_cpu() -> Duration {
    of(ClockId::ProcessCPUTime)
}

/// CPU time of another process's main thread; nothing where there is no `/proc`.
pub fn cpu_of(pid: u32) -> Duration {
    let nanos = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// A clock that two processes of one machine share and that never jumps.
pub fn monotonic() -> Duration {
    of(ClockId::Monotonic)
}

fn of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which that part of all lies. Nothing where there are none.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}
