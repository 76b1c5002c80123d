//! Any other `tokenizer.json`, by Hugging Face's own `tokenizers`: the slower engine, for what ours refuses (SentencePiece's
//! vocabularies as in Gemma and Llama 2, Unigram, WordPiece, other patterns).
//!
//! The library would take control tokens out of any text, and a user's words must not become such: so it is built from the file's
//! parts without them, neither added to the model nor in it (`model`), and they are looked for in markup alone. White space among
//! the added tokens is text and stays. Stands on 0.23 and not on the release candidate of 1.0, which can read a file but not be
//! built from parts (its README of rc.3: "the `Tokenizer` object model and `from_pretrained`" are still absent).

mod model;

use std::{fmt, ops::Range, sync::Arc};

use loquat_core::{Error, ErrorKind, Result};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper, Tokenizer as Library};

use super::{
    MAX_ADDED, MAX_ADDED_BYTES, MAX_FILE_BYTES, MAX_TOKENS,
    json::{Added, Setting},
    letters, quoted, refused,
};
use crate::tokenizer::{Controls, Tokenizer, unknown_token};

/// A `tokenizer.json` by the library.
pub(super) struct Fallback {
    name: String,
    library: Library,
    controls: Controls,
    spelling: Spelling,
    size: u32,
    #[cfg(feature = "cache")]
    fingerprint: [u8; 32],
}

/// How a token's text says its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// A letter for each byte.
    Letters,
    /// `▁` for a blank, and with `true` `<0x0A>` for a byte.
    Blanks(bool),
    /// `##` where a word goes on.
    Words,
}

/// The file. What it truncates, pads and puts around a text is not this module's business.
#[derive(Deserialize)]
struct File<'j> {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(borrow, default)]
    normalizer: Setting<'j>,
    #[serde(borrow, default)]
    pre_tokenizer: Setting<'j>,
    #[serde(borrow, default)]
    decoder: Setting<'j>,
    #[serde(borrow)]
    model: model::Model<'j>,
}

impl Fallback {
    pub(super) fn read(name: &str, json: &[u8]) -> Result<Self> {
        if json.len() > MAX_FILE_BYTES {
            return Err(refused("it is larger than 128 MiB"));
        }
        let file: File<'_> = serde_json::from_slice(json).map_err(|error| super::json::unread(&error))?;
        let spelling = spelling(&file.decoder.read()?)?;
        let normalizer: Option<NormalizerWrapper> = read(&file.normalizer, "normalizer")?;
        let pre_tokenizer: Option<PreTokenizerWrapper> = read(&file.pre_tokenizer, "pre-tokenizer")?;
        if file.added_tokens.len() > MAX_ADDED * 4 {
            return Err(refused("it has more than 16,384 added tokens"));
        }
        for token in &file.added_tokens {
            check(token, normalizer.is_some())?;
        }
        let is_text =
            |token: &&Added| token.content.chars().all(|letter| letter.is_whitespace() || letter == '▁');
        let (mut texts, controls): (Vec<&Added>, Vec<&Added>) = file.added_tokens.iter().partition(is_text);
        let added = model::AddedTokens {
            all: &file.added_tokens,
            controls: controls.iter().map(|token| token.content.as_str()).collect(),
        };
        let mut library = Library::new(file.model.build(&added)?);
        library.with_normalizer(normalizer).map_err(|error| refused(&cut(&error.to_string())))?;
        library.with_pre_tokenizer(pre_tokenizer);
        // In an order of their own: new ones get numbers by it.
        texts.sort_by_key(|token| token.id);
        let added = texts
            .iter()
            .map(|token| AddedToken::from(token.content.as_str(), false).normalized(token.normalized));
        library
            .add_tokens(added.collect::<Vec<_>>())
            .map_err(|error| refused(&format!("its added tokens: {}", cut(&error.to_string()))))?;
        if let Some(token) = texts.iter().find(|token| library.token_to_id(&token.content) != Some(token.id))
        {
            return Err(refused(&format!("its added token {} is numbered anew", quoted(&token.content))));
        }
        let vocabulary = library.get_vocab(true);
        let greatest = vocabulary.values().copied().chain(controls.iter().map(|token| token.id)).max();
        let size = greatest.map_or(0, |id| id.saturating_add(1));
        if size as usize > MAX_TOKENS {
            return Err(refused("a token has a number above a million"));
        }
        let controls = Controls::try_new(controls.iter().map(|token| (token.content.clone(), token.id)))?;
        Ok(Self {
            name: name.to_owned(),
            library,
            controls,
            spelling,
            size,
            // Which parts of it decide is the library's business.
            #[cfg(feature = "cache")]
            fingerprint: blake3::derive_key("loquat tokenizer.json by tokenizers 0.23", json),
        })
    }
}

