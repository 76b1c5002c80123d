//! A new version of a route takes a share of its requests, grows while it does well, and is rolled back when it does not.
//!
//! Who belongs to the share is told by a hash of a stable key, so that a caller stays on one side. The share moves by
//! additive increase and multiplicative decrease with a dwell time between moves. It is rolled back when a limit is passed
//! *and* the excess over the baseline is significant: 3 errors in 300 requests are noise; so is a provider that is slow
//! for both sides. At 100 canary requests a second a release with 1 % errors, or first tokens 30 % later than a baseline
//! near the limit, is found within 30 s; with fewer requests the time grows, and [`CanaryEvent::window`] says so.
//!
//! The arithmetic takes a `now`; the clock is read for the calendar time of an event alone.

mod event;
mod excess;
mod policy;
mod redact;
#[cfg(feature = "webhook")]
pub mod webhook;

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use loquat_core::Error;

pub use event::{Breach, CanaryEvent, Change, Limit};
use excess::{Excess, Share};
pub use policy::CanaryPolicy;

use crate::ability::{hash, mix};

/// Events kept; more moves than a release has.
const EVENTS: usize = 64;
/// Callers told apart.
const KEYS: usize = 4096;
/// Of a hundred, who must have their first token in time.
const LATE_SHARE: f64 = 0.05;
/// In which time half of what the baseline did fades, where that leaves enough to tell.
const HALF_LIFE: Duration = Duration::from_secs(60);

/// A canary of a route.
#[derive(Debug)]
pub struct Canary {
    name: String,
    policy: CanaryPolicy,
    salt: u64,
    /// Of a million keys, how many belong to it.
    share_ppm: AtomicU32,
    trial: Mutex<Trial>,
}

/// How one request of either side came out.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Sample<'a> {
    /// Whether it was the canary's.
    pub is_canary: bool,
    /// The caller's stable key.
    pub key: u64,
    /// The time to first token, where there was one; or how long it was waited for in vain, where that was longer than the limit.
    pub first_token: Option<Duration>,
    /// What it failed of, where that is the endpoint's doing.
    pub error: Option<&'a Error>,
    /// When it was recorded as answered, where it has broken off since.
    pub answered: Option<Instant>,
    /// The trace it belongs to.
    pub trace_id: [u8; 16],
}

impl<'a> Sample<'a> {
    /// A request that was answered.
    pub fn answered(is_canary: bool, key: u64, first_token: Duration) -> Self {
        Self {
            is_canary,
            key,
            first_token: Some(first_token),
            error: None,
            answered: None,
            trace_id: [0; 16],
        }
    }

    /// A request that failed.
    pub fn failed(is_canary: bool, key: u64, error: &'a Error) -> Self {
        Self { is_canary, key, first_token: None, error: Some(error), answered: None, trace_id: [0; 16] }
    }

    /// A request that was recorded as answered at that time, when its first token came, and failed later: from now on it counts
    /// as one that failed, and still as one.
    pub fn broke_off(is_canary: bool, key: u64, error: &'a Error, answered: Instant) -> Self {
        Self { answered: Some(answered), ..Self::failed(is_canary, key, error) }
    }

    /// Of that trace.
    #[must_use]
    pub fn with_trace(mut self, trace_id: [u8; 16]) -> Self {
        self.trace_id = trace_id;
        self
    }
}

#[derive(Debug)]
struct Trial {
    baseline: Side,
    /// Requests of each side since the beginning.
    baseline_seen: u64,
    canary_seen: u64,
    errors: Excess,
    late: Excess,
    moved: Instant,
    faded: Instant,
    /// When the present stretch of evidence began.
    began: Instant,
    is_over: bool,
    affected: HashSet<u64>,
    events: VecDeque<CanaryEvent>,
    number: u64,
}

#[derive(Debug, Default)]
struct Side {
    errors: Share,
    late: Share,
}

impl Canary {
    /// A canary that begins now.
    pub fn new(name: &str, policy: CanaryPolicy, now: Instant) -> Self {
        let canary = Self {
            name: name.to_owned(),
            policy,
            salt: hash(2, name.as_bytes()),
            share_ppm: AtomicU32::new(ppm(policy.first_percent)),
            trial: Mutex::new(Trial {
                baseline: Side::default(),
                baseline_seen: 0,
                canary_seen: 0,
                errors: Excess::default(),
                late: Excess::default(),
                moved: now,
                faded: now,
                began: now,
                is_over: false,
                affected: HashSet::new(),
                events: VecDeque::new(),
                number: 0,
            }),
        };
        canary.log(&mut canary.trial(), Change::Started, now, None);
        canary
    }

    pub(crate) fn is(&self, name: &str, policy: &CanaryPolicy) -> bool {
        self.name == name && self.policy == *policy
    }

    /// Whether requests of that key are the canary's. One load and a multiplication or two.
    pub fn takes(&self, stable_key: u64) -> bool {
        mix(stable_key ^ self.salt) % 1_000_000 < u64::from(self.share_ppm.load(Relaxed))
    }

    /// Its share. Percent.
    pub fn percent(&self) -> f64 {
        f64::from(self.share_ppm.load(Relaxed)) / 1e4
    }

    /// Whether a first token that had not come by then is late, whenever it would have come.
    pub(crate) fn is_late(&self, waited: Duration) -> bool {
        waited > self.policy.max_first_token
    }

