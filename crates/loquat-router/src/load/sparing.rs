//! An endpoint that failed is spared: for a second, then two, four … Then one request tries it, and the others when that is
//! answered. All in one atomic word.
//!
//! The upper 48 bits are until when (milliseconds since the router's beginning, which end after 8,900 years), the lower 16 how
//! often it was spared since its last answer; nothing but zeros while all is well. Times are handed in. Model-checked below.

use std::sync::atomic::AtomicU64;

use super::word::{Word, update};

/// Until when, and the how manieth time.
#[derive(Debug)]
pub(crate) struct Sparing<W = AtomicU64>(W);

/// For how long one that failed is spared at first. Milliseconds.
const FIRST_MS: u64 = 1_000;
const COUNT_BITS: u32 = 16;
/// Beyond it the time of sparing does not grow: 18 hours.
const MOST_DOUBLINGS: u64 = 16;

impl Default for Sparing {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl<W: Word> Sparing<W> {
    pub(crate) fn is_spared(&self, now_ms: u64) -> bool {
        self.until_ms() > now_ms
    }

    pub(crate) fn until_ms(&self) -> u64 {
        self.0.read() >> COUNT_BITS
    }

    /// Whether the request that begins now is the one that tries the endpoint. The others go on as if it were spared until
    /// that one is answered, or for `trial_ms`.
    pub(crate) fn begins_trial(&self, now_ms: u64, trial_ms: u64) -> bool {
        // Read first: nearly always nothing has failed, and nothing is written.
        let trial = |word| {
            let (until, count) = unpack(word);
            (count > 0 && until <= now_ms).then(|| pack(now_ms.saturating_add(trial_ms), count))
        };
        update(&self.0, trial).is_some()
    }

    /// A request that began at `started_ms` failed. Of many that were under way when the endpoint failed, the first says it
    /// all; a trial that fails ends what kept the others away meanwhile.
    pub(crate) fn failed(&self, is_trial: bool, started_ms: u64, now_ms: u64, most_ms: u64) {
        update(&self.0, |word| {
            let (until, count) = unpack(word);
            let next = now_ms.saturating_add((FIRST_MS << count.min(MOST_DOUBLINGS)).min(most_ms));
            let next = if is_trial { next } else { next.max(until) };
            (is_trial || until <= started_ms).then(|| pack(next, count + 1))
        });
    }

    /// The trial was answered: all is well.
    pub(crate) fn end(&self) {
        update(&self.0, |word| (word != 0).then_some(0));
    }
}

fn pack(until_ms: u64, count: u64) -> u64 {
    until_ms.min(u64::MAX >> COUNT_BITS) << COUNT_BITS | count.min((1 << COUNT_BITS) - 1)
}

fn unpack(word: u64) -> (u64, u64) {
    (word >> COUNT_BITS, word & ((1 << COUNT_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 30_000;

    #[test]
    fn doubles_up_to_its_bound_and_begins_anew_after_an_answer() {
        let sparing = Sparing::default();
        let mut now = 7;
        for expected in [1_000, 2_000, 4_000, 8_000, 16_000, MOST, MOST] {
            sparing.failed(false, now, now, MOST);
            assert_eq!(sparing.until_ms(), now + expected);
            sparing.failed(false, now - 1, now, MOST);
            assert_eq!(sparing.until_ms(), now + expected, "it was under way then");
            now += expected;
            assert!(!sparing.is_spared(now) && sparing.is_spared(now - 1));
        }
        assert!(sparing.begins_trial(now, 5_000) && !sparing.begins_trial(now + 4_999, 5_000));
        assert!(sparing.begins_trial(now + 5_000, 5_000), "the first never came back");
        sparing.end();
        assert!(!sparing.begins_trial(now, 5_000), "there is nothing to be tried");
        sparing.failed(false, now, now, MOST);
        assert_eq!(sparing.until_ms(), now + 1_000);
    }

    /// Failures without end, a bound without end, and times near the word's.
    #[test]
    fn nothing_overflows() {
        let sparing = Sparing::default();
        (0..70_000).for_each(|_| sparing.failed(true, 0, u64::MAX - 3, u64::MAX));
        assert_eq!(sparing.until_ms(), u64::MAX >> COUNT_BITS);
        assert!(sparing.begins_trial(u64::MAX, u64::MAX), "the last of all times is past");
    }

    mod interleavings {
        use loom::{sync::Arc, sync::atomic::AtomicU64, thread};

        use super::*;

        /// Failed at 0, spared until 1,000.
        fn spared() -> Arc<Sparing<AtomicU64>> {
            let sparing = Sparing(AtomicU64::new(0));
            sparing.failed(false, 0, 0, MOST);
            Arc::new(sparing)
        }

        fn join<T>(threads: Vec<thread::JoinHandle<T>>) -> Vec<T> {
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        }

        #[test]
        fn loom_one_request_tries_it_however_many_come() {
            loom::model(|| {
                let sparing = spared();
                let begin = |at| {
                    let sparing = sparing.clone();
                    thread::spawn(move || sparing.begins_trial(at, 5_000))
                };
                let others = vec![begin(1_000), begin(1_001)];
                let early = sparing.begins_trial(999, 5_000);
                assert!(!early, "it is spared");
                let own = sparing.begins_trial(1_000, 5_000);
                let trials = join(others).into_iter().chain([own]).filter(|is_trial| *is_trial).count();
                assert_eq!(trials, 1);
            });
        }

        /// While a trial fails, others come, and a request from before the first failure fails as well: the sparing that the
        /// trial's failure sets stands, and nobody else got in.
        #[test]
        fn loom_a_trial_that_fails_spares_twice_as_long() {
            loom::model(|| {
                let sparing = spared();
                let (trial, late) = (sparing.clone(), sparing.clone());
                let trial = thread::spawn(move || {
                    let is_trial = trial.begins_trial(1_000, 5_000);
                    if is_trial {
                        trial.failed(true, 1_000, 1_500, MOST);
                    }
                    is_trial
                });
                let late = thread::spawn(move || late.failed(false, 0, 1_400, MOST));
                let other = sparing.begins_trial(1_000, 5_000);
                if other {
                    sparing.failed(true, 1_000, 1_500, MOST);
                }
                let trial = trial.join().expect("no panic");
                late.join().expect("no panic");
                assert!(trial ^ other, "one of both");
                assert_eq!(unpack(sparing.0.read()), (3_500, 2));
            });
        }

        /// An answered trial ends it, whoever looks meanwhile; a request of before the failure, failing late, begins a first
        /// sparing at most.
        #[test]
        fn loom_an_answered_trial_ends_it() {
            loom::model(|| {
                let sparing = spared();
                let (trial, late) = (sparing.clone(), sparing.clone());
                let threads = vec![
                    thread::spawn(move || {
                        assert!(trial.begins_trial(1_000, 5_000), "nobody else does");
                        trial.end();
                    }),
                    thread::spawn(move || late.failed(false, 0, 1_400, MOST)),
                ];
                join(threads);
                assert!([(0, 0), (2_400, 1)].contains(&unpack(sparing.0.read())), "{:?}", sparing.0.read());
            });
        }
    }
}
