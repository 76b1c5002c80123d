//! Whole documents against serde_json: the same texts accepted, the same values by walking, by pointer and through serde;
//! numbers against the standard library, since serde_json's are not always the nearest double.
//!
//! Not among the oracle's modules, as documents are a feature: whoever has it names this file beside `mod oracle`.

#![allow(unreachable_pub, reason = "shared by tests and fuzz targets")]

use loquat_json::document::{Document, Options, Value};
use loquat_json::{Error, ErrorKind, Extractor, Fields};
use serde_json::Value as Tree;

use crate::oracle::json::{MAX_DEPTH, POINTERS, accepts};

/// The document accepts what is JSON and text, and holds what serde_json holds.
pub fn check(json: &[u8]) {
    let options = Options::default().with_max_depth(MAX_DEPTH);
    check_strict(json, Document::parse_with(json.to_vec(), options));
    check_replaced(json, Document::parse_with(json.to_vec(), options.with_replaced_lone_surrogates(true)));
    match Document::parse_with(json.to_vec(), Options::default().with_max_depth(4)) {
        Ok(_) => assert!(accepts(json, 4)),
        Err(error) if error.kind() == ErrorKind::Depth => assert!(!accepts(json, 4)),
        Err(error) => assert!(!accepts(json, usize::MAX) || !is_text_and_doubles(json), "refused: {error}"),
    }
}

fn check_strict(json: &[u8], parsed: Result<Document, Error>) {
    let document = match parsed {
        Ok(document) => document,
        Err(error) => {
            assert!(error.offset() <= json.len() as u64);
            let rest = &json[usize::try_from(error.offset()).expect("within the text")..];
            match error.kind() {
                ErrorKind::LoneSurrogate => {
                    assert!(accepts(json, MAX_DEPTH) && rest.starts_with(b"\\u"));
                }
                ErrorKind::NumberRange => {
                    assert!(accepts(json, MAX_DEPTH) && !is_finite(number(rest)));
                }
                _ => assert!(!accepts(json, MAX_DEPTH), "refused: {error}"),
            }
            return;
        }
    };
    assert!(accepts(json, MAX_DEPTH), "accepted what is not JSON");
    assert!(is_text_and_doubles(json), "accepted what has no value");
    let by_serde: Tree = document.deserialize().expect("every document is a tree");
    // It is wrong about numbers at the very border of the range.
    let Ok(tree) = serde_json::from_slice::<Tree>(json) else { return };
    check_value(json, document.root(), &tree, &by_serde);
    for pointer in POINTERS {
        match (document.pointer(pointer), tree.pointer(pointer), by_serde.pointer(pointer)) {
            (Some(value), Some(tree), Some(by_serde)) => check_value(json, value, tree, by_serde),
            (got, expected, by_serde) => {
                assert!(got.is_none() && expected.is_none() && by_serde.is_none(), "{pointer}: {got:?}");
            }
        }
    }
}

