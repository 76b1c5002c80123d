//! Which metrics there are: families by name, their series by labels, read all at once.
//!
//! Making a series takes a lock and happens once; who records never comes here.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Bounds, Counter, Exemplar, Gauge, Histogram};

/// A series' labels, by their names in dotted form.
pub(crate) type Labels = Vec<(&'static str, Arc<str>)>;

/// What a family's series are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What a series stands at.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Number(f64),
    Histogram {
        bounds: &'static [f64],
        /// By bucket, one more than bounds; not summed up.
        counts: Vec<u64>,
        sum: f64,
        /// By bucket.
        exemplars: Vec<Option<(f64, Exemplar)>>,
    },
}

/// One series, read.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) labels: Labels,
    pub(crate) value: Value,
}

/// All series of one name, read.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    /// In dotted form: `gen_ai.client.operation.duration`.
    pub(crate) name: &'static str,
    /// UCUM, as OpenTelemetry writes it: `s`, `By`, `{token}`; empty for none.
    pub(crate) unit: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    pub(crate) points: Vec<Point>,
}

enum Reading {
    /// A counter, and how many of what is counted make one of what is shown.
    Counter(Arc<Counter>, f64),
    Gauge(Arc<Gauge>),
    Histogram(Arc<Histogram>),
    /// Asked when somebody reads.
    Asked(Box<dyn Fn() -> f64 + Send + Sync>),
}

struct Entry {
    family: Family,
    series: Vec<(Labels, Reading)>,
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Registry(Mutex<Vec<Entry>>);

/// How a family is named and explained.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) help: &'static str,
}

impl Registry {
    /// The counter with these labels.
    pub(crate) fn counter(&self, about: About, labels: Labels) -> Arc<Counter> {
        self.scaled_counter(about, labels, 1.0)
    }

    /// A counter of `scale` parts of what is shown.
    pub(crate) fn scaled_counter(&self, about: About, labels: Labels, scale: f64) -> Arc<Counter> {
        let fresh = Arc::new(Counter::default());
        let reading = Reading::Counter(fresh.clone(), scale);
        self.known(about, Kind::Counter, labels, reading, |known| match known {
            Reading::Counter(counter, _) => Some(counter.clone()),
            _ => None,
        })
        .unwrap_or(fresh)
    }

    /// The gauge with these labels.
    pub(crate) fn gauge(&self, about: About, labels: Labels) -> Arc<Gauge> {
        let fresh = Arc::new(Gauge::default());
        let reading = Reading::Gauge(fresh.clone());
        self.known(about, Kind::Gauge, labels, reading, |known| match known {
            Reading::Gauge(gauge) => Some(gauge.clone()),
            _ => None,
        })
        .unwrap_or(fresh)
    }

    /// The histogram with these labels.
    pub(crate) fn histogram(&self, about: About, labels: Labels, bounds: &'static Bounds) -> Arc<Histogram> {
        let fresh = Arc::new(Histogram::new(bounds));
        let reading = Reading::Histogram(fresh.clone());
        self.known(about, Kind::Histogram, labels, reading, |known| match known {
            Reading::Histogram(histogram) => Some(histogram.clone()),
            _ => None,
        })
        .unwrap_or(fresh)
    }

    /// A number that is asked for when somebody reads. In place of the one with the same labels, if there is one.
    pub(crate) fn asked(
        &self,
        about: About,
        kind: Kind,
        labels: Labels,
        ask: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let mut entries = self.lock();
        let Some(entry) = entry(&mut entries, about, kind) else { return };
        let reading = Reading::Asked(Box::new(ask));
        match entry.series.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, old)) => *old = reading,
            None => entry.series.push((labels, reading)),
        }
    }

    /// The series with these labels as `of` finds it; `fresh` takes its place where there is none, and gives `None`.
    fn known<T>(
        &self,
        about: About,
        kind: Kind,
        labels: Labels,
        fresh: Reading,
        of: impl Fn(&Reading) -> Option<T>,
    ) -> Option<T> {
        let mut entries = self.lock();
        let entry = entry(&mut entries, about, kind)?;
        if let Some((_, known)) = entry.series.iter().find(|(known, _)| *known == labels) {
            return of(known);
        }
        entry.series.push((labels, fresh));
        None
    }

    /// What all stand at, in the order of their making.
    pub(crate) fn read(&self) -> Vec<Family> {
        let entries = self.lock();
        let read =
            |(labels, reading): &(Labels, Reading)| Point { labels: labels.clone(), value: reading.read() };
        let family = |entry: &Entry| Family {
            points: entry.series.iter().map(read).collect(),
            ..entry.family.clone()
        };
        entries.iter().map(family).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The family of that name, made if there is none.
fn entry(entries: &mut Vec<Entry>, about: About, kind: Kind) -> Option<&mut Entry> {
    let index = entries.iter().position(|entry| entry.family.name == about.name).unwrap_or_else(|| {
        let About { name, unit, help } = about;
        let family = Family { name, unit, help, kind, points: Vec::new() };
        entries.push(Entry { family, series: Vec::new() });
        entries.len() - 1
    });
    entries.get_mut(index)
}

impl Reading {
    #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
    fn read(&self) -> Value {
        match self {
            Self::Counter(counter, scale) => Value::Number(counter.value() as f64 / scale),
            Self::Gauge(gauge) => Value::Number(gauge.value() as f64),
            Self::Histogram(histogram) => histogram.read(),
            Self::Asked(ask) => Value::Number(ask()),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("families", &self.lock().len()).finish()
    }
}
