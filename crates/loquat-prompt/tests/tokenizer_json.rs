//! A `tokenizer.json`: read where it is understood, refused by name where it is not.
#![cfg(feature = "tokens")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/byte_level.rs"]
mod byte_level;

use byte_level::file;
use loquat_prompt::{
    Piece,
    tokenizer::{BytePair, Keep, Tokenizer as _},
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// `th`, `he`, `the` (by either half), ` the`.
fn small() -> Value {
    file(&["th", "he", "the", "\u{120}the"], &json!(["t h", "h e", "th e", "t he", ["\u{120}", "the"]]))
}

fn read(file: &Value) -> loquat_core::Result<BytePair> {
    BytePair::from_tokenizer_json("small", file.to_string().as_bytes())
}

fn encode(tokenizer: &BytePair, text: &str) -> Vec<u32> {
    let mut tokens = Vec::new();
    tokenizer.encode(text, &mut tokens).unwrap();
    assert_eq!(tokenizer.count(text).unwrap(), tokens.len(), "{text:?}");
    tokens
}

#[test]
fn a_file_is_read() {
    let tokenizer = read(&small()).unwrap();
    let tokens = encode(&tokenizer, "the the he<|end|>");
    assert_eq!(tokens[..2], [258, 259]);
    assert!(!tokens.contains(&300), "text is no control token");
    assert_eq!(tokenizer.decode(&tokens).unwrap(), "the the he<|end|>");
    let mut tokens = Vec::new();
    tokenizer.encode_prompt(&[Piece::Markup("<|end|>the"), Piece::Text("<|end|>")], &mut tokens).unwrap();
    assert_eq!(tokens[..2], [300, 258]);
    assert!(!tokens[2..].contains(&300));
    assert_eq!(tokenizer.decode(&[300, 258]).unwrap(), "<|end|>the");
    assert_eq!(tokenizer.vocabulary_size(), 301);
    assert!(tokenizer.decode(&[260]).is_err() && tokenizer.decode(&[u32::MAX]).is_err());
}

#[test]
fn numbers_need_not_be_ranks() {
    let mut small = small();
    // The hyphen, the thirteenth letter of all, was 12.
    for (text, number) in [("th", 9000), ("the", 12), ("-", 258)] {
        *small.pointer_mut(&format!("/model/vocab/{text}")).unwrap() = number.into();
    }
    let tokenizer = read(&small).unwrap();
    let [x, space] = ["x", " "].map(|text| encode(&tokenizer, text)[0]);
    assert_eq!(encode(&tokenizer, "thethx the  -"), [12, 9000, x, 259, space, space, 258]);
    assert_eq!(tokenizer.decode(&[12, 9000, 258]).unwrap(), "theth-");
    assert_eq!(tokenizer.vocabulary_size(), 9001);
    assert_eq!(tokenizer.truncate("thethethe", 2, Keep::Head).unwrap(), "thethe");
    assert_eq!(tokenizer.truncate("thethethe", 2, Keep::Tail).unwrap(), "thethe");
}

#[test]
fn control_tokens_are_told_from_words() {
    let mut shifted = small();
    shifted["model"]["vocab"]["th"] = json!(299);
    for file in [small(), shifted] {
        let tokenizer = read(&file).unwrap();
        let controls: Vec<u32> = (0..400).filter(|token| tokenizer.is_control(*token)).collect();
        assert_eq!(controls, [300]);
    }
}

/// What decides on tokens, and nothing else: caches are shared by it.
#[cfg(feature = "cache")]
#[test]
fn fingerprints_tell_files_apart() {
    let of = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut file = small();
        change(&mut file);
        let read = BytePair::from_tokenizer_json(name, file.to_string().as_bytes());
        read.unwrap().fingerprint().unwrap()
    };
    let same = |_: &mut Value| {};
    let base = of("small", &same);
    assert_eq!(base, of("another name", &same));
    let controls = |file: &mut Value| file["added_tokens"][0]["content"] = json!("<|fin|>");
    assert_eq!(base, of("small", &controls), "no text has them");
    let changes: [&dyn Fn(&mut Value); 8] = [
        &|file| file["normalizer"] = json!({"type": "NFC"}),
        // One late merge.
        &|file| drop(file["model"]["merges"].as_array_mut().unwrap().pop()),
        &|file| file["model"]["merges"].as_array_mut().unwrap().swap(0, 1),
        &|file| file["model"]["ignore_merges"] = json!(true),
        &|file| {
            file["model"]["ignore_merges"] = json!(true);
            file["model"]["vocab"]["whole"] = json!(260);
        },
        &|file| file["model"]["vocab"]["th"] = json!(299),
        &|file| {
            file["model"]["vocab"]["th"] = json!(257);
            file["model"]["vocab"]["he"] = json!(256);
        },
        &|file| {
            let qwen = byte_level::LLAMA.replace("{1,3}", "");
            file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!(qwen);
        },
    ];
    let mut seen = vec![base];
    for (index, change) in changes.into_iter().enumerate() {
        let fingerprint = of("small", change);
        // With the first of the two no word is decided otherwise.
        if index != 3 {
            assert!(!seen.contains(&fingerprint), "change {index}");
        }
        seen.push(fingerprint);
    }
}

