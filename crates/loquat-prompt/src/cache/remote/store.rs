//! Questions to Redis within a budget, and what becomes of them.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    ops::Deref,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

use loquat_core::{Error, ErrorKind, Result};
use tokio::{sync::Semaphore, time::timeout};

use super::breaker::Breaker;
use super::codec::{Kind, Places, Reader, Sealer, Shelf, write_number};
use super::cost::CostModel;
use super::link::{self, Link};
use super::{Costs, RemoteConfig};

/// Most values asked for at once; the rest of a larger question is a miss.
const MAX_BATCH: usize = 512;
/// Most secret bytes' length that is no secret.
const MIN_SEAL_BYTES: usize = 16;

/// Redis as a cache that cannot hurt. Cheap to clone; clones share connection, breaker and what was learned.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

struct Inner {
    config: RemoteConfig,
    sealer: Sealer,
    link: Mutex<Option<Link>>,
    connecting: AtomicBool,
    breaker: Mutex<Breaker>,
    costs: CostModel,
    writes: Arc<Semaphore>,
    chance: RandomState,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    asked: AtomicU64,
    waited_nanos: AtomicU64,
    hits: AtomicU64,
    hit_bytes: AtomicU64,
    misses: AtomicU64,
    failures: AtomicU64,
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

/// What is to be written.
pub(super) struct Item {
    pub(super) key: String,
    pub(super) witness: Option<Witness>,
    pub(super) content: Vec<u8>,
}

/// What a value is to be of; empty where its key says so.
pub(super) type Witness = [u8; 32];

/// A value that was believed, where it came to lie.
pub(super) struct Content {
    value: Vec<u8>,
    start: usize,
}

impl Content {
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.value.drain(..self.start);
        self.value
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.value.get(self.start..).unwrap_or_default()
    }
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
            link: Mutex::new(None),
            connecting: AtomicBool::new(false),
            breaker: Mutex::new(Breaker::new(config.failures_to_open, config.open_for)),
            costs: CostModel::new(),
            writes: Arc::new(Semaphore::new(config.max_writes.min(Semaphore::MAX_PERMITS))),
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
        *lock(&self.0.link) = Some(link);
        Ok(())
    }

    /// What was learned of costs.
    pub fn costs(&self) -> Costs {
        self.0.costs.costs()
    }

    pub(super) fn cost_model(&self) -> &CostModel {
        &self.0.costs
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

    pub(super) fn witness(&self, text: &str) -> Witness {
        self.0.sealer.witness(text)
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
            refused: counters.refused.load(Relaxed),
            disbelieved: counters.disbelieved.load(Relaxed),
            written: counters.written.load(Relaxed),
            unwritten: counters.unwritten.load(Relaxed),
            is_open: lock(&self.0.breaker).is_open(Instant::now()),
        }
    }

    /// The connection, if there is one and Redis is not being left alone; without one, one is begun.
    fn link(&self) -> Option<Link> {
        if !lock(&self.0.breaker).admits(Instant::now()) {
            self.0.counters.refused.fetch_add(1, Relaxed);
            return None;
        }
        let link = lock(&self.0.link).clone();
        if link.is_none() {
            self.0.counters.refused.fetch_add(1, Relaxed);
            self.begin_connecting();
        }
        link
    }

    fn begin_connecting(&self) {
        if self.0.connecting.swap(true, Relaxed) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let connected = this.connect().await;
            if connected.is_err() {
                this.failed();
            }
            this.0.connecting.store(false, Relaxed);
        });
    }

    fn failed(&self) {
        self.0.counters.failures.fetch_add(1, Relaxed);
        if lock(&self.0.breaker).failed(Instant::now()) {
            // A new one when it is tried again: this one may hang for ever, or lead to a master that is none any more.
            *lock(&self.0.link) = None;
        }
    }

    /// Runs a command within the budget.
    async fn run<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut link = self.link()?;
        self.0.counters.asked.fetch_add(1, Relaxed);
        let began = Instant::now();
        let answered = timeout(self.0.config.budget, link.query(command)).await;
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.counters.waited_nanos.fetch_add(nanos, Relaxed);
        match answered {
            Ok(Ok(value)) => {
                lock(&self.0.breaker).succeeded();
                self.0.costs.asked(began.elapsed());
                Some(value)
            }
            // Full, read-only, loading: Redis is well, and has nothing for us.
            Ok(Err(error))
                if matches!(error.kind(), redis::ErrorKind::Server(_) | redis::ErrorKind::Extension)
                    && !is_moved(&error) =>
            {
                None
            }
            Ok(Err(_)) => {
                self.failed();
                *lock(&self.0.link) = None;
                None
            }
            Err(_) => {
                self.failed();
                None
            }
        }
    }

    /// The content under a key.
    pub(super) async fn read(&self, shelf: &Shelf, key: &str) -> Option<Content> {
        let value = self.run::<Option<Vec<u8>>>(redis::cmd("GET").arg(key)).await.flatten();
        let content = value.and_then(|value| self.open(shelf, key, &[], value));
        self.count(std::slice::from_ref(&content));
        content
    }

    /// The contents under these keys, in their order, asked for at once, and what each is to be of, found out meanwhile.
    pub(super) async fn read_all(
        &self,
        shelf: &Shelf,
        keys: &[String],
        witnesses: impl FnOnce() -> Vec<Witness>,
    ) -> (Vec<Option<Content>>, Vec<Witness>) {
        let asked = keys.get(..keys.len().min(MAX_BATCH)).unwrap_or_default();
        let (values, witnesses) = if let [key] = asked {
            let mut command = redis::cmd("GET");
            let (value, witnesses) = beside(self.run(command.arg(key)), witnesses).await;
            (vec![value.flatten()], witnesses)
        } else {
            let mut command = redis::cmd("MGET");
            let (values, witnesses) = beside(self.run(command.arg(asked)), witnesses).await;
            let values: Option<Vec<Option<Vec<u8>>>> = values;
            (values.filter(|values| values.len() == asked.len()).unwrap_or_default(), witnesses)
        };
        let opened = asked.iter().zip(&witnesses).zip(values);
        let mut contents: Vec<Option<Content>> =
            opened.map(|((key, witness), value)| self.open(shelf, key, witness, value?)).collect();
        contents.resize_with(keys.len(), || None);
        self.count(&contents);
        (contents, witnesses)
    }

    fn count(&self, contents: &[Option<Content>]) {
        let hits = contents.iter().flatten().count();
        self.0.counters.hits.fetch_add(hits as u64, Relaxed);
        self.0.counters.misses.fetch_add((contents.len() - hits) as u64, Relaxed);
        let bytes: usize = contents.iter().flatten().map(|content| content.len()).sum();
        self.0.counters.hit_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// A value's content, if it is to be believed.
    fn open(&self, shelf: &Shelf, key: &str, of: &[u8], value: Vec<u8>) -> Option<Content> {
        let is_short = value.len() <= self.0.config.max_value_bytes;
        let content =
            if is_short { self.0.sealer.open(shelf.kind, key, &shelf.tenant, of, &value) } else { None };
        let start = content.map(|content| value.len() - content.len());
        if start.is_none() {
            self.disbelieve();
        }
        Some(Content { value, start: start? })
    }

    pub(super) fn disbelieve(&self) {
        self.0.counters.disbelieved.fetch_add(1, Relaxed);
    }

    /// Writes contents beside the caller; what cannot be written now is left out.
    pub(super) fn write(&self, shelf: &Shelf, items: Vec<Item>) {
        let given = items.len();
        let items: Vec<(String, Vec<u8>)> = items
            .into_iter()
            .map(|Item { key, witness, content }| {
                let of = witness.as_ref().map_or(&[][..], |witness| witness);
                let value = self.0.sealer.seal(shelf.kind, &key, &shelf.tenant, of, &content);
                (key, value)
            })
            .filter(|(_, value)| value.len() <= self.0.config.max_value_bytes)
            .collect();
        self.0.counters.unwritten.fetch_add((given - items.len()) as u64, Relaxed);
        if items.is_empty() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.0.writes).try_acquire_owned() else {
            self.0.counters.unwritten.fetch_add(items.len() as u64, Relaxed);
            return;
        };
        let this = self.clone();
        tokio::spawn(async move {
            for (key, value) in items {
                let keep_for = this.keep_for(&key);
                let millis = u64::try_from(keep_for.as_millis()).unwrap_or(u64::MAX).max(1);
                let mut command = redis::cmd("SET");
                command.arg(&key).arg(value).arg("PX").arg(millis);
                let done = this.run::<()>(&command).await;
                let counters = &this.0.counters;
                if done.is_some() { &counters.written } else { &counters.unwritten }.fetch_add(1, Relaxed);
            }
            drop(permit);
        });
    }

    /// A tenth more or less, by chance.
    fn keep_for(&self, key: &str) -> Duration {
        let chance = self.0.chance.hash_one((key, Instant::now())) % 2001;
        self.0.config.keep_for.mul_f64(0.9 + chance as f64 / 10_000.0)
    }

    /// A prompt fragment of that name and version, if the fleet has it. Versions never change: a new text is a new version.
    pub async fn fragment(&self, tenant: &str, name: &str, version: u64) -> Option<String> {
        let shelf = self.shelf(Kind::Fragment, tenant);
        let key = self.key(&shelf, &[name.as_bytes(), &version.to_le_bytes()]);
        let content = self.read(&shelf, &key).await?;
        String::from_utf8(content.into_bytes()).ok()
    }

    /// Gives the fleet a prompt fragment.
    pub fn put_fragment(&self, tenant: &str, name: &str, version: u64, text: &str) {
        let shelf = self.shelf(Kind::Fragment, tenant);
        let key = self.key(&shelf, &[name.as_bytes(), &version.to_le_bytes()]);
        self.write(&shelf, vec![Item { key, witness: None, content: text.as_bytes().to_vec() }]);
    }

    /// A count that was bought from a remote counter: how many tokens that model finds in that request, by the request's bytes.
    pub async fn bought_count(&self, tenant: &str, model: &str, request: &[u8]) -> Option<u64> {
        let shelf = self.shelf(Kind::Count, tenant);
        let key = self.key(&shelf, &[model.as_bytes(), request]);
        let content = self.read(&shelf, &key).await?;
        Reader(&content).number()
    }

    /// Remembers such a count for the fleet.
    pub fn put_bought_count(&self, tenant: &str, model: &str, request: &[u8], tokens: u64) {
        let shelf = self.shelf(Kind::Count, tenant);
        let key = self.key(&shelf, &[model.as_bytes(), request]);
        let mut content = Vec::new();
        write_number(tokens, &mut content);
        self.write(&shelf, vec![Item { key, witness: None, content }]);
    }

    /// Removes everything below the prefix from a standalone or sentinel-led server; how many keys. For `loquat cache clear`.
    ///
    /// # Errors
    /// Redis cannot be asked, or is a cluster, whose nodes are cleared by its own tools.
    pub async fn clear(&self) -> Result<u64> {
        let mut link = self.whole_link().await?;
        let (mut cursor, mut removed) = (0, 0);
        loop {
            let keys;
            (cursor, keys) = self.scan(&mut link, cursor).await?;
            if !keys.is_empty() {
                removed += link.query::<u64>(redis::cmd("UNLINK").arg(&keys)).await.map_err(unasked)?;
            }
            if cursor == 0 {
                return Ok(removed);
            }
        }
    }

    /// How many values of each kind there are below the prefix (`tokens`, `count`, `fragment`, `answer`). Looks at every key of the
    /// server: for people, not for programs.
    ///
    /// # Errors
    /// As [`Remote::clear`].
    pub async fn inventory(&self) -> Result<BTreeMap<String, u64>> {
        let mut link = self.whole_link().await?;
        let (mut cursor, mut kinds) = (0, BTreeMap::new());
        loop {
            let keys;
            (cursor, keys) = self.scan(&mut link, cursor).await?;
            for key in keys {
                let below = key.get(self.0.config.prefix.len() + 1..).unwrap_or_default();
                let kind = below.split(':').next().unwrap_or_default();
                *kinds.entry(kind.to_owned()).or_default() += 1;
            }
            if cursor == 0 {
                return Ok(kinds);
            }
        }
    }

    async fn scan(&self, link: &mut Link, cursor: u64) -> Result<(u64, Vec<String>)> {
        let pattern = format!("{}:*", self.0.config.prefix.replace(['*', '?', '[', ']', '\\'], "?"));
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(512);
        link.query(&scan).await.map_err(unasked)
    }

    /// A connection to a server that holds everything, made now if there is none.
    async fn whole_link(&self) -> Result<Link> {
        let link = lock(&self.0.link).clone();
        let link = match link {
            Some(link) => link,
            None => link::connect(&self.0.config).await?,
        };
        match link {
            Link::One(_) => Ok(link),
            Link::Cluster(_) => {
                let what = "a cluster is looked through and cleared node by node, by its own tools";
                Err(Error::new(ErrorKind::Unsupported, what))
            }
        }
    }

    /// Waits until everything that was given to Redis is written, or left out. For a program's end.
    pub async fn flush(&self) {
        let all = u32::try_from(self.0.config.max_writes).unwrap_or(u32::MAX);
        // Closed never; and what is acquired is given back at once.
        drop(self.0.writes.acquire_many(all).await);
    }
}

/// Asks, and works while the answer is under way.
async fn beside<A, W>(asked: impl Future<Output = A>, work: impl FnOnce() -> W) -> (A, W) {
    let mut asked = pin!(asked);
    let first = poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await;
    if let Poll::Ready(answer) = first {
        return (answer, work());
    }
    // The question is with the connection's own task, which sends it in its next turn.
    tokio::task::yield_now().await;
    let worked = work();
    (asked.await, worked)
}

fn unasked(error: redis::RedisError) -> Error {
    Error::new(ErrorKind::Connection, "the remote cache cannot be asked").with_source(error)
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
