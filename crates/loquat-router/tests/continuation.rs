//! What a router does with an answer that has begun and breaks off: it fails, begins anew, or goes on with another.

mod support;

use std::sync::Arc;

use loquat_core::{Context, Ending, ErrorKind, Model};
use loquat_router::{Abilities, AfterDelivery, FallbackPolicy, Fan, GroupSpec, Plan, RouteSpec};
use support::{Act, Servers, ask, endpoint, fail, hi, two, with_budget};

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

/// What was asked again and answered differently is given up at once, not when its caller lets go of it.
#[tokio::test]
async fn an_answer_that_differs_is_in_nobodys_hands() {
    let fallback = FallbackPolicy::default().with_after_delivery(AfterDelivery::Restart);
    let (_, router) = two(&[Act::Cut(&["one "])], &[Act::Say(&["two", "three"])], fallback);
    let mut answer = router.infer(&Context::new(), Arc::new(hi("chat"))).await.expect("it begins");
    while answer.next().await.is_some() {}
    let load: Vec<_> = router.table().nodes().iter().map(|node| node.live.in_flight()).collect();
    assert_eq!(load, [(0, 0), (0, 0)]);
    assert!(matches!(answer.ending(), Some(Ending::Truncated { .. })));
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

/// Whoever goes on with an answer is one more endpoint of the same answer.
#[tokio::test]
async fn going_on_is_paid_for_and_counted_as_any_fallback() {
    for (policy, second) in [(AfterDelivery::Restart, "one two"), (AfterDelivery::Continue, "two")] {
        for (fan, budget, goes_on) in [(Fan::One, 1, true), (Fan::One, 0, false), (Fan::Race(2), 1, false)] {
            let second: &'static [&'static str] = if second == "two" { &["two"] } else { &["one ", "two"] };
            let (cut, say) = ([Act::Cut(&["one "])], [Act::Say(second)]);
            let servers = Servers::new(&[("a", &cut), ("b", &say), ("c", &cut)]);
            let able = Abilities::COMMON.and(Abilities::PREFILL);
            let fallback = FallbackPolicy::default().with_after_delivery(policy).with_max_attempts(2);
            let first = if fan == Fan::One { vec!["a"] } else { vec!["a", "c"] };
            let route = RouteSpec::new("chat").with_fallback(fallback).with_fan(fan);
            let route = route.with_group(GroupSpec::of(first)).with_group(GroupSpec::of(["b"]));
            let plan = Plan::new().with_endpoint(endpoint("a")).with_endpoint(endpoint("c"));
            let plan = plan.with_endpoint(endpoint("b").with_abilities(able));
            let (router, _) = with_budget(&servers, budget);
            let router = router.build(&plan.with_route(route)).expect("valid");
            let (said, ended) = ask(&router, hi("chat")).await;
            let whole = if goes_on { ("one two", true) } else { ("one ", false) };
            assert_eq!((said.as_str(), ended.is_ok()), whole, "{policy:?} {fan:?} {budget}");
            assert_eq!(servers.of("b").count(), usize::from(goes_on), "{policy:?} {fan:?} {budget}");
            if let Err(error) = ended {
                assert_eq!(error.kind(), ErrorKind::Truncated);
                let why = if budget == 0 { "budget for further attempts" } else { "as many endpoints" };
                assert!(error.to_string().contains(why) || format!("{error:?}").contains(why), "{error:?}");
            }
        }
    }
}
