//! Locks by name: who waits for which, how often and how long.
//!
//! No runtime tells that. A [`Lock`] is a [`Mutex`] that is tried first: where it is free, it costs one addition more than
//! the mutex; where it is held, the wait is timed and noted at its [site](SiteState), outside of the lock. It deliberately knows
//! nothing of a lock that is held across an `.await`: this one's guard is the standard library's, which is not `Send`.
//!
//! Like the rest of the workspace, it does not poison: whoever takes it after a panic gets the value as it was left.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use loquat_core::Clock;

/// Most sites with a name of their own; the locks of those beyond share `_other`. A program names its locks by hand.
const MAX_SITES: usize = 256;
/// Over how long a share of waiting is taken: long enough to be no accident, short enough to be the present.
const WINDOW: Duration = Duration::from_secs(10);
/// From here on a single wait counts as long: 1 ms is what a chunk of an answer may be late without anybody noticing.
const LONG: Duration = Duration::from_millis(1);
/// From here on a site is contended: one part in twenty of the time, somebody stands there.
const CONTENDED: f64 = 0.05;

/// A program's named locks. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Locks(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    sites: Mutex<Vec<Arc<Site>>>,
}

struct Site {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    taken: AtomicU64,
    waits: Mutex<Waits>,
}

/// Touched by those who had to wait, after they have waited.
struct Waits {
    count: u64,
    long: u64,
    total: Duration,
    longest: Duration,
    /// When the present window began, and how long was waited in it and in the one before.
    since: Instant,
    now: Duration,
    before: Option<Duration>,
}

/// What happened at the locks of one name.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SiteState {
    /// As it was named.
    pub name: Arc<str>,
    /// How often a lock was taken.
    pub taken: u64,
    /// How often it was held by somebody else.
    pub waits: u64,
    /// How many of those waits took longer than 1 ms.
    pub long_waits: u64,
    /// All waits together.
    pub waited: Duration,
    /// The longest.
    pub longest: Duration,
    /// Time waited by the time that passed, over the last ten to twenty seconds; above 1 where several wait at once.
    pub share: f64,
}

impl SiteState {
    /// Whether more than 5 % of the time somebody stands there.
    pub fn is_contended(&self) -> bool {
        self.share > CONTENDED
    }
}

impl Locks {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { clock, sites: Mutex::default() }))
    }

    /// A lock of that name around that value; locks of one name are shown as one. At most 256 names: locks beyond those are
    /// shown as `_other`.
    pub fn lock<T>(&self, name: &str, value: T) -> Lock<T> {
        Lock { site: self.site(name), value: Mutex::new(value) }
    }

    /// All names, the longest waited for first.
    pub fn list(&self) -> Vec<SiteState> {
        let sites = self.0.sites.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut states: Vec<SiteState> = sites.iter().map(|site| site.state()).collect();
        states.sort_by_key(|state| std::cmp::Reverse(state.waited));
        states
    }

    fn site(&self, name: &str) -> Arc<Site> {
        let mut sites = self.0.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |sites: &[Arc<Site>], name: &str| sites.iter().find(|site| *site.name == *name).cloned();
        if let Some(site) = known(&sites, name) {
            return site;
        }
        let name = if sites.len() < MAX_SITES - 1 { name } else { "_other" };
        known(&sites, name).unwrap_or_else(|| {
            let site = Arc::new(Site::new(name, self.0.clock.clone()));
            sites.push(site.clone());
            site
        })
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Site {
    fn new(name: &str, clock: Arc<dyn Clock>) -> Self {
        let (zero, since) = (Duration::ZERO, clock.now());
        let waits = Waits { count: 0, long: 0, total: zero, longest: zero, since, now: zero, before: None };
        Self { name: name.into(), clock, taken: AtomicU64::new(0), waits: Mutex::new(waits) }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.turn(self.clock.now());
        waits
    }

    #[cold]
    fn waited(&self, waited: Duration) {
        let mut waits = self.waits();
        waits.count += 1;
        waits.long += u64::from(waited > LONG);
        waits.total = waits.total.saturating_add(waited);
        waits.longest = waits.longest.max(waited);
        waits.now = waits.now.saturating_add(waited);
    }

    fn state(&self) -> SiteState {
        let waits = self.waits();
        let window = self.clock.now().saturating_duration_since(waits.since)
            + waits.before.map_or(Duration::ZERO, |_| WINDOW);
        let waited = waits.now.saturating_add(waits.before.unwrap_or_default());
        SiteState {
            name: self.name.clone(),
            taken: self.taken.load(Relaxed),
            waits: waits.count,
            long_waits: waits.long,
            waited: waits.total,
            longest: waits.longest,
            share: if window.is_zero() { 0.0 } else { waited.as_secs_f64() / window.as_secs_f64() },
        }
    }
}

impl Waits {
    /// A new window, where the present one is over.
    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed < WINDOW {
            return;
        }
        let is_next = passed < WINDOW * 2;
        self.before = Some(if is_next { self.now } else { Duration::ZERO });
        self.now = Duration::ZERO;
        self.since = if is_next { self.since + WINDOW } else { now };
    }
}

