//! What a bench asks of the machine: a core of its own, the time it has computed, how often it was woken.

use std::{sync::OnceLock, time::Duration};

use rustix::{
    thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// What tells a server which cores there are to choose from: it begins with its parent's, which is pinned by then.
pub(crate) const CORES: &str = "LOQUAT_BENCH_CORES";

/// The cores that this program was given, whatever it has been pinned to since; a server's are its parent's.
pub fn cores() -> &'static [usize] {
    static ALL: OnceLock<Vec<usize>> = OnceLock::new();
    ALL.get_or_init(|| match std::env::var(CORES) {
        Ok(given) => given.split(',').filter_map(|core| core.parse().ok()).collect(),
        Err(_) => sched_getaffinity(None).map(|allowed| of_set(&allowed)).unwrap_or_default(),
    })
}

fn of_set(set: &CpuSet) -> Vec<usize> {
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Pins this thread, and those it starts, to one of the cores it may use. With one core only, all ends share it: still the
/// same for all.
pub fn pin(which: usize) {
    let cores = cores();
    let Some(core) = which.checked_rem(cores.len()).map(|index| cores[index]) else { return };
    let mut one = CpuSet::new();
    one.set(core);
    let _ = sched_setaffinity(None, &one);
}

/// Whether this thread has a core that another process keeps off, where it has one core and there are more.
pub fn is_apart_from(pid: u32) -> bool {
    let other = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let (Ok(own), Ok(others)) = (sched_getaffinity(None), sched_getaffinity(other)) else { return true };
    let own = of_set(&own);
    own.len() != 1 || cores().len() < 2 || !others.is_set(own[0])
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