/// A part of the library, if the file asks for it.
fn read<T: DeserializeOwned>(setting: &Setting<'_>, what: &str) -> Result<Option<T>> {
    serde_json::from_value(setting.read()?)
        .map_err(|error| refused(&format!("its {what} is not understood: {}", cut(&error.to_string()))))
}

/// Whether an added token is as simple as control tokens are.
fn check(token: &Added, is_normalizing: bool) -> Result<()> {
    let named = |what: &str| Err(refused(&format!("its added token {} {what}", quoted(&token.content))));
    if token.content.is_empty() || token.content.len() > MAX_ADDED_BYTES {
        return named("is empty or longer than 256 bytes");
    }
    if token.lstrip || token.rstrip || token.single_word {
        return named(
            "takes white space along or stands for whole words only (`lstrip`, `rstrip`, `single_word`)",
        );
    }
    if token.normalized && is_normalizing {
        return named("is looked for in normalized text");
    }
    Ok(())
}

fn spelling(decoder: &Value) -> Result<Spelling> {
    let mut kinds = Vec::new();
    let steps = decoder.get("decoders").and_then(Value::as_array);
    for step in steps.map_or(std::slice::from_ref(decoder), Vec::as_slice) {
        kinds.push(step.get("type").and_then(Value::as_str).unwrap_or("none"));
    }
    let is_known = |kind: &&str| {
        matches!(
            *kind,
            "Replace" | "ByteFallback" | "Fuse" | "Strip" | "Metaspace" | "none" | "ByteLevel" | "WordPiece"
        )
    };
    match kinds.iter().find(|kind| !is_known(kind)) {
        Some(unknown) => Err(refused(&format!("its decoder is {}, which is not supported", quoted(unknown)))),
        None if kinds.contains(&"ByteLevel") => Ok(Spelling::Letters),
        None if kinds.contains(&"WordPiece") => Ok(Spelling::Words),
        None => Ok(Spelling::Blanks(kinds.contains(&"ByteFallback"))),
    }
}

/// What the library says, which may quote the file, at a bounded length.
fn cut(said: &str) -> String {
    said.get(..said.floor_char_boundary(200)).unwrap_or_default().to_owned()
}

/// `<0x0A>`.
fn fallback_byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}

impl Tokenizer for Fallback {
    fn name(&self) -> &str {
        &self.name
    }

    fn vocabulary_size(&self) -> u32 {
        self.size
    }

    #[cfg(feature = "cache")]
    fn fingerprint(&self) -> Option<[u8; 32]> {
        Some(self.fingerprint)
    }

    fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let encoding = self.library.encode_fast(text, false).map_err(|error| {
            let what = format!("the tokenizer {} cannot express this text", self.name);
            Error::new(ErrorKind::InvalidRequest, what).with_source(error)
        })?;
        tokens.extend_from_slice(encoding.get_ids());
        Ok(())
    }

    fn control_token(&self, text: &str) -> Option<u32> {
        self.controls.token(text)
    }

    fn find_control(&self, text: &str) -> Option<(Range<usize>, u32)> {
        self.controls.find(text)
    }

    fn is_control(&self, token: u32) -> bool {
        self.controls.written(token).is_some()
    }

    fn token_bytes(&self, token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        if let Some(written) = self.controls.written(token) {
            bytes.extend_from_slice(written.as_bytes());
            return Ok(());
        }
        let text = self.library.id_to_token(token).ok_or_else(|| unknown_token(&self.name, token))?;
        match self.spelling {
            Spelling::Letters => {
                let letters = letters();
                let mut buffer = [0; 4];
                for letter in text.chars() {
                    match letters.get(&letter) {
                        Some(byte) => bytes.push(*byte),
                        None => bytes.extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes()),
                    }
                }
            }
            Spelling::Blanks(has_bytes) => match fallback_byte(&text).filter(|_| has_bytes) {
                Some(byte) => bytes.push(byte),
                None => bytes.extend_from_slice(text.replace('▁', " ").as_bytes()),
            },
            Spelling::Words => match text.strip_prefix("##") {
                Some(rest) => bytes.extend_from_slice(rest.as_bytes()),
                None => bytes.extend_from_slice(format!(" {text}").as_bytes()),
            },
        }
        Ok(())
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fallback({}, {} tokens)", self.name, self.size)
    }
}

/// Read by the library, whatever ours would say.
pub(super) fn tokenizer(name: &str, json: &[u8]) -> Result<Arc<dyn Tokenizer>> {
    Ok(Arc::new(Fallback::read(name, json)?))
}
