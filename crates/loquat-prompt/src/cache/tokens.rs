//! L2: tokens and counts of texts, of all tenants, within one budget of bytes. How one tenant asks is in [`cached`](super::cached).
//!
//! A tenant's share is fair by construction: room is always made by the tenant that holds the most, so nobody who holds less
//! than an equal share (of 63 parts in 64: room is made for a while at once) ever loses an entry to another.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;

use super::admission::Admission;
use super::cached::CachedTokenizer;
use super::counters::{CacheStats, Counters};
use super::flight::Flights;
use super::grown::Grown;
use super::hashing::Keyed;
use super::partition::{Entry, Partition};
use crate::tokenizer::{Said, Tokenizer};

/// Limits of a [`TokenCache`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheLimits {
    /// Bytes of all texts, tokens and what keeps them. Default 64 MiB: some ten thousand messages.
    pub max_bytes: usize,
    /// Tenants, each with one tokenizer or several; beyond that a new one gets no cache. Default 1,024.
    pub max_partitions: usize,
    /// How long a segment of a long text is. Longer ones are found faster, shorter ones cost less when a text grows. Default
    /// 2 KiB: encoding one takes about 10 µs.
    pub segment_bytes: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_partitions: 1024, segment_bytes: 2 << 10 }
    }
}

/// The cache of all tenants. Cheap to clone; clones are the same cache.
#[derive(Debug, Clone)]
pub struct TokenCache(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) limits: CacheLimits,
    pub(super) hash: Keyed,
    owners: Mutex<Vec<Arc<Owner>>>,
    pub(super) bytes: AtomicUsize,
}

/// A tenant with a tokenizer.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) identity: u64,
    pub(super) tenant: Box<str>,
    pub(super) tokenizer: Arc<dyn Tokenizer>,
    pub(super) partition: Partition,
    pub(super) grown: Grown,
    /// What the template of the first prompt that was looked at says: at most eight pieces of its markup of 64 bytes or fewer, and
    /// parts of such; with what is known of each some 0.9 KB, which are in no budget. Where a user's words are given as markup, it may
    /// hold them, until it is cleared. Empty where nothing is kept.
    pub(super) said: ArcSwapOption<Vec<Said>>,
    pub(super) flights: Flights<Entry>,
    pub(super) admission: Admission,
    pub(super) counters: Counters,
}

impl TokenCache {
    /// An empty cache.
    pub fn new(limits: CacheLimits) -> Self {
        Self(Arc::new(Inner {
            limits,
            hash: Keyed::random(),
            owners: Mutex::new(Vec::new()),
            bytes: AtomicUsize::new(0),
        }))
    }

    /// That tokenizer with this cache before it, for that tenant alone. To be kept: it is where look-ups begin.
    pub fn tokenizer(&self, tenant: &str, tokenizer: &Arc<dyn Tokenizer>) -> CachedTokenizer {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut owners = self.0.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            owners.iter().find(|owner| &*owner.tenant == tenant && Arc::ptr_eq(&owner.tokenizer, tokenizer));
        let owner = match known {
            Some(owner) => Arc::clone(owner),
            None => {
                let owner = Arc::new(Owner {
                    identity: NEXT.fetch_add(1, Relaxed),
                    tenant: tenant.into(),
                    tokenizer: Arc::clone(tokenizer),
                    partition: Partition::new(),
                    grown: Grown::new(),
                    said: ArcSwapOption::empty(),
                    flights: Flights::new(),
                    admission: Admission::default(),
                    counters: Counters::default(),
                });
                if owners.len() >= self.0.limits.max_partitions {
                    // One that nobody holds any more makes room; where all are held, the new one keeps nothing.
                    match owners.iter().position(|owner| Arc::strong_count(owner) == 1) {
                        Some(idle) => self.forget(&owners.swap_remove(idle)),
                        None => return CachedTokenizer { cache: self.clone(), owner, keeps: false },
                    }
                }
                owners.push(Arc::clone(&owner));
                owner
            }
        };
        CachedTokenizer { cache: self.clone(), owner, keeps: true }
    }

