//! A router over scripted endpoints: names, abilities, fallbacks before the first token, what is told of a choice.

mod support;

use std::{sync::Arc, time::Duration};

use loquat_core::{
    ChatRequest, Context, ContextLength, Error, ErrorKind, Media, Message, Model, Part, Probe, RetryHint,
    Role, test_util::ManualClock,
};
use loquat_router::{
    Abilities, CanarySpec, Class, FallbackPolicy, Fan, GroupSpec, Members, Plan, RouteSpec, StableKey,
    canary::{CanaryPolicy, Change, Limit},
};
use support::{Act, Servers, Told, ask, endpoint, fail, hi, two, with_budget};

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

/// Down to the last, and no further than it takes. Endpoints that the plan has are taken as they are.
#[tokio::test]
async fn a_chain_is_gone_down() {
    let busy = fail(ErrorKind::Overloaded);
    let names = ["near", "p:one", "p:two", "q:x:7b", "never"];
    let scripts: Vec<_> = names
        .iter()
        .map(|name| (*name, if *name == "q:x:7b" { Act::Say(&["well"]) } else { busy.clone() }))
        .collect();
    let scripts: Vec<_> = scripts.iter().map(|(name, act)| (*name, std::slice::from_ref(act))).collect();
    let servers = Servers::new(&scripts);
    let near = endpoint("near").with_weight(7);
    let plan =
        Plan::new().with_endpoint(near.clone()).with_endpoint(endpoint("never")).with_chain("chat", names);
    assert_eq!(plan.endpoints.len(), 5);
    assert_eq!(plan.endpoints[0], near);
    let made = &plan.endpoints[4].endpoint;
    assert_eq!((made.provider.as_str(), made.base_url.as_str(), made.model.as_str()), ("q", "", "x:7b"));
    let router = servers.router(&plan).expect("valid");
    assert_eq!(ask(&router, hi("chat")).await, ("well".to_owned(), Ok(())));
    assert_eq!(names.map(|name| servers.of(name).count()), [1, 1, 1, 1, 0]);

    let problems = Plan::new().with_chain("chat", ["near"]).problems();
    assert!(problems.iter().any(|what| what.contains("there is no endpoint `near`")), "{problems:?}");
    let long = Plan::new().with_chain("long", (0..20).map(|at| format!("p:{at}")));
    assert_eq!((long.problems(), long.routes[0].fallback.max_attempts), (Vec::new(), 8));
    let short = Plan::new().with_chain("short", ["p:one"]);
    assert_eq!(short.routes[0].fallback.max_attempts, RouteSpec::new("any").fallback.max_attempts);
    assert!(!Plan::new().with_chain("none", [""; 0]).problems().is_empty());
}

