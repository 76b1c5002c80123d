//! Small byte-level vocabularies, as a `tokenizer.json`.

use serde_json::{Value, json};

pub(crate) const LLAMA: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A file with these tokens behind the bytes, numbered from 256 on, and these merges.
pub(crate) fn file(tokens: &[&str], merges: &Value) -> Value {
    let mut vocab = serde_json::Map::new();
    let shown = |byte: &u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let letters: Vec<u32> = (0..256)
        .filter(shown)
        .chain((0..256).filter(|byte| !shown(byte)).zip(256..).map(|(_, code)| code))
        .collect();
    for (token, code) in letters.into_iter().enumerate() {
        vocab.insert(char::from_u32(code).unwrap().to_string(), token.into());
    }
    for (token, text) in (256..).zip(tokens) {
        vocab.insert((*text).to_owned(), token.into());
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{"id": 300, "content": "<|end|>", "special": true}],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": LLAMA}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "post_processor": {"type": "ByteLevel"}, "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "byte_fallback": false, "vocab": vocab, "merges": merges,
        },
    })
}
