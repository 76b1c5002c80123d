//! Whether an endpoint takes requests, in one atomic word: a circuit breaker writes it, a router reads it without asking.
//!
//! The word knows no policy: when to open and for how long is the writer's. Each transition carries the generation
//! it was decided in and makes the next one, so that whoever comes late (a result of an attempt that began before the
//! breaker opened, a probe that was given up) changes nothing. Model-checked with loom in this file's tests.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// What a reader makes of an endpoint's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It takes requests.
    Available,
    /// It was ejected and its time is up: one request may go, as a probe.
    ProbeDue,
    /// One probe is on its way; until that instant nobody else may go.
    Probing {
        /// When the probe is given up as lost.
        until: Instant,
    },
    /// It takes none until that instant.
    Ejected {
        /// When the first probe may go.
        until: Instant,
    },
}

impl Standing {
    /// Whether a request may be sent there, be it as the probe.
    pub fn may_try(self) -> bool {
        matches!(self, Self::Available | Self::ProbeDue)
    }
}

/// One endpoint's availability: 2 bits of state, 22 of generation, 40 of time in milliseconds (34 years).
///
/// Reading costs one atomic load. Share it in an `Arc`. The generation wraps after four million transitions; a late
/// result would have to sleep through exactly so many to be taken for a present one.
pub struct Availability {
    /// What the word's times count from.
    epoch: Instant,
    word: Transitions<AtomicU64>,
}

impl Availability {
    /// An endpoint that takes requests. `now` is what its times count from.
    pub fn new(now: Instant) -> Self {
        Self { epoch: now, word: Transitions(AtomicU64::new(0)) }
    }

    /// How it stands.
    pub fn standing(&self, now: Instant) -> Standing {
        let word = unpack(self.word.0.read());
        match word.state {
            AVAILABLE => Standing::Available,
            _ if self.floor(now) >= word.at => Standing::ProbeDue,
            PROBING => Standing::Probing { until: self.instant(word.at) },
            _ => Standing::Ejected { until: self.instant(word.at) },
        }
    }

    /// The number of transitions so far, modulo 2²². What a writer saw when it let an attempt go, it hands back with
    /// that attempt's result.
    pub fn generation(&self) -> u32 {
        unpack(self.word.0.read()).generation
    }

    /// The generation, if requests may go freely: for an attempt that will be judged later. One load.
    pub fn pass(&self) -> Option<u32> {
        let word = unpack(self.word.0.read());
        (word.state == AVAILABLE).then_some(word.generation)
    }

    /// Claims the one probe, if it is due; gives the generation it is judged in. A probe that is neither
    /// [closed](Self::close), [ejected](Self::eject) nor [released](Self::release) until `lost_at` is given up, and
    /// the next one may go.
    pub fn claim_probe(&self, now: Instant, lost_at: Instant) -> Option<u32> {
        self.word.claim(self.floor(now), self.ceil(lost_at))
    }

    /// Takes no requests until that instant. `false`, and nothing done, if the generation has passed.
    pub fn eject(&self, generation: u32, until: Instant) -> bool {
        self.word.eject(generation, self.ceil(until))
    }

    /// Takes requests again: the probe has succeeded. `false`, and nothing done, if the generation has passed or no
    /// probe was out.
    pub fn close(&self, generation: u32) -> bool {
        self.word.end_probe(generation, AVAILABLE)
    }

    /// Gives the probe back unjudged: the next one is due at once. `false`, and nothing done, as in
    /// [`close`](Self::close).
    pub fn release(&self, generation: u32) -> bool {
        self.word.end_probe(generation, EJECTED)
    }

    /// Ends an ejection before its time: a probe is due at once. For who has learnt elsewhere that the endpoint is back,
    /// as Envoy's outlier detection does by active health checks (`successful_active_health_check_uneject_host`). `false`,
    /// and nothing done, unless it is ejected and its time is not up.
    pub fn uneject(&self, now: Instant) -> bool {
        self.word.uneject(self.floor(now))
    }

    /// Whole milliseconds since the epoch, down.
    fn floor(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.epoch).as_millis()).unwrap_or(MAX_AT).min(MAX_AT)
    }

    /// Whole milliseconds since the epoch, up: nobody is let in early for rounding.
    fn ceil(&self, instant: Instant) -> u64 {
        let nanos = instant.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(MAX_AT).min(MAX_AT)
    }

    fn instant(&self, at: u64) -> Instant {
        self.epoch.checked_add(Duration::from_millis(at)).unwrap_or(self.epoch)
    }
}

impl fmt::Debug for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = unpack(self.word.0.read());
        let state = match word.state {
            AVAILABLE => "available",
            PROBING => "probing",
            _ => "ejected",
        };
        f.debug_struct("Availability")
            .field("state", &state)
            .field("generation", &word.generation)
            .field("at_ms", &word.at)
            .finish()
    }
}

const AVAILABLE: u64 = 0;
const EJECTED: u64 = 1;
const PROBING: u64 = 2;