fn check_value(json: &[u8], got: Value<'_>, expected: &Tree, by_serde: &Tree) {
    let rest = &json[usize::try_from(got.offset()).expect("within the text")..];
    match expected {
        Tree::Null => assert!(got.is_null() && by_serde.is_null() && rest.starts_with(b"null")),
        Tree::Bool(expected) => {
            assert_eq!((got.as_bool(), by_serde.as_bool()), (Some(*expected), Some(*expected)));
            assert!(rest.starts_with(expected.to_string().as_bytes()));
        }
        Tree::Number(expected) => {
            let raw = number(rest);
            assert_eq!(got.as_number().map(|number| number.raw()), Some(raw));
            // Integers beyond 64 bits, and all with a fraction or an exponent.
            let float = raw.parse::<f64>().expect("a number");
            assert_eq!(got.as_f64().map(f64::to_bits), Some(float.to_bits()), "{raw}");
            assert_eq!(by_serde.as_f64(), Some(float), "{raw}");
            assert_eq!((got.as_u64(), got.as_i64()), (raw.parse().ok(), raw.parse().ok()), "{raw}");
            assert_eq!(got.as_u64(), expected.as_u64(), "{raw}");
            assert_eq!(
                (by_serde.as_u64().is_some(), by_serde.as_i64()),
                (got.as_u64().is_some() || raw == "-0", got.as_i64())
            );
        }
        Tree::String(expected) => {
            assert_eq!(got.as_str(), Some(expected.as_str()));
            assert_eq!(by_serde.as_str(), Some(expected.as_str()));
            assert!(rest.starts_with(b"\""));
        }
        Tree::Array(expected) => {
            assert!(rest.starts_with(b"["));
            let elements: Vec<_> = got.as_array().expect("an array").collect();
            let by_serde = by_serde.as_array().expect("an array");
            assert_eq!((elements.len(), by_serde.len()), (expected.len(), expected.len()));
            for ((got, expected), by_serde) in elements.iter().zip(expected).zip(by_serde) {
                check_value(json, *got, expected, by_serde);
            }
        }
        Tree::Object(expected) => {
            assert!(rest.starts_with(b"{"));
            let by_serde = by_serde.as_object().expect("an object");
            assert_eq!(by_serde.len(), expected.len());
            for (name, _) in got.as_object().expect("an object") {
                assert!(expected.contains_key(name));
            }
            for (name, expected) in expected {
                check_value(json, got.get(name).expect("a member"), expected, &by_serde[name]);
            }
        }
    }
}

/// Half characters replaced: as the extractor decodes them.
fn check_replaced(json: &[u8], parsed: Result<Document, Error>) {
    let mut extractor = Extractor::new(Fields::compile(POINTERS).expect("the pointers are valid"))
        .with_max_depth(MAX_DEPTH)
        .with_max_matches(usize::MAX);
    let document = match (parsed, extractor.extract(json).map(|_| ())) {
        (Ok(document), Ok(())) => document,
        (Ok(_), Err(error)) => panic!("accepted what is not JSON: {error}"),
        (Err(error), extracted) => {
            assert_ne!(error.kind(), ErrorKind::LoneSurrogate);
            assert_eq!(extracted.is_ok(), error.kind() == ErrorKind::NumberRange, "refused: {error}");
            return;
        }
    };
    let found = extractor.extract(json).expect("as before");
    let mut scratch = String::new();
    for (field, pointer) in POINTERS.iter().enumerate().filter(|(_, pointer)| !pointer.contains('*')) {
        let (got, expected) = (document.pointer(pointer), found.get(field));
        assert_eq!(got.is_some(), expected.is_some(), "{pointer}");
        let expected = expected.and_then(|value| value.as_str());
        let expected = expected.as_ref().map(|text| text.decode_lossy(&mut scratch));
        assert_eq!(got.and_then(|value| value.as_str()), expected, "{pointer}");
    }
}

/// The number that a text starts with.
fn number(text: &[u8]) -> &str {
    let length =
        text.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
    std::str::from_utf8(&text[..length]).expect("ASCII")
}

fn is_finite(number: &str) -> bool {
    number.parse::<f64>().expect("a number").is_finite()
}

/// Whether each string of a valid text is one in Rust, and each number one that a double can be near to.
fn is_text_and_doubles(json: &[u8]) -> bool {
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        let length = match byte {
            b'"' => {
                let mut end = at + 1;
                while json[end] != b'"' {
                    end += 1 + usize::from(json[end] == b'\\');
                }
                if serde_json::from_slice::<String>(&json[at..=end]).is_err() {
                    return false;
                }
                end + 1 - at
            }
            b'-' | b'0'..=b'9' => {
                let number = number(&json[at..]);
                if !is_finite(number) {
                    return false;
                }
                number.len()
            }
            _ => 1,
        };
        at += length;
    }
    true
}
