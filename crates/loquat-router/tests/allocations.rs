//! A decision allocates nothing, whichever strategy makes it.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and forwards")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_router::{Asked, Connected, EndpointSpec, GroupSpec, Members, Plan, RouteSpec, Router, Strategy};
use support::{Server, endpoint};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is forwarded unchanged to `System`, which upholds the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_decision_allocates_nothing() {
    for strategy in [
        Strategy::latency(),
        Strategy::weighted(),
        Strategy::round_robin(),
        Strategy::least_in_flight(),
        Strategy::cheapest(Duration::from_millis(400)),
        Strategy::affinity(),
    ] {
        let group = || GroupSpec::new(Members::All).with_strategy(strategy.clone());
        let mut plan = Plan::new().with_route(RouteSpec::new("r").with_group(group()).with_group(group()));
        plan.endpoints = (0..300).map(|at| endpoint(&format!("e{at}"))).collect();
        let connect = |_: &EndpointSpec| Ok(Connected::new(Arc::new(Server::default())));
        let router = Router::builder(connect).build(&plan).expect("valid");
        let (now, table) = (Instant::now(), router.table());
        router.decide("r", &Asked::nothing(), now).expect("somebody");
        let before = COUNT.get();
        for step in 0..500_u32 {
            let now = now + Duration::from_millis(7) * step;
            let decision =
                router.decide("r", &Asked::nothing().with_affinity(step.into()), now).expect("somebody");
            let mut ticket = table.nodes()[decision.endpoint as usize].live.enter(100, now);
            ticket.first_token(now + Duration::from_millis(5));
            ticket.settle(loquat_router::Outcome::Success, now);
        }
        assert_eq!(COUNT.get() - before, 0, "{strategy:?}");
    }
}
