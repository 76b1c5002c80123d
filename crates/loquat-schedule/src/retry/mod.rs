//! Retry: which failures of an attempt are worth another, after how long, and when that is too late.
//!
//! [`Operation`] is the arithmetic: errors and a `now` go in, a [`Decision`] comes out. [`Budget`] bounds what all
//! operations on an endpoint may add to its load together. [`Retrying`] is both around a [`Model`](loquat_core::Model).
//!
//! The decision rests on [`Delivery`](loquat_core::Delivery): what was not sent, or what the peer itself refused
//! (429, 503, 529), has not run; anything else may have, and is sent again only where that is known to be harmless.
//! Once an answer has begun (2xx), the attempt counts as done. gRPC's retry design, proposal A6, draws the same line:
//! <https://github.com/grpc/proposal/blob/master/A6-client-retries.md>.

mod budget;
mod layer;
mod operation;

use std::time::Duration;

pub use budget::{Budget, BudgetPolicy};
pub use layer::Retrying;
pub(crate) use layer::repeat;
pub use operation::{Decision, Operation, Stop};

/// When an operation tries again.
///
/// | field | default | reason |
/// |---|---|---|
/// | `max_retries` | 2 | a third failure in a row is an outage: the breaker's business, and the caller's |
/// | `base` | 1 s, then 2 s, 4 s | what an overloaded server needs to recover, by the common practice of providers' SDKs |
/// | `fast_base` | 50 ms, then 100 ms, 200 ms | a refused connection costs the server nothing, and another instance may answer at once |
/// | `max_wait` | 4 s | nobody at a prompt waits longer for nothing |
/// | `jitter_percent` | 20 | spreads a crowd that failed together (gRPC A6 uses the same) |
/// | `share_percent` | 70 | a retry that starts later has too little time left to succeed |
/// | `timeout` | 600 s | a generation's total limit: what `share_percent` is of, for operations without a deadline |
/// | `max_retry_after` | 60 s | a peer that wants more is out of service as far as this operation goes, and so is one whose breaker stays open |
/// | `max_wait_beside` | 500 ms | room for the waits after refused connections; where another endpoint can be asked, it answers before a second is over |
/// | `deduplicates` | no | most providers accept an `Idempotency-Key` and ignore it |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Most attempts after the first. 0 turns retries off. Default 2.
    pub max_retries: u32,
    /// The first wait; each further one is twice as long. Default 1 s.
    pub base: Duration,
    /// The first wait after an attempt that was not sent at all. Default 50 ms. A 503 is no such thing: the server that says so is
    /// reached, and short of what it needs. Behind a balancer whose 503 means that another instance may answer at once, give
    /// [`base`](Self::base) as little, by [`with_bases`](Self::with_bases).
    pub fast_base: Duration,
    /// The longest wait of our own choice, before jitter. Default 4 s.
    pub max_wait: Duration,
    /// By how many percent a wait may be shorter or longer, 0 to 100. Default 20. A peer's hint is obeyed exactly; for an
    /// open breaker one waits up to so much longer than it says, so that all who wait do not come at once.
    pub jitter_percent: u32,
    /// A retry starts only within this share of the operation's whole time, 0 to 100 percent. Default 70.
    pub share_percent: u32,
    /// What `share_percent` is a share of where the operation's context has no deadline. Default 600 s. It bounds when a retry may start,
    /// not how long the last attempt takes: for that give the context a deadline, or the schedule a [`total`](crate::Schedule::total).
    pub timeout: Duration,
    /// The longest wait that a peer may ask for. Default 60 s. A longer one is not cut short, which would disobey it:
    /// the call fails at once and hands the hint on.
    pub max_retry_after: Duration,
    /// How long an operation waits, in all, for an endpoint whose breaker is open; the first wait may be as long as the breaker says.
    /// Default 60 s. That counts as no retry, since the endpoint is not asked. Zero where somebody else can be asked meanwhile, as by a route: then it fails at once.
    pub max_breaker_wait: Duration,
    /// The longest wait where another endpoint can be asked meanwhile, as a route says
    /// ([`Context::has_alternative`](loquat_core::Context::has_alternative)): a longer one is not begun, whoever chose it, and the call
    /// fails at once. Default 500 ms.
    pub max_wait_beside: Duration,
    /// Whether the endpoint is known to run requests with the same `Idempotency-Key` once. Default `false`. Then
    /// each operation gets a key, and is sent again even where it may have arrived.
    pub deduplicates: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 2,
            base: Duration::from_secs(1),
            fast_base: Duration::from_millis(50),
            max_wait: Duration::from_secs(4),
            jitter_percent: 20,
            share_percent: 70,
            timeout: Duration::from_secs(600),
            max_retry_after: Duration::from_secs(60),
            max_breaker_wait: Duration::from_secs(60),
            max_wait_beside: Duration::from_millis(500),
            deduplicates: false,
        }
    }
}

impl RetryPolicy {
    /// No second attempt, ever.
    pub fn never() -> Self {
        Self::default().with_max_retries(0)
    }

    /// With at most that many attempts after the first.
    #[must_use]
    pub fn with_max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// With these first waits: the common one, and the one after connection-level refusals.
    #[must_use]
    pub fn with_bases(mut self, base: Duration, fast_base: Duration) -> Self {
        (self.base, self.fast_base) = (base, fast_base);
        self
    }

    /// With that much jitter, in percent up and down.
    #[must_use]
    pub fn with_jitter_percent(mut self, percent: u32) -> Self {
        self.jitter_percent = percent.min(100);
        self
    }

    /// With that longest wait for an open breaker.
    #[must_use]
    pub fn with_max_breaker_wait(mut self, wait: Duration) -> Self {
        self.max_breaker_wait = wait;
        self
    }

    /// With that longest wait where another endpoint can be asked.
    #[must_use]
    pub fn with_max_wait_beside(mut self, wait: Duration) -> Self {
        self.max_wait_beside = wait;
        self
    }

    /// With that whole time for operations without a deadline.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// With that bound on what a peer may ask for.
    #[must_use]
    pub fn with_max_retry_after(mut self, wait: Duration) -> Self {
        self.max_retry_after = wait;
        self
    }

    /// For an endpoint that runs requests with the same `Idempotency-Key` once.
    #[must_use]
    pub fn with_deduplication(mut self) -> Self {
        self.deduplicates = true;
        self
    }
}
