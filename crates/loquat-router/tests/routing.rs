//! A router over scripted endpoints: names, groups, fallbacks before and after the first token, races, reloads.

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use loquat_core::{
    BoxFuture, ChatRequest, Context, ContextLength, Error, ErrorKind, Event, Media, Message, Model, Part,
    Probe, RetryHint, Role,
};
use loquat_router::{
    Abilities, AfterDelivery, CanarySpec, Class, Connected, EndpointSpec, FallbackPolicy, Fan, GroupSpec,
    Members, Plan, Price, RouteSpec, Router, RouterBuilder, StableKey, Strategy, Timer, canary::CanaryPolicy,
};
use support::{Act, Servers, ask, endpoint, fail};

fn hi(model: &str) -> ChatRequest {
    ChatRequest::new(model).with_user("hi")
}

/// Two groups of one endpoint each.
fn two(first: &[Act], second: &[Act], fallback: FallbackPolicy) -> (Servers, Router) {
    let servers = Servers::new(&[("a", first), ("b", second)]);
    let plan = Plan::new()
        .with_endpoint(endpoint("a"))
        .with_endpoint(endpoint("b").with_abilities(Abilities::COMMON.and(Abilities::PREFILL)))
        .with_route(
            RouteSpec::new("chat")
                .with_group(GroupSpec::of(["a"]))
                .with_group(GroupSpec::of(["b"]))
                .with_fallback(fallback),
        );
    let router = servers.router(&plan).expect("a valid plan");
    (servers, router)
}

#[tokio::test]
async fn names_aliases_and_stars() {
    let servers =
        Servers::new(&[("a", &[Act::Say(&["a"])]), ("b", &[Act::Say(&["b"])]), ("c", &[Act::Say(&["c"])])]);
    let route = |name: &str, endpoint: &str| RouteSpec::new(name).with_group(GroupSpec::of([endpoint]));
    let plan = Plan::new()
        .with_endpoint(endpoint("a"))
        .with_endpoint(endpoint("b"))
        .with_endpoint(endpoint("c"))
        .with_route(route("gpt-4o", "a").with_alias("best"))
        .with_route(route("gpt-*", "b"))
        .with_route(route("*", "c"));
    let router = servers.router(&plan).expect("valid");
    for (name, who) in [("gpt-4o", "a"), ("best", "a"), ("gpt-4o-mini", "b"), ("gpt-", "b"), ("claude", "c")]
    {
        assert_eq!(ask(&router, hi(name)).await.0, who, "{name}");
    }
    let servers = Servers::new(&[("a", &[Act::Say(&["a"])])]);
    let router = servers.router(&Plan::new().with_endpoint(endpoint("a"))).expect("valid");
    assert_eq!(ask(&router, hi("m")).await.0, "a", "without routes a model's name is one");
    let error = ask(&router, hi("x")).await.1.expect_err("no such route");
    assert_eq!((error.kind(), error.message().contains("there are: m")), (ErrorKind::NotConfigured, true));
}

#[tokio::test]
async fn failures_before_the_first_token_go_unnoticed() {
    for act in [
        fail(ErrorKind::Overloaded),
        fail(ErrorKind::Timeout),
        fail(ErrorKind::Connect),
        fail(ErrorKind::Authentication),
        Act::Cut(&[]),
        Act::Break(&[], ErrorKind::Server),
    ] {
        let (servers, router) = two(&[act], &[Act::Say(&["all ", "well"])], FallbackPolicy::default());
        let (said, ended) = ask(&router, hi("chat")).await;
        assert_eq!((said.as_str(), ended), ("all well", Ok(())));
        assert_eq!((servers.of("a").count(), servers.of("b").count()), (1, 1));
    }
}

#[tokio::test]
async fn what_nobody_would_do_better_is_not_asked_twice() {
    for kind in [ErrorKind::InvalidRequest, ErrorKind::ContentFiltered, ErrorKind::Cancelled] {
        let (servers, router) = two(&[fail(kind)], &[Act::Say(&["no"])], FallbackPolicy::default());
        assert_eq!(ask(&router, hi("chat")).await.1.map_err(|error| error.kind()), Err(kind));
        assert_eq!(servers.of("b").count(), 0);
    }
    let filter = FallbackPolicy::default().with_classes([Class::ContentFilter]);
    let (_, router) = two(&[fail(ErrorKind::ContentFiltered)], &[Act::Say(&["yes"])], filter);
    assert_eq!(ask(&router, hi("chat")).await.0, "yes", "where that is allowed");
    let (_, router) =
        two(&[fail(ErrorKind::Server)], &[fail(ErrorKind::Overloaded)], FallbackPolicy::default());
    let error = ask(&router, hi("chat")).await.1.expect_err("both fail");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.message().contains("the last of 2 endpoints"), "{error}");
}

