//! The cheapest that is quick enough.

use std::time::Duration;

use super::{BestOf, Pick, Picked, Score, View};
use crate::{Draw, Mask};

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

impl Pick for Cheapest {
    fn name(&self) -> &'static str {
        "cheapest"
    }

    fn pick(&self, view: &View<'_>, mask: &Mask, score: &dyn Score, draw: &mut Draw) -> Option<Picked> {
        let tiers = view.pool.price_tiers().iter().map(|(_, at_price)| {
            let mut here = *mask;
            here.keep(at_price);
            here
        });
        for here in tiers.filter(|here| !here.is_empty()).take(TIERS) {
            let picked = BestOf::TWO.pick(view, &here, score, draw)?;
            if picked.score <= self.objective_us {
                return Some(picked);
            }
        }
        BestOf::TWO.pick(view, mask, score, draw)
    }
}
