//! The table that requests are decided by: made whole from a [`Plan`], or refused whole; never changed, only replaced.
//!
//! A new table takes over what is known of every endpoint that stays: its load, its health, its breaker, its connections.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::Instant,
};

use loquat_core::{Error, ErrorKind, Result};

use crate::{
    AfterDelivery, Connect, Connected, EndpointSpec, FallbackPolicy, Fan, GroupSpec, MAX_MEMBERS, Members,
    Plan, RouteSpec, Strategy,
    ability::hash,
    canary::Canary,
    health::HealthPolicy,
    load::{Live, LoadPolicy},
    pool::{Member, Pool},
};

/// Most routes of a table.
pub const MAX_ROUTES: usize = 4096;
/// Most endpoints of a table.
pub const MAX_ENDPOINTS: usize = 16_384;

/// An endpoint in use.
#[derive(Debug, Clone)]
pub struct Node {
    /// What is said of it.
    pub spec: Arc<EndpointSpec>,
    /// What is known of it.
    pub live: Arc<Live>,
    /// What it is asked through.
    pub connected: Connected,
}

/// Endpoints and routes, ready to decide.
#[derive(Debug)]
pub struct Table {
    pub(crate) nodes: Vec<Node>,
    pub(crate) routes: Vec<Route>,
    exact: HashMap<Box<str>, usize, Names>,
    /// What stands before the `*`, the longest first.
    prefixes: Vec<(Box<str>, usize)>,
}

/// Hashes names by [`hash`]: who looks one up puts none in, so nobody can make them collide but who writes the plan.
type Names = BuildHasherDefault<NameHasher>;

#[derive(Debug, Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(self.0, bytes);
    }

    // What the standard library writes after a text, so that two texts are not one; here there is one.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A route, ready.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) groups: Vec<Group>,
    pub(crate) fallback: FallbackPolicy,
    pub(crate) fan: Fan,
    pub(crate) canary: Option<Arc<Canary>>,
}

/// A group, ready. The group of a route's canary comes after all others and is marked.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) pool: Pool,
    pub(crate) strategy: Strategy,
    pub(crate) is_canary: bool,
}

/// What a table is made with besides its plan.
pub(crate) struct Making<'a> {
    pub(crate) old: Option<&'a Table>,
    pub(crate) connect: &'a dyn Connect,
    pub(crate) load: LoadPolicy,
    pub(crate) health: HealthPolicy,
    pub(crate) epoch: Instant,
    pub(crate) now: Instant,
}

impl Plan {
    /// All that is wrong with it, each with its place; nothing where it can be used.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.endpoints.len() > MAX_ENDPOINTS {
            problems.push(format!("{} endpoints, where {MAX_ENDPOINTS} may be", self.endpoints.len()));
        }
        if self.routes.len() > MAX_ROUTES {
            problems.push(format!("{} routes, where {MAX_ROUTES} may be", self.routes.len()));
        }
        let mut names = HashSet::new();
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            if endpoint.name.is_empty() {
                problems.push(format!("endpoint {}: it has no name", at + 1));
            }
            if !names.insert(endpoint.name.as_str()) {
                problems.push(format!("endpoint `{}`: another one has this name", endpoint.name));
            }
            let price = endpoint.price;
            if ![price.input, price.output].iter().all(|price| price.is_finite() && *price >= 0.0) {
                problems.push(format!("endpoint `{}`: a price must be 0 or more", endpoint.name));
            }
        }
        let mut taken = HashSet::new();
        for (at, route) in self.routes.iter().enumerate() {
            let title = route
                .names
                .first()
                .map_or_else(|| format!("route {}", at + 1), |name| format!("route `{name}`"));
            if route.names.is_empty() {
                problems.push(format!("{title}: it has no name"));
            }
            for name in &route.names {
                if name.is_empty() || name.trim_end_matches('*').contains('*') || name.ends_with("**") {
                    problems.push(format!("{title}: `{name}` is no name: a `*` may stand at the end, once"));
                }
                if !taken.insert(name.as_str()) {
                    problems.push(format!("{title}: another route has the name `{name}`"));
                }
            }
            if route.groups.is_empty() {
                problems.push(format!("{title}: it has no group of endpoints"));
            }
            let canary = route.canary.iter().map(|canary| &canary.group);
            for (at, group) in route.groups.iter().chain(canary).enumerate() {
                self.check_group(&format!("{title}, group {}", at + 1), group, &names, &mut problems);
            }
            if !(1..=8).contains(&route.fallback.max_attempts) {
                problems.push(format!("{title}: max_attempts must be 1 to 8"));
            }
            let goes_on = route.fallback.after_delivery != AfterDelivery::Fail;
            if goes_on && route.fallback.max_attempts == 1 {
                let what = "whoever goes on with an answer is asked too, and max_attempts allows one endpoint in all: 2 or more, or \
                    after_delivery = \"fail\"";
                problems.push(format!("{title}: {what}"));
            }
            if let Fan::Race(count) = route.fan
                && !(2..=8).contains(&count)
            {
                problems.push(format!("{title}: a race is of 2 to 8 endpoints"));
            }
            if let Some(canary) = &route.canary {
                problems.extend(
                    canary.policy.problems().into_iter().map(|what| format!("{title}, canary: {what}")),
                );
            }
        }
        problems
    }

    fn check_group(&self, title: &str, group: &GroupSpec, names: &HashSet<&str>, problems: &mut Vec<String>) {
        if let Members::Named(members) = &group.members {
            if members.is_empty() {
                problems.push(format!("{title}: it names no endpoint"));
            }
            for member in members.iter().filter(|member| !names.contains(member.as_str())) {
                problems.push(format!("{title}: there is no endpoint `{member}`"));
            }
        }
        let count = self.endpoints.iter().filter(|spec| group.members.include(spec)).count();
        if count > MAX_MEMBERS {
            problems.push(format!("{title}: {count} endpoints, where {MAX_MEMBERS} may be"));
        }
    }
}

