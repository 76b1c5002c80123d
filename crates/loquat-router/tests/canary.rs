//! Canaries on a clock that is set by hand: healthy ones are left alone, bad ones go within half a minute of evidence.
//!
//! `LOQUAT_CANARY_SEEDS=10000 cargo test --release -p loquat-router --test canary -- --nocapture` takes more seeds.

#![allow(clippy::print_stdout, reason = "the figures are what it is run for")]

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
/// As bad as a canary may be: 0.3 % errors, a 95th percentile of 850 ms.
const LIMIT: Version = Version { error_rate: 0.003, median: 373.5 };
/// Beyond what it may be: 1 % errors, a 95th percentile of 1.1 s.
const BAD: Version = Version { error_rate: 0.01, median: 483.3 };
/// Down.
const DEAD: Version = Version { error_rate: 1.0, ..GOOD };
/// Requests a second of both sides together: 100 of the canary's at a share of 10 %.
const RATE: f64 = 1_000.0;

/// A release beside what was there before it.
#[derive(Clone, Copy)]
struct Case {
    baseline: Version,
    release: Version,
    /// How long the baseline is known before the release begins to be asked. Seconds.
    known: u64,
    /// Requests a second of both sides together.
    rate: f64,
    /// The canary's share, held still so that evidence comes at a steady rate; `None` lets it move by the defaults.
    percent: Option<f64>,
    /// How long it lives. Seconds.
    end: u64,
    /// What it is to be rolled back for; `None` where it is as good as the baseline.
    fault: Option<Limit>,
}

/// Two minutes of a release that is as good as its baseline.
fn healthy(version: Version) -> Case {
    let (baseline, release, percent) = (version, version, Some(10.0));
    Case { baseline, release, known: 30, rate: RATE, percent, end: 120, fault: None }
}

/// Half a minute of one that is not.
fn bad(release: Version, fault: Limit) -> Case {
    Case { release, end: 30, fault: Some(fault), ..healthy(GOOD) }
}