#[tokio::test]
async fn after_the_first_token_the_policy_decides() {
    let broken = Act::Cut(&["one ", "two "]);
    let run = async |policy, second: Act| {
        let fallback = FallbackPolicy::default().with_after_delivery(policy);
        let (servers, router) = two(std::slice::from_ref(&broken), &[second], fallback);
        let (said, ended) = ask(&router, hi("chat")).await;
        (said, ended.map_err(|error| error.kind()), servers)
    };
    let (said, ended, servers) = run(AfterDelivery::Fail, Act::Say(&["x"])).await;
    assert_eq!((said.as_str(), ended, servers.of("b").count()), ("one two ", Err(ErrorKind::Truncated), 0));

    let (said, ended, _) = run(AfterDelivery::Restart, Act::Say(&["one two th", "ree"])).await;
    assert_eq!((said.as_str(), ended), ("one two three", Ok(())), "where it says the same again");
    for other in
        [Act::Say(&["one too many"]), Act::Say(&["one"]), fail(ErrorKind::Server), Act::Cut(&["one "])]
    {
        let (said, ended, _) = run(AfterDelivery::Restart, other).await;
        assert_eq!((said.as_str(), ended), ("one two ", Err(ErrorKind::Truncated)), "never a false whole");
    }

    let (said, ended, servers) = run(AfterDelivery::Continue, Act::Say(&["three"])).await;
    assert_eq!((said.as_str(), ended), ("one two three", Ok(())));
    assert_eq!(servers.of("b").last_words(), ["hi", "one two "], "it was given the beginning");
}

#[tokio::test]
async fn an_answer_that_breaks_off_twice_is_gone_on_with_from_all_of_it() {
    let servers = Servers::new(&[
        ("a", &[Act::Cut(&["one "])]),
        ("b", &[Act::Cut(&["two "])]),
        ("c", &[Act::Say(&["three"])]),
    ]);
    let fallback = FallbackPolicy::default().with_after_delivery(AfterDelivery::Continue);
    let able = Abilities::COMMON.and(Abilities::PREFILL);
    let route = ["a", "b", "c"].iter().fold(RouteSpec::new("chat").with_fallback(fallback), |route, name| {
        route.with_group(GroupSpec::of([*name]))
    });
    let plan = ["a", "b", "c"]
        .iter()
        .fold(Plan::new(), |plan, name| plan.with_endpoint(endpoint(name).with_abilities(able)));
    let router = servers.router(&plan.with_route(route)).expect("valid");
    assert_eq!(ask(&router, hi("chat")).await, ("one two three".to_owned(), Ok(())));
    assert_eq!(servers.of("b").last_words(), ["hi", "one "]);
    assert_eq!(servers.of("c").last_words(), ["hi", "one two "], "once, and not beside the first part");
}

/// What was counted for the first part is not counted again with both: 2000 tokens were said, and not 3000.
#[tokio::test]
async fn an_answer_that_breaks_off_twice_needs_a_window_for_its_text_once() {
    let long: &'static str = "x".repeat(4_000).leak();
    let cut = [Act::Cut(vec![long].leak())];
    let say = [Act::Say(&["end"])];
    let servers = Servers::new(&[("a", &cut), ("b", &cut), ("small", &say), ("enough", &say)]);
    let fallback = FallbackPolicy::default().with_after_delivery(AfterDelivery::Continue);
    let mut plan = Plan::new();
    let mut route = RouteSpec::new("chat").with_fallback(fallback);
    for (name, window) in [("a", 1_500), ("b", 1_500), ("small", 1_900), ("enough", 2_500)] {
        let able = Abilities::COMMON.and(Abilities::PREFILL);
        plan = plan.with_endpoint(endpoint(name).with_abilities(able).with_context_window(window));
        route = route.with_group(GroupSpec::of([name]));
    }
    let router = servers.router(&plan.with_route(route)).expect("valid");
    let (said, ended) = ask(&router, hi("chat")).await;
    assert_eq!((said.len(), ended), (8_003, Ok(())));
    assert_eq!((servers.of("small").count(), servers.of("enough").count()), (0, 1));
}

