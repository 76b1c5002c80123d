//! What must hold of every decision, over random fleets and requests.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_core::ErrorKind;
use loquat_router::{
    Abilities, Asked, Connected, EndpointSpec, GroupSpec, Members, Plan, Price, RouteSpec, Router, Strategy,
};
use proptest::prelude::*;
use support::{Server, endpoint, strategies};

fn abilities() -> impl Strategy2<Value = Abilities> {
    proptest::collection::vec(0..Abilities::names().len(), 0..4).prop_map(|bits| {
        let named = |bit: usize| Abilities::named(Abilities::names()[bit]).expect("a name");
        bits.into_iter().fold(Abilities::NONE, |all, bit| all.and(named(bit)))
    })
}

use proptest::strategy::Strategy as Strategy2;

fn fleet() -> impl Strategy2<Value = Vec<EndpointSpec>> {
    let bound = || proptest::option::of(1_u32..20_000);
    let one = (abilities(), bound(), bound(), 0_u32..5, 0_u8..4).prop_map(
        |(abilities, window, output, weight, price)| {
            let mut spec = endpoint("").with_abilities(abilities).with_weight(weight);
            spec.price = Price::new(price.into(), price.into());
            (spec.context_window, spec.max_output_tokens) = (window, output);
            spec
        },
    );
    proptest::collection::vec(one, 1..70).prop_map(|mut fleet| {
        fleet.iter_mut().enumerate().for_each(|(at, spec)| spec.name = format!("e{at}"));
        fleet
    })
}

fn router(fleet: &[EndpointSpec], strategy: &Strategy) -> Router {
    let mut plan = Plan::new().with_route(
        RouteSpec::new("r").with_group(GroupSpec::new(Members::All).with_strategy(strategy.clone())),
    );
    plan.endpoints = fleet.to_vec();
    Router::builder(|_: &EndpointSpec| Ok(Connected::new(Arc::new(Server::default()))))
        .seed(3)
        .build(&plan)
        .expect("valid")
}

fn can(spec: &EndpointSpec, asked: &Asked) -> bool {
    spec.abilities.has(asked.abilities)
        && spec.context_window.is_none_or(|window| window >= asked.window_tokens())
        && spec.max_output_tokens.is_none_or(|most| most >= asked.output_tokens)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Nobody is chosen who cannot do what is asked or is out, and somebody is, whenever somebody can and is not.
    #[test]
    fn the_chosen_can_do_it_and_are_well(
        fleet in fleet(), abilities in abilities(), prompt in 0_u32..20_000, output in 0_u32..5_000, key: u64, out: u64,
    ) {
        let asked = Asked::nothing()
            .with_abilities(abilities).with_prompt_tokens(prompt).with_output_tokens(output).with_affinity(key);
        for strategy in strategies() {
            let router = router(&fleet, &strategy);
            let now = Instant::now();
            let table = router.table();
            // At most a third is out, so that nobody panics.
            for (at, node) in table.nodes().iter().enumerate() {
                node.live.set_out(at % 3 == 0 && fleet.len() > 3 && out >> (at % 64) & 1 == 1, now);
            }
            let is_out = |at: usize| table.nodes()[at].live.state(now) != loquat_router::health::State::Up;
            let weighs = |spec: &EndpointSpec| spec.weight > 0 || !format!("{strategy:?}").contains("weighted");
            let possible = (0..fleet.len()).any(|at| can(&fleet[at], &asked) && !is_out(at) && weighs(&fleet[at]));
            for _ in 0..8 {
                match router.decide("r", &asked, now) {
                    Ok(decision) => {
                        let at = decision.endpoint as usize;
                        prop_assert!(can(&fleet[at], &asked), "{strategy:?} chose {:?} for {asked:?}", fleet[at]);
                        prop_assert!(!is_out(at) && weighs(&fleet[at]), "{strategy:?} chose one that is out");
                    }
                    Err(error) => prop_assert!(!possible, "{strategy:?}: {error}"),
                }
            }
        }
    }
}

