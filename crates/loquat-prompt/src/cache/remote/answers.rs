//! Whole answers to identical requests: opt-in, by wrapping a model.
//!
//! Identical means every byte that can change the answer, tenant and scope included (`canonical`). One caller asks; others who ask
//! the same meanwhile wait for that answer and get it whole, as a stream. Only an answer that has finished is kept or shared.
//!
//! Of one that is cut, fails, is cancelled or dropped nothing remains, its error least of all: one of those who waited asks in its
//! place, and the others wait for that one. One that finishes and cannot be kept (too long, a picture) is nothing to wait for, since the
//! next would be no different: they all ask at once, as soon as that is seen. Nobody waits beyond its own deadline, or for longer
//! than a minute in all, however many of those it waits for fail.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use loquat_core::{Answer, BoxFuture, ChatRequest, Context, Model, Result};
use tokio::{
    sync::watch,
    time::{self, timeout_at},
};

use super::codec::Kind;
use super::kept::KeptAnswers;
use super::replay::{Outcome, Recording, Replay};
use super::{Remote, canonical};
use crate::cache::{CacheStats, counters::Counters, hashing_digest::Digest};

/// Longest that a caller waits for others' answers, one after another, before asking for itself.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Limits of an [`AnswerCache`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnswerLimits {
    /// Answers kept in this process, of all tenants; room is made by the tenant that holds the most. Default 1,024.
    pub max_answers: usize,
    /// Bytes of all of them. Default 64 MiB.
    pub max_bytes: usize,
    /// Longest answer that is kept, bytes. Default 256 KiB.
    pub max_answer_bytes: usize,
    /// How long an answer is kept in this process, which hears of no change that is made to it in Redis. Default a day, as there
    /// ([`RemoteConfig::keep_for`](super::RemoteConfig::keep_for)); zero to have it from Redis alone.
    pub keep_for: Duration,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self {
            max_answers: 1024,
            max_bytes: 64 << 20,
            max_answer_bytes: 256 << 10,
            keep_for: Duration::from_secs(24 * 3600),
        }
    }
}

/// A model that does not ask twice.
pub struct AnswerCache<M> {
    inner: M,
    shared: Arc<Shared>,
}

struct Shared {
    scope: String,
    limits: AnswerLimits,
    remote: Option<Remote>,
    local: Mutex<KeptAnswers>,
    flights: Mutex<HashMap<[u8; 32], watch::Receiver<Landed>>>,
    counters: Counters,
}

/// What those who wait see. The sender is gone without a word where there is no answer, for whatever reason.
#[derive(Clone)]
enum Landed {
    /// It is under way.
    Not,
    Whole(Arc<[u8]>),
    /// It cannot be shared, and neither could another one.
    Unkept,
}