#[tokio::test]
async fn nobody_goes_on_without_the_ability_to() {
    let servers = Servers::new(&[("a", &[Act::Cut(&["one "])]), ("b", &[Act::Say(&["two"])])]);
    let fallback = FallbackPolicy::default().with_after_delivery(AfterDelivery::Continue);
    let plan = Plan::new().with_endpoint(endpoint("a")).with_endpoint(endpoint("b")).with_route(
        RouteSpec::new("chat")
            .with_group(GroupSpec::of(["a"]))
            .with_group(GroupSpec::of(["b"]))
            .with_fallback(fallback),
    );
    let router = servers.router(&plan).expect("valid");
    let (said, ended) = ask(&router, hi("chat")).await;
    let error = ended.expect_err("truncated");
    assert_eq!((said.as_str(), error.kind(), servers.of("b").count()), ("one ", ErrorKind::Truncated, 0));
}

#[tokio::test]
async fn abilities_and_windows_are_checked_before_anything_is_sent() {
    let say: &[Act] = &[Act::Say(&["ok"])];
    let servers = Servers::new(&[("small", say), ("large", say), ("eyes", say)]);
    let plan = Plan::new()
        .with_endpoint(endpoint("small").with_context_window(1_000))
        .with_endpoint(endpoint("large").with_context_window(9_000))
        .with_endpoint(
            endpoint("eyes")
                .with_abilities(Abilities::COMMON.and(Abilities::VISION))
                .with_context_window(2_000),
        )
        .with_route(RouteSpec::new("chat").with_group(GroupSpec::new(Members::All)));
    let router = servers.router(&plan).expect("valid");
    let picture = Message::new(Role::User, vec![Part::Image(Media::url("http://x"))]);
    for _ in 0..20 {
        assert_eq!(ask(&router, hi("chat").with_message(picture.clone())).await.0, "ok");
        assert_eq!(ask(&router, ChatRequest::new("chat").with_user("x".repeat(20_000))).await.0, "ok");
    }
    assert_eq!(
        (servers.of("eyes").count(), servers.of("large").count(), servers.of("small").count()),
        (20, 20, 0)
    );
    let long = ChatRequest::new("chat").with_user("x".repeat(40_000));
    let error = ask(&router, long).await.1.expect_err("too long for all");
    assert_eq!(error.kind(), ErrorKind::ContextLength);
    assert_eq!(error.context_length(), Some(ContextLength::new(Some(9_000), Some(10_000))));
    let mut thinks = hi("chat");
    thinks.reasoning_effort = Some("high".into());
    let error = ask(&router, thinks).await.1.expect_err("nobody thinks");
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("reasoning"), "{error}");
}

#[tokio::test]
async fn a_prompt_that_was_too_long_goes_to_a_wider_window() {
    let too_long = Error::new(ErrorKind::ContextLength, "too long")
        .with_context_length(ContextLength::new(Some(4_000), Some(7_000)));
    let servers = Servers::new(&[
        ("a", &[Act::Fail(too_long)]),
        ("b", &[Act::Say(&["b"])]),
        ("c", &[Act::Say(&["c"])]),
    ]);
    let plan = Plan::new()
        .with_endpoint(endpoint("a"))
        .with_endpoint(endpoint("b").with_context_window(5_000))
        .with_endpoint(endpoint("c").with_context_window(8_000))
        .with_route(
            RouteSpec::new("chat").with_group(GroupSpec::of(["a"])).with_group(GroupSpec::of(["b", "c"])),
        );
    let router = servers.router(&plan).expect("valid");
    assert_eq!(ask(&router, hi("chat")).await.0, "c");
    assert_eq!(servers.of("b").count(), 0);
}

/// A router whose endpoints share a budget for further attempts, and what is left of it.
fn with_budget(servers: &Servers, budget: u32) -> (RouterBuilder, Arc<AtomicU32>) {
    let (own, left) = (servers.clone(), Arc::new(AtomicU32::new(budget)));
    let purse = left.clone();
    let builder = Router::builder(move |spec: &EndpointSpec| {
        let purse = purse.clone();
        Ok(Connected::new(own.0[&spec.name].clone()).with_allowance(Arc::new(move |_| {
            purse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        })))
    });
    (builder, left)
}

#[tokio::test]
async fn a_budget_holds_across_fallbacks() {
    let servers = Servers::new(&[("a", &[fail(ErrorKind::Server)]), ("b", &[Act::Say(&["b"])])]);
    let plan = Plan::new()
        .with_endpoint(endpoint("a"))
        .with_endpoint(endpoint("b"))
        .with_route(RouteSpec::new("chat").with_group(GroupSpec::of(["a"])).with_group(GroupSpec::of(["b"])));
    let (router, _) = with_budget(&servers, 3);
    let router = router.build(&plan).expect("valid");
    let mut answered = 0;
    for _ in 0..4 {
        answered += u32::from(ask(&router, hi("chat")).await.1.is_ok());
    }
    assert_eq!((answered, servers.of("b").count()), (3, 3));
    let (_, ended) = ask(&router, hi("chat")).await;
    // By now the first rests for its failures, or fails again: either way nobody else is asked beyond the budget.
    if let Err(error) = ended {
        assert!(error.message().contains("budget"), "{error}");
    }
}