#[test]
fn tokens_that_no_merge_leads_to_are_words_or_nothing() {
    // `ab` comes first, so `a bc` never meets; and nothing at all leads to `xyz`.
    let mut file = file(&["ab", "bc", "abc", "xyz"], &json!(["a b", "b c", "a bc"]));
    let ids = |tokenizer: &BytePair, text: &str| encode(tokenizer, text);
    let plain = read(&file).unwrap();
    assert_eq!(ids(&plain, "abc"), [256, ids(&plain, "c")[0]]);
    assert_eq!(ids(&plain, "xyz").len(), 3);
    assert_eq!(plain.decode(&[258, 259]).unwrap(), "abcxyz");
    file["model"]["ignore_merges"] = true.into();
    let whole = read(&file).unwrap();
    assert_eq!(ids(&whole, "abc"), [258]);
    assert_eq!(ids(&whole, "xyz\nabc"), [259, ids(&whole, "\n")[0], 258]);
    assert_eq!(ids(&whole, "abcd").len(), 3);
}

#[test]
fn text_is_normalized_where_the_file_asks() {
    let mut file = file(&["\u{c3}\u{a9}", "th"], &json!(["\u{c3} \u{a9}", "t h"]));
    assert_eq!(encode(&read(&file).unwrap(), "e\u{301}").len(), 3);
    for normalizer in [
        json!({"type": "NFC"}),
        json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Sequence", "normalizers": []}]}),
    ] {
        file["normalizer"] = normalizer;
        let tokenizer = read(&file).unwrap();
        assert_eq!(encode(&tokenizer, "e\u{301}the\u{301}"), [256, 257, 256]);
        assert_eq!(tokenizer.fits("e\u{301}the\u{301}", 3).unwrap(), Some(3));
        assert_eq!(tokenizer.truncate("e\u{301}the\u{301}", 2, Keep::Head).unwrap(), "e\u{301}th");
        assert_eq!(tokenizer.truncate("e\u{301}the\u{301}", 2, Keep::Tail).unwrap(), "the\u{301}");
        // Normal form C writes this letter in two, of three bytes each.
        assert_eq!(tokenizer.truncate("\u{958}", 5, Keep::Head).unwrap(), "");
        assert_eq!(tokenizer.truncate("\u{958}", 6, Keep::Head).unwrap(), "\u{958}");
        let mut tokens = Vec::new();
        tokenizer.encode_prompt(&[Piece::Text("e"), Piece::Text("\u{301}")], &mut tokens).unwrap();
        assert_eq!(tokens, [256]);
    }
}

