//! Which metrics there are: families by name, their series by labels, read all at once.
//!
//! Making a series takes a lock and happens once; who records never comes here.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
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

#[derive(Clone)]
enum Reading {
    /// A counter, and how many of what is counted make one of what is shown.
    Counter(Arc<Counter>, f64),
    Gauge(Arc<Gauge>),
    Histogram(Arc<Histogram>),
    /// Asked when somebody reads.
    Asked(Ask),
}

/// A program's own. `None` when there is nothing to be asked any more.
type Ask = Arc<dyn Fn() -> Option<f64> + Send + Sync>;

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
        self.put(about, kind, labels, usize::MAX, Arc::new(move || Some(ask())));
    }

    /// The same of something that comes and goes: once `ask` gives `None`, the series is gone. Nothing where the family has `max`
    /// series that have not.
    pub(crate) fn asked_while(
        &self,
        about: About,
        kind: Kind,
        labels: Labels,
        max: usize,
        ask: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        let ask: Ask = Arc::new(ask);
        if !self.put(about, kind, labels.clone(), max, ask.clone()) {
            drop(self.read_of(|family| family.name == about.name));
            self.put(about, kind, labels, max, ask);
        }
    }

    /// Whether there was room for it.
    fn put(&self, about: About, kind: Kind, labels: Labels, max: usize, ask: Ask) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entry(&mut entries, about, kind) else { return true };
        let (reading, is_full) = (Reading::Asked(ask), entry.series.len() >= max);
        let replaced = match entry.series.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, old)) => Some(mem::replace(old, reading)),
            None if is_full => return false,
            None => {
                entry.series.push((labels, reading));
                None
            }
        };
        // What is dropped with it is the program's.
        drop(entries);
        drop(replaced);
        true
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
        self.read_of(|_| true)
    }

    /// The same of some families. A program's own are asked without the lock: they may take long, or make series themselves.
    fn read_of(&self, wanted: impl Fn(&Family) -> bool) -> Vec<Family> {
        let copied = |entry: &Entry| (entry.family.clone(), entry.series.clone());
        let copies: Vec<_> = self.lock().iter().filter(|entry| wanted(&entry.family)).map(copied).collect();
        let mut gone = Vec::new();
        let mut point = |(labels, reading): (Labels, Reading)| {
            let value = reading.read();
            if let (None, Reading::Asked(ask)) = (&value, reading) {
                gone.push(ask);
            }
            Some(Point { labels, value: value? })
        };
        let families = copies.into_iter().map(|(family, series)| Family {
            points: series.into_iter().filter_map(&mut point).collect(),
            ..family
        });
        // One whose series are all gone says nothing.
        let families = families.filter(|family| !family.points.is_empty()).collect();
        if !gone.is_empty() {
            self.forget(&gone);
        }
        families
    }

    /// Unless another has taken its place meanwhile.
    fn forget(&self, gone: &[Ask]) {
        let is_gone = |reading: &Reading| matches!(reading, Reading::Asked(ask) if gone.iter().any(|gone| Arc::ptr_eq(gone, ask)));
        let mut entries = self.lock();
        let forgotten: Vec<_> = entries
            .iter_mut()
            .flat_map(|entry| entry.series.extract_if(.., |(_, reading)| is_gone(reading)))
            .collect();
        // What is dropped with them is the program's.
        drop(entries);
        drop(forgotten);
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
    fn read(&self) -> Option<Value> {
        Some(match self {
            Self::Counter(counter, scale) => Value::Number(counter.value() as f64 / scale),
            Self::Gauge(gauge) => Value::Number(gauge.value() as f64),
            Self::Histogram(histogram) => histogram.read(),
            // One that panics says nothing, and takes neither the others nor the thread with it.
            Self::Asked(ask) => {
                Value::Number(catch_unwind(AssertUnwindSafe(|| ask())).unwrap_or(Some(f64::NAN))?)
            }
        })
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("families", &self.lock().len()).finish()
    }
}