    fn forget(&self, owner: &Owner) {
        owner.said.store(None);
        for evict in [|owner: &Owner| owner.grown.evict(), |owner: &Owner| owner.partition.evict()] {
            loop {
                let removed = evict(owner);
                if removed == 0 {
                    break;
                }
                self.0.bytes.fetch_sub(removed, Relaxed);
            }
        }
    }

    /// Takes out whatever a tenant has; all tenants' with `None`.
    pub fn clear(&self, tenant: Option<&str>) {
        let owners = self.0.owners.lock().unwrap_or_else(PoisonError::into_inner);
        for owner in owners.iter().filter(|owner| tenant.is_none_or(|tenant| &*owner.tenant == tenant)) {
            self.forget(owner);
        }
    }

    /// What happened so far; of one tenant, or of all.
    pub fn stats(&self, tenant: Option<&str>) -> CacheStats {
        let owners = self.0.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stats = CacheStats::default();
        for owner in owners.iter().filter(|owner| tenant.is_none_or(|tenant| &*owner.tenant == tenant)) {
            owner.counters.add_to(&mut stats);
            stats.entries += owner.partition.entries() as u64;
            stats.bytes += owner.bytes() as u64;
        }
        stats
    }

    /// Makes room for a while, once the budget is exceeded.
    pub(super) fn make_room(&self) {
        let max_bytes = self.0.limits.max_bytes;
        if self.0.bytes.load(Relaxed) <= max_bytes {
            return;
        }
        let owners = self.0.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = max_bytes - max_bytes / 64;
        // Each turn empties a partition or lets another tenant be the greatest: it ends.
        for _ in 0..owners.len() * 2 + 8 {
            let bytes = self.0.bytes.load(Relaxed);
            if bytes <= enough {
                break;
            }
            let Some((greatest, second)) = greatest(&owners) else { break };
            let wanted = (bytes - enough).min(greatest.surplus(&owners, second).max(1));
            let mut removed = 0;
            while removed < wanted {
                let one = greatest.evict();
                if one == 0 {
                    break;
                }
                removed += one;
            }
            self.0.bytes.fetch_sub(removed, Relaxed);
        }
    }
}

/// Grown prompts have at most so much of what a tenant has, and of all that may be: one part in this.
pub(super) const GROWN_PART: usize = 8;

impl Owner {
    fn bytes(&self) -> usize {
        self.partition.bytes() + self.grown.bytes()
    }

    /// Takes an entry out; how many bytes fewer there are now. What prompts keep alone does not speak against them: their turns are asked
    /// for sooner than an old segment.
    fn evict(&self) -> usize {
        if self.grown.copied_bytes() > self.bytes() / GROWN_PART {
            let removed = self.grown.evict();
            if removed > 0 {
                return removed;
            }
        }
        let removed = self.partition.evict();
        if removed == 0 {
            return self.grown.evict();
        }
        self.counters.evicted();
        removed
    }

    /// How much more this one's tenant has than the second greatest.
    fn surplus(&self, owners: &[Arc<Self>], second: usize) -> usize {
        let mine = owners.iter().filter(|owner| owner.tenant == self.tenant);
        mine.map(|owner| owner.bytes()).sum::<usize>().saturating_sub(second)
    }
}

/// The fullest partition of the tenant that holds the most by all its tokenizers together, and what the next tenant holds.
fn greatest(owners: &[Arc<Owner>]) -> Option<(&Arc<Owner>, usize)> {
    let mut sums: HashMap<&str, usize> = HashMap::new();
    for owner in owners {
        *sums.entry(&owner.tenant).or_default() += owner.bytes();
    }
    let (mut first, mut second) = (("", 0), 0);
    for (tenant, bytes) in sums {
        if bytes >= first.1 {
            second = first.1;
            first = (tenant, bytes);
        } else {
            second = second.max(bytes);
        }
    }
    let mine = owners.iter().filter(|owner| &*owner.tenant == first.0);
    mine.max_by_key(|owner| owner.bytes()).map(|owner| (owner, second))
}
