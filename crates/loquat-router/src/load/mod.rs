//! What is known of one endpoint while it is used: how slow, how busy, how well. It outlives the table of routes that it
//! was made for: a reload keeps it for every endpoint that stays.

mod estimate;
mod in_flight;
mod percentiles;
mod sparing;
mod ticket;
mod word;

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use loquat_core::{Availability, Standing};

pub use percentiles::{SIZES, SizeLatency};
pub use ticket::{Outcome, Ticket};

use crate::health::{Health, Reason, State};
use estimate::Estimate;
use in_flight::InFlight;
use percentiles::Percentiles;
use sparing::Sparing;

/// What the arithmetic of load goes by.
///
/// | field | default | reason |
/// |---|---|---|
/// | `fade` | 10 s | linkerd's: a slow node is asked again about once a minute, whatever the traffic |
/// | `seed` | 500 ms | a hosted model's usual first token; only while nothing is known of any endpoint |
/// | `penalty` | 5 s | linkerd's: a node that fails at once must look slower than any that answers |
/// | `max_sparing` | 30 s | a failing node is asked again after 1, 2, 4 … s, never later than that: about as long as it was out |
/// | `max_rest` | 300 s | what a peer says of `Retry-After` is believed so far |
/// | `slow_start` | 30 s | a new node's caches fill while it takes a growing share |
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct LoadPolicy {
    /// The time in which what is known of an unasked endpoint fades to a third.
    pub fade: Duration,
    /// What an endpoint of which nothing is known is taken for, until others have been measured.
    pub seed: Duration,
    /// What an endpoint that failed is taken for, in time to first token. For a second after the first failure, and for twice as
    /// long after each further one; then one request tries it, and the others when that is answered. What was measured before
    /// is kept apart, and holds again.
    pub penalty: Duration,
    /// For how long at most it is taken for that. At most an hour.
    pub max_sparing: Duration,
    /// The longest that a peer's `Retry-After` keeps requests away.
    pub max_rest: Duration,
    /// For how long an endpoint that joins later is spared: its share grows over this time.
    pub slow_start: Duration,
}

impl Default for LoadPolicy {
    fn default() -> Self {
        Self {
            fade: Duration::from_secs(10),
            seed: Duration::from_millis(500),
            penalty: Duration::from_secs(5),
            max_sparing: Duration::from_secs(30),
            max_rest: Duration::from_secs(300),
            slow_start: Duration::from_secs(30),
        }
    }
}

/// One endpoint's load and health. Shared by all tables that name the endpoint.
#[derive(Debug)]
pub struct Live {
    hot: Hot,
    /// What its times count from.
    epoch: Instant,
    policy: LoadPolicy,
    /// Two KiB, apart: decisions read what is around it.
    percentiles: Box<Percentiles>,
    /// What a circuit breaker says of it.
    availability: Arc<Availability>,
    /// Until when it asked to be left alone, as `rests_until_ms`, which may be later for our own reasons.
    asked_until_ms: AtomicU64,
}

/// What decisions read of every endpoint that they compare: one cache line, and nothing else of it. Other threads write to it
/// while they ask the endpoint, so a second line would be a second wait.
#[derive(Debug)]
#[repr(align(64))]
struct Hot {
    estimate: Estimate,
    in_flight: InFlight,
    /// When it joined a router that was running, counted from 1; 0 for those that were there from the start.
    joined_ms: AtomicU64,
    /// Not asked before that time, in milliseconds since the epoch; 0 for no such wish.
    rests_until_ms: AtomicU64,
    health: Health,
    /// It failed, and is taken for slow until it was tried.
    sparing: Sparing,
    /// The policy's times, as every decision needs them.
    fade_ms: f32,
    penalty_us: f32,
}

const _: () = assert!(size_of::<Hot>() == 64, "one cache line");

