//! What each way of choosing is for, and ways of one's own.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_core::ErrorKind;
use loquat_router::{
    Abilities, Asked, Connected, Draw, EndpointSpec, GroupSpec, Mask, Members, Outcome, Plan, Price,
    RouteSpec, Router, Strategy,
    strategy::{BestOf, Filter, FirstToken, Pick, Picked, Score, View},
};
use support::{Server, endpoint};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A fleet of which some first tokens are known, and who is chosen how often in 200 requests. Price and first token by endpoint.
struct Fleet {
    router: Router,
    now: Instant,
}

impl Fleet {
    fn new(strategy: Strategy, fleet: &[(f32, u64)]) -> Self {
        let group = GroupSpec::new(Members::All).with_strategy(strategy);
        let mut plan = Plan::new().with_route(RouteSpec::new("r").with_group(group));
        plan.endpoints = (0..)
            .zip(fleet)
            .map(|(at, (price, _))| endpoint(&format!("e{at}")).with_price(Price::new(*price, *price)))
            .collect();
        let connect = |_: &EndpointSpec| Ok(Connected::new(Arc::new(Server::default())));
        let router = Router::builder(connect).seed(3).build(&plan).expect("valid");
        let began = router.epoch();
        for (node, (_, first_token)) in router.table().nodes().iter().zip(fleet) {
            let mut ticket = node.live.enter(500, began);
            ticket.first_token(began + MS(*first_token));
            ticket.settle(Outcome::Success, began + MS(*first_token));
        }
        Self { router, now: began + MS(10_000) }
    }

    fn counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.router.table().nodes().len()];
        for _ in 0..200 {
            let asked = Asked::nothing().with_prompt_tokens(500);
            let decision = self.router.decide("r", &asked, self.now).expect("somebody");
            counts[decision.endpoint as usize] += 1;
        }
        counts
    }
}

#[test]
fn each_strategy_does_what_it_is_for() {
    let second = MS(1_000);
    for (strategy, fleet, counts) in [
        (Strategy::latency(), vec![(1.0, 400), (1.0, 40), (1.0, 400)], vec![0, 200, 0]),
        (Strategy::cheapest(second), vec![(9.0, 40), (1.0, 300), (5.0, 40)], vec![0, 200, 0]),
        // The cheap one is too slow.
        (Strategy::cheapest(second), vec![(9.0, 40), (1.0, 9_000), (5.0, 40)], vec![0, 0, 200]),
        // All are too slow: then it is the first token that counts, whatever it costs.
        (Strategy::cheapest(MS(10)), vec![(9.0, 100), (1.0, 900)], vec![200, 0]),
        (Strategy::round_robin(), vec![(1.0, 400), (1.0, 40), (1.0, 4_000), (9.0, 40)], vec![50; 4]),
    ] {
        assert_eq!(Fleet::new(strategy.clone(), &fleet).counts(), counts, "{strategy:?} over {fleet:?}");
    }
}

#[test]
fn load_moves_the_choice_of_those_that_go_by_it() {
    let alike = [(1.0, 100), (1.0, 100)];
    for (strategy, requests, tokens, goes_elsewhere) in [
        (Strategy::least_in_flight(), 1, 1, true),
        (Strategy::latency(), 1, 20_000, true),
        (Strategy::cheapest(MS(60_000)), 1, 20_000, true),
        (Strategy::round_robin(), 50, 20_000, false),
    ] {
        let fleet = Fleet::new(strategy.clone(), &alike);
        let table = fleet.router.table();
        let in_hand: Vec<_> = (0..requests).map(|_| table.nodes()[0].live.enter(tokens, fleet.now)).collect();
        let expected = if goes_elsewhere { [0, 200] } else { [100, 100] };
        assert_eq!(fleet.counts(), expected, "{strategy:?}");
        drop(in_hand);
        assert!(fleet.counts().iter().all(|&count| count > 50), "{strategy:?}: both, once both are free");
    }
}

/// Whoever comes after one that is out does not get its turns beside their own.
#[test]
fn the_turns_of_one_that_is_out_go_to_all_others() {
    let fleet = Fleet::new(Strategy::round_robin(), &[(1.0, 40), (1.0, 40), (1.0, 40), (1.0, 40), (1.0, 40)]);
    fleet.router.table().nodes()[1].live.set_out(true, fleet.now);
    assert_eq!(fleet.counts(), [50, 0, 50, 50, 50]);
}

/// Takes out who is not of even number.
struct Even;

impl Filter for Even {
    fn name(&self) -> &'static str {
        "even"
    }

    fn filter(&self, _: &View<'_>, mask: &mut Mask) {
        let odd: Vec<_> = mask.iter().filter(|index| index % 2 == 1).collect();
        odd.into_iter().for_each(|index| mask.remove(index));
    }
}

/// Likes the last one best, and has no number for the first.
struct Last;

impl Score for Last {
    fn name(&self) -> &'static str {
        "last"
    }

    fn score(&self, _: &View<'_>, index: usize) -> f32 {
        if index == 0 { f32::NAN } else { -(index as f32) }
    }
}

#[test]
fn filters_scores_and_picks_of_ones_own_combine() {
    let fleet = Fleet::new(Strategy::new(Last, BestOf::new(16)).with_filter(Even), &[(1.0, 40); 6]);
    assert_eq!(fleet.counts(), [0, 0, 0, 0, 200, 0], "the last even one");
    let shown = fleet.router.explain_for("r", &Asked::nothing(), fleet.now).expect("a route").to_string();
    assert!(shown.contains("even → last → best_of_several"), "{shown}");
    let decision = fleet.router.decide("r", &Asked::nothing(), fleet.now).expect("somebody");
    assert_eq!((decision.left.well, decision.left.eligible), (6, 3), "the trace says what the filter left");
}

/// Names whom it likes, whether they may be chosen or not.
struct Stubborn(usize);

impl Pick for Stubborn {
    fn name(&self) -> &'static str {
        "stubborn"
    }

    fn pick(&self, _: &View<'_>, _: &Mask, _: &dyn Score, _: &mut Draw) -> Option<Picked> {
        Some(Picked::alone(self.0))
    }
}

#[test]
fn a_pick_cannot_choose_who_may_not_be_chosen() {
    for (named, needs, chosen) in [
        (1, Abilities::NONE, Ok(1)),
        (1, Abilities::AUDIO, Err(ErrorKind::Unsupported)),
        (2, Abilities::NONE, Err(ErrorKind::Overloaded)),
        (usize::MAX, Abilities::NONE, Err(ErrorKind::Overloaded)),
    ] {
        let fleet = Fleet::new(Strategy::new(FirstToken, Stubborn(named)), &[(1.0, 40); 5]);
        fleet.router.table().nodes()[2].live.set_out(true, fleet.now);
        let decision = fleet.router.decide("r", &Asked::nothing().with_abilities(needs), fleet.now);
        assert_eq!(
            decision.map(|decision| decision.endpoint).map_err(|error| error.kind()),
            chosen,
            "{named}"
        );
    }
}
