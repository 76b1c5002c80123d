//! The last decisions: a ring that is written without a lock and without an allocation.
//!
//! Each place is a sequence lock: a reader that sees it change throws away what it read. A writer that finds its slot taken (the ring has wrapped within one write) leaves its decision out.

mod slot;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::decide::{Decision, Left};
use slot::Slot;

/// Decisions kept by default: some seconds of a busy router, 64 KiB.
pub(crate) const KEPT: usize = 1024;
const WORDS: usize = 6;

/// A decision with its time and trace.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The how manieth, counted from 0.
    pub number: u64,
    /// Milliseconds since the router began.
    pub at_ms: u64,
    /// The first half of the trace's id.
    pub trace: u64,
    /// What was decided, and why.
    pub decision: Decision,
}

/// The ring.
#[derive(Debug)]
pub(crate) struct Ring {
    next: Counter,
    slots: Box<[Slot<AtomicU64, WORDS>]>,
}

/// On a cache line of its own: threads that decide at once would otherwise slow what lies beside it, too.
#[derive(Debug)]
#[repr(align(64))]
struct Counter(AtomicU64);

impl Ring {
    pub(crate) fn new(kept: usize) -> Self {
        Self { next: Counter(AtomicU64::new(0)), slots: (0..kept.max(1)).map(|_| Slot::new()).collect() }
    }

    /// The number of the next decision.
    pub(crate) fn reserve(&self) -> u64 {
        self.next.0.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps the decision of that number, which nobody else has.
    pub(crate) fn write(&self, number: u64, at_ms: u64, trace: u64, decision: &Decision) {
        if let Some(slot) = self.slot(number) {
            slot.write(number, pack(at_ms, trace, decision));
        }
    }

    /// What is there, oldest first.
    pub(crate) fn read(&self) -> Vec<Record> {
        let end = self.next.0.load(Ordering::Acquire);
        let kept = self.slots.len() as u64;
        (end.saturating_sub(kept)..end).filter_map(|number| self.one(number)).collect()
    }

    fn one(&self, number: u64) -> Option<Record> {
        Some(unpack(number, self.slot(number)?.read(number)?))
    }

    fn slot(&self, number: u64) -> Option<&Slot<AtomicU64, WORDS>> {
        self.slots.get(usize::try_from(number % self.slots.len() as u64).ok()?)
    }
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
