//! [`Bytes`]: each byte a token. No model's vocabulary: for tests of what stands on a [`Tokenizer`].

use std::ops::Range;

use loquat_core::Result;

use super::{Tokenizer, unknown_token};

/// A tokenizer whose tokens are the text's bytes, and one control token, written `<|end|>`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bytes;

impl Bytes {
    /// The control token `<|end|>`.
    pub const END_OF_TEXT: u32 = 256;
    const WRITTEN: &str = "<|end|>";
}

impl Tokenizer for Bytes {
    fn name(&self) -> &str {
        "bytes"
    }

    fn vocabulary_size(&self) -> u32 {
        257
    }

    fn fingerprint(&self) -> Option<[u8; 32]> {
        Some(*b"loquat: each byte of it a token.")
    }

    fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        tokens.extend(text.bytes().map(u32::from));
        Ok(())
    }

    fn control_token(&self, text: &str) -> Option<u32> {
        (text == Self::WRITTEN).then_some(Self::END_OF_TEXT)
    }

    fn find_control(&self, text: &str) -> Option<(Range<usize>, u32)> {
        let start = text.find(Self::WRITTEN)?;
        Some((start..start + Self::WRITTEN.len(), Self::END_OF_TEXT))
    }

    fn token_bytes(&self, token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        match u8::try_from(token) {
            Ok(byte) => bytes.push(byte),
            Err(_) if token == Self::END_OF_TEXT => bytes.extend_from_slice(Self::WRITTEN.as_bytes()),
            Err(_) => return Err(unknown_token(self.name(), token)),
        }
        Ok(())
    }

    fn safe_cut(&self, text: &str, at: usize) -> usize {
        text.floor_char_boundary(at)
    }

    fn count(&self, text: &str) -> Result<usize> {
        Ok(text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Keep;

    #[test]
    fn cuts_keep_whole_characters() {
        let cut = |limit, keep| Bytes.truncate("aé漢b", limit, keep).unwrap();
        assert_eq!(
            ["", "a", "a", "aé", "aé", "aé", "aé漢"],
            [0, 1, 2, 3, 4, 5, 6].map(|n| cut(n, Keep::Head))
        );
        assert_eq!(
            ["", "b", "b", "b", "漢b", "漢b", "é漢b"],
            [0, 1, 2, 3, 4, 5, 6].map(|n| cut(n, Keep::Tail))
        );
        assert_eq!(cut(100, Keep::Head), "aé漢b");
    }

    #[test]
    fn unknown_tokens_are_refused() {
        let error = Bytes.decode(&[97, 300]).unwrap_err();
        assert_eq!(error.to_string(), "the vocabulary bytes has no token 300");
        assert_eq!(Bytes.decode(&[97, 256, 255]).unwrap(), "a<|end|>\u{FFFD}");
    }
}
