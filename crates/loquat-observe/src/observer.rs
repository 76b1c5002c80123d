//! [`Observer`]: what watches, how it is set, and what it knows.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use loquat_core::{Availability, Clock, Model, Standing, SystemClock, TraceContext};

#[cfg(feature = "capture")]
use crate::capture::{Capture, Capturer};
#[cfg(feature = "otlp")]
use crate::export::Exporter;
#[cfg(feature = "stack")]
use crate::profile::{AskHeap, HeapStack};
use crate::{
    Attempted, CacheState, Conventions, Keep, Observed, Place, Price, Sampling, TextFormat, cache,
    call::{Call, bounded},
    locks::Locks,
    metric::{About, Kind, Registry, text},
    names::{self, Names},
    places::Places,
    runtime::{RuntimeState, Runtimes},
    series::{Catalog, Series},
    tasks::Tasks,
    ticks::Ticks,
};

/// Most circuit breakers shown: as many endpoints as a client keeps the state of.
const MAX_ENDPOINTS: usize = 1_024;

/// Watches operations and attempts. Cheap to clone; clones are one. Nothing of it is global: a program may have several.
///
/// [`operation`](Self::operation) wraps what a caller asks, outside of retries; [`attempt`](Self::attempt) what is asked
/// once. Either works without the other.
#[derive(Clone)]
pub struct Observer(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    catalog: Catalog,
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "spans are named by who exports them"))]
    pub(crate) names: &'static Names,
    pub(crate) clock: Arc<dyn Clock>,
    /// The same moment on both clocks, so that an operation reads only one.
    anchor: (Instant, SystemTime),
    pub(crate) ticks: Ticks,
    pub(crate) sampling: Sampling,
    pub(crate) keepers: Vec<Arc<dyn Keep>>,
    pub(crate) live: Places<Call>,
    tasks: Tasks,
    locks: Locks,
    pub(crate) runtimes: Runtimes,
    #[cfg(feature = "stack")]
    pub(crate) heap: std::sync::OnceLock<Box<AskHeap>>,
    #[cfg(feature = "capture")]
    pub(crate) capturer: Option<Arc<Capturer>>,
}

impl Observer {
    /// With metrics alone.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Set as wanted.
    pub fn builder() -> ObserverBuilder {
        ObserverBuilder::default()
    }

    /// A model whose every call is one operation: around all that retries, routes and waits.
    pub fn operation<M: Model>(&self, model: M, place: Place) -> Observed<M> {
        Observed::new(model, self.clone(), place)
    }

    /// A model whose every call is one attempt: inside of all that retries.
    pub fn attempt<M: Model>(&self, model: M, place: Place) -> Attempted<M> {
        Attempted::new(model, self.clone(), place)
    }

    /// All metrics, as a scraper reads them.
    pub fn metrics(&self, format: TextFormat) -> String {
        text::write(&self.0.registry.read(), format)
    }

    /// Shows an endpoint's circuit breaker as `loquat_breaker_state`. The word is read when somebody scrapes, and shown while
    /// somebody else holds it. At most 1,024 of them are shown; of a name the first 256 bytes are.
    pub fn watch_endpoint(&self, name: impl Into<Arc<str>>, availability: &Arc<Availability>) {
        let (word, clock) = (Arc::downgrade(availability), self.0.clock.clone());
        let state = move || {
            Some(match word.upgrade()?.standing(clock.now()) {
                Standing::Available => 0.0,
                Standing::Ejected { .. } => 1.0,
                _ => 2.0,
            })
        };
        let labels = vec![("endpoint", bounded(name.into()))];
        self.0.registry.asked_while(names::BREAKER, Kind::Gauge, labels, MAX_ENDPOINTS, state);
    }

    /// Shows a tier of a prompt cache, such as `l2`: `loquat_cache_requests_total`, `loquat_cache_read_bytes_total`, and how long
    /// it takes, `loquat_cache_duration_seconds_total` over `loquat_cache_timed_total`. `ask` is asked when somebody scrapes:
    /// what a look-up costs stays what it was. [`CacheState`] has the lines for the tiers of `loquat-prompt`.
    pub fn watch_cache(
        &self,
        tier: impl Into<Arc<str>>,
        ask: impl Fn() -> CacheState + Send + Sync + 'static,
    ) {
        cache::watch(&self.0.registry, &tier.into(), ask);
    }

