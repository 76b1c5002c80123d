//! One operation's retries as arithmetic: an error and a `now` go in, a decision comes out.

use std::{
    fmt,
    time::{Duration, Instant},
};

use loquat_core::{Delivery, Error, ErrorKind};

use super::{Budget, RetryPolicy};
use crate::{
    Random,
    refusal::{BREAKER_OPEN, QUEUE_FULL, QUEUE_TIMEOUT},
};

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again after that wait; what it adds to the load has been paid for.
    Retry {
        /// How long to wait first.
        wait: Duration,
    },
    /// Fail with the error at hand.
    Stop(Stop),
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The same request would fail the same way.
    Pointless,
    /// The peer said not to (`x-should-retry: false`).
    PeerRefuses,
    /// An answer had begun.
    Committed,
    /// It may have run, and running it twice may do harm.
    MayRunTwice,
    /// That many retries were made.
    Exhausted(u32),
    /// The peer asks for a longer wait than is allowed.
    WaitTooLong(Duration),
    /// The wait does not fit into what is left of the retry share of the operation's time.
    NoTime {
        /// The wait that would have been.
        wait: Duration,
        /// What is left for it.
        left: Duration,
    },
    /// The endpoint's budget for extra attempts is spent.
    BudgetSpent,
    /// The endpoint's breaker has been waited for that long, and is open yet.
    Shut(Duration),
    /// That is too long to wait while another endpoint can be asked.
    Elsewhere(Duration),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = Duration::as_secs_f64;
        match self {
            Self::Pointless => f.write_str("it would fail the same way"),
            Self::PeerRefuses => f.write_str("the peer says not to"),
            Self::Committed => f.write_str("the answer had begun"),
            Self::MayRunTwice => {
                f.write_str("it may have been carried out, and is not known to be repeatable")
            }
            Self::Exhausted(retries) => write!(f, "{retries} retries were made"),
            Self::WaitTooLong(wait) => {
                write!(f, "the peer asks to wait {:.1} s, longer than allowed", s(wait))
            }
            Self::NoTime { wait, left } => {
                write!(
                    f,
                    "a wait of {:.2} s does not fit into the {:.2} s left for retries",
                    s(wait),
                    s(left)
                )
            }
            Self::BudgetSpent => f.write_str("the endpoint's retry budget is spent"),
            Self::Shut(Duration::ZERO) => write!(f, "its breaker is open"),
            Self::Shut(waited) => write!(f, "its breaker has been waited for {:.1} s", s(waited)),
            Self::Elsewhere(wait) => {
                write!(f, "another endpoint can be asked before a wait of {:.2} s is over", s(wait))
            }
        }
    }
}

/// One operation: its attempts so far, and the time that is its own. For a loop of one's own:
///
/// ```
/// use std::time::Instant;
///
/// use loquat_schedule::loquat_core::{Delivery, Error, ErrorKind};
/// use loquat_schedule::{Random, retry::{Budget, BudgetPolicy, Decision, Operation, RetryPolicy}};
///
/// let call = || Err::<(), _>(Error::new(ErrorKind::Connect, "refused").with_delivery(Delivery::NotSent));
///
/// let budget = Budget::new(BudgetPolicy::default(), Instant::now()); // one for each endpoint
/// let mut operation = Operation::new(RetryPolicy::default(), Instant::now(), None);
/// budget.deposit(Instant::now());
/// let why = loop {
///     let Err(error) = call() else { panic!("nobody answers here") };
///     match operation.decide(&error, Instant::now(), &budget, &Random::from_system()) {
///         Decision::Retry { wait } => std::thread::sleep(wait), // some 50 ms, then some 100 ms
///         Decision::Stop(why) => break why,
///     }
/// };
/// assert_eq!(why.to_string(), "2 retries were made");
/// ```
#[derive(Debug)]
pub struct Operation {
    policy: RetryPolicy,
    started: Instant,
    timeout: Duration,
    /// Whether it may run twice: an idempotent method, or a key at an endpoint that deduplicates.
    repeatable: bool,
    has_alternative: bool,
    retries: u32,
    /// How long it has waited for open breakers.
    shut: Duration,
}

