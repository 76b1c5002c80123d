//! The model of a `tokenizer.json` as the library has it, but without the file's control tokens.
//!
//! A model knows nothing of control tokens: a word that is written as one of its tokens is that token, and in most files control
//! tokens are among them (in Unigram's, with the best score of all). So they are taken out of the model before there is one, and
//! no text can become them. What the model says of what has no token (`unk_token`), text may become but not write: it is called by
//! a name that no word has, the empty one.
//!
//! The library reads what is corrupt with a warning in its log, or panics (a merge longer than every token); here it is refused by name.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use loquat_core::Result;
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use tokenizers::{
    ModelWrapper,
    models::{
        bpe::{self, BPE},
        unigram::Unigram,
        wordlevel::WordLevel,
        wordpiece::WordPiece,
    },
};

use super::{
    super::{
        MAX_TOKENS,
        json::{Added, Merges, Text, Vocab},
        quoted, refused,
    },
    cut, fallback_byte,
};

/// What may be in a model; a field that is not known here may change what the tokens are, so it is an error that names it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model<'j> {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f64>,
    unk_token: Option<String>,
    unk_id: Option<usize>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    max_input_chars_per_word: Option<usize>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    #[serde(borrow)]
    vocab: Tokens<'j>,
    #[serde(borrow)]
    merges: Option<Merges<'j>>,
}

