//! The arithmetic under any script: time, count, budget, one probe, order and room hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_core::{Delivery, Error, ErrorKind, RetryHint, Standing};
use loquat_schedule::{
    Random,
    admission::{AdmissionPolicy, Arrival, Ask, Concurrency, Gate, Grant, RateLimits, Report, Verdict},
    breaker::{Breaker, BreakerPolicy, Outcome, Permit},
    retry::{Budget, BudgetPolicy, Decision, Operation, RetryPolicy, Stop},
};
use proptest::{collection::vec, option, prelude::*, sample::select};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn failure() -> impl Strategy<Value = Error> {
    use ErrorKind as K;
    let kinds = vec![
        K::RateLimited,
        K::Overloaded,
        K::Server,
        K::Connect,
        K::Connection,
        K::Timeout,
        K::Authentication,
        K::Tls,
        K::QuotaExceeded,
        K::Cancelled,
        K::Protocol,
        K::Truncated,
    ];
    let deliveries = vec![Delivery::NotSent, Delivery::MaybeSent, Delivery::Committed];
    let hint = (option::weighted(0.3, 0_u64..100_000), option::weighted(0.1, any::<bool>()));
    (select(kinds), select(deliveries), option::of(select(vec![429_u16, 500, 503, 529])), hint).prop_map(
        |(kind, delivery, status, (after, should))| {
            let mut hint = RetryHint::default();
            (hint.after, hint.should_retry) = (after.map(MS), should);
            let error = Error::new(kind, "x").with_delivery(delivery).with_retry_hint(hint);
            match status {
                Some(status) => error.with_status(status),
                None => error,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Under any script of failures: the attempts, the time, what is repeated, and each wait.
    #[test]
    fn an_operation_keeps_its_bounds(
        script in vec((failure(), 0_u64..5000), 1..12),
        timeout in option::of(0_u64..120_000),
        max_retries in 0_u32..6,
        jitter in 0_u32..=100,
        repeatable: bool,
        seed: u64,
    ) {
        let start = Instant::now();
        let budget = Budget::new(BudgetPolicy::new(0, 1000), start);
        let random = Random::seeded(seed);
        let policy = RetryPolicy::default().with_max_retries(max_retries).with_jitter_percent(jitter);
        let mut operation =
            Operation::new(policy, start, timeout.map(|ms| start + MS(ms))).with_repeatable(repeatable);
        let whole = timeout.map_or(policy.timeout, MS);
        let mut now = start;
        let mut retries = 0;
        for (error, took) in script {
            now += MS(took);
            let wait = match operation.decide(&error, now, &budget, &random) {
                Decision::Stop(stop) => {
                    prop_assert_eq!(operation.retries(), retries);
                    if stop == Stop::Exhausted(retries) {
                        prop_assert_eq!(retries, max_retries);
                    }
                    return Ok(());
                }
                Decision::Retry { wait } => wait,
            };
            let hint = error.retry_hint();
            let refused = matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Overloaded);
            prop_assert!(error.delivery() != Delivery::Committed, "never after commitment");
            prop_assert!(
                error.delivery() == Delivery::NotSent || refused || repeatable || hint.should_retry == Some(true),
                "only what is safe: {:?}", error
            );
            prop_assert!(hint.should_retry != Some(false));
            match hint.after {
                Some(asked) => prop_assert_eq!(wait, asked),
                None => {
                    let fast = error.delivery() == Delivery::NotSent;
                    let base = if fast { policy.fast_base } else { policy.base };
                    let wait_of = |percent| (base * 2_u32.pow(retries)).min(policy.max_wait) * percent / 100;
                    prop_assert!(wait >= wait_of(100 - jitter) && wait <= wait_of(100 + jitter), "{:?}", wait);
                }
            }
            now += wait;
            prop_assert!(now - start <= whole * 70 / 100, "a retry starts within its share");
            retries += 1;
            prop_assert!(retries <= max_retries);
        }
    }

    /// In every window of ten seconds: extra attempts are at most the share of the requests, and the floor.
    #[test]
    fn the_budget_holds_in_every_window(
        steps in vec((0_u64..3000, any::<bool>()), 1..400),
        percent in 0_u32..100,
        per_second in 0_u32..5,
    ) {
        let start = Instant::now();
        let budget = Budget::new(BudgetPolicy::new(percent, per_second), start);
        let mut now = start;
        let (mut requests, mut extra) = (BTreeMap::<u64, u64>::new(), BTreeMap::<u64, u64>::new());
        for (passed, is_request) in steps {
            now += MS(passed);
            let second = (now - start).as_secs();
            let window = second.saturating_sub(9)..=second;
            let sum = |counts: &BTreeMap<u64, u64>| counts.range(window.clone()).map(|(_, n)| n).sum::<u64>();
            if is_request {
                budget.deposit(now);
                *requests.entry(second).or_default() += 1;
                continue;
            }
            let earned = sum(&requests) * u64::from(percent) + u64::from(per_second) * 1000;
            let fits = (sum(&extra) + 1) * 100 <= earned;
            prop_assert_eq!(budget.try_withdraw(now), fits);
            *extra.entry(second).or_default() += u64::from(fits);
        }
    }

    /// Whatever becomes of attempts, and in whatever order: one probe at a time, none before its time, and the endpoint
    /// comes back.
    #[test]
    fn a_breaker_probes_one_at_a_time_and_recovers(
        steps in vec((0_u64..4000, 0_usize..8, 0_u8..7), 1..300),
        min_sample in 1_u32..10,
    ) {
        let start = Instant::now();
        let policy = BreakerPolicy::default().with_success_rate(50, Duration::from_secs(10), min_sample);
        let breaker = Arc::new(Breaker::new(policy, start));
        let mut now = start;
        let mut out: Vec<(Instant, Permit)> = Vec::new();
        for (passed, which, what) in steps {
            now += MS(passed);
            let standing = breaker.availability().standing(now);
            if what < 3 {
                match breaker.try_pass(now) {
                    Ok(permit) => {
                        prop_assert!(standing.may_try());
                        prop_assert_eq!(permit.is_probe(), standing == Standing::ProbeDue);
                        out.push((now, permit));
                    }
                    Err(_) => prop_assert!(!standing.may_try()),
                }
            } else if !out.is_empty() {
                let (_, mut permit) = out.swap_remove(which % out.len());
                match what {
                    3 => permit.settle(Outcome::Success, now),
                    4 => permit.settle(Outcome::Timeout, now),
                    5 => permit.settle(Outcome::Failure, now),
                    _ if which % 2 == 0 => permit.begun(now),
                    _ => drop(permit),
                }
            }
            let probes = out.iter().filter(|(since, p)| p.is_probe() && now < *since + policy.probe_limit).count();
            prop_assert!(probes <= 1, "one probe at a time");
            if let Standing::Ejected { until } = breaker.availability().standing(now) {
                prop_assert!(until <= now + policy.max_ejection + MS(1), "bounded");
            }
        }
        // Even with every permit lost, it comes back.
        out.into_iter().for_each(|(_, permit)| std::mem::forget(permit));
        now += policy.probe_limit + policy.max_ejection;
        if let Ok(permit) = breaker.try_pass(now) {
            permit.settle(Outcome::Success, now);
        }
        prop_assert_eq!(breaker.availability().standing(now), Standing::Available);
    }

    /// Whoever comes, goes and gives back: never more than there is room for, never the expired, never past another of
    /// the same tenant, and nothing is left behind.
    #[test]
    fn a_gate_keeps_room_order_and_rate(
        steps in vec((0_u64..500, 0_usize..4, 0_u8..10, 0_u64..3000, 1_u64..2000), 1..300),
        limit in 1_u32..5,
        max_waiting in 0_usize..6,
        with_rates: bool,
    ) {
        let start = Instant::now();
        let mut policy = AdmissionPolicy::default()
            .with_concurrency(Concurrency::Fixed(limit))
            .with_queue(max_waiting, MS(2000));
        let per_minute = 18_000_u64;
        if with_rates {
            policy = policy.with_rates(RateLimits::default().with_tokens_per_minute(per_minute));
        }
        let mut gate = Gate::new(policy, start);
        let tenants: Vec<Arc<str>> = ["a", "b", "c", "d"].map(Arc::from).into();
        let mut now = start;
        let mut waiting: BTreeMap<u64, (usize, Instant, u64)> = BTreeMap::new();
        let mut inside: Vec<(Grant, u64)> = Vec::new();
        let mut spent = 0_u64;
        let mut verdicts = Vec::new();
        for (passed, who, what, deadline, tokens) in steps {
            now += MS(passed);
            match what {
                0..=4 => {
                    let deadline = now + MS(deadline);
                    let ask = Ask { tenant: tenants[who].clone(), deadline: Some(deadline), tokens };
                    match gate.arrive(&ask, now, &mut verdicts) {
                        Arrival::Granted(grant) => {
                            prop_assert!(waiting.is_empty(), "nobody passes those who wait");
                            spent += tokens;
                            inside.push((grant, tokens));
                        }
                        Arrival::Queued(id) => {
                            waiting.insert(id, (who, deadline, tokens));
                        }
                        Arrival::Full => prop_assert!(waiting.len() >= max_waiting),
                        Arrival::Expired => prop_assert!(deadline <= now),
                    }
                }
                5 | 6 => {
                    if let Some(id) = waiting.keys().nth(who).copied() {
                        waiting.remove(&id);
                        prop_assert!(gate.leave(id));
                        prop_assert!(!gate.leave(id));
                    }
                }
                _ => {
                    if !inside.is_empty() {
                        let (grant, tokens) = inside.swap_remove(who % inside.len());
                        let mut report = Report::default();
                        if what == 9 {
                            report.unsent = true;
                            spent -= tokens;
                        }
                        gate.release(grant, report, now);
                    }
                }
            }
            gate.dispatch(now, &mut verdicts);
            for (id, verdict) in verdicts.drain(..) {
                let (tenant, deadline, tokens) = waiting.remove(&id).expect("a verdict for one that waits");
                match verdict {
                    Verdict::Granted(grant) => {
                        prop_assert!(deadline > now, "the expired never go");
                        let passed = waiting.iter().filter(|(_, (t, d, _))| *t == tenant && *d < deadline && *d > now);
                        prop_assert_eq!(passed.count(), 0, "earliest deadline first");
                        spent += tokens;
                        inside.push((grant, tokens));
                    }
                    Verdict::Expired => prop_assert!(gate.expires(id).is_none()),
                    Verdict::Displaced => {}
                }
            }
            prop_assert!(inside.len() <= limit as usize);
            prop_assert_eq!(gate.in_flight() as usize, inside.len());
            prop_assert_eq!(gate.waiting(), waiting.len());
            prop_assert!(waiting.len() <= max_waiting);
            if with_rates {
                // What is above is one request's debt at most.
                let rate = per_minute * u64::try_from((now - start).as_millis()).expect("short") / 60_000;
                prop_assert!(spent <= per_minute / 6 + rate + 2000, "{} spent", spent);
            }
        }
        let left: BTreeSet<u64> = waiting.keys().copied().collect();
        left.into_iter().for_each(|id| assert!(gate.leave(id)));
        inside.into_iter().for_each(|(grant, _)| gate.release(grant, Report::default(), now));
        prop_assert_eq!((gate.in_flight(), gate.waiting(), gate.first()), (0, 0, None));
    }
}
