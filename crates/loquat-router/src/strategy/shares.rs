//! By share: chance in proportion to weights, or one after the other.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{Pick, Picked, Score, View};
use crate::{Draw, Mask};

/// By chance, in proportion to the members' weights. Those of weight 0 are never chosen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weighted;

/// Draws before the weights of those in question are added up: while most are, this is enough nearly always.
const DRAWS: usize = 4;

impl Pick for Weighted {
    fn name(&self) -> &'static str {
        "weighted"
    }

    fn pick(&self, view: &View<'_>, mask: &Mask, _: &dyn Score, draw: &mut Draw) -> Option<Picked> {
        let sums = view.pool.weight_sums();
        let total = usize::try_from(*sums.last()?).ok()?;
        // Drawn from all and thrown away when not in question: the shares of the others stay as they are.
        for _ in 0..DRAWS {
            let at = draw.below(total) as u64;
            let index = sums.partition_point(|&sum| sum <= at);
            if mask.contains(index) {
                return Some(Picked::alone(index));
            }
        }
        let weight = |index: usize| sums[index] - index.checked_sub(1).map_or(0, |before| sums[before]);
        let in_question: u64 = mask.iter().map(weight).sum();
        let mut at = draw.below(usize::try_from(in_question).ok()?) as u64;
        mask.iter()
            .find(|&index| {
                let here = weight(index);
                let found = at < here;
                at = at.saturating_sub(here);
                found
            })
            .map(Picked::alone)
    }
}

/// One after the other, of those in question: while one is not, all others take over its turns.
#[derive(Debug, Default)]
pub struct Turns(AtomicUsize);

impl Pick for Turns {
    fn name(&self) -> &'static str {
        "turns"
    }

    fn pick(&self, _: &View<'_>, mask: &Mask, _: &dyn Score, _: &mut Draw) -> Option<Picked> {
        let (sums, count) = mask.sums();
        let rank = self.0.fetch_add(1, Relaxed).checked_rem(count)?;
        mask.select_by(&sums, rank).map(Picked::alone)
    }
}
