//! A `tekken.json`, the form in which Mistral keeps its vocabularies since 2024, as a [`BytePair`].
//!
//! It lists tokens by rank, and any two that spell a third become it, the lowest rank first. Its control tokens have the first
//! thousand numbers. Followed is what `mistral-common` 1.13 does with the same file (`tekken.py`); `tests/reference.rs` compares.

use std::{borrow::Cow, collections::HashMap};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use loquat_core::Result;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    Entry, MAX_ADDED, MAX_ADDED_BYTES, MAX_FILE_BYTES, MAX_MERGES, MAX_TOKENS, assemble, quoted, refused,
    singles,
};
use crate::tokenizer::{
    BytePair,
    bpe::Merge,
    byte_pair::Splitter,
    split::{Pattern as _, Tekken},
};

/// Bytes that are looked at to find what tokens are made of: a tenth of it in Mistral's.
const MAX_WORK: usize = 400_000_000;

/// Files before their version 8 do not list them (`Tekkenizer.DEPRECATED_SPECIAL_TOKENS`).
const OLD_CONTROLS: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

/// A field that is not known here may change what the tokens are, so it is an error that names it. Pictures, sound and settings
/// of the model do not change what a text's tokens are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'j> {
    config: Config,
    #[serde(borrow)]
    vocab: Vec<Token<'j>>,
    special_tokens: Option<Vec<Special>>,
    #[serde(rename = "image")]
    _image: Option<IgnoredAny>,
    #[serde(rename = "multimodal")]
    _multimodal: Option<IgnoredAny>,
    #[serde(rename = "audio")]
    _audio: Option<IgnoredAny>,
    #[serde(rename = "model_settings_builder")]
    _settings: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
    #[serde(rename = "num_vocab_tokens")]
    _num_vocab_tokens: Option<IgnoredAny>,
    #[serde(rename = "version")]
    _version: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Token<'j> {
    rank: usize,
    #[serde(borrow)]
    token_bytes: Cow<'j, str>,
}

#[derive(Deserialize)]
struct Special {
    rank: usize,
    token_str: String,
}

impl BytePair {
    /// The tokenizer of a `tekken.json`, under a name of the caller's choice. Its special tokens are control tokens here: written out
    /// in a text they are text. Costs as much as [`BytePair::from_tokenizer_json`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidRequest`](loquat_core::ErrorKind::InvalidRequest), saying why: the file is cut short, contradicts itself,
    /// is too large, or asks for what is not supported.
    pub fn from_tekken_json(name: &str, json: &[u8]) -> Result<Self> {
        if json.len() > MAX_FILE_BYTES {
            return Err(refused("it is larger than 128 MiB"));
        }
        let file: File<'_> = serde_json::from_slice(json).map_err(|error| super::json::unread(&error))?;
        if file.config.pattern != Tekken::REGEX {
            let pattern = quoted(&file.config.pattern);
            return Err(refused(&format!("its pattern {pattern} is none that is known")));
        }
        let controls = controls(&file)?;
        let entries = entries(&file, controls.len())?;
        let (vocabulary, numbering) = assemble(&entries, &singles(&entries)?, &merges(&entries)?, true)?;
        Self::numbered(name, vocabulary, Splitter::Tekken, controls, numbering, false)
    }
}

/// The control tokens; those without a name of their own are called `<SPECIAL_20>` and so on.
fn controls(file: &File<'_>) -> Result<Vec<(String, u32)>> {
    let count = file.config.default_num_special_tokens;
    if count > MAX_ADDED {
        return Err(refused("it has more than 4,096 special tokens"));
    }
    let mut names: Vec<Option<String>> = vec![None; count];
    let old = OLD_CONTROLS.iter().enumerate().map(|(rank, name)| (rank, (*name).to_owned()));
    let listed: Vec<(usize, String)> = match &file.special_tokens {
        Some(listed) => listed.iter().map(|special| (special.rank, special.token_str.clone())).collect(),
        None => old.collect(),
    };
    for (rank, name) in listed {
        let named = |what: &str| refused(&format!("its special token {} {what}", quoted(&name)));
        if name.is_empty() || name.len() > MAX_ADDED_BYTES {
            return Err(named("is empty or longer than 256 bytes"));
        }
        match names.get_mut(rank) {
            Some(place @ None) => *place = Some(name),
            Some(Some(_)) => return Err(named("has the number of another")),
            None => return Err(named("has a number beyond those of special tokens")),
        }
    }
    let names = names.into_iter().enumerate();
    let named = names.map(|(rank, name)| name.unwrap_or_else(|| format!("<SPECIAL_{rank}>")));
    let controls: Vec<(String, u32)> = named.zip(0..).collect();
    let mut sorted: Vec<&str> = controls.iter().map(|(name, _)| name.as_str()).collect();
    sorted.sort_unstable();
    match sorted.array_windows().find(|[one, other]| one == other) {
        Some([twice, _]) => Err(refused(&format!("its special token {} is there twice", quoted(twice)))),
        None => Ok(controls),
    }
}

/// The tokens that text can become, by number: the first of the list, as many as the size says.
fn entries(file: &File<'_>, controls: usize) -> Result<Vec<Entry<'static>>> {
    let size = file.config.default_vocab_size;
    let count = size.checked_sub(controls).filter(|count| *count <= file.vocab.len() && size <= MAX_TOKENS);
    let count = count.ok_or_else(|| refused("its vocabulary is not as large as it says, or too large"))?;
    let mut entries = Vec::with_capacity(count);
    for (rank, token) in file.vocab.iter().take(count).enumerate() {
        let named = |what: &str| refused(&format!("its token {rank} {what}"));
        if token.rank != rank {
            return Err(named("is not in its place"));
        }
        let bytes = BASE64_STANDARD.decode(token.token_bytes.as_bytes());
        let bytes = bytes.ok().filter(|bytes| !bytes.is_empty()).ok_or_else(|| named("is no base64"))?;
        let id = u32::try_from(controls + rank).map_err(|_| named("has a number above a million"))?;
        entries.push(Entry { written: "", id, bytes });
    }
    Ok(entries)
}

/// Every two tokens that spell a third.
fn merges(entries: &[Entry<'_>]) -> Result<Vec<Merge>> {
    let mut places: HashMap<&[u8], usize> = HashMap::with_capacity(entries.len());
    for (place, entry) in entries.iter().enumerate() {
        if places.insert(&entry.bytes, place).is_some() {
            return Err(refused(&format!("its token {place} is there twice")));
        }
    }
    let work: usize = entries.iter().map(|entry| entry.bytes.len().saturating_mul(entry.bytes.len())).sum();
    if work > MAX_WORK {
        return Err(refused("its tokens are too long"));
    }
    let mut merges = Vec::new();
    for (whole, entry) in entries.iter().enumerate() {
        let length = entry.bytes.len();
        for cut in 1..length {
            let (left, right) = entry.bytes.split_at(cut);
            if let (Some(left), Some(right)) = (places.get(left), places.get(right)) {
                merges.push(Merge { parts: [*left, *right], whole, length });
            }
        }
        if merges.len() > MAX_MERGES {
            return Err(refused("it has more than four million merges"));
        }
    }
    Ok(merges)
}
