//! [`Router`]: a model over many, and the table it decides by.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use loquat_core::{
    Answer, BoxFuture, ChatRequest, Clock, Context, ContextLength, Delivery, Error, ErrorKind, Model, Result,
    SystemClock,
};

use crate::{
    Asked, Connect, Plan,
    canary::{Canary, CanaryEvent},
    decide::{Decision, Nobody, Tried},
    health::HealthPolicy,
    load::{LoadPolicy, millis},
    operation::Operation,
    random::Random,
    table::{Making, Table},
    trace::{KEPT, Record, Ring},
};

/// Waits, for hedges: a router knows no runtime.
pub trait Timer: Send + Sync {
    /// Resolves after that time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// Is told what becomes of canaries.
pub type Listener = Arc<dyn Fn(&CanaryEvent) + Send + Sync>;

/// Counts a prompt's tokens, where an estimate will not do.
pub type Counter = Arc<dyn Fn(&ChatRequest) -> Option<u32> + Send + Sync>;

/// Tells callers apart for canaries: a user, a device, as [`hash`](crate::hash)es; `None` where it does not know.
pub type StableKey = Arc<dyn Fn(&ChatRequest, &Context) -> Option<u64> + Send + Sync>;

/// A model over many: chooses an endpoint for each request, and another one when that fails before its first token.
/// Cheap to clone; clones are the same router.
#[derive(Clone)]
pub struct Router(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) table: ArcSwap<Table>,
    connect: Box<dyn Connect>,
    load: LoadPolicy,
    health: HealthPolicy,
    epoch: Instant,
    clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    pub(crate) ring: Ring,
    pub(crate) timer: Option<Arc<dyn Timer>>,
    pub(crate) listener: Option<Listener>,
    counter: Option<Counter>,
    stable_key: Option<StableKey>,
    /// Replacements come one after the other; decisions never wait for one.
    replacing: Mutex<()>,
}

/// Builds a [`Router`].
#[must_use = "a builder builds nothing until .build()"]
pub struct RouterBuilder {
    connect: Box<dyn Connect>,
    load: LoadPolicy,
    health: HealthPolicy,
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    kept: usize,
    timer: Option<Arc<dyn Timer>>,
    listener: Option<Listener>,
    counter: Option<Counter>,
    stable_key: Option<StableKey>,
}

impl Router {
    /// A router whose endpoints become models by that function.
    pub fn builder(connect: impl Connect + 'static) -> RouterBuilder {
        RouterBuilder {
            connect: Box::new(connect),
            load: LoadPolicy::default(),
            health: HealthPolicy::default(),
            clock: Arc::new(SystemClock),
            seed: None,
            kept: KEPT,
            timer: None,
            listener: None,
            counter: None,
            stable_key: None,
        }
    }

    /// Replaces all endpoints and routes at once. Requests under way go on by the old table, and by the new one where all
    /// whom the old one could ask have left; what is known of endpoints that stay is kept; those that leave finish what they
    /// have.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] with all that is wrong, or what an endpoint could not be connected for. The old table
    /// stays then.
    pub fn replace(&self, plan: &Plan) -> Result<()> {
        let _one = self.0.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.0.table.load_full();
        let now = self.0.clock.now();
        let new = Arc::new(Table::make(plan, &self.0.making(Some(&old), now))?);
        self.0.table.store(new.clone());
        old.drain_what_left(&new, now);
        Ok(())
    }

    /// The present table: endpoints with what is known of them.
    pub fn table(&self) -> Arc<Table> {
        self.0.table.load_full()
    }

    /// Decides for a request without making it. Does not count as load, and allocates nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] where no route has that name, [`ErrorKind::Unsupported`] or
    /// [`ErrorKind::ContextLength`] where no endpoint can do what is asked, [`ErrorKind::Overloaded`] where none is well.
    pub fn decide(&self, route: &str, asked: &Asked, now: Instant) -> Result<Decision> {
        let table = self.0.table.load();
        let route = table.route(route).ok_or_else(|| no_route(&table, route))?;
        let decision = self.0.decide(&table, route, asked, &Tried::default(), now, 0);
        decision.map_err(|nobody| refused(&table, route, asked, nobody))
    }

    /// What is asked by that request, as this router counts it.
    pub fn asked(&self, context: &Context, request: &ChatRequest) -> Asked {
        let asked = Asked::of(request, context);
        let counted = self.0.counter.as_ref().and_then(|count| count(request));
        let asked = counted.map_or(asked, |tokens| asked.with_prompt_tokens(tokens));
        let key = self.0.stable_key.as_ref().and_then(|key| key(request, context));
        key.map_or(asked, |key| asked.with_stable_key(key))
    }

    /// The last decisions, oldest first.
    pub fn decisions(&self) -> Vec<Record> {
        self.0.ring.read()
    }

    /// The canary of a route, if it has one.
    pub fn canary(&self, route: &str) -> Option<Arc<Canary>> {
        let table = self.0.table.load();
        table.routes.get(table.route(route)?)?.canary.clone()
    }

    /// Takes a canary's share away at once. `false` where there is none, or it has none any more.
    pub fn roll_back(&self, route: &str) -> bool {
        let event = self.canary(route).and_then(|canary| canary.roll_back(self.0.clock.now()));
        if let (Some(listener), Some(event)) = (&self.0.listener, &event) {
            listener(event);
        }
        event.is_some()
    }

    /// What the router's times count from.
    pub fn epoch(&self) -> Instant {
        self.0.epoch
    }
}