impl Live {
    /// An endpoint of which nothing is known yet. `epoch` is the router's beginning; an endpoint that `joins` later is
    /// spared at first.
    pub fn new(
        epoch: Instant,
        now: Instant,
        joins: bool,
        policy: LoadPolicy,
        availability: Option<Arc<Availability>>,
    ) -> Self {
        Self {
            hot: Hot {
                estimate: Estimate::default(),
                in_flight: InFlight::default(),
                joined_ms: AtomicU64::new(if joins { millis(epoch, now).saturating_add(1) } else { 0 }),
                rests_until_ms: AtomicU64::new(0),
                health: Health::new(),
                sparing: Sparing::default(),
                fade_ms: policy.fade.as_secs_f32() * 1e3,
                penalty_us: micros(policy.penalty),
            },
            epoch,
            policy,
            percentiles: Box::default(),
            asked_until_ms: AtomicU64::new(0),
            availability: availability.unwrap_or_else(|| Arc::new(Availability::new(now))),
        }
    }

    /// A request of that size begins: the ticket is to be told how it goes on.
    pub fn enter(self: &Arc<Self>, prompt_tokens: u32, now: Instant) -> Ticket {
        let tokens = prompt_tokens.saturating_add(REQUEST_TOKENS).min(in_flight::MOST_TOKENS);
        let ahead = self.hot.in_flight.enter(tokens);
        let work = ahead.saturating_add(tokens.into());
        let trial = self.policy.penalty.min(LONGEST_SPARING);
        let is_trial = self.hot.sparing.begins_trial(millis(self.epoch, now), whole_millis(trial));
        Ticket { live: self.clone(), started: now, prompt_tokens, tokens, work, answered: false, is_trial }
    }

    /// Requests and tokens in hand.
    pub fn in_flight(&self) -> (u32, u64) {
        self.hot.in_flight.read()
    }

    /// How long a first token takes for each 1,000 tokens of work, as it has faded by now; `None` when nothing is known. The
    /// work is the prompt's and that of all requests in hand when it came, so that a queue of the router's own making and
    /// a long prompt do not pass for slowness.
    pub fn first_token(&self, now: Instant) -> Option<Duration> {
        let us = self.faded_us(millis(self.epoch, now))?;
        Some(Duration::from_secs_f32(us / 1e6))
    }

    /// The 95th percentile of the time to first token of the last minute, by size of prompt.
    pub fn by_size(&self, now: Instant) -> [SizeLatency; SIZES] {
        self.percentiles.show(millis(self.epoch, now))
    }

    /// How it stands, with reason and time.
    pub fn state(&self, now: Instant) -> State {
        if let Some(state) = self.hot.health.said(self.epoch) {
            return state;
        }
        match self.availability.standing(now) {
            Standing::Available | Standing::ProbeDue => {}
            Standing::Ejected { until } => {
                return State::Out { reason: Reason::Breaker, since: None, until: Some(until) };
            }
            // Its instant is when the probe counts as lost, not when the endpoint is tried.
            Standing::Probing { .. } => {
                return State::Out { reason: Reason::Probed, since: None, until: None };
            }
            _ => return State::Out { reason: Reason::Breaker, since: None, until: None },
        }
        let rests = self.hot.rests_until_ms.load(Relaxed);
        if rests > millis(self.epoch, now) {
            let until = self.epoch + Duration::from_millis(rests);
            return State::Resting { until };
        }
        State::Up
    }

    /// Whether it takes requests at this moment.
    pub(crate) fn takes(&self, now: Instant, now_ms: u64) -> bool {
        self.hot.health.takes()
            && self.hot.rests_until_ms.load(Relaxed) <= now_ms
            && self.availability.standing(now).may_try()
    }

    /// Whether it shall get no new requests, whatever else.
    pub(crate) fn is_draining(&self) -> bool {
        self.hot.health.is_draining()
    }

    /// The endpoint leaves: what it has in hand it may finish.
    pub fn drain(&self, now: Instant) {
        self.hot.health.drain(millis(self.epoch, now));
    }

