//! What a router is to do, as data: endpoints, routes of groups of them, what to do when one fails.

use std::time::Duration;

use loquat_core::Endpoint;

use crate::{Abilities, EndpointSpec, FallbackPolicy, Strategy, canary::CanaryPolicy, decide::MAX_TRIED};

/// All endpoints and routes. It replaces another as a whole, or not at all.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Plan {
    /// The endpoints, each by its own name.
    pub endpoints: Vec<EndpointSpec>,
    /// The routes. Without any, every endpoint's model is a route of the endpoints that have it.
    pub routes: Vec<RouteSpec>,
}

impl Plan {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more endpoint.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: EndpointSpec) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// With one more route.
    #[must_use]
    pub fn with_route(mut self, route: RouteSpec) -> Self {
        self.routes.push(route);
        self
    }

    /// With one more route, which goes down these: the first is asked, and the next where it is out, cannot do what is asked, or fails
    /// before its first token with what another may do better ([`FallbackPolicy`]). Each in turn, up to eight for one answer
    /// ([`FallbackPolicy::max_attempts`]).
    ///
    /// A name that the plan has an endpoint of by then is that endpoint. Another one that is written as `openai:gpt-4o` becomes an
    /// endpoint of that name: the provider's model, at no address, which whoever connects it takes for the provider's own. What
    /// it can is not known, and so it is asked ([`Abilities::ASSUMED`](crate::Abilities::ASSUMED)): where it refuses a request with more
    /// in it than text and tools as malformed, the next one is asked, as one that is said to be able to less is passed over at once.
    ///
    /// ```
    /// use loquat_router::Plan;
    ///
    /// let plan = Plan::new().with_chain("chat", ["openai:gpt-4o", "anthropic:claude-sonnet-4-5"]);
    /// assert_eq!(plan.endpoints[1].endpoint.model, "claude-sonnet-4-5");
    /// assert!(plan.problems().is_empty());
    /// ```
    #[must_use]
    pub fn with_chain<S: Into<String>>(
        mut self,
        route: impl Into<String>,
        members: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut route = RouteSpec::new(route);
        for name in members.into_iter().map(Into::into) {
            let is_new = self.endpoints.iter().all(|spec| spec.name != name);
            if let (true, Some((provider, model))) = (is_new, name.split_once(':')) {
                let endpoint = Endpoint::new(provider, "", model);
                self.endpoints.push(EndpointSpec::new(&name, endpoint).with_abilities(Abilities::ASSUMED));
            }
            route.groups.push(GroupSpec::of([name]));
        }
        let count = u32::try_from(route.groups.len()).unwrap_or(MAX_TRIED);
        // No fewer than without: a canary is one of them, and a table that comes meanwhile may have others.
        route.fallback.max_attempts = count.clamp(route.fallback.max_attempts.min(MAX_TRIED), MAX_TRIED);
        self.with_route(route)
    }
}

/// What answers under a name: ordered groups of endpoints, the next when none of one will do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RouteSpec {
    /// The names that requests ask for. A `*` at the end stands for anything: the longest match wins, an exact one first.
    pub names: Vec<String>,
    /// The groups, the first choice first.
    pub groups: Vec<GroupSpec>,
    /// When to go on to another endpoint.
    pub fallback: FallbackPolicy,
    /// Whether several endpoints are asked for one answer.
    pub fan: Fan,
    /// A new version that takes a share.
    pub canary: Option<CanarySpec>,
}

impl RouteSpec {
    /// A route of that name, without a group yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            names: vec![name.into()],
            groups: Vec::new(),
            fallback: FallbackPolicy::default(),
            fan: Fan::One,
            canary: None,
        }
    }

    /// Goes by that name, too.
    #[must_use]
    pub fn with_alias(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// With one more group, after those it has.
    #[must_use]
    pub fn with_group(mut self, group: GroupSpec) -> Self {
        self.groups.push(group);
        self
    }

    /// Goes on to other endpoints like that.
    #[must_use]
    pub fn with_fallback(mut self, policy: FallbackPolicy) -> Self {
        self.fallback = policy;
        self
    }

    /// Asks several at once like that.
    #[must_use]
    pub fn with_fan(mut self, fan: Fan) -> Self {
        self.fan = fan;
        self
    }

    /// With a new version that takes a share.
    #[must_use]
    pub fn with_canary(mut self, canary: CanarySpec) -> Self {
        self.canary = Some(canary);
        self
    }
}

/// Endpoints among which a strategy chooses.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GroupSpec {
    /// Which endpoints.
    pub members: Members,
    /// How one is chosen.
    pub strategy: Strategy,
}

impl GroupSpec {
    /// These endpoints, by name; chosen from by latency.
    pub fn of<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::new(Members::Named(names.into_iter().map(Into::into).collect()))
    }

    /// Those endpoints; chosen from by latency.
    pub fn new(members: Members) -> Self {
        Self { members, strategy: Strategy::default() }
    }

    /// Chosen from like that.
    #[must_use]
    pub fn with_strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }
}

/// Which endpoints are in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Members {
    /// All.
    All,
    /// Those of these names.
    Named(Vec<String>),
    /// Those that have all of these tags. None may have them yet: discovery may bring some.
    Tagged(Vec<String>),
    /// Those of that model.
    OfModel(String),
}

/// Whether several endpoints are asked for one answer. The first that begins wins, the others are given up: each may
/// cost what an answer costs.
///
/// All of them count as attempts ([`FallbackPolicy::max_attempts`]). Where all have failed, the policy says whether another
/// one is asked, alone; and it is the first failure that it does not allow another one after, else the last, that is the
/// caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fan {
    /// One at a time.
    #[default]
    One,
    /// So many at once, at most 8.
    Race(u8),
    /// A second one, when the first has neither begun nor failed after that time and there is an attempt left.
    Hedge(Duration),
}

/// A new version of a route: endpoints that take a share of its requests for as long as they do well.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CanarySpec {
    /// Its name in events.
    pub name: String,
    /// The endpoints of the new version.
    pub group: GroupSpec,
    /// How its share moves.
    pub policy: CanaryPolicy,
}

impl CanarySpec {
    /// A new version of that name.
    pub fn new(name: impl Into<String>, group: GroupSpec) -> Self {
        Self { name: name.into(), group, policy: CanaryPolicy::default() }
    }

    /// Whose share moves like that.
    #[must_use]
    pub fn with_policy(mut self, policy: CanaryPolicy) -> Self {
        self.policy = policy;
        self
    }
}