struct TokioTimer;

impl Timer for TokioTimer {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

#[tokio::test(start_paused = true)]
async fn races_and_hedges() {
    let run = async |fan, a: Act, b: Act| {
        let servers = Servers::new(&[("a", &[a]), ("b", &[b])]);
        let group = GroupSpec::of(["a", "b"]).with_strategy(Strategy::round_robin());
        let plan = Plan::new()
            .with_endpoint(endpoint("a"))
            .with_endpoint(endpoint("b"))
            .with_route(RouteSpec::new("chat").with_group(group).with_fan(fan));
        let router = servers.builder().timer(Arc::new(TokioTimer)).build(&plan).expect("valid");
        let began = tokio::time::Instant::now();
        let (said, _) =
            tokio::time::timeout(Duration::from_secs(60), ask(&router, hi("chat"))).await.expect("in time");
        let load: Vec<_> = router.table().nodes().iter().map(|node| node.live.in_flight()).collect();
        assert_eq!(load, [(0, 0), (0, 0)], "who loses is given up");
        (said, began.elapsed().as_millis(), servers.of("b").count())
    };
    let hedge = Fan::Hedge(Duration::from_millis(200));
    assert_eq!(run(Fan::Race(2), Act::Hang, Act::Say(&["b"])).await, ("b".into(), 0, 1));
    assert_eq!(run(Fan::Race(2), fail(ErrorKind::Server), Act::Say(&["b"])).await.0, "b");
    let (said, ms, _) = run(hedge, Act::Hang, Act::Say(&["b"])).await;
    assert!(said == "b" && (200..210).contains(&ms), "{ms} ms");
    assert_eq!(run(hedge, Act::Say(&["a"]), Act::Say(&["b"])).await, ("a".into(), 0, 0), "nothing to hedge");
    assert_eq!(run(hedge, fail(ErrorKind::Server), Act::Say(&["b"])).await.0, "b", "no need to wait then");
}

/// A first one that has failed is the policy's matter, with a hedge as without.
#[tokio::test(start_paused = true)]
async fn a_hedge_asks_nobody_whom_the_policy_would_not() {
    let usual = FallbackPolicy::default;
    let too_long = fail(ErrorKind::ContextLength);
    for (first, fallback, asked) in [
        (fail(ErrorKind::ContentFiltered), usual(), [1, 0, 0]),
        (fail(ErrorKind::InvalidRequest), usual(), [1, 0, 0]),
        (fail(ErrorKind::Authentication), usual().with_classes([Class::Overload]), [1, 0, 0]),
        (fail(ErrorKind::Server), usual(), [1, 1, 0]),
        (too_long.clone(), usual(), [1, 0, 1]),
        (fail(ErrorKind::Server), FallbackPolicy::never(), [1, 0, 0]),
        (Act::Hang, usual(), [1, 1, 0]),
        (Act::Hang, FallbackPolicy::never(), [1, 0, 0]),
    ] {
        let servers =
            Servers::new(&[("a", &[first]), ("b", &[Act::Say(&["b"])]), ("wide", &[Act::Say(&["wide"])])]);
        let route =
            RouteSpec::new("chat").with_fan(Fan::Hedge(Duration::from_millis(200))).with_fallback(fallback);
        let names = ["a", "b", "wide"];
        let route = names.iter().fold(route, |route, name| route.with_group(GroupSpec::of([*name])));
        let plan = [1_000, 1_000, 9_000].iter().zip(names).fold(Plan::new(), |plan, (window, name)| {
            plan.with_endpoint(endpoint(name).with_context_window(*window))
        });
        let builder = servers.builder().timer(Arc::new(TokioTimer));
        let router = builder.build(&plan.with_route(route.clone())).expect("valid");
        drop(tokio::time::timeout(Duration::from_secs(60), ask(&router, hi("chat"))).await);
        assert_eq!(names.map(|name| servers.of(name).count()), asked, "{:?}", route.fallback);
    }
}

/// One of a race that nobody would do better than ends it, whatever the others failed for.
#[tokio::test]
async fn after_a_race_the_policy_is_asked_about_each_failure() {
    let (filtered, server) = (fail(ErrorKind::ContentFiltered), fail(ErrorKind::Server));
    let too_long = fail(ErrorKind::ContextLength);
    for (first, second, asked) in [
        (&filtered, &server, [1, 1, 0, 0]),
        (&server, &filtered, [1, 1, 0, 0]),
        (&server, &server, [1, 1, 1, 0]),
        (&server, &too_long, [1, 1, 0, 1]),
    ] {
        let say = [Act::Say(&["ok"])];
        let servers = Servers::new(&[
            ("a", std::slice::from_ref(first)),
            ("b", std::slice::from_ref(second)),
            ("c", &say),
            ("wide", &say),
        ]);
        let names = ["a", "b", "c", "wide"];
        let route = RouteSpec::new("chat").with_fan(Fan::Race(2));
        let route = names.iter().fold(route, |route, name| route.with_group(GroupSpec::of([*name])));
        let windows = [500, 1_000, 1_000, 9_000];
        let plan = windows.iter().zip(names).fold(Plan::new(), |plan, (window, name)| {
            plan.with_endpoint(endpoint(name).with_context_window(*window))
        });
        let router = servers.router(&plan.with_route(route)).expect("valid");
        drop(ask(&router, hi("chat")).await);
        assert_eq!(names.map(|name| servers.of(name).count()), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_is_paid_for_when_it_is_asked() {
    for (first, budget, said, spent) in [
        (Act::Say(&["a"]), 1, Some("a"), 0),
        (Act::Hang, 1, Some("b"), 1),
        (Act::Hang, 0, None, 0),
        (fail(ErrorKind::Server), 0, Some(""), 0),
    ] {
        let servers = Servers::new(&[("a", &[first]), ("b", &[Act::Say(&["b"])])]);
        let route = RouteSpec::new("chat").with_fan(Fan::Hedge(Duration::from_millis(200)));
        let route = route.with_group(GroupSpec::of(["a"])).with_group(GroupSpec::of(["b"]));
        let plan = Plan::new().with_endpoint(endpoint("a")).with_endpoint(endpoint("b")).with_route(route);
        let (router, left) = with_budget(&servers, budget);
        let router = router.timer(Arc::new(TokioTimer)).build(&plan).expect("valid");
        let told = Arc::new(Told::default());
        let context = Context::new().with_probe(told.clone() as Arc<dyn Probe>);
        let asked = async { router.infer(&context, Arc::new(hi("chat"))).await?.collect().await };
        let answer = tokio::time::timeout(Duration::from_secs(60), asked).await.ok();
        let text = answer.map(|answer| answer.map_or_else(|_| String::new(), |response| response.text()));
        assert_eq!(text.as_deref(), said);
        let told: Vec<_> = told.0.lock().expect("no panic").iter().map(|(_, why)| why.clone()).collect();
        assert_eq!(budget - left.load(Ordering::SeqCst), spent, "{told:?}");
        assert_eq!(u32::try_from(servers.of("b").count()), Ok(spent));
        assert_eq!(told.contains(&"hedge".to_owned()), spent == 1, "{told:?}");
    }
}

/// Whoever goes on with an answer is one more endpoint of the same answer.
#[tokio::test]
async fn going_on_is_paid_for_and_counted_as_any_fallback() {
    for (policy, second) in [(AfterDelivery::Restart, "one two"), (AfterDelivery::Continue, "two")] {
        for (attempts, budget, goes_on) in [(2, 1, true), (2, 0, false), (1, 1, false)] {
            let second: &'static [&'static str] = if second == "two" { &["two"] } else { &["one ", "two"] };
            let servers = Servers::new(&[("a", &[Act::Cut(&["one "])]), ("b", &[Act::Say(second)])]);
            let able = Abilities::COMMON.and(Abilities::PREFILL);
            let fallback = FallbackPolicy::default().with_after_delivery(policy).with_max_attempts(attempts);
            let route = RouteSpec::new("chat").with_fallback(fallback);
            let route = route.with_group(GroupSpec::of(["a"])).with_group(GroupSpec::of(["b"]));
            let plan =
                Plan::new().with_endpoint(endpoint("a")).with_endpoint(endpoint("b").with_abilities(able));
            let (router, _) = with_budget(&servers, budget);
            let router = router.build(&plan.with_route(route)).expect("valid");
            let (said, ended) = ask(&router, hi("chat")).await;
            let whole = if goes_on { ("one two", true) } else { ("one ", false) };
            assert_eq!((said.as_str(), ended.is_ok()), whole, "{policy:?} {attempts} {budget}");
            assert_eq!(servers.of("b").count(), usize::from(goes_on), "{policy:?} {attempts} {budget}");
            if let Err(error) = ended {
                assert_eq!(error.kind(), ErrorKind::Truncated);
                let why = if budget == 0 { "budget for further attempts" } else { "as many endpoints" };
                assert!(error.to_string().contains(why) || format!("{error:?}").contains(why), "{error:?}");
            }
        }
    }
}

#[tokio::test]
async fn who_says_when_to_come_back_is_left_alone_until_then() {
    let busy = Error::new(ErrorKind::RateLimited, "slow down")
        .with_retry_hint(RetryHint::after(Duration::from_secs(60)));
    let (servers, router) = two(&[Act::Fail(busy)], &[Act::Say(&["b"])], FallbackPolicy::default());
    for _ in 0..10 {
        assert_eq!(ask(&router, hi("chat")).await.0, "b");
    }
    assert!(servers.of("a").count() <= 1 + 1, "asked {} times", servers.of("a").count());
}

#[tokio::test]
async fn a_new_table_keeps_what_is_known_and_loses_no_request() {
    let say: &[Act] = &[Act::Say(&["ok"])];
    let servers = Servers::new(&[("a", say), ("b", say)]);
    let route = |names: &[&str]| RouteSpec::new("chat").with_group(GroupSpec::of(names.iter().copied()));
    let both =
        Plan::new().with_endpoint(endpoint("a")).with_endpoint(endpoint("b")).with_route(route(&["a", "b"]));
    let router = servers.router(&both).expect("valid");
    for _ in 0..10 {
        assert_eq!(ask(&router, hi("chat")).await.0, "ok");
    }
    let before = router.table().nodes()[0].clone();
    let under_way = router.infer(&Context::new(), Arc::new(hi("chat"))).await.expect("begins");

    let one =
        Plan::new().with_endpoint(endpoint("a").with_price(Price::new(1.0, 2.0))).with_route(route(&["a"]));
    router.replace(&one).expect("valid");
    let after = router.table().nodes()[0].clone();
    assert!(Arc::ptr_eq(&before.live, &after.live), "the same load, health and breaker");
    assert_eq!(after.spec.price, Price::new(1.0, 2.0));
    assert_eq!(
        under_way.collect().await.map(|response| response.text()),
        Ok("ok".into()),
        "finishes by the old table"
    );

    let wrong = Plan::new()
        .with_endpoint(endpoint("a"))
        .with_endpoint(endpoint("a"))
        .with_route(route(&["a", "z"]))
        .with_route(RouteSpec::new("x*y"));
    let error = router.replace(&wrong).expect_err("refused");
    for part in ["endpoint `a`: another one", "no endpoint `z`", "`x*y` is no name", "no group"] {
        assert!(error.message().contains(part), "{part} in {error}");
    }
    assert_eq!(ask(&router, hi("chat")).await.0, "ok", "the old one stays");
}

/// Of a thread that asks: says that it has ended, also where it panics.
struct Ends<'a> {
    running: &'a AtomicU32,
    failed: &'a AtomicBool,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.failed.fetch_or(std::thread::panicking(), Ordering::SeqCst);
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Threads ask while tables are replaced without a pause, all endpoints at once: nobody is lost, and nothing stays in hand of whoever
/// left.
#[test]
fn threads_lose_no_request_while_tables_are_replaced() {
    let say: &[Act] = &[Act::Say(&["all ", "well"])];
    let servers = Servers::new(&[("a", say), ("b", say), ("c", say)]);
    let plans = ["a", "b", "c"].map(|name| {
        let route = RouteSpec::new("chat").with_group(GroupSpec::of([name]));
        Plan::new().with_endpoint(endpoint(name)).with_route(route)
    });
    let router = servers.router(&plans[0]).expect("valid");
    let mut lives: Vec<_> = router.table().nodes().iter().map(|node| node.live.clone()).collect();
    let (running, failed) = (AtomicU32::new(4), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let _ends = Ends { running: &running, failed: &failed };
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                for _ in 0..500 {
                    let answered = runtime.block_on(ask(&router, hi("chat")));
                    assert_eq!(answered, ("all well".to_owned(), Ok(())));
                }
            });
        }
        let asked = || ["a", "b", "c"].iter().map(|name| servers.of(name).count()).sum::<usize>();
        let is_over = || running.load(Ordering::SeqCst) == 0 || failed.load(Ordering::SeqCst);
        // As long as anybody asks, and after a few requests each: not many tables within one choice.
        for plan in plans.iter().cycle() {
            let before = asked();
            while asked() < before + 4 && !is_over() {
                std::thread::yield_now();
            }
            router.replace(plan).expect("valid");
            // Of those that have left, only who still has something in hand is of interest.
            lives.retain(|live| live.in_flight() != (0, 0));
            lives.extend(router.table().nodes().iter().map(|node| node.live.clone()));
            if is_over() {
                break;
            }
        }
    });
    assert!(lives.iter().all(|live| live.in_flight() == (0, 0)), "everything was given back");
    let asked: usize = ["a", "b", "c"].iter().map(|name| servers.of(name).count()).sum();
    assert_eq!(asked, 4 * 500, "each was asked for once");
}

