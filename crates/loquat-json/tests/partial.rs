//! Partial JSON: named cases, and the extractor on the whole text for random ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod oracle;

use loquat_json::{ErrorKind, Fields, Part, Partial};
use oracle::partial::{Shown, check, note};
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
    let (mut out, mut is_whole) = (String::new(), false);
    for end in 0..=text.len() {
        for (field, value_end) in ends.into_iter().enumerate() {
            let value = partial.get(field).map(|value| value.raw().to_vec());
            assert_eq!(value.is_some(), end >= value_end, "{} after {}", pointers[field], &text[..end]);
            if let Some(value) = value {
                assert!(serde_json::from_slice::<serde_json::Value>(&value).is_ok());
            }
        }
        assert!("xé😀\n".starts_with(&out) && is_whole == (end >= ends[1]), "{out}");
        assert_eq!(partial.finish().is_ok(), end == text.len());
        if let Some(piece) = text.get(end..end + 1) {
            let see = |part: Part<'_>| {
                if let (1, Some(text)) = (part.field, part.text) {
                    text.append_lossy_to(&mut out);
                    is_whole |= part.value.is_some();
                }
            };
            partial.push_with(piece, see).unwrap();
        }
    }
    assert_eq!(out, "xé😀\n");
}

#[test]
fn nothing_is_whole_before_its_end() {
    let mut partial = Partial::new(Fields::compile(&["/a", "/b"]).unwrap());
    let mut out = String::new();
    for (piece, expected, is_whole) in [
        (r#"{"a": "one", "b": "tw"#, "tw", false),
        (r"o\ud83d", "two", false),
        (r#"\ude00"}"#, "two😀", true),
    ] {
        let see = |part: Part<'_>| {
            if let (1, Some(text)) = (part.field, part.text) {
                text.append_lossy_to(&mut out);
            }
        };
        partial.push_with(piece, see).unwrap();
        assert_eq!(out, expected);
        assert_eq!((partial.get(0).is_some(), partial.get(1).is_some()), (true, is_whole));
        assert_eq!(partial.finish().is_ok(), is_whole);
    }
}

/// The text in two pieces, cut at each place, and in three.
fn check_parts(pointers: &[&str], text: &str, expected: &[(usize, &[u32], &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|&(field, indices, raw)| Shown {
            field,
            indices: indices.to_vec(),
            string: serde_json::from_str(&raw.replace(r"\ud83d", "\u{fffd}")).ok(),
            raw: Some(raw.as_bytes().to_vec()),
        })
        .collect();
    for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
        for length in [1, 2, 5, text.len()] {
            let end = (cut..text.len()).find(|end| *end >= cut + length && text.is_char_boundary(*end));
            let end = end.unwrap_or(text.len());
            let (mut partial, mut shown) = (Partial::new(Fields::compile(pointers).unwrap()), Vec::new());
            for piece in [&text[..cut], &text[cut..end], &text[end..]] {
                partial.push_with(piece, |part| note(&mut shown, &part)).unwrap();
            }
            assert_eq!((shown, partial.finish()), (expected.clone(), Ok(text)), "{cut}, {end}");
        }
    }
}

/// A string that ends and the next one in the same piece: an element, a name that comes again, one that is in no array.
#[test]
fn no_text_is_lost_wherever_the_pieces_are_cut() {
    check_parts(
        &["/e/*"],
        r#"{"e":["hello","wor",1,"","ld\n\u00e9"]}"#,
        &[
            (0, &[0], r#""hello""#),
            (0, &[1], r#""wor""#),
            (0, &[2], "1"),
            (0, &[3], r#""""#),
            (0, &[4], r#""ld\n\u00e9""#),
        ],
    );
    check_parts(&["/*"], "[1,2 ,true]", &[(0, &[0], "1"), (0, &[1], "2"), (0, &[2], "true")]);
    check_parts(
        &["/a"],
        r#"{"a":"one","a":1,"\u0061":"thrée"}"#,
        &[(0, &[], r#""one""#), (0, &[], "1"), (0, &[], r#""thrée""#)],
    );
    check_parts(
        &["/*/a/*", "/*/a", "/1/a/0"],
        r#"[{"a":["x"]},{"b":[],"a":["\ud83d"]}]"#,
        &[
            (0, &[0, 0], r#""x""#),
            (1, &[0], r#"["x"]"#),
            (0, &[1, 0], r#""\ud83d""#),
            (2, &[], r#""\ud83d""#),
            (1, &[1], r#"["\ud83d"]"#),
        ],
    );
}

#[test]
fn a_number_that_nothing_encloses_may_go_on_after_it_was_whole() {
    let mut partial = Partial::new(Fields::compile(&[""]).unwrap());
    for (piece, expected) in
        [("1", Some("1")), ("2", Some("12")), (".", None), ("5", Some("12.5")), (" ", Some("12.5 "))]
    {
        partial.push(piece).unwrap();
        assert_eq!(partial.finish().ok(), expected);
        assert_eq!(partial.get(0).is_some(), piece == " ");
    }
    assert_eq!(partial.push("6").unwrap_err().kind(), ErrorKind::TrailingBytes);
}

/// However many fields there are: looking at each for each name would be minutes.
#[test]
fn a_name_that_comes_again_costs_no_more_than_itself() {
    let pointers: Vec<_> = (0..5000).map(|number| format!("/b/{number}")).chain(["/a".to_owned()]).collect();
    let pointers: Vec<_> = pointers.iter().map(String::as_str).collect();
    let mut partial = Partial::new(Fields::compile(&pointers).unwrap());
    let text = format!("{{\"b\":[1],{}\"b\":0}}", r#""a":1,"#.repeat(1 << 20));
    partial.push(&text).unwrap();
    assert_eq!((partial.get(0).is_some(), partial.get(5000).is_some()), (false, true));
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
    let mut out = String::new();
    partial.push(r#"{"content":""#).unwrap();
    for _ in 0..500_000 {
        let see = |part: Part<'_>| part.text.into_iter().for_each(|text| text.append_lossy_to(&mut out));
        partial.push_with(r"ab\n", see).unwrap();
    }
    partial.push("\"}").unwrap();
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
