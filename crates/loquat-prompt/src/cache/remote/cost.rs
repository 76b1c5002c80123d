//! What asking costs, what computing costs, and whether asking is worth it.
//!
//! Both are learned while running, by each [`RemoteTokens`](super::RemoteTokens) for itself: what an answer takes that has tokens in it,
//! and nanoseconds for a byte of text under one's tokenizer. What is written, and what else is kept in Redis, says nothing of these. With p,
//! the share of texts that Redis was found to have where it answered, asking is worth it where p × computing exceeds asking. One look in 256 asks all the
//! same, so that a change is noticed.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Averages over about this many observations.
const WEIGHT: f64 = 32.0;
const EXPLORE_EVERY: u64 = 256;

/// When Redis is asked for what could be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Ask {
    /// Where what is learned says that it pays.
    #[default]
    WhereItPays,
    /// Always, whatever it costs.
    Always,
    /// Never: as if there were no Redis.
    Never,
}

/// What was learned so far.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Costs {
    /// A question to Redis, from sending to answer.
    pub ask: Duration,
    /// Tokens of a kilobyte of text.
    pub compute_per_kilobyte: Duration,
    /// Of what was asked for, how much Redis had: 0 to 1.
    pub found: f64,
    /// From how many missing bytes on a question pays.
    pub pays_from_bytes: u64,
}

/// An average, as the bits of a float.
#[derive(Debug)]
struct Average(AtomicU64);

impl Average {
    fn new(value: f64) -> Self {
        Self(AtomicU64::new(value.to_bits()))
    }

    fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }

    /// A lost race loses an observation, which an average bears.
    fn note(&self, observed: f64) {
        let old = self.value();
        self.0.store((old + (observed - old) / WEIGHT).to_bits(), Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct CostModel {
    ask_nanos: Average,
    compute_nanos_per_byte: Average,
    found: Average,
    looks: AtomicU64,
}

impl CostModel {
    pub(super) fn new() -> Self {
        Self {
            // What was measured on a loopback and with the slower of today's engines, until something better is known.
            ask_nanos: Average::new(80_000.0),
            compute_nanos_per_byte: Average::new(8.0),
            found: Average::new(0.5),
            looks: AtomicU64::new(0),
        }
    }

    pub(super) fn asked(&self, took: Duration) {
        self.ask_nanos.note(took.as_secs_f64() * 1e9);
    }

    pub(super) fn computed(&self, bytes: usize, took: Duration) {
        if bytes > 0 {
            self.compute_nanos_per_byte.note(took.as_secs_f64() * 1e9 / bytes as f64);
        }
    }

    pub(super) fn found(&self, found: usize, of: usize) {
        if of > 0 {
            self.found.note(found as f64 / of as f64);
        }
    }

    pub(super) fn pays(&self, ask: Ask, missing_bytes: usize) -> bool {
        match ask {
            Ask::Always => true,
            Ask::Never => false,
            Ask::WhereItPays => {
                let gain = missing_bytes as f64 * self.compute_nanos_per_byte.value() * self.found.value();
                gain > self.ask_nanos.value()
                    || self.looks.fetch_add(1, Relaxed) % EXPLORE_EVERY == EXPLORE_EVERY - 1
            }
        }
    }

    pub(super) fn costs(&self) -> Costs {
        let nanos = |nanos: f64| Duration::from_secs_f64((nanos / 1e9).clamp(0.0, 3600.0));
        let (ask, per_byte, found) =
            (self.ask_nanos.value(), self.compute_nanos_per_byte.value(), self.found.value());
        let from = ask / (per_byte * found).max(1e-9);
        Costs {
            ask: nanos(ask),
            compute_per_kilobyte: nanos(per_byte * 1024.0),
            found,
            pays_from_bytes: Duration::from_secs_f64(from.clamp(0.0, 1e12)).as_secs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_when_asking_pays() {
        let model = CostModel::new();
        for _ in 0..1000 {
            model.asked(Duration::from_micros(100));
            model.computed(1000, Duration::from_micros(10));
            model.found(1, 2);
        }
        let costs = model.costs();
        // 100 µs at 10 ns a byte, half of them found: 20,000 bytes.
        assert!((19_000..21_000).contains(&costs.pays_from_bytes), "{costs:?}");
        assert!(model.pays(Ask::WhereItPays, 30_000) && !model.pays(Ask::WhereItPays, 10_000));
        assert!(model.pays(Ask::Always, 1) && !model.pays(Ask::Never, 1 << 30));
        let asked = (0..2560).filter(|_| model.pays(Ask::WhereItPays, 1)).count();
        assert_eq!(asked, 10, "a look in 256 asks all the same");
    }
}
