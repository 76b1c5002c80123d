//! A `tokenizer.json`, the form in which Hugging Face keeps tokenizers, as a [`BytePair`]; and Mistral's `tekken.json` (`tekken`).
//!
//! Read are byte-level BPE vocabularies whose pattern is one that [`super::split`] knows: Qwen 2 to 3, Llama 3, DeepSeek V3 and
//! R1, GPT-4o, Mistral's Tekken and those trained like them. Whatever else a file asks for is refused by name, since tokens that
//! are nearly right are wrong. Its added tokens are control tokens here, which markup alone writes; the tokens that its
//! `post_processor` puts around a text are a template's business and are not added.
//!
//! Followed is what Hugging Face's `tokenizers` 0.23 does with the same file; `tests/reference.rs` compares.

mod any;
#[cfg(feature = "tokenizers")]
mod fallback;
mod json;
mod pattern;
mod tekken;

pub use any::from_file;

use std::collections::{HashMap, HashSet};

use loquat_core::{Error, ErrorKind, Result};

use super::{
    BytePair,
    bpe::{Merge, Reached, Vocabulary},
    byte_pair::{Numbering, Splitter},
};
use json::{Added, Model, Outline, Text};

/// Largest file, bytes: the largest in use have about 40 MB.
const MAX_FILE_BYTES: usize = 128 << 20;
/// Greatest number of a token, and most tokens: four times the largest vocabulary in use.
const MAX_TOKENS: usize = 1 << 20;
/// Most merges: those written from ranks name every pair, two or three for a token.
const MAX_MERGES: usize = 1 << 22;
/// Most added tokens: each is looked for in all markup.
const MAX_ADDED: usize = 4096;
/// Longest added token, bytes.
const MAX_ADDED_BYTES: usize = 256;
/// Most pairs of added tokens that are looked at side by side: a tenth of a second.
const MAX_PAIRS: usize = 100_000;

impl BytePair {
    /// The tokenizer of a `tokenizer.json`, under a name of the caller's choice. Its added tokens are control tokens here: written
    /// out in a text they are text.
    ///
    /// Takes some tenths of a second, and for that time about six times the file's size. Where the file asks for NFC, as Qwen's
    /// does, text that is not in that form is brought into it: its tokens decode to the normal form.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidRequest`], saying why: the file is cut short, contradicts itself, is too large, or asks for what is not
    /// supported.
    pub fn from_tokenizer_json(name: &str, json: &[u8]) -> Result<Self> {
        if json.len() > MAX_FILE_BYTES {
            return Err(refused("it is larger than 128 MiB"));
        }
        let outline = Outline::read(json)?;
        let is_normalizing = pattern::is_nfc(&outline.normalizer)?;
        let pattern = pattern::splitter(&outline.pre_tokenizer)?;
        let controls = controls(&outline.added_tokens, is_normalizing)?;
        let model = Model::read(json)?;
        let (vocabulary, numbering) = vocabulary(&model, &controls)?;
        Self::numbered(name, vocabulary, pattern, controls, numbering, is_normalizing)
    }
}

/// The added tokens, which must be as simple as control tokens are.
fn controls(added: &[Added], is_normalizing: bool) -> Result<Vec<(String, u32)>> {
    if added.len() > MAX_ADDED {
        return Err(refused("it has more than 4,096 added tokens"));
    }
    let mut numbers = HashSet::new();
    let mut written = HashSet::new();
    for token in added {
        let named = |what: &str| refused(&format!("its added token {} {what}", quoted(&token.content)));
        if token.content.is_empty() || token.content.len() > MAX_ADDED_BYTES {
            return Err(named("is empty or longer than 256 bytes"));
        }
        if token.id as usize >= MAX_TOKENS {
            return Err(named("has a number above a million"));
        }
        if token.lstrip || token.rstrip || token.single_word {
            return Err(named(
                "takes white space along or stands for whole words only (`lstrip`, `rstrip`, `single_word`)",
            ));
        }
        if token.normalized && is_normalizing {
            return Err(named("is looked for in normalized text"));
        }
        if !numbers.insert(token.id) || !written.insert(token.content.as_str()) {
            return Err(named("is there twice"));
        }
    }
    // Those for normalized text are looked for after the others. That is no difference while none begins within another.
    let mut kinds = [Vec::new(), Vec::new()];
    for token in added {
        kinds[usize::from(token.normalized)].push(token.content.as_str());
    }
    let [plain, normalized] = &kinds;
    let is_too_many = plain.len() * normalized.len() > MAX_PAIRS;
    if is_too_many || normalized.iter().any(|token| plain.iter().any(|other| touch(token, other))) {
        return Err(refused("its added tokens of different kinds (`normalized`) overlap, or are too many"));
    }
    Ok(added.iter().map(|token| (token.content.clone(), token.id)).collect())
}

/// Whether one is within the other, or begins with the end of the other.
fn touch(a: &str, b: &str) -> bool {
    let overlaps = |a: &str, b: &str| {
        a.contains(b)
            || a.char_indices().skip(1).any(|(at, _)| b.starts_with(a.get(at..).unwrap_or_default()))
    };
    overlaps(a, b) || overlaps(b, a)
}

