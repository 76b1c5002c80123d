//! Tokens from the fleet, where that is cheaper than computing them.

use std::time::Instant;

use loquat_core::Result;

use super::Remote;
use super::codec::{Kind, Shelf};
use super::packing::{pack, unpack};
use crate::{
    Tokenizer,
    cache::{CachedTokenizer, tokens::Missing},
};

/// What the tokens of a probe text tell of a tokenizer: two vocabularies of one name, or two versions of one, differ in it.
const PROBE: &str = "The quick brown fox can't jump over 12345 lazy dogs; naïve café, 漢字かな 한국어 العربية 😀👩‍👩‍👧 \
    fn main() { println!(\"{:?}\", x+=1); }\n\n\t  <|endoftext|> https://example.com/a?b=c&d=%20 ÀÉÎõü ßẞ ﬁ \u{200d}\r\n";

/// A cached tokenizer with Redis behind it.
#[derive(Debug, Clone)]
pub struct RemoteTokens {
    local: CachedTokenizer,
    remote: Remote,
    fingerprint: Vec<u8>,
    shelf: Shelf,
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
        let shelf = remote.shelf(Kind::Tokens, local.tenant());
        Ok(Self { local, remote, fingerprint: blake3::hash(&fingerprint).as_bytes().to_vec(), shelf })
    }

    /// The tokenizer in front.
    pub fn local(&self) -> &CachedTokenizer {
        &self.local
    }

    /// Sees to it that the tokens of these texts are in the local cache: asks Redis for all that are missing at once, where that
    /// pays, computes the rest, and gives Redis what it did not have. Afterwards [`CachedTokenizer::tokens`] answers.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; never for what Redis does.
    ///
    /// # Cancel safety
    /// What was found until then stays.
    pub async fn prepare(&self, texts: &[&str]) -> Result<()> {
        let missing = texts.iter().filter_map(|text| self.local.misses(text));
        let missing: Vec<Missing<'_>> = missing.collect();
        let bytes: usize = missing.iter().map(|missing| missing.text.len()).sum();
        if bytes == 0 {
            return Ok(());
        }
        if !self.remote.cost_model().pays(self.remote.config().ask, bytes) {
            return self.compute(missing.iter().map(|missing| missing.text), bytes);
        }
        let wanted = self.ask(&missing).await;
        let bytes = wanted.iter().map(|(text, _)| text.len()).sum();
        self.compute(wanted.iter().map(|(text, _)| *text), bytes)?;
        let items = wanted.into_iter().map(|(text, key)| {
            let tokens = self.local.tokens(text)?;
            Ok((key, pack(&tokens)))
        });
        let items = items.collect::<Result<Vec<_>>>()?;
        self.remote.write(&self.shelf, items);
        Ok(())
    }

    /// Sees to it that these texts, so many bytes, are in the local cache, and learns what that costs.
    fn compute<'t>(&self, texts: impl Iterator<Item = &'t str>, bytes: usize) -> Result<()> {
        let began = Instant::now();
        for text in texts {
            self.local.tokens(text)?;
        }
        self.remote.cost_model().computed(bytes, began.elapsed());
        Ok(())
    }

    /// The texts that Redis did not have, with their keys.
    async fn ask<'t>(&self, missing: &[Missing<'t>]) -> Vec<(&'t str, String)> {
        let key = |missing: &Missing<'_>| {
            self.remote.key(&self.shelf, &[&self.fingerprint, missing.text.as_bytes()])
        };
        let keys: Vec<String> = missing.iter().map(key).collect();
        let contents = self.remote.read(&self.shelf, &keys).await;
        let mut wanted = Vec::new();
        for ((missing, key), content) in missing.iter().zip(keys).zip(contents) {
            let tokens = content.and_then(|content| {
                // A token stands for a byte at least.
                let tokens = unpack(&content, self.local.vocabulary_size(), missing.text.len());
                if tokens.is_none() {
                    self.remote.disbelieve();
                }
                tokens
            });
            match tokens {
                Some(tokens) => self.local.insert_missing(missing, tokens),
                None => wanted.push((missing.text, key)),
            }
        }
        self.remote.cost_model().found(missing.len() - wanted.len(), missing.len());
        wanted
    }
}
