//! What the decoders cost in memory: nothing per event once warm, and no more than their limits on hostile streams.
//!
//! A test binary of its own, because it counts what the global allocator is asked for.

#![allow(unsafe_code, reason = "an allocator can only be written with it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use loquat_json::{ErrorKind, Extractor, Fields, Framer, Limits, Partial, ndjson, sse};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Of this thread, so that tests beside each other do not count each other's.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(allocated: usize, freed: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + usize::from(allocated > 0));
    HELD.set((HELD.get() + allocated).saturating_sub(freed));
    PEAK.set(PEAK.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's obligations are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Chunks as OpenAI's chat completions stream them, with escapes, Chinese and an emoji among the tokens.
fn openai(events: usize) -> Vec<String> {
    let tokens =
        [" loquat", "枇杷", r"\n\n", " the", r#" \"ripe\""#, r"\ud83c\udf4a", "🍊", " tree", "", ","];
    let chunk = |token: &str| {
        format!(
            r#"{{"id":"chatcmpl-B1x","object":"chat.completion.chunk","created":1700000000,"model":"m-1","choices":[{{"index":0,"delta":{{"content":"{token}"}},"logprobs":null,"finish_reason":null}}],"usage":null}}"#
        )
    };
    (0..events).map(|event| chunk(tokens[event % tokens.len()])).collect()
}

/// Decodes a stream in reads of `length` bytes; how many bytes of text there were.
fn decode(
    framer: &mut Framer,
    json: &mut Extractor,
    scratch: &mut String,
    stream: &[u8],
    length: usize,
) -> usize {
    let mut text = 0;
    for mut read in stream.chunks(length) {
        while let Some(event) = framer.next(&mut read).unwrap() {
            let found = json.extract_str(event.data).unwrap();
            let content = found.str(0).unwrap();
            text += content.decode(scratch).unwrap().len();
        }
    }
    text
}

#[test]
fn a_warm_stream_allocates_nothing() {
    let sse: String =
        openai(500).iter().map(|json| format!("event: chunk\nid: 7\ndata: {json}\n\n")).collect();
    let lines: String = openai(500).iter().map(|json| format!("{json}\r\n")).collect();
    for (name, stream, framer) in [
        ("sse", sse, Framer::Sse(sse::Decoder::new(Limits::default()))),
        ("ndjson", lines, Framer::Ndjson(ndjson::Decoder::new(Limits::default()))),
    ] {
        let mut framer = framer;
        let fields =
            ["/choices/0/delta/content", "/choices/*/finish_reason", "/usage/total_tokens", "/error"];
        let mut json = Extractor::new(Fields::compile(&fields).unwrap());
        let mut scratch = String::new();
        for length in [1, 7, 64, 303, 16 * 1024] {
            let warm = decode(&mut framer, &mut json, &mut scratch, stream.as_bytes(), length);
            let before = ALLOCATIONS.get();
            let again = decode(&mut framer, &mut json, &mut scratch, stream.as_bytes(), length);
            let allocations = ALLOCATIONS.get() - before;
            println!("{name}, reads of {length}: {allocations} allocations for 500 events");
            assert_eq!((again, allocations), (warm, 0), "{name}, reads of {length}");
        }
    }
}

/// Each reply has a decoder and an extractor of its own.
#[test]
fn a_reply_works_in_the_memory_of_the_last_one() {
    let fields = Fields::compile(&["/choices/0/delta/content"]).unwrap();
    let stream: String = openai(20).iter().map(|json| format!("data: {json}\n\n")).collect();
    let reply = |scratch: &mut String| {
        let mut framer = sse::Decoder::new(Limits::default());
        let mut json = Extractor::new(fields.clone());
        let mut input = stream.as_bytes();
        while let Some(event) = framer.next_for(&mut input, &mut json).unwrap() {
            let found = json.extract_event(&event).unwrap();
            found.str(0).unwrap().decode(scratch).unwrap();
        }
    };
    let mut scratch = String::new();
    (0..5).for_each(|_| reply(&mut scratch));
    let before = ALLOCATIONS.get();
    reply(&mut scratch);
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

/// Streams that never end an event. Memory stays below the limit, and an error gives it back.
#[test]
fn memory_stays_below_the_limit_on_hostile_streams() {
    const LIMIT: usize = 1024 * 1024;
    let limits = Limits::default().with_max_event_bytes(LIMIT);
    let endless: [(&str, &[u8]); 4] = [
        ("one line", &[b'x'; 1000]),
        ("data lines", b"data: 0123456789\n"),
        ("short data lines", b"data\n"),
        ("comments", b": 0123456789\n"),
    ];
    for (name, piece) in endless {
        for mut framer in [Framer::from(sse::Decoder::new(limits)), ndjson::Decoder::new(limits).into()] {
            let (held, mut fed) = (HELD.get(), 0);
            PEAK.set(held);
            let error = loop {
                match framer.next(&mut &piece[..]) {
                    Ok(_) => fed += piece.len(),
                    Err(error) => break Some(error),
                }
                if fed > 4 * LIMIT {
                    break None;
                }
            };
            let (peak, left) = (PEAK.get() - held, HELD.get() - held);
            println!("{name}: fed {fed} B, {peak} B held at most, {left} B in the end, {error:?}");
            assert!(peak <= LIMIT + 1000, "{name}: {peak}");
            assert!(left <= 64 * 1024, "{name}: {left}");
            assert!(error.is_some() || matches!(framer, Framer::Ndjson(_)), "{name}");
        }
    }
}

/// An event that is passed where it is framed is not looked at beyond its limit, although all of it is there.
#[test]
fn an_event_in_one_read_is_not_outlined_beyond_its_limit() {
    const LIMIT: usize = 1000;
    let limits = Limits::default().with_max_event_bytes(LIMIT);
    let cases: [(&str, Framer, &str); 3] = [
        ("data", sse::Decoder::new(limits).into(), "data: "),
        ("data under a name", sse::Decoder::new(limits).into(), "event: e\r\ndata:"),
        ("a line", ndjson::Decoder::new(limits).into(), ""),
    ];
    for (name, mut framer, before) in cases {
        let long = [before, &"[".repeat(1024 * 1024), "\n\n"].concat();
        let mut json = Extractor::new(Fields::compile(&["/a"]).unwrap()).with_prediction(false);
        let held = HELD.get();
        PEAK.set(held);
        let error = framer.next_for(&mut long.as_bytes(), &mut json).map(drop);
        let peak = PEAK.get() - held;
        println!("{name}: {peak} B at most");
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TooLong, "{name}");
        assert!(peak <= 16 * LIMIT, "{name}: {peak}");
    }
}

/// What is held of an event is what the decoder says: its bytes once, and three times as much of what replaces them where they are
/// not UTF-8. An id of any length is nothing that stays.
#[test]
fn one_event_takes_no_more_than_the_decoder_says() {
    const LIMIT: usize = 1024 * 1024;
    let line = |field: &str, byte: u8, length: usize| [field.as_bytes(), &vec![byte; length], b"\n"].concat();
    let bad = |field| line(field, 0xff, LIMIT - 20);
    let cases = [
        ("a second data line", vec![line("data: ", b'x', 600_000), b"data: 1\n\n".to_vec()], 1),
        (
            "one read of two data lines",
            vec![[line("data: ", b'x', 600_000), b"data: 1\n\n".to_vec()].concat()],
            1,
        ),
        ("data that is not UTF-8", vec![bad("data: "), b"\n".to_vec()], 4),
        ("a name that is not UTF-8", vec![bad("event: "), b"data:\n\n".to_vec()], 4),
        ("a name in two reads", vec![b"eve".to_vec(), bad("nt: "), b"data:\n\n".to_vec()], 4),
        ("an id", vec![line("id: ", b'1', LIMIT - 20), b"data:\n\n".to_vec()], 0),
        ("an id that is not UTF-8", vec![bad("id: "), b"data:\n\n".to_vec()], 0),
        ("an id in two reads", vec![b"i".to_vec(), bad("d: "), b"data:\n\n".to_vec()], 1),
    ];
    for (name, reads, times) in cases {
        let mut decoder = sse::Decoder::new(Limits::default().with_max_event_bytes(LIMIT));
        let held = HELD.get();
        PEAK.set(held);
        for mut read in reads.iter().map(Vec::as_slice) {
            while decoder.next(&mut read).unwrap().is_some() {}
        }
        let peak = PEAK.get() - held;
        println!("{name}: {peak} B at most");
        assert!(peak <= times * LIMIT + 64 * 1024, "{name}: {peak}");
        assert_eq!(decoder.next(&mut &b""[..]), Ok(None));
        assert!(HELD.get() - held <= 256 * 1024, "{name}: {} B in the end", HELD.get() - held);
    }
}

/// A line that is refused for its encoding is not kept either.
#[test]
fn a_line_that_is_not_utf8_is_given_back() {
    let held = HELD.get();
    let mut decoder = ndjson::Decoder::new(Limits::default());
    assert_eq!(decoder.next(&mut &vec![0xff; 1_000_000][..]), Ok(None));
    assert_eq!(decoder.next(&mut &b"\n"[..]).unwrap_err().kind(), ErrorKind::Utf8);
    assert!(HELD.get() - held <= 1000, "{} B held", HELD.get() - held);
    let mut decoder = ndjson::Decoder::new(Limits::default());
    assert_eq!(decoder.next(&mut &vec![0xff; 1_000_000][..]), Ok(None));
    assert_eq!(decoder.finish().unwrap_err().offset(), 0);
    assert!(HELD.get() - held <= 1000, "{} B held", HELD.get() - held);
}

/// One huge event does not stay in memory with the connection.
#[test]
fn the_buffer_shrinks_after_a_huge_event() {
    let held = HELD.get();
    let mut decoder = sse::Decoder::new(Limits::default());
    for piece in [b"data: ".repeat(500_000), b"\n\ndata: 1\n\n".to_vec()] {
        let mut read = &piece[..];
        while decoder.next(&mut read).unwrap().is_some() {}
    }
    assert!(HELD.get() - held <= 64 * 1024, "{} B held", HELD.get() - held);
}

/// What a text of very many values took is given back with the next one.
#[test]
fn memory_shrinks_after_a_text_of_very_many_values() {
    let held = HELD.get();
    let mut json = Extractor::new(Fields::compile(&["/e/*"]).unwrap());
    let many = format!(r#"{{"e":[{}0]}}"#, "0,".repeat(50_000));
    for text in [many.as_bytes(), br#"{"e":[1]}"#] {
        json.extract(text).unwrap();
    }
    drop(many);
    let left = HELD.get() - held;
    println!("{left} B left");
    assert!(left < 32 * 1024, "{left} B");
}

/// What a text in pieces shows is not gathered, and the text is held once, however it grows.
#[test]
fn a_text_in_pieces_is_held_once_and_nothing_else() {
    const LIMIT: usize = 1000 * 1000;
    let fields = Fields::compile(&["/e/*", "/e/*/a", "/e"]).unwrap();
    let held = HELD.get();
    PEAK.set(held);
    let mut partial = Partial::new(fields).with_max_bytes(LIMIT);
    partial.push(r#"{"e":[{"a":"b"}"#).unwrap();
    let (before, mut shown) = (ALLOCATIONS.get(), 0);
    while partial.text().len() < LIMIT - 100 {
        partial.push_with(r#","lo","a\n",{"a":"qu"},1"#, |_| shown += 1).unwrap();
    }
    let (peak, allocations) = (PEAK.get() - held, ALLOCATIONS.get() - before);
    println!("{shown} parts, {allocations} allocations, {peak} B at most");
    assert!(shown > 150_000 && allocations <= 20, "{allocations} allocations");
    assert!(peak <= LIMIT + 4 * 1024, "{peak} B");
}

/// The smallest values cost the most, and no more than the document says.
#[cfg(feature = "document")]
#[test]
fn a_document_takes_as_many_times_its_text_as_it_says() {
    for unit in ["1,", "[],", "{},", "\"\",", "null,"] {
        let mut text = format!("[{}0]", unit.repeat(200_000)).into_bytes();
        text.shrink_to_fit();
        let (length, before) = (text.len(), HELD.get() - text.capacity());
        PEAK.set(HELD.get());
        let document = loquat_json::document::Document::parse(text).unwrap();
        let times = |bytes: usize| (bytes - before) as f64 / length as f64;
        let (peak, left) = (times(PEAK.get()), times(HELD.get()));
        println!("{unit} parsed in {peak:.1} times its length, held in {left:.1}");
        assert!(left <= 9.1 && peak <= 42.1, "{unit}: {peak} and {left}");
        drop(document);
    }
}
