//! L2: tokens and counts of texts, of all tenants, within one budget of bytes.
//!
//! A tenant's share is fair by construction: room is always made by the tenant that holds the most, so nobody who holds less
//! than an equal share (of 63 parts in 64: room is made for a while at once) ever loses an entry to another.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use loquat_core::Result;

use super::admission::Admission;
use super::counters::{CacheStats, Counters};
use super::flight::{Flights, Turn};
use super::hashing::Keyed;
use super::partition::{Entry, Partition};
use crate::tokenizer::{Keep, Tokenizer};

/// Texts shorter than this are encoded: a look-up costs as much.
const WORTH_BYTES: usize = 24;
/// Texts shorter than this are not waited for: encoding takes four microseconds or less, and to be woken as long.
const FLIGHT_BYTES: usize = 1024;

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
pub struct TokenCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: CacheLimits,
    hash: Keyed,
    owners: Mutex<Vec<Arc<Owner>>>,
    bytes: AtomicUsize,
}

/// A tenant with a tokenizer.
#[derive(Debug)]
struct Owner {
    identity: u64,
    tenant: Box<str>,
    tokenizer: Arc<dyn Tokenizer>,
    partition: Partition,
    flights: Flights<Entry>,
    admission: Admission,
    counters: Counters,
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
        while owner.partition.entries() > 0 {
            let removed = owner.partition.evict();
            if removed == 0 {
                break;
            }
            self.0.bytes.fetch_sub(removed, Relaxed);
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
            stats.bytes += owner.partition.bytes() as u64;
        }
        stats
    }

    /// Makes room for a while, once the budget is exceeded.
    fn make_room(&self) {
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
                let one = greatest.partition.evict();
                if one == 0 {
                    break;
                }
                greatest.counters.evicted();
                removed += one;
            }
            self.0.bytes.fetch_sub(removed, Relaxed);
        }
    }
}

impl Owner {
    /// How much more this one's tenant has than the second greatest.
    fn surplus(&self, owners: &[Arc<Self>], second: usize) -> usize {
        let mine = owners.iter().filter(|owner| owner.tenant == self.tenant);
        mine.map(|owner| owner.partition.bytes()).sum::<usize>().saturating_sub(second)
    }
}

/// The fullest partition of the tenant that holds the most by all its tokenizers together, and what the next tenant holds.
fn greatest(owners: &[Arc<Owner>]) -> Option<(&Arc<Owner>, usize)> {
    let mut sums: HashMap<&str, usize> = HashMap::new();
    for owner in owners {
        *sums.entry(&owner.tenant).or_default() += owner.partition.bytes();
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
    mine.max_by_key(|owner| owner.partition.bytes()).map(|owner| (owner, second))
}

/// What a look-up finds.
enum Look<R> {
    Found(R),
    /// Nothing, by these hashes.
    Missing((u64, u64)),
    /// A text that was never asked for, where hardly any is asked for twice: it has no place, and gets none.
    New,
}

/// A text that is not there, and its hashes in this cache.
#[cfg(feature = "redis")]
pub(super) struct Missing<'t> {
    pub(super) text: &'t str,
    hashes: (u64, u64),
}

/// A tokenizer that remembers, for one tenant. It is a [`Tokenizer`] itself, so that counting and fitting stand on it as on any.
#[derive(Clone)]
pub struct CachedTokenizer {
    cache: TokenCache,
    owner: Arc<Owner>,
    keeps: bool,
}

impl CachedTokenizer {
    /// On whose behalf.
    pub fn tenant(&self) -> &str {
        &self.owner.tenant
    }

    /// What stands behind the cache.
    pub fn inner(&self) -> &Arc<dyn Tokenizer> {
        &self.owner.tokenizer
    }

    pub(super) fn identity(&self) -> u64 {
        self.owner.identity
    }