#[test]
fn what_is_not_understood_is_named() {
    let check = |path: &str, value: Value, expected: &str| {
        let mut file = small();
        match file.pointer_mut(path) {
            Some(place) => *place = value,
            None => {
                let (parent, name) = path.rsplit_once('/').unwrap();
                file.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
            }
        }
        let error = read(&file).unwrap_err().to_string();
        assert!(error.starts_with("this tokenizer file cannot be used: "), "{error}");
        assert!(error.contains(expected), "{path}: {error}");
        assert!(error.len() < 400, "{path}: {error}");
    };
    check("/extra", json!(1), "`extra`");
    check("/truncation", json!({"max_length": 512}), "truncation");
    check("/padding", json!({"strategy": "BatchLongest"}), "padding");
    check("/normalizer", json!({"type": "NFKC"}), "NFKC");
    check("/normalizer", json!({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}), "Lowercase");
    check("/pre_tokenizer", Value::Null, "pre-tokenizer");
    check("/pre_tokenizer", json!({"type": "Metaspace"}), "Metaspace");
    check("/pre_tokenizer/pretokenizers", json!([]), "pre-tokenizer");
    check("/pre_tokenizer/pretokenizers/0/type", json!("Digits"), "Digits");
    check("/pre_tokenizer/pretokenizers/0/behavior", json!("MergedWithNext"), "pattern");
    check("/pre_tokenizer/pretokenizers/0/pattern/Regex", json!(r"\w+"), r"\w+");
    check("/pre_tokenizer/pretokenizers/0/pattern/Regex", json!("x".repeat(5000)), "xxx");
    check("/pre_tokenizer/pretokenizers/1/add_prefix_space", json!(true), "ByteLevel");
    check("/pre_tokenizer/pretokenizers/1/use_regex", json!(true), "ByteLevel");
    check("/decoder", json!({"type": "Metaspace"}), "Metaspace");
    check("/model/type", json!("Unigram"), "Unigram");
    check("/model/byte_fallback", json!(true), "byte_fallback");
    check("/model/dropout", json!(0.1), "dropout");
    check("/model/end_of_word_suffix", json!("</w>"), "end_of_word_suffix");
    check("/model/continuing_subword_prefix", json!("##"), "continuing_subword_prefix");
    check("/model/novelty", json!(1), "novelty");
    check("/model/vocab/th", json!(1 << 20), "million");
    check("/model/vocab/th", json!(257), "number of another");
    check("/model/vocab/th", json!(300), "number of an added token");
    check("/model/vocab/th", json!(-1), "integer `-1`");
    check("/model/vocab/漢", json!(400), "not written in bytes");
    check("/model/vocab/", json!(400), "not written in bytes");
    check("/model/vocab", json!({}), "not every byte");
    check("/model/vocab", json!([["a", 0.5]]), "tokens with their numbers");
    check("/model/vocab/<|end|>", json!(400), "another number");
    check("/model/merges", json!(["t h", ["t", "h"]]), "twice");
    check("/model/merges", json!(["th"]), "two parts");
    check("/model/merges", json!(["t h e"]), "two parts");
    check("/model/merges", json!([["t", "h", "e"]]), "two parts");
    check("/model/merges", json!(["t x"]), "no token");
    check("/model/merges", json!([1]), "merge of two parts");
    check("/added_tokens/0/id", json!("x"), "invalid type");
    check("/added_tokens/0/id", json!(4_000_000), "million");
    check("/added_tokens/0/content", json!(""), "empty");
    check("/added_tokens/0/lstrip", json!(true), "lstrip");
    check("/added_tokens", json!([{"id": 300, "content": "a"}, {"id": 301, "content": "a"}]), "twice");
    check(
        "/added_tokens",
        json!([{"id": 300, "content": "ab"}, {"id": 301, "content": "bc", "normalized": true}]),
        "overlap",
    );
    let many: Vec<Value> =
        (0..5000).map(|id| json!({"id": 300 + id, "content": format!("<{id}>")})).collect();
    check("/added_tokens", many.into(), "4,096");
}

#[test]
fn an_added_token_in_normalized_text_is_refused() {
    let mut file = small();
    file["normalizer"] = json!({"type": "NFC"});
    assert!(read(&file).is_ok());
    file["added_tokens"][0]["normalized"] = true.into();
    assert!(read(&file).unwrap_err().to_string().contains("normalized text"));
}

#[test]
fn a_file_cut_short_is_refused() {
    let file = small().to_string();
    for end in (0..file.len()).step_by(7) {
        let error = BytePair::from_tokenizer_json("cut", &file.as_bytes()[..end]).unwrap_err();
        assert!(error.to_string().contains("EOF"), "at {end}: {error}");
    }
    let deep = "[".repeat(1_000_000);
    assert!(BytePair::from_tokenizer_json("deep", format!("{{\"normalizer\":{deep}").as_bytes()).is_err());
}

#[test]
fn names_twice_are_refused() {
    let text = small().to_string().replace("\"th\":256", "\"th\":256,\"th\":290");
    let error = BytePair::from_tokenizer_json("twice", text.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("there twice"), "{error}");
}

#[test]
fn tokens_of_any_length_are_bounded() {
    // Each doubles the one before: 2,048 bytes at last.
    let tokens: Vec<String> = (1..12).map(|power| "a".repeat(1 << power)).collect();
    let merges: Vec<Value> =
        (0..11).map(|power| json!(["a".repeat(1 << power), "a".repeat(1 << power)])).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let error = read(&file(&tokens, &merges.into())).unwrap_err().to_string();
    assert!(error.contains("longer than 1,024 bytes"), "{error}");
}

