//! Locks by name: who waits for which, how often and how long.
//!
//! No runtime tells that. A [`Lock`] is a [`Mutex`] that is tried first: where it is free, it costs one addition more than
//! the mutex; where it is held, the wait is timed and noted at its [site](SiteState), already as it begins, so that somebody who
//! waits for ever is seen while he does. It deliberately knows
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

use loquat_core::{Clock, LockProbe};

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

/// Touched by those who have to wait, before and after.
struct Waits {
    /// Since when those wait that still do; no longer than the program has threads.
    standing: Vec<Instant>,
    /// Of the waits that are over.
    count: u64,
    long: u64,
    total: Duration,
    longest: Duration,
    /// When the present window began, how long was waited in it, up to when that is summed, and how long in the window before.
    since: Instant,
    now: Duration,
    summed: Instant,
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
    /// How often it was held by somebody else. This and what follows counts the waits that still last.
    pub waits: u64,
    /// How many wait at this moment.
    pub waiting: usize,
    /// How many of the waits took longer than 1 ms.
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

    /// Watches locks that somebody else has, under that name: those of a transport's pool, say. Otherwise as [`lock`](Self::lock).
    pub fn probe(&self, name: &str) -> Arc<dyn LockProbe> {
        self.site(name)
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
        let waits = Mutex::new(Waits::new(clock.now()));
        Self { name: name.into(), clock, taken: AtomicU64::new(0), waits }
    }

    /// What was waited until now, and now. The clock is read under the lock, so that no instant comes after a later one.
    fn waits(&self) -> (MutexGuard<'_, Waits>, Instant) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        waits.sum(now);
        (waits, now)
    }

    #[cold]
    fn begin(&self) -> Instant {
        let (mut waits, now) = self.waits();
        waits.standing.push(now);
        now
    }

    #[cold]
    fn end(&self, began: Instant) {
        let (mut waits, now) = self.waits();
        if let Some(index) = waits.standing.iter().position(|since| *since == began) {
            waits.standing.swap_remove(index);
        }
        let waited = now.saturating_duration_since(began);
        waits.count += 1;
        waits.long += u64::from(waited > LONG);
        waits.total = waits.total.saturating_add(waited);
        waits.longest = waits.longest.max(waited);
    }

    fn state(&self) -> SiteState {
        let (waits, now) = self.waits();
        let mut state = SiteState {
            name: self.name.clone(),
            taken: self.taken.load(Relaxed),
            waits: waits.count + waits.standing.len() as u64,
            waiting: waits.standing.len(),
            long_waits: waits.long,
            waited: waits.total,
            longest: waits.longest,
            share: waits.share(now),
        };
        for began in &waits.standing {
            let waited = now.saturating_duration_since(*began);
            state.long_waits += u64::from(waited > LONG);
            state.waited = state.waited.saturating_add(waited);
            state.longest = state.longest.max(waited);
        }
        state
    }
}

impl LockProbe for Site {
    fn taken(&self) {
        self.taken.fetch_add(1, Relaxed);
    }

    #[cold]
    fn waits(&self, wait: &mut dyn FnMut()) {
        let began = self.begin();
        wait();
        self.end(began);
    }
}

impl Waits {
    fn new(now: Instant) -> Self {
        let zero = Duration::ZERO;
        let (standing, before) = (Vec::new(), None);
        Self {
            standing,
            count: 0,
            long: 0,
            total: zero,
            longest: zero,
            since: now,
            now: zero,
            summed: now,
            before,
        }
    }

    /// Adds what those who stand there have waited since the last time, each to its window.
    fn sum(&mut self, now: Instant) {
        let standing = u32::try_from(self.standing.len()).unwrap_or(u32::MAX);
        let waited = |from: Instant, to: Instant| to.saturating_duration_since(from).saturating_mul(standing);
        let end = self.since + WINDOW;
        if now < end {
            self.now = self.now.saturating_add(waited(self.summed, now));
        } else if now < end + WINDOW {
            self.before = Some(self.now.saturating_add(waited(self.summed, end)));
            (self.now, self.since) = (waited(end, now), end);
        } else {
            self.before = Some(WINDOW.saturating_mul(standing));
            (self.now, self.since) = (Duration::ZERO, now);
        }
        self.summed = now;
    }