    /// The tokens of a text as one entry, to be shared; 4 KB that were seen before take some 200 ns.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn tokens(&self, text: &str) -> Result<Arc<[u32]>> {
        let found = self.look(text, |entry| entry.tokens.clone())?;
        Ok(found.unwrap_or_default())
    }

    /// Whether a text's tokens are there, without computing them; counts as no look-up.
    pub fn contains(&self, text: &str) -> bool {
        matches!(self.find(text, |_| true, |entry| entry.tokens.is_some()), Look::Found(true))
    }

    /// The text, if its tokens are not there; counts as no look-up.
    #[cfg(feature = "redis")]
    pub(super) fn misses<'t>(&self, text: &'t str) -> Option<Missing<'t>> {
        match self.find(text, |_| true, |entry| entry.tokens.is_some()) {
            Look::Found(true) => None,
            Look::Missing(hashes) => Some(Missing { text, hashes }),
            Look::Found(false) | Look::New => Some(Missing { text, hashes: self.hashes(text) }),
        }
    }

    /// Keeps the tokens of a text that was missed, of which this is a copy, as [`CachedTokenizer::insert`].
    #[cfg(feature = "redis")]
    pub(super) fn insert_missing(&self, missing: &Missing<'_>, text: Box<str>, tokens: Arc<[u32]>) {
        self.keep(missing.hashes, text, Entry { count: tokens.len(), tokens: Some(tokens) });
    }

    /// Keeps tokens that came from elsewhere: another node, a file. They are believed.
    pub fn insert(&self, text: &str, tokens: Arc<[u32]>) {
        let entry = Entry { count: tokens.len(), tokens: Some(tokens) };
        self.keep(self.hashes(text), text, entry);
    }

    /// Reads the entry of a text, computed with its tokens if it is not there. `read` gives `None` for an entry that does not
    /// hold what is wanted.
    fn look<R>(&self, text: &str, read: impl Fn(&Entry) -> Option<R>) -> Result<Option<R>> {
        let began = self.owner.counters.begin();
        let found = self.look_untimed(text, read);
        self.owner.counters.over(began);
        found
    }

    fn look_untimed<R>(&self, text: &str, read: impl Fn(&Entry) -> Option<R>) -> Result<Option<R>> {
        let hashes = match self.ask(text, &read) {
            Look::Found(Some(found)) => return Ok(Some(found)),
            Look::Found(None) => Some(self.hashes(text)),
            Look::Missing(hashes) => Some(hashes),
            Look::New => None,
        };
        let mut tokens = Vec::with_capacity(text.len() / 3);
        let entry = match hashes {
            Some(hashes) => self.compute(hashes, text, &mut tokens)?,
            None => {
                self.pass(text, &mut tokens)?;
                Entry { count: tokens.len(), tokens: Some(tokens.into()) }
            }
        };
        Ok(read(&entry))
    }

    /// [`find`](Self::find), counted and behind the doorkeeper, for who computes what is not there.
    fn ask<R>(&self, text: &str, read: impl FnMut(&Entry) -> Option<R>) -> Look<Option<R>> {
        let Owner { admission, counters, .. } = &*self.owner;
        let look = self.find(text, |sample| admission.admits(sample), read);
        let is_hit = matches!(look, Look::Found(Some(_)));
        admission.note(is_hit);
        if is_hit {
            counters.hit(text.len());
        }
        look
    }

    /// Appends the tokens of a text that was missed, and keeps them by these hashes.
    fn compute(&self, hashes: (u64, u64), text: &str, tokens: &mut Vec<u32>) -> Result<Entry> {
        let mut landing = None;
        if text.len() >= FLIGHT_BYTES && self.keeps {
            match self.owner.flights.turn(hashes.0, text) {
                Turn::Joined(entry) => {
                    self.owner.counters.joined(text.len());
                    tokens.extend_from_slice(entry.tokens.as_deref().unwrap_or_default());
                    return Ok(entry);
                }
                Turn::Alone => {}
                Turn::Compute(mine) => landing = Some(mine),
            }
        }
        let before = tokens.len();
        self.pass(text, tokens)?;
        let own = tokens.get(before..).unwrap_or_default();
        let entry = Entry { count: own.len(), tokens: Some(own.into()) };
        self.keep(hashes, text, entry.clone());
        if let Some(landing) = landing {
            landing.land(entry.clone());
        }
        Ok(entry)
    }

    /// Appends the tokens of a text that was missed.
    fn pass(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        self.owner.counters.miss(text.len());
        self.owner.tokenizer.encode(text, tokens)
    }

    /// Appends the tokens of a text, from where they are.
    fn encode_segment(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        // One copy, from where they lie.
        let append = |entry: &Entry| {
            tokens.extend_from_slice(entry.tokens.as_ref()?);
            Some(())
        };
        match self.ask(text, append) {
            Look::Found(Some(())) => Ok(()),
            Look::Found(None) => self.compute(self.hashes(text), text, tokens).map(drop),
            Look::Missing(hashes) => self.compute(hashes, text, tokens).map(drop),
            Look::New => self.pass(text, tokens),
        }
    }

    /// The entry of a text, read where it lies. One that is not found at a glance is looked for if the hash of its sample is admitted.
    #[inline]
    fn find<R>(
        &self,
        text: &str,
        admits: impl FnOnce(u64) -> bool,
        mut read: impl FnMut(&Entry) -> R,
    ) -> Look<R> {
        let partition = &self.owner.partition;
        let sample = self.cache.0.hash.sample(text);
        if let Some(found) = partition.glance(sample, text, &mut read) {
            return Look::Found(found);
        }
        if !admits(sample) {
            return Look::New;
        }
        let hashes = (self.cache.0.hash.of(text), sample);
        partition.read(hashes, text, read).map_or(Look::Missing(hashes), Look::Found)
    }

    /// Of the whole text, and of a sample of it.
    fn hashes(&self, text: &str) -> (u64, u64) {
        (self.cache.0.hash.of(text), self.cache.0.hash.sample(text))
    }

    fn keep(&self, hashes: (u64, u64), text: impl AsRef<str> + Into<Box<str>>, entry: Entry) {
        // One text may not push out everything else.
        if !self.keeps || text.as_ref().len() > self.cache.0.limits.max_bytes / 16 {
            return;
        }
        let added = self.owner.partition.insert(hashes, text.into(), entry);
        self.owner.counters.inserted();
        self.cache.0.bytes.fetch_add(added, Relaxed);
        self.cache.make_room();
    }

    /// The next segment of a text: all of it where it is short, else up to a place where it can be cut.
    fn segment<'t>(&self, text: &'t str) -> &'t str {
        let mut at = self.cache.0.limits.segment_bytes.max(64);
        // A little longer than a segment is one, so that a tail is not looked up for itself.
        while text.len() > at + at / 2 {
            match self.owner.tokenizer.safe_cut(text, at) {
                0 => at = at.saturating_mul(2),
                cut => return text.get(..cut).unwrap_or(text),
            }
        }
        text
    }
}

