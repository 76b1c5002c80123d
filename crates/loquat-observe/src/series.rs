//! The handles of one provider and model, made once; and how many of them there may be.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use loquat_core::{Event, Usage};

use crate::{
    call::bounded,
    metric::{Counter, DURATION, Exemplar, Gauge, Histogram, Labels, RESPONSE, Registry, SHORT, TOKENS},
    names::{self, Names},
    price::Price,
};

/// What stands for models beyond those that have labels of their own.
pub(crate) const OTHER: &str = "_other";
/// Most HTTP statuses with a series of their own per endpoint, and most endpoints and reasons named by events.
const MAX_WORDS: usize = 64;

/// A small table of series that differ in one word, made as the words come.
#[derive(Debug)]
struct ByWord<T>(Mutex<HashMap<Arc<str>, Arc<T>>>);

impl<T> Default for ByWord<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> ByWord<T> {
    fn at(&self, word: &str, make: impl FnOnce(Arc<str>) -> Arc<T>) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known.get(word) {
            return series.clone();
        }
        // A word that is known goes on being counted under its own name when there is no room for more.
        let word = if known.len() < MAX_WORDS { word } else { OTHER };
        let word: Arc<str> = word.into();
        known.entry(word.clone()).or_insert_with(|| make(word)).clone()
    }
}

/// One provider's and model's handles.
#[derive(Debug)]
pub(crate) struct Series {
    registry: Arc<Registry>,
    /// Operation, provider, model: what all of `gen_ai.*` bear.
    labels: Labels,
    finished: Arc<Histogram>,
    failed: ByWord<Histogram>,
    pub(crate) first_chunk: Arc<Histogram>,
    pub(crate) per_chunk: Arc<Histogram>,
    pub(crate) chunks: Arc<Counter>,
    input: Arc<Histogram>,
    output: Arc<Histogram>,
    pub(crate) in_flight: Arc<Gauge>,
    retries: Arc<Counter>,
    hedges: Arc<Counter>,
    circuit_open: Arc<Counter>,
    queue: Arc<Histogram>,
    answered: Arc<Counter>,
    refused: ByWord<Counter>,
    heads: ByWord<Histogram>,
    routes: ByWord<ByWord<Counter>>,
    cost: Option<(Price, Arc<Counter>)>,
}

