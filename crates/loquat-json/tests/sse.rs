//! SSE framing: named cases, the standard's own algorithm on random streams, limits, and cost.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod oracle;

use loquat_json::{ErrorKind, Extractor, Fields, Framer, Limits, sse};
use oracle::{cut, transcribe};
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn decoder() -> Framer {
    sse::Decoder::new(Limits::default()).into()
}

/// Events as `name|data|id|retry ms`, then the unended one and the stray lines; the same for every two-way split.
#[track_caller]
fn check(stream: &[u8], expected: &[&str], unended: Option<&str>, stray: &str) {
    let show = |event: &oracle::Owned| {
        let id = event.id.as_deref().unwrap_or("-");
        let retry = event.retry.map_or("-".into(), |retry| retry.as_millis().to_string());
        format!("{}|{}|{id}|{retry}", event.name, event.data)
    };
    for middle in 0..=stream.len() {
        let (first, second) = stream.split_at(middle);
        let got = transcribe(decoder(), [first, second]);
        assert_eq!(got.events.iter().map(show).collect::<Vec<_>>(), expected, "split at {middle}");
        assert_eq!(got.unended.as_ref().map(show).as_deref(), unended, "split at {middle}");
        assert_eq!(String::from_utf8_lossy(&got.stray), stray, "split at {middle}");
    }
    oracle::sse::check(stream, &[3, 1, 7], 16);
}

#[test]
fn events_are_what_the_standard_says() {
    check(b"data: a\n\n", &["message|a|-|-"], None, "");
    check(b"data:a\ndata: b\ndata\n\n", &["message|a\nb\n|-|-"], None, "");
    check(b"event: x\rdata:  y\r\rdata: z\r\r", &["x| y|-|-", "message|z|-|-"], None, "");
    check(b"data: a\r\n\r\ndata: b\r\n\r\n", &["message|a|-|-", "message|b|-|-"], None, "");
    check(b"id: 1\nretry: 5\ndata: a\n\ndata: b\n\n", &["message|a|1|5", "message|b|1|5"], None, "");
    check(b"id: 1\ndata: a\n\nid\ndata: b\n\n", &["message|a|1|-", "message|b|-|-"], None, "");
    check(b"id: 1\nid: 2\0\nretry: 1a\nretry:\ndata: a\n\n", &["message|a|1|-"], None, "");
    let id = |length: usize| format!("id: 1\nid: {}\ndata: a\n\n", "2".repeat(length));
    let shown = |stream: String| {
        let got = transcribe(decoder(), cut(stream.as_bytes(), &[250, 3]));
        got.events[0].id.as_deref().map(str::len)
    };
    assert_eq!((shown(id(65_536)), shown(id(65_537))), (Some(65_536), Some(1)));
    check(b"retry: 99999999999999999999999\ndata: a\n\n", &["message|a|-|18446744073709551615"], None, "");
    check(b"event: lost\n\ndata: a\n\n", &["message|a|-|-"], None, "");
    check(b": ping\n\n:\n\n\n\n", &[], None, "");
    check("\u{feff}data: a\n\n\u{feff}data: b\n\n".as_bytes(), &["message|a|-|-"], None, "\u{feff}data: b");
    check(b"", &[], None, "");
}

#[test]
fn invalid_utf8_is_replaced_by_maximal_subparts() {
    check(b"data: a\xffb\xe2\x82c\n\n", &["message|a\u{fffd}b\u{fffd}c|-|-"], None, "");
    check(b"data: \xf0\x9f\x98\ndata: \x80\n\n", &["message|\u{fffd}\n\u{fffd}|-|-"], None, "");
    check(
        b"event: \xc3\nid: \xe2\ndata: \xed\xa0\x80\n\n",
        &["\u{fffd}|\u{fffd}\u{fffd}\u{fffd}|\u{fffd}|-"],
        None,
        "",
    );
    check(b"\xef\xbbdata: a\n\ndata: b\n\n", &["message|b|-|-"], None, "");
    check(b"data: \xff1\n\ndata: \xff2\n\n", &["message|\u{fffd}1|-|-", "message|\u{fffd}2|-|-"], None, "");
}

#[test]
fn finish_offers_what_the_standard_discards() {
    check(b"data: a\n\nid: 7\ndata: b", &["message|a|-|-"], Some("message|b|7|-"), "");
    check(b"event: e\ndata: b\ndata: c\n", &[], Some("e|b\nc|-|-"), "");
    check(b"data: b\r", &[], Some("message|b|-|-"), "");
    check(b"data", &[], Some("message||-|-"), "");
    check(b"event: e\n", &[], None, "");
    check(b"\xef\xbb", &[], None, "\u{fffd}");
}

