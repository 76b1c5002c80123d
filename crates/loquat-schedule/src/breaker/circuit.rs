//! The breaker's arithmetic: who may pass, and what an outcome changes.
//!
//! Passing costs one atomic load while the endpoint is available. Outcomes take a lock for some tens of nanoseconds,
//! once per attempt. The word's transitions are [`Availability`]'s, where loom checks them.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use loquat_core::{Availability, Error, ErrorKind, Standing};

use super::{BreakerPolicy, window::Window};
use crate::{
    hedge::Latencies,
    refusal::{is_local, waited_for_a_place},
    time::after,
};

/// What an attempt says about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It answers. A refusal that is the caller's fault counts as well: a server that finds mistakes is alive.
    Success,
    /// It failed, or could not be reached.
    Failure,
    /// It kept the attempt waiting beyond a limit.
    Timeout,
    /// It limits this caller (429): no sign of ill health, but a probe that meets it has failed.
    Limited,
    /// Nothing can be concluded: cancelled, not asked at all, or given too little time.
    Unknown,
}

impl Outcome {
    /// What that error says, of an attempt that had its share of time: [`Permit::outcome_of`] knows whether it had.
    pub fn of(error: &Error) -> Self {
        use ErrorKind as K;
        if is_local(error) || waited_for_a_place(error) {
            return Self::Unknown;
        }
        match error.kind() {
            K::Timeout => Self::Timeout,
            K::RateLimited => Self::Limited,
            K::Overloaded
            | K::Server
            | K::Protocol
            | K::Truncated
            | K::Connect
            | K::Tls
            | K::Proxy
            | K::Connection => Self::Failure,
            K::Cancelled | K::Local | K::Internal | K::NotConfigured | K::Unsupported | K::TooLarge => {
                Self::Unknown
            }
            _ => Self::Success,
        }
    }
}

/// Why an attempt may not go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// When it may be worth asking again.
    pub until: Instant,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the endpoint's breaker is open: it is left alone for a while")
    }
}

impl std::error::Error for Rejected {}

/// An endpoint's circuit breaker. Share it in an `Arc`. Around a call of one's own:
///
/// ```
/// use std::{error::Error, sync::Arc, time::Instant};
///
/// use loquat_schedule::breaker::{Breaker, BreakerPolicy, Outcome};
///
/// let breaker = Arc::new(Breaker::new(BreakerPolicy::default(), Instant::now()));
/// let call = || -> Result<(), Box<dyn Error>> {
///     let permit = breaker.try_pass(Instant::now())?;
///     permit.settle(Outcome::Timeout, Instant::now()); // what became of the call; Outcome::of knows of an error
///     Ok(())
/// };
/// assert!((0..3).all(|_| call().is_ok()));
/// let refused = call().expect_err("three timeouts in a row");
/// assert_eq!(refused.to_string(), "the endpoint's breaker is open: it is left alone for a while");
/// ```
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    availability: Arc<Availability>,
    memory: Mutex<Memory>,
    /// How long answers have taken to their first contents.
    first_contents: Latencies,
    /// How long calls have taken that are no answers, as a whole: a listing is there before an answer begins.
    calls: Latencies,
}