/// The tokens and merges, and the file's numbers where they are not the order of the merges.
fn vocabulary(model: &Model<'_>, controls: &[(String, u32)]) -> Result<(Vocabulary, Option<Numbering>)> {
    let entries = entries(model, controls)?;
    let singles = singles(&entries)?;
    assemble(&entries, &singles, &merges(model, &entries)?, model.ignore_merges)
}

/// The places of the tokens of a single byte, each with its byte.
fn singles(entries: &[Entry<'_>]) -> Result<[(usize, u8); 256]> {
    let mut singles: Vec<(usize, u8)> = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        if let [byte] = entry.bytes.as_slice() {
            singles.push((place, *byte));
        }
    }
    singles.try_into().map_err(|_| refused("not every byte has a token of its own"))
}

/// A vocabulary of tokens by number and merges by rank. Tokens to which no merge leads are the words that are just theirs, with
/// `as_words`, or occur in no text.
fn assemble(
    entries: &[Entry<'_>],
    singles: &[(usize, u8); 256],
    merges: &[Merge],
    as_words: bool,
) -> Result<(Vocabulary, Option<Numbering>)> {
    let reached = Reached::new(&singles.map(|(place, _)| place), entries.len(), merges)
        .ok_or_else(|| refused("too many of its merges come before one that they need"))?;
    let mut by_rank: Vec<(u32, &Entry<'_>)> = reached.tokens.iter().copied().zip(entries).collect();
    // What is not reached comes last, by the file's number.
    by_rank.sort_by_key(|(token, entry)| (*token, entry.id));
    let vocabulary = Vocabulary::with_texts(
        &singles.map(|(_, byte)| byte),
        (reached.halves, reached.early),
        by_rank.iter().map(|(_, entry)| entry.bytes.as_slice()),
        as_words,
    )?;
    Ok((vocabulary, Numbering::new(by_rank.iter().map(|(_, entry)| entry.id).collect())))
}

/// A token of the file that text can become.
struct Entry<'m> {
    /// Its name in the file's merges; empty where the file has none.
    written: &'m str,
    id: u32,
    bytes: Vec<u8>,
}

/// All tokens by number, but for the added ones.
fn entries<'m>(model: &'m Model<'_>, controls: &[(String, u32)]) -> Result<Vec<Entry<'m>>> {
    let added: HashMap<u32, &str> = controls.iter().map(|(written, id)| (*id, written.as_str())).collect();
    let names: HashSet<&str> = added.values().copied().collect();
    let letters = letters();
    let mut entries = Vec::with_capacity(model.vocab.len());
    let mut numbers = HashSet::with_capacity(model.vocab.len());
    for (Text(written), id) in &model.vocab {
        let named = |what: &str| refused(&format!("its token {} {what}", quoted(written)));
        if *id as usize >= MAX_TOKENS {
            return Err(named("has a number above a million"));
        }
        if !numbers.insert(*id) {
            return Err(named("has the number of another"));
        }
        match added.get(id) {
            Some(name) if *name == written => continue,
            Some(_) => return Err(named("has the number of an added token")),
            None if names.contains(&**written) => return Err(named("is an added token with another number")),
            None => {}
        }
        let bytes: Option<Vec<u8>> = written.chars().map(|letter| letters.get(&letter).copied()).collect();
        let bytes =
            bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(|| named("is not written in bytes"))?;
        entries.push(Entry { written, id: *id, bytes });
    }
    entries.sort_by_key(|entry| entry.id);
    Ok(entries)
}

/// The merges, by the places of their tokens in `entries`.
fn merges(model: &Model<'_>, entries: &[Entry<'_>]) -> Result<Vec<Merge>> {
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
    for (place, entry) in entries.iter().enumerate() {
        if places.insert(entry.written, place).is_some() {
            return Err(refused(&format!("its token {} is there twice", quoted(entry.written))));
        }
    }
    let place = |written: &str| {
        let named = || refused(&format!("a merge names {}, which is no token", quoted(written)));
        places.get(written).copied().ok_or_else(named)
    };
    let mut seen = HashSet::with_capacity(model.merges.len());
    let mut merges = Vec::with_capacity(model.merges.len());
    let mut whole = String::new();
    for [Text(left), Text(right)] in &model.merges {
        whole.clear();
        whole.push_str(left);
        whole.push_str(right);
        let parts = [place(left)?, place(right)?];
        if !seen.insert(parts) {
            return Err(refused(&format!("the merge to its token {} is there twice", quoted(&whole))));
        }
        let whole = place(&whole)?;
        let length = entries.get(whole).map_or(0, |entry| entry.bytes.len());
        merges.push(Merge { parts, whole, length });
    }
    Ok(merges)
}

/// The byte of each letter that stands for one (GPT-2's `bytes_to_unicode`).
fn letters() -> HashMap<char, u8> {
    let shown = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..);
    let hidden = (0..=255).filter(|byte| !shown(byte)).zip('\u{100}'..);
    let hidden = hidden.map(|(byte, letter)| (letter, byte));
    (0..=255).filter(shown).map(|byte| (char::from(byte), byte)).chain(hidden).collect()
}

/// What a file says, at a length that fits an error.
fn quoted(text: &str) -> String {
    let cut = text.floor_char_boundary(80);
    format!("{:?}{}", text.get(..cut).unwrap_or_default(), if cut < text.len() { "…" } else { "" })
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("this tokenizer file cannot be used: {what}"))
}
