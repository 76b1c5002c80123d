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

/// A file of that model, with these control tokens, which are among the model's own, too.
fn file(model: &Value, pre_tokenizer: &Value, controls: &[(u32, &str)]) -> Value {
    let added = controls.iter().map(|(id, content)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null, "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null, "model": model,
    })
}

/// In most files control tokens are among the model's, which takes words that are written so for them.
#[test]
fn text_writes_no_control_tokens() {
    let blanks =
        json!({"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated", "invert": false});
    let words = json!({"type": "WhitespaceSplit"});
    let numbered = |tokens: &[&str]| -> Value {
        let tokens = tokens.iter().zip(0_u32..);
        tokens.map(|(token, id)| ((*token).to_owned(), id.into())).collect::<serde_json::Map<_, _>>().into()
    };
    let scored = |tokens: &[&str]| -> Value {
        // Those of control tokens are the best, as in T5's and XLM-R's.
        tokens.iter().map(|token| json!([token, if token.len() > 2 { 0 } else { -3 }])).collect()
    };
    let letters =
        ["<unk>", "</s>", "<", "/", "s", ">", "h", "i", " ", "u", "n", "k", "[", "]", "S", "E", "P", "s>"];
    let bpe = |more: Value| {
        let mut model =
            json!({"type": "BPE", "unk_token": "<unk>", "vocab": numbered(&letters), "merges": [["s", ">"]]});
        model.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        model
    };
    let mut merged = bpe(json!({"merges": [["s", ">"], ["<", "/"], ["</", "s>"], ["</s>", "h"]]}));
    for (token, id) in [("</", 18), ("</s>h", 19)] {
        merged["vocab"][token] = json!(id);
    }
    let pieces = ["[UNK]", "[SEP]", "h", "##i", "hi", "[", "##S", "##E", "##P", "##]", "<", "##unk"];
    for (name, model, splits, controls) in [
        (
            "Unigram",
            json!({"type": "Unigram", "unk_id": 0, "vocab": scored(&letters)}),
            &Value::Null,
            ["<unk>", "</s>"],
        ),
        // Letters that it does not know are one unknown word.
        (
            "few letters",
            json!({"type": "Unigram", "unk_id": 0, "vocab": scored(&["<unk>", "</s>", "h", "i", " "])}),
            &Value::Null,
            ["<unk>", "</s>"],
        ),
        (
            "WordPiece",
            json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": numbered(&pieces)}),
            &words,
            ["[UNK]", "[SEP]"],
        ),
        (
            "WordLevel",
            json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": numbered(&["<unk>", "</s>", "hi"])}),
            &words,
            ["<unk>", "</s>"],
        ),
        ("BPE", bpe(json!({})), &blanks, ["<unk>", "</s>"]),
        ("whole words", bpe(json!({"ignore_merges": true})), &blanks, ["<unk>", "</s>"]),
        ("merges to them", merged, &blanks, ["<unk>", "</s>"]),
    ] {
        let tokenizer = read(&file(&model, splits, &[(0, controls[0]), (1, controls[1])])).unwrap();
        let tokens = |text: &str| {
            let mut tokens = Vec::new();
            tokenizer.encode(text, &mut tokens).unwrap();
            tokens
        };
        let [unknown, control] = controls;
        for text in [
            control.to_owned(),
            format!("hi {control} hi"),
            format!("hi{control}hi"),
            format!("{unknown}{control}"),
        ] {
            assert!(!tokens(&text).contains(&1), "{name}: {text}: {:?}", tokens(&text));
        }
        // What has no token is the one for that; its name is not it.
        assert_eq!(tokens("漢"), [0], "{name}");
        if matches!(name, "Unigram" | "BPE" | "whole words") {
            assert!(!tokens(unknown).contains(&0), "{name}: {:?}", tokens(unknown));
        }
        let mut marked = Vec::new();
        tokenizer.encode_prompt(&[Piece::Markup(control), Piece::Text("hi")], &mut marked).unwrap();
        assert_eq!((marked.first(), marked.get(1..)), (Some(&1), Some(&*tokens("hi"))), "{name}");
        assert_eq!(tokenizer.decode(&[1]).unwrap(), control, "{name}");
        assert_eq!(tokenizer.control_token(unknown), Some(0), "{name}");
        assert!(tokenizer.is_control(1) && !tokenizer.is_control(2), "{name}");
    }
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
fn what_is_corrupt_or_left_to_chance_is_named() {
    let check = |path: &str, value: Value, expected: &str| {
        let mut file = gemma();
        let (within, name) = path.rsplit_once('/').unwrap();
        file.pointer_mut(within).unwrap()[name] = value;
        let error = read(&file).unwrap_err().to_string();
        assert!(error.starts_with("this tokenizer file cannot be used: "), "{error}");
        assert!(error.contains(expected) && error.len() < 400, "{path}: {error}");
    };
    check("/model/dropout", json!(0.5), "dropout");
    check("/model/alpha", json!(0.1), "alpha");
    check("/model/vocab/<eos>", json!(0), "has the number of another");
    check("/model/vocab/hello", json!(5), "has the number of another");
    check("/model/vocab/hello", json!(70_000_000), "above a million");
    check("/added_tokens/1/id", json!(70_000), "\"<eos>\" is numbered anew");
    check("/added_tokens/1/content", json!("<end>"), "\"<end>\" is numbered anew");
    check("/added_tokens/1/content", json!("<pad>"), "\"<pad>\" is there twice");
    check("/model/merges", json!([["h", "longer than any token"]]), "a merge names");
    check("/model/merges", json!([["hi", "▁hi"]]), "a merge names");
    check("/model/continuing_subword_prefix", json!("####"), "a merge names");
    check("/model/vocab", json!([["hi", 0]]), "have no numbers");
    check("/decoder", json!([vec![0; 2 << 20]]), "longer than 2 MiB");
    // A byte by both its names is one token.
    let mut file = gemma();
    file["model"]["vocab"]["\t"] = json!(9 + 9);
    read(&file).unwrap();
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
