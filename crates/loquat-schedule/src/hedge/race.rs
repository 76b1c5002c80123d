//! Two attempts side by side: the first that succeeds wins, and the other is dropped.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{self, Poll},
    time::{Duration, Instant},
};

use loquat_core::Result;

use super::{HedgePolicy, Latencies};
use crate::{
    delivery::{may_have_run, of_both},
    retry::Budget,
    time::{after, now, until},
};

/// Hedges operations on one endpoint. Share it in an `Arc`, or by reference.
pub struct Hedge {
    policy: HedgePolicy,
    latencies: Latencies,
    budget: Arc<Budget>,
}

impl Hedge {
    /// Hedges are paid from that budget, which is the endpoint's and shared with its retries.
    pub fn new(policy: HedgePolicy, budget: Arc<Budget>) -> Self {
        Self { policy, latencies: Latencies::new(), budget }
    }

    /// The policy it was made with.
    pub fn policy(&self) -> &HedgePolicy {
        &self.policy
    }

    /// After how long an attempt is hedged; `None` while too little is known.
    pub fn delay(&self) -> Option<Duration> {
        let delay = self.latencies.percentile(self.policy.percentile, self.policy.min_sample)?;
        Some(delay.max(self.policy.min_delay))
    }

    /// Runs `attempt`, and once more beside it when it takes too long and the budget allows. Only for operations that
    /// may run twice.
    ///
    /// # Errors
    /// The first attempt's: at once where there was no hedge, else when both have failed. Where the second may have run and the
    /// first has not, it says that, or is the second's.
    ///
    /// # Cancel safety
    /// Dropping the future drops both attempts.
    pub async fn run<T, F: Future<Output = Result<T>>>(&self, attempt: impl Fn() -> F) -> Result<T> {
        let started = now();
        let mut first = pin!(attempt());
        let patience = match self.delay() {
            Some(delay) => until(after(started, delay), first.as_mut()).await,
            None => Some(first.as_mut().await),
        };
        let output = match patience {
            Some(output) => output,
            None if self.budget.try_withdraw(now()) => {
                let hedged = now();
                let second = pin!(attempt());
                let (output, winner) = race(first, second).await;
                if winner == Winner::Second && output.is_ok() {
                    self.latencies.record(now().saturating_duration_since(hedged));
                }
                output
            }
            None => first.await,
        };
        if output.is_ok() {
            // Of a first attempt that lost, what is known is that it took longer than this.
            self.record(started);
        }
        output
    }

    fn record(&self, started: Instant) {
        self.latencies.record(now().saturating_duration_since(started));
    }
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge")
            .field("policy", &self.policy)
            .field("delay", &self.delay())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Winner {
    First,
    Second,
}

/// The first success, or the first attempt's error when both have failed, the second's delivery included.
async fn race<T, F: Future<Output = Result<T>>>(
    mut first: Pin<&mut F>,
    mut second: Pin<&mut F>,
) -> (Result<T>, Winner) {
    let (mut first_error, mut second_error) = (None, None);
    poll_fn(|cx: &mut task::Context<'_>| {
        if first_error.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(cx)
        {
            match output {
                Ok(value) => return Poll::Ready((Ok(value), Winner::First)),
                Err(error) => first_error = Some(error),
            }
        }
        if second_error.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(cx)
        {
            match output {
                Ok(value) => return Poll::Ready((Ok(value), Winner::Second)),
                Err(error) => second_error = Some(error),
            }
        }
        match (first_error.take_if(|_| second_error.is_some()), &second_error) {
            (Some(first), Some(second)) => {
                let ran = may_have_run(second).then(|| second.clone());
                Poll::Ready((Err(of_both(ran, first)), Winner::First))
            }
            _ => Poll::Pending,
        }
    })
    .await
}