    /// It begins anew, as one that joins now.
    pub(crate) fn joined(&self, now: Instant) {
        self.hot.joined_ms.store(millis(self.epoch, now).saturating_add(1), Relaxed);
        self.hot.estimate.forget();
    }

    /// It is back before it had left.
    pub(crate) fn undrain(&self) {
        self.hot.health.undrain();
    }

    /// What an active check found: `GET /health` or `/v1/models`, never a generation.
    pub fn checked(&self, is_well: bool, now: Instant) {
        if self.hot.health.checked(is_well, millis(self.epoch, now)) {
            // Back from the dead: what was known of it is no longer so, and neither the rest that its failures earned it nor its
            // breaker need be waited out. What it asked for itself is another matter: a limit of rate is not over because
            // it is well. Acquired, so that no wish is overlooked whose rest was cleared here.
            self.hot.estimate.forget();
            self.hot.rests_until_ms.swap(0, Acquire);
            self.hot.rests_until_ms.fetch_max(self.asked_until_ms.load(Relaxed), Relaxed);
            self.hot.health.succeeded();
            self.availability.uneject(now);
        }
    }

    /// Up or out by hand, or by whoever discovered it.
    pub fn set_out(&self, out: bool, now: Instant) {
        self.hot.health.set_out(out, millis(self.epoch, now));
    }

    /// The breaker's word.
    pub fn availability(&self) -> &Arc<Availability> {
        &self.availability
    }

    /// As measured, and faded by now; while it is spared at least the penalty. `None` when nothing is known.
    pub(crate) fn faded_us(&self, now_ms: u64) -> Option<f32> {
        let measured = self.measured_us(now_ms);
        if !self.hot.sparing.is_spared(now_ms) {
            return measured;
        }
        Some(measured.unwrap_or_default().max(self.hot.penalty_us))
    }

    /// As measured alone.
    pub(crate) fn measured_us(&self, now_ms: u64) -> Option<f32> {
        self.hot.estimate.faded(wrapped(now_ms), self.hot.fade_ms)
    }

    /// What share of its usual load it is fit for, from 0.1 to 1.
    pub(crate) fn warmth(&self, now_ms: u64) -> f32 {
        let joined = self.hot.joined_ms.load(Relaxed);
        if joined == 0 || self.policy.slow_start.is_zero() {
            return 1.0;
        }
        let age = now_ms.saturating_add(1).saturating_sub(joined) as f32;
        (age / (self.policy.slow_start.as_secs_f32() * 1e3)).clamp(0.1, 1.0)
    }

    /// What it is taken for while nothing is known of it or its like. Microseconds.
    pub(crate) fn seed_us(&self) -> f32 {
        micros(self.policy.seed)
    }

    /// A first token that had so much work before it, its own included.
    fn answered(&self, prompt_tokens: u32, work: u64, began: Instant, is_trial: bool, now: Instant) {
        let (now_ms, took) = (millis(self.epoch, now), now.saturating_duration_since(began));
        if is_trial {
            self.hot.sparing.end();
        }
        let unit = micros(took) * UNIT_TOKENS / work.max(1) as f32;
        self.hot.estimate.record(unit, wrapped(now_ms), self.hot.fade_ms);
        self.percentiles.record(prompt_tokens, took, now_ms);
    }

    /// No first token in all that time, with so much work before it: it is no faster than that. Never makes it look faster than it
    /// was taken for, which is `typical` where nothing is known of it.
    fn waited(&self, work: u64, began: Instant, typical: Option<Duration>, now: Instant) {
        let now_ms = millis(self.epoch, now);
        let least = micros(now.saturating_duration_since(began)) * UNIT_TOKENS / work.max(1) as f32;
        let taken_for = || typical.map_or_else(|| self.seed_us(), micros);
        if least > self.measured_us(now_ms).unwrap_or_else(taken_for) {
            self.hot.estimate.record(least, wrapped(now_ms), self.hot.fade_ms);
        }
    }