const STATE_BITS: u32 = 2;
const GENERATION_BITS: u32 = 22;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
const MAX_AT: u64 = (1 << (u64::BITS - STATE_BITS - GENERATION_BITS)) - 1;

/// The word, taken apart.
#[derive(Clone, Copy)]
struct Parts {
    state: u64,
    generation: u32,
    /// Ejected: when a probe is due. Probing: when the probe is lost. Milliseconds since the epoch.
    at: u64,
}

fn unpack(word: u64) -> Parts {
    #[allow(clippy::cast_possible_truncation, reason = "masked to 22 bits")]
    let generation = (word >> STATE_BITS) as u32 & GENERATION_MASK;
    Parts { state: word & ((1 << STATE_BITS) - 1), generation, at: word >> (STATE_BITS + GENERATION_BITS) }
}

/// The word of the next generation.
fn next(generation: u32, state: u64, at: u64) -> u64 {
    let generation = generation.wrapping_add(1) & GENERATION_MASK;
    state | u64::from(generation) << STATE_BITS | at << (STATE_BITS + GENERATION_BITS)
}

/// What the transitions need of an atomic: the standard library's in use, loom's in its tests.
trait Word {
    fn read(&self) -> u64;
    fn replace(&self, old: u64, new: u64) -> bool;
}

