//! Tokens from the fleet, where that is cheaper than computing them.

use std::{collections::HashSet, time::Instant};

use loquat_core::Result;

use super::Remote;
use super::codec::{Lock, Places};
use super::packing::{pack, unpack};
use super::store::{Item, MAX_BATCH};
use crate::{
    Tokenizer,
    cache::cached::{CachedTokenizer, Missing},
};

/// What the tokens of a probe text tell of a tokenizer: two vocabularies of one name, or two versions of one, differ in it.
const PROBE: &str = "The quick brown fox can't jump over 12345 lazy dogs; naïve café, 漢字かな 한국어 العربية 😀👩‍👩‍👧 \
    fn main() { println!(\"{:?}\", x+=1); }\n\n\t  <|endoftext|> https://example.com/a?b=c&d=%20 ÀÉÎõü ßẞ ﬁ \u{200d}\r\n";

/// Up to so many bytes are digested and copied while Redis answers, which takes less time than the way there and back. With more that is
/// done before, since the time of an answer is bounded, and learnt from.
const MAX_BESIDE_BYTES: usize = 32 << 10;

/// A cached tokenizer with Redis behind it.
#[derive(Debug, Clone)]
pub struct RemoteTokens {
    local: CachedTokenizer,
    remote: Remote,
    places: Places,
}

impl RemoteTokens {
    /// Puts Redis behind a cached tokenizer.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]: the tokenizer is tried on a text.
    pub fn try_new(local: CachedTokenizer, remote: Remote) -> Result<Self> {
        let mut tokens = Vec::new();
        local.inner().encode(PROBE, &mut tokens)?;
        let mut fingerprint = local.name().as_bytes().to_vec();
        fingerprint.extend_from_slice(&local.vocabulary_size().to_le_bytes());
        tokens.iter().for_each(|token| fingerprint.extend_from_slice(&token.to_le_bytes()));
        let places = remote.places(local.tenant(), blake3::hash(&fingerprint).as_bytes());
        Ok(Self { local, remote, places })
    }

    /// The tokenizer in front.
    pub fn local(&self) -> &CachedTokenizer {
        &self.local
    }

    /// Sees to it that the tokens of these texts are in the local cache: asks Redis for all that are missing at once, where that
    /// pays, computes the rest, and gives Redis what it did not have. Long texts go by their segments, there as here, so that of
    /// one that has grown only the new end is missing. Afterwards [`CachedTokenizer::tokens`] answers.
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
        for some in missing.chunks(MAX_BATCH) {
            self.fetch(some).await?;
        }
        long.into_iter().try_for_each(|text| self.local.put_together(text))
    }

    /// Sees to it that these are in the local cache.
    async fn fetch(&self, missing: &[Missing<'_>]) -> Result<()> {
        let bytes: usize = missing.iter().map(|missing| missing.text.len()).sum();
        if bytes == 0 {
            return Ok(());
        }
        if !self.remote.cost_model().pays(self.remote.config().ask, bytes) {
            return self.compute(missing.iter().map(|missing| missing.text), bytes);
        }
        let wanted = self.ask(missing, bytes).await;
        if wanted.is_empty() {
            return Ok(());
        }
        let bytes = wanted.iter().map(|wanted| wanted.text.len()).sum();
        self.compute(wanted.iter().map(|wanted| wanted.text), bytes)?;
        let items = wanted.into_iter().map(|Wanted { text, key, lock }| {
            let tokens = self.local.tokens(text)?;
            Ok(Item { key, lock, content: pack(&tokens) })
        });
        let items = items.collect::<Result<Vec<_>>>()?;
        self.remote.write(self.places.shelf(), items);
        Ok(())
    }

    /// Sees to it that these texts, so many bytes, are in the local cache, and learns what that costs.
    fn compute<'t>(&self, texts: impl Iterator<Item = &'t str>, bytes: usize) -> Result<()> {
        let began = Instant::now();
        for text in texts {
            self.local.prepare(text)?;
        }
        self.remote.cost_model().computed(bytes, began.elapsed());
        Ok(())
    }

    /// Those of these texts, so many bytes, that Redis did not have.
    async fn ask<'t>(&self, missing: &[Missing<'t>], bytes: usize) -> Vec<Wanted<'t>> {
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
        let (found, locks) = self.remote.read_all(shelf, &keys, locks, tokens).await;
        let mut wanted = Vec::new();
        let places = keys.into_iter().zip(locks).zip(copies);
        for ((missing, tokens), ((key, lock), copy)) in missing.iter().zip(found).zip(places) {
            match tokens {
                Some(tokens) => self.local.insert_missing(missing, copy, tokens),
                None => wanted.push(Wanted { text: missing.text, key, lock }),
            }
        }
        self.remote.cost_model().found(missing.len() - wanted.len(), missing.len());
        wanted
    }
}

/// A text that Redis did not have.
struct Wanted<'t> {
    text: &'t str,
    key: String,
    lock: Lock,
}
