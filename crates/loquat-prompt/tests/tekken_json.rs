//! A `tekken.json`: read where it is understood, refused by name where it is not.
#![cfg(feature = "tokens")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use base64::{Engine as _, prelude::BASE64_STANDARD};
use loquat_prompt::{
    Piece,
    tokenizer::{BytePair, Tokenizer as _, from_file},
};
use serde_json::{Value, json};

const PATTERN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// The bytes, these tokens from rank 256 on, and one that is beyond the size.
fn file(tokens: &[&str]) -> Value {
    let singles = (0..=255_u8).map(|byte| vec![byte]);
    let all = singles.chain(tokens.iter().map(|text| text.as_bytes().to_vec())).chain([b"beyond".to_vec()]);
    let vocab: Vec<Value> = all
        .enumerate()
        .map(|(rank, bytes)| json!({"rank": rank, "token_bytes": BASE64_STANDARD.encode(bytes), "token_str": null}))
        .collect();
    json!({
        "config": {
            "pattern": PATTERN, "num_vocab_tokens": vocab.len(), "default_vocab_size": 1000 + 256 + tokens.len(),
            "default_num_special_tokens": 1000, "version": "v3",
        },
        "vocab": vocab,
        "image": {"image_patch_size": 16},
    })
}

/// `abc` comes before `ab`, which is what it is made of; `xyz` is reached by no merge, and is the word that it is.
fn small() -> Value {
    file(&["th", "he", "the", " the", "abc", "ab", "xyz"])
}

fn read(file: &Value) -> loquat_core::Result<BytePair> {
    BytePair::from_tekken_json("small", file.to_string().as_bytes())
}

#[test]
fn a_file_is_read() {
    let tokenizer = read(&small()).unwrap();
    let check = |text: &str, expected: &[u32]| {
        let mut tokens = Vec::new();
        tokenizer.encode(text, &mut tokens).unwrap();
        assert_eq!(tokens, expected, "{text:?}");
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
    };
    let byte = |letter: u8| 1000 + u32::from(letter);
    check("the", &[1258]);
    check("the the", &[1258, 1259]);
    check("he", &[1257]);
    check("abc", &[1260]);
    check("xyz", &[1262]);
    check("xyzx", &[b'x', b'y', b'z', b'x'].map(byte));
    check("<s>", &[b'<', b's', b'>'].map(byte));
    check("é", &[0xC3, 0xA9].map(byte));
    assert_eq!(tokenizer.vocabulary_size(), 1263);
    let mut tokens = Vec::new();
    tokenizer.encode_prompt(&[Piece::Markup("<s>[INST]the[/INST]<SPECIAL_999>")], &mut tokens).unwrap();
    assert_eq!(tokens, [1, 3, 1258, 4, 999]);
    // By its looks, without being told what it is.
    let mut tokens = Vec::new();
    from_file("small", small().to_string().as_bytes()).unwrap().encode("the", &mut tokens).unwrap();
    assert_eq!(tokens, [1258]);
}

#[test]
fn control_tokens_may_be_listed() {
    let mut file = small();
    file["special_tokens"] = json!([
        {"rank": 7, "token_str": "[THINK]", "is_control": true},
        {"rank": 0, "token_str": "<unk>", "is_control": true},
    ]);
    let tokenizer = read(&file).unwrap();
    let controls = ["[THINK]", "<unk>", "<SPECIAL_1>", "<s>"].map(|name| tokenizer.control_token(name));
    assert_eq!(controls, [Some(7), Some(0), Some(1), None]);
}

#[test]
fn what_is_not_understood_is_named() {
    let check = |path: &str, value: Value, expected: &str| {
        let mut file = small();
        let (parent, name) = path.rsplit_once('/').unwrap();
        match file.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
            parent => parent[name] = value,
        }
        let error = read(&file).unwrap_err().to_string();
        assert!(error.starts_with("this tokenizer file cannot be used: "), "{error}");
        assert!(error.contains(expected) && error.len() < 400, "{path}: {error}");
    };
    check("/extra", json!(1), "`extra`");
    check("/config/extra", json!(1), "`extra`");
    check("/config/pattern", json!(r"\S+"), "pattern");
    check("/config/default_vocab_size", json!(5000), "not as large as it says");
    check("/config/default_vocab_size", json!(999), "not as large as it says");
    check("/config/default_vocab_size", json!(1100), "not every byte");
    check("/config/default_num_special_tokens", json!(5000), "4,096");
    check("/vocab/3/rank", json!(4), "token 3 is not in its place");
    check("/vocab/3/token_bytes", json!("?"), "token 3 is no base64");
    check("/vocab/3/token_bytes", json!(""), "token 3 is no base64");
    check("/vocab/258/token_bytes", json!("dGg="), "token 258 is there twice");
    let special = |rank: u64, name: &str| json!({"rank": rank, "token_str": name});
    check("/special_tokens", json!([special(1000, "<a>")]), "beyond");
    check("/special_tokens", json!([special(1, "<a>"), special(1, "<b>")]), "number of another");
    check("/special_tokens", json!([special(1, "<a>"), special(2, "<a>")]), "\"<a>\" is there twice");
    check("/special_tokens", json!([special(1, "<SPECIAL_5>")]), "is there twice");
    check("/special_tokens", json!([special(1, "")]), "is empty");
    // Too long to find what they are made of: each is looked at in all its parts.
    let long: Vec<String> = (0..500).map(|number| format!("{number:0>1000}")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let error = read(&file(&long)).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}

#[test]
fn a_file_that_is_cut_is_refused() {
    let whole = small().to_string();
    for cut in (0..whole.len()).step_by(97) {
        assert!(BytePair::from_tekken_json("cut", &whole.as_bytes()[..cut]).is_err(), "{cut}");
        assert!(from_file("cut", &whole.as_bytes()[..cut]).is_err(), "{cut}");
    }
}
