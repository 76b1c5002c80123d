//! [`Schedule`]: the layers in their order, and what they keep per endpoint.

use std::{future::Future, sync::Arc, time::Duration};

use loquat_core::{Availability, Context, Model, Result};

use crate::{
    Random,
    admission::{Admission, AdmissionPolicy, Admitted},
    breaker::{Breaker, BreakerPolicy, Guarded, Outcome, Permit, guard},
    hedge::{Hedge, HedgePolicy, Hedged},
    limits::{Limited, Limits, WithDeadline},
    retry::{Budget, BudgetPolicy, Operation, RetryPolicy, Retrying, repeat},
    time::{check, now},
};

/// Which layers, and how each is set. `None` leaves a layer out.
///
/// | field | default | reason |
/// |---|---|---|
/// | `total` | none | the context's deadline, or the attempt's own limits |
/// | `retry`, `budget` | on | what fails before it ran costs a second at most |
/// | `hedge` | off | runs requests twice |
/// | `admission` | off | what an endpoint bears, its operator knows |
/// | `breaker` | on | a dead endpoint is left alone, and a retry waits for its probe only if there is time |
/// | `limits` | off | loquat-client's models and most others bound their attempts themselves |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Schedule {
    /// The whole time of an operation whose context has no earlier deadline.
    pub total: Option<Duration>,
    /// When an operation tries again.
    pub retry: Option<RetryPolicy>,
    /// What retries and hedges may add.
    pub budget: BudgetPolicy,
    /// When a second attempt goes out beside a slow one.
    pub hedge: Option<HedgePolicy>,
    /// What the endpoint is given.
    pub admission: Option<AdmissionPolicy>,
    /// When the endpoint is left alone.
    pub breaker: Option<BreakerPolicy>,
    /// How long the parts of an attempt may take.
    pub limits: Option<Limits>,
    /// What jitter is drawn from, for runs that shall repeat; the system's randomness otherwise.
    pub seed: Option<u64>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            total: None,
            retry: Some(RetryPolicy::default()),
            budget: BudgetPolicy::default(),
            hedge: None,
            admission: None,
            breaker: Some(BreakerPolicy::default()),
            limits: None,
            seed: None,
        }
    }
}

impl Schedule {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Operations end after that time.
    #[must_use]
    pub fn with_total(mut self, total: Duration) -> Self {
        self.total = Some(total);
        self
    }

    /// Tries again like that; `None` for never.
    #[must_use]
    pub fn with_retry(mut self, policy: impl Into<Option<RetryPolicy>>) -> Self {
        self.retry = policy.into();
        self
    }

    /// With that budget for extra attempts.
    #[must_use]
    pub fn with_budget(mut self, policy: BudgetPolicy) -> Self {
        self.budget = policy;
        self
    }

    /// Hedges like that.
    #[must_use]
    pub fn with_hedge(mut self, policy: impl Into<Option<HedgePolicy>>) -> Self {
        self.hedge = policy.into();
        self
    }

    /// Queues and limits like that.
    #[must_use]
    pub fn with_admission(mut self, policy: impl Into<Option<AdmissionPolicy>>) -> Self {
        self.admission = policy.into();
        self
    }

    /// Breaks the circuit like that; `None` for never.
    #[must_use]
    pub fn with_breaker(mut self, policy: impl Into<Option<BreakerPolicy>>) -> Self {
        self.breaker = policy.into();
        self
    }

    /// Bounds attempts like that.
    #[must_use]
    pub fn with_limits(mut self, limits: impl Into<Option<Limits>>) -> Self {
        self.limits = limits.into();
        self
    }

