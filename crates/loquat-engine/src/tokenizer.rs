//! Text to token ids and back, with the vocabulary that the GGUF carries.
//!
//! Text is split and merged by the `tokenizers` crate; the special tokens are ours. They are never handed to the library, so
//! plain text cannot turn into a control token however it is spelled: only `encode_prompt` makes them, and only where the chat
//! template itself wrote them.

use std::ops::Range;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use candle_core::quantized::gguf_file::Value;
use loquat_prompt::tokenizer::Controls;

use crate::error::{Result, internal, invalid, local, unsupported};
use crate::gguf::Gguf;

/// Largest vocabulary accepted; the largest in use has 262,144 tokens.
const MAX_VOCABULARY: usize = 1 << 20;

/// Names under which models have an end-of-turn or end-of-text token, besides those the file declares as such.
const ENDING_TOKENS: &[&str] = &[
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
    "<|eom_id|>",
];

const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A model's vocabulary.
pub(crate) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The text of all tokens, one after the other; control tokens have none.
    bytes: Vec<u8>,
    /// Where each token's text ends.
    ends: Vec<usize>,
    specials: Controls,
    endings: Vec<u32>,
    /// Put before everything, where the file says so.
    beginning: Option<u32>,
    spelled: Spelled,
}

/// How the beginning and the end token are spelled, for chat templates.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spelled {
    pub(crate) beginning: String,
    pub(crate) end: String,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("tokens", &self.ends.len()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    pub(crate) fn read(file: &Gguf) -> Result<Self> {
        let shown = file.path().display();
        match file.text("tokenizer.ggml.model") {
            Some("gpt2") => {}
            other => {
                let found = other.unwrap_or("none");
                return Err(unsupported(format!(
                    "{shown}: tokenizer {found:.32}; supported is gpt2 (byte-level BPE)"
                )));
            }
        }
        let tokens = texts(file, "tokenizer.ggml.tokens")?;
        if tokens.is_empty() || tokens.len() > MAX_VOCABULARY {
            let count = tokens.len();
            return Err(invalid(format!(
                "{shown}: a vocabulary of {count} tokens; allowed are 1 to {MAX_VOCABULARY}"
            )));
        }
        let kinds: Vec<i64> = match file.array("tokenizer.ggml.token_type") {
            Some(kinds) => kinds.iter().map(integer).collect(),
            None => Vec::new(),
        };
        let kind = |id: usize| kinds.get(id).copied().unwrap_or(1);

        let (mut bytes, mut ends, mut specials) = (Vec::new(), Vec::with_capacity(tokens.len()), Vec::new());
        let mut vocabulary = Vocab::default();
        for (number, (id, token)) in (0u32..).zip(&tokens).map(|(id, token)| (id, *token)).enumerate() {
            match kind(number) {
                CONTROL => specials.push((token.to_owned(), id)),
                USER_DEFINED => {
                    specials.push((token.to_owned(), id));
                    bytes.extend_from_slice(token.as_bytes());
                }
                _ => bytes.extend(unspell(token)),
            }
            ends.push(bytes.len());
            vocabulary.insert(token.to_owned(), id);
        }
        let specials = Controls::try_new(specials)?;

        let merges = texts(file, "tokenizer.ggml.merges")?
            .into_iter()
            .map(|merge| match merge.split_once(' ') {
                Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
                None => Err(invalid(format!("{shown}: a merge without a space among tokenizer.ggml.merges"))),
            })
            .collect::<Result<Vec<_>>>()?;
        let known = |id: u64| u32::try_from(id).ok().filter(|id| (*id as usize) < tokens.len());
        let special = |name: &str| file.number(&format!("tokenizer.ggml.{name}_token_id")).and_then(known);
        let mut endings: Vec<u32> = ["eos", "eot", "eom"].into_iter().filter_map(special).collect();
        endings.extend(specials.iter().filter(|(text, _)| ENDING_TOKENS.contains(text)).map(|(_, id)| id));
        endings.sort_unstable();
        endings.dedup();
        let spell = |id: Option<u32>| {
            id.and_then(|id| tokens.get(id as usize)).map_or(String::new(), |t| (*t).to_owned())
        };
        let spelled = Spelled { beginning: spell(special("bos")), end: spell(special("eos")) };
        let beginning = special("bos").filter(|_| file.flag("tokenizer.ggml.add_bos_token") == Some(true));

        let name = file.text("tokenizer.ggml.pre").unwrap_or("default");
        let splitter = splitter(name)
            .ok_or_else(|| {
                unsupported(format!("{shown}: tokenizer.ggml.pre {name:.32}; supported are {SPLITTERS}"))
            })?
            .map_err(|e| local(format!("{shown}: tokenizer.ggml.pre {name:.32} failed"), e))?;
        let model = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .ignore_merges(name == "llama-bpe")
            .build()
            .map_err(|e| local(format!("{shown}: its vocabulary and merges do not fit together"), e))?;
        let mut inner = tokenizers::Tokenizer::new(model);
        inner.with_pre_tokenizer(Some(splitter));
        Ok(Self { inner, bytes, ends, specials, endings, beginning, spelled })
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn spelled(&self) -> &Spelled {
        &self.spelled
    }

    /// Whether this token ends a turn.
    pub(crate) fn is_ending(&self, id: u32) -> bool {
        self.endings.contains(&id)
    }

    /// The token's text: any bytes, possibly part of a character. Empty for control tokens.
    pub(crate) fn text(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = id.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(id).and_then(|end| self.bytes.get(start..*end)).unwrap_or_default()
    }

    /// What is put before everything, where the file says so.
    pub(crate) fn beginning(&self) -> Option<u32> {
        self.beginning
    }
}

impl loquat_prompt::Tokenizer for Tokenizer {
    fn name(&self) -> &str {
        "gguf"
    }

    fn vocabulary_size(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        if !text.is_empty() {
            let encoding = self
                .inner
                .encode_fast(text, false)
                .map_err(|e| internal("the text could not be tokenized").with_source(e))?;
            ids.extend_from_slice(encoding.get_ids());
        }
        Ok(())
    }

    fn control_token(&self, text: &str) -> Option<u32> {
        self.specials.token(text)
    }

    fn find_control(&self, text: &str) -> Option<(Range<usize>, u32)> {
        self.specials.find(text)
    }

    fn token_bytes(&self, token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        match self.specials.written(token) {
            Some(written) => bytes.extend_from_slice(written.as_bytes()),
            None if (token as usize) < self.ends.len() => bytes.extend_from_slice(self.text(token)),
            None => return Err(invalid(format!("the vocabulary has no token {token}"))),
        }
        Ok(())
    }
}

const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

fn integer(value: &Value) -> i64 {
    match value {
        Value::I32(v) => i64::from(*v),
        other => other.to_u64().ok().and_then(|v| i64::try_from(v).ok()).unwrap_or(1),
    }
}

fn texts<'a>(file: &'a Gguf, key: &str) -> Result<Vec<&'a str>> {
    let shown = file.path().display();
    let values = file.array(key).ok_or_else(|| invalid(format!("{shown}: {key} is missing or no array")))?;
    values
        .iter()
        .map(|value| match value {
            Value::String(text) => Ok(text.as_str()),
            _ => Err(invalid(format!("{shown}: {key} holds something that is no text"))),
        })
        .collect()
}

