//! Plain counters: what was opened, reused, and is open now.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use loquat_core::LockProbe;

use crate::Protocol;

/// What a transport did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// HTTP/1.1 connections made.
    pub http1_opened: u64,
    /// HTTP/2 connections made.
    pub http2_opened: u64,
    /// HTTP/1.1 connections open now, idle ones included.
    pub http1_open: usize,
    /// HTTP/2 connections open now.
    pub http2_open: usize,
    /// Requests that went over a connection which had carried another before, or carries others beside it.
    pub reused: u64,
    /// Requests repeated silently on another connection because the first had certainly not taken them.
    pub replaced: u64,
    /// How often a request had to wait for another's connection or a free place, and for how long all of them together.
    /// Making a connection of its own is not counted.
    pub waits: u64,
    /// See `waits`.
    pub waited: Duration,
    /// Large buffers taken, to decompress or to upload, and how many of them had been used before.
    pub buffers_taken: u64,
    /// See `buffers_taken`.
    pub buffers_reused: u64,
    /// Reads of HTTP/1.1 connections, each into memory of its thread or, for large bodies, of its connection; and how many of them found
    /// that there. Counted when the answer has ended.
    pub reads: u64,
    /// See `reads`.
    pub reads_reused: u64,
}

impl Stats {
    /// The part of all requests that found a connection already open, 0 to 1; 0 before the first.
    #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
    pub fn reuse_ratio(&self) -> f64 {
        let all = self.reused + self.http1_opened + self.http2_opened;
        if all == 0 { 0.0 } else { self.reused as f64 / all as f64 }
    }
}

impl Stats {
    /// The part of all that memory was needed for, reads of HTTP/1.1 and large buffers, for which none had to be made; 0 to 1, 0 before
    /// the first.
    #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
    pub fn buffer_hit_ratio(&self) -> f64 {
        let all = self.buffers_taken + self.reads;
        if all == 0 { 0.0 } else { (self.buffers_reused + self.reads_reused) as f64 / all as f64 }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    opened: [AtomicU64; 2],
    open: [AtomicUsize; 2],
    pub(crate) reused: AtomicU64,
    pub(crate) replaced: AtomicU64,
    waits: AtomicU64,
    waited_micros: AtomicU64,
    reads: AtomicU64,
    rooms_made: AtomicU64,
    pub(crate) locks: Locks,
}

/// Who watches the pool's locks, if anybody does.
#[derive(Default)]
pub(crate) struct Locks(OnceLock<Arc<dyn LockProbe>>);

impl Locks {
    /// `false` where somebody watches already; then none is made.
    pub(crate) fn watch(&self, probe: impl FnOnce() -> Arc<dyn LockProbe>) -> bool {
        let mut is_first = false;
        self.0.get_or_init(|| {
            is_first = true;
            probe()
        });
        is_first
    }

    /// Waits for that lock, and says so to who watches.
    pub(crate) fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        let Some(probe) = self.0.get() else { return mutex.lock().unwrap_or_else(PoisonError::into_inner) };
        probe.taken();
        match mutex.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let mut guard = None;
                // One that calls twice has it already.
                probe.waits(&mut || {
                    guard.get_or_insert_with(|| mutex.lock().unwrap_or_else(PoisonError::into_inner));
                });
                // One that does not call waits for nothing; the lock is had all the same.
                guard.unwrap_or_else(|| mutex.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Locks").field(&self.0.get().is_some()).finish()
    }
}

impl Counters {
    pub(crate) fn opened(&self, protocol: Protocol) {
        self.opened[protocol as usize].fetch_add(1, Relaxed);
        self.open[protocol as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self, protocol: Protocol) {
        self.open[protocol as usize].fetch_sub(1, Relaxed);
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.waits.fetch_add(1, Relaxed);
        self.waited_micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// So many reads, and how often memory was made for one.
    pub(crate) fn read(&self, reads: u32, made: u32) {
        self.reads.fetch_add(u64::from(reads), Relaxed);
        if made > 0 {
            self.rooms_made.fetch_add(u64::from(made), Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let reads = self.reads.load(Relaxed);
        let (one, two) = (Protocol::Http1 as usize, Protocol::Http2 as usize);
        Stats {
            http1_opened: self.opened[one].load(Relaxed),
            http2_opened: self.opened[two].load(Relaxed),
            http1_open: self.open[one].load(Relaxed),
            http2_open: self.open[two].load(Relaxed),
            reused: self.reused.load(Relaxed),
            replaced: self.replaced.load(Relaxed),
            waits: self.waits.load(Relaxed),
            waited: Duration::from_micros(self.waited_micros.load(Relaxed)),
            buffers_taken: 0,
            buffers_reused: 0,
            reads,
            // What one connection made another may have read into, and be not done with.
            reads_reused: reads.saturating_sub(self.rooms_made.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    /// Tells when it is told.
    struct Tells(mpsc::Sender<&'static str>, usize);

    impl LockProbe for Tells {
        fn taken(&self) {
            let _ = self.0.send("taken");
        }

        fn waits(&self, wait: &mut dyn FnMut()) {
            let _ = self.0.send("waits");
            (0..self.1).for_each(|_| wait());
            let _ = self.0.send("has it");
        }
    }

    #[test]
    fn a_lock_that_is_held_is_told_of_and_had_whatever_the_probe_does() {
        for calls in [0, 1, 2] {
            let (sender, told) = mpsc::channel();
            let (locks, mutex) = (Locks::default(), Mutex::new(1));
            drop(locks.lock(&mutex)); // nobody is told
            assert!(locks.watch(|| Arc::new(Tells(sender, calls))));
            assert!(!locks.watch(|| panic!("none is made")), "the first counts");
            let held = locks.lock(&mutex);
            assert_eq!(told.recv(), Ok("taken"));
            thread::scope(|scope| {
                let other = scope.spawn(|| *locks.lock(&mutex));
                assert_eq!([told.recv(), told.recv()], [Ok("taken"), Ok("waits")]);
                drop(held);
                assert_eq!(told.recv(), Ok("has it"));
                assert_eq!(other.join().expect("no panic"), 1);
            });
            assert!(told.try_recv().is_err());
        }
    }
}
