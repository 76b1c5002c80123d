//! One decision: which endpoint of a route, out of those that can, are well and were not tried yet.
//!
//! The parts come in the order of what they cost, and none allocates. Each leaves its count for the trace.

use std::time::Instant;

use crate::{
    Asked, MAX_MEMBERS, Mask,
    random::Draw,
    strategy::{Picked, View},
    table::{Group, Route, Table},
};

/// Most endpoints asked for one answer.
pub(crate) const MAX_TRIED: u32 = 8;

/// The endpoints that one operation has asked already, by their number in the table.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried {
    indices: [u32; MAX_TRIED as usize],
    count: usize,
}

impl Tried {
    pub(crate) fn insert(&mut self, index: usize) {
        if let (Some(slot), Ok(index)) = (self.indices.get_mut(self.count), u32::try_from(index)) {
            *slot = index;
            self.count += 1;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.indices[..self.count].iter().map(|index| *index as usize)
    }

    fn contains(&self, index: usize) -> bool {
        self.indices[..self.count].iter().any(|tried| *tried as usize == index)
    }
}

/// How many members of the deciding group each step left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Left {
    /// In the group.
    pub members: u16,
    /// That can do what is asked.
    pub able: u16,
    /// Of these: that are well.
    pub well: u16,
    /// Of these: that were not tried for this operation, and that the strategy's filters let through.
    pub eligible: u16,
}

/// What was decided, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// The route's number.
    pub route: u16,
    /// Which of its groups decided, counted from 0.
    pub group: u8,
    /// Whether that group is the route's canary.
    pub is_canary: bool,
    /// Whether so many were out that all were tried.
    pub panics: bool,
    /// The endpoint's number in the table.
    pub endpoint: u32,
    /// Its score.
    pub score: f32,
    /// The endpoint it was compared with, and that one's score.
    pub rival: Option<(u32, f32)>,
    /// How many members each step left.
    pub left: Left,
}

/// Why nothing could be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nobody {
    /// No endpoint of the route can do what is asked.
    Able,
    /// Those that can are not well, or were all tried.
    Well,
}

/// Draws for a member that is well at this very moment, before the whole group is looked at again.
const DRAWS: usize = 3;

impl Table {
    /// Decides for a route. `in_canary` says whether the request belongs to the route's canary.
    pub(crate) fn decide(
        &self,
        route: usize,
        asked: &Asked,
        tried: &Tried,
        in_canary: bool,
        (now, now_ms): (Instant, u64),
        mut draw: Draw,
    ) -> Result<Decision, Nobody> {
        let Some(found) = self.routes.get(route) else { return Err(Nobody::Able) };
        let mut some_able = false;
        // A group that panics tries those that are out as well: only when no other group is better off.
        for may_panic in [false, true] {
            for (number, group) in groups(found, in_canary) {
                let mut left = Left { members: narrow(group.pool.members().len()), ..Left::default() };
                let choice = group.choose(asked, tried, may_panic, (now, now_ms), &mut draw, &mut left);
                some_able |= left.able > 0;
                if let Some((picked, panics)) = choice {
                    return Ok(decision(route, number, group, picked, panics, left));
                }
            }
        }
        Err(if some_able { Nobody::Well } else { Nobody::Able })
    }

    /// Whether a route has somebody who is well at this moment, can do what is asked, was not tried and, where `allowed` says so, whose
    /// allowance has an attempt left. The canary is asked for nobody else's sake.
    pub(crate) fn has_others(
        &self,
        route: usize,
        asked: &Asked,
        tried: &Tried,
        allowed: bool,
        (now, now_ms): (Instant, u64),
    ) -> bool {
        let Some(found) = self.routes.get(route) else { return false };
        groups(found, false).any(|(_, group)| {
            let (mut mask, panics) = group.pool.well_at(now, now_ms);
            group.pool.keep_able(asked, &mut mask);
            let view = View { pool: &group.pool, asked, now, now_ms, eligible: 0 };
            group.strategy.filters().iter().for_each(|filter| filter.filter(&view, &mut mask));
            let members = group.pool.members();
            let mut others = mask.iter().filter(|&index| !tried.contains(members[index].index));
            let is_allowed = |index| !allowed || group.pool.allows(index, now);
            !panics && others.any(|index| group.pool.takes(index, now, now_ms) && is_allowed(index))
        })
    }
}

