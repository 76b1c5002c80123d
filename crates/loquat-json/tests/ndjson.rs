//! NDJSON framing: named cases, random streams against a plain split, limits.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod oracle;

use loquat_json::{Error, ErrorKind, Limits, ndjson};
use oracle::{cut, transcribe};
use proptest::prelude::*;

/// The lines, the one without a line end, and the error; the same for every two-way split.
#[track_caller]
fn check(stream: &[u8], expected: &[&str], unended: Option<&str>, error: Option<(ErrorKind, u64)>) {
    for middle in 0..=stream.len() {
        let (first, second) = stream.split_at(middle);
        let got = transcribe(ndjson::Decoder::new(Limits::default()).into(), [first, second]);
        assert_eq!(
            got.events.iter().map(|event| &event.data).collect::<Vec<_>>(),
            expected,
            "split at {middle}"
        );
        assert_eq!(got.unended.as_ref().map(|event| &event.data[..]), unended, "split at {middle}");
        assert_eq!(got.error.map(|error: Error| (error.kind(), error.offset())), error, "split at {middle}");
    }
    oracle::ndjson::check(stream, &[2, 5], 8);
}

#[test]
fn lines_are_events() {
    check(b"{}\n[]\r\n", &["{}", "[]"], None, None);
    check(b"\n \t\r\n\r\n{}\n\n", &["{}"], None, None);
    check(b"{}", &[], Some("{}"), None);
    check(b"{}\r", &[], Some("{}"), None);
    check(b"{}\n \r", &["{}"], None, None);
    check("\u{feff}{\"é\":1}\n".as_bytes(), &["{\"é\":1}"], None, None);
    check(b"{}\r\r\n", &["{}\r"], None, None);
    check(b"", &[], None, None);
}

#[test]
fn invalid_utf8_is_refused_where_it_is() {
    check(b"{}\n\"a\xff\"\n{}\n", &["{}"], None, Some((ErrorKind::Utf8, 5)));
    check(b"{}\r\n\n\xe2\x82\n", &["{}"], None, Some((ErrorKind::Utf8, 5)));
    check(b"{}\n\xe2\x82", &["{}"], None, Some((ErrorKind::Utf8, 3)));
    check(b"\xef\xbb", &[], None, Some((ErrorKind::Utf8, 0)));
}

#[test]
fn a_line_beyond_its_limit_is_refused_while_it_arrives() {
    for length in [1, 7, 250] {
        let limits = Limits::default().with_max_event_bytes(1000);
        let stream = [b"{}\n".to_vec(), vec![b' '; 5000]].concat();
        let got = transcribe(ndjson::Decoder::new(limits).into(), cut(&stream, &[length]));
        let error = got.error.unwrap();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::TooLong, 1003), "reads of {length}");
    }
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["\n", "\r\n", "\r", " ", "{}", "[1,2]", "\u{feff}", "\"é\""]).prop_map(|text| text.as_bytes().to_vec()),
        1 => "\\PC{0,12}".prop_map(String::into_bytes),
    ];
    (prop::collection::vec(piece, 0..30), prop::option::of((any::<prop::sample::Index>(), any::<u8>())))
        .prop_map(|(pieces, mutation)| {
            let mut stream = pieces.concat();
            if let Some((place, byte)) = mutation.filter(|_| !stream.is_empty()) {
                let place = place.index(stream.len());
                stream[place] = byte;
            }
            stream
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_split_yields_the_same_lines(
        stream in stream(),
        lengths in prop::collection::vec(0u8..12, 0..6),
        limit in 0usize..64,
    ) {
        oracle::ndjson::check(&stream, &lengths, limit);
    }
}