/// The canary of that seed lives until the case's end; why it was rolled back, if it was.
fn live(seed: u64, case: &Case) -> Option<Limit> {
    let start = Instant::now();
    let policy = CanaryPolicy::default();
    let policy = case.percent.map_or(policy, |percent| policy.with_shares(percent, 10.0, percent));
    let canary = Canary::new("next", policy, start);
    let error = Error::new(ErrorKind::Server, "internal error");
    let mut draw = Draw::seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut uniform = move || ((draw.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let all = Duration::from_secs(case.known + case.end);
    for step in 0_u64.. {
        let at = Duration::from_secs_f64(step as f64 / case.rate);
        if at >= all {
            break;
        }
        let key = loquat_router::hash(seed, &step.to_le_bytes());
        let is_canary = at.as_secs() >= case.known && canary.takes(key);
        let version = if is_canary { case.release } else { case.baseline };
        let sample = if uniform() < version.error_rate {
            Sample::failed(is_canary, key, &error)
        } else {
            let normal = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
            let took = Duration::from_secs_f64(version.median * (normal * 0.5).exp() / 1e3);
            Sample::answered(is_canary, key, took)
        };
        let Some(event) = canary.record(sample.with_trace([7; 16]), start + at) else { continue };
        if let Change::RolledBack { breach: Some(breach) } = event.change {
            assert_eq!((event.percent, event.trace_id.as_str()), (0.0, "07070707070707070707070707070707"));
            assert!(!canary.takes(key) && event.sample >= 200);
            return Some(breach.limit);
        }
    }
    None
}

/// Of all seeds: less than one in a hundred of the healthy is rolled back, at least 99 of the others.
fn check(name: &str, case: &Case) {
    let seeds =
        std::env::var("LOQUAT_CANARY_SEEDS").ok().map_or(60, |seeds| seeds.parse().expect("a number"));
    // A bad one counts where it was found out for what is wrong with it.
    let counts = |limit| case.fault.is_none_or(|fault| fault == limit);
    let rolled_back: Vec<u64> = (0..seeds).filter(|&seed| live(seed, case).is_some_and(counts)).collect();
    let figure = format!("{name}: {} of {seeds} rolled back within {} s", rolled_back.len(), case.end);
    println!("{figure}");
    let share = rolled_back.len() as f64 / seeds as f64;
    match case.fault {
        None => assert!(share < 0.01, "{figure}, by the seeds {rolled_back:?}"),
        // Of a few, one may be among the hundredth that takes longer.
        Some(_) => assert!(share >= if seeds < 1000 { 0.98 } else { 0.99 }, "{figure}"),
    }
}

#[test]
fn healthy_releases_stay() {
    check("healthy", &healthy(GOOD));
}

#[test]
fn healthy_releases_stay_while_their_share_moves() {
    check("healthy, the share moves", &Case { percent: None, ..healthy(GOOD) });
}

#[test]
fn releases_at_the_limits_stay_where_the_baseline_is_there_too() {
    check("both at the limits", &healthy(LIMIT));
}

#[test]
fn releases_as_bad_as_an_unknown_baseline_stay() {
    let case = Case { known: 0, percent: Some(50.0), ..healthy(BAD) };
    check("as bad as a baseline that was not known before", &case);
}

#[test]
fn failing_releases_go_within_thirty_seconds() {
    check("1 % errors", &bad(Version { error_rate: 0.01, ..GOOD }, Limit::Errors));
}

#[test]
fn slower_releases_go_within_thirty_seconds() {
    check("30 % slower", &bad(Version { median: GOOD.median * 1.3, ..GOOD }, Limit::FirstToken));
}

#[test]
fn failing_releases_go_also_beside_an_unknown_baseline() {
    let case = Case { known: 0, ..bad(Version { error_rate: 0.01, ..GOOD }, Limit::Errors) };
    check("1 % errors beside a baseline that was not known before", &case);
}

/// At one request a second no more than 87 would be left of the baseline's counts, if they faded by time alone.
#[test]
fn few_requests_take_longer_and_show_it_all_the_same() {
    let few = Case { rate: 2.0, percent: Some(50.0), end: 1_800, ..healthy(GOOD) };
    check("down, at a request a second", &Case { release: DEAD, fault: Some(Limit::Errors), ..few });
    check("healthy, at a request a second", &few);
    check("as bad as its baseline, at a request a second", &Case { baseline: BAD, release: BAD, ..few });
    let half_bad = Version { error_rate: 0.05, ..GOOD };
    let beside = Case { baseline: half_bad, release: DEAD, fault: Some(Limit::Errors), ..few };
    check("down, beside a baseline with 5 % errors, at a request a second", &beside);
    let moving = Case { rate: 3.0, percent: None, end: 3_600, ..few };
    check("down, while few are asked", &Case { release: DEAD, fault: Some(Limit::Errors), ..moving });
    check("healthy, while few are asked", &moving);
}

/// Whatever a baseline does, however few ask: who does the same stays. Of all these lives one in a hundred may end, and of the
/// 40 of a row two.
#[test]
fn releases_stay_that_are_as_bad_as_their_baseline() {
    let seeds = 40;
    let failing = |error_rate| Version { error_rate, ..GOOD };
    let slow = |median| Version { median, ..GOOD };
    let versions = [failing(0.01), failing(0.03), failing(0.05), failing(0.3), slow(600.0), slow(850.0)];
    let (mut lives, mut ended) = (0, 0);
    for (rate, end) in [(0.4, 7_200), (1.0, 7_200), (2.0, 3_600), (10.0, 1_800)] {
        for version in versions {
            let case = Case { known: 0, rate, percent: Some(50.0), end, ..healthy(version) };
            let Version { error_rate, median } = version;
            let count = (0..seeds).filter(|&seed| live(seed, &case).is_some()).count();
            let row =
                format!("{rate}/s, errors {error_rate}, median {median} ms: {count} of {seeds} rolled back");
            println!("{row}");
            assert!(count <= 2, "{row}");
            (lives, ended) = (lives + seeds, ended + count);
        }
    }
    assert!(ended as f64 <= lives as f64 / 100.0, "{ended} of {lives}");
}

/// Of answers that break off each is one request, and one that failed.
#[test]
fn an_answer_that_breaks_off_counts_once() {
    let start = Instant::now();
    let canary = Canary::new("next", CanaryPolicy::default(), start);
    let (took, error) = (Duration::from_millis(100), Error::new(ErrorKind::Truncated, "cut"));
    (0..1_000).for_each(|key| drop(canary.record(Sample::answered(false, key, took), start)));
    for key in 0..200 {
        let event = canary.record(Sample::answered(true, key, took), start);
        assert!(key == 199 || event.is_none(), "{event:?}");
        let event = event.or_else(|| canary.record(Sample::broke_off(true, key, &error, start), start));
        let Some(event) = event else { continue };
        let Change::RolledBack { breach: Some(breach) } = event.change else { panic!("{event:?}") };
        assert_eq!((key, event.sample, breach.limit), (199, 200, Limit::Errors));
        assert!(breach.share >= 0.995, "{breach:?}");
        return;
    }
    panic!("it stays");
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