/// Fails when it is asked, and by then the table is another.
struct Leaves {
    router: Mutex<Option<Router>>,
    then: Plan,
}

impl Model for Leaves {
    fn infer<'a>(
        &'a self,
        _: &'a Context,
        _: Arc<ChatRequest>,
    ) -> BoxFuture<'a, loquat_core::Result<loquat_core::Answer>> {
        let router = self.router.lock().expect("no panic").take().expect("asked once");
        router.replace(&self.then).expect("valid");
        Box::pin(async { Err(Error::new(ErrorKind::Connect, "it has gone")) })
    }
}

/// All who were there when it began have left: it is answered by those who came.
#[tokio::test]
async fn a_request_goes_on_by_the_new_table_when_the_old_one_has_left() {
    let route = |name: &str| RouteSpec::new("gpt-*").with_group(GroupSpec::of([name]));
    let plan = |name: &str| Plan::new().with_endpoint(endpoint(name)).with_route(route(name));
    let servers = Servers::new(&[("b", &[Act::Say(&["b"])])]);
    let leaves = Arc::new(Leaves { router: Mutex::default(), then: plan("b") });
    let (own, first) = (servers.clone(), leaves.clone());
    let router = Router::builder(move |spec: &EndpointSpec| match &*spec.name {
        "a" => Ok(Connected::new(first.clone())),
        name => Ok(Connected::new(own.0[name].clone())),
    });
    let router = router.build(&plan("a")).expect("valid");
    *leaves.router.lock().expect("no panic") = Some(router.clone());
    assert_eq!(ask(&router, hi("gpt-4o")).await, ("b".to_owned(), Ok(())));
}

