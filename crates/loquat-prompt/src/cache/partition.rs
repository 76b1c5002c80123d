//! One tenant's texts under one tokenizer: a sharded LRU of its own.
//!
//! Tenants are apart by construction: a look-up goes to the tenant's own map, so there is no key that could be somebody else's.
//! Sixteen shards, each the crate `lru` behind a lock, and before them some places for what was asked last, which are read
//! without a lock: a comparison of 4 KB under it, and the list that it keeps in order, are what two threads wait for. What
//! is read there does not move in the list; it is marked, and stays once when its turn to go comes (CLOCK).
//!
//! Where a text has its place is said by a hash of a sample of it, which takes a tenth of the time that a hash of all of it does;
//! the comparison is of all of it either way. Texts of one sample, foolish or hostile, share a place and take it from one another:
//! then they are found as all others are, by the hash of the whole, for the price of one comparison more.

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
/// Places before the shards: 4 KiB for a partition.
const PLACES: usize = 512;
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
    sample: u64,
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
struct Shard(Mutex<List>);

impl Shard {
    fn new() -> Self {
        Self(Mutex::new(LruCache::unbounded_with_hasher(BuildReady)))
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn evict(&self, places: &Places) -> Option<Arc<Item>> {
        let mut list = self.lock();
        for _ in 0..CHANCES {
            let (Key(item), ()) = list.pop_lru()?;
            if !item.was_read.swap(false, Relaxed) {
                places.replace(&item, None);
                return Some(item);
            }
            list.put(Key(item), ());
        }
        let (Key(item), ()) = list.pop_lru()?;
        places.replace(&item, None);
        Some(item)
    }
}

/// Where what was asked last lies. An item is put here and taken away under the lock of its shard, so that nothing stays that the
/// list does not have; items of two shards may push each other out, and are found again in their lists.
#[derive(Debug)]
struct Places(Box<[ArcSwapOption<Item>]>);

impl Places {
    fn of(&self, sample: u64) -> Option<&ArcSwapOption<Item>> {
        self.0.get(usize::try_from(sample >> 32).unwrap_or_default() % PLACES)
    }

    /// Where an item stands, something else does from now on.
    fn replace(&self, old: &Arc<Item>, new: Option<Arc<Item>>) {
        if let Some(place) = self.of(old.sample)
            && place.load().as_ref().is_some_and(|item| Arc::ptr_eq(item, old))
        {
            place.store(new);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Partition {
    shards: Box<[Shard]>,
    places: Places,
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
            places: Places((0..PLACES).map(|_| ArcSwapOption::empty()).collect()),
            bytes: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
        }
    }

    fn shard(&self, hash: u64) -> Option<&Shard> {
        // Bits from the middle: the table takes the lowest for its place and the highest for its tags.
        self.shards.get(usize::try_from(hash >> 32 & 15).unwrap_or_default())
    }

    /// Reads an entry where it lies, if it is among those that were asked last.
    #[inline]
    pub(crate) fn glance<R>(&self, sample: u64, text: &str, read: impl FnOnce(&Entry) -> R) -> Option<R> {
        let last = self.places.of(sample)?.load();
        let item = last.as_ref().filter(|item| item.sample == sample && &*item.text == text)?;
        // Read first: a line that is only read is every thread's.
        if !item.was_read.load(Relaxed) {
            item.was_read.store(true, Relaxed);
        }
        Some(read(&item.entry))
    }

    /// Reads an entry where it lies, by the hash of the whole; it is found at a glance the next time.
    pub(crate) fn read<R>(
        &self,
        (hash, sample): (u64, u64),
        text: &str,
        read: impl FnOnce(&Entry) -> R,
    ) -> Option<R> {
        let mut list = self.shard(hash)?.lock();
        let (Key(item), ()) = list.get_key_value(&(hash, text) as &dyn Query)?;
        let place = self.places.of(sample)?;
        // One that is read all the time keeps its place, and is asked again when the next one wants it.
        if !place.load().as_ref().is_some_and(|last| last.was_read.swap(false, Relaxed)) {
            place.store(Some(Arc::clone(item)));
        }
        Some(read(&item.entry))
    }

    /// Keeps an entry; how many bytes more there are now.
    pub(crate) fn insert(&self, (hash, sample): (u64, u64), text: Box<str>, entry: Entry) -> usize {
        let Some(shard) = self.shard(hash) else { return 0 };
        let bytes = text.len();
        let added = size(bytes, &entry);
        let item = Arc::new(Item { hash, sample, text, entry, was_read: AtomicBool::new(false) });
        let replaced = {
            let mut list = shard.lock();
            let replaced = list.pop_entry(&(hash, &*item.text) as &dyn Query);
            if let Some((Key(old), ())) = &replaced {
                self.places.replace(old, Some(Arc::clone(&item)));
            }
            list.put(Key(item), ());
            replaced
        };
        self.bytes.fetch_add(added, Relaxed);
        match replaced {
            Some((Key(old), ())) => {
                let removed = size(bytes, &old.entry);
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
            let Some(item) = self.shards.get(next).and_then(|shard| shard.evict(&self.places)) else {
                continue;
            };
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
