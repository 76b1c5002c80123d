//! The cheapest that is quick enough.

use std::time::Duration;

use super::{
    BestOf, Pick, Picked, Score, View,
    best::{best, blindly},
};
use crate::{Draw, Mask, Tier};

/// The cheapest price at which a first token is expected in time; where none is, the best of two of all. It goes with the
/// score [`FirstToken`](super::FirstToken), which is that expectation.
#[derive(Debug, Clone, Copy)]
pub struct Cheapest {
    objective_us: f32,
}

/// Prices looked at before giving up on the objective: more than providers of one model have.
const TIERS: usize = 8;

impl Cheapest {
    /// First tokens within that time.
    pub fn within(objective: Duration) -> Self {
        Self { objective_us: objective.as_secs_f32() * 1e6 }
    }
}

impl Cheapest {
    /// The better of two of a price.
    fn within_tier(
        view: &View<'_>,
        tier: &Tier,
        mask: &Mask,
        score: &dyn Score,
        draw: &mut Draw,
    ) -> Option<Picked> {
        let mut drawn = [0; 2];
        let all = tier.members.len();
        if all > FEW && blindly(all, |at| usize::from(tier.members[at]), mask, draw, &mut drawn) {
            return best(view, &drawn, score);
        }
        let mut here = Mask::EMPTY;
        tier.members.iter().for_each(|&index| here.insert(index.into()));
        here.keep(mask);
        BestOf::TWO.pick(view, &here, score, draw)
    }
}

/// Members of a price of which two are not drawn blindly: chance would name the same ones again and again.
const FEW: usize = 4;

impl Pick for Cheapest {
    fn name(&self) -> &'static str {
        "cheapest"
    }

    fn pick(&self, view: &View<'_>, mask: &Mask, score: &dyn Score, draw: &mut Draw) -> Option<Picked> {
        let mut looked_at = 0;
        for tier in view.pool.price_tiers() {
            let Some(picked) = Self::within_tier(view, tier, mask, score, draw) else { continue };
            if picked.score <= self.objective_us {
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