/// Its limit is that of the table that the choice would come from.
#[tokio::test]
async fn a_request_that_goes_over_to_a_new_table_has_its_limit() {
    let plan = |name: &str, fallback| {
        let route = RouteSpec::new("chat").with_group(GroupSpec::of([name])).with_fallback(fallback);
        Plan::new().with_endpoint(endpoint(name)).with_route(route)
    };
    let servers = Servers::new(&[("b", &[Act::Say(&["b"])])]);
    let then = plan("b", FallbackPolicy::never());
    let leaves = Arc::new(Leaves { router: Mutex::default(), then });
    let (own, first) = (servers.clone(), leaves.clone());
    let router = Router::builder(move |spec: &EndpointSpec| match &*spec.name {
        "a" => Ok(Connected::new(first.clone())),
        name => Ok(Connected::new(own.0[name].clone())),
    });
    let router = router.build(&plan("a", FallbackPolicy::default())).expect("valid");
    *leaves.router.lock().expect("no panic") = Some(router.clone());
    let error = ask(&router, hi("chat")).await.1.expect_err("only one may be asked");
    assert_eq!((error.kind(), servers.of("b").count()), (ErrorKind::Connect, 0));
}

#[tokio::test]
async fn an_endpoint_that_leaves_is_drained() {
    let say: &[Act] = &[Act::Say(&["ok"])];
    let servers = Servers::new(&[("a", say), ("b", say)]);
    let route = |name: &str| RouteSpec::new("chat").with_group(GroupSpec::of([name]));
    let plan = |name: &str| Plan::new().with_endpoint(endpoint(name)).with_route(route(name));
    let router = servers.router(&plan("a")).expect("valid");
    let node = router.table().nodes()[0].clone();
    let answer = router.infer(&Context::new(), Arc::new(hi("chat"))).await.expect("begins");
    router.replace(&plan("b")).expect("valid");
    assert!(matches!(node.live.state(router.epoch()), loquat_router::health::State::Draining { .. }));
    assert_eq!(node.live.in_flight().0, 1);
    drop(answer);
    assert_eq!(node.live.in_flight().0, 0);
}

