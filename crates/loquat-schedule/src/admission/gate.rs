//! The gate as arithmetic: who comes, who goes, who is let in, who has waited in vain.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{AdmissionPolicy, concurrency::Limiter, queue::Queue, rate::Bucket};
use crate::time::after;

/// Who asks, until when, and for how much.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Whose turn it uses. Empty for nobody's in particular.
    pub tenant: Arc<str>,
    /// The operation's deadline.
    pub deadline: Option<Instant>,
    /// The tokens it will use, estimated.
    pub tokens: u64,
}

/// What became of an arrival.
#[derive(Debug)]
pub enum Arrival {
    /// Let in at once.
    Granted(Grant),
    /// Waiting, under that number.
    Queued(u64),
    /// The queue is full.
    Full,
    /// The deadline had passed already.
    Expired,
}

/// What became of one that waited.
#[derive(Debug)]
pub enum Verdict {
    /// Let in.
    Granted(Grant),
    /// Its wait, or its deadline, is over.
    Expired,
    /// It gave way to a tenant with fewer waiting.
    Displaced,
}

/// An attempt that is let in. To be given back by [`Gate::release`].
#[derive(Debug)]
#[must_use = "what is never released is never free again"]
pub struct Grant {
    tokens: u64,
}

/// What an attempt came to, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Report {
    /// It never left: it is paid back in full.
    pub unsent: bool,
    /// The tokens it did use; `None` leaves the estimate.
    pub tokens: Option<u64>,
    /// From being let in to the first content.
    pub latency: Option<Duration>,
    /// The endpoint said it has too much (429, 503), or let the attempt time out.
    pub overloaded: bool,
}

/// The gate before an endpoint.
#[derive(Debug)]
pub struct Gate {
    policy: AdmissionPolicy,
    queue: Queue,
    waiting: HashMap<u64, Waiting>,
    next_id: u64,
    limiter: Limiter,
    in_flight: u32,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// When the next in line can pay.
    blocked_until: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    expires: Instant,
    tokens: u64,
}

impl Gate {
    /// An open gate with nobody before it.
    pub fn new(policy: AdmissionPolicy, now: Instant) -> Self {
        let rates = policy.rates;
        Self {
            policy,
            queue: Queue::default(),
            waiting: HashMap::new(),
            next_id: 0,
            limiter: Limiter::new(policy.concurrency),
            in_flight: 0,
            requests: rates.requests_per_minute.map(|rate| Bucket::new(rate.into(), rates.burst, now)),
            tokens: rates.tokens_per_minute.map(|rate| Bucket::new(rate, rates.burst, now)),
            blocked_until: None,
        }
    }

    /// How many are under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many may be under way at once, as it stands.
    pub fn limit(&self) -> u32 {
        self.limiter.limit()
    }

    /// Somebody comes. Nobody passes those who wait. `verdicts` gets the number of one that had to give way.
    pub fn arrive(&mut self, ask: &Ask, now: Instant, verdicts: &mut Vec<(u64, Verdict)>) -> Arrival {
        if ask.deadline.is_some_and(|deadline| deadline <= now) {
            return Arrival::Expired;
        }
        if self.queue.len() == 0
            && self.in_flight < self.limiter.limit()
            && self.pay(ask.tokens, now).is_none()
        {
            return Arrival::Granted(self.grant(ask.tokens));
        }
        if self.queue.len() >= self.policy.max_waiting {
            let Some(last) = self.queue.displaced_by(&ask.tenant) else { return Arrival::Full };
            self.leave(last);
            verdicts.push((last, Verdict::Displaced));
        }
        let id = self.next_id;
        self.next_id += 1;
        let expires = after(now, self.policy.max_wait);
        let expires = ask.deadline.map_or(expires, |deadline| deadline.min(expires));
        self.queue.push(id, &ask.tenant, ask.deadline);
        self.waiting.insert(id, Waiting { expires, tokens: ask.tokens });
        Arrival::Queued(id)
    }

    /// Somebody who waits goes away. `false` if they were not waiting.
    pub fn leave(&mut self, id: u64) -> bool {
        self.waiting.remove(&id);
        self.queue.remove(id)
    }

    /// When one that waits has waited in vain.
    pub fn expires(&self, id: u64) -> Option<Instant> {
        self.waiting.get(&id).map(|waiting| waiting.expires)
    }

    /// Lets in whom it can, in order, and drops what has expired before it would go. To be called after each arrival,
    /// departure and release, and at [`blocked_until`](Self::blocked_until).
    pub fn dispatch(&mut self, now: Instant, verdicts: &mut Vec<(u64, Verdict)>) {
        self.blocked_until = None;
        while let Some(id) = self.queue.first() {
            let (expires, tokens) = match self.waiting.get(&id) {
                Some(waiting) => (waiting.expires, waiting.tokens),
                None => (now, 0), // never: both are kept together
            };
            if expires <= now {
                self.leave(id);
                verdicts.push((id, Verdict::Expired));
                continue;
            }
            if self.in_flight >= self.limiter.limit() {
                return;
            }
            if let Some(wait) = self.pay(tokens, now) {
                self.blocked_until = Some(after(now, wait));
                return;
            }
            self.queue.pop();
            self.waiting.remove(&id);
            let grant = self.grant(tokens);
            verdicts.push((id, Verdict::Granted(grant)));
        }
    }

    /// Who is next in line.
    pub fn first(&self) -> Option<u64> {
        self.queue.first()
    }

    /// If it is money that the next in line lacks: when there will be enough.
    pub fn blocked_until(&self) -> Option<Instant> {
        self.blocked_until
    }

    /// An attempt is over.
    #[allow(clippy::needless_pass_by_value, reason = "what is given back is gone: nobody releases it twice")]
    pub fn release(&mut self, grant: Grant, report: Report, now: Instant) {
        if report.overloaded {
            self.limiter.overload();
        } else if let Some(latency) = report.latency {
            self.limiter.sample(latency, self.in_flight);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        let used = if report.unsent { 0 } else { report.tokens.unwrap_or(grant.tokens) };
        if let Some(bucket) = &mut self.tokens {
            // Filled up to now first: what is given back must not be lost to a bucket that looked full.
            bucket.wait(0, now);
            if used > grant.tokens {
                bucket.take(used - grant.tokens);
            } else {
                bucket.give(grant.tokens - used);
            }
        }
        if let (Some(bucket), true) = (&mut self.requests, report.unsent) {
            bucket.give(1);
        }
    }

    /// Pays for one request of so many tokens, or says how long it has to wait.
    fn pay(&mut self, tokens: u64, now: Instant) -> Option<Duration> {
        let wait = |bucket: &mut Option<Bucket>, amount| {
            bucket.as_mut().map_or(Duration::ZERO, |b| b.wait(amount, now))
        };
        let wait = wait(&mut self.requests, 1).max(wait(&mut self.tokens, tokens));
        if wait > Duration::ZERO {
            return Some(wait);
        }
        if let Some(bucket) = &mut self.requests {
            bucket.take(1);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.take(tokens);
        }
        None
    }

    fn grant(&mut self, tokens: u64) -> Grant {
        self.in_flight += 1;
        Grant { tokens }
    }
}
