//! Whether an endpoint is well: by real outcomes, by checks, by hand. States carry reason and time.
//!
//! Passive: several failures in a row with no success between put it out for a while that doubles, as Envoy's outlier
//! detection does. Active: checks (`GET /health`, `/v1/models`; never a billed generation) put it out after three and bring
//! it back after two. How many may be out at once is the pool's to bound, see [`HealthPolicy`]. The circuit breaker of
//! `loquat-schedule` is apart from this, and read beside it; checks that bring an endpoint back also end its ejection, and the
//! next request is its probe.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// When endpoints are left out, and how many may be.
///
/// | field | default | reason |
/// |---|---|---|
/// | `max_out_percent` | 50 | beyond it the fault is more likely common to all, or ours |
/// | `sweep` | 50 ms | how often a pool's members are looked at one by one; between, the one chosen is |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthPolicy {
    /// When more than this share of a pool is out, all are tried as if none were (panic mode). Percent.
    pub max_out_percent: u32,
    /// How old the picture of a pool's health may be.
    pub sweep: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self { max_out_percent: 50, sweep: Duration::from_millis(50) }
    }
}

/// How an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It takes requests.
    Up,
    /// It takes none until then: it said so itself.
    Resting {
        /// When it may be asked again.
        until: Instant,
    },
    /// It takes none.
    Out {
        /// Why.
        reason: Reason,
        /// Since when, where that is known here: not of a breaker, which only says until when.
        since: Option<Instant>,
        /// Until when, where that is known: from then on one attempt may go, as the breaker's probe. `None` while that is on its
        /// way.
        until: Option<Instant>,
    },
    /// It leaves: no new requests, and those under way may finish.
    Draining {
        /// Since when.
        since: Instant,
    },
}

impl State {
    /// In words, its times as seen at that moment: `out, its circuit breaker is open, to be tried in 3.2 s`.
    pub fn describe(self, now: Instant) -> String {
        let ago =
            |since: Instant| format!(", for {:.1} s", now.saturating_duration_since(since).as_secs_f64());
        let ahead = |until: Instant| until.saturating_duration_since(now).as_secs_f64();
        match self {
            Self::Up => "up".to_owned(),
            Self::Resting { until } => format!("resting, as it asked for, for another {:.1} s", ahead(until)),
            Self::Out { reason, since, until } => {
                let why = match reason {
                    Reason::Breaker => "its circuit breaker is open",
                    Reason::Probed => "its circuit breaker is open, being tried now",
                    Reason::Checks => "checks of its health failed",
                    Reason::Told => "somebody put it out",
                };
                let next = until.map(|until| format!(", to be tried in {:.1} s", ahead(until)));
                format!("out, {why}{}{}", since.map(ago).unwrap_or_default(), next.unwrap_or_default())
            }
            Self::Draining { since } => format!("leaving{}", ago(since)),
        }
    }
}

/// Why an endpoint is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Its circuit breaker is open.
    Breaker,
    /// Its circuit breaker is open, and one request is trying it now: how that comes out decides.
    Probed,
    /// Checks of its health failed.
    Checks,
    /// It was put out by hand, or by whoever lists endpoints.
    Told,
}

/// Failed checks in a row that put an endpoint out, and good ones that bring it back.
const CHECKS_OUT: u8 = 3;
const CHECKS_IN: u8 = 2;

/// One endpoint's health, apart from its breaker.
#[derive(Debug)]
pub(crate) struct Health {
    /// Checks in a row: bad ones while it is in, good ones while it is out.
    checks: AtomicU8,
    failed_checks: AtomicBool,
    told_out: AtomicBool,
    draining: AtomicBool,
    /// When the last of these changed. Milliseconds since the epoch.
    changed_ms: AtomicU64,
    /// Failures in a row.
    failures: AtomicU32,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            checks: AtomicU8::new(0),
            failed_checks: AtomicBool::new(false),
            told_out: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            changed_ms: AtomicU64::new(0),
            failures: AtomicU32::new(0),
        }
    }

    pub(crate) fn takes(&self) -> bool {
        !self.failed_checks.load(Relaxed) && !self.told_out.load(Relaxed) && !self.draining.load(Relaxed)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// The state, where one of these says so.
    pub(crate) fn said(&self, epoch: Instant) -> Option<State> {
        let since = epoch + Duration::from_millis(self.changed_ms.load(Relaxed));
        let out = |reason| State::Out { reason, since: Some(since), until: None };
        if self.draining.load(Relaxed) {
            return Some(State::Draining { since });
        }
        if self.told_out.load(Relaxed) {
            return Some(out(Reason::Told));
        }
        self.failed_checks.load(Relaxed).then(|| out(Reason::Checks))
    }

    pub(crate) fn drain(&self, now_ms: u64) {
        if !self.draining.swap(true, Relaxed) {
            self.changed_ms.store(now_ms, Relaxed);
        }
    }

    pub(crate) fn undrain(&self) {
        self.draining.store(false, Relaxed);
    }

    pub(crate) fn set_out(&self, out: bool, now_ms: u64) {
        if self.told_out.swap(out, Relaxed) != out {
            self.changed_ms.store(now_ms, Relaxed);
        }
    }

    /// How many in a row that makes.
    pub(crate) fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Relaxed).saturating_add(1)
    }

    pub(crate) fn succeeded(&self) {
        // Read first: a store would take the line from whoever else reads it, at every answer.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// What a check found; whether that brought it back. Checks of one endpoint do not overlap.
    pub(crate) fn checked(&self, is_well: bool, now_ms: u64) -> bool {
        let out = self.failed_checks.load(Relaxed);
        if is_well != out {
            self.checks.store(0, Relaxed);
            return false;
        }
        let row = self.checks.load(Relaxed).saturating_add(1);
        let turns = row >= if out { CHECKS_IN } else { CHECKS_OUT };
        self.checks.store(if turns { 0 } else { row }, Relaxed);
        if turns {
            self.failed_checks.store(!out, Relaxed);
            self.changed_ms.store(now_ms, Relaxed);
        }
        turns && out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_bad_checks_put_out_and_two_good_ones_bring_back() {
        let epoch = Instant::now();
        let health = Health::new();
        let check = |well: &[bool]| well.iter().map(|&well| health.checked(well, 7)).collect::<Vec<_>>();
        assert_eq!(check(&[false, false, true, false, false]), [false; 5]);
        assert!(health.takes(), "never three in a row");
        check(&[false]);
        assert!(!health.takes());
        let since = Some(epoch + Duration::from_millis(7));
        assert_eq!(health.said(epoch), Some(State::Out { reason: Reason::Checks, since, until: None }));
        assert_eq!(check(&[true, false, true, true]), [false, false, false, true]);
        assert!(health.takes() && health.said(epoch).is_none());
        health.drain(9);
        assert!(matches!(health.said(epoch), Some(State::Draining { .. })));
    }
}
