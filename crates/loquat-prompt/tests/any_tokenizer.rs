//! Files that our own encoder refuses, read by Hugging Face's library: text stays text there, too.
#![cfg(feature = "tokenizers")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use loquat_prompt::{
    Detokenizer, Piece,
    tokenizer::{BytePair, Keep, Tokenizer, from_file},
};
use serde_json::{Value, json};

/// As Gemma's: SentencePiece's blanks, bytes for what has no token, white space among the added tokens.
fn gemma() -> Value {
    let tokens = ["<pad>", "<eos>", "<start>", "▁", "h", "i", "hi", "▁hi", "\n\n"].map(str::to_owned);
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let vocab: serde_json::Map<String, Value> =
        tokens.into_iter().chain(bytes).zip(0_u32..).map(|(token, id)| (token, id.into())).collect();
    let added = |id: u32, content: &str, special: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special})
    };
    json!({
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [
            added(0, "<pad>", true), added(1, "<eos>", true), added(2, "<start>", true), added(8, "\n\n", false),
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false},
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": [["h", "i"], ["▁", "hi"]],
        },
    })
}

fn read(file: &Value) -> loquat_core::Result<Arc<dyn Tokenizer>> {
    from_file("any", file.to_string().as_bytes())
}

#[test]
fn what_ours_refuses_the_library_reads() {
    let file = gemma();
    let ours = BytePair::from_tokenizer_json("any", file.to_string().as_bytes()).unwrap_err();
    assert!(ours.to_string().contains("cannot be used"), "{ours}");
    let tokenizer = read(&file).unwrap();
    let byte = |byte: u8| 9 + u32::from(byte);
    let check = |text: &str, expected: &[u32]| {
        let mut tokens = Vec::new();
        tokenizer.encode(text, &mut tokens).unwrap();
        assert_eq!(tokens, expected, "{text:?}");
        assert_eq!(tokenizer.count(text).unwrap(), expected.len());
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
        let mut stream = Detokenizer::new(&*tokenizer);
        let mut streamed: String =
            tokens.iter().map(|token| stream.push(*token).unwrap().to_owned()).collect();
        streamed.push_str(stream.finish());
        assert_eq!(streamed, text);
    };
    // More than the two that the file's own truncation would leave.
    check("hi hi hi", &[6, 7, 7]);
    check("hi\n\nhi", &[6, 8, 6]);
    check("", &[]);
    check("é", &[byte(0xC3), byte(0xA9)]);
    assert_eq!(tokenizer.vocabulary_size(), 265);
    assert_eq!(tokenizer.truncate("hi hi hi", 2, Keep::Head).unwrap(), "hi hi");
    assert!(tokenizer.token_bytes(265, &mut Vec::new()).is_err());
}

#[test]
fn text_writes_no_control_tokens() {
    let tokenizer = read(&gemma()).unwrap();
    for (written, token) in [("<pad>", 0), ("<eos>", 1), ("<start>", 2)] {
        let mut tokens = Vec::new();
        tokenizer.encode(written, &mut tokens).unwrap();
        assert!(tokens.len() > 1 && !tokens.contains(&token), "{written}: {tokens:?}");
        let mut tokens = Vec::new();
        tokenizer.encode_prompt(&[Piece::Markup(written), Piece::Text("hi")], &mut tokens).unwrap();
        assert_eq!(tokens, [token, 6]);
        assert_eq!(tokenizer.control_token(written), Some(token));
    }
}

#[test]
fn what_neither_understands_is_named() {
    let check = |path: &str, value: Value, expected: &str| {
        let mut file = gemma();
        *file.pointer_mut(path).unwrap() = value;
        let error = read(&file).unwrap_err().to_string();
        assert!(error.starts_with("this tokenizer file cannot be used: "), "{error}");
        assert!(error.contains(expected) && error.len() < 400, "{path}: {error}");
    };
    check("/decoder", json!({"type": "CTC"}), "CTC");
    check("/added_tokens/1/lstrip", json!(true), "<eos>");
    check("/added_tokens/1/normalized", json!(true), "<eos>");
    check("/model/type", json!("Unheard"), "");
    check("/normalizer", json!({"type": "Unheard"}), "");
    let whole = gemma().to_string();
    for cut in (0..whole.len()).step_by(53) {
        assert!(from_file("cut", &whole.as_bytes()[..cut]).is_err(), "{cut}");
    }
}
