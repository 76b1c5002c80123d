//! One tenant's texts under one tokenizer: a sharded LRU of its own.
//!
//! Tenants are apart by construction: a look-up goes to the tenant's own map, so there is no key that could be somebody else's.
//! Sixteen shards, each the crate `lru` behind a lock: on a 4 KB text a hit is two thirds hash and comparison, and what a
//! lock-free map would save (see `cargo xtask bench cache`) is less than either.

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use lru::LruCache;

use super::hashing::BuildReady;

const SHARDS: usize = 16;
/// What an entry costs beside its text and tokens: list node, table slot, allocations.
const OVERHEAD_BYTES: usize = 160;

/// What is known of a text.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) count: usize,
    /// Not there where only the count was asked for.
    pub(crate) tokens: Option<Arc<[u32]>>,
}

#[derive(Debug)]
struct Key {
    hash: u64,
    text: Box<str>,
}

/// What a key is found by, without making one.
trait Query {
    fn hash(&self) -> u64;
    fn text(&self) -> &str;
}

impl Query for Key {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn text(&self) -> &str {
        &self.text
    }
}

impl Query for (u64, &str) {
    fn hash(&self) -> u64 {
        self.0
    }

    fn text(&self) -> &str {
        self.1
    }
}

impl<'a> Borrow<dyn Query + 'a> for Key {
    fn borrow(&self) -> &(dyn Query + 'a) {
        self
    }
}

impl Hash for dyn Query + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(Query::hash(self));
    }
}

impl PartialEq for dyn Query + '_ {
    fn eq(&self, other: &Self) -> bool {
        Query::hash(self) == Query::hash(other) && self.text() == other.text()
    }
}

impl Eq for dyn Query + '_ {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for Key {}

type Shard = Mutex<LruCache<Key, Entry, BuildReady>>;

#[derive(Debug)]
pub(crate) struct Partition {
    shards: Box<[Shard]>,
    bytes: AtomicUsize,
    entries: AtomicUsize,
    /// Where the next one is evicted.
    hand: AtomicUsize,
}

fn lock(shard: &Shard) -> MutexGuard<'_, LruCache<Key, Entry, BuildReady>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size(text: usize, entry: &Entry) -> usize {
    OVERHEAD_BYTES + text + entry.tokens.as_ref().map_or(0, |tokens| tokens.len() * 4 + 16)
}

impl Partition {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(LruCache::unbounded_with_hasher(BuildReady))).collect(),
            bytes: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
        }
    }

    fn shard(&self, hash: u64) -> Option<&Shard> {
        // Bits from the middle: the table takes the lowest for its place and the highest for its tags.
        self.shards.get(usize::try_from(hash >> 32 & 15).unwrap_or_default())
    }

    /// Reads an entry where it lies.
    pub(crate) fn read<R>(&self, hash: u64, text: &str, read: impl FnOnce(&Entry) -> R) -> Option<R> {
        let mut shard = lock(self.shard(hash)?);
        shard.get(&(hash, text) as &dyn Query).map(read)
    }

    /// Keeps an entry; how many bytes more there are now.
    pub(crate) fn insert(&self, hash: u64, text: &str, entry: Entry) -> usize {
        let Some(shard) = self.shard(hash) else { return 0 };
        let (key, added) = (Key { hash, text: text.into() }, size(text.len(), &entry));
        let replaced = lock(shard).put(key, entry);
        self.bytes.fetch_add(added, Relaxed);
        match replaced {
            Some(old) => {
                let removed = size(text.len(), &old);
                self.bytes.fetch_sub(removed, Relaxed);
                added.saturating_sub(removed)
            }
            None => {
                self.entries.fetch_add(1, Relaxed);
                added
            }
        }
    }

    /// Takes the longest unused entry of the next shard out; how many bytes fewer there are now, 0 where there are none.
    pub(crate) fn evict(&self) -> usize {
        for _ in 0..self.shards.len() {
            let next = self.hand.fetch_add(1, Relaxed) % self.shards.len().max(1);
            let Some((key, entry)) = self.shards.get(next).and_then(|shard| lock(shard).pop_lru()) else {
                continue;
            };
            let removed = size(key.text.len(), &entry);
            self.bytes.fetch_sub(removed, Relaxed);
            self.entries.fetch_sub(1, Relaxed);
            return removed;
        }
        0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries.load(Relaxed)
    }
}
