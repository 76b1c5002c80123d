//! One tenant's texts under one tokenizer: a sharded LRU of its own.
//!
//! Tenants are apart by construction: a look-up goes to the tenant's own map, so there is no key that could be somebody else's.
//! Sixteen shards, each the crate `lru` behind a lock, and before each a few places for what was asked last, which are read
//! without the lock: a comparison of 4 KB under it, and the list that it keeps in order, are what two threads wait for. What
//! is read there does not move in the list; it is marked, and stays once when its turn to go comes (CLOCK).

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use lru::LruCache;

use super::hashing::BuildReady;

const SHARDS: usize = 16;
/// Places before each shard: 4 KiB for a partition.
const PLACES: usize = 32;
/// Marked entries that are passed over in a row before one goes all the same.
const CHANCES: usize = 8;
/// What an entry costs beside its text and tokens: list node, table slot, allocations.
const OVERHEAD_BYTES: usize = 192;

/// What is known of a text.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) count: usize,
    /// Not there where only the count was asked for.
    pub(crate) tokens: Option<Arc<[u32]>>,
}

/// A text and what is known of it.
#[derive(Debug)]
struct Item {
    hash: u64,
    text: Box<str>,
    entry: Entry,
    was_read: AtomicBool,
}

#[derive(Debug)]
struct Key(Arc<Item>);

/// What a key is found by, without making one.
trait Query {
    fn hash(&self) -> u64;
    fn text(&self) -> &str;
}

impl Query for Key {
    fn hash(&self) -> u64 {
        self.0.hash
    }

    fn text(&self) -> &str {
        &self.0.text
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
        state.write_u64(self.0.hash);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash && self.0.text == other.0.text
    }
}

impl Eq for Key {}

/// The list knows the items by themselves: they are their own keys.
type List = LruCache<Key, (), BuildReady>;

#[derive(Debug)]
struct Shard {
    list: Mutex<List>,
    /// Written under the lock, so that nothing stands here that the list does not have.
    places: [ArcSwapOption<Item>; PLACES],
}

impl Shard {
    fn new() -> Self {
        Self {
            list: Mutex::new(LruCache::unbounded_with_hasher(BuildReady)),
            places: std::array::from_fn(|_| ArcSwapOption::empty()),
        }
    }

    fn place(&self, hash: u64) -> Option<&ArcSwapOption<Item>> {
        self.places.get(usize::try_from(hash >> 40).unwrap_or_default() % PLACES)
    }

    /// Where an item stands, something else does from now on. The caller holds the lock.
    fn replace(&self, old: &Arc<Item>, new: Option<Arc<Item>>) {
        if let Some(place) = self.place(old.hash)
            && place.load().as_ref().is_some_and(|item| Arc::ptr_eq(item, old))
        {
            place.store(new);
        }
    }

    fn evict(&self) -> Option<Arc<Item>> {
        let mut list = self.lock();
        for _ in 0..CHANCES {
            let (Key(item), ()) = list.pop_lru()?;
            if !item.was_read.swap(false, Relaxed) {
                self.replace(&item, None);
                return Some(item);
            }
            list.put(Key(item), ());
        }
        let (Key(item), ()) = list.pop_lru()?;
        self.replace(&item, None);
        Some(item)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct Partition {
    shards: Box<[Shard]>,
    bytes: AtomicUsize,
    entries: AtomicUsize,
    /// Where the next one is evicted.
    hand: AtomicUsize,
}

fn size(text: usize, entry: &Entry) -> usize {
    OVERHEAD_BYTES + text + entry.tokens.as_ref().map_or(0, |tokens| tokens.len() * 4 + 16)
}

impl Partition {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::new()).collect(),
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
        let shard = self.shard(hash)?;
        let place = shard.place(hash)?;
        let last = place.load();
        if let Some(item) = last.as_ref()
            && item.hash == hash
            && &*item.text == text
        {
            // Read first: a line that is only read is every thread's.
            if !item.was_read.load(Relaxed) {
                item.was_read.store(true, Relaxed);
            }
            return Some(read(&item.entry));
        }
        let mut list = shard.lock();
        let (Key(item), ()) = list.get_key_value(&(hash, text) as &dyn Query)?;
        // One that is read all the time keeps its place, and is asked again when the next one wants it.
        if !last.as_ref().is_some_and(|last| last.was_read.swap(false, Relaxed)) {
            place.store(Some(Arc::clone(item)));
        }
        Some(read(&item.entry))
    }

    /// Keeps an entry; how many bytes more there are now.
    pub(crate) fn insert(&self, hash: u64, text: &str, entry: Entry) -> usize {
        let Some(shard) = self.shard(hash) else { return 0 };
        let added = size(text.len(), &entry);
        let item = Arc::new(Item { hash, text: text.into(), entry, was_read: AtomicBool::new(false) });
        let replaced = {
            let mut list = shard.lock();
            let replaced = list.pop_entry(&(hash, text) as &dyn Query);
            if let Some((Key(old), ())) = &replaced {
                shard.replace(old, Some(Arc::clone(&item)));
            }
            list.put(Key(item), ());
            replaced
        };
        self.bytes.fetch_add(added, Relaxed);
        match replaced {
            Some((Key(old), ())) => {
                let removed = size(text.len(), &old.entry);
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
            let Some(item) = self.shards.get(next).and_then(Shard::evict) else { continue };
            let removed = size(item.text.len(), &item.entry);
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