impl Members {
    fn include(&self, spec: &EndpointSpec) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(&spec.name),
            Self::Tagged(tags) => tags.iter().all(|tag| spec.tags.contains(tag)),
            Self::OfModel(model) => spec.endpoint.model == *model,
        }
    }
}

impl Table {
    pub(crate) fn make(plan: &Plan, making: &Making<'_>) -> Result<Self> {
        let problems = plan.problems();
        if !problems.is_empty() {
            let message = format!("the routes cannot be used: {}", problems.join("; "));
            return Err(Error::new(ErrorKind::NotConfigured, message));
        }
        let nodes = plan.endpoints.iter().map(|spec| Node::make(spec, making)).collect::<Result<Vec<_>>>()?;
        let implied;
        let specs = if plan.routes.is_empty() {
            implied = by_model(plan);
            &implied
        } else {
            &plan.routes
        };
        let mut table = Self { nodes, routes: Vec::new(), exact: HashMap::default(), prefixes: Vec::new() };
        for (index, spec) in specs.iter().enumerate() {
            for name in &spec.names {
                match name.strip_suffix('*') {
                    Some(prefix) => table.prefixes.push((prefix.into(), index)),
                    None => drop(table.exact.insert(name.as_str().into(), index)),
                }
            }
            let route = table.route_of(spec, making);
            table.routes.push(route);
        }
        table.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(table)
    }

    fn route_of(&self, spec: &RouteSpec, making: &Making<'_>) -> Route {
        let name: Arc<str> = spec.names.first().map_or("", String::as_str).into();
        let old = making.old.and_then(|table| table.routes.iter().find(|route| route.name == name));
        let group = |group: &GroupSpec, is_canary| Group {
            pool: Pool::new(
                self.members(&group.members),
                making.epoch,
                making.health,
                group.strategy.wants_ranks(),
            ),
            strategy: group.strategy.clone(),
            is_canary,
        };
        let mut groups: Vec<_> = spec.groups.iter().map(|spec| group(spec, false)).collect();
        groups.extend(spec.canary.iter().map(|canary| group(&canary.group, true)));
        let canary = spec.canary.as_ref().map(|canary| {
            let same =
                old.and_then(|old| old.canary.as_ref()).filter(|old| old.is(&canary.name, &canary.policy));
            same.cloned().unwrap_or_else(|| Arc::new(Canary::new(&canary.name, canary.policy, making.now)))
        });
        Route { name, groups, fallback: spec.fallback.clone(), fan: spec.fan, canary }
    }

    fn members(&self, members: &Members) -> Vec<Member> {
        let included = self.nodes.iter().enumerate().filter(|(_, node)| members.include(&node.spec));
        let member = |(index, node): (usize, &Node)| Member {
            spec: node.spec.clone(),
            live: node.live.clone(),
            id: hash(0, node.spec.name.as_bytes()),
            index,
            allowance: node.connected.allowance.clone(),
        };
        let mut found: Vec<_> = included.map(member).collect();
        if let Members::Named(names) = members {
            found.sort_by_key(|member| names.iter().position(|name| *name == member.spec.name));
        }
        found
    }

    /// The route of that name: an exact one, else the longest that fits.
    pub(crate) fn route(&self, name: &str) -> Option<usize> {
        let prefix = || self.prefixes.iter().find(|(prefix, _)| name.starts_with(&**prefix));
        self.exact.get(name).copied().or_else(|| prefix().map(|(_, index)| *index))
    }

    /// The endpoints, in the plan's order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The routes' first names, in the plan's order.
    pub fn route_names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| &*route.name)
    }

    /// Tells those that are not in `new` to finish what they have and take no more.
    pub(crate) fn drain_what_left(&self, new: &Self, now: Instant) {
        let stays = |node: &Node| new.nodes.iter().any(|other| Arc::ptr_eq(&other.live, &node.live));
        self.nodes.iter().filter(|node| !stays(node)).for_each(|node| node.live.drain(now));
    }
}

impl Node {
    fn make(spec: &EndpointSpec, making: &Making<'_>) -> Result<Self> {
        let old = making.old.and_then(|table| table.nodes.iter().find(|node| node.spec.is_same_place(spec)));
        if let Some(old) = old {
            old.live.undrain();
            return Ok(Self { spec: Arc::new(spec.clone()), ..old.clone() });
        }
        let connected = making
            .connect
            .connect(spec)
            .map_err(|error| error.map_message(|message| format!("endpoint `{}`: {message}", spec.name)))?;
        let word = connected.availability.clone();
        let live = Live::new(making.epoch, making.now, making.old.is_some(), making.load, word);
        Ok(Self { spec: Arc::new(spec.clone()), live: Arc::new(live), connected })
    }
}

/// A route for each model that endpoints have.
fn by_model(plan: &Plan) -> Vec<RouteSpec> {
    let mut seen = HashSet::new();
    let models = plan.endpoints.iter().map(|spec| spec.endpoint.model.as_str());
    let new: Vec<_> = models.filter(|model| !model.is_empty() && seen.insert(*model)).collect();
    new.into_iter()
        .map(|model| RouteSpec::new(model).with_group(GroupSpec::new(Members::OfModel(model.to_owned()))))
        .collect()
}
