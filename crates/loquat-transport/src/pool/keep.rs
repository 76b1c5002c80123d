//! How long a connection is kept for the next request: what the peer promised, what it was seen to keep, a ceiling, an age.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use super::site::{Shared, Site};
use crate::{http1::Http1, http2::Http2};

/// How long an early close is held against a peer: as long as a rolling update or a bad hour of a balancer.
const REMEMBER_EARLY_CLOSE: Duration = Duration::from_secs(600);
/// An idle connection is kept for that long whatever was learnt: requests that follow each other at once find it.
const LEAST_LIFETIME: Duration = Duration::from_secs(1);

impl Site {
    /// How long that connection may be idle: what the peer promised, what it kept lately, and the ceiling; nothing once it
    /// is too old.
    pub(super) fn lifetime(
        &self,
        connection: &Http1,
        early: Option<(Duration, Instant)>,
        now: Instant,
    ) -> Duration {
        if connection.is_too_old(now) {
            return Duration::ZERO;
        }
        let promised = connection.keep_alive().unwrap_or(Duration::MAX);
        let kept = remembered(early, now).map_or(Duration::MAX, |(kept, _)| kept);
        self.config.idle_timeout.min(promised).min(kept)
    }

    /// What to allow from now on, after a connection was found closed that had been idle for so long. When exactly it was
    /// closed nobody saw: four fifths is a guess that the next early close lowers further.
    pub(super) fn lowered(
        &self,
        idle: Duration,
        before: Option<(Duration, Instant)>,
        now: Instant,
    ) -> Option<(Duration, Instant)> {
        let kept = (idle * 4 / 5).max(LEAST_LIFETIME);
        Some((remembered(before, now).map_or(kept, |(before, _)| before.min(kept)), now))
    }

    /// A connection failed under a request after it had been idle for so long.
    pub(crate) fn closed_early(&self, idle: Duration) {
        let mut state = self.lock();
        state.early_close = self.lowered(idle, state.early_close, Instant::now());
    }

    /// When a connection made now is too old: up to a fifth earlier than the limit, so that connections made together are
    /// not replaced together.
    pub(crate) fn retire_at(&self) -> Option<Instant> {
        let age = self.config.max_age?;
        // Each `RandomState` has keys of its own, which is all the chance that is needed.
        let random = u32::from(RandomState::new().build_hasher().finish().to_le_bytes()[0]);
        // Divided first, since an age may be as long as a duration can be.
        Instant::now().checked_add(age - age / (5 * 256) * random)
    }

    /// Takes a connection back whose exchange is complete. Servers that close after an answer without a word of it have often done so
    /// by now: who comes next is spared that.
    pub(crate) fn rest(self: &Arc<Self>, mut connection: Box<Http1>) {
        if self.config.max_idle_per_origin == 0 || !connection.is_usable() {
            return;
        }
        let now = Instant::now();
        connection.rest(now);
        // Dropped outside the lock, which that takes.
        let mut over = None;
        self.change(|state| {
            if state.shut || connection.is_too_old(now) {
                over = Some(connection);
                return;
            }
            if state.idle.len() >= self.config.max_idle_per_origin {
                over = Some(state.idle.remove(0));
            }
            state.idle.push(connection);
        });
    }

    /// Takes out what has been idle for too long. Whether nothing is left, not even something learnt.
    pub(super) fn sweep(&self, now: Instant, expired: &mut Vec<Expired>) -> bool {
        let mut state = self.lock();
        let early = state.early_close;
        let old =
            |connection: &mut Box<Http1>| connection.idle_for(now) >= self.lifetime(connection, early, now);
        expired.extend(state.idle.extract_if(.., old).map(Expired::Http1));
        let old = |shared: &mut Shared| {
            let unused = shared.in_use == 0;
            let idle = now.saturating_duration_since(shared.idle_since);
            shared.connection.is_closing() || (unused && idle >= self.config.idle_timeout)
        };
        expired.extend(state.http2.extract_if(.., old).map(|shared| Expired::Http2(shared.connection)));
        state.open == 0 && state.queue.is_empty() && remembered(early, now).is_none()
    }
}

/// What was learnt of early closes, while it counts.
fn remembered(early: Option<(Duration, Instant)>, now: Instant) -> Option<(Duration, Instant)> {
    early.filter(|(_, learnt)| now.saturating_duration_since(*learnt) < REMEMBER_EARLY_CLOSE)
}

/// What a sweep took out; dropped outside the locks.
#[derive(Debug)]
pub(super) enum Expired {
    Http1(#[expect(dead_code, reason = "held to be dropped")] Box<Http1>),
    Http2(#[expect(dead_code, reason = "held to be dropped")] Arc<Http2>),
}
