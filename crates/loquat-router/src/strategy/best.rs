//! Power of a few choices (Mitzenmacher, 2001): some members by chance, the best of them. Unlike the best of all it does
//! not send everybody to the same place between two measurements.

use super::{Pick, Picked, Score, View};
use crate::{Draw, Mask};

/// Most members compared.
const MOST: usize = 16;

/// The best of a few that chance names; of two by default.
#[derive(Debug, Clone, Copy)]
pub struct BestOf(u8);

impl BestOf {
    /// The better of two: what several routers that do not know of each other should use.
    pub const TWO: Self = Self(2);

    /// The best of so many, 2 to 16. More are better where this router sees all the traffic, and herd where it does not.
    pub fn new(choices: u8) -> Self {
        Self(choices.clamp(2, 16))
    }
}

impl Default for BestOf {
    fn default() -> Self {
        Self::TWO
    }
}

impl Pick for BestOf {
    fn name(&self) -> &'static str {
        match self.0 {
            2 => "best_of_two",
            _ => "best_of_several",
        }
    }

    fn pick(&self, view: &View<'_>, mask: &Mask, score: &dyn Score, draw: &mut Draw) -> Option<Picked> {
        let (counts, count) = mask.counts();
        let choices = usize::from(self.0).min(count);
        // Floyd's sample is even, its order is not: turned by chance, each is as likely to come first, and so to win a tie.
        let turn = draw.below(count);
        let mut drawn = [usize::MAX; MOST];
        let mut best: Option<Picked> = None;
        for at in 0..choices {
            // Among those not drawn yet, each as likely: Floyd's sampling (Bentley and Floyd, 1987).
            let last = count - choices + at;
            let rank = Some(draw.below(last + 1)).filter(|rank| !drawn.contains(rank)).unwrap_or(last);
            drawn[at] = rank;
            let Some(index) = mask.select_by(&counts, (rank + turn) % count) else { break };
            let scored = score.score(view, index);
            best = Some(match best {
                Some(best) if best.score <= scored || scored.is_nan() => {
                    Picked { rival: nearer(best.rival, (index, scored)), ..best }
                }
                Some(beaten) => Picked { index, score: scored, rival: Some((beaten.index, beaten.score)) },
                None => Picked { index, score: scored, rival: None },
            });
        }
        best
    }
}

/// The better of two rivals.
fn nearer(old: Option<(usize, f32)>, new: (usize, f32)) -> Option<(usize, f32)> {
    Some(old.filter(|old| old.1 <= new.1).unwrap_or(new))
}
