//! Who encodes: ours and the peers, each with the same vocabulary.

use std::collections::HashMap;

use fastokens::tiktoken::TiktokenConfig;
use loquat_prompt::tokenizer::{BytePair, Tokenizer as _, cl100k_base, o200k_base};
use serde_json::{Map, Value, json};
use tokenizers::pipeline::{EncodeOptions, PipelineTokenizer};

pub struct Contender {
    pub name: &'static str,
    /// Encodes a text; how many tokens.
    pub encode: Box<dyn Fn(&str) -> usize>,
}

#[derive(Clone, Copy)]
pub enum Vocabulary {
    O200k,
    Cl100k,
}

impl Vocabulary {
    pub fn name(self) -> &'static str {
        match self {
            Self::O200k => "o200k",
            Self::Cl100k => "cl100k",
        }
    }

    pub fn ours(self) -> std::sync::Arc<BytePair> {
        match self {
            Self::O200k => o200k_base(),
            Self::Cl100k => cl100k_base(),
        }
        .expect("it is built in")
    }

    fn config(self) -> TiktokenConfig {
        match self {
            Self::O200k => TiktokenConfig::o200k_base(),
            Self::Cl100k => TiktokenConfig::cl100k_base(),
        }
    }

    /// The file that this crate carries; its form is described beside it.
    fn merges(self) -> &'static [u8] {
        match self {
            Self::O200k => include_bytes!("../../../crates/loquat-prompt/vocabularies/o200k_base.merges"),
            Self::Cl100k => include_bytes!("../../../crates/loquat-prompt/vocabularies/cl100k_base.merges"),
        }
    }

    /// All tokens' bytes, by rank.
    fn ranks(self) -> Vec<(Vec<u8>, u32)> {
        let ours = self.ours();
        let tokens = 256 + (self.merges().len() as u32 - 256) / 6;
        (0..tokens)
            .map(|token| {
                let mut bytes = Vec::new();
                ours.token_bytes(token, &mut bytes).expect("a token below the greatest");
                (bytes, token)
            })
            .collect()
    }

    pub fn fastokens(self) -> fastokens::Tokenizer {
        fastokens::Tokenizer::from_tiktoken_ranks(&self.ranks(), self.config()).expect("ranks")
    }

    /// As a `tokenizer.json`, where each byte is a character of its own.
    fn tokenizers(self) -> PipelineTokenizer {
        let letters = letters();
        let written: Vec<String> =
            self.ranks().iter().map(|(bytes, _)| bytes.iter().map(|byte| letters[byte]).collect()).collect();
        let vocab: Map<String, Value> =
            written.iter().enumerate().map(|(token, text)| (text.clone(), json!(token))).collect();
        let number =
            |bytes: &[u8]| usize::from(bytes[0]) | usize::from(bytes[1]) << 8 | usize::from(bytes[2]) << 16;
        let merges: Vec<Value> = self.merges()[256..]
            .chunks(6)
            .map(|pair| json!([written[number(pair)], written[number(&pair[3..])]]))
            .collect();
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": self.config().pattern}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
            ]},
            "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab, "merges": merges,
            },
        });
        let canonical = tokenizers::canonicalize_str(&json.to_string()).expect("it is brought up to date");
        tokenizers::from_json(&canonical).expect("it is read")
    }
}

/// The character of each byte in a `tokenizer.json` (GPT-2's `bytes_to_unicode`).
fn letters() -> HashMap<u8, char> {
    let shown = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..);
    let hidden = (0..=255).filter(|byte| !shown(byte)).zip(256..);
    let hidden = hidden.map(|(byte, code)| (byte, char::from_u32(code).expect("a letter")));
    (0..=255).filter(shown).map(|byte| (byte, char::from(byte))).chain(hidden).collect()
}

pub fn of(vocabulary: Vocabulary) -> Vec<Contender> {
    let ours = vocabulary.ours();
    let ours = move |text: &str| {
        let mut tokens = Vec::new();
        ours.encode(text, &mut tokens).expect("any text is encoded");
        tokens.len()
    };
    let fastokens = vocabulary.fastokens();
    let tokenizers = vocabulary.tokenizers();
    let (bpe, tiktoken) = match vocabulary {
        Vocabulary::O200k => (bpe_openai::o200k_base(), tiktoken_rs::o200k_base_singleton()),
        Vocabulary::Cl100k => (bpe_openai::cl100k_base(), tiktoken_rs::cl100k_base_singleton()),
    };
    let tokenizers = move |text: &str| {
        let mut tokens = Vec::with_capacity(text.len() / 4);
        let done = tokenizers.encode_into(text, &EncodeOptions::no_specials(), &mut tokens);
        done.expect("any text is encoded");
        tokens.len()
    };
    vec![
        Contender { name: "ours", encode: Box::new(ours) },
        Contender { name: "tokenizers-1rc", encode: Box::new(tokenizers) },
        Contender {
            name: "fastokens",
            encode: Box::new(move |text| fastokens.encode_ordinary(text).expect("any text is encoded").len()),
        },
        Contender { name: "bpe-openai", encode: Box::new(|text| bpe.encode(text).len()) },
        Contender { name: "tiktoken-rs", encode: Box::new(|text| tiktoken.encode_ordinary(text).len()) },
    ]
}

/// The first token of a process, by those that bring their vocabulary.
pub fn first(who: &str) -> usize {
    match who {
        "ours" => o200k_base().expect("it is built in").count("Hello, world!").expect("any text is counted"),
        "bpe-openai" => bpe_openai::o200k_base().encode("Hello, world!").len(),
        _ => tiktoken_rs::o200k_base_singleton().encode_ordinary("Hello, world!").len(),
    }
}
