//! The cheapest that is quick enough.

use std::time::Duration;

use super::{BestOf, FirstToken, Pick, Picked, Score, View, best::best};
use crate::{Draw, Mask, Tier};

/// The cheapest price at which a first token is expected in time; where none is, the best of two of all. It goes with the
/// score [`FirstToken`](super::FirstToken), which is that expectation.
#[derive(Debug, Clone, Copy)]
pub struct Cheapest {
    objective_us: f32,
}

/// Prices looked at before giving up on the objective: more than providers of one model have.
const TIERS: usize = 16;

impl Cheapest {
    /// First tokens within that time.
    pub fn within(objective: Duration) -> Self {
        Self { objective_us: objective.as_secs_f32() * 1e6 }
    }
}

impl Cheapest {
    /// The better of two of a price, of those that looked quick enough at the last sweep and are in question.
    fn within_tier(
        &self,
        view: &View<'_>,
        tier: &Tier,
        mask: &Mask,
        score: &dyn Score,
        draw: &mut Draw,
    ) -> Option<Picked> {
        let enough_us = self.objective_us / FirstToken::units(view, 0);
        let (before, after) = tier.members.split_at(draw.below(tier.members.len()));
        let mut drawn = [0; 2];
        let mut found = 0;
        for &member in after.iter().chain(before).take(LOOKED_AT) {
            let index = usize::from(member);
            if mask.contains(index) && view.pool.slowness_seen_us(index) <= enough_us {
                drawn[found] = index;
                found += 1;
                if found == drawn.len() {
                    break;
                }
            }
        }
        best(view, &drawn[..found], score)
    }
}

/// Members of a price looked at, from a place that chance names.
const LOOKED_AT: usize = 16;

impl Pick for Cheapest {
    fn name(&self) -> &'static str {
        "cheapest"
    }

    fn pick(&self, view: &View<'_>, mask: &Mask, score: &dyn Score, draw: &mut Draw) -> Option<Picked> {
        let mut looked_at = 0;
        for tier in view.pool.price_tiers() {
            let picked = self.within_tier(view, tier, mask, score, draw);
            if let Some(picked) = picked.filter(|picked| picked.score <= self.objective_us) {
                return Some(picked);
            }
            looked_at += 1;
            if looked_at == TIERS {
                break;
            }
        }
        BestOf::TWO.pick(view, mask, score, draw)
    }
}
