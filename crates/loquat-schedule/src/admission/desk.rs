//! [`Admission`]: the gate with wakers. A place in the queue is a future, a permit is a guard, and dropping either
//! leaves no trace.
//!
//! One lock, held for some hundreds of nanoseconds, and nobody is woken under it. When the next in line lacks not room
//! but rate, it alone keeps a timer for the moment that there will be enough.

use std::{
    collections::HashMap,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{self, Poll, Waker},
    time::{Duration, Instant},
};

use loquat_core::{Context, ErrorKind, Event, Result};

use super::{AdmissionPolicy, Arrival, Ask, Gate, Grant, Report, Verdict};
use crate::{
    refusal::{QUEUE_FULL, QUEUE_TIMEOUT, refused},
    time::{Alarm, cancelled, check, now, or_cancelled},
};

/// Admission to an endpoint. Share it in an `Arc`.
pub struct Admission {
    desk: Mutex<Desk>,
    max_wait: Duration,
}

struct Desk {
    gate: Gate,
    /// Those who wait, or have been told and not looked yet.
    guests: HashMap<u64, Guest>,
    /// Who keeps the timer while rate is what lacks, and for when.
    keeper: Option<(u64, Instant)>,
}

enum Guest {
    Waiting(Option<Waker>),
    Told(Verdict),
}

impl Admission {
    /// With nobody waiting.
    pub fn new(policy: AdmissionPolicy, now: Instant) -> Self {
        let desk = Desk { gate: Gate::new(policy, now), guests: HashMap::new(), keeper: None };
        Self { desk: Mutex::new(desk), max_wait: policy.max_wait }
    }

    /// How many attempts are under way.
    pub fn in_flight(&self) -> u32 {
        self.lock().gate.in_flight()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().gate.waiting()
    }

    /// How many may be under way at once, as it stands.
    pub fn limit(&self) -> u32 {
        self.lock().gate.limit()
    }

    /// Waits for its turn, and for `tokens` of the endpoint's rate.
    ///
    /// # Errors
    /// Codes [`QUEUE_FULL`] (kind `Overloaded`) and [`QUEUE_TIMEOUT`] (kind `Timeout`); the context's cancellation and
    /// deadline. Nothing was sent in any of them.
    ///
    /// # Cancel safety
    /// Dropping the future gives its place up, and a permit that was on its way goes to the next.
    pub async fn acquire(self: &Arc<Self>, context: &Context, tokens: u64) -> Result<Permit> {
        check(context)?;
        let tenant = context.tenant().unwrap_or_default().into();
        let ask = Ask { tenant, deadline: context.deadline(), tokens };
        let arrived = now();
        let arrival = self.change(|desk, verdicts| desk.gate.arrive(&ask, arrived, verdicts));
        let id = match arrival {
            Arrival::Granted(grant) => return Ok(self.permit(grant)),
            Arrival::Queued(id) => id,
            Arrival::Full => return Err(self.full()),
            Arrival::Expired => return Err(self.timeout()),
        };
        let place = Place { admission: self, id };
        let mut alarm = Alarm::unset();
        let verdict = or_cancelled(context, poll_fn(|cx| place.poll(&mut alarm, cx))).await;
        match verdict {
            Some(Verdict::Granted(grant)) => {
                let permit = self.permit(grant);
                let waited = permit.since.saturating_duration_since(arrived);
                context.report(&Event::Admitted { waited });
                Ok(permit)
            }
            Some(Verdict::Expired) => Err(self.timeout()),
            Some(Verdict::Displaced) => Err(self.full()),
            None => Err(cancelled()),
        }
    }

    fn permit(self: &Arc<Self>, grant: Grant) -> Permit {
        Permit { admission: self.clone(), grant: Some(grant), since: now(), report: Report::default() }
    }

    fn full(&self) -> loquat_core::Error {
        let message = "too many requests wait for the endpoint already".to_owned();
        refused(ErrorKind::Overloaded, QUEUE_FULL, message)
    }