#[test]
fn shares_follow_weights_also_when_some_are_out() {
    let fleet: Vec<_> = (0..10).map(|at| endpoint(&format!("e{at}")).with_weight(at)).collect();
    let router = router(&fleet, &Strategy::weighted());
    let now = Instant::now();
    let count = || {
        let mut counts = [0_u32; 10];
        for _ in 0..45_000 {
            counts[router.decide("r", &Asked::nothing(), now).expect("somebody").endpoint as usize] += 1;
        }
        counts
    };
    for (at, count) in count().into_iter().enumerate() {
        assert!((count as f64 - at as f64 * 1000.0).abs() < 250.0, "{at}: {count}");
    }
}

#[test]
fn a_key_stays_where_it_is_and_only_the_keys_of_who_leaves_move() {
    let fleet: Vec<_> = (0..20).map(|at| endpoint(&format!("e{at}"))).collect();
    let home = |router: &Router, key: u64| {
        let decision =
            router.decide("r", &Asked::nothing().with_affinity(key), Instant::now()).expect("somebody");
        router.table().nodes()[decision.endpoint as usize].spec.name.clone()
    };
    let (all, fewer) = (router(&fleet, &Strategy::affinity()), router(&fleet[1..], &Strategy::affinity()));
    let mut counts = std::collections::HashMap::<_, u32>::new();
    for key in 0..4_000 {
        let key = loquat_router::hash(9, &u64::to_le_bytes(key));
        let before = home(&all, key);
        let after = home(&fewer, key);
        assert!(before == after || before == "e0", "{before} to {after}");
        *counts.entry(before).or_default() += 1;
    }
    assert!(counts.len() == 20 && counts.values().all(|&count| (140..270).contains(&count)), "{counts:?}");
}

#[test]
fn affinity_is_bounded_by_load() {
    let fleet: Vec<_> = (0..8).map(|at| endpoint(&format!("e{at}"))).collect();
    let router = router(&fleet, &Strategy::affinity());
    let table = router.table();
    let (asked, mut tickets) = (Asked::nothing().with_affinity(5), Vec::new());
    let start = Instant::now();
    for step in 0..400_u32 {
        let now = start + Duration::from_millis(60) * step;
        let decision = router.decide("r", &asked, now).expect("somebody");
        tickets.push(table.nodes()[decision.endpoint as usize].live.enter(10, now));
    }
    let most = table.nodes().iter().map(|node| node.live.in_flight().0).max().expect("some");
    // One key, eight endpoints: a quarter over the mean, and one request.
    assert!(most <= 400 / 8 * 5 / 4 + 1, "{most} of 400 on one endpoint");
}

/// Up to half of a group may be out and is let alone; beyond that nobody is.
#[test]
fn no_more_than_the_policys_share_is_out() {
    let fleet: Vec<_> = (0..10).map(|at| endpoint(&format!("e{at}"))).collect();
    for strategy in strategies() {
        for out in 0..=10 {
            let (router, now) = (router(&fleet, &strategy), Instant::now());
            router.table().nodes()[..out].iter().for_each(|node| node.live.set_out(true, now));
            let mut seen = [false; 10];
            for key in 0..600_u64 {
                let asked = Asked::nothing().with_affinity(loquat_router::hash(9, &key.to_le_bytes()));
                let decision = router.decide("r", &asked, now).expect("somebody, always");
                assert_eq!(decision.panics, out > 5, "{strategy:?} with {out} out");
                seen[decision.endpoint as usize] = true;
            }
            let first = if out > 5 { 0 } else { out };
            let expected: Vec<_> = (0..10).map(|at| at >= first).collect();
            assert_eq!(seen.to_vec(), expected, "{strategy:?} with {out} out");
        }
    }
}

#[test]
fn when_most_are_out_all_are_tried() {
    let fleet: Vec<_> = (0..10).map(|at| endpoint(&format!("e{at}"))).collect();
    let router = router(&fleet, &Strategy::latency());
    let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
    router.table().nodes()[..6].iter().for_each(|node| node.live.set_out(true, now));
    let mut seen = [false; 10];
    for _ in 0..500 {
        let decision = router.decide("r", &Asked::nothing(), later).expect("panics rather than refuses");
        assert!(decision.panics);
        seen[decision.endpoint as usize] = true;
    }
    assert_eq!(seen, [true; 10]);
    let error = router
        .decide("r", &Asked::nothing().with_abilities(Abilities::AUDIO), later)
        .expect_err("not even then");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
