//! What must hold of whole requests, whatever their endpoints do: over random fleets, routes, failures, budgets and policies.

mod support;

use std::{
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use loquat_core::{BoxFuture, ChatRequest, ErrorKind, Media, Message, Part, Role};
use loquat_router::{
    Abilities, AfterDelivery, CanarySpec, Class, Draw, EndpointSpec, FallbackPolicy, Fan, GroupSpec, Plan,
    RouteSpec, Timer, canary::CanaryPolicy,
};
use support::{Act, Servers, ask, endpoint, fail, strategies, with_budget};

struct TokioTimer;

impl Timer for TokioTimer {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// What servers say, whole or up to where they break. Two of them agree at first.
const WORDS: [&[&str]; 3] = [&["one ", "two ", "three"], &["one ", "two ", "three"], &["one ", "three"]];

const KINDS: [ErrorKind; 9] = [
    ErrorKind::Overloaded,
    ErrorKind::RateLimited,
    ErrorKind::Timeout,
    ErrorKind::Connect,
    ErrorKind::Server,
    ErrorKind::Authentication,
    ErrorKind::ContextLength,
    ErrorKind::ContentFiltered,
    ErrorKind::InvalidRequest,
];

struct World {
    draw: Draw,
}

impl World {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.draw.below(of.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.draw.below(100) < percent
    }

    fn act(&mut self) -> Act {
        let words = self.one(&WORDS);
        let some = &words[..self.draw.below(words.len())];
        let kind = self.one(&KINDS);
        match self.draw.below(10) {
            0..=2 => Act::Say(words),
            3..=4 => Act::Cut(some),
            5..=6 => Act::Break(some, kind),
            7..=8 => fail(kind),
            _ => Act::Hang,
        }
    }

    fn spec(&mut self, at: usize) -> EndpointSpec {
        let more = [Abilities::VISION, Abilities::REASONING, Abilities::PREFILL];
        let mut abilities = if self.chance(90) { Abilities::COMMON } else { Abilities::NONE };
        for ability in more {
            abilities = if self.chance(60) { abilities.and(ability) } else { abilities };
        }
        let mut spec = endpoint(&format!("e{at}")).with_abilities(abilities).with_weight(1);
        spec.context_window = self.chance(50).then(|| [50, 2_000, 50_000][self.draw.below(3)]);
        spec
    }

    fn group(&mut self, of: usize) -> GroupSpec {
        let names: Vec<_> = (0..of).filter(|_| self.chance(60)).map(|at| format!("e{at}")).collect();
        let names = if names.is_empty() { vec!["e0".to_owned()] } else { names };
        let strategies = strategies();
        GroupSpec::of(names).with_strategy(strategies[self.draw.below(strategies.len())].clone())
    }

    fn route(&mut self, of: usize) -> RouteSpec {
        let policies = [AfterDelivery::Fail, AfterDelivery::Restart, AfterDelivery::Continue];
        let after = self.one(&policies);
        let attempts: &[u32] = if after == AfterDelivery::Fail { &[1, 2, 3, 4, 5] } else { &[2, 3, 4, 5] };
        let fallback =
            FallbackPolicy::default().with_max_attempts(self.one(attempts)).with_after_delivery(after);
        let fallback = match self.draw.below(10) {
            0..=1 => fallback.with_classes(Class::ALL),
            2..=3 => fallback.with_classes([Class::Overload, Class::Server]),
            _ => fallback,
        };
        let fan = match self.draw.below(4) {
            0 => Fan::Race(self.one(&[2, 3])),
            1 => Fan::Hedge(Duration::from_millis(200)),
            _ => Fan::One,
        };
        let route = RouteSpec::new("r").with_fallback(fallback).with_fan(fan);
        let groups = 1 + self.draw.below(3);
        let route = (0..groups).fold(route, |route, _| route.with_group(self.group(of)));
        if self.chance(30) {
            let policy = CanaryPolicy::default().with_shares(50.0, 10.0, 50.0);
            let mut canary = CanarySpec::new("new", self.group(of));
            canary.policy = policy;
            return route.with_canary(canary);
        }
        route
    }

    fn request(&mut self) -> (ChatRequest, Abilities, u32) {
        let mut needs = Abilities::STREAMING;
        let tokens = self.one(&[2, 1_000, 10_000]);
        let mut request = ChatRequest::new("r").with_user("x".repeat(4 * tokens as usize));
        if self.chance(30) {
            needs = needs.and(Abilities::VISION);
            request =
                request.with_message(Message::new(Role::User, vec![Part::Image(Media::url("http://x"))]));
        }
        if self.chance(30) {
            needs = needs.and(Abilities::REASONING);
            request.reasoning_effort = Some("high".into());
        }
        (request, needs, tokens)
    }
}

/// One request in a random world; whether it was answered, whether somebody was asked again, and whether that was after a delivery.
async fn lives(seed: u64) -> [bool; 3] {
    let mut world = World { draw: Draw::seeded(seed) };
    let count = 1 + world.draw.below(7);
    let specs: Vec<_> = (0..count).map(|at| world.spec(at)).collect();
    let acts: Vec<_> = (0..count).map(|_| [world.act()]).collect();
    let scripts: Vec<(&str, &[Act])> =
        specs.iter().zip(&acts).map(|(spec, acts)| (spec.name.as_str(), &acts[..])).collect();
    let servers = Servers::new(&scripts);
    let route = world.route(count);
    let budget = world.one(&[0, 1, 2, 3]);
    let mut plan = Plan::new().with_route(route.clone());
    plan.endpoints = specs.clone();
    let (router, left) = with_budget(&servers, budget);
    let router = router.seed(seed).timer(Arc::new(TokioTimer)).build(&plan).expect("valid");
    // Any share of them, up to all.
    let out = world.draw.below(101);
    for node in router.table().nodes() {
        node.live.set_out(world.chance(out), Instant::now());
    }
    let (request, needs, tokens) = world.request();
    let ended = tokio::time::timeout(Duration::from_secs(60), ask(&router, request)).await;

    let mut asked = 0;
    let mut goes_on = false;
    for spec in &specs {
        let requests = servers.of(&spec.name).asked.lock().expect("no panic").clone();
        assert!(requests.len() <= 1, "{} was asked {} times", spec.name, requests.len());
        for request in &requests {
            let goes_on_here = request.messages.last().is_some_and(|last| last.role == Role::Assistant);
            goes_on |= goes_on_here;
            let needs = if goes_on_here { needs.and(Abilities::PREFILL) } else { needs };
            assert!(spec.abilities.has(needs), "{} lacks {}", spec.name, needs.without(spec.abilities));
            assert!(spec.context_window.is_none_or(|window| window >= tokens), "{} is too small", spec.name);
            asked += 1;
        }
    }
    let spent = budget - left.load(SeqCst);
    assert!(asked <= 1 + budget, "{asked} were asked with a budget for {budget} more");
    let most = route.fallback.max_attempts;
    assert!(asked <= most, "{asked} were asked, and {most} may be");
    let mut turns: Vec<_> =
        specs.iter().zip(&acts).filter(|(spec, _)| servers.of(&spec.name).count() > 0).collect();
    turns.sort_by_key(|(spec, _)| servers.of(&spec.name).turn.load(SeqCst));
    // Those of a race are asked at once, whatever becomes of the others; and who failed while another one won has no say.
    let at_once = if let Fan::Race(count) = route.fan { count.into() } else { 1 };
    let is_won = turns.iter().take(at_once).any(|(_, [act])| act.begins());
    for (at, (spec, [act])) in turns.iter().enumerate() {
        let has_no_say = at < at_once && is_won && !act.begins();
        if let Some(error) = act.error().filter(|error| !has_no_say && !route.fallback.allows(error)) {
            assert!(
                turns.len() <= at_once.max(at + 1),
                "{} failed as {error}, and others were asked",
                spec.name
            );
        }
    }
    if !matches!(route.fan, Fan::Race(_)) {
        // Of a race that is won at once the others are not asked any more, though they were paid for.
        assert_eq!(spent, asked.max(1) - 1, "who was asked after the first was paid for, and nobody else");
    }
    for node in router.table().nodes() {
        assert_eq!(node.live.in_flight(), (0, 0), "{} still has it in hand", node.spec.name);
    }
    let is_whole = matches!(ended, Ok((_, Ok(()))));
    if let Ok((said, Ok(()))) = ended {
        let whole = |spec: &EndpointSpec| {
            let server = servers.of(&spec.name);
            let said_by = |act: &Act| match act {
                Act::Say(words) if goes_on => said.ends_with(&words.concat()),
                Act::Say(words) => said == words.concat(),
                _ => false,
            };
            server.count() == 1
                && acts[specs.iter().position(|other| other.name == spec.name).expect("one")]
                    .iter()
                    .any(said_by)
        };
        assert!(specs.iter().any(whole), "nobody said {said:?} whole");
    }
    [is_whole, asked > 1, goes_on]
}

/// `LOQUAT_ROUTE_SEEDS=100000 cargo test --release -p loquat-router --test operations` takes more. Of
/// fewer than a thousand no shares are asserted.
#[test]
fn whatever_fails_only_the_able_are_asked_within_budget_and_nothing_cut_passes_for_whole() {
    let seeds =
        std::env::var("LOQUAT_ROUTE_SEEDS").ok().map_or(3_000, |seeds| seeds.parse().expect("a number"));
    assert!(seeds > 0, "no seed at all shows nothing");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let mut counts = [0_u64; 3];
    let under_way = Mutex::new(0);
    let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for seed in 0..seeds {
            *under_way.lock().expect("no panic") = seed;
            let seen = runtime.block_on(lives(seed));
            counts.iter_mut().zip(seen).for_each(|(count, seen)| *count += u64::from(seen));
        }
    }));
    if let Err(panic) = all {
        println!("seed {}", under_way.lock().expect("no panic"));
        std::panic::resume_unwind(panic);
    }
    // Of few worlds a share says nothing.
    if seeds < 1_000 {
        return;
    }
    let [whole, again, goes_on] = counts;
    let shares = [whole, again, goes_on].map(|count| count * 1_000 / seeds);
    // Or these worlds show nothing.
    assert!(shares[0] > 150 && shares[1] > 100 && shares[2] > 1, "of a thousand: {shares:?}");
}