/// Of a model that has only been named nobody knows what it can.
#[tokio::test]
async fn a_chain_of_names_is_asked_for_more_than_text() {
    let malformed = [fail(ErrorKind::InvalidRequest)];
    let servers = Servers::new(&[("p:blind", &malformed), ("p:eyes", &[Act::Say(&["ok"])])]);
    let router = servers.router(&Plan::new().with_chain("chat", ["p:blind", "p:eyes"])).expect("valid");
    let picture = Message::new(Role::User, vec![Part::Image(Media::url("http://x"))]);
    assert_eq!(ask(&router, hi("chat").with_message(picture)).await, ("ok".to_owned(), Ok(())));
    assert_eq!((servers.of("p:blind").count(), servers.of("p:eyes").count()), (1, 1));
    // What is malformed without any of that is malformed for all.
    let error = ask(&router, hi("chat")).await.1.expect_err("malformed");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert_eq!((servers.of("p:blind").count(), servers.of("p:eyes").count()), (2, 1));
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

/// A release is rolled back for what becomes of its answers after their first token, too.
#[tokio::test]
async fn a_canary_whose_answers_are_cut_or_break_is_rolled_back() {
    for act in [Act::Cut(&["new"]), Act::Break(&["new"], ErrorKind::Server), Act::Say(&["new"])] {
        let servers = Servers::new(&[("old", &[Act::Say(&["old"])]), ("new", std::slice::from_ref(&act))]);
        let mut canary = CanarySpec::new("next", GroupSpec::of(["new"]));
        canary.policy = CanaryPolicy::default().with_shares(50.0, 10.0, 50.0);
        // Its share stays, so that it is asked all the time.
        canary.policy = canary.policy.with_dwell(Duration::from_secs(1_000_000));
        canary.policy.min_sample = 20;
        let route = RouteSpec::new("chat").with_group(GroupSpec::of(["old"])).with_canary(canary);
        let plan =
            Plan::new().with_endpoint(endpoint("old")).with_endpoint(endpoint("new")).with_route(route);
        let router = servers.router(&plan).expect("valid");
        // Slowly enough that whoever failed is not spared any more.
        let clock = Arc::new(ManualClock::new());
        for at in 0..300 {
            clock.advance(Duration::from_secs(40));
            let context = Context::new().with_clock(clock.clone());
            let request = ChatRequest::new("chat").with_user(format!("c{at}"));
            let answer = router.infer(&context, Arc::new(request)).await.expect("all begin an answer");
            drop(answer.collect().await);
        }
        let events = router.canary("chat").expect("there is one").events();
        let breaches = events.iter().filter_map(|event| match event.change {
            Change::RolledBack { breach } => breach.map(|breach| (breach.limit, breach.share > 0.9)),
            _ => None,
        });
        let expected = (!matches!(act, Act::Say(_))).then_some((Limit::Errors, true));
        assert_eq!(breaches.collect::<Vec<_>>(), Vec::from_iter(expected), "{events:?}");
    }
}

/// A release that takes requests and says nothing is rolled back, although nobody waits for long enough to see it fail.
#[tokio::test(start_paused = true)]
async fn a_canary_that_hangs_is_rolled_back() {
    /// By the timers' time.
    #[derive(Debug)]
    struct Paused;
    impl loquat_core::Clock for Paused {
        fn now(&self) -> std::time::Instant {
            tokio::time::Instant::now().into_std()
        }
    }

    // A wait that is shorter than the limit says nothing.
    for (wait, late) in [(Duration::from_secs(20), true), (Duration::from_millis(800), false)] {
        for own_deadline in [false, true] {
            let servers = Servers::new(&[("old", &[Act::Say(&["old"])]), ("new", &[Act::Hang])]);
            let mut canary = CanarySpec::new("next", GroupSpec::of(["new"]));
            let policy = CanaryPolicy::default().with_shares(50.0, 10.0, 50.0);
            canary.policy = policy.with_dwell(Duration::from_secs(1_000_000));
            canary.policy.min_sample = 20;
            let route = RouteSpec::new("chat").with_group(GroupSpec::of(["old"])).with_canary(canary);
            let plan =
                Plan::new().with_endpoint(endpoint("old")).with_endpoint(endpoint("new")).with_route(route);
            let router = servers.router(&plan).expect("valid");
            for at in 0..300 {
                let context = Context::new().with_clock(Arc::new(Paused));
                let context = if own_deadline { context.with_timeout(wait) } else { context };
                let request = Arc::new(ChatRequest::new("chat").with_user(format!("c{at}")));
                drop(tokio::time::timeout(wait, router.infer(&context, request)).await);
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            let events = router.canary("chat").expect("there is one").events();
            let breaches = events.iter().filter_map(|event| match event.change {
                Change::RolledBack { breach } => breach.map(|breach| (breach.limit, breach.share > 0.9)),
                _ => None,
            });
            let expected = late.then_some((Limit::FirstToken, true));
            assert_eq!(breaches.collect::<Vec<_>>(), Vec::from_iter(expected), "{events:?}");
        }
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