enum Turn {
    Lead(Landing),
    Wait(watch::Receiver<Landed>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M: Model> AnswerCache<M> {
    /// Wraps a model. `scope` names what answers: two models that would answer differently must not share one. With a remote
    /// tier, the fleet shares the answers.
    pub fn new(inner: M, scope: impl Into<String>, remote: Option<Remote>, limits: AnswerLimits) -> Self {
        let shared = Shared {
            scope: scope.into(),
            remote,
            local: Mutex::default(),
            flights: Mutex::new(HashMap::new()),
            counters: Counters::default(),
            limits,
        };
        Self { inner, shared: Arc::new(shared) }
    }

    /// What happened so far. Bytes are those of the answers. Each look-up is timed: from the request to a kept answer, another caller's
    /// included, or to knowing that there is none; what the model takes, for this caller or for the one that is waited for, is not the cache's.
    pub fn stats(&self) -> CacheStats {
        let (entries, bytes) = lock(&self.shared.local).size();
        let mut stats = CacheStats { entries: entries as u64, bytes: bytes as u64, ..CacheStats::default() };
        self.shared.counters.add_to(&mut stats);
        stats
    }

    /// Takes out what is kept in this process.
    pub fn clear(&self) {
        lock(&self.shared.local).clear();
    }

    async fn answer(&self, context: &Context, request: Arc<ChatRequest>) -> Result<Answer> {
        let mut look = Look { counters: &self.shared.counters, began: Instant::now() };
        let Some(canonical) = canonical::bytes(&request) else {
            return self.inner.infer(context, request).await;
        };
        let tenant = context.tenant().unwrap_or_default();
        let key = Digest::keyed("loquat answers 1", self.shared.scope.as_bytes())
            .of(&[tenant.as_bytes(), &canonical]);
        let mut patience = None;
        loop {
            if let Some((answer, bytes)) = self.kept(tenant, &key) {
                look.hit(bytes);
                return Ok(Answer::new(answer));
            }
            let turn = {
                let mut flights = lock(&self.shared.flights);
                match flights.get(&key) {
                    Some(flight) => Turn::Wait(flight.clone()),
                    // It landed between the two looks.
                    None if self.kept(tenant, &key).is_some() => continue,
                    None => {
                        let (sender, flight) = watch::channel(Landed::Not);
                        flights.insert(key, flight);
                        let shared = Arc::clone(&self.shared);
                        Turn::Lead(Landing { shared, tenant: tenant.into(), key, sender: Some(sender) })
                    }
                }
            };
            let mut flight = match turn {
                Turn::Wait(flight) => flight,
                Turn::Lead(landing) => return self.lead(look, context, request, landing, &canonical).await,
            };
            let waits = Instant::now();
            let patience = *patience.get_or_insert_with(|| {
                // Half of the time, so that who has waited for others in vain can still ask.
                let most = context.remaining().map_or(MAX_WAIT, |remaining| remaining / 2);
                time::Instant::now() + most.min(MAX_WAIT)
            });
            let landed = tokio::select! {
                biased;
                () = context.cancellation().cancelled() => { context.check()?; continue },
                landed = timeout_at(patience, flight.wait_for(|landed| !matches!(landed, Landed::Not))) => {
                    landed.map(|landed| landed.map(|landed| landed.clone()))
                }
            };
            look.leave_out(waits.elapsed());
            match landed {
                Ok(Ok(Landed::Whole(bytes))) => {
                    if let Some(answer) = Replay::read(&bytes) {
                        look.joined(bytes.len());
                        return Ok(Answer::new(answer));
                    }
                }
                Ok(Ok(_)) => {
                    look.miss();
                    return self.inner.infer(context, request).await;
                }
                // There is no answer. Whoever comes first now leads.
                Ok(Err(_)) => context.check()?,
                // A leader whose caller does not pull, or who is slow: nobody need wait for that.
                Err(_) => {
                    context.check()?;
                    look.miss();
                    return self.inner.infer(context, request).await;
                }
            }
        }
    }

    /// The answer that this process keeps, and its bytes.
    fn kept(&self, tenant: &str, key: &[u8; 32]) -> Option<(Replay, usize)> {
        let bytes = lock(&self.shared.local).find(tenant, key, &self.shared.limits)?;
        Some((Replay::read(&bytes)?, bytes.len()))
    }

    async fn lead(
        &self,
        look: Look<'_>,
        context: &Context,
        request: Arc<ChatRequest>,
        landing: Landing,
        canonical: &[u8],
    ) -> Result<Answer> {
        let tenant = context.tenant().unwrap_or_default();
        let mut remote_key = None;
        if let Some(remote) = &self.shared.remote {
            let shelf = remote.shelf(Kind::Answer, tenant);
            let name = remote.key(&shelf, &[self.shared.scope.as_bytes(), canonical]);
            let replay = |bytes: &[u8]| Some((Replay::read(bytes)?, bytes.to_vec()));
            if let Some((answer, bytes)) = remote.read(&shelf, &name, replay).await {
                look.hit(bytes.len());
                landing.land(bytes);
                return Ok(Answer::new(answer));
            }
            remote_key = Some((shelf, name));
        }
        look.miss();
        let answer = self.inner.infer(context, request).await?;
        let done = move |outcome: Outcome| match outcome {
            Outcome::Whole(bytes) => {
                let shared = Arc::clone(&landing.shared);
                shared.counters.computed(bytes.len());
                if let (Some(remote), Some((shelf, name))) = (&shared.remote, remote_key) {
                    remote.write(&shelf, vec![remote.item(&shelf, name, bytes.clone())]);
                }
                landing.land(bytes);
            }
            Outcome::Unkept => landing.over(Some(Landed::Unkept)),
            Outcome::Cut => drop(landing),
        };
        let max_bytes = self.shared.limits.max_answer_bytes;
        Ok(answer.map_source(|source| Recording::new(source, max_bytes, Box::new(done))))
    }
}

/// A question to the cache, told once what came of it. Dropped with a caller who did not wait for that, it counts for nothing.
struct Look<'a> {
    counters: &'a Counters,
    began: Instant,
}

impl Look<'_> {
    /// That was the model's time, though another caller's.
    fn leave_out(&mut self, waited: Duration) {
        self.began += waited;
    }

    fn hit(self, bytes: usize) {
        self.counters.hit(bytes);
        self.over();
    }

    fn joined(self, bytes: usize) {
        self.counters.joined(bytes);
        self.over();
    }

    /// The bytes are known when the model has answered.
    fn miss(self) {
        self.counters.miss(0);
        self.over();
    }

    fn over(self) {
        self.counters.over(Some(self.began));
    }
}

/// The duty to tell those who wait; dropped, it tells them that there is nothing.
struct Landing {
    shared: Arc<Shared>,
    tenant: Box<str>,
    key: [u8; 32],
    /// `None` once it has told them.
    sender: Option<watch::Sender<Landed>>,
}

impl Landing {
    fn land(self, whole: Vec<u8>) {
        let bytes: Arc<[u8]> = whole.into();
        if !self.shared.limits.keep_for.is_zero() {
            let answer = Arc::clone(&bytes);
            let gone = lock(&self.shared.local).keep(&self.tenant, self.key, answer, &self.shared.limits);
            (0..gone).for_each(|_| self.shared.counters.evicted());
            self.shared.counters.inserted();
        }
        self.over(Some(Landed::Whole(bytes)));
    }

    fn over(mut self, landed: Option<Landed>) {
        self.tell(landed);
    }

    fn tell(&mut self, landed: Option<Landed>) {
        let Some(sender) = self.sender.take() else { return };
        // Before anybody is told: whoever asks then finds what is kept, or leads.
        lock(&self.shared.flights).remove(&self.key);
        if let Some(landed) = landed {
            sender.send_replace(landed);
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.tell(None);
    }
}

impl<M: Model> Model for AnswerCache<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(self.answer(context, request))
    }
}

impl<M> fmt::Debug for AnswerCache<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerCache").field("scope", &self.shared.scope).finish_non_exhaustive()
    }
}
