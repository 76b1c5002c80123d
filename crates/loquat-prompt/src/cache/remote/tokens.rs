//! Tokens from the fleet, where that is cheaper than computing them.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_core::{Error, ErrorKind, Result};

use super::codec::{Lock, Places};
use super::cost::CostModel;
use super::packing::{pack, unpack};
use super::store::{Item, MAX_BATCH, ReadAll};
use super::{Costs, Remote};
use crate::{
    Tokenizer,
    cache::cached::{CachedTokenizer, Missing},
};

/// Up to so many bytes are digested and copied while Redis answers, which takes less time than the way there and back. With more that is
/// done before, since the time of an answer is bounded, and learnt from.
const MAX_BESIDE_BYTES: usize = 32 << 10;

/// A cached tokenizer with Redis behind it. Clones share what was learned of costs.
#[derive(Debug, Clone)]
pub struct RemoteTokens {
    local: CachedTokenizer,
    remote: Remote,
    places: Places,
    costs: Arc<CostModel>,
}

impl RemoteTokens {
    /// Puts Redis behind a cached tokenizer.
    ///
    /// The first one for a tokenizer takes some milliseconds, in which its fingerprint is made.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a tokenizer without a [fingerprint](Tokenizer::fingerprint), which nothing tells from others.
    pub fn try_new(local: CachedTokenizer, remote: Remote) -> Result<Self> {
        let Some(fingerprint) = local.fingerprint() else {
            let what = format!("the tokenizer {} has no fingerprint that tells it from others", local.name());
            return Err(Error::new(ErrorKind::Unsupported, what));
        };
        let places = remote.places(local.tenant(), &fingerprint);
        Ok(Self { local, remote, places, costs: Arc::new(CostModel::new()) })
    }

    /// The tokenizer in front.
    pub fn local(&self) -> &CachedTokenizer {
        &self.local
    }

    /// What was learned of costs, for this tokenizer and tenant.
    pub fn costs(&self) -> Costs {
        self.costs.costs()
    }

    /// Sees to it that the tokens of these texts are in the local cache: asks Redis for all that are missing at once, where that
    /// pays, computes the rest, and gives Redis what it did not have. Long texts go by their segments, there as here, so that of
    /// one that has grown only the new end is missing. Afterwards [`CachedTokenizer::tokens`] answers. More than 512 segments are several
    /// questions, which together wait for Redis no longer than [`RemoteConfig::budget`](super::RemoteConfig::budget).
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; never for what Redis does.
    ///
    /// # Cancel safety
    /// What was found until then stays.
    pub async fn prepare(&self, texts: &[&str]) -> Result<()> {
        let (mut missing, mut long) = (Vec::new(), Vec::new());
        for text in texts {
            let Some(whole) = self.local.misses(text) else { continue };
            if self.local.is_one_segment(text) {
                missing.push(whole);
            } else {
                missing.extend(self.local.missing_segments(text));
                long.push(*text);
            }
        }
        let mut seen = HashSet::new();
        missing.retain(|missing: &Missing<'_>| seen.insert(missing.text));
        let budget = self.remote.config().budget;
        let mut waited = Duration::ZERO;
        for some in missing.chunks(MAX_BATCH) {
            // With less than half of it left an answer would come too late from a Redis that is well, and be held against it.
            let left = Some(budget.saturating_sub(waited)).filter(|left| *left >= budget / 2);
            waited += self.fetch(some, left).await?;
        }
        long.into_iter().try_for_each(|text| self.local.put_together(text))
    }

    /// Sees to it that these are in the local cache, and says how long Redis was waited for. Without time left it is not asked.
    async fn fetch(&self, missing: &[Missing<'_>], left: Option<Duration>) -> Result<Duration> {
        let bytes: usize = missing.iter().map(|missing| missing.text.len()).sum();
        if bytes == 0 {
            return Ok(Duration::ZERO);
        }
        let Some(left) = left.filter(|_| self.costs.pays(self.remote.config().ask, bytes)) else {
            self.compute(missing.iter().map(|missing| missing.text), bytes)?;
            return Ok(Duration::ZERO);
        };
        let (wanted, waited) = self.ask(missing, bytes, left).await;
        if wanted.is_empty() {
            return Ok(waited);
        }
        let bytes = wanted.iter().map(|wanted| wanted.text.len()).sum();
        self.compute(wanted.iter().map(|wanted| wanted.text), bytes)?;
        let items = wanted.into_iter().map(|Wanted { text, key, lock }| {
            let tokens = self.local.tokens(text)?;
            Ok(Item { key, lock, content: pack(&tokens) })
        });
        let items = items.collect::<Result<Vec<_>>>()?;
        self.remote.write(self.places.shelf(), items);
        Ok(waited)
    }

    /// Sees to it that these texts, so many bytes, are in the local cache, and learns what that costs.
    fn compute<'t>(&self, texts: impl Iterator<Item = &'t str>, bytes: usize) -> Result<()> {
        let began = Instant::now();
        for text in texts {
            self.local.prepare(text)?;
        }
        self.costs.computed(bytes, began.elapsed());
        Ok(())
    }

    /// Those of these texts, so many bytes, that Redis did not have, and how long that took.
    async fn ask<'t>(
        &self,
        missing: &[Missing<'t>],
        bytes: usize,
        left: Duration,
    ) -> (Vec<Wanted<'t>>, Duration) {
        let shelf = self.places.shelf();
        let keys: Vec<String> = missing.iter().map(|missing| self.places.key(missing.text)).collect();
        let prepare = || {
            let both = missing.iter().zip(&keys).map(|(missing, key)| {
                (self.remote.lock(shelf, key, missing.text.as_bytes()), Box::from(missing.text))
            });
            both.unzip::<_, _, Vec<Lock>, Vec<Box<str>>>()
        };
        let before = (bytes > MAX_BESIDE_BYTES).then(prepare);
        let mut copies = Vec::new();
        let locks = || {
            let (locks, copied) = before.unwrap_or_else(prepare);
            copies = copied;
            locks
        };
        // A token stands for a byte at least.
        let tokens = |index: usize, content: &[u8]| {
            unpack(content, self.local.vocabulary_size(), missing.get(index)?.text.len())
        };
        let ReadAll { made: found, locks, is_answered, wait } =
            self.remote.read_all(shelf, &keys, left, locks, tokens).await;
        if wait.is_telling {
            self.costs.asked(wait.took);
        }
        let mut wanted = Vec::new();
        let places = keys.into_iter().zip(locks).zip(copies);
        for ((missing, tokens), ((key, lock), copy)) in missing.iter().zip(found).zip(places) {
            match tokens {
                Some(tokens) => self.local.insert_missing(missing, copy, tokens),
                None => wanted.push(Wanted { text: missing.text, key, lock }),
            }
        }
        if is_answered {
            self.costs.found(missing.len() - wanted.len(), missing.len());
        }
        (wanted, wait.took)
    }
}

/// A text that Redis did not have.
struct Wanted<'t> {
    text: &'t str,
    key: String,
    lock: Lock,
}