#[test]
fn a_merge_may_come_before_one_that_it_needs() {
    // As in Llama 3.1, whose token `.:.:` is older than its half.
    let file = file(&["be", "abe", "abea"], &json!(["b e", "abe a", "a be"]));
    assert_eq!(encode(&read(&file).unwrap(), "abea"), [258]);
}

/// What the file says, literally: of all pairs that a merge names, the first in the list, the leftmost first.
fn definition(merges: &[(String, String)], word: &str, is_word: impl Fn(&str) -> bool) -> Vec<String> {
    if is_word(word) {
        return vec![word.to_owned()];
    }
    let mut parts: Vec<String> = word.chars().map(String::from).collect();
    loop {
        let rank = |at: usize| merges.iter().position(|(a, b)| *a == parts[at] && *b == parts[at + 1]);
        let best = (0..parts.len().saturating_sub(1)).filter_map(|at| Some((rank(at)?, at))).min();
        let Some((_, at)) = best else { return parts };
        let right = parts.remove(at + 1);
        parts[at].push_str(&right);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Lists of any merges, in any order, most of which never happen: done as they say.
    #[test]
    fn any_list_of_merges_is_its_definition(
        wishes in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<usize>()), 0..24),
        words in proptest::collection::vec("[abc]{1,24}", 1..12),
        ignore_merges: bool,
    ) {
        let mut tokens: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let mut merges: Vec<(String, String)> = Vec::new();
        for (left, right, rank) in wishes {
            let pair = (tokens[left % tokens.len()].clone(), tokens[right % tokens.len()].clone());
            if !merges.contains(&pair) && pair.0.len() + pair.1.len() < 12 {
                let whole = format!("{}{}", pair.0, pair.1);
                if !tokens.contains(&whole) {
                    tokens.push(whole);
                }
                merges.insert(rank % (merges.len() + 1), pair);
            }
        }
        let names: Vec<&str> = tokens[3..].iter().map(String::as_str).collect();
        let mut file = file(&names, &json!(merges));
        file["added_tokens"] = json!([]);
        file["model"]["ignore_merges"] = ignore_merges.into();
        let tokenizer = read(&file).unwrap();
        for word in &words {
            let pieces: Vec<String> =
                encode(&tokenizer, word).iter().map(|token| tokenizer.decode(&[*token]).unwrap()).collect();
            prop_assert_eq!(pieces, definition(&merges, word, |word| ignore_merges && tokens.iter().any(|t| t == word)));
        }
    }

    #[test]
    fn cuts_and_counts_hold_where_text_is_normalized(
        text in "([a-cthe ,.;-]|e\u{301}|a\u{328}|\u{301}|\u{958}|\u{212b}|\u{1fc1}|\u{2000}|ᄒ|\u{1161}|가|か\u{3099}){0,40}",
        at in 0usize..120,
        limit in 0usize..60,
    ) {
        let mut file = small();
        file["normalizer"] = json!({"type": "NFC"});
        let tokenizer = read(&file).unwrap();
        let tokens = encode(&tokenizer, &text);
        let (head, tail) = text.split_at(tokenizer.safe_cut(&text, at));
        prop_assert_eq!([encode(&tokenizer, head), encode(&tokenizer, tail)].concat(), tokens.as_slice());
        for keep in [Keep::Head, Keep::Tail] {
            let part = tokenizer.truncate(&text, limit, keep).unwrap();
            prop_assert!(tokenizer.count(part).unwrap() <= limit);
            let is_part = if keep == Keep::Head { text.starts_with(part) } else { text.ends_with(part) };
            prop_assert!(is_part);
            prop_assert!(tokens.len() > limit || part == text, "{:?}", part);
        }
    }

    #[test]
    fn no_damage_panics(at: prop::sample::Index, byte: u8, other: prop::sample::Index) {
        let mut text = small().to_string().into_bytes();
        let (at, other) = (at.index(text.len()), other.index(text.len()));
        text[at] = byte;
        text.swap(at, other);
        if let Ok(tokenizer) = BytePair::from_tokenizer_json("damaged", &text) {
            let tokens = encode(&tokenizer, "the other <|end|> thing");
            prop_assert_eq!(tokenizer.decode(&tokens).unwrap(), "the other <|end|> thing");
        }
    }
}
