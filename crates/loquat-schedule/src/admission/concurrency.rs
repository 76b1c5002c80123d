//! How many attempts may be under way at once: a fixed number, or one that follows the endpoint's latency.
//!
//! The adaptive limit follows the gradient of latency, after Netflix's concurrency-limits: while latency is near what it
//! is under little load, the limit grows by a little; when it rises, requests queue somewhere, and the limit shrinks in
//! proportion. Their Gradient2 compares with a long average, which an overload that lasts pulls up until everything
//! looks usual; their first version with the smallest latency seen, which one short prompt spoils. So here the measure
//! is a mean, taken afresh every thousand answers under half the load. An overload that the endpoint itself reports
//! takes a tenth off at once. Latency is the time to the first content: the rest of an answer grows with its length.
//! <https://github.com/Netflix/concurrency-limits>

use std::time::Duration;

/// How many attempts may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Concurrency {
    /// That many; at least one.
    Fixed(u32),
    /// As many as the endpoint bears without slowing down.
    Adaptive(Gradient),
}

/// The adaptive limit.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Gradient {
    /// Where it begins. Default 16.
    pub initial: u32,
    /// It never falls below. Default 1.
    pub min: u32,
    /// It never grows beyond. Default 512.
    pub max: u32,
    /// How much slower than usual counts as usual. Default 1.5, Netflix's value: prompts differ in length.
    pub tolerance: f64,
    /// How many attempts may queue at the endpoint. Default 4, Netflix's value: it is what lets the limit grow.
    pub queue: u32,
}

impl Default for Gradient {
    fn default() -> Self {
        Self { initial: 16, min: 1, max: 512, tolerance: 1.5, queue: 4 }
    }
}

impl Gradient {
    /// Between those, beginning at `initial`.
    #[must_use]
    pub fn with_range(mut self, initial: u32, min: u32, max: u32) -> Self {
        (self.initial, self.min, self.max) = (initial, min, max);
        self
    }
}

/// How much one sample moves the limit: Netflix's.
const SMOOTHING: f64 = 0.2;
/// How much one sample moves the recent latency.
const RECENT: f64 = 0.1;
/// Answers that the measure is taken over, and those after which it is taken afresh.
const LEARN: u32 = 32;
const RUN: u32 = 1000;
/// What an overload leaves of the limit, and what the measuring does.
const AFTER_OVERLOAD: f64 = 0.9;
const TO_MEASURE: f64 = 0.5;

#[derive(Debug)]
pub(super) struct Limiter {
    gradient: Option<Gradient>,
    limit: f64,
    phase: Phase,
    /// Samples left in this phase.
    left: u32,
    /// Mean latency under little load, and of late, in seconds.
    measure: f64,
    recent: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// The load is little: this is the measure.
    Learn,
    /// The limit follows the latency.
    Run,
    /// The limit was lowered to measure; what is under way began before.
    Drain,
}

impl Limiter {
    pub(super) fn new(concurrency: Concurrency) -> Self {
        let (gradient, limit) = match concurrency {
            Concurrency::Fixed(limit) => (None, limit),
            Concurrency::Adaptive(gradient) => (Some(gradient), gradient.initial),
        };
        let limit = f64::from(limit.max(1));
        let mut limiter =
            Self { gradient, limit, phase: Phase::Learn, left: LEARN, measure: 0.0, recent: 0.0 };
        limiter.set(limit); // within its range from the first
        limiter
    }

    /// The limit as it stands: at least one.
    pub(super) fn limit(&self) -> u32 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and u32::MAX")]
        let limit = self.limit.max(1.0) as u32;
        limit
    }

    /// An answer began that long after its attempt was let in, with so many under way.
    pub(super) fn sample(&mut self, latency: Duration, in_flight: u32) {
        let Some(gradient) = self.gradient else { return };
        let latency = latency.as_secs_f64().max(1e-6);
        self.left = self.left.saturating_sub(1);
        match self.phase {
            Phase::Learn => {
                self.measure += (latency - self.measure) / f64::from(LEARN - self.left);
                self.recent = self.measure;
                if self.left == 0 {
                    (self.phase, self.left) = (Phase::Run, RUN);
                }
            }
            Phase::Run => {
                self.recent += (latency - self.recent) * RECENT;
                // A limit that nobody meets learns nothing.
                if f64::from(in_flight) >= self.limit / 2.0 {
                    let slope = (gradient.tolerance * self.measure / self.recent).clamp(0.5, 1.0);
                    let aim = self.limit * slope + f64::from(gradient.queue);
                    self.set(self.limit * (1.0 - SMOOTHING) + aim * SMOOTHING);
                }
                if self.left == 0 {
                    (self.phase, self.left) = (Phase::Drain, in_flight);
                    self.set(self.limit * TO_MEASURE);
                }
            }
            Phase::Drain => {
                if self.left == 0 {
                    (self.phase, self.left, self.measure) = (Phase::Learn, LEARN, 0.0);
                }
            }
        }
    }

    /// The endpoint said that it has too much, or let an attempt starve.
    pub(super) fn overload(&mut self) {
        if self.gradient.is_some() {
            self.set(self.limit * AFTER_OVERLOAD);
        }
    }

    fn set(&mut self, limit: f64) {
        if let Some(gradient) = self.gradient {
            let (min, max) = (gradient.min.max(1), gradient.max.max(gradient.min).max(1));
            self.limit = limit.clamp(f64::from(min), f64::from(max));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that works on `capacity` at once, each for 100 ms; the rest queues there.
    fn settled(capacity: u32, initial: u32) -> u32 {
        let mut limiter =
            Limiter::new(Concurrency::Adaptive(Gradient::default().with_range(initial, 1, 512)));
        for _ in 0..15_000 {
            let in_flight = limiter.limit();
            let latency = Duration::from_millis(100) * in_flight.max(capacity) / capacity;
            limiter.sample(latency, in_flight);
        }
        limiter.limit()
    }

    #[test]
    fn a_mix_of_short_and_long_prompts_is_no_overload() {
        let mut limiter = Limiter::new(Concurrency::Adaptive(Gradient::default()));
        for n in 0_u32..900 {
            limiter.sample(Duration::from_millis(if n % 4 == 0 { 2000 } else { 50 }), limiter.limit());
        }
        assert!(limiter.limit() > 100, "{}", limiter.limit());
    }

    #[test]
    fn finds_what_the_endpoint_bears() {
        for capacity in [4, 32, 100] {
            let limit = settled(capacity, 16);
            assert!(limit >= capacity / 2 && limit <= capacity * 2 + 20, "{capacity}: {limit}");
        }
    }

    #[test]
    fn overload_shrinks_it_and_idleness_does_not_move_it() {
        let mut limiter = Limiter::new(Concurrency::Adaptive(Gradient::default()));
        (0..500).for_each(|_| limiter.sample(Duration::from_millis(100), 3));
        assert_eq!(limiter.limit(), 16);
        (0..100).for_each(|_| limiter.overload());
        assert_eq!(limiter.limit(), 1);
        for (initial, limit) in [(0, 4), (600, 512), (16, 16)] {
            let range = Gradient::default().with_range(initial, 4, 512);
            assert_eq!(Limiter::new(Concurrency::Adaptive(range)).limit(), limit, "within its range");
        }
        let mut fixed = Limiter::new(Concurrency::Fixed(0));
        fixed.overload();
        fixed.sample(Duration::ZERO, 99);
        assert_eq!(fixed.limit(), 1);
    }
}
