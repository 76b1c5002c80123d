//! A tokenizer whose tokens are whole words: where it is cut wrongly, every token near the cut is another one.

// Each test is a program of its own and uses a part of this.
#![allow(dead_code)]

#[cfg(all(feature = "redis", target_os = "linux"))]
pub(crate) mod redis_server;

use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use loquat_core::{Error, ErrorKind, Result};
use loquat_prompt::Tokenizer;

/// Words with the blank before them, runs of blanks, and line breaks; each a token by its hash.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Bytes encoded or counted so far.
    pub(crate) encoded: AtomicUsize,
    /// Bytes looked through for control tokens so far.
    pub(crate) searched: AtomicUsize,
}

fn is_word(character: char) -> bool {
    !character.is_whitespace()
}

impl Words {
    fn each(text: &str, mut see: impl FnMut(&str)) {
        let mut rest = text;
        while !rest.is_empty() {
            let skip = usize::from(rest.starts_with(' ') && rest[1..].starts_with(is_word));
            let length = if rest[skip..].starts_with(is_word) {
                skip + rest[skip..].find(|c| !is_word(c)).unwrap_or(rest.len() - skip)
            } else {
                // A run of blanks leaves its last one to the word behind it.
                let end = rest.find(is_word).unwrap_or(rest.len());
                if end < rest.len() && end > 1 && rest[..end].ends_with(' ') { end - 1 } else { end }
            };
            see(&rest[..length]);
            rest = &rest[length..];
        }
    }
}

impl Tokenizer for Words {
    fn name(&self) -> &str {
        "words"
    }

    fn vocabulary_size(&self) -> u32 {
        u32::MAX
    }

    fn fingerprint(&self) -> Option<[u8; 32]> {
        Some(*b"words, each of them by its hash.")
    }

    fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        self.encoded.fetch_add(text.len(), Relaxed);
        Self::each(text, |word| {
            tokens.push(
                word.bytes()
                    .fold(2_166_136_261, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619)),
            );
        });
        Ok(())
    }

    fn control_token(&self, text: &str) -> Option<u32> {
        (text == "<|end|>").then_some(7)
    }

    fn find_control(&self, text: &str) -> Option<(Range<usize>, u32)> {
        self.searched.fetch_add(text.len(), Relaxed);
        text.find("<|end|>").map(|at| (at..at + 7, 7))
    }

    fn token_bytes(&self, token: u32, _: &mut Vec<u8>) -> Result<()> {
        Err(Error::new(ErrorKind::InvalidRequest, format!("{token} is a hash")))
    }

    /// Between a word and the one blank before the next word.
    fn safe_cut(&self, text: &str, at: usize) -> usize {
        let bytes = text.as_bytes();
        let word = |byte: u8| byte.is_ascii_alphanumeric();
        (1..=at.min(bytes.len().saturating_sub(2)))
            .rev()
            .take(64)
            .find(|cut| word(bytes[cut - 1]) && bytes[*cut] == b' ' && word(bytes[cut + 1]))
            .unwrap_or(0)
    }
}
