//! Questions to Redis within a budget, and what becomes of them.

mod inventory;

use std::{
    fmt,
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use loquat_core::{Error, ErrorKind, Result};
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::RemoteConfig;
use super::breaker::Breaker;
use super::codec::{Kind, Lock, Places, Reader, Sealer, Shelf, write_number};
use super::link::{self, Link};

/// Most values asked for at once; the rest of a larger question is a miss.
pub(super) const MAX_BATCH: usize = 512;
/// Most secret bytes' length that is no secret.
const MIN_SEAL_BYTES: usize = 16;
/// Longest budget that is kept to; what is longer is meant as none.
const MAX_BUDGET: Duration = Duration::from_secs(24 * 3600);
/// Longest that a value is kept: ten years, which Redis can still write down.
const MAX_KEEP: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Redis as a cache that cannot hurt. Cheap to clone; clones share connection, breaker and what was learned.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

struct Inner {
    config: RemoteConfig,
    sealer: Sealer,
    state: Mutex<State>,
    connecting: AtomicBool,
    writes: Arc<Semaphore>,
    /// Of values that wait to be written.
    waiting_bytes: AtomicUsize,
    chance: RandomState,
    counters: Counters,
}

struct State {
    link: Option<Link>,
    breaker: Breaker,
}

#[derive(Debug, Default)]
struct Counters {
    asked: AtomicU64,
    waited_nanos: AtomicU64,
    hits: AtomicU64,
    hit_bytes: AtomicU64,
    misses: AtomicU64,
    failures: AtomicU64,
    errors: AtomicU64,
    refused: AtomicU64,
    disbelieved: AtomicU64,
    written: AtomicU64,
    unwritten: AtomicU64,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RemoteStats {
    /// Questions, each for one value or many.
    pub asked: u64,
    /// How long they took, all together, the failed ones included.
    pub time: Duration,
    /// Values found.
    pub hits: u64,
    /// Bytes of the values found.
    pub hit_bytes: u64,
    /// Values not found, for whatever reason.
    pub misses: u64,
    /// Questions that failed or took too long.
    pub failures: u64,
    /// Questions that Redis answered with an error, such as that it is full or loading.
    pub errors: u64,
    /// Questions not asked, since the breaker was open or there was no connection.
    pub refused: u64,
    /// Values found that were not believed: cut, changed, of another version, tenant or key.
    pub disbelieved: u64,
    /// Values written.
    pub written: u64,
    /// Values not written: too large, too many at once, Redis full or gone.
    pub unwritten: u64,
    /// Whether Redis is being left alone now.
    pub is_open: bool,
}

/// What came of a question for several values.
pub(super) struct ReadAll<T> {
    /// What was made of each, in order.
    pub(super) made: Vec<Option<T>>,
    /// What opens each.
    pub(super) locks: Vec<Lock>,
    /// Whether Redis answered.
    pub(super) is_answered: bool,
    pub(super) wait: Wait,
}

/// How long a question took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wait {
    pub(super) took: Duration,
    /// Whether that says something of the next time: it was an answer, or all the time that there was.
    pub(super) is_telling: bool,
}

/// What is to be written.
pub(super) struct Item {
    pub(super) key: String,
    pub(super) lock: Lock,
    pub(super) content: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remote {
    /// A remote tier that connects when it is first asked, beside the caller: until then everything is a miss.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`]: an address is none, or the seal is too short.
    pub fn try_new(config: RemoteConfig) -> Result<Self> {
        link::check(&config)?;
        if config.seal.expose().len() < MIN_SEAL_BYTES {
            let what = format!("the seal of the remote cache has fewer than {MIN_SEAL_BYTES} bytes");
            return Err(Error::new(ErrorKind::NotConfigured, what));
        }
        Ok(Self(Arc::new(Inner {
            sealer: Sealer::new(config.seal.expose(), &config.prefix),
            state: Mutex::new(State {
                link: None,
                breaker: Breaker::new(config.failures_to_open, config.open_for),
            }),
            connecting: AtomicBool::new(false),
            writes: Arc::new(Semaphore::new(config.max_writes.min(Semaphore::MAX_PERMITS))),
            waiting_bytes: AtomicUsize::new(0),
            chance: RandomState::new(),
            counters: Counters::default(),
            config,
        })))
    }

    /// Connects now and says what is wrong: for a program's start, and for `loquat cache`.
    ///
    /// # Errors
    /// Redis cannot be reached or refuses the user.
    pub async fn connect(&self) -> Result<()> {
        let link = link::connect(&self.0.config).await?;
        lock(&self.0.state).link = Some(link);
        Ok(())
    }

    pub(super) fn config(&self) -> &RemoteConfig {
        &self.0.config
    }

    pub(super) fn shelf(&self, kind: Kind, tenant: &str) -> Shelf {
        self.0.sealer.shelf(kind, tenant)
    }

    pub(super) fn places(&self, tenant: &str, fingerprint: &[u8]) -> Places {
        self.0.sealer.places(tenant, fingerprint)
    }

    /// What the value in a place is sealed with; `of` is what the content is of, where its key does not say it.
    pub(super) fn lock(&self, shelf: &Shelf, key: &str, of: &[u8]) -> Lock {
        self.0.sealer.lock(shelf, key, of)
    }

    pub(super) fn key(&self, shelf: &Shelf, parts: &[&[u8]]) -> String {
        self.0.sealer.key(shelf, parts)
    }

    /// What happened so far.
    pub fn stats(&self) -> RemoteStats {
        let counters = &self.0.counters;
        RemoteStats {
            asked: counters.asked.load(Relaxed),
            time: Duration::from_nanos(counters.waited_nanos.load(Relaxed)),
            hits: counters.hits.load(Relaxed),
            hit_bytes: counters.hit_bytes.load(Relaxed),
            misses: counters.misses.load(Relaxed),
            failures: counters.failures.load(Relaxed),
            errors: counters.errors.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            disbelieved: counters.disbelieved.load(Relaxed),
            written: counters.written.load(Relaxed),
            unwritten: counters.unwritten.load(Relaxed),
            is_open: lock(&self.0.state).breaker.is_open(Instant::now().into_std()),
        }
    }

    /// The connection, if there is one and Redis is not being left alone; without one, one is begun.
    fn link(&self, now: Instant) -> Option<Link> {
        let (admits, link) = {
            let mut state = lock(&self.0.state);
            state.link.take_if(|link| link.is_lost());
            let admits = state.breaker.admits(now.into_std());
            (admits, if admits { state.link.clone() } else { None })
        };
        if link.is_none() {
            self.0.counters.refused.fetch_add(1, Relaxed);
        }
        if admits && link.is_none() {
            self.begin_connecting();
        }
        link
    }

    fn begin_connecting(&self) {
        if self.0.connecting.swap(true, Relaxed) {
            return;
        }
        // Made here: a task that never ran is dropped with its runtime, too.
        let connecting = Connecting(self.clone());
        tokio::spawn(async move {
            let Connecting(this) = &connecting;
            if this.connect().await.is_err() {
                this.failed();
            }
        });
    }

    fn failed(&self) {
        self.0.counters.failures.fetch_add(1, Relaxed);
        let mut state = lock(&self.0.state);
        if state.breaker.failed(Instant::now().into_std()) {
            // A new one when it is tried again: this one may hang for ever, or lead to a master that is none any more.
            state.link = None;
        }
    }

    /// Runs a command within the budget.
    async fn run<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        self.run_beside(command, self.0.config.budget, || ()).await.0
    }

    /// Runs a command within a budget, and works while the answer is under way. Whatever is not needed for asking is done then.
    async fn run_beside<T: redis::FromRedisValue, W>(
        &self,
        command: &redis::Cmd,
        budget: Duration,
        work: impl FnOnce() -> W,
    ) -> (Option<T>, W, Wait) {
        let began = Instant::now();
        let Some(mut link) = self.link(began) else { return (None, work(), Wait::default()) };
        self.0.counters.asked.fetch_add(1, Relaxed);
        // Its timer is armed before this task waits for the first time: the runtime then sleeps until no later than that anyway, and need
        // not be woken to be told, which is a write and a look at the sockets in vain.
        let until = began + budget.min(MAX_BUDGET);
        let mut question = pin!(timeout_at(until, link.query(command)));
        let (answered, worked) = match poll_fn(|cx| Poll::Ready(question.as_mut().poll(cx))).await {
            Poll::Ready(answered) => (answered, work()),
            Poll::Pending => {
                // The question is with the connection's own task, which sends it in its next turn.
                tokio::task::yield_now().await;
                let worked = work();
                (question.await, worked)
            }
        };
        let took = began.elapsed();
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.counters.waited_nanos.fetch_add(nanos, Relaxed);
        match answered {
            Ok(Ok(value)) => {
                lock(&self.0.state).breaker.succeeded();
                (Some(value), worked, Wait { took, is_telling: true })
            }
            // Full, read-only, loading: Redis is well, and has nothing for us.
            Ok(Err(error))
                if matches!(error.kind(), redis::ErrorKind::Server(_) | redis::ErrorKind::Extension)
                    && !is_moved(&error) =>
            {
                self.0.counters.errors.fetch_add(1, Relaxed);
                (None, worked, Wait { took, is_telling: false })
            }
            Ok(Err(_)) => {
                self.failed();
                lock(&self.0.state).link = None;
                (None, worked, Wait { took, is_telling: false })
            }
            Err(_) => {
                self.failed();
                // It has cost its caller that long.
                (None, worked, Wait { took, is_telling: true })
            }
        }
    }

    /// What is made of the content under a key.
    pub(super) async fn read<T>(
        &self,
        shelf: &Shelf,
        key: &str,
        make: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut command = redis::cmd("GET");
        let budget = self.0.config.budget;
        let (value, lock, _) = self.run_beside(command.arg(key), budget, || self.lock(shelf, key, &[])).await;
        let value: Option<Vec<u8>> = value.flatten();
        let made = value.and_then(|value| self.open(shelf, &lock, &value, make));
        self.count(u64::from(made.is_some()), 1);
        made
    }

    /// What is made of the contents under these keys, asked for at once and within that time, and what opens each, found out meanwhile.
    pub(super) async fn read_all<T>(
        &self,
        shelf: &Shelf,
        keys: &[String],
        budget: Duration,
        locks: impl FnOnce() -> Vec<Lock>,
        mut make: impl FnMut(usize, &[u8]) -> Option<T>,
    ) -> ReadAll<T> {
        let asked = keys.get(..keys.len().min(MAX_BATCH)).unwrap_or_default();
        let (values, locks, wait) = if let [key] = asked {
            let mut command = redis::cmd("GET");
            let (value, locks, wait) = self.run_beside(command.arg(key), budget, locks).await;
            let value: Option<Option<Vec<u8>>> = value;
            (value.map(|value| vec![value]), locks, wait)
        } else {
            let mut command = redis::cmd("MGET");
            let (values, locks, wait) = self.run_beside(command.arg(asked), budget, locks).await;
            let values: Option<Vec<Option<Vec<u8>>>> = values;
            (values.filter(|values| values.len() == asked.len()), locks, wait)
        };
        let is_answered = values.is_some();
        let opened = values.into_iter().flatten().zip(&locks).enumerate();
        let mut made: Vec<Option<T>> = opened
            .map(|(index, (value, lock))| self.open(shelf, lock, &value?, |content| make(index, content)))
            .collect();
        made.resize_with(keys.len(), || None);
        let hits = made.iter().flatten().count();
        self.count(hits as u64, made.len() as u64);
        ReadAll { made, locks, is_answered, wait }
    }

    fn count(&self, hits: u64, of: u64) {
        self.0.counters.hits.fetch_add(hits, Relaxed);
        self.0.counters.misses.fetch_add(of - hits, Relaxed);
    }

    /// What is made of a value's content, if it is to be believed: one that nothing can be made of is not.
    fn open<T>(
        &self,
        shelf: &Shelf,
        lock: &Lock,
        value: &[u8],
        make: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let is_short = value.len() <= self.0.config.max_value_bytes;
        let content = if is_short { lock.open(shelf, value) } else { None };
        let made = content.and_then(|content| Some((content.len() as u64, make(content)?)));
        let Some((bytes, made)) = made else {
            self.0.counters.disbelieved.fetch_add(1, Relaxed);
            return None;
        };
        self.0.counters.hit_bytes.fetch_add(bytes, Relaxed);
        Some(made)
    }

    /// What is to be written under a key that says all of it.
    pub(super) fn item(&self, shelf: &Shelf, key: String, content: Vec<u8>) -> Item {
        Item { lock: self.lock(shelf, &key, &[]), key, content }
    }

    /// Writes contents beside the caller; what cannot be written now, or where no runtime would do it, is left out.
    pub(super) fn write(&self, shelf: &Shelf, items: Vec<Item>) {
        let given = items.len();
        let items: Vec<(String, Vec<u8>)> = items
            .into_iter()
            .map(|Item { key, lock, content }| (key, lock.seal(shelf, &content)))
            .filter(|(_, value)| value.len() <= self.0.config.max_value_bytes)
            .collect();
        self.0.counters.unwritten.fetch_add((given - items.len()) as u64, Relaxed);
        if items.is_empty() {
            return;
        }
        let waiting = Waiting::new(self, items.iter().map(|(_, value)| value.len()).sum());
        let permit = Arc::clone(&self.0.writes).try_acquire_owned();
        let (Some(mut waiting), Ok(permit), Ok(runtime)) = (waiting, permit, Handle::try_current()) else {
            self.0.counters.unwritten.fetch_add(items.len() as u64, Relaxed);
            return;
        };
        runtime.spawn(async move {
            for (key, value) in items {
                let (this, bytes) = (&waiting.remote, value.len());
                let keep_for = this.keep_for(&key);
                let millis = u64::try_from(keep_for.as_millis()).unwrap_or(u64::MAX).max(1);
                let mut command = redis::cmd("SET");
                command.arg(&key).arg(value).arg("PX").arg(millis);
                let done = this.run::<()>(&command).await;
                let counters = &this.0.counters;
                if done.is_some() { &counters.written } else { &counters.unwritten }.fetch_add(1, Relaxed);
                waiting.written(bytes);
            }
            drop(permit);
        });
    }

    /// A tenth more or less, by chance.
    fn keep_for(&self, key: &str) -> Duration {
        let chance = self.0.chance.hash_one((key, Instant::now())) % 2001;
        self.0.config.keep_for.min(MAX_KEEP).mul_f64(0.9 + chance as f64 / 10_000.0)
    }

    /// A prompt fragment of that name and version, if the fleet has it. Versions never change: a new text is a new version.
    pub async fn fragment(&self, tenant: &str, name: &str, version: u64) -> Option<String> {
        let shelf = self.shelf(Kind::Fragment, tenant);
        let key = self.key(&shelf, &[name.as_bytes(), &version.to_le_bytes()]);
        self.read(&shelf, &key, |content| String::from_utf8(content.to_vec()).ok()).await
    }

    /// Gives the fleet a prompt fragment, beside the caller. Outside of a runtime it is left out.
    pub fn put_fragment(&self, tenant: &str, name: &str, version: u64, text: &str) {
        let shelf = self.shelf(Kind::Fragment, tenant);
        let key = self.key(&shelf, &[name.as_bytes(), &version.to_le_bytes()]);
        self.write(&shelf, vec![self.item(&shelf, key, text.as_bytes().to_vec())]);
    }

    /// A count that was bought from a remote counter: how many tokens that model finds in that request, by the request's bytes.
    pub async fn bought_count(&self, tenant: &str, model: &str, request: &[u8]) -> Option<u64> {
        let shelf = self.shelf(Kind::Count, tenant);
        let key = self.key(&shelf, &[model.as_bytes(), request]);
        let number = |content: &[u8]| {
            let mut reader = Reader(content);
            reader.number().filter(|_| reader.0.is_empty())
        };
        self.read(&shelf, &key, number).await
    }

    /// Remembers such a count for the fleet, beside the caller. Outside of a runtime it is left out.
    pub fn put_bought_count(&self, tenant: &str, model: &str, request: &[u8], tokens: u64) {
        let shelf = self.shelf(Kind::Count, tenant);
        let key = self.key(&shelf, &[model.as_bytes(), request]);
        let mut content = Vec::new();
        write_number(tokens, &mut content);
        self.write(&shelf, vec![self.item(&shelf, key, content)]);
    }

    /// Waits until everything that was given to Redis is written, or left out. For a program's end.
    pub async fn flush(&self) {
        let all = u32::try_from(self.0.config.max_writes).unwrap_or(u32::MAX);
        // Closed never; and what is acquired is given back at once.
        drop(self.0.writes.acquire_many(all).await);
    }
}

/// Values that wait to be written, as long as they do; also where their task is dropped.
struct Waiting {
    remote: Remote,
    bytes: usize,
}

impl Waiting {
    /// `None` where so much waits already that these find no place.
    fn new(remote: &Remote, bytes: usize) -> Option<Self> {
        let waiting = Self { remote: remote.clone(), bytes };
        let before = remote.0.waiting_bytes.fetch_add(bytes, Relaxed);
        (before.saturating_add(bytes) <= remote.0.config.max_write_bytes).then_some(waiting)
    }

    fn written(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.remote.0.waiting_bytes.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.remote.0.waiting_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// Lasts as long as a connection is being made.
struct Connecting(Remote);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.0.connecting.store(false, Relaxed);
    }
}

/// A master that has become a replica says so in words of its own: that connection is of no more use.
fn is_moved(error: &redis::RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "NOAUTH"))
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("config", &self.0.config).finish_non_exhaustive()
    }
}
