//! One request at its endpoint: what it weighs there, and what its course says of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_core::{Error, ErrorKind, Fault};

use super::Live;

/// How an attempt came out, as far as its endpoint's load and health go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It answered.
    Success,
    /// It failed, and that is the endpoint's doing or the way's.
    Failure {
        /// What it said about trying again.
        retry_after: Option<Duration>,
        /// Whether it is only busy: then it is spared, and not held to be ill.
        is_busy: bool,
    },
    /// It says nothing about the endpoint: the caller's error, or a cancellation.
    Neutral,
}

impl Outcome {
    /// What that error says of the endpoint.
    pub fn of(error: &Error) -> Self {
        use ErrorKind as K;
        match error.kind() {
            // A key that is refused is the configuration's fault, and yet this endpoint will refuse the next, too.
            K::Authentication | K::Permission | K::NotFound | K::QuotaExceeded => {
                Self::Failure { retry_after: None, is_busy: false }
            }
            K::ContentFiltered | K::TooLarge => Self::Neutral,
            K::RateLimited | K::Overloaded => {
                Self::Failure { retry_after: error.retry_hint().after, is_busy: true }
            }
            _ => match error.fault() {
                Fault::Caller | Fault::Local => Self::Neutral,
                _ => Self::Failure { retry_after: error.retry_hint().after, is_busy: false },
            },
        }
    }
}

/// What a request weighs once it answers: writing answers slows reading prompts a little, since servers do both in batches.
pub(super) const ANSWER_TOKENS: u32 = 16;

/// A request on its way. Dropped without a verdict it says nothing about the endpoint; where a caller gave it up,
/// [`give_up`](Self::give_up) says for how long nothing came.
#[derive(Debug)]
#[must_use = "dropping a ticket ends its request"]
pub struct Ticket {
    pub(super) live: Arc<Live>,
    pub(super) started: Instant,
    pub(super) prompt_tokens: u32,
    /// What is still counted as in flight.
    pub(super) tokens: u32,
    /// What was in flight at its beginning, itself included.
    pub(super) work: u64,
    pub(super) answered: bool,
    /// Whether it tries an endpoint that was spared.
    pub(super) is_trial: bool,
}

impl Ticket {
    /// The first token is here: the prompt is off the endpoint's hands.
    pub fn first_token(&mut self, now: Instant) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        self.live.answered(self.prompt_tokens, self.work, self.started, self.is_trial, now);
        self.live.hot.in_flight.lessen(self.tokens.saturating_sub(ANSWER_TOKENS));
        self.tokens = self.tokens.min(ANSWER_TOKENS);
    }

    /// How it came out.
    pub fn settle(self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Success => self.live.hot.health.succeeded(),
            Outcome::Failure { retry_after, is_busy } => {
                self.live.failed(retry_after, is_busy, &self, now);
            }
            Outcome::Neutral => {}
        }
    }

    /// Nobody waits for it any more. Where its first token had not come by then, the endpoint is taken for no faster than that:
    /// one that hangs would otherwise be forgotten, since whoever is hedged against gets no other verdict. `typical` is what its
    /// pool takes it for while nothing is known of it ([`Pool::typical`](crate::Pool::typical)); without it that is
    /// [`LoadPolicy::seed`](super::LoadPolicy::seed).
    pub fn give_up(self, typical: Option<Duration>, now: Instant) {
        if !self.answered {
            self.live.waited(self.work, self.started, typical, now);
        }
    }

    /// When it began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The endpoint's load and health.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.live.hot.in_flight.leave(self.tokens);
    }
}
