//! Power of two choices (Mitzenmacher, 2001): two members by chance, the better of them. Unlike the best of all it does
//! not send everybody to the same place between two measurements.

use super::{Pick, Picked, Score, View};
use crate::{Draw, Mask};

/// The better of two that chance names.
#[derive(Debug, Clone, Copy, Default)]
pub struct BestOfTwo;

impl Pick for BestOfTwo {
    fn name(&self) -> &'static str {
        "best_of_two"
    }

    fn pick(&self, view: &View<'_>, mask: &Mask, score: &dyn Score, draw: &mut Draw) -> Option<Picked> {
        let count = mask.len();
        let one = mask.select(draw.below(count))?;
        if count == 1 {
            return Some(Picked { index: one, score: score.score(view, one), rival: None });
        }
        // Among the others, each as likely.
        let mut rest = *mask;
        rest.remove(one);
        let two = rest.select(draw.below(count - 1))?;
        let (of_one, of_two) = (score.score(view, one), score.score(view, two));
        let second = of_two < of_one || of_one.is_nan();
        Some(match second {
            true => Picked { index: two, score: of_two, rival: Some((one, of_one)) },
            false => Picked { index: one, score: of_one, rival: Some((two, of_two)) },
        })
    }
}