    fn share(&self, now: Instant) -> f64 {
        let window =
            now.saturating_duration_since(self.since) + self.before.map_or(Duration::ZERO, |_| WINDOW);
        let waited = self.now.saturating_add(self.before.unwrap_or_default());
        if window.is_zero() { 0.0 } else { waited.as_secs_f64() / window.as_secs_f64() }
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
        let began = self.site.begin();
        let guard = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        self.site.end(began);
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
        let wait = |millis| {
            let began = lock.site.begin();
            clock.advance(Duration::from_millis(millis));
            lock.site.end(began);
        };
        assert_eq!(only(&locks).share, 0.0);
        clock.advance(Duration::from_millis(4_800));
        wait(200);
        assert!((only(&locks).share - 0.04).abs() < 1e-9 && !only(&locks).is_contended());
        wait(100);
        assert!((only(&locks).share - 0.3 / 5.1).abs() < 1e-9 && only(&locks).is_contended());
        clock.advance(Duration::from_millis(9_900)); // 5 s into the second window
        assert!((only(&locks).share - 0.02).abs() < 1e-9);
        clock.advance(Duration::from_secs(60));
        assert_eq!((only(&locks).share, only(&locks).waits), (0.0, 2));
        assert_eq!(only(&locks).waited, Duration::from_millis(300));
    }

    #[test]
    fn a_lock_of_somebody_elses_is_seen_at_its_name() {
        let clock = Arc::new(ManualClock::new());
        let locks = Locks::new(clock.clone());
        let probe = locks.probe("pool");
        probe.taken();
        probe.taken();
        probe.waits(&mut || {
            clock.advance(Duration::from_millis(3));
            assert_eq!(only(&locks).waiting, 1);
        });
        let state = only(&locks);
        assert_eq!((&*state.name, state.taken, state.waits, state.waiting), ("pool", 2, 1, 0));
        assert_eq!((state.long_waits, state.longest), (1, Duration::from_millis(3)));
    }

    /// A lock that is never given back, or given back and taken again by the same thread each time, has waits that do not end.
    #[test]
    fn a_wait_that_lasts_is_seen_while_it_does() {
        let clock = Arc::new(ManualClock::new());
        let locks = Locks::new(clock.clone());
        let lock = locks.lock("stuck", ());
        let began = lock.site.begin();
        clock.advance(Duration::from_secs(6));
        let state = only(&locks);
        assert_eq!((state.waits, state.waiting, state.long_waits), (1, 1, 1));
        assert_eq!((state.waited, state.longest), (Duration::from_secs(6), Duration::from_secs(6)));
        assert!((state.share - 1.0).abs() < 1e-9, "{state:?}");
        let other = lock.site.begin();
        clock.advance(Duration::from_secs(6)); // 4 s of two of them in the first window, 2 s in the second
        assert!((only(&locks).share - 18.0 / 12.0).abs() < 1e-9, "{:?}", only(&locks));
        clock.advance(Duration::from_secs(100));
        assert!((only(&locks).share - 2.0).abs() < 1e-9, "{:?}", only(&locks));
        lock.site.end(began);
        lock.site.end(other);
        let state = only(&locks);
        assert_eq!((state.waits, state.waiting, state.waited), (2, 0, Duration::from_secs(112 + 106)));
    }

    #[test]
    fn names_are_bounded() {
        let locks = Locks::new(Arc::new(ManualClock::new()));
        for index in 0..1000 {
            drop(locks.lock(&format!("lock {index}"), ()));
        }
        assert_eq!(locks.list().len(), MAX_SITES);
        let beyond = locks.lock("one more", ());
        beyond.site.end(beyond.site.begin());
        let waited: Vec<_> =
            locks.list().into_iter().filter(|state| state.waits > 0).map(|state| state.name).collect();
        assert_eq!(waited, ["_other".into()]);
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
