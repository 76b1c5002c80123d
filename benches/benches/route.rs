//! One decision of the router: which of 3, 100 or 1,000 endpoints, while two threads decide at once. Beside tower's
//! power of two choices over peak-EWMA, behind the lock that two threads need for it.
//!
//! | case | what is decided |
//! |---|---|
//! | `latency/N` | the better of two by time to first token and tokens in hand |
//! | `tags/N` | the same among those that can see, think and hold 100,000 tokens: one in three |
//! | `weighted/N` | by weight |
//! | `round_robin/N`, `least_in_flight/N` | in turn, by requests in hand |
//! | `cheapest/N` | the cheapest within an objective, of seven prices |
//! | `affinity/N` | by rendezvous on the request's key, bounded by load |
//! | `chain/N` | two groups: of the first all that can do it are out, the second decides with abilities and latency |
//!
//! Every decision is timed by itself, with the clock's own cost inside; the floor is that clock read twice. A case is the
//! median, `…/p99` the 99th percentile, `…/instructions` what callgrind counts for one, in a process of its own. Each decision is of the whole: route by name, abilities, health, strategy, trace; a
//! request is counted as in flight and ends, outside of the time. tower's does no more than its choice.

use std::{
    hint::black_box,
    sync::{Arc, Barrier, Mutex},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use loquat_benches::{alloc, callgrind, is_quick, side};
use loquat_core::{Answer, BoxFuture, ChatRequest, Context as Asking, Endpoint, Error, ErrorKind, Model};
use loquat_router::{
    Abilities, Asked, Connected, EndpointSpec, GroupSpec, Members, Outcome, Plan, Price, RouteSpec, Router,
    Strategy,
};
use tower::{
    Service,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, PeakEwma},
};

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

const THREADS: usize = 2;
const SIZES: [usize; 3] = [3, 100, 1_000];

/// Is chosen, and never asked.
struct Silent;

impl Model for Silent {
    fn infer<'a>(&'a self, _: &'a Asking, _: Arc<ChatRequest>) -> BoxFuture<'a, loquat_core::Result<Answer>> {
        Box::pin(async { Err(Error::new(ErrorKind::Internal, "a bench asks nobody")) })
    }
}

fn endpoint(at: usize, size: usize) -> EndpointSpec {
    let able = Abilities::COMMON.and(Abilities::VISION).and(Abilities::REASONING);
    let spec = EndpointSpec::new(format!("e{at}"), Endpoint::new("p", format!("http://10.0.0.{at}/v1"), "m"))
        .with_weight(1 + (at % 7) as u32)
        .with_price(Price::new((at % 7) as f32, 1.0))
        .with_context_window(8_000 + 200 * at as u32);
    let tag = if at < size / 2 { "first" } else { "second" };
    let spec = spec.with_tag(tag);
    if at.is_multiple_of(3) { spec.with_abilities(able).with_context_window(128_000) } else { spec }
}

fn plan(case: &str, size: usize) -> Plan {
    let strategy = match case {
        "weighted" => Strategy::weighted(),
        "round_robin" => Strategy::round_robin(),
        "least_in_flight" => Strategy::least_in_flight(),
        "cheapest" => Strategy::cheapest(Duration::from_millis(90)),
        "affinity" => Strategy::affinity(),
        _ => Strategy::latency(),
    };
    let group = |members| GroupSpec::new(members).with_strategy(strategy.clone());
    let route = match case {
        "chain" => RouteSpec::new("chat")
            .with_group(group(Members::Tagged(vec!["first".to_owned()])))
            .with_group(group(Members::Tagged(vec!["second".to_owned()]))),
        _ => RouteSpec::new("chat").with_group(group(Members::All)),
    };
    let plan = (0..size).fold(Plan::new(), |plan, at| plan.with_endpoint(endpoint(at, size)));
    // Among others, as in a configuration.
    (0..50).fold(plan.with_route(route), |plan, at| {
        plan.with_route(RouteSpec::new(format!("other-{at}")).with_group(GroupSpec::new(Members::All)))
    })
}

/// A router whose endpoints have been used.
fn router(case: &str, size: usize) -> Router {
    let connect = |_: &EndpointSpec| Ok(Connected::new(Arc::new(Silent)));
    let router = Router::builder(connect).seed(7).build(&plan(case, size)).expect("a valid plan");
    let now = Instant::now();
    for (at, node) in router.table().nodes().iter().enumerate() {
        let mut ticket = node.live.enter(500, now);
        ticket.first_token(now + Duration::from_millis(20 + (at * 7 % 200) as u64));
        ticket.settle(Outcome::Success, now);
        if case == "chain" && at < size / 2 {
            node.live.set_out(true, now);
        }
    }
    router
}

fn asked(case: &str, step: u64) -> Asked {
    let asked =
        Asked::nothing().with_prompt_tokens(2_000).with_affinity(loquat_router::hash(1, &step.to_le_bytes()));
    match case {
        "tags" | "chain" => asked
            .with_abilities(Abilities::STREAMING.and(Abilities::VISION).and(Abilities::REASONING))
            .with_prompt_tokens(100_000),
        _ => asked.with_abilities(Abilities::STREAMING),
    }
}

/// The times of all decisions, in nanoseconds, of threads that decide at once.
fn contend(decisions: usize, decide: impl Fn(usize, &mut Vec<u32>) + Sync) -> Vec<u32> {
    let barrier = Barrier::new(THREADS);
    let all = Mutex::new(Vec::with_capacity(decisions * THREADS));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (barrier, all, decide) = (&barrier, &all, &decide);
            scope.spawn(move || {
                let mut times = Vec::with_capacity(decisions);
                barrier.wait();
                decide(thread, &mut times);
                all.lock().expect("no panic").extend(times);
            });
        }
    });
    all.into_inner().expect("no panic")
}

