//! Partial JSON: named cases, and the extractor on the whole text for random ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod oracle;

use loquat_json::{ErrorKind, Fields, Partial, Progress};
use oracle::partial::check;
use proptest::prelude::*;

#[test]
fn texts_end_as_the_extractor_says() {
    let cases = [
        "",
        " ",
        "1",
        "-",
        "1.",
        "12 ",
        "nul",
        "null",
        "nulx",
        "[1,2]",
        "[1,",
        "[01]",
        "[1.e]",
        "{}",
        "{ }",
        "[ ]",
        "[1}",
        "{]",
        "[]]",
        "tru e",
        "[tru",
        "[1 2]",
        "[[[[[[[[[[[[[[[[[]]]]",
        "1e5",
        "01",
        "[-]",
    ];
    for text in cases {
        check(text, &[2, 3]);
    }
    let cases = [
        r#""a""#,
        r#""a"#,
        r#"{"a":1}"#,
        r#"{"a":{"b":"x\n\u00e9"}}"#,
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        r#"{"a":1} x"#,
        r#""\ud83d\ude00""#,
        r#"{"a":"\ud83d"}"#,
        r#"{"a":"\x"}"#,
        "\"\t\"",
        r#"{"b":[1,{"a":[]}]}"#,
        r#"{"a":-}"#,
        r#"{"a":1,"a":{"b":2},"\u0061":3}"#,
        r#"{"choices":[{"delta":{"content":"枇杷"}}]}"#,
        r#"{"é":true}"#,
    ];
    for text in cases {
        check(text, &[2, 3]);
    }
}

/// Each byte that cannot go on any JSON text is refused when it comes, not when what it is in ends; what came before stays readable.
#[test]
fn an_error_is_said_at_its_byte() {
    let cases = [
        "--", "-a", "1..", "1.e", "1ee", "1e+-", "01", "00", "1-", "1.5.", "+", ".", "1x", "tx", "nulL",
        "1 2", "\\", "\"a\"b",
    ];
    for text in cases {
        for prefix in ["", "[", "[\"ab\",", "{\"b\":[],\"c\":"] {
            let whole = [prefix, text].concat();
            let mut partial = Partial::new(Fields::compile(&["/0", "/b"]).unwrap());
            for end in 1..whole.len() {
                assert_eq!(partial.push(&whole[end - 1..end]), Ok(()), "{whole}, {end}");
            }
            let error = partial.push(&whole[whole.len() - 1..]).unwrap_err();
            let is_trailing = prefix.is_empty()
                && text.starts_with(['0', '1', '"'])
                && !["1..", "1.e", "1ee", "1e+-"].contains(&text);
            let kind = if is_trailing { ErrorKind::TrailingBytes } else { ErrorKind::Syntax };
            assert_eq!((error.kind(), error.offset()), (kind, whole.len() as u64 - 1), "{whole}");
            assert_eq!(partial.finish(), Err(error));
            assert_eq!(partial.push(""), Err(error));
            assert_eq!(partial.text(), whole);
            let read = [0, 1].map(|field| partial.get(field).map(|value| value.raw()));
            match prefix.len() {
                6 => assert_eq!(read[0], Some(&b"\"ab\""[..]), "{whole}"),
                13.. => assert_eq!(read[1], Some(&b"[]"[..]), "{whole}"),
                _ => {}
            }
        }
    }
}

/// Cut anywhere, what has ended can be read and is valid, and what is open is not there yet.
#[test]
fn values_can_be_read_at_any_byte() {
    let text = r#"{"a":{"b":"x\u00e9\ud83d\ude00\n"},"b":[-12.5e-3,true],"c":null}"#;
    let pointers = ["/a", "/a/b", "/b/0", "/b/1", "/b", "/c"];
    let ends = ["},\"b\"", "},\"b\"", ",true", "],", ",\"c\"", "}"].map(|what| text.rfind(what).unwrap());
    // The string ends before the object's brace, an array with its bracket; a number or literal with what comes after it.
    let ends = [ends[0] + 1, ends[1], ends[2] + 1, ends[3], ends[4], ends[5]];
    let mut partial = Partial::new(Fields::compile(&pointers).unwrap());
    let (mut progress, mut out) = (Progress::default(), String::new());
    for end in 0..=text.len() {
        for (field, value_end) in ends.into_iter().enumerate() {
            let value = partial.get(field).map(|value| value.raw().to_vec());
            assert_eq!(value.is_some(), end >= value_end, "{} after {}", pointers[field], &text[..end]);
            if let Some(value) = value {
                assert!(serde_json::from_slice::<serde_json::Value>(&value).is_ok());
            }
        }
        let is_whole = partial.append_str_to(1, &mut progress, &mut out);
        assert!("xé😀\n".starts_with(&out) && is_whole == (end >= ends[1]), "{out}");
        assert_eq!(partial.finish().is_ok(), end == text.len());
        if let Some(piece) = text.get(end..end + 1) {
            partial.push(piece).unwrap();
        }
    }
    assert_eq!(out, "xé😀\n");
}

