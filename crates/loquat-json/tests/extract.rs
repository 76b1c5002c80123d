//! Extraction: named cases, serde_json on random and mutated documents, limits.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod oracle;
#[path = "oracle/random.rs"]
mod random;

use loquat_json::{ErrorKind, Extractor, Fields};
use proptest::prelude::*;

/// What the pointers find, as `field[indices]=raw value`, in document order.
#[track_caller]
fn check(pointers: &[&str], json: &str, expected: &[&str]) {
    let mut extractor = Extractor::new(Fields::compile(pointers).unwrap());
    let found = extractor.extract(json.as_bytes()).unwrap();
    let got: Vec<_> = found
        .iter()
        .map(|found| {
            let raw = std::str::from_utf8(found.value.raw()).unwrap();
            format!("{}{:?}={raw}", found.field, found.indices.as_slice())
        })
        .collect();
    assert_eq!(got, expected, "{json}");
}

#[test]
fn pointers_find_their_values_in_document_order() {
    check(&["/a", "/b"], r#"{"b":1,"a":"x"}"#, &["1[]=1", "0[]=\"x\""]);
    check(&[""], " [1, 2] ", &["0[]=[1, 2]"]);
    check(&["", "/0"], "[true]", &["0[]=[true]", "1[]=true"]);
    check(&["/a", "/a"], r#"{"a":null}"#, &["0[]=null", "1[]=null"]);
    check(&["/a/b", "/a"], r#"{"a":{"b":{"c":[]}}}"#, &["1[]={\"b\":{\"c\":[]}}", "0[]={\"c\":[]}"]);
    check(&["/0"], r#"{"0":-1.5e+3}"#, &["0[]=-1.5e+3"]);
    check(&["/1"], "[0,{},2]", &["0[]={}"]);
    check(&["/", "/~1~0"], r#"{"":1,"/~":2}"#, &["0[]=1", "1[]=2"]);
    check(&["/a/b"], r#"{"a":"b","b":{"a":{"b":1}}}"#, &[]);
}

/// Members that nobody asks for, several in a row, with every byte of theirs taken away or made another.
#[test]
fn what_is_passed_over_is_checked() {
    let text = r#"{"id":"x","n":12,"z":null,"t":true,"w":"\n","k":-1.5,"want":"y","e":"","l":0}"#;
    let mut extractor = Extractor::new(Fields::compile(&["/want"]).unwrap()).with_prediction(false);
    let mut sound = 0;
    for place in 0..text.len() {
        for byte in [None].into_iter().chain(b"\",:{}[]nu\\ 01-.ew\n".iter().map(Some)) {
            let mut json = text.as_bytes().to_vec();
            match byte {
                None => drop(json.remove(place)),
                Some(byte) => json[place] = *byte,
            }
            let expected: Option<serde_json::Value> = serde_json::from_slice(&json).ok();
            let found = extractor.extract(&json).ok().map(|found| {
                found.get(0).and_then(|value| serde_json::from_slice::<serde_json::Value>(value.raw()).ok())
            });
            sound += usize::from(found.is_some());
            let expected = expected.map(|value| value.get("want").cloned());
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(&json));
        }
    }
    assert!(sound > 100, "{sound}");
    check(&["/want"], r#"{"id":"x","n":12,"w\u0061nt":"y","l":0}"#, &["0[]=\"y\""]);
    check(&["/want"], r#"{"id":"x\n","n":12,"w\u0061nt":"y","want":"z","l":0}"#, &["0[]=\"z\""]);
}

/// Beginnings, ends and look-alikes of a name are other names, with escapes and without, of every length around eight bytes.
#[test]
fn names_are_equal_to_their_last_byte() {
    for name in ["content", "contents", "contents_", "contents and more", "c"] {
        let pointer = format!("/{name}");
        let letters = name.len();
        // Pointers of every length make the look-alikes pass the first sieve.
        let others: Vec<String> = (1..20).map(|length| format!("/c{}", "z".repeat(length))).collect();
        let pointers: Vec<&str> =
            [&pointer[..]].into_iter().chain(others.iter().map(|other| &other[..])).collect();
        for change in 0..=letters + 1 {
            let other = match change {
                0 => format!("{name}x"),
                change if change <= letters => name[..letters - change].to_owned(),
                _ => format!("{}?", &name[..letters - 1]),
            };
            let escaped = other.replacen('c', "\\u0063", 1);
            check(&pointers, &format!("{{\"{other}\":1,\"{escaped}\":2,\"{name}\\ud800\":3}}"), &[]);
        }
        let escaped = name.replacen('c', "\\u0063", 1);
        check(&pointers, &format!("{{\"{name}\":1}}"), &["0[]=1"]);
        check(&pointers, &format!("{{\"{escaped}\":2}}"), &["0[]=2"]);
    }
}

#[test]
fn wildcards_say_what_they_stood_for() {
    check(&["/*"], "[7,8]", &["0[0]=7", "0[1]=8"]);
    check(
        &["/c/*/t/*/n"],
        r#"{"c":[{"t":[{"n":1},{"n":2}]},{},{"t":[{"n":3}]}]}"#,
        &["0[0, 0]=1", "0[0, 1]=2", "0[2, 0]=3"],
    );
    check(&["/*/a", "/0/a"], r#"[{"a":1},{"a":2}]"#, &["0[0]=1", "1[]=1", "0[1]=2"]);
    check(&["/*/a"], r#"{"*":{"a":1},"b":{"a":2}}"#, &["0[0]=1"]);
}

#[test]
fn names_are_compared_unescaped() {
    check(&["/é/a\"b"], r#"{"\u00e9":{"a\"b":1}}"#, &["0[]=1"]);
    check(&["/😀"], r#"{"\ud83d\ude00":1,"\ud83d":2}"#, &["0[]=1"]);
    check(&["/ab"], r#"{"a\u0062":1,"a\u0062c":2,"a\u0061":3}"#, &["0[]=1"]);
}

#[test]
fn one_question_tells_plain_texts_from_others() {
    fn check(json: &str, only: &[bool; 3]) {
        // 200 fields, the last of them without a bit.
        let pointers: Vec<String> =
            ["/a", "/b/*"].into_iter().map(str::to_owned).chain((2..200).map(|n| format!("/{n}"))).collect();
        let pointers: Vec<&str> = pointers.iter().map(String::as_str).collect();
        for predicts in [false, true] {
            let mut extractor = Extractor::new(Fields::compile(&pointers).unwrap()).with_prediction(predicts);
            // More than once, so that it is found by prediction too.
            for _ in 0..4 {
                let found = extractor.extract_str(json).unwrap();
                let got = [0b01, 0b11, u128::MAX].map(|fields| found.is_only(fields));
                assert_eq!(&got, only, "{json}");
                for field in 0..200 {
                    let matched = found.find(field);
                    let value = found.get(field);
                    assert_eq!(matched.map(|found| found.value.raw()), value.map(|value| value.raw()));
                    assert_eq!(matched.map(|found| found.indices), found.indices(field));
                    assert_eq!(value.map(|value| value.raw()), found.raw(field).map(str::as_bytes));
                }
            }
        }
    }
    check(r#"{}"#, &[true, true, true]);
    check(r#"{"a":"x","b":[],"c":1}"#, &[true, true, true]);
    check(r#"{"a":"x","b":[null]}"#, &[true, true, true]);
    check(r#"{"a":"x","b":["y"]}"#, &[false, true, true]);
    check(r#"{"b":["y","z"]}"#, &[false, false, false]);
    check(r#"{"b":[null,null]}"#, &[false, false, false]);
    check(r#"{"a":1,"a":2}"#, &[true, true, true]);
    check(r#"{"127":1}"#, &[false, false, true]);
    check(r#"{"128":1}"#, &[false, false, false]);
    check(r#"{"199":null}"#, &[false, false, false]);
}

#[test]
fn the_last_member_of_a_name_counts() {
    check(&["/a"], r#"{"a":1,"\u0061":2}"#, &["0[]=2"]);
    check(&["/a/b", "/c"], r#"{"a":{"b":1},"c":0,"a":{}}"#, &["1[]=0"]);
    check(&["/a/*", "/b"], r#"{"a":[1,2],"b":3,"a":[4],"b":5}"#, &["0[0]=4", "1[]=5"]);
    check(&["/*/a"], r#"[{"a":1,"a":2},{"a":3}]"#, &["0[0]=2", "0[1]=3"]);
    check(&["", "/a"], r#"{"a":1,"a":2}"#, &["0[]={\"a\":1,\"a\":2}", "1[]=2"]);
}

/// A name repeated, with much found in between: no slower than the document is long, and bounded.
#[test]
fn repeated_names_cost_no_more_than_others() {
    let json = format!("{{\"a\":[{}1]{}}}", "1,".repeat(60_000), ",\"b\":1,\"c\":[2,3]".repeat(100_000));
    let fields = Fields::compile(&["/a/*", "/b", "/c/*"]).unwrap();
    let mut extractor = Extractor::new(fields.clone()).with_max_matches(1_000_000);
    assert_eq!(extractor.extract_str(&json).unwrap().iter().count(), 60_001 + 3);
    let error = Extractor::new(fields).extract_str(&json).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooMany);
}

#[track_caller]
fn check_refused(json: &[u8], kind: ErrorKind, offset: u64) {
    let mut extractor = Extractor::new(Fields::compile(&["/a"]).unwrap());
    let error = extractor.extract(json).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (kind, offset), "{}", String::from_utf8_lossy(json));
    assert!(extractor.extract(b"{\"a\":1}").is_ok(), "the extractor can be used again");
}

#[test]
fn errors_say_what_and_where() {
    check_refused(b"", ErrorKind::UnexpectedEnd, 0);
    check_refused(b"{\"a\":1", ErrorKind::UnexpectedEnd, 6);
    check_refused(b"{\"a\":\"x\\", ErrorKind::UnexpectedEnd, 8);
    check_refused(b"{\"a\":\"\\u12", ErrorKind::UnexpectedEnd, 10);
    check_refused(b"tru", ErrorKind::UnexpectedEnd, 3);
    check_refused(b"{\"a\":1}x", ErrorKind::TrailingBytes, 7);
    check_refused(b"{\"a\":1,}", ErrorKind::Syntax, 7);
    check_refused(b"[1,]", ErrorKind::Syntax, 3);
    check_refused(b"[1}", ErrorKind::Syntax, 2);
    check_refused(b"{\"a\" 1}", ErrorKind::Syntax, 5);
    check_refused(b"{1:2}", ErrorKind::Syntax, 1);
    check_refused(b"[01]", ErrorKind::Syntax, 2);
    check_refused(b"[nul]", ErrorKind::Syntax, 4);
    check_refused(b"\"a\nb\"", ErrorKind::Syntax, 2);
    check_refused(b"[\"\xff\"]", ErrorKind::Utf8, 2);
    check_refused(b"\xef\xbb\xbf{}", ErrorKind::Syntax, 0);
    check_refused(&b"[".repeat(100_000), ErrorKind::Depth, 64);
    check_refused(&b"{\"b\":".repeat(100_000), ErrorKind::Depth, 64 * 5);
}

#[test]
fn depth_and_matches_are_limited() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let fields = Fields::compile(&["/*"]).unwrap();
    let mut extractor = Extractor::new(fields).with_max_depth(3).with_max_matches(2);
    assert!(extractor.extract_str(&nested(3)).is_ok());
    assert_eq!(extractor.extract_str(&nested(4)).unwrap_err().kind(), ErrorKind::Depth);
    assert!(extractor.extract_str("[1,2]").is_ok());
    let error = extractor.extract_str("[1,2,3]").unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::TooMany, 5));
    assert!(extractor.extract_str("{\"a\":[1,2,3]}").is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_serde_json(
        document in random::document(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"[]{}:,\"\\0-e.u \x1f\xff".as_slice())), 0..3),
    ) {
        let mut extractor = oracle::json::extractor();
        let mut unpredicted = oracle::json::unpredicted();
        let mut json = document.into_bytes();
        oracle::json::check(&json, &mut extractor);
        oracle::json::check_unpredicted(&json, &mut unpredicted);
        oracle::json::check_limits(&json);
        for (place, byte) in mutations {
            let place = place.index(json.len());
            json[place] = byte;
            oracle::json::check(&json, &mut extractor);
            oracle::json::check(&json[..place], &mut extractor);
            oracle::json::check_unpredicted(&json, &mut unpredicted);
        }
    }
}
