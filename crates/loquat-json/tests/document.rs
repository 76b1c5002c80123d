//! Whole documents: named cases, serde_json on random and mutated texts, serde into a program's own types.

#![cfg(feature = "document")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod oracle;
#[path = "oracle/random.rs"]
mod random;
#[path = "oracle/document.rs"]
mod whole;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use loquat_json::ErrorKind;
use loquat_json::document::{Document, Options};
use proptest::prelude::*;
use serde::Deserialize;

fn parse(json: &str) -> Document {
    Document::parse(json.as_bytes().to_vec()).unwrap()
}

#[track_caller]
fn check_refused(json: impl AsRef<[u8]>, kind: ErrorKind, offset: u64) {
    let json = json.as_ref();
    let error = Document::parse(json.to_vec()).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (kind, offset), "{}", String::from_utf8_lossy(json));
}

#[test]
fn errors_say_what_and_where() {
    check_refused("", ErrorKind::UnexpectedEnd, 0);
    check_refused(" \n", ErrorKind::UnexpectedEnd, 2);
    check_refused(r#"{"a":1"#, ErrorKind::UnexpectedEnd, 6);
    check_refused(r#"{"a":1}x"#, ErrorKind::TrailingBytes, 7);
    check_refused(r#"{"a":1}{"#, ErrorKind::TrailingBytes, 7);
    check_refused("{\"a\":1}\0", ErrorKind::TrailingBytes, 7);
    check_refused("\0", ErrorKind::Syntax, 0);
    check_refused("[\"a\0b\"]", ErrorKind::Syntax, 3);
    check_refused("[1,\0]", ErrorKind::Syntax, 3);
    check_refused("[1,]", ErrorKind::Syntax, 3);
    check_refused(b"[\"\xff\"]", ErrorKind::Utf8, 2);
    check_refused(b"[\"\xed\xa0\xbd\"]", ErrorKind::Utf8, 2);
    check_refused(b"\xef\xbb\xbf{}", ErrorKind::Syntax, 0);
    check_refused(r#"["abc","\ud83d"]"#, ErrorKind::LoneSurrogate, 8);
    check_refused(r#"["\ud83d\ude00\ude00"]"#, ErrorKind::LoneSurrogate, 14);
    check_refused(r#"["\\ud83d",{"a\uDE00":0}]"#, ErrorKind::LoneSurrogate, 14);
    check_refused("[0,1e400]", ErrorKind::NumberRange, 3);
    check_refused("-1e99999999999999999999", ErrorKind::NumberRange, 0);
    check_refused(format!("[\"\\n\",{}]", "9".repeat(400)), ErrorKind::NumberRange, 6);
}

/// No stack is used for depth, by either parser.
#[test]
fn depth_is_bounded() {
    let nested =
        |open: &str, close: &str, depth: usize| format!("{}0{}", open.repeat(depth), close.repeat(depth));
    for (open, close, offset) in [("[", "]", 64), ("{\"a\":", "}", 64 * 5)] {
        assert!(Document::parse(nested(open, close, 64).into_bytes()).is_ok());
        check_refused(nested(open, close, 65), ErrorKind::Depth, offset);
        check_refused(open.repeat(4_000_000), ErrorKind::Depth, offset);
        check_refused(nested(open, close, 2_000_000), ErrorKind::Depth, offset);
        let deep = nested(open, close, 100_000);
        let document =
            Document::parse_with(deep.into_bytes(), Options::default().with_max_depth(100_000)).unwrap();
        drop(document);
    }
}

#[test]
fn numbers_of_any_size_are_exact_or_nearest() {
    fn check(json: &str, unsigned: Option<u64>, signed: Option<i64>, float: f64) {
        let document = parse(json);
        let root = document.root();
        assert_eq!((root.as_u64(), root.as_i64(), root.as_f64()), (unsigned, signed, Some(float)), "{json}");
        assert_eq!(root.as_number().map(|number| number.raw()), Some(json));
    }
    check("0", Some(0), Some(0), 0.0);
    check("-0", None, Some(0), 0.0);
    check("-7", None, Some(-7), -7.0);
    check("1.0", None, None, 1.0);
    check("1e3", None, None, 1000.0);
    check("18446744073709551615", Some(u64::MAX), None, u64::MAX as f64);
    check("18446744073709551616", None, None, 18_446_744_073_709_551_616.0);
    check("-9223372036854775808", None, Some(i64::MIN), i64::MIN as f64);
    check("-9223372036854775809", None, None, i64::MIN as f64);
    check("1e-400", None, None, 0.0);
    check(&"9".repeat(300), None, None, 1e300);
    check(&format!("0.{}1", "0".repeat(100_000)), None, None, 0.0);
    check(&format!("{}e-{}", "9".repeat(100_000), 99_999), None, None, 10.0);
    assert_eq!(parse("-0").root().as_f64().map(f64::to_bits), Some((-0.0f64).to_bits()));
    let zeros: (f64, f32, i8) = parse("[-0,-0,-0]").deserialize().unwrap();
    assert_eq!(
        (zeros.0.to_bits(), zeros.1.to_bits(), zeros.2),
        ((-0.0f64).to_bits(), (-0.0f32).to_bits(), 0)
    );
    // An integer that is beyond 64 bits is refused where one is asked for, and never rounded.
    assert!(parse("18446744073709551616").deserialize::<u128>().is_err());
    assert!(parse("1.0").deserialize::<u64>().is_err());
}

#[test]
fn strings_are_unescaped_in_place() {
    let document =
        parse(r#"["\"\\\/\b\f\n\r\t\u0000\u00e9\u4e2d\ud83d\ude00", "", "é中😀", {"\u006e\"":"\\u0041"}]"#);
    let strings: Vec<_> = document.root().as_array().unwrap().map(|value| value.as_str()).collect();
    assert_eq!(strings, [Some("\"\\/\u{8}\u{c}\n\r\t\0é中😀"), Some(""), Some("é中😀"), None]);
    assert_eq!(document.pointer("/3/n\"").unwrap().as_str(), Some("\\u0041"));
    let offsets: Vec<_> = document.root().as_array().unwrap().map(|value| value.offset()).collect();
    assert_eq!(offsets, [1, 51, 55, 68]);
}

#[test]
fn half_characters_are_replaced_when_asked_for() {
    let json = r#"["\ud83d","a\ude00\ud83d\ude00","\\ud83d"]"#;
    let options = Options::default().with_replaced_lone_surrogates(true);
    let document = Document::parse_with(json.into(), options).unwrap();
    let strings: Vec<&str> = document.deserialize().unwrap();
    assert_eq!(strings, ["\u{fffd}", "a\u{fffd}😀", "\\ud83d"]);
}

#[test]
fn pointers_lead_where_the_rfc_says() {
    let document = parse(
        r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8,"*":9}"#,
    );
    for (pointer, expected) in [
        ("/foo/0", Some("\"bar\"")),
        ("/", Some("0")),
        ("/a~1b", Some("1")),
        ("/c%d", Some("2")),
        ("/e^f", Some("3")),
        ("/g|h", Some("4")),
        ("/i\\j", Some("5")),
        ("/k\"l", Some("6")),
        ("/ ", Some("7")),
        ("/m~0n", Some("8")),
        ("/*", Some("9")),
        ("/foo/2", None),
        ("/foo/-", None),
        ("/foo/00", None),
        ("/foo/+1", None),
        ("/foo/0/0", None),
        ("/foo/*", None),
        ("foo", None),
        ("/m~n", None),
        ("/m~2n", None),
        ("/nothing", None),
    ] {
        let found: Option<serde_json::Value> =
            document.pointer(pointer).map(|value| value.deserialize().unwrap());
        assert_eq!(found.map(|value| value.to_string()).as_deref(), expected, "{pointer}");
    }
    assert_eq!(document.pointer("").unwrap().as_object().unwrap().count(), 11);
}

#[test]
fn the_last_member_of_a_name_counts() {
    let document = parse(r#"{"a":{"b":1},"\u0061":{"c":2},"d":0}"#);
    assert_eq!(document.pointer("/a/b").map(|value| value.as_u64()), None);
    assert_eq!(document.pointer("/a/c").and_then(|value| value.as_u64()), Some(2));
    let names: Vec<_> = document.root().as_object().unwrap().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "a", "d"]);
    let map: BTreeMap<&str, BTreeMap<&str, u8>> = document.root().deserialize().unwrap_or_default();
    assert!(map.is_empty(), "0 is no map");
}

#[derive(Deserialize, Debug, PartialEq)]
struct Answer<'d> {
    id: &'d str,
    #[serde(borrow)]
    model: Cow<'d, str>,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    #[serde(default)]
    missing: u8,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Choice {
    message: Message,
    finish_reason: Finish,
    logprobs: Option<(f32, f64)>,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Message {
    Assistant { content: String },
    Tool { name: String },
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Finish {
    Stop,
    ToolCalls(Vec<char>),
    Other {
        code: i8,
    },
    Pair(u8, u8),
    #[serde(untagged)]
    Unknown(String),
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(transparent)]
struct Usage(HashMap<u16, u128>);

#[test]
fn documents_become_types() {
    let document = parse(
        r#"{"id":"\u0061","model":"m","extra":[[{"deep":[1,2,3]}]],"choices":[
            {"message":{"role":"assistant","content":"hi\n"},"finish_reason":"stop","logprobs":[0.5,-1]},
            {"message":{"role":"tool","name":"t"},"finish_reason":{"tool_calls":["x","é"]},"logprobs":null},
            {"message":{"content":"","role":"assistant"},"finish_reason":{"other":{"code":-3}}},
            {"message":{"content":"","role":"assistant"},"finish_reason":{"pair":[1,2]}},
            {"message":{"content":"","role":"assistant"},"finish_reason":"later"}],
            "usage":{"7":18446744073709551615,"65535":0}}"#,
    );
    let answer: Answer<'_> = document.deserialize().unwrap();
    assert!(matches!(answer.model, Cow::Borrowed("m")));
    assert_eq!((answer.id, answer.missing), ("a", 0));
    assert_eq!(answer.usage, Some(Usage(HashMap::from([(7, u128::from(u64::MAX)), (65_535, 0)]))));
    let finishes: Vec<_> = answer.choices.iter().map(|choice| &choice.finish_reason).collect();
    let expected = [
        &Finish::Stop,
        &Finish::ToolCalls(vec!['x', 'é']),
        &Finish::Other { code: -3 },
        &Finish::Pair(1, 2),
        &Finish::Unknown("later".into()),
    ];
    assert_eq!(finishes, expected);
    assert_eq!(answer.choices[0].logprobs, Some((0.5, -1.0)));
    assert_eq!(answer.choices[1].message, Message::Tool { name: "t".into() });
    let third: Choice = document.pointer("/choices/3").unwrap().deserialize().unwrap();
    assert_eq!(third, answer.choices[3]);
}

#[test]
fn what_does_not_fit_is_named_and_never_shown() {
    #[track_caller]
    fn check<'d, T: Deserialize<'d> + Debug>(document: &'d Document, expected: &str) {
        let error = document.deserialize::<T>().unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(!format!("{error:?}").contains("secret"));
    }
    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[expect(dead_code, reason = "only read by serde")]
        a: Vec<u8>,
    }
    let document = parse(r#" {"a":["secret"]}"#);
    check::<Strict>(&document, "a string instead of u8 at byte 7");
    check::<Vec<u8>>(&document, "an object instead of a sequence at byte 1");
    check::<String>(&document, "an object instead of a string at byte 1");
    check::<BTreeMap<u8, ()>>(&document, "a string instead of u8 at byte 2");
    check::<BTreeMap<&str, (&str, u8)>>(&document, "1 elements instead of a tuple of size 2 at byte 6");
    check::<BTreeMap<&str, ()>>(&document, "an array instead of unit at byte 6");
    check::<Finish>(&parse(r#"{"pair":[1]}"#), "a value that the type refuses at byte 0");
    check::<Strict>(&parse(r#"{"secret":1}"#), "a member that is none of [\"a\"] at byte 1");
    check::<Strict>(&parse(r#"{}"#), "an object without the member `a` at byte 0");
    check::<Strict>(&parse(r#"{"a":[],"a":[]}"#), "an object with the member `a` more than once at byte 0");
    check::<Strict>(&parse(r#"{"a":[1,256]}"#), "an integer that is not u8 at byte 8");
    check::<(u8, u8)>(&parse("[1,2,3]"), "an array of more elements than the type takes at byte 0");
    check::<Message>(
        &parse(r#"{"role":"secret"}"#),
        "none of the variants [\"assistant\", \"tool\"] at byte 8",
    );
    check::<std::net::IpAddr>(&parse("\"secret\""), "a value that the type refuses at byte 0");
    check::<bool>(&parse("null"), "null instead of a boolean at byte 0");
    check::<char>(&parse("\"ab\""), "a string that is not a character at byte 0");
}

#[test]
fn debug_shows_no_content() {
    let document = parse(r#"{"secret":["secret",1,null]}"#);
    let root = document.root();
    let list = root.get("secret").unwrap();
    let shown = format!(
        "{document:?} {root:?} {list:?} {:?} {:?}",
        root.as_object().unwrap(),
        list.as_array().unwrap().collect::<Vec<_>>()
    );
    assert!(!shown.contains("secret") && shown.contains("Str(6 bytes)"), "{shown}");
}

/// Long enough for every path of a parser that looks at 64 bytes at a time, with each length at its end.
#[test]
fn every_length_is_read_to_its_end() {
    for length in 0..300 {
        let plain = format!("{{\"a\":\"{}\",\"b\":[1,-2.5,true]}}", "x".repeat(length));
        whole::check(plain.as_bytes());
        whole::check(format!("{}7", " ".repeat(length)).as_bytes());
        whole::check(format!("[\"{}\\u00e9é\"{}]", "\\n".repeat(length), " ".repeat(length)).as_bytes());
        whole::check(&plain.as_bytes()[..plain.len() - 1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_serde_json(
        document in random::document(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"[]{}:,\"\\0-e.u \x1f\xff".as_slice())), 0..3),
    ) {
        let mut json = document.into_bytes();
        whole::check(&json);
        for (place, byte) in mutations {
            let place = place.index(json.len());
            json[place] = byte;
            whole::check(&json);
            whole::check(&json[..place]);
        }
    }

    #[test]
    fn numbers_agree_with_the_standard_library(number in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][-+]?[0-9]{1,3})?") {
        whole::check(number.as_bytes());
        whole::check(format!("[{number},{number}]").as_bytes());
    }
}
