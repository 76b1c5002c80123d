//! Any bytes as a file of a tokenizer: refused, or read as one whose counts agree with its tokens, and whose tokens with each other.
//!
//! The first byte says which of the two formats it is in.
#![no_main]

use std::sync::Arc;

use loquat_prompt::tokenizer::{BytePair, Tokenizer};

const TEXTS: [&str; 4] =
    ["", "hi hi\n\n  42", "</s><unk>[SEP]<|end|>", "\u{e9}\u{1f34a}\u{0}\t\u{4e2d}\u{6587}"];

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((format, file)) = input.split_first() else { return };
    let read = match format % 2 {
        0 => BytePair::from_tokenizer_json("fuzzed", file),
        _ => BytePair::from_tekken_json("fuzzed", file),
    };
    let Ok(tokenizer) = read else { return };
    let tokenizer: Arc<dyn Tokenizer> = Arc::new(tokenizer);
    for text in TEXTS {
        let mut tokens = Vec::new();
        let Ok(()) = tokenizer.encode(text, &mut tokens) else { continue };
        assert_eq!(tokenizer.count(text).unwrap(), tokens.len());
        let cut = tokenizer.safe_cut(text, text.len() / 2);
        let mut parts = Vec::new();
        tokenizer.encode(&text[..cut], &mut parts).unwrap();
        tokenizer.encode(&text[cut..], &mut parts).unwrap();
        assert_eq!(parts, tokens, "cut at {cut}");
        let _ = tokenizer.decode(&tokens);
    }
});