#[test]
fn lines_that_are_no_sse_are_kept_apart() {
    check(b"{\"error\": 1}", &[], None, "{\"error\": 1}");
    check(b"data: a\n\nerror: {\"m\": 2}\n\n", &["message|a|-|-"], None, "error: {\"m\": 2}");
    check(b"{\n  \"error\": 1\n\n}\n", &[], None, "{\n  \"error\": 1\n}");
    check(b"old\ndata: a\n\nnew", &["message|a|-|-"], None, "new");
}

#[test]
fn stray_lines_are_bounded_and_seen_beside_the_event_after_them() {
    let mut decoder = sse::Decoder::new(Limits::default());
    let stream = [b"error: x\n".repeat(10_000), b"data: 1\n\ndata: 2\n\n".to_vec()].concat();
    let mut read = &stream[..];
    assert!(decoder.next(&mut read).unwrap().is_some());
    assert_eq!(decoder.stray().len(), 4096);
    assert!(decoder.next(&mut read).unwrap().is_some());
    assert_eq!(decoder.stray(), b"");
}

#[test]
fn an_event_in_one_read_is_borrowed_from_it() {
    let stream = b": note\nevent: e\ndata: {\"a\":1}\n\ndata: b\ndata: c\n\n";
    let mut decoder = sse::Decoder::new(Limits::default());
    let mut read = &stream[..];
    let range = stream.as_ptr_range();
    let event = decoder.next(&mut read).unwrap().unwrap();
    assert!(range.contains(&event.data.as_ptr()));
    let event = decoder.next(&mut read).unwrap().unwrap();
    assert!(!range.contains(&event.data.as_ptr()));
}

#[test]
fn debug_shows_no_content() {
    let mut decoder = sse::Decoder::new(Limits::default());
    let mut read = &b"event: s3cret\nid: s3cret\ndata: s3cret\n\ndata: s3cret"[..];
    let event = format!("{:?}", decoder.next(&mut read).unwrap().unwrap());
    assert!(decoder.next(&mut read).unwrap().is_none());
    assert!(!event.contains("s3cret") && !format!("{decoder:?}").contains("s3cret"));
}

/// A line that never ends, a line in one read, many lines: each is refused at the first byte that does not fit.
#[test]
fn an_event_beyond_its_limit_is_refused_while_it_arrives() {
    fn check(stream: &[u8], offset: u64) {
        for length in [1, 7, 250] {
            let limits = Limits::default().with_max_event_bytes(1000);
            let got = transcribe(sse::Decoder::new(limits).into(), cut(stream, &[length]));
            let error = got.error.unwrap();
            assert_eq!((error.kind(), error.offset()), (ErrorKind::TooLong, offset), "reads of {length}");
        }
    }
    check(&[b'x'; 5000], 1000);
    check(&[b"data: a\n\n".to_vec(), vec![b'x'; 5000]].concat(), 1009);
    check(&[b"data: ".to_vec(), vec![b'x'; 995], b"\n\n".to_vec()].concat(), 1000);
    check(&b": 34567890\n".repeat(500), 1100);
    check(&b"data: 7890\r\n".repeat(500), 1200);
    let fits = [b"data: ".to_vec(), vec![b'x'; 994], b"\n\n".to_vec()].concat();
    let limits = Limits::default().with_max_event_bytes(1000);
    assert_eq!(transcribe(sse::Decoder::new(limits).into(), [&fits[..]]).events.len(), 1);
}

/// A long line in many reads is searched once. Were the unfinished part searched again with each of these reads, this would take some
/// ten thousand times as long as in one; the bound is far from both, for busy machines, debug builds and sanitizers.
#[test]
fn a_long_line_in_many_reads_is_searched_once() {
    let stream = [b"data: ".to_vec(), vec![b'x'; 8_000_000], b"\n\n".to_vec()].concat();
    let time = |length: usize| {
        let mut decoder = sse::Decoder::new(Limits::default());
        let start = Instant::now();
        let events: usize = stream
            .chunks(length)
            .map(|mut read| usize::from(decoder.next(&mut read).unwrap().is_some()))
            .sum();
        assert_eq!(events, 1);
        start.elapsed()
    };
    let (one, many) = (time(stream.len()), time(64));
    println!("8 MB line: {one:?} in one read, {many:?} in 125,000");
    assert!(many < one * 500, "{one:?} in one read, {many:?} in 125,000");
}

/// Pieces of streams, so that random streams are mostly events.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    const SAMPLES: [&[u8]; 19] = [
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b": ",
        b":",
        b"\0",
        b" ",
        b"data",
        b"data:",
        b"event: ",
        b"id: ",
        b"retry:",
        b"12",
        b"\ndata: x",
        b"\ndata: \xff\n\n",
        b"\r\rdata:\xe2\x82",
        b"\xf0\x9f\x8d\x8a",
        b"\xef\xbb\xbf",
    ];
    let piece = prop_oneof![
        6 => prop::sample::select(SAMPLES.as_slice()).prop_map(<[u8]>::to_vec),
        1 => "\\PC{0,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_split_yields_the_events_of_the_standard(
        stream in stream(),
        lengths in prop::collection::vec(0u8..12, 0..6),
        limit in 0usize..64,
    ) {
        oracle::sse::check(&stream, &lengths, limit);
    }
}