/// What outcomes have been since the last transition, and how often it opened.
#[derive(Debug)]
struct Memory {
    window: Window,
    timeouts: u32,
    /// Ejections since the endpoint was last well for long.
    ejections: u32,
    closed_at: Instant,
    last_ejection: Duration,
    /// When an answer last began or a call came back, whoever had asked.
    begun_at: Instant,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy, now: Instant) -> Self {
        let memory = Memory {
            window: Window::new(policy.window, now),
            timeouts: 0,
            ejections: 0,
            closed_at: now,
            last_ejection: Duration::ZERO,
            begun_at: now,
        };
        Self {
            policy,
            availability: Arc::new(Availability::new(now)),
            memory: Mutex::new(memory),
            first_contents: Latencies::new(),
            calls: Latencies::new(),
        }
    }

    /// The word that it writes.
    pub fn availability(&self) -> &Arc<Availability> {
        &self.availability
    }

    /// The policy it was made with.
    pub fn policy(&self) -> &BreakerPolicy {
        &self.policy
    }

    /// Lets an attempt pass, or not.
    ///
    /// # Errors
    /// [`Rejected`] while the endpoint is ejected, or its one probe is out.
    pub fn try_pass(self: &Arc<Self>, now: Instant) -> Result<Permit, Rejected> {
        let word = &self.availability;
        let (generation, is_probe) = match word.pass() {
            Some(generation) => (generation, false),
            None => match word.claim_probe(now, after(now, self.policy.probe_limit)) {
                Some(generation) => (generation, true),
                None => match (word.standing(now), word.pass()) {
                    // Closed between the two looks.
                    (_, Some(generation)) => (generation, false),
                    (Standing::Ejected { until }, None) => return Err(Rejected { until }),
                    // The probe's own limit is no forecast: its verdict usually comes much sooner.
                    _ => {
                        return Err(Rejected { until: after(now, self.policy.ejection.min(PROBE_FORECAST)) });
                    }
                },
            },
        };
        Ok(Permit {
            breaker: self.clone(),
            generation,
            is_probe,
            started: now,
            has_begun: false,
            is_call: false,
        })
    }

    fn settle(&self, generation: u32, is_probe: bool, outcome: Outcome, now: Instant) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if self.availability.generation() != generation {
            return; // late: the endpoint has been judged since
        }
        if is_probe {
            match outcome {
                Outcome::Success => {
                    if self.availability.close(generation) {
                        memory.forget();
                        memory.closed_at = now;
                    }
                }
                Outcome::Failure | Outcome::Timeout | Outcome::Limited => {
                    self.eject(&mut memory, generation, now);
                }
                Outcome::Unknown => {
                    self.availability.release(generation);
                }
            }
            return;
        }
        match outcome {
            Outcome::Success => {
                memory.timeouts = 0;
                memory.window.add(true, now);
            }
            Outcome::Timeout => {
                memory.timeouts = memory.timeouts.saturating_add(1);
                memory.window.add(false, now);
            }
            Outcome::Failure => memory.window.add(false, now),
            Outcome::Limited | Outcome::Unknown => return,
        }
        let policy = &self.policy;
        let dead = policy.consecutive_timeouts > 0 && memory.timeouts >= policy.consecutive_timeouts;
        if dead || memory.window.is_below(policy.min_success_percent, policy.min_sample) {
            // A recovery that lasted no longer than the ejection before it was none.
            if now.saturating_duration_since(memory.closed_at) > memory.last_ejection {
                memory.ejections = 0;
            }
            self.eject(&mut memory, generation, now);
        }
    }

    /// Whether an attempt that began then, and ends now by its caller's deadline before anything came of it, had time enough: twice
    /// what the median of its kind takes; or once that, if nobody else has had anything meanwhile either, an answer's beginning or a
    /// call's result. As long as too few of its kind have been seen to tell, the policy's word alone.
    fn was_long_enough(&self, took: &Latencies, started: Instant, now: Instant) -> bool {
        let given = now.saturating_duration_since(started);
        let median = took.percentile(50, FEWEST_TIMES).unwrap_or_default();
        let is_silent = || {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.begun_at <= started
        };
        given >= self.policy.fair_time
            && (given >= median.saturating_mul(2) || given >= median && is_silent())
    }

    /// An answer has begun, or a call come back.
    fn note_begun(&self, now: Instant) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).begun_at = now;
    }

    /// An answer has begun, or a call come back: timeouts are not in a row any more.
    fn interrupt(&self, generation: u32) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if self.availability.generation() == generation {
            memory.timeouts = 0;
        }
    }

    fn eject(&self, memory: &mut Memory, generation: u32, now: Instant) {
        let factor = 1_u32.checked_shl(memory.ejections).unwrap_or(u32::MAX);
        let ejection = self.policy.ejection.saturating_mul(factor).min(self.policy.max_ejection);
        if self.availability.eject(generation, after(now, ejection)) {
            memory.ejections = memory.ejections.saturating_add(1);
            memory.last_ejection = ejection;
            memory.forget();
        }
    }
}