impl Inner {
    fn making<'a>(&'a self, old: Option<&'a Table>, now: Instant) -> Making<'a> {
        Making { old, connect: &*self.connect, load: self.load, health: self.health, epoch: self.epoch, now }
    }

    pub(crate) fn decide(
        &self,
        table: &Table,
        route: usize,
        asked: &Asked,
        tried: &Tried,
        now: Instant,
        trace: u64,
    ) -> Result<Decision, Nobody> {
        let canary = table.routes.get(route).and_then(|route| route.canary.as_ref());
        let in_canary = canary.is_some_and(|canary| canary.takes(asked.stable_key));
        let now_ms = millis(self.epoch, now);
        // One counter for both. Where nobody is found its number stays empty.
        let number = self.ring.reserve();
        let draw = self.random.draw(number);
        let decision = table.decide(route, asked, tried, in_canary, (now, now_ms), draw)?;
        self.ring.write(number, now_ms, trace, &decision);
        Ok(decision)
    }

    /// See [`Table::has_others`].
    pub(crate) fn has_others(
        &self,
        table: &Table,
        route: usize,
        asked: &Asked,
        tried: &Tried,
        allowed: bool,
        now: Instant,
    ) -> bool {
        table.has_others(route, asked, tried, allowed, (now, millis(self.epoch, now)))
    }
}

impl Model for Router {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            let table = self.0.table.load_full();
            let route = table.route(&request.model).ok_or_else(|| no_route(&table, &request.model))?;
            let asked = self.asked(context, &request);
            Operation::new(self.0.clone(), table, route, asked, context.clone(), request).answer().await
        })
    }
}

impl RouterBuilder {
    /// Reckons load like that.
    pub fn load(mut self, policy: LoadPolicy) -> Self {
        self.load = policy;
        self
    }

    /// Leaves endpoints out like that.
    pub fn health(mut self, policy: HealthPolicy) -> Self {
        self.health = policy;
        self
    }

    /// Reads the time of its own beginning and of replacements from that clock; requests bring their own.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With chance that repeats from that seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Keeps that many decisions. Default 1024; 256 bytes each, for four threads that keep out of each other's way.
    pub fn keep_decisions(mut self, kept: usize) -> Self {
        self.kept = kept;
        self
    }

    /// Waits by that: needed for hedges alone. Without it a route that hedges asks one endpoint.
    pub fn timer(mut self, timer: Arc<dyn Timer>) -> Self {
        self.timer = Some(timer);
        self
    }

    /// Tells that what becomes of canaries. It is called by the task that brought the last sample: it shall not block.
    pub fn on_canary(mut self, listener: Listener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Counts prompts by that instead of estimating them.
    pub fn counter(mut self, counter: Counter) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Puts callers on a canary's side or the other by that, where it says something: by their user, by their device. Without
    /// it they are told apart by tenant, and where there is none by conversation.
    pub fn stable_key(mut self, key: StableKey) -> Self {
        self.stable_key = Some(key);
        self
    }

    /// Builds the router.
    ///
    /// # Errors
    /// As [`Router::replace`].
    pub fn build(self, plan: &Plan) -> Result<Router> {
        let epoch = self.clock.now();
        let making = Making {
            old: None,
            connect: &*self.connect,
            load: self.load,
            health: self.health,
            epoch,
            now: epoch,
        };
        let table = Table::make(plan, &making)?;
        Ok(Router(Arc::new(Inner {
            table: ArcSwap::from_pointee(table),
            connect: self.connect,
            load: self.load,
            health: self.health,
            epoch,
            clock: self.clock,
            random: self.seed.map_or_else(Random::from_system, Random::seeded),
            ring: Ring::new(self.kept),
            timer: self.timer,
            listener: self.listener,
            counter: self.counter,
            stable_key: self.stable_key,
            replacing: Mutex::new(()),
        })))
    }
}

fn no_route(table: &Table, name: &str) -> Error {
    let mut known: Vec<_> = table.route_names().take(20).collect();
    known.sort_unstable();
    let message = format!("no route has the name `{name}`; there are: {}", known.join(", "));
    Error::new(ErrorKind::NotConfigured, message).with_delivery(Delivery::NotSent)
}

/// Nothing was asked of anybody, and why.
pub(crate) fn refused(table: &Table, route: usize, asked: &Asked, nobody: Nobody) -> Error {
    let Some(route) = table.routes.get(route) else { return no_route(table, "") };
    let error = match nobody {
        Nobody::Well => {
            let message = format!("every endpoint of the route `{}` that could answer is out", route.name);
            Error::new(ErrorKind::Overloaded, message)
        }
        Nobody::Able => match route.groups.iter().filter_map(|group| group.pool.widest(asked)).max() {
            Some(window) if window < asked.window_tokens() => {
                let (limit, asked) = (u64::from(window), u64::from(asked.window_tokens()));
                let message = format!(
                    "about {asked} tokens of prompt and answer, and the route `{}` has no endpoint for more than {limit}",
                    route.name
                );
                Error::new(ErrorKind::ContextLength, message)
                    .with_context_length(ContextLength::new(Some(limit), Some(asked)))
            }
            _ => {
                let message = format!(
                    "no endpoint of the route `{}` can do all that is asked: {}",
                    route.name, asked.abilities
                );
                Error::new(ErrorKind::Unsupported, message)
            }
        },
    };
    error.with_delivery(Delivery::NotSent)
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("routes", &self.0.table.load().routes.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RouterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterBuilder")
            .field("load", &self.load)
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}