/// By number, or, in Unigram's order, with their scores.
#[derive(Debug)]
enum Tokens<'j> {
    Numbered(Vocab<'j>),
    Scored(Vec<(Text<'j>, f64)>),
}

impl<'de: 'j, 'j> Deserialize<'de> for Tokens<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Tokens<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens with their numbers or scores")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Tokens<'de>, A::Error> {
                Vocab::deserialize(MapAccessDeserializer::new(map)).map(Tokens::Numbered)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tokens<'de>, A::Error> {
                let mut tokens = Vec::new();
                while let Some(token) = list.next_element()? {
                    if tokens.len() >= MAX_TOKENS {
                        return Err(de::Error::custom("it has more than a million tokens"));
                    }
                    tokens.push(token);
                }
                Ok(Tokens::Scored(tokens))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// The file's added tokens, told apart.
pub(super) struct AddedTokens<'f> {
    pub(super) all: &'f [Added],
    /// How those are written that text must not become.
    pub(super) controls: HashSet<&'f str>,
}

impl Model<'_> {
    /// The library's model. Its tokens have the file's numbers.
    pub(super) fn build(self, added: &AddedTokens<'_>) -> Result<ModelWrapper> {
        if self.dropout.is_some_and(|share| share != 0.0) {
            return Err(refused("it asks for `dropout`, with which a text has other tokens each time"));
        }
        let kind = match (&self.kind, &self.vocab) {
            (Some(kind), _) => kind.as_str(),
            // Files of before there was a type.
            (None, Tokens::Scored(_)) => "Unigram",
            (None, _) if self.merges.is_some() => "BPE",
            (None, _) if self.max_input_chars_per_word.is_some() => "WordPiece",
            (None, _) => "WordLevel",
        };
        match kind {
            "BPE" => self.bpe(added),
            "Unigram" => self.unigram(added),
            "WordPiece" => {
                let (vocab, unknown) = numbered(self.vocab, self.unk_token, added)?;
                let mut builder = WordPiece::builder().vocab(vocab);
                if let Some(unknown) = unknown {
                    builder = builder.unk_token(unknown);
                }
                if let Some(prefix) = self.continuing_subword_prefix {
                    builder = builder.continuing_subword_prefix(prefix);
                }
                if let Some(most) = self.max_input_chars_per_word {
                    builder = builder.max_input_chars_per_word(most);
                }
                built(builder.build())
            }
            "WordLevel" => {
                let (vocab, unknown) = numbered(self.vocab, self.unk_token, added)?;
                let mut builder = WordLevel::builder().vocab(vocab);
                if let Some(unknown) = unknown {
                    builder = builder.unk_token(unknown);
                }
                built(builder.build())
            }
            other => Err(refused(&format!("its model is {}, which is not supported", quoted(other)))),
        }
    }

    fn bpe(self, added: &AddedTokens<'_>) -> Result<ModelWrapper> {
        let (vocab, unknown) = numbered(self.vocab, self.unk_token, added)?;
        let prefix = self.continuing_subword_prefix.unwrap_or_default();
        let Merges(all) = self.merges.ok_or_else(|| refused("it has no merges"))?;
        let mut merges = Vec::with_capacity(all.len());
        let mut whole = String::new();
        for [Text(left), Text(right)] in all {
            whole.clear();
            whole.push_str(&left);
            let rest = right.strip_prefix(prefix.as_str()).ok_or_else(|| no_token(&right))?;
            whole.push_str(rest);
            let parts = [&*left, &*right, &*whole];
            // What leads to a control token or on from one is no word's.
            if parts.iter().any(|part| added.controls.contains(part)) {
                continue;
            }
            if let Some(part) = parts.iter().find(|part| !vocab.contains_key(**part)) {
                return Err(no_token(part));
            }
            merges.push((left.into_owned(), right.into_owned()));
        }
        let mut builder = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .fuse_unk(self.fuse_unk.unwrap_or(false))
            .byte_fallback(self.byte_fallback.unwrap_or(false))
            .ignore_merges(self.ignore_merges.unwrap_or(false));
        if let Some(unknown) = unknown {
            builder = builder.unk_token(unknown);
        }
        if !prefix.is_empty() {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = self.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        built(builder.build())
    }

    fn unigram(self, added: &AddedTokens<'_>) -> Result<ModelWrapper> {
        let Tokens::Scored(tokens) = self.vocab else {
            return Err(refused("its model is Unigram, and its tokens have no scores"));
        };
        check(added, (0..).zip(&tokens).map(|(id, (Text(written), _))| (&**written, id)), true)?;
        let called = tokens.into_iter().map(|(Text(written), score)| {
            // They keep their place, which is their number; nothing is looked up by an empty name.
            let is_control = added.controls.contains(&*written);
            (if is_control { String::new() } else { written.into_owned() }, score)
        });
        built(Unigram::from(called.collect(), self.unk_id, self.byte_fallback.unwrap_or(false)))
    }
}

/// The tokens by name, without control tokens and with those added ones that are text; and the name of the one for what has none.
fn numbered(
    tokens: Tokens<'_>,
    unknown: Option<String>,
    added: &AddedTokens<'_>,
) -> Result<(bpe::Vocab, Option<String>)> {
    let Tokens::Numbered(Vocab(tokens)) = tokens else {
        return Err(refused("its tokens have no numbers"));
    };
    check(added, tokens.iter().map(|(Text(written), id)| (&**written, *id)), false)?;
    let is_hidden = unknown.as_deref().is_some_and(|unknown| added.controls.contains(unknown));
    let named = tokens.into_iter().filter_map(|(Text(written), id)| {
        if is_hidden && unknown.as_deref() == Some(&*written) {
            return Some((String::new(), id));
        }
        (!added.controls.contains(&*written)).then(|| (written.into_owned(), id))
    });
    let mut vocab: bpe::Vocab = named.collect();
    for token in added.all.iter().filter(|token| !added.controls.contains(token.content.as_str())) {
        vocab.insert(token.content.clone(), token.id);
    }
    Ok((vocab, if is_hidden { Some(String::new()) } else { unknown }))
}

/// Whether tokens and added tokens agree on their numbers, and the library would number them so.
fn check<'t>(
    added: &AddedTokens<'_>,
    tokens: impl Iterator<Item = (&'t str, u32)>,
    may_repeat: bool,
) -> Result<()> {
    let (mut numbers, mut names) = (HashMap::new(), HashMap::new());
    for (written, id) in tokens {
        let named = |what: &str| refused(&format!("its token {} {what}", quoted(written)));
        if id as usize >= MAX_TOKENS {
            return Err(named("has a number above a million"));
        }
        if numbers.insert(id, written).is_some_and(|other| !is_same(other, written)) {
            return Err(named("has the number of another"));
        }
        if names.insert(written, id).is_some() && !may_repeat {
            return Err(named("is there twice"));
        }
    }
    // Tokens that are not among the model's are numbered behind them, in the file's order.
    let mut next = u32::try_from(names.len()).unwrap_or(u32::MAX);
    let mut seen = HashSet::new();
    for token in added.all {
        let named = |what: &str| refused(&format!("its added token {} {what}", quoted(&token.content)));
        if !seen.insert(token.content.as_str()) {
            return Err(named("is there twice"));
        }
        let number = names.get(token.content.as_str()).copied().unwrap_or_else(|| {
            next = next.saturating_add(1);
            next - 1
        });
        if number != token.id {
            return Err(named("is numbered anew"));
        }
        if numbers.get(&number).is_some_and(|other| *other != token.content) {
            return Err(named("has the number of another"));
        }
    }
    Ok(())
}

/// A byte and the letter that is that byte: some files name the same token by both.
fn is_same(one: &str, other: &str) -> bool {
    let is_byte_of =
        |byte: &str, letter: &str| fallback_byte(byte).is_some_and(|byte| letter.as_bytes() == [byte]);
    is_byte_of(one, other) || is_byte_of(other, one)
}

fn no_token(written: &str) -> loquat_core::Error {
    refused(&format!("a merge names {}, which is no token", quoted(written)))
}

fn built<M: Into<ModelWrapper>>(model: tokenizers::Result<M>) -> Result<ModelWrapper> {
    model.map(Into::into).map_err(|error| refused(&cut(&error.to_string())))
}