#[test]
fn nothing_is_whole_before_its_end() {
    let mut partial = Partial::new(Fields::compile(&["/a", "/b"]).unwrap());
    partial.push(r#"{"a": "one", "b": "tw"#).unwrap();
    assert!(partial.get(0).is_some() && partial.get(1).is_none());
    assert_eq!(partial.finish().unwrap_err().kind(), ErrorKind::UnexpectedEnd);
    let (mut progress, mut out) = (Progress::default(), String::new());
    assert!(!partial.append_str_to(1, &mut progress, &mut out));
    partial.push(r"o\ud83d").unwrap();
    assert!(!partial.append_str_to(1, &mut progress, &mut out));
    assert_eq!(out, "two");
    partial.push(r#"\ude00"}"#).unwrap();
    assert!(partial.append_str_to(1, &mut progress, &mut out));
    assert_eq!((out.as_str(), partial.finish().is_ok()), ("two😀", true));
}

/// A name repeated, the next element: the same progress goes over to the new string, wherever the pieces were cut.
#[test]
fn a_string_that_takes_the_place_of_another_is_read_from_its_start() {
    for (pointer, text, expected) in [
        ("/a", r#"{"a":"one","a":"two","\u0061":"\u0074hree"}"#, "onetwothree"),
        ("/a", r#"{"a":"one","a":1,"a":"two"}"#, "onetwo"),
        (
            "/*/a",
            r#"[{"a":"one"},{},{"a":"","b":[]},{"a":"two\ud83d"},{"a":"\ude00"}]"#,
            "onetwo\u{fffd}\u{fffd}",
        ),
    ] {
        for length in 1..text.len() {
            let mut partial = Partial::new(Fields::compile(&[pointer]).unwrap());
            let (mut progress, mut out) = (Progress::default(), String::new());
            for at in 0..text.len() {
                partial.push(&text[at..=at]).unwrap();
                // Often enough that no string begins and is gone in between.
                if at % length.min(3) == 0 || text[at..].starts_with('"') {
                    partial.append_str_to(0, &mut progress, &mut out);
                }
            }
            assert_eq!((out.as_str(), partial.finish().is_ok()), (expected, true), "{text}");
        }
    }
}

#[test]
fn length_and_depth_are_limited() {
    let fields = Fields::compile(&[""]).unwrap();
    let mut partial = Partial::new(fields.clone()).with_max_bytes(10);
    partial.push("[1,2,3").unwrap();
    let error = partial.push(",4,5]").unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::TooLong, 10));
    assert_eq!((partial.push("]"), partial.text()), (Err(error), "[1,2,3"));
    let mut deep = Partial::new(fields);
    assert_eq!(deep.push(&"[".repeat(1000)).unwrap_err().kind(), ErrorKind::Depth);
}

/// Linear: a long string in pieces of four bytes, followed as it comes, is done at once; quadratic time would be minutes.
#[test]
fn many_small_pieces_cost_no_more_than_their_bytes() {
    let mut partial = Partial::new(Fields::compile(&["/content"]).unwrap());
    let (mut progress, mut out) = (Progress::default(), String::new());
    partial.push(r#"{"content":""#).unwrap();
    for _ in 0..500_000 {
        partial.push(r"ab\n").unwrap();
        partial.append_str_to(0, &mut progress, &mut out);
    }
    partial.push("\"}").unwrap();
    assert!(partial.append_str_to(0, &mut progress, &mut out));
    assert_eq!((out.len(), partial.finish().is_ok()), (1_500_000, true));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_extractor(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", r#""a":"#, r#""b":"#, r#""x""#, r#""\n\u00e9""#, r#""\ud83d"#, r#"\ude00""#, "1",
            "-2.5e3", "0", "true", "nul", "null", " ", r#""é":"#, "\"", "\\", r#"{"a":{"b":1}}"#, r#"{"b":[1,{"a":"q"}]}"#,
        ]), 0..14),
        lengths in prop::collection::vec(1..9u8, 1..4),
    ) {
        check(&pieces.concat(), &lengths);
    }
}