/// By that it knows whether to try again by itself.
#[tokio::test]
async fn an_endpoint_is_told_whether_another_one_would_be_asked() {
    let policy = FallbackPolicy::default;
    let blind = |name| endpoint(name).with_abilities(Abilities::NONE);
    let three = || ["a", "b", "c"].map(endpoint);
    let chain = || RouteSpec::new("r").with_group(GroupSpec::of(["a"])).with_group(GroupSpec::of(["b", "c"]));
    for (what, specs, route, expected) in [
        ("a chain", three(), chain(), [Some(true), Some(true), Some(false)]),
        (
            "two of three",
            three(),
            chain().with_fallback(policy().with_max_attempts(2)),
            [Some(true), Some(false), None],
        ),
        (
            "none after some failures",
            three(),
            chain().with_fallback(policy().with_classes([Class::Overload, Class::Server])),
            [Some(false); 3],
        ),
        ("the others cannot", [endpoint("a"), blind("b"), blind("c")], chain(), [Some(false), None, None]),
        ("all at once", three(), chain().with_fan(Fan::Race(3)), [Some(false); 3]),
        (
            "one when another is late",
            three(),
            chain().with_fan(Fan::Hedge(Duration::from_secs(1))),
            [Some(true), Some(true), Some(false)],
        ),
    ] {
        let fails = [fail(ErrorKind::Overloaded)];
        let servers = Servers::new(&["a", "b", "c"].map(|name| (name, &fails[..])));
        let plan = specs.into_iter().fold(Plan::new(), Plan::with_endpoint).with_route(route);
        let router = servers.router(&plan).expect("a plan");
        let request = ChatRequest::new("r").with_user("hi");
        assert!(ask(&router, request).await.1.is_err());
        let mut told: Vec<_> = ["a", "b", "c"]
            .map(|name| servers.of(name).alternatives.lock().expect("no panic").first().copied())
            .into();
        // Which of the second group is asked first is the strategy's to say.
        told[1..].sort_by_key(|told| std::cmp::Reverse(*told));
        assert_eq!(told, expected, "{what}");
    }
}
