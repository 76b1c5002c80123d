//! The form of a `tokenizer.json`: fields, their types, and how many there may be of each.
//!
//! A field that is not known here may change what the tokens are, so it is an error that names it. The file is read twice: first
//! without the model's tokens and merges, which are nearly all of it, so that what is refused is refused before.

use std::{borrow::Cow, fmt};

use loquat_core::Result;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{MAX_MERGES, MAX_TOKENS, quoted, refused};

/// Longest of a file's settings, bytes. The longest in use, a table of characters in SentencePiece's normalizers, has half a megabyte.
const MAX_SETTING_BYTES: usize = 2 << 20;

/// A part of the file whose form is its own, as it is written: read as a [`Value`] it may take twenty times as much memory.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Setting<'j>(#[serde(borrow)] Option<&'j RawValue>);

impl Setting<'_> {
    pub(super) fn read(&self) -> Result<Value> {
        let Some(raw) = self.0 else { return Ok(Value::Null) };
        if raw.get().len() > MAX_SETTING_BYTES {
            return Err(refused("one of its settings is longer than 2 MiB"));
        }
        serde_json::from_str(raw.get()).map_err(|error| unread(&error))
    }
}

/// All but the model.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) added_tokens: Vec<Added>,
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'j> {
    #[serde(default, rename = "version")]
    _version: IgnoredAny,
    truncation: Option<IgnoredAny>,
    padding: Option<IgnoredAny>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(borrow, default)]
    normalizer: Setting<'j>,
    #[serde(borrow, default)]
    pre_tokenizer: Setting<'j>,
    #[serde(default, rename = "post_processor")]
    _post_processor: IgnoredAny,
    #[serde(borrow, default)]
    decoder: Setting<'j>,
    model: Kind,
}

#[derive(Debug, Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// An added token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) single_word: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
    #[serde(default)]
    pub(super) normalized: bool,
    #[serde(default, rename = "special")]
    _special: bool,
}

impl Outline {
    pub(super) fn read(json: &[u8]) -> Result<Self> {
        let file: File<'_> = serde_json::from_slice(json).map_err(|error| unread(&error))?;
        match &file.model.kind {
            Some(kind) if kind != "BPE" => {
                return Err(refused(&format!("its model is {}, not BPE", quoted(kind))));
            }
            _ => {}
        }
        for (name, is_asked_for) in
            [("truncation", file.truncation.is_some()), ("padding", file.padding.is_some())]
        {
            if is_asked_for {
                return Err(refused(&format!("it asks for `{name}`, which is not supported")));
            }
        }
        let decoder = file.decoder.read()?;
        match decoder.get("type").and_then(Value::as_str) {
            None if decoder.is_null() => {}
            Some("ByteLevel") => {}
            other => {
                return Err(refused(&format!(
                    "its decoder is {}, not ByteLevel",
                    quoted(other.unwrap_or("?"))
                )));
            }
        }
        let (normalizer, pre_tokenizer) = (file.normalizer.read()?, file.pre_tokenizer.read()?);
        Ok(Self { added_tokens: file.added_tokens, normalizer, pre_tokenizer })
    }
}

