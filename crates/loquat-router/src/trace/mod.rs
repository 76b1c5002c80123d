//! The last decisions: a ring that is written without a lock and without an allocation.
//!
//! Each place is a sequence lock: a reader that sees it change throws away what it read. A writer that finds its slot taken (the ring has wrapped within one write) leaves its decision out.

mod slot;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::decide::{Decision, Left};
use slot::Slot;

/// Decisions kept by default: some seconds of a busy router, 256 KiB.
pub(crate) const KEPT: usize = 1024;
const WORDS: usize = 6;

/// A decision with its time and trace.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// Its own. The first thread's decisions are counted from 0; those of others from 2^48 on, and so forth.
    pub number: u64,
    /// Milliseconds since the router began.
    pub at_ms: u64,
    /// The first half of the trace's id.
    pub trace: u64,
    /// What was decided, and why.
    pub decision: Decision,
}

/// The ring, in lanes: threads that decide at once write to lines of their own, and none waits for another's counter.
#[derive(Debug)]
pub(crate) struct Ring {
    kept: usize,
    /// Which thread has each lane, by its number; 0 for none yet. Changes a few times in a program's life.
    owners: [AtomicU64; LANES],
    lanes: [Lane; LANES],
}

/// Threads that never meet; more share lanes.
const LANES: usize = 4;
/// A decision's number is its lane's in the upper bits, and its place among the lane's in these.
const PLACE_BITS: u32 = 48;

/// A counter on a cache line of its own, and places: as many as the ring keeps, since one thread may decide everything.
#[derive(Debug)]
#[repr(align(64))]
struct Lane {
    next: AtomicU64,
    slots: Box<[Slot<AtomicU64, WORDS>]>,
}

impl Ring {
    pub(crate) fn new(kept: usize) -> Self {
        let kept = kept.max(1);
        let lane = |_| Lane { next: AtomicU64::new(0), slots: (0..kept).map(|_| Slot::new()).collect() };
        Self { kept, owners: [const { AtomicU64::new(0) }; LANES], lanes: std::array::from_fn(lane) }
    }

    /// The number of the next decision. The first thread's are counted from 0, so that what one thread does repeats.
    pub(crate) fn reserve(&self) -> u64 {
        let lane = self.lane();
        let place = self.lanes[lane].next.fetch_add(1, Ordering::Relaxed);
        (lane as u64) << PLACE_BITS | place
    }

    /// The present thread's: its own while there are any.
    fn lane(&self) -> usize {
        let me = THREAD.with(|number| *number);
        for (lane, owner) in self.owners.iter().enumerate() {
            match owner.load(Ordering::Relaxed) {
                0 if owner.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed).is_ok() => {
                    return lane;
                }
                owner if owner == me => return lane,
                _ => {}
            }
        }
        usize::try_from(me % LANES as u64).unwrap_or(0)
    }

    /// Keeps the decision of that number, which nobody else has.
    pub(crate) fn write(&self, number: u64, at_ms: u64, trace: u64, decision: &Decision) {
        if let Some((slot, place)) = self.slot(number) {
            slot.write(place, pack(at_ms, trace, decision));
        }
    }

    /// What is there, oldest first.
    pub(crate) fn read(&self) -> Vec<Record> {
        let mut found = Vec::new();
        for (lane, number) in self.lanes.iter().zip(0_u64..) {
            let end = lane.next.load(Ordering::Acquire);
            let places = end.saturating_sub(self.kept as u64)..end;
            found.extend(places.filter_map(|place| self.one(number << PLACE_BITS | place)));
        }
        found.sort_by_key(|record| (record.at_ms, record.number));
        found.drain(..found.len().saturating_sub(self.kept));
        found
    }

    fn one(&self, number: u64) -> Option<Record> {
        let (slot, place) = self.slot(number)?;
        Some(unpack(number, slot.read(place)?))
    }

    /// Where the decision of that number is kept, and its number there.
    fn slot(&self, number: u64) -> Option<(&Slot<AtomicU64, WORDS>, u64)> {
        let lane = self.lanes.get(usize::try_from(number >> PLACE_BITS).ok()?)?;
        let place = number & ((1 << PLACE_BITS) - 1);
        Some((lane.slots.get(usize::try_from(place % lane.slots.len() as u64).ok()?)?, place))
    }
}