impl Tokenizer for CachedTokenizer {
    fn name(&self) -> &str {
        self.owner.tokenizer.name()
    }

    fn vocabulary_size(&self) -> u32 {
        self.owner.tokenizer.vocabulary_size()
    }

    fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let segment = self.segment(rest);
            if segment.len() < WORTH_BYTES {
                self.owner.tokenizer.encode(segment, tokens)?;
            } else {
                let began = self.owner.counters.begin();
                let encoded = self.encode_segment(segment, tokens);
                self.owner.counters.over(began);
                encoded?;
            }
            rest = rest.get(segment.len()..).unwrap_or_default();
        }
        Ok(())
    }

    fn control_token(&self, text: &str) -> Option<u32> {
        self.owner.tokenizer.control_token(text)
    }

    fn find_control(&self, text: &str) -> Option<(Range<usize>, u32)> {
        self.owner.tokenizer.find_control(text)
    }

    fn token_bytes(&self, token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        self.owner.tokenizer.token_bytes(token, bytes)
    }

    fn safe_cut(&self, text: &str, at: usize) -> usize {
        self.owner.tokenizer.safe_cut(text, at)
    }

    fn count(&self, text: &str) -> Result<usize> {
        let (mut rest, mut count) = (text, 0);
        while !rest.is_empty() {
            let segment = self.segment(rest);
            count += if segment.len() < WORTH_BYTES {
                self.owner.tokenizer.count(segment)?
            } else {
                self.count_segment(segment)?
            };
            rest = rest.get(segment.len()..).unwrap_or_default();
        }
        Ok(count)
    }

    fn fits(&self, text: &str, limit: usize) -> Result<Option<usize>> {
        let (mut rest, mut count) = (text, 0);
        while !rest.is_empty() {
            let segment = self.segment(rest);
            count += self.count_segment(segment)?;
            if count > limit {
                return Ok(None);
            }
            rest = rest.get(segment.len()..).unwrap_or_default();
        }
        Ok(Some(count))
    }

    fn truncate<'t>(&self, text: &'t str, limit: usize, keep: Keep) -> Result<&'t str> {
        match self.fits(text, limit)? {
            Some(_) => Ok(text),
            None => self.owner.tokenizer.truncate(text, limit, keep),
        }
    }
}

impl CachedTokenizer {
    /// A count alone: kept without tokens, which is about half the room.
    fn count_segment(&self, text: &str) -> Result<usize> {
        let look = self.ask(text, |entry| Some(entry.count));
        if let Look::Found(Some(count)) = look {
            return Ok(count);
        }
        self.owner.counters.miss(text.len());
        let count = self.owner.tokenizer.count(text)?;
        if let Look::Missing(hashes) = look {
            self.keep(hashes, text, Entry { count, tokens: None });
        }
        Ok(count)
    }
}

impl fmt::Debug for CachedTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedTokenizer")
            .field("tenant", &self.owner.tenant)
            .field("tokenizer", &self.owner.tokenizer.name())
            .finish_non_exhaustive()
    }
}
