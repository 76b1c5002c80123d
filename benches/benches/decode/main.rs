//! The decoder: event streams as OpenAI-compatible servers send them, one event per read unless said otherwise.
//!
//! | case | what is done per event |
//! |---|---|
//! | `frames` | the event is cut out of the stream |
//! | `frames-16` | the same, from reads of 16 bytes |
//! | `content` | the event is cut out and `/choices/0/delta/content` found and decoded |
//!
//! Peers: `eventsource-stream`, which most Rust SDKs build on; the same with serde_json into structs, which is what
//! async-openai does; `lines`, a loop over complete lines as hand-written SDKs have it (no split across reads, no CR, no
//! multi-line data: less than a decoder must do), with serde_json and with sonic-rs's lazy look-up. The floor is one memchr
//! scan for line ends.

use std::{
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use criterion::{BenchmarkId, Criterion, Throughput};
use eventsource_stream::Eventsource;
use futures_util::{Stream, stream};
use loquat_benches::{alloc, side};
use loquat_json::{Extractor, Fields, Limits, sse};

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// Events in one iteration: a short answer.
const EVENTS: usize = 64;

fn main() {
    let mut criterion = loquat_benches::criterion();
    let events: Vec<Vec<u8>> = (0..EVENTS).map(event).collect();
    let whole: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
    let joined = events.concat();
    let small: Vec<&[u8]> = joined.chunks(16).collect();

    // Every contender must have found the same before its speed is of interest.
    let words = EVENTS - 1;
    assert_eq!(
        (frames_ours(&whole), frames_eventsource(&whole), frames_lines(&whole)),
        (EVENTS, EVENTS, EVENTS)
    );
    assert_eq!((frames_ours(&small), frames_eventsource(&small)), (EVENTS, EVENTS));
    let expected: usize = (0..words).map(|n| word(n).len()).sum();
    let found =
        [content_ours(&whole), content_eventsource(&whole), content_lines(&whole), content_sonic(&whole)];
    assert_eq!(found, [expected; 4]);

    let mut bench = Bench { criterion: &mut criterion };
    bench.case("frames", "ours", &whole, frames_ours);
    bench.case("frames", "eventsource-stream", &whole, frames_eventsource);
    bench.case("frames", "lines", &whole, frames_lines);
    bench.case("frames", "floor", &whole, line_ends);
    bench.case("frames-16", "ours", &small, frames_ours);
    bench.case("frames-16", "eventsource-stream", &small, frames_eventsource);
    bench.case("frames-16", "floor", &small, line_ends);
    bench.case("content", "ours", &whole, content_ours);
    bench.case("content", "eventsource-stream+serde_json", &whole, content_eventsource);
    bench.case("content", "lines+serde_json", &whole, content_lines);
    bench.case("content", "lines+sonic-rs", &whole, content_sonic);
    bench.case("content", "floor", &whole, line_ends);
    criterion.final_summary();
}

struct Bench<'a> {
    criterion: &'a mut Criterion,
}

impl Bench<'_> {
    fn case(&mut self, case: &str, who: &str, reads: &[&[u8]], run: fn(&[&[u8]]) -> usize) {
        side::allocations(case, who, EVENTS as u64, || {
            black_box(run(black_box(reads)));
        });
        let mut group = self.criterion.benchmark_group("decode");
        group.throughput(Throughput::Elements(EVENTS as u64));
        group.bench_function(BenchmarkId::new(case, who), |bencher| bencher.iter(|| run(black_box(reads))));
        group.finish();
    }
}