    /// One request's outcome; what it changed, if anything.
    pub fn record(&self, sample: Sample<'_>, now: Instant) -> Option<CanaryEvent> {
        let mut trial = self.trial();
        if trial.is_over {
            return None;
        }
        let limits = [self.policy.max_error_percent / 100.0, LATE_SHARE];
        let failed = sample.error.is_some();
        let late = sample.first_token.map(|took| self.is_late(took));
        trial.fade(now, limits);
        // One that breaks off was counted when it was answered.
        let more = u64::from(sample.answered.is_none());
        if !sample.is_canary {
            trial.baseline_seen += more;
            match sample.answered {
                Some(_) => trial.baseline.errors.turns_bad(),
                None => trial.baseline.errors.record(failed),
            }
            late.into_iter().for_each(|late| trial.baseline.late.record(late));
            return None;
        }
        trial.canary_seen += more;
        if failed && trial.affected.len() < KEYS {
            trial.affected.insert(mix(sample.key ^ self.salt));
        }
        // Without a baseline there is nothing to exceed.
        if trial.baseline_seen < self.policy.min_sample.into() {
            return None;
        }
        let expected = [
            trial.baseline.errors.expected(limits[0], trial.errors.seen()),
            trial.baseline.late.expected(limits[1], trial.late.seen()),
        ];
        let was = trial.evidence();
        match sample.answered {
            Some(answered) => {
                let is_of_before = answered < trial.began;
                trial.errors.turns_bad(is_of_before, expected[0], limits[0]);
            }
            None => trial.errors.record(failed, expected[0], limits[0]),
        }
        late.into_iter().for_each(|late| trial.late.record(late, expected[1], limits[1]));
        if was == 0.0 {
            trial.began = now;
        }
        self.judge(&mut trial, expected, limits, sample, now)
    }

    fn judge(
        &self,
        trial: &mut Trial,
        expected: [f64; 2],
        limits: [f64; 2],
        sample: Sample<'_>,
        now: Instant,
    ) -> Option<CanaryEvent> {
        let tests = [(Limit::Errors, &trial.errors), (Limit::FirstToken, &trial.late)];
        let breach = |needed: f64| {
            tests.iter().zip(expected).zip(limits).find_map(|((&(limit, excess), baseline), allowed)| {
                let is_breach = excess.evidence() >= needed && excess.share() > allowed;
                is_breach.then(|| Breach { limit, share: excess.share(), baseline })
            })
        };
        let enough = trial.canary_seen >= self.policy.min_sample.into();
        let rested = now.saturating_duration_since(trial.moved) >= self.policy.dwell;
        if let Some(breach) = breach(self.policy.evidence).filter(|_| enough) {
            trial.is_over = true;
            self.share_ppm.store(0, Relaxed);
            return Some(self.log(trial, Change::RolledBack { breach: Some(breach) }, now, Some(sample)));
        }
        if !enough || !rested {
            return None;
        }
        let share = self.percent();
        let (next, change) = match breach(self.policy.evidence / 2.0) {
            Some(breach) => (share / 2.0, Change::Lowered { breach }),
            None if share < self.policy.max_percent => {
                ((share + self.policy.step_percent).min(self.policy.max_percent), Change::Raised)
            }
            None => return None,
        };
        trial.moved = now;
        self.share_ppm.store(ppm(next), Relaxed);
        Some(self.log(trial, change, now, Some(sample)))
    }

    /// Takes no more requests, at once, because a person says so.
    pub fn roll_back(&self, now: Instant) -> Option<CanaryEvent> {
        let mut trial = self.trial();
        self.share_ppm.store(0, Relaxed);
        (!std::mem::replace(&mut trial.is_over, true))
            .then(|| self.log(&mut trial, Change::RolledBack { breach: None }, now, None))
    }

    /// What became of it so far, oldest first; the last 64.
    pub fn events(&self) -> Vec<CanaryEvent> {
        self.trial().events.iter().cloned().collect()
    }

    fn trial(&self) -> MutexGuard<'_, Trial> {
        self.trial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(
        &self,
        trial: &mut Trial,
        change: Change,
        now: Instant,
        sample: Option<Sample<'_>>,
    ) -> CanaryEvent {
        trial.number += 1;
        let error = sample.and_then(|sample| sample.error).map(|error| redact::redacted(&error.to_string()));
        let trace = sample.map(|sample| sample.trace_id).filter(|id| *id != [0; 16]);
        let event = CanaryEvent {
            number: trial.number,
            at: SystemTime::now(),
            canary: self.name.clone(),
            change,
            percent: self.percent(),
            trace_id: trace
                .map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect())
                .unwrap_or_default(),
            error: error.unwrap_or_default(),
            affected_keys: u32::try_from(trial.affected.len()).unwrap_or(u32::MAX),
            sample: trial.canary_seen,
            window: now.saturating_duration_since(trial.began),
        };
        if trial.events.len() >= EVENTS {
            trial.events.pop_front();
        }
        trial.events.push_back(event.clone());
        event
    }
}

impl Trial {
    fn evidence(&self) -> f64 {
        self.errors.evidence() + self.late.evidence()
    }

    /// Old counts of the baseline fade, second by second.
    fn fade(&mut self, now: Instant, limits: [f64; 2]) {
        let elapsed = now.saturating_duration_since(self.faded);
        if elapsed >= Duration::from_secs(1) {
            let half_lives = elapsed.as_secs_f64() / HALF_LIFE.as_secs_f64();
            self.baseline.errors.fade(half_lives, limits[0]);
            self.baseline.late.fade(half_lives, limits[1]);
            self.faded = now;
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn ppm(percent: f64) -> u32 {
    (percent.clamp(0.0, 100.0) * 1e4) as u32
}