    fn failed(&self, retry_after: Option<Duration>, is_busy: bool, ticket: &Ticket, now: Instant) {
        let (started_ms, now_ms) = (millis(self.epoch, ticket.started), millis(self.epoch, now));
        let most = self.policy.max_sparing.min(LONGEST_SPARING);
        self.hot.sparing.failed(ticket.is_trial, started_ms, now_ms, whole_millis(most));
        if let Some(wait) = retry_after {
            let until = now_ms.saturating_add(whole_millis(wait.min(self.policy.max_rest)));
            self.asked_until_ms.fetch_max(until, Relaxed);
            self.hot.rests_until_ms.fetch_max(until, Release);
        }
        if !is_busy && self.hot.health.failed() >= FAILURES_TO_REST {
            self.hot.rests_until_ms.fetch_max(self.hot.sparing.until_ms(), Relaxed);
        }
    }
}

const LONGEST_SPARING: Duration = Duration::from_secs(3_600);
/// Failures in a row after which an endpoint that is spared gets nothing at all, as many as Envoy's outlier detection waits for.
const FAILURES_TO_REST: u32 = 5;

/// What a request weighs besides its prompt until its first token: what each costs, however short. In tokens of prompt.
pub(crate) const REQUEST_TOKENS: u32 = 256;
/// What the moving average is of: this many tokens of work.
pub(crate) const UNIT_TOKENS: f32 = 1_000.0;

/// Whole milliseconds since the epoch, down.
pub(crate) fn millis(epoch: Instant, now: Instant) -> u64 {
    whole_millis(now.saturating_duration_since(epoch))
}

/// Without a division, and without an end but the word's.
fn whole_millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000).saturating_add(duration.subsec_millis().into())
}

/// As [`Estimate`] takes times: they wrap after 49 days, and it knows.
#[allow(clippy::cast_possible_truncation, reason = "wraps on purpose")]
fn wrapped(ms: u64) -> u32 {
    ms as u32
}

fn micros(duration: Duration) -> f32 {
    duration.as_secs_f32() * 1e6
}

#[cfg(test)]
mod tests {
    use super::{ticket::ANSWER_TOKENS, *};

    #[test]
    fn a_request_weighs_until_it_ends_and_its_prompt_until_it_answers() {
        let start = Instant::now();
        let live = Arc::new(Live::new(start, start, false, LoadPolicy::default(), None));
        let mut ticket = live.enter(1000, start);
        assert_eq!(live.in_flight(), (1, 1000 + u64::from(REQUEST_TOKENS)));
        let later = start + Duration::from_millis(80);
        ticket.first_token(later);
        ticket.first_token(later + Duration::from_secs(9));
        assert_eq!(live.in_flight(), (1, ANSWER_TOKENS.into()));
        let known = live.first_token(later).expect("known");
        assert!((known.as_secs_f64() - 0.08 / 1.256).abs() < 1e-6, "for each thousand tokens");
        ticket.settle(Outcome::Success, later);
        assert_eq!(live.in_flight(), (0, 0));
        let mut huge = live.enter(u32::MAX, start);
        huge.first_token(later);
        drop(huge);
        assert_eq!(live.in_flight(), (0, 0), "not even a prompt of four billion tokens leaves anything over");
    }

    #[test]
    fn a_failure_is_slow_and_a_retry_after_is_a_rest() {
        let start = Instant::now();
        let live = Arc::new(Live::new(start, start, false, LoadPolicy::default(), None));
        let failure = |after| Outcome::Failure { retry_after: after, is_busy: true };
        live.enter(1, start).settle(failure(None), start);
        assert_eq!(live.first_token(start), Some(Duration::from_secs(5)));
        assert_eq!(live.state(start), State::Up);
        let second = start + Duration::from_secs(1);
        assert_eq!(live.first_token(second), None, "nothing was ever measured");
        live.enter(1, start).settle(failure(None), second);
        assert_eq!(live.first_token(second), None, "it was under way when the first one failed");
        live.enter(1, second).settle(failure(None), second);
        assert_eq!(live.first_token(second + Duration::from_millis(1_999)), Some(Duration::from_secs(5)));
        assert_eq!(live.first_token(second + Duration::from_secs(2)), None, "twice as long");
        live.enter(1, start).settle(failure(Some(Duration::from_secs(20))), start);
        assert_eq!(live.state(start), State::Resting { until: start + Duration::from_secs(20) });
        assert!(!live.takes(start, 19_999) && live.takes(start, 20_000));
        live.enter(1, start).settle(failure(Some(Duration::MAX)), start);
        assert!(live.takes(start, 300_000), "not for ever");
    }