/// Event `n` of an answer, about 300 bytes; the last one carries the finish reason.
fn event(n: usize) -> Vec<u8> {
    let (delta, finish) = match n + 1 == EVENTS {
        true => ("{}".to_owned(), r#""stop""#),
        false => (format!(r#"{{"content":"{}"}}"#, word(n)), "null"),
    };
    format!(
        "data: {{\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion.chunk\",\
         \"created\":1741569952,\"model\":\"gpt-4.1-2025-04-14\",\"service_tier\":\"default\",\
         \"system_fingerprint\":\"fp_44709d6fcb\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\
         \"finish_reason\":{finish}}}],\"obfuscation\":\"x7Tq\"}}\n\n"
    )
    .into_bytes()
}

/// What event `n` says: words of one to nine letters, as tokens are.
fn word(n: usize) -> &'static str {
    const WORDS: [&str; 8] = [" lo", " quat", " is", " a", " small", ",", " yellow", " fruiting"];
    WORDS[n % WORDS.len()]
}

fn frames_ours(reads: &[&[u8]]) -> usize {
    let mut decoder = sse::Decoder::new(Limits::default());
    let mut count = 0;
    for mut read in reads.iter().copied() {
        while let Some(event) = decoder.next(&mut read).expect("the bench's stream is sound") {
            black_box(event.data);
            count += 1;
        }
    }
    count
}

fn content_ours(reads: &[&[u8]]) -> usize {
    let mut decoder = sse::Decoder::new(Limits::default());
    let mut json = Extractor::new(Fields::compile(&["/choices/0/delta/content"]).expect("a pointer"));
    let mut scratch = String::new();
    let mut bytes = 0;
    for mut read in reads.iter().copied() {
        while let Some(event) = decoder.next(&mut read).expect("the bench's stream is sound") {
            let found = json.extract_str(event.data).expect("the bench's JSON is sound");
            if let Some(text) = found.get(0).and_then(|value| value.as_str()) {
                bytes += text.decode(&mut scratch).expect("no lone surrogate").len();
            }
        }
    }
    bytes
}

fn frames_eventsource(reads: &[&[u8]]) -> usize {
    let mut count = 0;
    each_eventsource(reads, |data| {
        black_box(data);
        count += 1;
    });
    count
}

fn content_eventsource(reads: &[&[u8]]) -> usize {
    let mut bytes = 0;
    each_eventsource(reads, |data| bytes += typed(data.as_bytes()));
    bytes
}

/// Every read is there at once, so the stream is polled without an executor, in its favour.
fn each_eventsource(reads: &[&[u8]], mut seen: impl FnMut(&str)) {
    let reads = reads.iter().map(|read| Ok::<_, std::convert::Infallible>(*read));
    let mut events = pin!(stream::iter(reads).eventsource());
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(event)) = events.as_mut().poll_next(&mut context) {
        seen(&event.expect("the bench's stream is sound").data);
    }
}

fn frames_lines(reads: &[&[u8]]) -> usize {
    let mut count = 0;
    each_line(reads, |data| {
        black_box(data);
        count += 1;
    });
    count
}

fn content_lines(reads: &[&[u8]]) -> usize {
    let mut bytes = 0;
    each_line(reads, |data| bytes += typed(data));
    bytes
}

fn content_sonic(reads: &[&[u8]]) -> usize {
    use sonic_rs::JsonValueTrait;
    let mut bytes = 0;
    each_line(reads, |data| {
        let path = sonic_rs::pointer!["choices", 0, "delta", "content"];
        if let Ok(value) = sonic_rs::get(data, path) {
            bytes += value.as_str().map_or(0, str::len);
        }
    });
    bytes
}

fn each_line(reads: &[&[u8]], mut seen: impl FnMut(&[u8])) {
    for read in reads {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', read) {
            if let Some(data) = read[start..end].strip_prefix(b"data: ") {
                seen(data);
            }
            start = end + 1;
        }
    }
}

/// The content as the structs of a typical SDK hold it.
fn typed(data: &[u8]) -> usize {
    #[derive(serde::Deserialize)]
    struct Chunk {
        id: String,
        object: String,
        created: u64,
        model: String,
        system_fingerprint: Option<String>,
        choices: Vec<Choice>,
    }
    #[derive(serde::Deserialize)]
    struct Choice {
        index: u32,
        delta: Delta,
        finish_reason: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Delta {
        role: Option<String>,
        content: Option<String>,
    }
    let chunk: Chunk = serde_json::from_slice(data).expect("the bench's JSON is sound");
    black_box((&chunk.id, &chunk.object, chunk.created, &chunk.model, &chunk.system_fingerprint));
    let text = |choice: &Choice| {
        black_box((choice.index, &choice.finish_reason, &choice.delta.role));
        choice.delta.content.as_ref().map_or(0, String::len)
    };
    chunk.choices.iter().map(text).sum()
}

fn line_ends(reads: &[&[u8]]) -> usize {
    reads.iter().map(|read| memchr::memchr_iter(b'\n', read).count()).sum()
}