/// Threads that have decided so far, in this program.
static THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// This one's number, counted from 1.
    static THREAD: u64 = THREADS.fetch_add(1, Ordering::Relaxed) + 1;
}

const NO_RIVAL: u32 = u32::MAX;

fn pack(at_ms: u64, trace: u64, decision: &Decision) -> [u64; WORDS] {
    let Decision { route, group, is_canary, panics, endpoint, score, rival, left } = *decision;
    let (rival, rival_score) = rival.unwrap_or((NO_RIVAL, 0.0));
    let two = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let four =
        |[a, b, c, d]: [u16; 4]| [a, b, c, d].into_iter().fold(0, |word, part| word << 16 | u64::from(part));
    let flags = u16::from(is_canary) | u16::from(panics) << 1;
    [
        trace,
        at_ms,
        two(endpoint, rival),
        two(score.to_bits(), rival_score.to_bits()),
        four([left.members, left.able, left.well, left.eligible]),
        four([route, u16::from(group), flags, 0]),
    ]
}

#[allow(clippy::cast_possible_truncation, reason = "the parts of words")]
fn unpack(number: u64, words: [u64; WORDS]) -> Record {
    let [trace, at_ms, pair, scores, left, place] = words;
    let part = |word: u64, at: u32| (word >> (48 - 16 * at)) as u16;
    let rival_index = pair as u32;
    Record {
        number,
        at_ms,
        trace,
        decision: Decision {
            route: part(place, 0),
            group: part(place, 1) as u8,
            is_canary: part(place, 2) & 1 == 1,
            panics: part(place, 2) & 2 == 2,
            endpoint: (pair >> 32) as u32,
            score: f32::from_bits((scores >> 32) as u32),
            rival: (rival_index != NO_RIVAL).then(|| (rival_index, f32::from_bits(scores as u32))),
            left: Left {
                members: part(left, 0),
                able: part(left, 1),
                well: part(left, 2),
                eligible: part(left, 3),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(number: u64) -> Decision {
        let endpoint = u32::try_from(number).expect("small");
        Decision {
            route: 3,
            group: 2,
            is_canary: true,
            panics: endpoint.is_multiple_of(2),
            endpoint,
            score: endpoint as f32,
            rival: (endpoint > 2).then_some((endpoint + 1, 0.5)),
            left: Left { members: 9, able: 8, well: 7, eligible: 6 },
        }
    }

    #[test]
    fn keeps_the_last_as_they_were() {
        let ring = Ring::new(4);
        assert!(ring.read().is_empty());
        (0..10).for_each(|n| ring.write(ring.reserve(), n << 40, u64::MAX - n, &decision(n)));
        let read = ring.read();
        assert_eq!(read.iter().map(|record| record.number).collect::<Vec<_>>(), [6, 7, 8, 9]);
        for (record, n) in read.iter().zip(6..) {
            assert_eq!(
                *record,
                Record { number: n, at_ms: n << 40, trace: u64::MAX - n, decision: decision(n) }
            );
        }
    }

    #[test]
    fn the_last_of_all_threads_are_kept_in_order() {
        let ring = Ring::new(6);
        for thread in 0..9 {
            std::thread::scope(|scope| {
                let ring = &ring;
                scope.spawn(move || {
                    (0..3).for_each(|n| ring.write(ring.reserve(), thread * 3 + n, 1, &decision(n)));
                });
            });
        }
        let times: Vec<_> = ring.read().iter().map(|record| record.at_ms).collect();
        assert_eq!(times, [21, 22, 23, 24, 25, 26]);
    }

    #[test]
    fn what_is_read_was_written_whole() {
        let ring = Ring::new(8);
        std::thread::scope(|scope| {
            for writer in 0..2 {
                let ring = &ring;
                scope.spawn(move || {
                    for n in (0..20_000).map(|n| n * 2 + writer) {
                        ring.write(ring.reserve(), n, n, &decision(n));
                    }
                });
            }
            for _ in 0..2_000 {
                for record in ring.read() {
                    assert_eq!(record.trace, record.at_ms);
                    assert_eq!(record.decision, decision(record.at_ms));
                }
            }
        });
    }
}