/// A mutex whose waits are seen; see [`Locks::lock`].
pub struct Lock<T> {
    site: Arc<Site>,
    value: Mutex<T>,
}

impl<T> Lock<T> {
    /// Waits until nobody else has it. Blocks the thread, as a mutex does: hold it for some instructions, never across an
    /// `.await`.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.site.taken.fetch_add(1, Relaxed);
        match self.value.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => self.wait(),
        }
    }

    #[cold]
    fn wait(&self) -> MutexGuard<'_, T> {
        let began = self.site.clock.now();
        let guard = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.site.clock.now().saturating_duration_since(began);
        self.site.waited(waited);
        guard
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waited = self.site.state().waited;
        f.debug_struct("Lock").field("name", &self.site.name).field("waited", &waited).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use loquat_core::{SystemClock, test_util::ManualClock};

    use super::*;

    fn only(locks: &Locks) -> SiteState {
        let [state] = locks.list().try_into().expect("one site");
        state
    }

    #[test]
    fn a_wait_is_seen_at_its_name_and_a_free_lock_is_none() {
        let locks = Locks::new(Arc::new(SystemClock));
        let free = locks.lock("table", 1);
        let held = Arc::new(locks.lock("table", 2));
        assert_eq!(*free.lock() + *held.lock(), 3);
        assert_eq!((only(&locks).taken, only(&locks).waits), (2, 0));

        let guard = held.lock();
        let (sender, receiver) = mpsc::channel();
        let other = held.clone();
        let waiting = thread::spawn(move || {
            sender.send(()).expect("somebody listens");
            *other.lock()
        });
        receiver.recv().expect("it has begun");
        // It has counted itself in before it waits.
        while only(&locks).taken < 4 {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(30));
        drop(guard);
        assert_eq!(waiting.join().expect("no panic"), 2);
        let state = only(&locks);
        assert_eq!((state.waits, state.long_waits), (1, 1), "{state:?}");
        assert!(state.longest > LONG && state.waited == state.longest && state.share > 0.0, "{state:?}");
    }

    #[test]
    fn the_share_is_that_of_the_last_windows() {
        let clock = Arc::new(ManualClock::new());
        let locks = Locks::new(clock.clone());
        let lock = locks.lock("queue", ());
        assert_eq!(only(&locks).share, 0.0);
        clock.advance(Duration::from_secs(5));
        lock.site.waited(Duration::from_millis(200));
        assert!((only(&locks).share - 0.04).abs() < 1e-9 && !only(&locks).is_contended());
        lock.site.waited(Duration::from_millis(100));
        assert!((only(&locks).share - 0.06).abs() < 1e-9 && only(&locks).is_contended());
        clock.advance(Duration::from_secs(10)); // 5 s into the second window
        assert!((only(&locks).share - 0.02).abs() < 1e-9);
        clock.advance(Duration::from_secs(60));
        assert_eq!((only(&locks).share, only(&locks).waits), (0.0, 2));
        assert_eq!(only(&locks).waited, Duration::from_millis(300));
    }

    #[test]
    fn names_are_bounded() {
        let locks = Locks::new(Arc::new(ManualClock::new()));
        for index in 0..1000 {
            drop(locks.lock(&format!("lock {index}"), ()));
        }
        assert_eq!(locks.list().len(), MAX_SITES);
        locks.lock("one more", ()).site.waited(LONG);
        assert_eq!((&*locks.list()[0].name, locks.list()[0].long_waits), ("_other", 0));
    }

    #[test]
    fn a_panic_poisons_nothing() {
        let locks = Locks::new(Arc::new(SystemClock));
        let lock = locks.lock("shared", 7);
        let panicking = std::panic::AssertUnwindSafe(|| {
            let _guard = lock.lock();
            panic!("on purpose")
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert_eq!(*lock.lock(), 7);
    }
}
