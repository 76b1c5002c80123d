//! How good a member is: by its first token and its load, or by its load alone.

use super::{Score, View};
use crate::load::{REQUEST_TOKENS, UNIT_TOKENS};

/// The first token that is to be expected, in microseconds: peak-EWMA of the time for each token of work, times the tokens
/// in hand and those that would come on top. More while it is new.
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstToken;

impl FirstToken {
    /// The work up to a first token where so many tokens are in hand, in what slowness is told for.
    pub(super) fn units(view: &View<'_>, in_hand: u64) -> f32 {
        let own = u64::from(view.asked.prompt_tokens.saturating_add(REQUEST_TOKENS));
        (in_hand + own) as f32 / UNIT_TOKENS
    }
}

impl Score for FirstToken {
    fn name(&self) -> &'static str {
        "first_token"
    }

    fn score(&self, view: &View<'_>, index: usize) -> f32 {
        let Some(member) = view.pool.members().get(index) else { return f32::INFINITY };
        let units = Self::units(view, member.live.in_flight().1);
        view.pool.slowness_of(member, view.now_ms) * units / member.live.warmth(view.now_ms)
    }

    fn describe(&self, score: f32) -> String {
        format!("first token expected in {:.0} ms", score / 1e3)
    }
}

/// Requests in hand; more while it is new.
#[derive(Debug, Clone, Copy, Default)]
pub struct FewestRequests;

impl Score for FewestRequests {
    fn name(&self) -> &'static str {
        "requests"
    }

    fn score(&self, view: &View<'_>, index: usize) -> f32 {
        let Some(member) = view.pool.members().get(index) else { return f32::INFINITY };
        (member.live.in_flight().0 + 1) as f32 / member.live.warmth(view.now_ms)
    }

    fn describe(&self, score: f32) -> String {
        format!("as if it had {score:.1} requests, this one included")
    }
}
