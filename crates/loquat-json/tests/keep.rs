//! What is kept of a read shares its memory, and is copied where it is not of the read.

#![cfg(feature = "bytes")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use bytes::Bytes;
use loquat_json::{Extractor, Fields, Limits, keep, sse};

#[test]
fn what_lies_in_the_read_is_shared_and_outlives_it() {
    let read = Bytes::from(b"data: {\"a\":\"lo\",\"b\":[1,2],\"c\":\"q\\u0075\"}\n\n".to_vec());
    let range = read.as_ptr_range();
    let (mut events, mut json) =
        (sse::Decoder::new(Limits::default()), Extractor::new(Fields::compile(&["/a", "/b", "/c"]).unwrap()));
    let event = events.next(&mut &read[..]).unwrap().unwrap();
    let found = json.extract_event(&event).unwrap();
    let (text, raw) = (found.str(0).unwrap().borrowed().unwrap(), found.get(1).unwrap().raw());
    let mut scratch = String::new();
    let decoded = found.str(2).unwrap().decode(&mut scratch).unwrap();
    let kept = [keep(event.data, &read), keep(text, &read), keep(raw, &read), keep(decoded, &read)];
    for (kept, is_shared) in kept.iter().zip([true, true, true, false]) {
        assert_eq!(range.contains(&kept.as_ptr()), is_shared, "{kept:?}");
    }
    drop(read);
    assert_eq!(kept[1..], ["lo", "[1,2]", "qu"]);
    assert!(kept[0].starts_with(b"{\"a\":\"lo\""));
}

#[test]
fn what_came_in_two_reads_is_copied() {
    let stream = Bytes::from_static(b"data: one\n\ndata: two\n\n");
    for middle in 0..=stream.len() {
        let (mut events, mut kept) = (sse::Decoder::new(Limits::default()), Vec::new());
        for frame in [stream.slice(..middle), stream.slice(middle..)] {
            let mut read = &frame[..];
            while let Some(event) = events.next(&mut read).unwrap() {
                let is_borrowed = frame.as_ptr_range().contains(&event.data.as_ptr());
                let data = keep(event.data, &frame);
                assert_eq!(frame.as_ptr_range().contains(&data.as_ptr()), is_borrowed, "split at {middle}");
                kept.push(data);
            }
        }
        assert_eq!(kept, ["one", "two"], "split at {middle}");
    }
}

/// Neighbours, what reaches beyond, and nothing at all share nothing.
#[test]
fn only_parts_of_the_read_are_shared() {
    let whole = Bytes::from(b"0123456789".to_vec());
    let read = whole.slice(3..7);
    for (start, end) in (0..=10).flat_map(|start| (start..=10).map(move |end| (start, end))) {
        let kept = keep(&whole[start..end], &read);
        assert_eq!(kept, whole[start..end]);
        let is_part = start >= 3 && end <= 7 && start < end;
        assert_eq!(kept.as_ptr() == whole[start..].as_ptr(), is_part, "{start}..{end}");
    }
}