const SPLITTERS: &str = "default, gpt-2, smollm, llama-bpe";

/// How text is cut before merging. `None` for a name we do not know: a wrong guess would degrade answers silently.
fn splitter(name: &str) -> Option<tokenizers::Result<PreTokenizerWrapper>> {
    Some(Ok(match name {
        "default" | "gpt-2" => ByteLevel::new(false, false, true).into(),
        "smollm" => {
            Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, false, true).into()]).into()
        }
        "llama-bpe" => {
            let pattern = SplitPattern::Regex(LLAMA3.to_owned());
            match Split::new(pattern, SplitDelimiterBehavior::Isolated, false) {
                Ok(split) => {
                    Sequence::new(vec![split.into(), ByteLevel::new(false, false, false).into()]).into()
                }
                Err(e) => return Some(Err(e)),
            }
        }
        _ => return None,
    }))
}

/// The bytes that GPT-2's byte-level alphabet spells: printable bytes stand for themselves, the others for U+0100 onwards.
fn unspell(token: &str) -> impl Iterator<Item = u8> + '_ {
    token.chars().flat_map(|character| {
        let code = u32::from(character);
        let byte = match code {
            0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
            0x100..=0x120 => u8::try_from(code - 0x100).ok(),
            0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
            0x143 => Some(0xAD),
            _ => None,
        };
        let mut buffer = [0; 4];
        let text = match byte {
            Some(byte) => {
                buffer[0] = byte;
                1
            }
            None => character.encode_utf8(&mut buffer).len(),
        };
        buffer.into_iter().take(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_gpt2s() {
        let alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        assert_eq!(alphabet.len(), 256);
        let mut bytes: Vec<u8> =
            alphabet.iter().flat_map(|c| unspell(&c.to_string()).collect::<Vec<_>>()).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(unspell("ĠaĊ").collect::<Vec<_>>(), b" a\n");
    }
}
