//! L1: values that are made seldom and read all the time, such as compiled templates.
//!
//! Readers load one pointer and look into a map that never changes under them: no lock, no shared counter that two threads would
//! fight for. A writer copies the map, which is as long as its templates are many, and puts the copy in its place. What
//! is over the limit goes by second chance (CLOCK): what was read since the last look stays.

use std::{
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;

use super::{CacheStats, counters::Counters, hashing::BuildReady};

/// What a value is kept under: the hash of its source (`Templates::hash`) and a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShelfKey {
    /// A cryptographic hash of the source: equal hashes are equal sources.
    pub hash: [u8; 32],
    /// Which version of it; 0 where there is one only.
    pub version: u64,
}

impl ShelfKey {
    /// The key of a source, by its BLAKE3 hash. 1.6 µs for 4 KB: to be kept, not computed for each look.
    pub fn of(source: &str, version: u64) -> Self {
        Self { hash: *blake3::hash(source.as_bytes()).as_bytes(), version }
    }
}

impl Hash for ShelfKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Part of a good hash is a good hash.
        let mut first = [0; 8];
        first.iter_mut().zip(self.hash).for_each(|(to, from)| *to = from);
        state.write_u64(u64::from_le_bytes(first) ^ self.version.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
}

type Map<V> = HashMap<ShelfKey, Arc<Slot<V>>, BuildReady>;

struct Slot<V> {
    value: Arc<V>,
    was_read: AtomicBool,
}

/// A bounded map that is read without locks.
pub struct Shelf<V> {
    map: ArcSwap<Map<V>>,
    writing: Mutex<()>,
    max_entries: usize,
    counters: Counters,
}

impl<V> Shelf<V> {
    /// A shelf for so many values, at least one.
    pub fn new(max_entries: usize) -> Self {
        let map = ArcSwap::from_pointee(Map::default());
        Self { map, writing: Mutex::new(()), max_entries: max_entries.max(1), counters: Counters::default() }
    }

    /// Reads a value where it lies. Faster than [`Shelf::find`] where many threads read the same one.
    pub fn read<R>(&self, key: &ShelfKey, read: impl FnOnce(&V) -> R) -> Option<R> {
        let began = self.counters.begin();
        let map = self.map.load();
        let slot = map.get(key);
        self.note(slot);
        self.counters.over(began);
        slot.map(|slot| read(&slot.value))
    }

    /// A value to keep.
    pub fn find(&self, key: &ShelfKey) -> Option<Arc<V>> {
        let began = self.counters.begin();
        let map = self.map.load();
        let slot = map.get(key);
        self.note(slot);
        self.counters.over(began);
        slot.map(|slot| Arc::clone(&slot.value))
    }

    fn note(&self, slot: Option<&Arc<Slot<V>>>) {
        match slot {
            Some(slot) => {
                // Read first: a line that is only read is every thread's.
                if !slot.was_read.load(Relaxed) {
                    slot.was_read.store(true, Relaxed);
                }
                self.counters.hit(0);
            }
            None => self.counters.miss(0),
        }
    }

    /// The value, made if it is not there. One thread makes at a time; a failure is not kept.
    ///
    /// # Errors
    /// What `make` says.
    pub fn find_or_make<E>(&self, key: ShelfKey, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        if let Some(value) = self.find(&key) {
            return Ok(value);
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = self.map.load().get(&key) {
            return Ok(Arc::clone(&slot.value));
        }
        let value = Arc::new(make()?);
        self.insert(key, Arc::clone(&value));
        Ok(value)
    }

    /// The caller holds `writing`.
    fn insert(&self, key: ShelfKey, value: Arc<V>) {
        let mut map = Map::clone(&self.map.load());
        while map.len() >= self.max_entries && !map.contains_key(&key) {
            let unread =
                map.iter().find(|(_, slot)| !slot.was_read.swap(false, Relaxed)).map(|(key, _)| *key);
            // All were read: the look has taken their marks, and the first one goes.
            let Some(victim) = unread.or_else(|| map.keys().next().copied()) else { break };
            map.remove(&victim);
            self.counters.evicted();
        }
        map.insert(key, Arc::new(Slot { value, was_read: AtomicBool::new(false) }));
        self.counters.inserted();
        self.map.store(Arc::new(map));
    }

    /// Takes a value out; who holds it keeps it.
    pub fn remove(&self, key: &ShelfKey) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut map = Map::clone(&self.map.load());
        map.remove(key);
        self.map.store(Arc::new(map));
    }

    /// Takes everything out.
    pub fn clear(&self) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.map.store(Arc::new(Map::default()));
    }

    /// What happened so far; bytes are not known here.
    pub fn stats(&self) -> CacheStats {
        let mut stats = CacheStats { entries: self.map.load().len() as u64, ..CacheStats::default() };
        self.counters.add_to(&mut stats);
        stats
    }
}

impl<V> fmt::Debug for Shelf<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("entries", &self.map.load().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> ShelfKey {
        ShelfKey::of("source", number)
    }

    #[test]
    fn a_value_is_made_once_and_a_failure_is_not_kept() {
        let shelf = Shelf::new(4);
        assert_eq!(shelf.find_or_make(key(1), || Err::<u32, _>("no")), Err("no"));
        assert_eq!(shelf.find_or_make(key(1), || Ok::<_, &str>(5)).map(|v| *v), Ok(5));
        assert_eq!(shelf.find_or_make(key(1), || Ok::<_, &str>(6)).map(|v| *v), Ok(5));
        assert_eq!(shelf.read(&key(1), |v| *v), Some(5));
        assert_eq!(shelf.read(&key(2), |v| *v), None);
        shelf.remove(&key(1));
        assert_eq!(shelf.find(&key(1)), None);
    }

    #[test]
    fn what_is_read_stays_and_the_rest_is_bounded() {
        let shelf = Shelf::new(8);
        for number in 0..1000 {
            let _ = shelf.find_or_make(key(number), || Ok::<_, ()>(number));
            assert!(number == 0 || shelf.read(&key(0), |v| *v) == Some(0), "after {number}");
            assert!(shelf.stats().entries <= 8);
        }
    }
}
