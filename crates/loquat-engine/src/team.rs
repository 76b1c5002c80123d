//! A few threads in lockstep: a spinning barrier between phases, a sleeping gate between steps.
//!
//! A token takes some 150 phases of 20–60 µs each; waking a sleeping thread costs as much as a phase, so within a step threads
//! spin (and yield after a while, for machines with less processors than threads think). Between steps they sleep.
//! A thread that fails breaks the barrier, and all others learn of it instead of waiting for ever.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard};

/// Spins before a waiting thread starts to yield: about 20 µs.
const SPINS: u32 = 4_000;
/// Yields before a thread at the gate goes to sleep.
const YIELDS: u32 = 64;

/// Another thread of the team has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// Where all threads of a team meet.
#[derive(Debug)]
pub(crate) struct Barrier {
    size: usize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
    broken: AtomicBool,
}

impl Barrier {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, arrived: 0.into(), generation: 0.into(), broken: false.into() }
    }

    pub(crate) fn wait(&self) -> Result<(), Broken> {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.size {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation.wrapping_add(1), Ordering::Release);
        } else {
            let mut turns = 0u32;
            while self.generation.load(Ordering::Acquire) == generation {
                if self.broken.load(Ordering::Acquire) {
                    return Err(Broken);
                }
                turns = turns.saturating_add(1);
                if turns < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
            }
        }
        if self.broken.load(Ordering::Acquire) { Err(Broken) } else { Ok(()) }
    }
}

/// Breaks the barrier if the thread that holds it unwinds.
#[derive(Debug)]
pub(crate) struct Membership<'a>(pub(crate) &'a Barrier);

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Release);
        }
    }
}

/// Where workers wait for the next command: counts commands, lets waiters sleep.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    opened: AtomicUsize,
    sleepers: Mutex<()>,
    wake: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        let guard = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        self.opened.fetch_add(1, Ordering::Release);
        drop(guard);
        self.wake.notify_all();
    }

    /// Waits until the gate has been opened more than `seen` times; returns how often it has.
    pub(crate) fn pass(&self, seen: usize) -> usize {
        for turn in 0..SPINS + YIELDS {
            let opened = self.opened.load(Ordering::Acquire);
            if opened != seen {
                return opened;
            }
            if turn < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let mut guard = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        while self.opened.load(Ordering::Acquire) == seen {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.opened.load(Ordering::Acquire)
    }
}

/// One buffer per thread: written by its owner before a barrier, read by all after it. The locks are never contended.
#[derive(Debug)]
pub(crate) struct Exchange(Vec<RwLock<Vec<f32>>>);

impl Exchange {
    pub(crate) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| RwLock::default()).collect())
    }

    /// Lets `fill` write the thread's own buffer, `length` numbers of unspecified content.
    pub(crate) fn write(&self, thread: usize, length: usize, fill: impl FnOnce(&mut [f32])) {
        let mut buffer = self.0[thread].write().unwrap_or_else(PoisonError::into_inner);
        buffer.resize(length, 0.0);
        fill(&mut buffer);
    }

    pub(crate) fn read(&self, thread: usize) -> RwLockReadGuard<'_, Vec<f32>> {
        self.0[thread].read().unwrap_or_else(PoisonError::into_inner)
    }

    /// All buffers, for reading.
    pub(crate) fn read_all(&self) -> Vec<RwLockReadGuard<'_, Vec<f32>>> {
        (0..self.0.len()).map(|thread| self.read(thread)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_do_not_overlap() {
        let (barrier, exchange) = (Barrier::new(3), Exchange::new(3));
        std::thread::scope(|scope| {
            for thread in 0..3usize {
                let (barrier, exchange) = (&barrier, &exchange);
                scope.spawn(move || {
                    for round in 0..500usize {
                        exchange.write(thread, 4, |buffer| buffer.fill(round as f32));
                        barrier.wait().unwrap();
                        assert!((0..3).all(|other| exchange.read(other)[3] == round as f32));
                        barrier.wait().unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn a_failing_thread_frees_the_others() {
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            let failing = scope.spawn(|| {
                let _membership = Membership(&barrier);
                panic!("on purpose");
            });
            assert_eq!(barrier.wait(), Err(Broken));
            assert!(failing.join().is_err());
        });
    }

    #[test]
    fn the_gate_wakes_sleepers() {
        let gate = Gate::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.pass(0));
            std::thread::sleep(std::time::Duration::from_millis(20));
            gate.open();
            assert_eq!(waiting.join().unwrap(), 1);
        });
    }
}
