//! The time this thread has spent computing. Unlike the time of day it does not run while another process has the core, so
//! that what is compared on a busy machine is the work and not the waiting.

use rustix::time::{ClockId, clock_gettime};

/// Processor time of the calling thread so far, in nanoseconds (`CLOCK_THREAD_CPUTIME_ID`, clock_gettime(2)).
pub fn thread_nanos() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