    /// One more gauge, asked for when somebody scrapes. The name is dotted (`loquat.pool.connections`), the unit as
    /// OpenTelemetry writes it (`s`, `By`, or empty).
    ///
    /// `ask` is called by whoever scrapes, with no lock of the observer's held; while it is at it the scrape waits. Where it panics,
    /// the gauge is `NaN`.
    pub fn gauge(
        &self,
        (name, unit, help): (&'static str, &'static str, &'static str),
        labels: &[(&'static str, &str)],
        ask: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let labels = labels.iter().map(|(name, value)| (*name, Arc::from(*value))).collect();
        self.0.registry.asked(About { name, unit, help }, Kind::Gauge, labels, ask);
    }

    /// One more counter, asked for when somebody scrapes; otherwise as [`gauge`](Self::gauge). What `ask` gives never
    /// falls.
    pub fn counter(
        &self,
        (name, unit, help): (&'static str, &'static str, &'static str),
        labels: &[(&'static str, &str)],
        ask: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let labels = labels.iter().map(|(name, value)| (*name, Arc::from(*value))).collect();
        self.0.registry.asked(About { name, unit, help }, Kind::Counter, labels, ask);
    }

    /// The program's tasks: wrap what is spawned, and a diagnostics listener shows it.
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// The program's locks: make one by name, and a diagnostics listener shows who waits where.
    pub fn locks(&self) -> &Locks {
        &self.0.locks
    }

    /// Shows what that runtime says of itself, as metrics and as `/debug/runtime`. It is asked when somebody looks, by the thread
    /// that looks, and must not block. At most 16 of them are shown. [`RuntimeState`] has the lines for tokio.
    #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
    pub fn watch_runtime(
        &self,
        name: impl Into<Arc<str>>,
        ask: impl Fn() -> RuntimeState + Send + Sync + 'static,
    ) {
        type Read = fn(&RuntimeState) -> f64;
        let (name, ask): (Arc<str>, Arc<_>) = (name.into(), Arc::new(ask));
        if !self.0.runtimes.add(name.clone(), ask.clone()) {
            return;
        }
        let shown: [(About, Kind, Read); 5] = [
            (names::RUNTIME_WORKERS, Kind::Gauge, |state| state.workers.len() as f64),
            (names::RUNTIME_TASKS, Kind::Gauge, |state| state.tasks as f64),
            (names::RUNTIME_QUEUE, Kind::Gauge, |state| state.queue as f64),
            (names::RUNTIME_BUSY, Kind::Counter, |state| state.busy().as_secs_f64()),
            (names::RUNTIME_PARKS, Kind::Counter, |state| {
                state.workers.iter().map(|worker| worker.parks as f64).sum()
            }),
        ];
        for (about, kind, read) in shown {
            let ask = ask.clone();
            self.0.registry.asked(about, kind, vec![("runtime", name.clone())], move || read(&ask()));
        }
    }

    /// Shows who holds the program's memory as `/debug/pprof/heap`, by what its allocator keeps account of. `ask` is called by the
    /// thread of whoever looks, one at a time, and may block; its error is shown, so it says what the program was to be started
    /// with. Only the first one said counts.
    ///
    /// With jemalloc, by the crate `jemalloc_pprof` (`_RJEM_MALLOC_CONF=prof:true` in the environment has it keep account):
    /// `dump_profile()`, and of each of its `stacks` the `addrs` and the `weight`.
    #[cfg(feature = "stack")]
    pub fn watch_heap(&self, ask: impl Fn() -> loquat_core::Result<Vec<HeapStack>> + Send + Sync + 'static) {
        let _ = self.0.heap.set(Box::new(ask));
    }

    /// The answers under way, oldest first.
    pub fn streams(&self) -> Vec<StreamState> {
        let now = self.0.clock.now();
        let mut streams: Vec<StreamState> = self.0.live.all().iter().map(|call| call.state(now)).collect();
        streams.sort_by_key(|stream| std::cmp::Reverse(stream.age));
        streams
    }
}

/// An operation under way.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamState {
    /// What was asked for.
    pub place: Arc<Place>,
    /// Where the latest attempt went, which a router may have chosen; `None` before the first, or where attempts are not
    /// watched.
    pub attempt: Option<Arc<Place>>,
    /// Its trace's id.
    pub trace_id: [u8; 16],
    /// Since when.
    pub age: Duration,
    /// Arrivals of content so far.
    pub chunks: u32,
    /// For how long nothing has come.
    pub idle: Duration,
}

impl Shared {
    pub(crate) fn series(&self, place: &Place) -> Arc<Series> {
        self.catalog.at(&place.provider, &place.model)
    }

    /// That moment on the wall's clock.
    pub(crate) fn wall(&self, at: Instant) -> SystemTime {
        let (instant, wall) = self.anchor;
        match at.checked_duration_since(instant) {
            Some(later) => wall.checked_add(later),
            None => wall.checked_sub(instant.saturating_duration_since(at)),
        }
        .unwrap_or(wall)
    }

    /// Whether anything of operations is noted down beside metrics.
    pub(crate) fn records(&self) -> bool {
        !self.keepers.is_empty()
    }

    /// Whether the trace is kept from its head on.
    pub(crate) fn samples(&self, trace: TraceContext, joined: bool) -> bool {
        self.records() && if joined { trace.is_sampled() } else { self.sampling.takes(trace.trace_id()) }
    }
}

impl Default for Observer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer")
            .field("sampling", &self.0.sampling)
            .field("registry", &self.0.registry)
            .finish_non_exhaustive()
    }
}

/// Sets an [`Observer`].
///
/// | setting | default | reason |
/// |---|---|---|
/// | `conventions` | [`Conventions::V2026`] | the present ones |
/// | `sampling` | 1 % from the head, and all that fail | a hundredth shows what is usual, failures are looked for |
/// | `models` | whichever come first | a program asks few models |
/// | `max_models` | 64 | each costs some 10 KiB here and 200 series in Prometheus; a caller may name any |
/// | `prices` | none | they change weekly, and differ by contract |
/// | `capture` | none | what people write is theirs (feature `capture`) |
#[must_use = "a builder builds nothing until .build()"]
pub struct ObserverBuilder {
    conventions: Conventions,
    sampling: Sampling,
    models: Option<Vec<Arc<str>>>,
    max_models: usize,
    currency: Arc<str>,
    prices: HashMap<Arc<str>, Price>,
    clock: Arc<dyn Clock>,
    keepers: Vec<Arc<dyn Keep>>,
    #[cfg(feature = "otlp")]
    exporters: Vec<Exporter>,
    #[cfg(feature = "capture")]
    capture: Option<Capture>,
    registry: Arc<Registry>,
}

impl Default for ObserverBuilder {
    fn default() -> Self {
        Self {
            conventions: Conventions::default(),
            sampling: Sampling::default(),
            models: None,
            max_models: 64,
            currency: "USD".into(),
            prices: HashMap::new(),
            clock: Arc::new(SystemClock),
            keepers: Vec::new(),
            #[cfg(feature = "otlp")]
            exporters: Vec::new(),
            #[cfg(feature = "capture")]
            capture: None,
            registry: Arc::default(),
        }
    }
}

impl ObserverBuilder {
    /// Speaks that edition.
    pub fn conventions(mut self, conventions: Conventions) -> Self {
        self.conventions = conventions;
        self
    }

    /// Keeps spans like that.
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Only these models and those with a [price](Self::prices) get labels of their own, all others are `_other`: for a gateway, whose
    /// callers name models.
    pub fn models<S: Into<Arc<str>>>(mut self, models: impl IntoIterator<Item = S>) -> Self {
        self.models = Some(models.into_iter().map(Into::into).collect());
        self
    }

    /// At most so many models with labels of their own.
    pub fn max_models(mut self, max: usize) -> Self {
        self.max_models = max;
        self
    }

    /// Counts what operations cost, in that currency.
    pub fn prices<S: Into<Arc<str>>>(
        mut self,
        currency: impl Into<Arc<str>>,
        prices: impl IntoIterator<Item = (S, Price)>,
    ) -> Self {
        self.currency = currency.into();
        self.prices = prices.into_iter().map(|(model, price)| (model.into(), price)).collect();
        self
    }

    /// Reads the time from that clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Hands over what is kept. May be said several times.
    pub fn keep(mut self, keeper: Arc<dyn Keep>) -> Self {
        self.keepers.push(keeper);
        self
    }

    /// Hands what is kept to that exporter, and the metrics to the collector behind it. May be said several times.
    #[cfg(feature = "otlp")]
    pub fn export(mut self, exporter: Exporter) -> Self {
        self.exporters.push(exporter.clone());
        self.keep(Arc::new(exporter))
    }

    /// Shows with what is kept what was asked and answered, as [`Capture`] says. What people write goes to whoever reads the
    /// spans then. Without this, no content goes anywhere.
    ///
    /// Shown under [`Conventions::V2026`], in lines of JSON, and to who is told by [`keep`](Self::keep). A chosen operation costs a copy of its
    /// answer's text.
    #[cfg(feature = "capture")]
    pub fn capture(mut self, capture: Capture) -> Self {
        self.capture = Some(capture);
        self
    }

    /// The observer.
    pub fn build(self) -> Observer {
        let names = self.conventions.names();
        let prices = (self.currency, self.prices);
        let catalog = Catalog::new(self.registry.clone(), names, self.models, self.max_models, prices);
        let anchor = (self.clock.now(), SystemTime::now());
        let tasks = Tasks::new(self.clock.clone());
        let locks = Locks::new(self.clock.clone());
        #[cfg(feature = "capture")]
        let capturer = self.capture.map(|capture| Arc::new(Capturer::new(capture)));
        #[cfg(feature = "capture")]
        if let Some(capturer) = capturer.clone() {
            #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
            let ask = move || capturer.without_room.load(std::sync::atomic::Ordering::Relaxed) as f64;
            self.registry.asked(names::UNCAPTURED, Kind::Counter, Vec::new(), ask);
        }
        let observer = Observer(Arc::new(Shared {
            registry: self.registry,
            catalog,
            names,
            clock: self.clock,
            anchor,
            ticks: Ticks::new(anchor.0),
            sampling: self.sampling,
            keepers: self.keepers,
            live: Places::default(),
            tasks,
            locks,
            runtimes: Runtimes::default(),
            #[cfg(feature = "stack")]
            heap: std::sync::OnceLock::new(),
            #[cfg(feature = "capture")]
            capturer,
        }));
        #[cfg(feature = "otlp")]
        self.exporters.iter().for_each(|exporter| exporter.attach(&observer));
        observer
    }
}

impl fmt::Debug for ObserverBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverBuilder").field("sampling", &self.sampling).finish_non_exhaustive()
    }
}