    /// With jitter that repeats from that seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// What these layers keep for one endpoint: make one per endpoint, and keep it for as long as the endpoint is
    /// asked. Needs a tokio runtime with time enabled only when it is asked.
    pub fn for_endpoint(&self) -> EndpointSchedule {
        let now = now();
        let budget = Arc::new(Budget::new(self.budget, now));
        EndpointSchedule {
            hedge: self.hedge.map(|policy| Arc::new(Hedge::new(policy, budget.clone()))),
            admission: self.admission.map(|mut policy| {
                if let Some(limits) = self.limits {
                    policy.max_wait = policy.max_wait.min(limits.queue);
                }
                Arc::new(Admission::new(policy, now))
            }),
            breaker: self.breaker.map(|policy| Arc::new(Breaker::new(policy, now))),
            random: Arc::new(self.seed.map_or_else(Random::from_system, Random::seeded)),
            budget,
            schedule: self.clone(),
        }
    }
}

/// One endpoint's budget, queue and breaker. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct EndpointSchedule {
    schedule: Schedule,
    random: Arc<Random>,
    budget: Arc<Budget>,
    hedge: Option<Arc<Hedge>>,
    admission: Option<Arc<Admission>>,
    breaker: Option<Arc<Breaker>>,
}

impl EndpointSchedule {
    /// That model of the endpoint, inside the layers. All models of an endpoint share what it keeps.
    pub fn around(&self, model: impl Model + 'static) -> Arc<dyn Model> {
        let mut model: Arc<dyn Model> = Arc::new(model);
        if let Some(limits) = self.schedule.limits {
            model = Arc::new(Limited::new(model, limits));
        }
        if let Some(breaker) = &self.breaker {
            model = Arc::new(Guarded::new(model, breaker.clone()));
        }
        if let Some(admission) = &self.admission {
            model = Arc::new(Admitted::new(model, admission.clone()));
        }
        if let Some(hedge) = &self.hedge {
            model = Arc::new(Hedged::new(model, hedge.clone()));
        }
        if let Some(policy) = self.schedule.retry {
            model =
                Arc::new(Retrying::new(model, policy, self.budget.clone()).with_random(self.random.clone()));
        }
        if let Some(total) = self.schedule.total {
            model = Arc::new(WithDeadline::new(model, total));
        }
        model
    }

    /// A call of the endpoint that is no answer of a model, such as a listing: behind the breaker, and again after a failure, as the
    /// endpoint's retries and budget allow. `may_run_twice` where that harms nobody; else what may have run is not repeated. All
    /// attempts end by the context's deadline, so give it one. There is neither queue nor hedge.
    ///
    /// # Errors
    /// The last attempt's, as [`Retrying`] gives it.
    ///
    /// # Cancel safety
    /// Dropping the future drops the attempt that is under way.
    pub async fn call<T, F: Future<Output = Result<T>>>(
        &self,
        context: &Context,
        may_run_twice: bool,
        attempt: impl Fn() -> F,
    ) -> Result<T> {
        check(context)?;
        let started = now();
        let policy = self.schedule.retry.unwrap_or_else(RetryPolicy::never);
        let operation = Operation::new(policy, started, context.deadline()).with_repeatable(may_run_twice);
        self.budget.deposit(started);
        let attempt = || async {
            let Some(breaker) = &self.breaker else { return attempt().await };
            let (done, mut permit) = guard(breaker, context, Permit::for_call, &attempt).await?;
            let now = now();
            // How long such calls take is what a fair share of time for the next ones is reckoned from.
            permit.begun(now);
            permit.settle(Outcome::Success, now);
            Ok(done)
        };
        repeat(operation, context, &self.budget, &self.random, attempt).await
    }

    /// The budget for extra attempts: a router's fallbacks to this endpoint draw on it, too, by
    /// [`try_withdraw_fallback`](Budget::try_withdraw_fallback).
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The word that a router reads; `None` without a breaker.
    pub fn availability(&self) -> Option<&Arc<Availability>> {
        self.breaker.as_deref().map(Breaker::availability)
    }

    /// The breaker.
    pub fn breaker(&self) -> Option<&Arc<Breaker>> {
        self.breaker.as_ref()
    }

    /// The queue.
    pub fn admission(&self) -> Option<&Arc<Admission>> {
        self.admission.as_ref()
    }
}
