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
    /// The better of two, as the paper has it.
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
        let choices = usize::from(self.0);
        let mut drawn = [0; MOST];
        let all = view.pool.members().len();
        let is_dense = all > MOST && view.eligible * 4 >= all * 3;
        let found = match is_dense && blindly(all, mask, draw, &mut drawn[..choices]) {
            true => choices,
            false => evenly(view.eligible, mask, draw, &mut drawn[..choices]),
        };
        best(view, &drawn[..found], score)
    }
}

/// Draws from all, and again where chance names one that is out of question or was named before. As even as a draw from
/// those in question, and it counts nothing, but the processor cannot guess which draw will do: for where nearly all will. `false`
/// where too few of them were met.
fn blindly(all: usize, mask: &Mask, draw: &mut Draw, drawn: &mut [usize]) -> bool {
    let mut found = 0;
    for _ in 0..DRAWS * drawn.len() {
        let index = draw.below(all);
        if mask.contains(index) && !drawn[..found].contains(&index) {
            drawn[found] = index;
            found += 1;
            if found == drawn.len() {
                return true;
            }
        }
    }
    false
}

/// Draws for each that is wanted: enough while most are in question.
const DRAWS: usize = 4;

/// Members in question that are listed before some are drawn: for more, looking for each drawn one among the bits costs less.
const FEW: usize = 64;

/// Draws from those in question alone, however few they are; how many there were. `about` says which way is the cheaper.
fn evenly(about: usize, mask: &Mask, draw: &mut Draw, drawn: &mut [usize]) -> usize {
    let mut few = [0; FEW];
    if about <= FEW
        && let Some(count) = mask.list(&mut few)
    {
        return sample(count, |rank| few.get(rank).map(|index| usize::from(*index)), draw, drawn);
    }
    let (sums, count) = mask.sums();
    sample(count, |rank| mask.select_by(&sums, rank), draw, drawn)
}

/// Draws of so many, each by its rank.
fn sample(
    count: usize,
    by_rank: impl Fn(usize) -> Option<usize>,
    draw: &mut Draw,
    drawn: &mut [usize],
) -> usize {
    let choices = drawn.len().min(count);
    // Floyd's sample (Bentley and Floyd, 1987) is even, its order is not: turned by chance, each is as likely to come first, and
    // so to win a tie.
    let turn = draw.below(count);
    let mut ranks = [usize::MAX; MOST];
    for at in 0..choices {
        let last = count - choices + at;
        let rank = Some(draw.below(last + 1)).filter(|rank| !ranks[..at].contains(rank)).unwrap_or(last);
        ranks[at] = rank;
        // Both are below the count: a division would cost more than the draw.
        let turned = rank + turn;
        let turned = if turned < count { turned } else { turned - count };
        let Some(index) = by_rank(turned) else { return at };
        drawn[at] = index;
    }
    choices
}

/// The best of those, and the best of the others.
pub(super) fn best(view: &View<'_>, drawn: &[usize], score: &dyn Score) -> Option<Picked> {
    // All scores before any comparison: what is known of one lies in a cache line that another thread may have, and a wait for
    // each in turn is what a wrongly guessed comparison makes of waits at once.
    let mut scores = [0.0; MOST];
    scores.iter_mut().zip(drawn).for_each(|(scored, &index)| *scored = score.score(view, index));
    let mut best: Option<Picked> = None;
    for (&index, scored) in drawn.iter().zip(scores) {
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

/// The better of two rivals.
fn nearer(old: Option<(usize, f32)>, new: (usize, f32)) -> Option<(usize, f32)> {
    Some(old.filter(|old| old.1 <= new.1).unwrap_or(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of those in question is as likely to be drawn, and to come first, whichever way they are drawn.
    #[test]
    fn draws_are_even_and_of_those_in_question() {
        for (all, every, may_be_blind) in
            [(200, 2, true), (200, 50, false), (1000, 500, false), (3, 1, false)]
        {
            let mut mask = Mask::EMPTY;
            (0..all).step_by(every).for_each(|index| mask.insert(index));
            let (count, rounds) = (mask.len(), 20_000_u32);
            let mut firsts = vec![0_u32; all];
            let mut draw = Draw::seeded(5);
            for round in 0..rounds {
                let mut drawn = [usize::MAX; 5];
                let blind = blindly(all, &mask, &mut draw, &mut drawn);
                assert!(may_be_blind || !blind, "{all} by {every}: there are fewer than five");
                let about = if round % 2 == 0 { count } else { usize::MAX };
                let found = if blind { drawn.len() } else { evenly(about, &mask, &mut draw, &mut drawn) };
                assert_eq!(found, count.min(5), "{all} by {every}");
                let drawn = &drawn[..found];
                assert!(drawn.iter().all(|index| mask.contains(*index)), "{drawn:?}");
                assert!((1..found).all(|at| !drawn[..at].contains(&drawn[at])), "none twice: {drawn:?}");
                firsts[drawn[0]] += 1;
            }
            let fair = f64::from(rounds) / count as f64;
            for index in (0..all).step_by(every) {
                let share = f64::from(firsts[index]) / fair;
                assert!((0.6..1.4).contains(&share), "{index} of {all}: {share:.2} of its share");
            }
        }
    }
}
