//! Several endpoints for one request: races, and hedges after a while.

mod support;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use loquat_core::{BoxFuture, Clock, Context, ErrorKind, Model, Probe};
use loquat_router::{Class, FallbackPolicy, Fan, GroupSpec, Plan, RouteSpec, Strategy, Timer};
use support::{Act, Servers, Told, ask, endpoint, fail, hi, with_budget};

struct TokioTimer;

impl Timer for TokioTimer {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The clock that those timers go by.
#[derive(Debug)]
struct TokioClock;

impl Clock for TokioClock {
    fn now(&self) -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// One that hangs never fails and is never answered: what is known of it is how long others waited for it.
#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_not_forgotten() {
    let second = Duration::from_secs(1);
    for fan in [Fan::Hedge(Duration::from_millis(200)), Fan::One] {
        let mut first = vec![Act::Say(&["a"]); 20];
        first.push(Act::Hang);
        let servers = Servers::new(&[("a", &first), ("b", &[Act::Say(&["b"])])]);
        let route = RouteSpec::new("chat").with_group(GroupSpec::of(["a", "b"])).with_fan(fan);
        let plan = Plan::new().with_endpoint(endpoint("a")).with_endpoint(endpoint("b")).with_route(route);
        let router = servers.builder().timer(Arc::new(TokioTimer)).build(&plan).expect("valid");
        let context = Context::new().with_clock(Arc::new(TokioClock));
        let mut asked = 0;
        while servers.of("a").count() < 20 {
            drop(router.infer(&context, Arc::new(hi("chat"))).await.expect("both answer"));
            tokio::time::sleep(Duration::from_millis(1)).await;
            asked += 1;
            assert!(asked < 1_000, "a was asked {} times", servers.of("a").count());
        }
        for _ in 0..200 {
            drop(tokio::time::timeout(second, router.infer(&context, Arc::new(hi("chat")))).await);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let count = servers.of("a").count();
        assert!(count < 40, "{fan:?}: a was asked {count} times");
    }
}

/// Nor is one that hung from the start, beside one that answers faster than an unknown one is taken for anywhere else.
#[tokio::test(start_paused = true)]
async fn one_that_never_answered_is_known_beside_a_fast_one() {
    let servers = Servers::new(&[("a", &[Act::Hang]), ("b", &[Act::Say(&["b"])])]);
    let route = RouteSpec::new("chat").with_group(GroupSpec::of(["a", "b"]));
    let route = route.with_fan(Fan::Hedge(Duration::from_millis(50)));
    let plan = Plan::new().with_endpoint(endpoint("a")).with_endpoint(endpoint("b")).with_route(route);
    let router = servers.builder().timer(Arc::new(TokioTimer)).build(&plan).expect("valid");
    let context = Context::new().with_clock(Arc::new(TokioClock));
    for _ in 0..200 {
        drop(router.infer(&context, Arc::new(hi("chat"))).await.expect("b answers"));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let count = servers.of("a").count();
    assert!(count < 40, "it was asked {count} times");
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
