//! Who is next: earliest deadline first within a tenant, tenants in turns.
//!
//! Ordered maps all the way: every operation is logarithmic, the order is the same in every run, and whoever leaves
//! is gone from everywhere at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

/// Within a tenant: earliest deadline first, none last, then in order of arrival.
type Rank = (bool, Option<Instant>, u64);

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// What waits, by tenant; never an empty one.
    lanes: BTreeMap<Arc<str>, Lane>,
    /// Whose turn it is, first first: one entry per lane.
    turns: BTreeMap<u64, Arc<str>>,
    next_turn: u64,
    places: HashMap<u64, Place>,
}

#[derive(Debug, Default)]
struct Lane {
    turn: u64,
    waiting: BTreeMap<Rank, ()>,
}

#[derive(Debug)]
struct Place {
    tenant: Arc<str>,
    rank: Rank,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Queues `id`, which is in use by nobody else. A tenant that had nothing waiting goes to the end of the turns.
    pub(super) fn push(&mut self, id: u64, tenant: &Arc<str>, deadline: Option<Instant>) {
        let rank = (deadline.is_none(), deadline, id);
        let lane = self.lanes.entry(tenant.clone()).or_default();
        if lane.waiting.is_empty() {
            lane.turn = self.next_turn;
            self.turns.insert(self.next_turn, tenant.clone());
            self.next_turn += 1;
        }
        lane.waiting.insert(rank, ());
        self.places.insert(id, Place { tenant: tenant.clone(), rank });
    }

    /// Who is next.
    pub(super) fn first(&self) -> Option<u64> {
        let (_, tenant) = self.turns.first_key_value()?;
        let ((.., id), ()) = self.lanes.get(tenant)?.waiting.first_key_value()?;
        Some(*id)
    }

    /// Takes out who is next; the turn passes on.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let id = self.first()?;
        let tenant = self.places.get(&id)?.tenant.clone();
        self.remove(id);
        if let Some(lane) = self.lanes.get_mut(&tenant) {
            self.turns.remove(&lane.turn);
            lane.turn = self.next_turn;
            self.turns.insert(self.next_turn, tenant);
            self.next_turn += 1;
        }
        Some(id)
    }

    /// Takes `id` out, wherever it is. `false` if it was not there.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let Some(Place { tenant, rank }) = self.places.remove(&id) else { return false };
        if let Some(lane) = self.lanes.get_mut(&tenant) {
            lane.waiting.remove(&rank);
            if lane.waiting.is_empty() {
                self.turns.remove(&lane.turn);
                self.lanes.remove(&tenant);
            }
        }
        true
    }

    /// In a full queue: the last of the tenant that has the most waiting, if `tenant` has fewer even with one more.
    /// Looks at each tenant.
    pub(super) fn displaced_by(&self, tenant: &Arc<str>) -> Option<u64> {
        let own = self.lanes.get(tenant).map_or(0, |lane| lane.waiting.len());
        let longest = self.lanes.values().max_by_key(|lane| lane.waiting.len())?;
        if longest.waiting.len() <= own + 1 {
            return None;
        }
        longest.waiting.last_key_value().map(|((.., id), ())| *id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn drained(queue: &mut Queue) -> Vec<u64> {
        let order = std::iter::from_fn(|| queue.pop()).collect();
        assert!(queue.lanes.is_empty() && queue.turns.is_empty() && queue.places.is_empty(), "no trace");
        order
    }

    #[test]
    fn turns_between_tenants_and_deadlines_within() {
        let now = Instant::now();
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        let mut queue = Queue::default();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        queue.push(1, &a, None);
        queue.push(2, &a, at(9));
        queue.push(3, &a, at(5));
        queue.push(4, &a, at(9));
        queue.push(5, &b, at(100));
        queue.push(6, &b, None);
        assert_eq!(drained(&mut queue), [3, 5, 2, 6, 4, 1]);
    }

    #[test]
    fn who_leaves_is_gone_and_a_flood_gives_way() {
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        let mut queue = Queue::default();
        (0..5).for_each(|id| queue.push(id, &a, None));
        assert_eq!(queue.displaced_by(&a), None, "one's own flood is no reason");
        assert_eq!(queue.displaced_by(&b), Some(4));
        assert!(queue.remove(4) && !queue.remove(4));
        queue.push(7, &b, None);
        assert!(queue.remove(0));
        assert_eq!(queue.len(), 4);
        assert_eq!(drained(&mut queue), [1, 7, 2, 3]);
    }
}