/// The shortest wait for a breaker that is open, however soon it says that it may be worth asking: waits there are not counted.
const LEAST_SHUT: Duration = Duration::from_millis(10);

impl Operation {
    /// An operation that begins now and has until `deadline`, or [`RetryPolicy::timeout`] without one.
    pub fn new(policy: RetryPolicy, now: Instant, deadline: Option<Instant>) -> Self {
        let timeout = deadline.map_or(policy.timeout, |deadline| deadline.saturating_duration_since(now));
        Self {
            policy,
            started: now,
            timeout,
            repeatable: false,
            has_alternative: false,
            retries: 0,
            shut: Duration::ZERO,
        }
    }

    /// May run twice without harm.
    #[must_use]
    pub fn with_repeatable(mut self, repeatable: bool) -> Self {
        self.repeatable = repeatable;
        self
    }

    /// Another endpoint can be asked where this one fails: [`RetryPolicy::max_wait_beside`].
    #[must_use]
    pub fn with_alternative(mut self, there_is: bool) -> Self {
        self.has_alternative = there_is;
        self
    }

    /// How many retries have been decided on.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// What to do after that failure. The budget is asked last, so that no attempt is paid for that is not made.
    ///
    /// An open breaker has kept the attempt from the endpoint, so that the next one is no retry: it is neither counted nor paid for, and
    /// bounded by time alone, the operation's share and in all [`RetryPolicy::max_breaker_wait`].
    pub fn decide(&mut self, error: &Error, now: Instant, budget: &Budget, random: &Random) -> Decision {
        let is_shut = error.code() == Some(BREAKER_OPEN);
        match self.wait(error, now, random) {
            Ok(wait) if is_shut => {
                self.shut = self.shut.saturating_add(wait);
                Decision::Retry { wait }
            }
            Ok(_) if !budget.try_withdraw(now) => Decision::Stop(Stop::BudgetSpent),
            Ok(wait) => {
                self.retries += 1;
                Decision::Retry { wait }
            }
            Err(stop) => Decision::Stop(stop),
        }
    }

    fn wait(&self, error: &Error, now: Instant, random: &Random) -> Result<Duration, Stop> {
        self.is_worth_it(error)?;
        let is_shut = error.code() == Some(BREAKER_OPEN);
        let counts = !is_shut || self.policy.max_retries == 0;
        if counts && self.retries >= self.policy.max_retries {
            return Err(Stop::Exhausted(self.retries));
        }
        let most = self.policy.max_retry_after;
        let wait = match error.retry_hint().after {
            Some(asked) if asked > most => return Err(Stop::WaitTooLong(asked)),
            Some(asked) if is_shut => later(asked.max(LEAST_SHUT), self.policy.jitter_percent, random),
            Some(asked) => asked,
            None => self.own_wait(error, random).max(if is_shut { LEAST_SHUT } else { Duration::ZERO }),
        };
        // How long the first wait is, is for the hint to say.
        let most_shut = self.policy.max_breaker_wait;
        let is_over = !self.shut.is_zero() && self.shut.saturating_add(wait) > most_shut;
        if is_shut && (most_shut.is_zero() || is_over) {
            return Err(Stop::Shut(self.shut));
        }
        if self.has_alternative && is_asked_elsewhere(error) && wait > self.policy.max_wait_beside {
            return Err(Stop::Elsewhere(wait));
        }
        let left = self.share().saturating_sub(now.saturating_duration_since(self.started));
        if wait > left {
            return Err(Stop::NoTime { wait, left });
        }
        Ok(wait)
    }

