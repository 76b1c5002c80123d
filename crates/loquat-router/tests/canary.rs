//! Canaries on a clock that is set by hand: healthy ones are left alone, bad ones go within half a minute of evidence.
//!
//! `LOQUAT_CANARY_SEEDS=10000 cargo test --release -p loquat-router --test canary -- --nocapture` takes more seeds.

use std::time::{Duration, Instant};

use loquat_core::{Error, ErrorKind};
use loquat_router::{
    Draw,
    canary::{Canary, CanaryPolicy, Change, Limit, Sample},
};

/// How a version behaves.
#[derive(Clone, Copy)]
struct Version {
    error_rate: f64,
    /// Of first tokens; log-normal with a standard deviation of 0.5.
    median: f64,
}

/// 0.1 % errors, a 95th percentile of 700 ms.
const GOOD: Version = Version { error_rate: 0.001, median: 307.5 };
/// Requests a second of both sides together: 100 of the canary's at a share of 10 %.
const RATE: u64 = 1_000;

/// The canary of that seed lives until `end`; when it was rolled back, and why.
fn live(seed: u64, release: Version, end: Duration) -> Option<(Duration, Limit)> {
    let start = Instant::now();
    // The share is held still, so that evidence comes at 100 requests a second.
    let canary = Canary::new("next", CanaryPolicy::default().with_shares(10.0, 10.0, 10.0), start);
    let error = Error::new(ErrorKind::Server, "internal error");
    let mut draw = Draw::seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut uniform = move || ((draw.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    // The baseline is known before the release begins to be asked.
    let warm = 30_000;
    for step in 0..end.as_secs() * RATE + warm {
        let at = Duration::from_millis(step * 1_000 / RATE);
        let key = loquat_router::hash(seed, &step.to_le_bytes());
        let is_canary = step >= warm && canary.takes(key);
        let version = if is_canary { release } else { GOOD };
        let sample = if uniform() < version.error_rate {
            Sample::failed(is_canary, key, &error)
        } else {
            let normal = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
            Sample::answered(
                is_canary,
                key,
                Duration::from_secs_f64(version.median * (normal * 0.5).exp() / 1e3),
            )
        };
        let Some(event) = canary.record(sample.with_trace([7; 16]), start + at) else { continue };
        if let Change::RolledBack { breach: Some(breach) } = event.change {
            assert_eq!((event.percent, event.trace_id.as_str()), (0.0, "07070707070707070707070707070707"));
            assert!(!canary.takes(key) && event.sample >= 200);
            return Some((at.saturating_sub(Duration::from_secs(warm / RATE)), breach.limit));
        }
    }
    None
}

#[test]
fn healthy_releases_stay_and_bad_ones_go_within_thirty_seconds() {
    let seeds =
        std::env::var("LOQUAT_CANARY_SEEDS").ok().map_or(60, |seeds| seeds.parse().expect("a number"));
    let half_minute = Duration::from_secs(30);
    let mut figures = String::new();
    let mut rolled_back = |name: &str, release: Version, end: Duration, expected: Option<Limit>| {
        let mut count = 0;
        for seed in 0..seeds {
            if let Some((_, limit)) = live(seed, release, end) {
                count += 1;
                assert!(expected.is_none_or(|expected| expected == limit), "seed {seed}: {limit:?}");
            }
        }
        figures += &format!("{name}: {count} of {seeds} rolled back\n");
        count as f64 / seeds as f64
    };
    let healthy = rolled_back(
        "healthy, two minutes",
        GOOD,
        Duration::from_secs(if seeds < 1000 { 60 } else { 120 }),
        None,
    );
    let failing = Version { error_rate: 0.01, ..GOOD };
    let failing = rolled_back("1 % errors, 30 s", failing, half_minute, Some(Limit::Errors));
    let slower = Version { median: GOOD.median * 1.3, ..GOOD };
    let slower = rolled_back("30 % slower, 30 s", slower, half_minute, Some(Limit::FirstToken));
    println!("{figures}");
    assert!(healthy < 0.01, "{figures}");
    // Of 60, one may be among the hundredth that takes longer.
    let least = if seeds < 1000 { 0.98 } else { 0.99 };
    assert!(failing >= least && slower >= least, "{figures}");
}

#[test]
fn the_share_moves_with_dwell_times_and_a_person_ends_it() {
    let start = Instant::now();
    let policy = CanaryPolicy::default().with_shares(5.0, 10.0, 25.0).with_dwell(Duration::from_secs(60));
    let canary = Canary::new("next", policy, start);
    let took = Duration::from_millis(100);
    let mut shares = vec![canary.percent()];
    for second in 0..300_u64 {
        let now = start + Duration::from_secs(second);
        for key in 0..50 {
            canary.record(Sample::answered(false, key, took), now);
        }
        for key in 0..10 {
            if let Some(event) = canary.record(Sample::answered(true, key, took), now) {
                assert_eq!(event.change, Change::Raised);
                shares.push(event.percent);
            }
        }
    }
    assert_eq!(shares, [5.0, 15.0, 25.0], "and no further");
    // Who belonged to the smaller share belongs to the larger one.
    let small = Canary::new("next", CanaryPolicy::default().with_shares(5.0, 1.0, 5.0), start);
    assert!((0..20_000).filter(|&key| small.takes(key)).all(|key| canary.takes(key)));
    let count = (0..20_000).filter(|&key| canary.takes(key)).count();
    assert!((4_700..5_300).contains(&count), "{count} of 20,000 are a quarter");

    let event = canary.roll_back(start + Duration::from_secs(300)).expect("it had a share");
    assert_eq!((event.change, event.percent), (Change::RolledBack { breach: None }, 0.0));
    assert!(canary.roll_back(start).is_none() && (0..20_000).all(|key| !canary.takes(key)));
    let numbers: Vec<_> = canary.events().iter().map(|event| event.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn a_provider_that_fails_both_sides_is_not_the_releases_fault() {
    let start = Instant::now();
    let canary = Canary::new("next", CanaryPolicy::default(), start);
    let error = Error::new(ErrorKind::Server, "down");
    for step in 0..60_000_u64 {
        let now = start + Duration::from_millis(step);
        let is_canary = step % 10 == 0;
        let key = loquat_router::hash(0, &step.to_le_bytes());
        let sample = match key % 20 {
            0 => Sample::failed(is_canary, key, &error),
            _ => Sample::answered(is_canary, key, Duration::from_millis(1_500)),
        };
        let event = canary.record(sample, now);
        let bad = event.is_some_and(|event| matches!(event.change, Change::RolledBack { .. }));
        assert!(!bad, "at {step} ms");
    }
}
