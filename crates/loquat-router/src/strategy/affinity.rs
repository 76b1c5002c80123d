//! Requests that belong together go to the same place: rendezvous hashing (Thaler and Ravishankar, 1996), bounded by load
//! (Mirrokni, Thorup and Zadimoghaddam, 2018).
//!
//! The ranks are worked out when the table is made, for slots of keys: a decision looks at a few members, however many there
//! are. Each member's hash with the key ranks it; when one goes, only its own keys move. The first in rank whose load is
//! below the bound is taken, so that a key that everybody uses does not drown one endpoint: where all of its ranks are full, any
//! other that is not.

use super::{Pick, Picked, Score, View};
use crate::{Draw, Mask};

/// The member that ranks first for the request's key, among those with less than their share of work.
#[derive(Debug, Clone, Copy)]
pub struct Rendezvous {
    load_factor: f32,
}

/// How far down the ranks a place is looked for first.
const RANKS: usize = 4;

impl Default for Rendezvous {
    /// A quarter over the mean: the bound that affinity routers for language models use.
    fn default() -> Self {
        Self { load_factor: 1.25 }
    }
}

impl Rendezvous {
    /// Up to so many times the mean load; at least 1.
    pub fn bounded_by(load_factor: f32) -> Self {
        Self { load_factor: load_factor.max(1.0) }
    }

    /// The best ranks, best first.
    fn ranks(view: &View<'_>, mask: &Mask) -> ([(u64, usize); RANKS], usize) {
        let key = view.asked.affinity;
        let mut found = ([(0, 0); RANKS], 0);
        for &index in view.pool.ranks(key) {
            let index = usize::from(index);
            if mask.contains(index) && found.1 < RANKS {
                found.0[found.1] = (0, index);
                found.1 += 1;
            }
        }
        if found.1 > 0 {
            return found;
        }
        // None of the slot's best is in question: all are ranked.
        let mut best = [(0, 0); RANKS];
        let mut count = 0;
        for index in mask.iter() {
            let rank = rank(key, view.pool.member_ids()[index]);
            // Seldom true: the best of n changes about log n times.
            if count < RANKS || rank > best[RANKS - 1].0 {
                let at = best[..count].partition_point(|(other, _)| *other >= rank);
                count = (count + 1).min(RANKS);
                best[at..count].rotate_right(1);
                best[at] = (rank, index);
            }
        }
        (best, count)
    }

    /// The members in an order of the key's own, for one that fills all of its ranks. At least a fifth of all have room at a factor of
    /// 1.25, so a few looks suffice.
    fn further(view: &View<'_>, mask: &Mask) -> impl Iterator<Item = usize> {
        let members = view.pool.members().len();
        let start = rank(view.asked.affinity, 0) % (members as u64).max(1);
        let start = usize::try_from(start).unwrap_or(0);
        (start..members).chain(0..start).filter(|index| mask.contains(*index))
    }
}

impl Pick for Rendezvous {
    fn name(&self) -> &'static str {
        "rendezvous"
    }

    fn wants_ranks(&self) -> bool {
        true
    }

    fn pick(&self, view: &View<'_>, mask: &Mask, _: &dyn Score, _: &mut Draw) -> Option<Picked> {
        let (best, count) = Self::ranks(view, mask);
        let best = &best[..count];
        let members = view.pool.members();
        let load = |index: usize| members[index].live.in_flight().0;
        // At least one request for each, or nothing could begin.
        let bound = (view.pool.mean_in_flight() * self.load_factor).max(1.0);
        let has_room = |index: &usize| (load(*index) + 1) as f32 <= bound.ceil();
        let ranked = best.iter().map(|(_, index)| *index).find(has_room);
        let index = match ranked.or_else(|| Self::further(view, mask).find(has_room)) {
            Some(index) => index,
            None => best.iter().map(|(_, index)| *index).min_by_key(|&index| load(index))?,
        };
        let rival = best.first().map(|first| first.1).filter(|first| *first != index);
        Some(Picked { rival: rival.map(|first| (first, load(first) as f32)), ..Picked::alone(index) })
    }
}

/// One multiplication for each member: the key is well mixed already, the member's number too.
fn rank(key: u64, id: u64) -> u64 {
    let mixed = (key ^ id).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 32)
}
