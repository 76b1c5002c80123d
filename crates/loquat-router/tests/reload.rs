//! Tables replaced while requests are under way: what is known stays, and no request is lost.

mod support;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use loquat_core::{Context, Error, ErrorKind, Model, model_fn};
use loquat_router::{Connected, EndpointSpec, FallbackPolicy, GroupSpec, Plan, Price, RouteSpec, Router};
use support::{Act, Servers, ask, endpoint, hi};

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

/// A router by the first plan, whose endpoint `a` fails when it is asked, and by then the table is that of the second one.
fn leaving(servers: &Servers, first: &Plan, then: Plan) -> Router {
    let built = Arc::new(Mutex::new(None::<Router>));
    let (own, router) = (servers.clone(), built.clone());
    let leaves = Arc::new(model_fn(move |_, _| {
        let router = router.lock().expect("no panic").take().expect("asked once");
        router.replace(&then).expect("valid");
        async { Err(Error::new(ErrorKind::Connect, "it has gone")) }
    }));
    let router = Router::builder(move |spec: &EndpointSpec| match &*spec.name {
        "a" => Ok(Connected::new(leaves.clone())),
        name => Ok(Connected::new(own.0[name].clone())),
    });
    let router = router.build(first).expect("valid");
    *built.lock().expect("no panic") = Some(router.clone());
    router
}

/// All who were there when it began have left: it is answered by those who came.
#[tokio::test]
async fn a_request_goes_on_by_the_new_table_when_the_old_one_has_left() {
    let route = |name: &str| RouteSpec::new("gpt-*").with_group(GroupSpec::of([name]));
    let plan = |name: &str| Plan::new().with_endpoint(endpoint(name)).with_route(route(name));
    let servers = Servers::new(&[("b", &[Act::Say(&["b"])])]);
    let router = leaving(&servers, &plan("a"), plan("b"));
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
    let first = plan("a", FallbackPolicy::default());
    let router = leaving(&servers, &first, plan("b", FallbackPolicy::never()));
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
