//! The real router, choosing in a simulation.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::Chooser;
use crate::{Asked, Live, Outcome, Router, Ticket, decide::Tried, table::Table};
use std::sync::Arc;

/// A router's route, as one client of a simulation. Servers are the table's endpoints, in the plan's order.
#[derive(Debug)]
pub struct Ours {
    router: Router,
    route: usize,
    table: Arc<Table>,
    tickets: HashMap<u64, Ticket>,
}

impl Ours {
    /// That route of that router; `None` where it has none of that name.
    pub fn new(router: &Router, route: &str) -> Option<Self> {
        let table = router.table();
        let route = table.route(route)?;
        Some(Self { router: router.clone(), route, table, tickets: HashMap::new() })
    }

    fn live(&self, server: usize) -> Option<&Arc<Live>> {
        Some(&self.table.nodes().get(server)?.live)
    }
}

impl Chooser for Ours {
    fn choose(&mut self, request: u64, tokens: u32, tried: &[usize], now: Instant) -> Option<usize> {
        let asked =
            Asked::nothing().with_prompt_tokens(tokens).with_affinity(request).with_stable_key(request);
        let mut before = Tried::default();
        tried.iter().for_each(|&server| before.insert(server));
        let decision = self.router.0.decide(&self.table, self.route, &asked, &before, now, request).ok()?;
        let server = decision.endpoint as usize;
        let ticket = self.live(server)?.enter(tokens, now);
        self.tickets.insert(request, ticket);
        Some(server)
    }

    fn first_token(&mut self, request: u64, _: usize, _: Duration, now: Instant) {
        if let Some(ticket) = self.tickets.get_mut(&request) {
            ticket.first_token(now);
        }
    }

    fn failed(
        &mut self,
        request: u64,
        _: usize,
        retry_after: Option<Duration>,
        is_timeout: bool,
        now: Instant,
    ) {
        if let Some(ticket) = self.tickets.remove(&request) {
            ticket.settle(Outcome::Failure { retry_after, is_busy: !is_timeout }, now);
        }
    }

    fn done(&mut self, request: u64, _: usize, now: Instant) {
        if let Some(ticket) = self.tickets.remove(&request) {
            ticket.settle(Outcome::Success, now);
        }
    }

    fn appeared(&mut self, server: usize, now: Instant) {
        if let Some(live) = self.live(server) {
            live.set_out(false, now);
            live.joined(now);
        }
    }
}