    #[test]
    fn who_is_given_up_is_no_faster_than_that() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let live = Arc::new(Live::new(start, start, false, LoadPolicy::default(), None));
        let give_up = |from, until| live.enter(1_000 - REQUEST_TOKENS, at(from)).give_up(None, at(until));
        live.enter(1_000 - REQUEST_TOKENS, start).give_up(None, start + Duration::from_millis(100));
        assert_eq!(live.first_token(start), None, "a short wait says nothing of one that nobody knows");
        let fast = Arc::new(Live::new(start, start, false, LoadPolicy::default(), None));
        let wait = Duration::from_millis(100);
        for (typical, is_known) in [(2 * wait, false), (wait / 2, true)] {
            fast.enter(1_000 - REQUEST_TOKENS, start).give_up(Some(typical), start + wait);
            assert_eq!(fast.first_token(start + wait).is_some(), is_known, "unless its like are faster");
        }
        give_up(0, 2);
        assert_eq!(live.first_token(at(2)), Some(Duration::from_secs(2)));
        give_up(2, 3);
        assert!(
            live.first_token(at(3)) > Some(Duration::from_millis(1_800)),
            "a shorter wait takes nothing back"
        );
        give_up(31, 32);
        assert!(
            live.first_token(at(32)) >= Some(Duration::from_millis(999)),
            "what had faded is known again"
        );
        let mut answered = live.enter(1_000 - REQUEST_TOKENS, at(32));
        answered.first_token(at(33));
        let known = live.first_token(at(100));
        answered.give_up(None, at(100));
        assert_eq!(live.first_token(at(100)), known, "the end of an answer is no first token");
    }

    #[test]
    fn an_open_breaker_says_until_when() {
        let now = Instant::now();
        let live = Live::new(now, now, false, LoadPolicy::default(), None);
        let until = now + Duration::from_secs(5);
        assert!(live.availability().eject(live.availability().generation(), until));
        let state = live.state(now);
        assert_eq!(state, State::Out { reason: Reason::Breaker, since: None, until: Some(until) });
        let later = now + Duration::from_millis(1_800);
        assert_eq!(state.describe(later), "out, its circuit breaker is open, to be tried in 3.2 s");
        assert_eq!(live.state(until), State::Up, "a probe is due");
        assert!(live.availability().claim_probe(until, until + Duration::from_secs(1)).is_some());
        let probed = live.state(until);
        assert_eq!(probed, State::Out { reason: Reason::Probed, since: None, until: None });
        assert_eq!(probed.describe(until), "out, its circuit breaker is open, being tried now");
        live.set_out(true, until);
        assert_eq!(
            live.state(until).describe(until + Duration::from_secs(2)),
            "out, somebody put it out, for 2.0 s"
        );
    }

    #[test]
    fn a_check_that_brings_it_back_makes_a_probe_due() {
        let now = Instant::now();
        let live = Live::new(now, now, false, LoadPolicy::default(), None);
        (0..3).for_each(|_| live.checked(false, now));
        assert!(live.availability().eject(live.availability().generation(), now + Duration::from_secs(60)));
        live.checked(true, now);
        assert!(!live.takes(now, 0), "one good check is not enough");
        let live = Arc::new(live);
        let failure = Outcome::Failure { retry_after: None, is_busy: false };
        (0..FAILURES_TO_REST).for_each(|_| live.enter(1, now).settle(failure, now));
        assert!(matches!(live.hot.rests_until_ms.load(Relaxed), 1..), "it has failed often enough to rest");
        live.checked(true, now);
        assert_eq!(live.availability().standing(now), Standing::ProbeDue);
        assert!(live.takes(now, 0), "nor does it rest");
        (0..FAILURES_TO_REST - 1).for_each(|_| live.enter(1, now).settle(failure, now));
        assert!(live.takes(now, 0), "its failures in a row are over");
    }

    #[test]
    fn a_check_that_brings_it_back_does_not_shorten_what_it_asked_for() {
        let now = Instant::now();
        let live = Arc::new(Live::new(now, now, false, LoadPolicy::default(), None));
        let wait = Some(Duration::from_secs(10));
        live.enter(1, now).settle(Outcome::Failure { retry_after: wait, is_busy: true }, now);
        // Its own failures make it rest for longer than that.
        let failure = Outcome::Failure { retry_after: None, is_busy: false };
        let mut later = now;
        while live.hot.rests_until_ms.load(Relaxed) <= 10_000 {
            live.enter(1, later).settle(failure, later);
            later += Duration::from_secs(2);
        }
        (0..3).for_each(|_| live.checked(false, now));
        (0..2).for_each(|_| live.checked(true, now));
        assert_eq!(live.state(now), State::Resting { until: now + Duration::from_secs(10) });
        assert!(!live.takes(now, 9_999) && live.takes(now, 10_000));
    }

    /// A word of milliseconds that wraps ends after 49 days; a router may run for longer.
    #[test]
    fn times_hold_on_the_fiftieth_day_and_after_a_year() {
        let epoch = Instant::now();
        let day = Duration::from_secs(24 * 3_600);
        // A second before 32 bits of milliseconds are full, and long after.
        for age in [Duration::from_millis((1 << 32) - 1_000), 50 * day, 400 * day] {
            let live = Arc::new(Live::new(epoch, epoch, false, LoadPolicy::default(), None));
            let now = epoch + age;
            let now_ms = millis(epoch, now);
            assert_eq!(u128::from(now_ms), age.as_millis());
            let wait = Duration::from_secs(20);
            live.enter(1, now).settle(Outcome::Failure { retry_after: Some(wait), is_busy: true }, now);
            assert_eq!(live.state(now), State::Resting { until: now + wait });
            assert!(!live.takes(now, now_ms + 19_999) && live.takes(now, now_ms + 20_000));
            assert_eq!(live.faded_us(now_ms + 999), Some(5e6), "spared for a second");
            assert_eq!(live.faded_us(now_ms + 1_000), None, "and then tried");
            let later = now + wait;
            assert!(live.enter(1, later).is_trial, "the first tries it");
            assert!(!live.enter(1, later).is_trial, "no other does");
            live.set_out(true, later);
            let out = State::Out { reason: Reason::Told, since: Some(later), until: None };
            assert_eq!(live.state(later), out);

            let joined = Live::new(epoch, now, true, LoadPolicy::default(), None);
            assert_eq!([0, 15_000, 30_000].map(|ms| joined.warmth(now_ms + ms)), [0.1, 0.5, 1.0]);
        }
        let old = Live::new(epoch, epoch + day, true, LoadPolicy::default(), None);
        assert_eq!(old.warmth(millis(epoch, epoch + 50 * day)), 1.0, "it is no newcomer any more");
    }

    #[test]
    fn who_joins_later_is_spared_at_first() {
        let start = Instant::now();
        let live = Live::new(start, start + Duration::from_secs(60), true, LoadPolicy::default(), None);
        let warmth: Vec<_> = [60_000, 75_000, 90_000, 500_000].map(|ms| live.warmth(ms)).into();
        assert_eq!(warmth, [0.1, 0.5, 1.0, 1.0]);
    }
}