fn with(labels: &Labels, more: impl IntoIterator<Item = (&'static str, Arc<str>)>) -> Labels {
    labels.iter().cloned().chain(more).collect()
}

impl Series {
    fn new(registry: &Arc<Registry>, labels: Labels, cost: Option<(Price, Arc<Counter>)>) -> Self {
        let token = |kind: &str| {
            let labels = with(&labels, [(names::TOKEN_TYPE, kind.into())]);
            registry.histogram(names::TOKEN_USAGE, labels, &TOKENS)
        };
        let (input, output) = (token("input"), token("output"));
        let answered = with(&labels, [("outcome", "answered".into())]);
        let own = || labels.clone();
        Self {
            finished: registry.histogram(names::DURATION, own(), &DURATION),
            failed: ByWord::default(),
            first_chunk: registry.histogram(names::FIRST_CHUNK, own(), &DURATION),
            per_chunk: registry.histogram(names::PER_CHUNK, own(), &DURATION),
            chunks: registry.counter(names::CHUNKS, own()),
            input,
            output,
            in_flight: registry.gauge(names::IN_FLIGHT, own()),
            retries: registry.counter(names::RETRIES, own()),
            hedges: registry.counter(names::HEDGES, own()),
            circuit_open: registry.counter(names::CIRCUIT_OPEN, own()),
            queue: registry.histogram(names::QUEUE, own(), &SHORT),
            answered: registry.counter(names::ATTEMPTS, answered),
            refused: ByWord::default(),
            heads: ByWord::default(),
            routes: ByWord::default(),
            cost,
            registry: registry.clone(),
            labels,
        }
    }

    /// An operation has ended; `error` is its `error.type`.
    pub(crate) fn ended(&self, took: Duration, error: Option<&'static str>, exemplar: Option<&Exemplar>) {
        match error {
            None => self.finished.record_with(took, exemplar),
            Some(word) => {
                let make = |word| {
                    let labels = with(&self.labels, [(names::ERROR_TYPE, word)]);
                    self.registry.histogram(names::DURATION, labels, &DURATION)
                };
                self.failed.at(word, make).record_with(took, exemplar);
            }
        }
    }

    /// What the provider counted; nothing where it did not.
    pub(crate) fn used(&self, usage: &Usage) {
        if usage.is_unknown() {
            return;
        }
        self.input.record(usage.input_tokens);
        self.output.record(usage.output_tokens);
        if let Some((price, spent)) = &self.cost {
            spent.add(price.nanos(usage));
        }
    }

    /// An attempt came out; `error` is its `error.type`.
    pub(crate) fn attempted(&self, error: Option<&'static str>) {
        let Some(word) = error else { return self.answered.increment() };
        let make = |word| self.registry.counter(names::ATTEMPTS, with(&self.labels, [("outcome", word)]));
        self.refused.at(word, make).increment();
    }

    /// The head of a response came.
    pub(crate) fn head(&self, status: u16, elapsed: Duration) {
        let make = |code| {
            let labels = with(&self.labels, [(names::STATUS_CODE, code)]);
            self.registry.histogram(names::HEADS, labels, &RESPONSE)
        };
        match status {
            // The one that is hot, without a format.
            200 => self.heads.at("200", make),
            status => self.heads.at(&status.to_string(), make),
        }
        .record_duration(elapsed);
    }

    /// Something happened inside an operation.
    pub(crate) fn event(&self, event: &Event<'_>) {
        match *event {
            Event::Admitted { waited } => self.queue.record_duration(waited),
            Event::CircuitOpen { .. } => self.circuit_open.increment(),
            Event::Retry { .. } => self.retries.increment(),
            Event::Hedge => self.hedges.increment(),
            Event::Route { endpoint, reason } => {
                let make = |endpoint: Arc<str>, reason| {
                    let labels = vec![("endpoint", endpoint), ("reason", reason)];
                    self.registry.counter(names::ROUTES, labels)
                };
                let reasons = self.routes.at(reason, |_| Arc::new(ByWord::default()));
                let reason: Arc<str> = reason.into();
                reasons.at(endpoint, |endpoint| make(endpoint, reason)).increment();
            }
            _ => {}
        }
    }
}

/// Provider and model.
type Key = (Arc<str>, Arc<str>);

/// All series, and the bound on their number.
#[derive(Debug)]
pub(crate) struct Catalog {
    registry: Arc<Registry>,
    names: &'static Names,
    /// The models that get labels; `None` for whichever come first.
    models: Option<Vec<Arc<str>>>,
    max_models: usize,
    prices: HashMap<Arc<str>, Price>,
    currency: Arc<str>,
    known: RwLock<HashMap<Key, Arc<Series>>>,
}

impl Catalog {
    pub(crate) fn new(
        registry: Arc<Registry>,
        names: &'static Names,
        models: Option<Vec<Arc<str>>>,
        max_models: usize,
        (currency, prices): (Arc<str>, HashMap<Arc<str>, Price>),
    ) -> Self {
        Self { registry, names, models, max_models, prices, currency, known: RwLock::default() }
    }

    /// The handles of that provider and model. A model too many shares those of `_other`.
    pub(crate) fn at(&self, provider: &Arc<str>, model: &Arc<str>) -> Arc<Series> {
        let key = (bounded(provider.clone()), bounded(model.clone()));
        if let Some(series) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return series.clone();
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let listed = self.models.as_ref().is_none_or(|models| models.contains(&key.1));
        // What a model costs is asked of its own row, which no other model has.
        let has_price = self.prices.contains_key(&key.1);
        // Providers are configured, and so few; but somebody may configure by what callers say.
        let has_room = known.len() < self.max_models.saturating_mul(2);
        let key = match listed && known.len() < self.max_models || has_price && has_room {
            true => key,
            false if has_room => (key.0, OTHER.into()),
            false => (OTHER.into(), OTHER.into()),
        };
        known.entry(key).or_insert_with_key(|(provider, model)| self.make(provider, model)).clone()
    }

    fn make(&self, provider: &Arc<str>, model: &Arc<str>) -> Arc<Series> {
        let named: Arc<str> = (self.names.provider_name)(provider).into();
        let labels = vec![
            (names::OPERATION, names::CHAT.into()),
            (self.names.provider, named),
            (names::REQUEST_MODEL, model.clone()),
        ];
        let cost = self.prices.get(model).map(|price| {
            let labels = with(&labels, [("currency", self.currency.clone())]);
            (*price, self.registry.scaled_counter(names::COST, labels, 1e9))
        });
        Arc::new(Series::new(&self.registry, labels, cost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_bounded_and_keep_their_own_series() {
        let table = ByWord::<Counter>::default();
        for round in 1..=2 {
            for word in 0..MAX_WORDS + 10 {
                table.at(&word.to_string(), |_| Arc::default()).increment();
            }
            let value = |word: &str| table.at(word, |_| Arc::default()).value();
            assert_eq!((value("0"), value("63"), value(OTHER)), (round, round, round * 10));
        }
        assert_eq!(table.0.lock().unwrap_or_else(PoisonError::into_inner).len(), MAX_WORDS + 1);
    }
}