/// When whoever meets a probe on its way may look again.
const PROBE_FORECAST: Duration = Duration::from_secs(1);

/// A median of fewer is a few requests' luck.
const FEWEST_TIMES: usize = 20;

impl Memory {
    fn forget(&mut self) {
        self.timeouts = 0;
        self.window.clear();
    }
}

/// An attempt that may go. Settle it with what became of it; dropped unsettled, it says nothing about the endpoint,
/// and a probe is given back so that the next attempt is one.
#[derive(Debug)]
#[must_use = "an attempt that is not settled says nothing about the endpoint"]
pub struct Permit {
    breaker: Arc<Breaker>,
    generation: u32,
    is_probe: bool,
    started: Instant,
    /// Whether its first content has come, or a call's result.
    has_begun: bool,
    /// Whether it is no answer that it is to bring.
    is_call: bool,
}

impl Permit {
    /// Whether this attempt decides if the endpoint is available again.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// For what is no answer of a model: that is compared with its like.
    pub(crate) fn for_call(mut self) -> Self {
        self.is_call = true;
        self
    }

    /// How long attempts of its kind have taken.
    fn took(&self) -> &Latencies {
        if self.is_call { &self.breaker.calls } else { &self.breaker.first_contents }
    }

    /// The first content has come; or the result, of a call that is no answer. A probe has succeeded; any other attempt is yet to be judged by its end, but the
    /// timeouts before it are no longer in a row.
    pub fn begun(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.took().record(now.saturating_duration_since(self.started));
            self.breaker.note_begun(now);
        }
        if std::mem::take(&mut self.is_probe) {
            self.breaker.settle(self.generation, true, Outcome::Success, now);
        } else {
            self.breaker.interrupt(self.generation);
        }
    }

    /// What that error says, which ended the attempt now; `deadline` is its caller's.
    ///
    /// A timeout counts only if the attempt had a fair share of time: at least [`BreakerPolicy::fair_time`], and where the
    /// caller's own deadline ended it, twice the median time that its kind takes here (an answer to its first content, a call that is
    /// none to its end), or once that if nobody else has had anything from the endpoint meanwhile. A caller's deadline in the middle of
    /// an answer says nothing: the endpoint was answering.
    pub fn outcome_of(&self, error: &Error, deadline: Option<Instant>, now: Instant) -> Outcome {
        match Outcome::of(error) {
            Outcome::Timeout if !self.is_fair(deadline, now) => Outcome::Unknown,
            outcome => outcome,
        }
    }

    fn is_fair(&self, deadline: Option<Instant>, now: Instant) -> bool {
        if deadline.is_some_and(|deadline| deadline <= now) {
            return !self.has_begun && self.breaker.was_long_enough(self.took(), self.started, now);
        }
        now.saturating_duration_since(self.started) >= self.breaker.policy.fair_time
    }

    /// Says what became of the attempt. Ignored if the endpoint has been ejected or closed since the attempt began.
    pub fn settle(mut self, outcome: Outcome, now: Instant) {
        let is_probe = std::mem::take(&mut self.is_probe);
        self.breaker.settle(self.generation, is_probe, outcome, now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.availability.release(self.generation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    struct Bench {
        breaker: Arc<Breaker>,
        start: Instant,
    }

    impl Bench {
        fn new(policy: BreakerPolicy) -> Self {
            let start = Instant::now();
            Self { breaker: Arc::new(Breaker::new(policy, start)), start }
        }

        fn pass(&self, at: u64) -> Option<Permit> {
            self.breaker.try_pass(self.start + S(at)).ok()
        }

        fn outcome(&self, outcome: Outcome, at: u64) {
            self.pass(at).expect("passes").settle(outcome, self.start + S(at));
        }

        fn standing(&self, at: u64) -> Standing {
            self.breaker.availability().standing(self.start + S(at))
        }
    }

    #[test]
    fn three_timeouts_a_cancelled_probe_and_late_results() {
        let bench = Bench::new(BreakerPolicy::default());
        let mut late: Vec<_> = (0..30).filter_map(|_| bench.pass(0)).collect();
        bench.outcome(Outcome::Timeout, 0);
        bench.outcome(Outcome::Timeout, 0);
        bench.outcome(Outcome::Success, 0);
        bench.outcome(Outcome::Timeout, 0);
        bench.outcome(Outcome::Limited, 0);
        bench.outcome(Outcome::Timeout, 0);
        assert_eq!(bench.standing(1), Standing::Available, "a success between them");
        bench.outcome(Outcome::Timeout, 1);
        assert_eq!(bench.standing(1), Standing::Ejected { until: bench.start + S(6) });

        let probe = bench.pass(6).expect("the probe");
        assert!(probe.is_probe());
        assert!(bench.pass(6).is_none(), "one at a time");
        drop(probe);
        assert_eq!(bench.standing(6), Standing::ProbeDue, "cancelled, given back");

        let probe = bench.pass(7).expect("the next probe");
        for permit in late.drain(..20) {
            permit.settle(Outcome::Timeout, bench.start + S(7));
        }
        assert_eq!(bench.standing(7), Standing::Probing { until: bench.start + S(97) }, "late results");
        probe.settle(Outcome::Success, bench.start + S(8));
        assert_eq!(bench.standing(8), Standing::Available);
        for permit in late {
            permit.settle(Outcome::Timeout, bench.start + S(8));
        }
        bench.outcome(Outcome::Timeout, 8);
        assert_eq!(bench.standing(8), Standing::Available, "nor are they remembered");
    }

    #[test]
    fn ejections_double_up_to_a_bound_and_are_forgotten_in_good_times() {
        let bench = Bench::new(BreakerPolicy::default());
        (0..3).for_each(|_| bench.outcome(Outcome::Timeout, 0));
        let mut at = 0;
        for seconds in [5, 10, 20, 40, 60, 60] {
            assert_eq!(bench.standing(at), Standing::Ejected { until: bench.start + S(at + seconds) });
            at += seconds;
            bench.outcome(if seconds == 10 { Outcome::Limited } else { Outcome::Failure }, at);
        }
        at += 60;
        bench.outcome(Outcome::Success, at);
        (0..3).for_each(|_| bench.outcome(Outcome::Timeout, at + 1));
        assert_eq!(
            bench.standing(at + 1),
            Standing::Ejected { until: bench.start + S(at + 61) },
            "a relapse"
        );
        at += 61;
        bench.outcome(Outcome::Success, at);
        (0..3).for_each(|_| bench.outcome(Outcome::Timeout, at + 61));
        assert_eq!(bench.standing(at + 61), Standing::Ejected { until: bench.start + S(at + 66) });
    }

    #[test]
    fn a_low_success_rate_opens_it_and_a_lost_probe_does_not_block() {
        let bench = Bench::new(BreakerPolicy::default());
        for n in 0..40 {
            bench.outcome(if n % 2 == 0 { Outcome::Success } else { Outcome::Failure }, 0);
        }
        assert_eq!(bench.standing(0), Standing::Available, "a half is not below a half");
        bench.outcome(Outcome::Failure, 0);
        assert_eq!(bench.standing(0), Standing::Ejected { until: bench.start + S(5) });
        std::mem::forget(bench.pass(5).expect("the probe"));
        assert!(bench.pass(94).is_none());
        assert!(bench.pass(95).is_some_and(|permit| permit.is_probe()));
    }

    #[test]
    fn what_an_error_says_of_its_endpoint() {
        let of = |kind| Outcome::of(&Error::new(kind, "x"));
        assert_eq!(of(ErrorKind::Timeout), Outcome::Timeout);
        assert_eq!(of(ErrorKind::Connect), Outcome::Failure);
        assert_eq!(of(ErrorKind::RateLimited), Outcome::Limited);
        assert_eq!(of(ErrorKind::Authentication), Outcome::Success);
        assert_eq!(of(ErrorKind::Cancelled), Outcome::Unknown);
        let own = Error::new(ErrorKind::Overloaded, "x").with_code(crate::refusal::QUEUE_FULL);
        assert_eq!(Outcome::of(&own), Outcome::Unknown);
    }

    #[test]
    fn a_timeout_counts_where_the_endpoint_had_its_share_of_time() {
        let bench = Bench::new(BreakerPolicy::default());
        let timeout = Error::new(ErrorKind::Timeout, "x");
        let after = |millis| bench.start + Duration::from_millis(millis);
        let by_limit = |permit: Permit, millis| permit.outcome_of(&timeout, None, after(millis));
        let by_caller =
            |permit: Permit, millis| permit.outcome_of(&timeout, Some(after(millis)), after(millis));
        let pass = || bench.pass(0).expect("passes");

        assert_eq!([499, 500].map(|at| by_limit(pass(), at)), [Outcome::Unknown, Outcome::Timeout]);
        assert_eq!([499, 500].map(|at| by_caller(pass(), at)), [Outcome::Unknown, Outcome::Timeout]);
        let far = Some(after(9_000));
        assert_eq!(pass().outcome_of(&timeout, far, after(500)), Outcome::Timeout, "not the caller's doing");

        // First contents take two seconds here.
        for _ in 0..FEWEST_TIMES {
            let mut permit = pass();
            permit.begun(after(2_000));
            permit.begun(after(9_000));
        }
        assert_eq!([3_999, 4_000].map(|at| by_caller(pass(), at)), [Outcome::Unknown, Outcome::Timeout]);
        let late = bench.pass(100).expect("passes");
        let mut other = bench.pass(100).expect("passes");
        let ended = |after| {
            let at = bench.start + S(100) + Duration::from_millis(after);
            late.outcome_of(&timeout, Some(at), at)
        };
        assert_eq!([1_999, 2_000].map(ended), [Outcome::Unknown, Outcome::Timeout], "it answers nobody");
        other.begun(bench.start + S(101));
        assert_eq!([3_999, 4_000].map(ended), [Outcome::Unknown, Outcome::Timeout], "it answers others");
        assert_eq!(by_limit(pass(), 500), Outcome::Timeout, "whoever set the limit knows the endpoint");
        let mut answering = pass();
        answering.begun(after(10));
        assert_eq!(by_caller(answering, 30_000), Outcome::Unknown, "it was answering");
        let mut answering = pass();
        answering.begun(after(10));
        assert_eq!(by_limit(answering, 30_000), Outcome::Timeout, "and fell silent");
    }

    /// A tenant in a hurry does not shut an endpoint for all: not by deadlines below what it takes, nor by cutting answers.
    #[test]
    fn callers_in_a_hurry_do_not_open_it() {
        let bench = Bench::new(BreakerPolicy::default());
        let timeout = Error::new(ErrorKind::Timeout, "x");
        for n in 0..200 {
            let at = bench.start + S(n);
            let mut patient = bench.breaker.try_pass(at).expect("closed");
            patient.begun(at + S(2));
            let hasty: Vec<_> = (0..5).map(|_| bench.breaker.try_pass(at).expect("closed")).collect();
            if n >= FEWEST_TIMES as u64 {
                let deadline = at + Duration::from_millis(600);
                for mut permit in hasty {
                    let is_cut = n % 2 == 0;
                    if is_cut {
                        permit.begun(at + Duration::from_millis(550));
                    }
                    let outcome = permit.outcome_of(&timeout, Some(deadline), deadline);
                    permit.settle(outcome, deadline);
                }
            }
            patient.settle(Outcome::Success, at + S(3));
        }
        assert_eq!(bench.standing(300), Standing::Available);
    }
}
