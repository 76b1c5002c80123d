//! A text that remembers its own tokens: the fastest look-up is none.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use loquat_core::Result;

use super::CachedTokenizer;

/// A text with an identity: a message of a conversation, a block of tools, a document. It asks the cache once and then knows;
/// what it knows lives as long as it does. Clones share it.
#[derive(Clone)]
pub struct Segment(Arc<Inner>);

struct Inner {
    text: Box<str>,
    /// Under the first cache and tokenizer it was asked for with; another one asks the cache each time.
    known: OnceLock<(u64, Arc<[u32]>)>,
}

impl Segment {
    /// A segment of that text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(Arc::new(Inner { text: text.into(), known: OnceLock::new() }))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Its tokens, as ordinary text. A few nanoseconds from the second time on.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`](crate::Tokenizer::encode).
    pub fn tokens(&self, tokenizer: &CachedTokenizer) -> Result<Arc<[u32]>> {
        self.read(tokenizer, Arc::clone)
    }

    /// How many tokens it has.
    ///
    /// # Errors
    /// As [`Segment::tokens`].
    pub fn count(&self, tokenizer: &CachedTokenizer) -> Result<usize> {
        self.read(tokenizer, |tokens| tokens.len())
    }

    fn read<R>(&self, tokenizer: &CachedTokenizer, read: impl FnOnce(&Arc<[u32]>) -> R) -> Result<R> {
        match self.0.known.get() {
            Some((identity, tokens)) if *identity == tokenizer.identity() => Ok(read(tokens)),
            Some(_) => Ok(read(&tokenizer.tokens(&self.0.text)?)),
            None => {
                let tokens = tokenizer.tokens(&self.0.text)?;
                let (_, tokens) = self.0.known.get_or_init(|| (tokenizer.identity(), tokens));
                Ok(read(tokens))
            }
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({} bytes)", self.0.text.len())
    }
}