/// A caller stays on a canary's side: by the program's own key, by tenant without one, by conversation without either.
#[tokio::test]
async fn a_caller_stays_on_one_side_of_a_canary() {
    let by_user: StableKey = Arc::new(|request: &ChatRequest, _: &Context| {
        let text = request.messages.first()?.text();
        Some(loquat_router::hash(7, text.split_once(':')?.0.as_bytes()))
    });
    for (name, key, caller) in [
        (
            "user",
            Some(by_user),
            (|at, turn| (format!("t{turn}"), format!("u{at}: {turn}"))) as fn(u32, u32) -> _,
        ),
        ("tenant", None, |at, turn| (format!("t{at}"), format!("{turn}"))),
        ("conversation", None, |at, _| (String::new(), format!("c{at}"))),
    ] {
        let servers = Servers::new(&[("old", &[Act::Say(&["old"])]), ("new", &[Act::Say(&["new"])])]);
        let mut canary = CanarySpec::new("next", GroupSpec::of(["new"]));
        canary.policy = CanaryPolicy::default().with_shares(30.0, 10.0, 30.0);
        let route = RouteSpec::new("chat").with_group(GroupSpec::of(["old"])).with_canary(canary);
        let plan =
            Plan::new().with_endpoint(endpoint("old")).with_endpoint(endpoint("new")).with_route(route);
        let builder = servers.builder();
        let builder = if let Some(key) = key { builder.stable_key(key) } else { builder };
        let router = builder.build(&plan).expect("valid");
        let mut news = 0;
        for at in 0..200 {
            let mut sides = Vec::new();
            for turn in 0..3 {
                let (tenant, text) = caller(at, turn);
                let context = Context::new();
                let context = if tenant.is_empty() { context } else { context.with_tenant(tenant) };
                let request = ChatRequest::new("chat").with_user(text);
                let answer = router.infer(&context, Arc::new(request)).await.expect("an answer");
                sides.push(answer.collect().await.expect("whole").text());
            }
            sides.dedup();
            assert_eq!(sides.len(), 1, "{name} {at}");
            news += u32::from(sides[0] == "new");
        }
        assert!((35..85).contains(&news), "by {name} {news} of 200 at 30 %");
    }
}