    fn timeout(&self) -> loquat_core::Error {
        let message = format!(
            "the endpoint had no room within the queue limit of {:.1} s",
            self.max_wait.as_secs_f64()
        );
        refused(ErrorKind::Timeout, QUEUE_TIMEOUT, message)
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the gate, lets in whom that lets in, and wakes them once the lock is free again.
    fn change<T>(&self, change: impl FnOnce(&mut Desk, &mut Vec<(u64, Verdict)>) -> T) -> T {
        let mut verdicts = Vec::new();
        let mut wakers = Vec::new();
        let mut desk = self.lock();
        let result = change(&mut desk, &mut verdicts);
        desk.gate.dispatch(now(), &mut verdicts);
        for (id, verdict) in verdicts {
            if let Some(Guest::Waiting(Some(waker))) = desk.guests.insert(id, Guest::Told(verdict)) {
                wakers.push(waker);
            }
        }
        let keeper = desk.gate.first().zip(desk.gate.blocked_until());
        let before = std::mem::replace(&mut desk.keeper, keeper);
        if let Some((id, due)) = keeper
            && before.is_none_or(|(last, at)| last != id || due < at)
            && let Some(Guest::Waiting(waker)) = desk.guests.get_mut(&id)
        {
            wakers.extend(waker.take());
        }
        drop(desk);
        wakers.into_iter().for_each(Waker::wake);
        result
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let desk = self.lock();
        f.debug_struct("Admission")
            .field("in_flight", &desk.gate.in_flight())
            .field("waiting", &desk.gate.waiting())
            .field("limit", &desk.gate.limit())
            .finish_non_exhaustive()
    }
}

/// A place in the queue.
struct Place<'a> {
    admission: &'a Arc<Admission>,
    id: u64,
}

impl Place<'_> {
    fn poll(&self, alarm: &mut Alarm, cx: &mut task::Context<'_>) -> Poll<Verdict> {
        loop {
            // The gate is looked at first: the timer may be the keeper's, for everybody.
            self.admission.change(|_, _| ());
            let mut desk = self.admission.lock();
            if let Some(Guest::Told(verdict)) = desk.guests.remove(&self.id) {
                return Poll::Ready(verdict);
            }
            let Some(expires) = desk.gate.expires(self.id) else { return Poll::Ready(Verdict::Expired) };
            if expires <= now() {
                return Poll::Ready(Verdict::Expired); // and the drop of this place leaves the queue
            }
            let due = desk.keeper.filter(|(id, _)| *id == self.id).map(|(_, due)| due);
            let old = desk.guests.insert(self.id, Guest::Waiting(Some(cx.waker().clone())));
            drop(desk);
            drop(old); // a waker's drop may run anything, so never under the lock
            if alarm.poll(due.map_or(expires, |due| due.min(expires)), cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let waker = self.admission.change(|desk, _| {
            desk.gate.leave(self.id);
            match desk.guests.remove(&self.id) {
                Some(Guest::Told(Verdict::Granted(grant))) => {
                    let report = Report { unsent: true, ..Report::default() };
                    desk.gate.release(grant, report, now());
                    None
                }
                Some(Guest::Waiting(waker)) => waker,
                _ => None,
            }
        });
        drop(waker); // not under the lock
    }
}

/// Leave to make one attempt. Dropping it, at the end of the answer, makes room for the next.
#[must_use = "dropping a permit gives it back"]
pub struct Permit {
    admission: Arc<Admission>,
    grant: Option<Grant>,
    since: Instant,
    report: Report,
}

impl Permit {
    /// The answer's first content has come.
    pub fn begun(&mut self, now: Instant) {
        self.report.latency.get_or_insert(now.saturating_duration_since(self.since));
    }

    /// The attempt used that many tokens.
    pub fn used(&mut self, tokens: u64) {
        self.report.tokens = Some(tokens);
    }

    /// The endpoint said it has too much, or let the attempt run into a limit of its own; a caller's deadline is none.
    pub fn overloaded(&mut self) {
        self.report.overloaded = true;
    }

    /// Nothing was sent: what was reserved is given back in full.
    pub fn unsent(&mut self) {
        self.report.unsent = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(grant) = self.grant.take() {
            self.admission.change(|desk, _| desk.gate.release(grant, self.report, now()));
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("report", &self.report).finish_non_exhaustive()
    }
}