/// The model.
#[derive(Debug)]
pub(super) struct Model<'j> {
    pub(super) vocab: Vec<(Text<'j>, u32)>,
    pub(super) merges: Vec<[Text<'j>; 2]>,
    /// Whether a word that is a token is that token, although no merging leads to it.
    pub(super) ignore_merges: bool,
}

impl<'j> Model<'j> {
    pub(super) fn read(json: &'j [u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct File<'j> {
            #[serde(borrow)]
            model: Fields<'j>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields<'j> {
            #[serde(default, rename = "type")]
            _kind: IgnoredAny,
            dropout: Option<IgnoredAny>,
            /// For what has no token. Every byte has one here, so it never comes up, fused or not.
            #[serde(default, rename = "unk_token")]
            _unk_token: IgnoredAny,
            #[serde(default, rename = "fuse_unk")]
            _fuse_unk: IgnoredAny,
            #[serde(default)]
            continuing_subword_prefix: Option<String>,
            #[serde(default)]
            end_of_word_suffix: Option<String>,
            #[serde(default)]
            byte_fallback: bool,
            #[serde(default)]
            ignore_merges: bool,
            #[serde(borrow)]
            vocab: Vocab<'j>,
            #[serde(borrow)]
            merges: Merges<'j>,
        }
        let File { model } = serde_json::from_slice(json).map_err(|error| unread(&error))?;
        let is_there = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
        let asked_for = [
            ("dropout", model.dropout.is_some()),
            ("continuing_subword_prefix", is_there(&model.continuing_subword_prefix)),
            ("end_of_word_suffix", is_there(&model.end_of_word_suffix)),
            ("byte_fallback", model.byte_fallback),
        ];
        if let Some((name, _)) = asked_for.iter().find(|(_, is_asked_for)| *is_asked_for) {
            return Err(refused(&format!("it asks for `{name}`, which is not supported")));
        }
        let (Vocab(vocab), Merges(merges)) = (model.vocab, model.merges);
        Ok(Self { vocab, merges, ignore_merges: model.ignore_merges })
    }
}

/// What `serde_json` says, which may quote the file, at a bounded length.
pub(super) fn unread(error: &serde_json::Error) -> loquat_core::Error {
    let said = error.to_string();
    let cut = said.floor_char_boundary(200);
    let place = if cut < said.len() { format!("… at line {}", error.line()) } else { String::new() };
    refused(&format!("{}{place}", said.get(..cut).unwrap_or_default()))
}

/// A string of the file, borrowed where it has no escapes.
#[derive(Debug)]
pub(super) struct Text<'j>(pub(super) Cow<'j, str>);

impl<'de: 'j, 'j> Deserialize<'de> for Text<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Read)
    }
}

#[derive(Debug)]
pub(super) struct Vocab<'j>(pub(super) Vec<(Text<'j>, u32)>);

impl<'de: 'j, 'j> Deserialize<'de> for Vocab<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vocab<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens with their numbers")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab<'de>, A::Error> {
                let mut tokens = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if tokens.len() >= MAX_TOKENS {
                        return Err(de::Error::custom("it has more than a million tokens"));
                    }
                    tokens.push(entry);
                }
                Ok(Vocab(tokens))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

#[derive(Debug)]
pub(super) struct Merges<'j>(pub(super) Vec<[Text<'j>; 2]>);

impl<'de: 'j, 'j> Deserialize<'de> for Merges<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Merges<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("merges")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merges<'de>, A::Error> {
                let mut merges = Vec::new();
                while let Some(Merge(parts)) = list.next_element()? {
                    if merges.len() >= MAX_MERGES {
                        return Err(de::Error::custom("it has more than four million merges"));
                    }
                    merges.push(parts);
                }
                Ok(Merges(merges))
            }
        }
        deserializer.deserialize_seq(Read)
    }
}

/// `"a b"` or `["a", "b"]`.
struct Merge<'j>([Text<'j>; 2]);

impl<'de: 'j, 'j> Deserialize<'de> for Merge<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        /// The two parts of `"a b"`; neither has a space, which is written as another letter.
        fn parts<E: de::Error>(text: &str) -> Result<(&str, &str), E> {
            let parts = text.split_once(' ').filter(|(_, right)| !right.contains(' '));
            parts.ok_or_else(|| E::custom("a merge is not of two parts"))
        }
        impl<'de> Visitor<'de> for Read {
            type Value = Merge<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge of two parts")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Merge<'de>, E> {
                let (left, right) = parts(text)?;
                Ok(Merge([Text(Cow::Borrowed(left)), Text(Cow::Borrowed(right))]))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Merge<'de>, E> {
                let (left, right) = parts(text)?;
                Ok(Merge([left, right].map(|part| Text(Cow::Owned(part.to_owned())))))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merge<'de>, A::Error> {
                let wrong = || de::Error::custom("a merge is not of two parts");
                let (Some(left), Some(right)) = (list.next_element()?, list.next_element()?) else {
                    return Err(wrong());
                };
                match list.next_element::<IgnoredAny>()? {
                    None => Ok(Merge([left, right])),
                    Some(_) => Err(wrong()),
                }
            }
        }
        deserializer.deserialize_any(Read)
    }
}
