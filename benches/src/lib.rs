//! What all benches share: criterion set up alike, allocations counted, figures put where `cargo xtask bench` reads them.
//!
//! The protocol is described in `xtask/src/bench.rs`. A bench declares [`alloc::Counting`] as its global allocator, measures
//! through criterion with ids `group/case/who`, and hands everything else to [`side`].

pub mod alloc;
pub mod callgrind;
pub mod child;
pub mod cpu;
pub mod machine;
pub mod side;
pub mod syscalls;
pub mod turns;

use std::time::Duration;

use criterion::Criterion;

/// Criterion as every group uses it: a second of warm-up and three of measurement for each figure, or a fifth of that for
/// `--quick`. Medians are read, so that a neighbour's burst on a shared machine does not count.
pub fn criterion() -> Criterion {
    let (warm_up, measure, samples) = if is_quick() { (200, 600, 20) } else { (1_000, 3_000, 60) };
    Criterion::default()
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(measure))
        .sample_size(samples)
        .configure_from_args()
}

/// Whether `--quick` was asked for.
pub fn is_quick() -> bool {
    std::env::var_os("LOQUAT_BENCH_QUICK").is_some()
}