/// Cut from `id: 123`, it is no id; likewise what else an event has beside its data.
#[test]
fn a_last_line_without_its_end_counts_only_if_it_is_data() {
    for (line, stray) in
        [("id: 12", ""), ("id:", ""), ("retry: 1", ""), ("event: er", ""), (": x", ""), ("id", "")]
    {
        let stream = format!("id: 7\nretry: 70\nevent: e\ndata: a\n{line}");
        check(stream.as_bytes(), &[], Some("e|a|7|70"), stray);
    }
    check(b"data: a\ndata: b", &[], Some("message|a\nb|-|-"), "");
    check(b"data: a\ndata", &[], Some("message|a\n|-|-"), "");
    check(b"data: a\ndat", &[], Some("message|a|-|-"), "dat");
}

/// As long as its text is, and not its bytes.
#[test]
fn an_id_is_no_longer_than_is_said() {
    for (byte, length, is_kept) in
        [(b'1', 65_536, true), (b'1', 65_537, false), (0xff, 21_845, true), (0xff, 21_846, false)]
    {
        let mut decoder = sse::Decoder::new(Limits::default());
        let stream = [b"id: ".to_vec(), vec![byte; length], b"\ndata: x\n\n".to_vec()].concat();
        let event = decoder.next(&mut &stream[..]).unwrap().unwrap();
        assert_eq!(event.id.is_some(), is_kept, "{byte}, {length}");
        assert!(event.id.is_none_or(|id| id.len() <= 65_536));
    }
}

/// A stream that goes on with another has its last id, until the server says another.
#[test]
fn the_last_id_is_known_between_events_and_from_the_stream_before() {
    let mut decoder = sse::Decoder::new(Limits::default());
    assert_eq!((decoder.last_event_id(), decoder.retry()), (None, None));
    // An event without data counts, one that was cut does not: who goes on from there must be sent it again.
    assert_eq!(decoder.next(&mut &b"id: 7\nretry: 5\n\nid: 8\ndata: par"[..]), Ok(None));
    assert_eq!((decoder.last_event_id(), decoder.retry()), (Some("7"), Some(Duration::from_millis(5))));
    assert_eq!(decoder.finish().unwrap().unwrap().id, Some("8"));
    assert_eq!(decoder.last_event_id(), Some("7"));

    let mut decoder = sse::Decoder::new(Limits::default()).with_last_event_id("8");
    let mut read = &b"data: a\n\nid: 9\ndata: b\n\nid\n\n"[..];
    for id in ["8", "9"] {
        assert_eq!(decoder.next(&mut read).unwrap().unwrap().id, Some(id));
    }
    assert_eq!(decoder.next(&mut read), Ok(None));
    assert_eq!(decoder.last_event_id(), None);
    for id in ["a\0b", &"x".repeat(65_537)] {
        assert_eq!(sse::Decoder::new(Limits::default()).with_last_event_id(id).last_event_id(), None);
    }
}

#[test]
fn it_says_where_in_the_stream_an_event_ends() {
    let stream = b"\xef\xbb\xbf: hi\r\ndata: {\"a\":1}\n\ndata: {\"a\":2}\n\nevent: e\ndata: \"a\ndata: b\"\n\ndata: {\"a\":3}\r\n\r\n";
    let ends = [24, 39, 67, 84];
    let mut json = Extractor::new(Fields::compile(&["/a"]).unwrap());
    for read in 1..=stream.len() {
        let mut decoder = sse::Decoder::new(Limits::default());
        let mut framer = Framer::from(sse::Decoder::new(Limits::default()));
        let (mut alone, mut with_json) = (Vec::new(), Vec::new());
        for read in stream.chunks(read) {
            let (mut input, mut again) = (read, read);
            while decoder.next(&mut input).unwrap().is_some() {
                alone.push(decoder.offset());
            }
            while framer.next_for(&mut again, &mut json).unwrap().is_some() {
                with_json.push(framer.offset());
            }
        }
        // Whether an LF follows a CR only the next byte says.
        let crlf = |ends: &[u64]| ends.iter().map(|end| end + u64::from(*end == 83)).collect::<Vec<_>>();
        assert_eq!((crlf(&alone), crlf(&with_json)), (ends.to_vec(), ends.to_vec()), "reads of {read}");
        assert_eq!((decoder.offset(), framer.offset()), (84, 84));
    }
}
