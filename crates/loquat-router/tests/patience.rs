//! How patient an endpoint's own retries are on a route: as if alone, unless another endpoint could really be asked at that moment. With
//! the scheduler's retries and budgets themselves, on a paused clock.

mod support;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_core::{Answer, Availability, BoxFuture, ChatRequest, Context, Error, ErrorKind, Model, Result};
use loquat_router::{
    Allowance, Connected, EndpointSpec, Fan, GroupSpec, Plan, RouteSpec, Router, Timer, health::HealthPolicy,
};
use loquat_schedule::{
    Random,
    retry::{Budget, BudgetPolicy, RetryPolicy, Retrying},
};
use support::{Act, Server, Servers, ask, endpoint, fail, hi};

/// Tokio's, which these tests have paused.
struct Paused;

impl Timer for Paused {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A budget as the facade hands it to a router.
struct Fallbacks(Budget);

impl Allowance for Fallbacks {
    fn try_take(&self, now: Instant) -> bool {
        self.0.try_withdraw_fallback(now)
    }

    fn has_left(&self, now: Instant) -> bool {
        self.0.has_left(now)
    }
}

/// How an endpoint stands when the request comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Well,
    /// Nothing is left of its budget for further attempts.
    Spent,
    /// Its breaker is open.
    Open,
}

/// A server that takes so long for each answer.
struct Slow(Arc<Server>, Duration);

impl Model for Slow {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            tokio::time::sleep(self.1).await;
            self.0.infer(context, request).await
        })
    }
}

/// A chain of endpoints in these states, each with retries of its own. `slow` is how long the first one takes.
fn chain(servers: &Servers, states: &[(&str, State)], fan: Fan, slow: Duration) -> Router {
    let (mut plan, mut route) = (Plan::new(), RouteSpec::new("chat").with_fan(fan));
    for (name, _) in states {
        plan = plan.with_endpoint(endpoint(name));
        route = route.with_group(GroupSpec::of([*name]));
    }
    let plan = plan.with_route(route);
    let states: HashMap<_, _> = states.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect();
    let servers = servers.clone();
    let builder = Router::builder(move |spec: &EndpointSpec| {
        let (now, state) = (Instant::now(), states[&spec.name]);
        let server = servers.0[&spec.name].clone();
        let own = Arc::new(Budget::new(BudgetPolicy::default(), now));
        let takes = if spec.name == "a" { slow } else { Duration::ZERO };
        let model = Retrying::new(Slow(server, takes), RetryPolicy::default().with_jitter_percent(0), own)
            .with_random(Random::seeded(1));
        let per_second = if state == State::Spent { 0 } else { 1 };
        let budget = Fallbacks(Budget::new(BudgetPolicy::new(0, per_second), now));
        let word = Arc::new(Availability::new(now));
        if state == State::Open {
            assert!(word.eject(word.generation(), now + Duration::from_secs(3600)));
        }
        Ok(Connected::new(Arc::new(model)).with_allowance(Arc::new(budget)).with_availability(word))
    });
    builder.seed(7).timer(Arc::new(Paused)).health(HealthPolicy::default()).build(&plan).expect("a plan")
}

/// What came of it, after how many milliseconds, and how often each was asked.
async fn asked(router: &Router, servers: &Servers, names: &[&str]) -> (Result<()>, u128, Vec<usize>) {
    let began = tokio::time::Instant::now();
    let (_, ended) = ask(router, hi("chat")).await;
    (ended, began.elapsed().as_millis(), names.iter().map(|name| servers.of(name).count()).collect())
}

fn busy() -> Act {
    Act::Fail(Error::new(ErrorKind::Overloaded, "busy").with_status(503))
}

const SAY: Act = Act::Say(&["hi"]);
const ONE_AT_A_TIME: Fan = Fan::One;
const HEDGE: Fan = Fan::Hedge(Duration::from_secs(10));

#[tokio::test(start_paused = true)]
async fn it_is_as_patient_as_alone_where_nobody_else_can_be_asked() {
    for fan in [ONE_AT_A_TIME, HEDGE] {
        // How the second one stands, how long it takes, how often each is asked.
        for (second, took, counts) in [
            (State::Well, 0, [1, 1]),
            // 1 s and 2 s, as if there were no second one.
            (State::Spent, 3000, [3, 0]),
            (State::Open, 3000, [3, 0]),
        ] {
            let servers = Servers::new(&[("a", &[busy(), busy(), SAY]), ("b", &[SAY])]);
            let router = chain(&servers, &[("a", State::Well), ("b", second)], fan, Duration::ZERO);
            let (ended, millis, asked) = asked(&router, &servers, &["a", "b"]).await;
            ended.unwrap_or_else(|error| panic!("{fan:?} {second:?}: {error}"));
            assert_eq!((millis, &asked[..]), (took, &counts[..]), "{fan:?} {second:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_be_asked_any_more_is_passed_over_for_who_may() {
    let all = [("a", State::Well), ("b", State::Spent), ("c", State::Well)];
    let servers = Servers::new(&[("a", &[busy()]), ("b", &[SAY]), ("c", &[SAY])]);
    let router = chain(&servers, &all, ONE_AT_A_TIME, Duration::ZERO);
    let (ended, millis, asked) = asked(&router, &servers, &["a", "b", "c"]).await;
    ended.expect("by the third");
    assert_eq!((millis, &asked[..]), (0, &[1, 0, 1][..]));
}

/// The other one is asked already, and has failed by then: nobody else is left.
#[tokio::test(start_paused = true)]
async fn who_was_late_is_as_patient_as_alone_once_the_hedge_is_asked() {
    let refuses = [fail(ErrorKind::Authentication)];
    let servers = Servers::new(&[("a", &[busy(), SAY]), ("b", &refuses)]);
    let hedge = Fan::Hedge(Duration::from_secs(1));
    let all = [("a", State::Well), ("b", State::Well)];
    let router = chain(&servers, &all, hedge, Duration::from_secs(2));
    let (ended, millis, asked) = asked(&router, &servers, &["a", "b"]).await;
    ended.expect("the second time");
    // 2 s to the failure, 1 s of patience, 2 s to the answer.
    assert_eq!((millis, &asked[..]), (5000, &[2, 1][..]));
}
