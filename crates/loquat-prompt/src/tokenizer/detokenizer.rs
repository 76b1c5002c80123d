//! [`Detokenizer`]: tokens into text as they come, never half a character.
//!
//! A token may end inside a character; its bytes wait for the rest, three at most, since a character of UTF-8 has at most four
//! (RFC 3629 §3). The cost of a token does not depend on how many came before it.

use loquat_core::Result;

use super::Tokenizer;

/// Tokens into text as they come.
///
/// ```
/// use loquat_prompt::{Detokenizer, tokenizer::Bytes};
///
/// let mut text = Detokenizer::new(&Bytes);
/// assert_eq!(text.push(0xC3)?, "");
/// assert_eq!(text.push(0xA9)?, "é");
/// assert_eq!(text.finish(), "");
/// # Ok::<(), loquat_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Detokenizer<T> {
    tokenizer: T,
    /// Bytes of a character that is not whole yet.
    waiting: Vec<u8>,
    text: String,
    skips_controls: bool,
}

impl<'t, T: Tokenizer + ?Sized> Detokenizer<&'t T> {
    /// One for the tokens of a new text.
    pub fn new(tokenizer: &'t T) -> Self {
        Self { tokenizer, waiting: Vec::new(), text: String::new(), skips_controls: false }
    }

    /// Control tokens are left out, instead of written as text that looks like them: where the text is a model's answer and goes to a
    /// person.
    ///
    /// ```
    /// use loquat_prompt::{Detokenizer, tokenizer::Bytes};
    ///
    /// let mut text = Detokenizer::new(&Bytes).skipping_controls();
    /// assert_eq!(text.push(Bytes::END_OF_TEXT)?, "");
    /// # Ok::<(), loquat_core::Error>(())
    /// ```
    #[must_use]
    pub fn skipping_controls(self) -> Self {
        Self { skips_controls: true, ..self }
    }

    /// The characters that are whole with this token; often one, sometimes none. Bytes that can never become UTF-8 are
    /// U+FFFD, as in [`String::from_utf8_lossy`].
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::token_bytes`]; the token is then left out.
    pub fn push(&mut self, token: u32) -> Result<&str> {
        self.text.clear();
        if self.skips_controls && self.tokenizer.is_control(token) {
            // What was waited for does not come any more.
            let left = self.finish();
            self.text.push_str(left);
            return Ok(&self.text);
        }
        let before = self.waiting.len();
        if let Err(error) = self.tokenizer.token_bytes(token, &mut self.waiting) {
            self.waiting.truncate(before);
            return Err(error);
        }
        let mut rest = self.waiting.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    self.text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    self.text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    rest = after;
                    let Some(wrong) = error.error_len() else { break };
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    rest = rest.get(wrong..).unwrap_or_default();
                }
            }
        }
        let done = self.waiting.len() - rest.len();
        self.waiting.drain(..done);
        Ok(&self.text)
    }

    /// What is left: U+FFFD if the last character is not whole. Afterwards a new text may begin.
    pub fn finish(&mut self) -> &'static str {
        let left = if self.waiting.is_empty() { "" } else { "\u{FFFD}" };
        self.waiting.clear();
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Bytes;
    use proptest::prelude::*;

    proptest! {
        /// Token by token, any bytes come out as they do at once.
        #[test]
        fn pieces_make_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut stream = Detokenizer::new(&Bytes);
            let mut text = String::new();
            for byte in &bytes {
                text.push_str(stream.push(u32::from(*byte)).unwrap());
                prop_assert!(stream.waiting.len() <= 3);
            }
            text.push_str(stream.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn control_tokens_are_left_out_where_that_is_wanted() {
        let mut plain = Detokenizer::new(&Bytes);
        assert_eq!(plain.push(Bytes::END_OF_TEXT).unwrap(), "<|end|>");
        let mut stream = Detokenizer::new(&Bytes).skipping_controls();
        let mut text = String::new();
        for token in b"a<|end|>".iter().map(|byte| u32::from(*byte)).chain([256, 0xC3, 256, 0x62]) {
            text.push_str(stream.push(token).unwrap());
        }
        assert_eq!(text, "a<|end|>\u{FFFD}b");
        assert!(Bytes.is_control(256) && !Bytes.is_control(60) && !Bytes.is_control(257));
    }

    #[test]
    fn an_unknown_token_is_left_out() {
        let mut stream = Detokenizer::new(&Bytes);
        assert_eq!(stream.push(0xC3).unwrap(), "");
        assert!(stream.push(1000).is_err());
        assert_eq!(stream.push(0xA9).unwrap(), "é");
    }
}