fn decision(
    route: usize,
    number: usize,
    group: &Group,
    picked: Picked,
    panics: bool,
    left: Left,
) -> Decision {
    let index = |member: usize| group.pool.members().get(member).map_or(0, |member| member.index);
    let wide = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    Decision {
        route: narrow(route),
        group: u8::try_from(number).unwrap_or(u8::MAX),
        is_canary: group.is_canary,
        panics,
        endpoint: wide(index(picked.index)),
        score: picked.score,
        rival: picked.rival.map(|(member, score)| (wide(index(member)), score)),
        left,
    }
}

/// The groups in the order in which they are asked: for the canary's requests its own comes first, and for all others never.
pub(crate) fn groups(route: &Route, in_canary: bool) -> impl Iterator<Item = (usize, &Group)> {
    let canary = route.groups.iter().enumerate().filter(move |(_, group)| in_canary && group.is_canary);
    canary.chain(route.groups.iter().enumerate().filter(|(_, group)| !group.is_canary))
}

impl Group {
    fn choose(
        &self,
        asked: &Asked,
        tried: &Tried,
        may_panic: bool,
        (now, now_ms): (Instant, u64),
        draw: &mut Draw,
        left: &mut Left,
    ) -> Option<(Picked, bool)> {
        // The picture may be too rosy, or too dark: then look at everybody, and once more.
        let mut was_dark = false;
        for look in [false, true] {
            if look && !self.pool.sweep(now, now_ms) && was_dark {
                // Somebody has looked within this millisecond: it is as dark as it was.
                break;
            }
            let (mut mask, panics) = self.pool.well_at(now, now_ms);
            if panics && !may_panic {
                was_dark = true;
                continue;
            }
            // Only now: a group that is dark is passed over, whoever of it could.
            let (able, well) = self.pool.keep_able(asked, &mut mask);
            (left.able, left.well) = (narrow(able), narrow(well));
            if able == 0 {
                return None;
            }
            let mut view = View { pool: &self.pool, asked, now, now_ms, eligible: 0 };
            if let Some(picked) = self.choose_among(&mut view, &mut mask, panics, look, tried, draw, left) {
                return Some((picked, panics));
            }
        }
        None
    }

    #[allow(clippy::too_many_arguments, reason = "the decision's locals, twice")]
    fn choose_among(
        &self,
        view: &mut View<'_>,
        mask: &mut Mask,
        panics: bool,
        patient: bool,
        tried: &Tried,
        draw: &mut Draw,
        left: &mut Left,
    ) -> Option<Picked> {
        if tried.count > 0 {
            let members = self.pool.members();
            let before = *mask;
            before
                .iter()
                .filter(|&index| tried.contains(members[index].index))
                .for_each(|index| mask.remove(index));
        }
        self.strategy.filters().iter().for_each(|filter| filter.filter(view, mask));
        left.eligible = if tried.count == 0 && self.strategy.filters().is_empty() {
            left.well
        } else {
            narrow(mask.len())
        };
        view.eligible = left.eligible.into();
        // The first time it is cheaper to look at everybody than to draw on.
        for _ in 0..if patient { MAX_MEMBERS } else { DRAWS } {
            let picked = self.strategy.pick(view, mask, draw)?;
            // A further attempt goes to who may be asked for it, as long as there is somebody.
            let is_allowed = || tried.count == 0 || self.pool.allows(picked.index, view.now);
            if (panics || self.pool.takes(picked.index, view.now, view.now_ms)) && is_allowed() {
                return Some(picked);
            }
            mask.remove(picked.index);
        }
        None
    }
}

fn narrow(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