    /// The time within which retries may start.
    fn share(&self) -> Duration {
        // Divided first, since a timeout may be as long as a duration can be.
        self.timeout / 100 * self.policy.share_percent.min(100)
    }

    fn is_worth_it(&self, error: &Error) -> Result<(), Stop> {
        use ErrorKind as K;
        if error.delivery() == Delivery::Committed {
            return Err(Stop::Committed);
        }
        if matches!(error.code(), Some(QUEUE_FULL | QUEUE_TIMEOUT)) {
            // The queue is where one waits: to queue again would only make its limits longer.
            return Err(Stop::Pointless);
        }
        let hint = error.retry_hint().should_retry;
        match (hint, error.kind()) {
            (_, K::Cancelled) => return Err(Stop::Pointless),
            (Some(false), _) => return Err(Stop::PeerRefuses),
            // The peer, who knows what became of the request, asks for it again.
            (Some(true), _) => return Ok(()),
            (None, K::RateLimited | K::Overloaded) => return Ok(()), // refused before it ran
            (None, K::Connect | K::Proxy | K::Connection | K::Timeout | K::Server) => {}
            _ => return Err(Stop::Pointless),
        }
        match error.delivery() == Delivery::NotSent || self.repeatable {
            true => Ok(()),
            false => Err(Stop::MayRunTwice),
        }
    }

    /// Exponential from the base that fits the failure, with jitter.
    fn own_wait(&self, error: &Error, random: &Random) -> Duration {
        let policy = &self.policy;
        let base = if error.delivery() == Delivery::NotSent { policy.fast_base } else { policy.base };
        let wait =
            base.saturating_mul(1_u32.checked_shl(self.retries).unwrap_or(u32::MAX)).min(policy.max_wait);
        jittered(wait, policy.jitter_percent, random)
    }
}

/// That wait, by up to so many percent shorter or longer.
fn jittered(wait: Duration, percent: u32, random: &Random) -> Duration {
    let percent = percent.min(100);
    // In steps of a thousandth.
    let permille = 1000 - 10 * percent + random.below(20 * percent + 1);
    (wait / 1000).saturating_mul(permille)
}

/// That wait, by up to so many percent longer: all who were told the same must not come at the same instant, and none too soon.
fn later(wait: Duration, percent: u32, random: &Random) -> Duration {
    wait.saturating_add((wait / 1000).saturating_mul(random.below(10 * percent.min(100) + 1)))
}

/// The error of an operation that ends here: it says how often it was tried and why not again, unless trying again
/// was never in question.
pub(crate) fn explain(error: Error, stop: Stop, retries: u32) -> Error {
    if retries == 0 && matches!(stop, Stop::Pointless | Stop::Committed | Stop::Exhausted(0)) {
        return error;
    }
    let attempts = retries + 1;
    error.map_message(|message| match stop {
        Stop::Exhausted(_) => format!("{message} (after {attempts} attempts)"),
        _ if attempts == 1 => format!("{message} (not tried again: {stop})"),
        _ => format!("{message} (after {attempts} attempts; not tried again: {stop})"),
    })
}

