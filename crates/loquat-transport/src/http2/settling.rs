//! How long a new connection's peer may take to say how many streams it takes, and what those who count on it are told past that.
//!
//! A server's SETTINGS are the first that it sends (RFC 9113 §3.4). Of one that sends none it is not known whether it speaks HTTP/2 at
//! all, and everybody at its origin waits for it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::unsettled;
use crate::{
    ConnectionInfo, Origin,
    pool::{Attempt, Failure},
    trail::{Stage, Trail},
};

/// See the [module](self).
pub(super) struct Settling {
    pub(super) limit: Duration,
    /// The attempt to connect that this connection came of.
    attempt: Attempt,
    trail: Trail,
    /// Made when it is first waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Settling {
    /// From now on.
    pub(super) fn new(limit: Duration, attempt: Attempt, origin: Origin, info: ConnectionInfo) -> Self {
        let mut trail = Trail::new(origin, None, None);
        (trail.stage, trail.info) = (Stage::Connecting, Some(info));
        Self { limit, attempt, trail, timer: None }
    }

    /// Ready once it has taken too long. To be asked only while the peer has said nothing.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = match &mut self.timer {
            Some(timer) => timer,
            None => {
                // A limit beyond what the clock can count is none.
                let Some(end) = Instant::from_std(self.trail.started).checked_add(self.limit) else {
                    return Poll::Pending;
                };
                self.timer.insert(Box::pin(sleep_until(end)))
            }
        };
        timer.as_mut().poll(cx)
    }

    /// What those who count on the connection are told: of their requests nothing was sent.
    pub(super) fn failure(&self) -> Failure {
        Failure { error: unsettled(self.limit, &self.trail), attempt: self.attempt }
    }
}
