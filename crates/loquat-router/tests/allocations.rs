//! A decision allocates nothing, whichever strategy makes it.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and forwards")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_router::{
    Abilities, Asked, CanarySpec, Connected, EndpointSpec, GroupSpec, Members, Plan, RouteSpec, Router, hash,
};
use support::{Server, endpoint, strategies};

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
    for strategy in strategies() {
        let group = || GroupSpec::new(Members::All).with_strategy(strategy.clone());
        let canary = CanarySpec::new("new", group());
        let route = RouteSpec::new("r").with_group(group()).with_group(group()).with_canary(canary);
        let mut plan = Plan::new().with_route(route);
        plan.endpoints =
            (0..300_u32).map(|at| endpoint(&format!("e{at}")).with_context_window(1_000 + 10 * at)).collect();
        let connect = |_: &EndpointSpec| Ok(Connected::new(Arc::new(Server::default())));
        let router = Router::builder(connect).build(&plan).expect("valid");
        let (now, table) = (Instant::now(), router.table());
        router.decide("r", &Asked::nothing(), now).expect("somebody");
        let before = COUNT.get();
        for step in 0..500_u32 {
            let now = now + Duration::from_millis(7) * step;
            // All well, some out, most out.
            if step % 100 == 0 {
                let out = [0, 100, 200][(step / 100 % 3) as usize];
                (0..).zip(table.nodes()).for_each(|(at, node)| node.live.set_out(at < out, now));
            }
            let key = hash(1, &step.to_le_bytes());
            let asked = Asked::nothing().with_abilities(Abilities::STREAMING).with_prompt_tokens(7 * step);
            let asked = asked.with_affinity(key).with_stable_key(key);
            let decision = router.decide("r", &asked, now).expect("somebody");
            let mut ticket = table.nodes()[decision.endpoint as usize].live.enter(100, now);
            ticket.first_token(now + Duration::from_millis(5));
            ticket.settle(loquat_router::Outcome::Success, now);
        }
        assert_eq!(COUNT.get() - before, 0, "{strategy:?}");
    }
}