/// Whether a route asks somebody else after that; what else is asked for again only the peer that wants it is asked for.
fn is_asked_elsewhere(error: &Error) -> bool {
    use ErrorKind as K;
    let kinds = [K::RateLimited, K::Overloaded, K::Connect, K::Proxy, K::Connection, K::Timeout, K::Server];
    kinds.contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use loquat_core::RetryHint;

    use super::*;
    use crate::retry::BudgetPolicy;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn error(kind: ErrorKind, delivery: Delivery) -> Error {
        Error::new(kind, "x").with_delivery(delivery)
    }

    fn steady() -> RetryPolicy {
        RetryPolicy::default().with_jitter_percent(0)
    }

    /// What becomes of an operation that began a second ago with a minute in all.
    fn check(error: &Error, repeatable: bool) -> Decision {
        let now = Instant::now();
        let budget = Budget::new(BudgetPolicy::default(), now);
        let mut operation = Operation::new(steady(), now, Some(now + MS(60_000))).with_repeatable(repeatable);
        operation.decide(error, now + MS(1000), &budget, &Random::seeded(1))
    }

    #[test]
    fn only_what_is_safe_is_repeated() {
        use {Delivery as D, ErrorKind as K};
        let stop = |stop| Decision::Stop(stop);
        let retry = |ms| Decision::Retry { wait: MS(ms) };
        let said = |should: bool| {
            let mut hint = RetryHint::default();
            hint.should_retry = Some(should);
            hint
        };
        for (error, repeatable, expected) in [
            (error(K::Connect, D::NotSent), false, retry(50)),
            (error(K::Timeout, D::NotSent), false, retry(50)),
            (error(K::Connection, D::MaybeSent), false, stop(Stop::MayRunTwice)),
            (error(K::Connection, D::MaybeSent), true, retry(1000)),
            (error(K::Timeout, D::MaybeSent), false, stop(Stop::MayRunTwice)),
            (error(K::Server, D::MaybeSent), false, stop(Stop::MayRunTwice)),
            (error(K::Server, D::MaybeSent), true, retry(1000)),
            (error(K::Timeout, D::Committed), true, stop(Stop::Committed)),
            (error(K::Overloaded, D::Committed), true, stop(Stop::Committed)),
            (error(K::RateLimited, D::MaybeSent).with_status(429), false, retry(1000)),
            (error(K::Overloaded, D::MaybeSent).with_status(503), false, retry(1000)),
            (error(K::Overloaded, D::MaybeSent).with_status(529), false, retry(1000)),
            (error(K::Authentication, D::MaybeSent), true, stop(Stop::Pointless)),
            (error(K::Tls, D::NotSent), true, stop(Stop::Pointless)),
            (error(K::Overloaded, D::NotSent).with_code(QUEUE_FULL), true, stop(Stop::Pointless)),
            (error(K::Timeout, D::NotSent).with_code(QUEUE_TIMEOUT), true, stop(Stop::Pointless)),
            (error(K::QuotaExceeded, D::MaybeSent), true, stop(Stop::Pointless)),
            (error(K::Cancelled, D::NotSent).with_retry_hint(said(true)), true, stop(Stop::Pointless)),
            (error(K::Server, D::MaybeSent).with_retry_hint(said(true)), false, retry(1000)),
            (error(K::Overloaded, D::NotSent).with_retry_hint(said(false)), true, stop(Stop::PeerRefuses)),
        ] {
            assert_eq!(check(&error, repeatable), expected, "{error:?} repeatable {repeatable}");
        }
    }

    #[test]
    fn hints_are_obeyed_exactly_or_handed_on() {
        let hinted = |wait| {
            error(ErrorKind::Overloaded, Delivery::MaybeSent)
                .with_status(503)
                .with_retry_hint(RetryHint::after(wait))
        };
        assert_eq!(check(&hinted(MS(2500)), false), Decision::Retry { wait: MS(2500) });
        assert_eq!(check(&hinted(Duration::ZERO), false), Decision::Retry { wait: Duration::ZERO });
        // 70 % of a minute are 42 s, of which one is gone.
        assert_eq!(check(&hinted(MS(41_000)), false), Decision::Retry { wait: MS(41_000) });
        let no_time = Stop::NoTime { wait: MS(41_001), left: MS(41_000) };
        assert_eq!(check(&hinted(MS(41_001)), false), Decision::Stop(no_time));
        let forever = Duration::from_secs(1_000_000_000);
        assert_eq!(check(&hinted(forever), false), Decision::Stop(Stop::WaitTooLong(forever)));
        assert_eq!(check(&hinted(Duration::MAX), false), Decision::Stop(Stop::WaitTooLong(Duration::MAX)));
    }

    #[test]
    fn nobody_waits_long_while_another_endpoint_can_be_asked() {
        use {Delivery as D, ErrorKind as K};
        let now = Instant::now();
        let budget = Budget::new(BudgetPolicy::new(0, 1), now);
        let hinted = |ms| error(K::RateLimited, D::MaybeSent).with_retry_hint(RetryHint::after(MS(ms)));
        let elsewhere = |ms| Decision::Stop(Stop::Elsewhere(MS(ms)));
        let mut wanted = RetryHint::after(MS(700));
        wanted.should_retry = Some(true);
        let decide = |error: &Error, policy: RetryPolicy| {
            let mut operation = Operation::new(policy, now, None).with_alternative(true);
            operation.decide(error, now, &budget, &Random::seeded(1))
        };
        for (error, expected) in [
            (error(K::Overloaded, D::MaybeSent).with_status(503), elsewhere(1000)),
            (hinted(501), elsewhere(501)),
            (error(K::Authentication, D::MaybeSent), Decision::Stop(Stop::Pointless)),
            // Paid for by the one retry that there is: those before have cost nothing.
            (hinted(500), Decision::Retry { wait: MS(500) }),
            // A conflict that the peer wants to be asked about again.
            (
                error(K::InvalidRequest, D::MaybeSent).with_retry_hint(wanted),
                Decision::Retry { wait: MS(700) },
            ),
        ] {
            assert_eq!(decide(&error, steady()), expected, "{error:?}");
        }
        let none = steady().with_max_wait_beside(MS(49));
        assert_eq!(decide(&error(K::Connect, D::NotSent), none), elsewhere(50));
        let most = steady().with_max_retries(3).with_jitter_percent(20);
        let longest = most.fast_base * 4 / 100 * 120;
        assert!(longest <= most.max_wait_beside, "a refused connection is tried again at once");
    }

    #[test]
    fn waits_double_and_end() {
        let now = Instant::now();
        let budget = Budget::new(BudgetPolicy::default(), now);
        let busy = error(ErrorKind::RateLimited, Delivery::MaybeSent);
        let waits = |max_retries| {
            let mut operation = Operation::new(steady().with_max_retries(max_retries), now, None);
            let mut waits = Vec::new();
            loop {
                match operation.decide(&busy, now, &budget, &Random::seeded(1)) {
                    Decision::Retry { wait } => waits.push(wait.as_secs()),
                    Decision::Stop(stop) => return (waits, stop),
                }
            }
        };
        assert_eq!(waits(2), (vec![1, 2], Stop::Exhausted(2)));
        assert_eq!(waits(3), (vec![1, 2, 4], Stop::Exhausted(3)));
        assert_eq!(waits(40).0[..5], [1, 2, 4, 4, 4]);
    }

    #[test]
    fn waiting_for_a_breaker_costs_no_budget() {
        let now = Instant::now();
        let budget = Budget::new(BudgetPolicy::new(0, 0), now);
        let decide = |error: Error| {
            let error = error.with_retry_hint(RetryHint::after(MS(5000)));
            Operation::new(steady(), now, None).decide(&error, now, &budget, &Random::seeded(1))
        };
        let refused = error(ErrorKind::Overloaded, Delivery::NotSent);
        assert_eq!(decide(refused.clone().with_code(BREAKER_OPEN)), Decision::Retry { wait: MS(5000) });
        assert_eq!(decide(refused), Decision::Stop(Stop::BudgetSpent), "the endpoint's own refusal does");
    }

    #[test]
    fn waiting_for_a_breaker_is_no_retry_and_ends_all_the_same() {
        let start = Instant::now();
        let budget = Budget::new(BudgetPolicy::new(0, 0), start);
        let random = Random::seeded(1);
        let shut = |wait| {
            error(ErrorKind::Overloaded, Delivery::NotSent)
                .with_code(BREAKER_OPEN)
                .with_retry_hint(RetryHint::after(wait))
        };
        // How often and how long it waits for a breaker that always names that wait, and why no longer.
        let waits = |policy, deadline: Option<u64>, wait| {
            let mut operation = Operation::new(policy, start, deadline.map(|ms| start + MS(ms)));
            let (mut times, mut waited) = (0, Duration::ZERO);
            loop {
                match operation.decide(&shut(wait), start + waited, &budget, &random) {
                    Decision::Retry { wait } => (times, waited) = (times + 1, waited + wait),
                    Decision::Stop(stop) => return (times, waited, stop, operation.retries()),
                }
            }
        };
        let minute = MS(60_000);
        assert_eq!(waits(steady(), None, MS(1000)), (60, minute, Stop::Shut(minute), 0));
        assert_eq!(waits(steady(), None, MS(0)).0, 6000, "never at once");
        let no_time = Stop::NoTime { wait: MS(1000), left: MS(0) };
        assert_eq!(waits(steady(), Some(10_000), MS(1000)), (7, MS(7000), no_time, 0));
        assert_eq!(waits(RetryPolicy::never(), None, MS(1000)).2, Stop::Exhausted(0));
        let elsewhere = steady().with_max_breaker_wait(Duration::ZERO);
        assert_eq!(waits(elsewhere, None, MS(1000)), (0, MS(0), Stop::Shut(MS(0)), 0));
        assert_eq!(waits(steady(), None, MS(60_001)).2, Stop::WaitTooLong(MS(60_001)));
        let (times, waited, ..) = waits(RetryPolicy::default(), None, minute);
        assert!(times == 1 && waited >= minute && waited <= MS(72_000), "{waited:?}");
    }

    #[test]
    fn nobody_comes_to_a_breaker_too_soon_nor_all_at_once() {
        let (random, mut seen) = (Random::seeded(5), std::collections::BTreeSet::new());
        for _ in 0..1000 {
            seen.insert(later(MS(5000), 20, &random));
        }
        assert!(seen.first() >= Some(&MS(5000)) && seen.last() <= Some(&MS(6000)), "{seen:?}");
        assert!(seen.len() > 190, "{} of 201", seen.len());
    }

    #[test]
    fn within_800_ms_only_the_fast_waits_fit() {
        let now = Instant::now();
        let budget = Budget::new(BudgetPolicy::default(), now);
        let decide = |error| {
            let mut operation = Operation::new(steady(), now, Some(now + MS(800)));
            operation.decide(&error, now + MS(10), &budget, &Random::seeded(1))
        };
        let no_time = Stop::NoTime { wait: MS(1000), left: MS(550) };
        assert_eq!(decide(error(ErrorKind::RateLimited, Delivery::MaybeSent)), Decision::Stop(no_time));
        assert_eq!(decide(error(ErrorKind::Connect, Delivery::NotSent)), Decision::Retry { wait: MS(50) });
        let said = explain(error(ErrorKind::RateLimited, Delivery::MaybeSent), no_time, 0);
        assert_eq!(
            said.to_string(),
            "x (not tried again: a wait of 1.00 s does not fit into the 0.55 s left for retries)"
        );
    }

    #[test]
    fn jitter_stays_within_its_share_and_the_longest_timeout_overflows_nothing() {
        let random = Random::seeded(3);
        let (mut shortest, mut longest) = (MS(2000), MS(0));
        for _ in 0..2000 {
            let wait = jittered(MS(1000), 20, &random);
            (shortest, longest) = (shortest.min(wait), longest.max(wait));
        }
        assert!(shortest >= MS(800) && shortest < MS(810), "{shortest:?}");
        assert!(longest <= MS(1200) && longest > MS(1190), "{longest:?}");
        jittered(Duration::MAX, 100, &random);
        let policy = steady().with_timeout(Duration::MAX);
        assert!(Operation::new(policy, Instant::now(), None).share() > Duration::MAX / 100 * 69);
    }
}
