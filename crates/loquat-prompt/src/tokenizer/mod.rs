//! [`Tokenizer`]: text into a model's tokens and back.
//!
//! One trait for the built-in vocabularies and for those read from files. An engine brings how it encodes, what its control
//! tokens are and what a token's bytes are; counting, cutting and whole prompts stand on that, and an engine overrides them
//! where it can do better.

#[cfg(feature = "tokens")]
mod bpe;
#[cfg(feature = "tokens")]
mod builtin;
#[cfg(feature = "tokens")]
mod byte_pair;
mod bytes;
#[cfg(any(feature = "chat", feature = "tokens"))]
mod controls;
mod detokenizer;
#[cfg(feature = "tokens")]
mod file;
#[cfg(feature = "tokens")]
mod nfc;
mod piece;
#[cfg(feature = "tokens")]
mod split;

use std::{fmt, ops::Range};

use loquat_core::{Error, ErrorKind, Result};

#[cfg(feature = "tokens")]
pub use builtin::{cl100k_base, o200k_base};
#[cfg(feature = "tokens")]
pub use byte_pair::BytePair;
pub use bytes::Bytes;
#[cfg(any(feature = "chat", feature = "tokens"))]
pub use controls::Controls;
pub use detokenizer::Detokenizer;
#[cfg(feature = "tokens")]
pub use file::from_file;
#[cfg(feature = "cache")]
pub(crate) use piece::{Begin, Cut, Said, encode_from, said};
pub use piece::{Keep, Piece};

/// Text into a model's tokens and back.
///
/// Cheap to share: one value serves all threads, as `Arc<dyn Tokenizer>`.
pub trait Tokenizer: fmt::Debug + Send + Sync {
    /// The vocabulary's name, such as `o200k_base`.
    fn name(&self) -> &str;

    /// One more than the greatest token.
    fn vocabulary_size(&self) -> u32;

    /// The same for all tokenizers that make the same tokens of every text, and for no others: for caches that several programs share,
    /// which keep nothing for a tokenizer that has none. A name is not enough, nor a version: of two files of one name one may have
    /// another merge, or normalize.
    ///
    /// Those of this crate have one where the feature `cache` is on: BLAKE3 of what decides on tokens.
    fn fingerprint(&self) -> Option<[u8; 32]> {
        None
    }

    /// Appends the tokens of `text` to `tokens`. It is ordinary text throughout: `<|endoftext|>` in it is thirteen
    /// characters, not a control token. Linear in the length of the text, whatever it holds.
    ///
    /// # Errors
    ///
    /// Only from vocabularies read from files that cannot express every text; the built-in ones can.
    fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()>;

    /// The control token that is written so, such as `<|im_start|>`.
    fn control_token(&self, text: &str) -> Option<u32>;

    /// The first control token written out in `text`: where, and which. The longest of those that begin at one place.
    fn find_control(&self, text: &str) -> Option<(Range<usize>, u32)>;

    /// Whether a token is a control token: what a model says with it is not what it would say with the same characters.
    fn is_control(&self, token: u32) -> bool {
        let mut bytes = Vec::new();
        let is_there = self.token_bytes(token, &mut bytes).is_ok();
        is_there
            && std::str::from_utf8(&bytes).is_ok_and(|written| self.control_token(written) == Some(token))
    }

    /// Bytes of the longest control token as it is written, where it is known: what follows a place by more than that does not change
    /// which one is found there.
    fn longest_control(&self) -> Option<usize> {
        None
    }

    /// Appends the bytes of `token` to `bytes`; control tokens as they are written. Tokens may hold parts of characters.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidRequest`] for a token that the vocabulary does not have.
    fn token_bytes(&self, token: u32, bytes: &mut Vec<u8>) -> Result<()>;

    /// A place in `text`, at most at byte `at`, where it can be cut so that the tokens of both sides, one after the other,
    /// are the tokens of the whole, whatever follows the text. As near to `at` as a short look backwards finds; 0 where it finds none.
    fn safe_cut(&self, text: &str, at: usize) -> usize {
        let _ = (text, at);
        0
    }

    /// How many tokens `text` has.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    fn count(&self, text: &str) -> Result<usize> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        self.encode(text, &mut tokens)?;
        Ok(tokens.len())
    }

    /// How many tokens `text` has, if no more than `limit`. Stops early where the engine can.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    fn fits(&self, text: &str, limit: usize) -> Result<Option<usize>> {
        let count = self.count(text)?;
        Ok((count <= limit).then_some(count))
    }

    /// As much of `text` as is at most `limit` tokens when it is encoded by itself, never half a character: a beginning
    /// ([`Keep::Head`]) or an end ([`Keep::Tail`]). It is the longest such part that ends, or begins, where a token of the
    /// whole text does.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    fn truncate<'t>(&self, text: &'t str, limit: usize, keep: Keep) -> Result<&'t str> {
        let mut tokens = Vec::new();
        self.encode(text, &mut tokens)?;
        let mut kept = limit.min(tokens.len());
        // A part may have more tokens than it had in its place: then one token fewer is kept, until it fits.
        loop {
            let tokens = match keep {
                Keep::Head => tokens.get(..kept),
                Keep::Tail => tokens.get(tokens.len() - kept..),
            };
            let part = part(self, text, tokens.unwrap_or_default(), keep)?;
            if kept == 0 || self.fits(part, limit)?.is_some() {
                return Ok(part);
            }
            kept -= 1;
        }
    }

    /// Appends the tokens of a whole prompt: text as text, and in markup also control tokens. What stands between two
    /// control tokens is encoded as one, as the model's authors do.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    fn encode_prompt(&self, pieces: &[Piece<'_>], tokens: &mut Vec<u32>) -> Result<()> {
        piece::encode_prompt(self, pieces, tokens)
    }

    /// The text that the tokens stand for; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::token_bytes`].
    fn decode(&self, tokens: &[u32]) -> Result<String> {
        let mut bytes = Vec::with_capacity(tokens.len() * 4);
        for &token in tokens {
            self.token_bytes(token, &mut bytes)?;
        }
        Ok(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }
}

/// The end of `text` or its beginning that these tokens of it are, without half a character at the cut.
fn part<'t, T: Tokenizer + ?Sized>(
    tokenizer: &T,
    text: &'t str,
    tokens: &[u32],
    keep: Keep,
) -> Result<&'t str> {
    let mut bytes = Vec::new();
    for &token in tokens {
        tokenizer.token_bytes(token, &mut bytes)?;
    }
    let part = match keep {
        Keep::Head => text.get(..text.floor_char_boundary(bytes.len())),
        Keep::Tail => text.get(text.ceil_char_boundary(text.len().saturating_sub(bytes.len()))..),
    };
    Ok(part.unwrap_or_default())
}

/// The error for a token that the vocabulary does not have.
pub(crate) fn unknown_token(name: &str, token: u32) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("the vocabulary {name} has no token {token}"))
}