fn nanos(began: Instant) -> u32 {
    began.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32
}

fn ours(router: &Router, case: &str, decisions: usize) -> Vec<u32> {
    let table = router.table();
    contend(decisions, |thread, times| {
        for step in 0..decisions {
            let asked = asked(case, (step * THREADS + thread) as u64);
            let began = Instant::now();
            let decision = router.decide("chat", &asked, began).expect("somebody");
            times.push(nanos(began));
            let mut ticket = table.nodes()[decision.endpoint as usize].live.enter(500, began);
            ticket.first_token(began + Duration::from_millis(20 + u64::from(decision.endpoint) * 7 % 200));
            ticket.settle(Outcome::Success, began);
        }
    })
}

#[derive(Clone)]
struct Ready;

impl Service<()> for Ready {
    type Response = ();
    type Error = tower::BoxError;
    type Future = std::future::Ready<Result<(), tower::BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), tower::BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

fn balance(size: usize) -> Balance<ServiceList<Vec<PeakEwma<Ready>>>, ()> {
    let decay = Duration::from_secs(10).as_nanos() as f64;
    let one = || PeakEwma::new(Ready, Duration::from_millis(50), decay, CompleteOnResponse::default());
    let services: Vec<_> = (0..size).map(|_| one()).collect();
    Balance::new(ServiceList::new::<()>(services))
}

fn towers(size: usize, decisions: usize) -> Vec<u32> {
    let balance = Mutex::new(balance(size));
    // The first takes the services in.
    let mut cx = Context::from_waker(Waker::noop());
    assert!(balance.lock().expect("no panic").poll_ready(&mut cx).is_ready());
    contend(decisions, |_, times| {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..decisions {
            let began = Instant::now();
            let mut balance = balance.lock().expect("no panic");
            assert!(balance.poll_ready(&mut cx).is_ready(), "all are ready");
            let answer = balance.call(());
            drop(balance);
            times.push(nanos(began));
            drop(black_box(answer));
        }
    })
}

/// Instructions of one decision: of many less those of few, so that all that is done once falls out.
fn count(case: &str, size: usize, who: &str) -> f64 {
    let count = |decisions: usize| {
        callgrind::instructions(&[COUNT, case, &size.to_string(), who, &decisions.to_string()])
    };
    let (few, many) = (1_000, 6_000);
    (count(many) - count(few)) / (many - few) as f64
}

/// The argument of the process that decides that often, for callgrind.
const COUNT: &str = "--count";

fn counted(case: &str, size: usize, who: &str, decisions: usize) {
    if who == OURS {
        let (router, now) = (router(case, size), Instant::now());
        for step in 0..decisions {
            black_box(router.decide("chat", &asked(case, step as u64), now).expect("somebody"));
        }
        return;
    }
    let mut balance = balance(size);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..decisions {
        assert!(balance.poll_ready(&mut cx).is_ready(), "all are ready");
        drop(black_box(balance.call(())));
    }
}

const OURS: &str = "ours";
const TOWER: &str = "tower p2c";

fn floor(decisions: usize) -> Vec<u32> {
    contend(decisions, |_, times| (0..decisions).for_each(|_| times.push(nanos(black_box(Instant::now())))))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [count, case, size, who, decisions] = arguments.as_slice()
        && count == COUNT
    {
        return counted(case, size.parse().expect("a size"), who, decisions.parse().expect("a count"));
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("skipped: run by `cargo xtask bench route`");
        return;
    }
    let (rounds, decisions) = if is_quick() { (3, 20_000) } else { (9, 100_000) };
    let cases =
        ["latency", "tags", "weighted", "round_robin", "least_in_flight", "cheapest", "affinity", "chain"];
    for size in SIZES {
        let towers_own = count("", size, TOWER);
        for case in cases {
            let router = router(case, size);
            let (mut own, mut peer, mut least) = (Vec::new(), Vec::new(), Vec::new());
            ours(&router, case, 2_000);
            // In turn, so that a neighbour's burst meets both; medians over the rounds.
            for _ in 0..rounds {
                own.push(both(ours(&router, case, decisions)));
                peer.push(both(towers(size, decisions)));
                least.push(both(floor(decisions)));
            }
            for (who, rounds) in [(OURS, own), (TOWER, peer), ("floor", least)] {
                side::figure(&format!("{case}/{size}"), who, median(rounds.iter().map(|both| both.0)), "ns");
                side::figure(
                    &format!("{case}/{size}/p99"),
                    who,
                    median(rounds.iter().map(|both| both.1)),
                    "ns",
                );
            }
            for (who, counted) in [(OURS, count(case, size, OURS)), (TOWER, towers_own)] {
                side::figure(&format!("{case}/{size}/instructions"), who, counted, "instructions");
            }
            let (now, asked) = (Instant::now(), asked(case, 1));
            side::allocations(&format!("{case}/{size}"), OURS, 1_000, || {
                for _ in 0..1_000 {
                    black_box(router.decide("chat", &asked, now).expect("somebody"));
                }
            });
        }
    }
}

/// The median and the 99th percentile.
fn both(mut times: Vec<u32>) -> (f64, f64) {
    times.sort_unstable();
    (times[times.len() / 2].into(), times[times.len() * 99 / 100].into())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