impl Word for AtomicU64 {
    fn read(&self) -> u64 {
        AtomicU64::load(self, Ordering::Acquire)
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The transitions, in whole milliseconds. None loops: whoever loses a race was late.
struct Transitions<W>(W);

impl<W: Word> Transitions<W> {
    fn claim(&self, now: u64, lost_at: u64) -> Option<u32> {
        let old = self.0.read();
        let word = unpack(old);
        if word.state == AVAILABLE || now < word.at {
            return None;
        }
        let new = next(word.generation, PROBING, lost_at);
        self.0.replace(old, new).then(|| unpack(new).generation)
    }

    fn eject(&self, generation: u32, until: u64) -> bool {
        let old = self.0.read();
        let word = unpack(old);
        word.generation == generation
            && word.state != EJECTED
            && self.0.replace(old, next(generation, EJECTED, until))
    }

    fn uneject(&self, now: u64) -> bool {
        let old = self.0.read();
        let word = unpack(old);
        word.state == EJECTED && now < word.at && self.0.replace(old, next(word.generation, EJECTED, now))
    }

    fn end_probe(&self, generation: u32, state: u64) -> bool {
        let old = self.0.read();
        let word = unpack(old);
        word.generation == generation
            && word.state == PROBING
            && self.0.replace(old, next(generation, state, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_round_and_shows_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let word = Availability::new(start);
        assert_eq!(word.standing(start), Standing::Available);
        let first = word.pass().expect("available");

        assert!(word.eject(first, at(5000)));
        assert!(word.pass().is_none());
        assert_eq!(word.standing(at(4999)), Standing::Ejected { until: at(5000) });
        assert_eq!(word.claim_probe(at(4999), at(9000)), None);
        assert!(!word.eject(first, at(99_000)), "a late failure prolongs nothing");

        assert_eq!(word.standing(at(5000)), Standing::ProbeDue);
        let probe = word.claim_probe(at(5000), at(9000)).expect("due");
        assert_eq!(word.standing(at(5001)), Standing::Probing { until: at(9000) });
        assert_eq!(word.claim_probe(at(5001), at(9001)), None, "one probe at a time");
        assert!(!word.close(first), "a late success closes nothing");

        assert!(word.release(probe));
        assert_eq!(word.standing(at(5001)), Standing::ProbeDue, "a probe given back is due again");
        let lost = word.claim_probe(at(5002), at(6000)).expect("due");
        let probe = word.claim_probe(at(6000), at(7000)).expect("the probe before is lost");
        assert!(!word.close(lost), "and too late");
        assert!(word.close(probe));
        assert_eq!(word.standing(at(6000)), Standing::Available);
        assert!(!word.uneject(at(6001)), "it is not ejected");

        assert!(word.eject(word.generation(), at(66_000)));
        assert!(word.uneject(at(7000)));
        assert_eq!(word.standing(at(7000)), Standing::ProbeDue, "one may try it, and no more");
        assert!(!word.uneject(at(7000)), "its time is up already");
        let probe = word.claim_probe(at(7000), at(9000)).expect("due");
        assert!(!word.uneject(at(7001)), "the probe is out");
        assert!(word.eject(probe, at(80_000)), "and its verdict stands");
    }

    #[test]
    fn far_and_fine_times_are_rounded_against_the_visitor() {
        let start = Instant::now();
        let word = Availability::new(start);
        let odd = Duration::from_nanos(1_000_001);
        assert!(word.eject(0, start + odd));
        assert!(!word.standing(start + odd).may_try());
        assert!(word.standing(start + Duration::from_millis(2)).may_try());

        let word = Availability::new(start);
        assert!(word.eject(0, start + Duration::from_secs(100 * 365 * 24 * 3600)));
        assert_eq!(unpack(word.word.0.read()).at, MAX_AT);
        assert!(!word.standing(start).may_try());
    }

    #[test]
    fn the_generation_wraps_within_its_bits() {
        let word = unpack(next(GENERATION_MASK, PROBING, MAX_AT));
        assert_eq!((word.state, word.generation, word.at), (PROBING, 0, MAX_AT));
    }

    /// Every interleaving of a few threads on the word, by loom. Loom runs as an ordinary library here: the
    /// transitions are generic over the atomic, so no build flag is needed.
    mod interleavings {
        use loom::{
            sync::{
                Arc,
                atomic::{AtomicU64, Ordering},
            },
            thread,
        };

        use super::super::{AVAILABLE, EJECTED, PROBING, Transitions, Word, next, unpack};

        impl Word for AtomicU64 {
            fn read(&self) -> u64 {
                AtomicU64::load(self, Ordering::Acquire)
            }

            fn replace(&self, old: u64, new: u64) -> bool {
                self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
            }
        }

        /// Generation 1, ejected until 5.
        fn ejected() -> Arc<Transitions<AtomicU64>> {
            Arc::new(Transitions(AtomicU64::new(next(0, EJECTED, 5))))
        }

        fn both<T: 'static, U: 'static>(
            one: impl FnOnce() -> T + 'static,
            other: impl FnOnce() -> U + 'static,
        ) -> (T, U) {
            let other = thread::spawn(other);
            (one(), other.join().expect("no panic"))
        }

        #[test]
        fn loom_one_probe_of_three_claims() {
            loom::model(|| {
                let word = ejected();
                let (second, third) = (word.clone(), word.clone());
                let own = word.clone();
                let (one, (two, three)) = both(
                    move || own.claim(5, 9).is_some(),
                    move || both(move || second.claim(5, 9).is_some(), move || third.claim(6, 9).is_some()),
                );
                assert_eq!(u8::from(one) + u8::from(two) + u8::from(three), 1);
                assert_eq!(unpack(word.0.read()).state, PROBING);
            });
        }

        #[test]
        fn loom_a_probe_has_one_verdict() {
            loom::model(|| {
                let word = ejected();
                let probe = word.claim(5, 9).expect("due");
                let (own, other) = (word.clone(), word.clone());
                // The guard is dropped while its result is on the way.
                let (closed, released) =
                    both(move || own.end_probe(probe, AVAILABLE), move || other.end_probe(probe, EJECTED));
                assert!(closed ^ released);
                let after = unpack(word.0.read());
                assert_eq!(after.state, if closed { AVAILABLE } else { EJECTED });
                assert_eq!(after.generation, probe + 1);
            });
        }

        #[test]
        fn loom_late_results_change_nothing() {
            loom::model(|| {
                let word = Arc::new(Transitions(AtomicU64::new(0)));
                let (own, other) = (word.clone(), word.clone());
                // Two attempts of generation 0 fail at once; a probe follows whoever was first.
                let (one, (two, probe)) = both(
                    move || own.eject(0, 5),
                    move || {
                        let ejected = other.eject(0, 5);
                        (ejected, other.claim(5, 9))
                    },
                );
                assert!(one ^ two, "exactly one ejects");
                let probe = probe.expect("somebody had ejected by then");
                assert!(!word.eject(0, 99), "late");
                assert!(word.end_probe(probe, AVAILABLE));
            });
        }

        /// Whoever claims the probe before or after the ejection was cut short, it is one, and its verdict is taken.
        #[test]
        fn loom_an_ejection_that_is_cut_short_has_one_probe() {
            loom::model(|| {
                let word = ejected();
                let (early, other) = (word.clone(), word.clone());
                let own = word.clone();
                let (was_cut, (one, two)) = both(
                    move || early.uneject(4),
                    move || both(move || own.claim(4, 9), move || other.claim(5, 9)),
                );
                assert!(!(one.is_some() && two.is_some()), "two probes");
                match one.or(two) {
                    Some(probe) => assert!(word.end_probe(probe, AVAILABLE)),
                    // Each had lost its race to the cut.
                    None => assert!(was_cut && word.claim(4, 9).is_some()),
                }
            });
        }

        #[test]
        fn loom_a_lost_probe_and_its_successor() {
            loom::model(|| {
                let word = ejected();
                let lost = word.claim(5, 9).expect("due");
                let (own, other) = (word.clone(), word.clone());
                let (late, successor) =
                    both(move || own.end_probe(lost, AVAILABLE), move || other.claim(9, 20));
                let after = unpack(word.0.read());
                match successor {
                    // The successor's claim stands, whatever the lost one says now.
                    Some(probe) => {
                        assert!(!late && after.state == PROBING && after.generation == probe);
                    }
                    None => assert!(late && after.state == AVAILABLE),
                }
            });
        }
    }
}