#[tokio::test]
async fn decisions_are_remembered_and_explained() {
    let (_, router) = two(&[fail(ErrorKind::Server)], &[Act::Say(&["b"])], FallbackPolicy::default());
    assert_eq!(ask(&router, hi("chat")).await.0, "b");
    let decisions = router.decisions();
    assert_eq!(decisions.iter().map(|record| record.decision.endpoint).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((decisions[0].trace, decisions[1].decision.group), (decisions[1].trace, 1));
    let shown = router.explain(&Context::new(), &hi("chat")).expect("a route").to_string();
    assert!(shown.contains("→ a: ") && shown.contains("first_token → best_of_several"), "{shown}");
    let latency = shown
        .lines()
        .skip_while(|line| !line.contains("b: first token expected in "))
        .nth(1)
        .unwrap_or_default();
    assert!(
        latency.contains("up to 1000 tokens: first token within ") && latency.ends_with("of 1"),
        "{shown}"
    );
}

/// Keeps what routers say.
#[derive(Default)]
struct Told(Mutex<Vec<(String, String)>>);

impl Probe for Told {
    fn report(&self, event: &Event<'_>) {
        if let Event::Route { endpoint, reason } = event {
            self.0.lock().expect("no panic").push(((*endpoint).to_owned(), (*reason).to_owned()));
        }
    }
}

#[tokio::test]
async fn whoever_watches_is_told_of_each_choice() {
    let (good, busy) = ([Act::Say(&["a"])], [fail(ErrorKind::Overloaded)]);
    let first_choice = ("a", "best_of_several");
    for (fan, first, expected) in [
        (Fan::One, &good, vec![first_choice]),
        (Fan::One, &busy, vec![first_choice, ("b", "fallback")]),
        (Fan::Race(2), &good, vec![first_choice, ("b", "race")]),
    ] {
        let servers = Servers::new(&[("a", first), ("b", &[Act::Say(&["b"])])]);
        let route = RouteSpec::new("chat").with_fan(fan);
        let route = route.with_group(GroupSpec::of(["a"])).with_group(GroupSpec::of(["b"]));
        let plan = Plan::new().with_endpoint(endpoint("a")).with_endpoint(endpoint("b")).with_route(route);
        let router = servers.router(&plan).expect("valid");
        let told = Arc::new(Told::default());
        let context = Context::new().with_probe(told.clone() as Arc<dyn Probe>);
        drop(router.infer(&context, Arc::new(hi("chat"))).await.expect("an answer"));
        let told = told.0.lock().expect("no panic").clone();
        let told: Vec<_> =
            told.iter().map(|(endpoint, reason)| (endpoint.as_str(), reason.as_str())).collect();
        assert_eq!(told, expected);
    }
}
