//! Ways from bytes to text: ours, the peers, and the floor. Each takes the same reads, an empty one between two replies, and
//! returns how many bytes of text it found.
//!
//! The peers' framers are published ones; for NDJSON, which has none, a line splitter that carries the unfinished line over.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    pin::pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use async_openai::types::chat::CreateChatCompletionStreamResponse;
use eventsource_stream::Eventsource;
use futures_util::{Stream as _, stream as futures};
use loquat_json::{Extractor, Fields, Framer, Limits, ndjson, sse};
use simd_json::prelude::ValueAsScalar;
use sonic_rs::{JsonValueTrait, PointerNode};
use sse_core::{SseDecoder, SseEvent};

use crate::streams::{Format, Step, Stream};

pub struct Contender {
    pub name: &'static str,
    /// `None` when it does not look for text.
    pub run: fn(&Stream, &[&[u8]]) -> Option<usize>,
}

/// Who can decode a stream.
pub fn of(stream: &Stream) -> Vec<Contender> {
    let is_sse = stream.format != Format::Ollama;
    let mut all = vec![Contender { name: "ours", run: ours }, Contender { name: "floor", run: line_ends }];
    if stream.format == Format::OpenAi {
        all.push(Contender { name: "eventsource-stream + async-openai", run: async_openai });
    }
    let framer = |sse: &'static str, lines: &'static str| if is_sse { sse } else { lines };
    all.push(Contender { name: framer("sse-core + sonic-rs get", "lines + sonic-rs get"), run: sonic });
    all.push(Contender { name: framer("sse-core + serde_json", "lines + serde_json"), run: serde });
    all.push(Contender { name: framer("sse-core + simd-json", "lines + simd-json"), run: simd });
    if stream.name == "miss" {
        all.push(Contender { name: "lines + sonic-rs get", run: sonic_lines });
    }
    all
}

/// A reply at a time.
fn replies<'r>(reads: &'r [&'r [u8]]) -> impl Iterator<Item = &'r [&'r [u8]]> {
    reads.split(|read| read.is_empty()).filter(|reply| !reply.is_empty())
}

/// What ours knows of a stream: compiled once, as a program would, so that replies share what they learn.
static COMPILED: Mutex<BTreeMap<&'static str, Fields>> = Mutex::new(BTreeMap::new());

fn fields(stream: &Stream) -> Fields {
    let mut compiled = COMPILED.lock().expect("no contender panics");
    compiled.entry(stream.name).or_insert_with(|| Fields::compile(stream.fields).expect("pointers")).clone()
}

/// Before a turn with fresh replies: forgets all that was learned of them, and sees the others.
pub fn refresh(stream: &Stream) {
    if stream.seen_before.is_empty() {
        return;
    }
    COMPILED.lock().expect("no contender panics").remove(stream.name);
    for reply in &stream.seen_before {
        let reads: Vec<&[u8]> = reply.iter().map(Vec::as_slice).collect();
        ours_reply(stream, &fields(stream), &reads);
    }
}

fn ours(stream: &Stream, reads: &[&[u8]]) -> Option<usize> {
    let fields = fields(stream);
    Some(replies(reads).map(|reply| ours_reply(stream, &fields, reply)).sum())
}

pub fn ours_reply(stream: &Stream, fields: &Fields, reads: &[&[u8]]) -> usize {
    let mut framer: Framer = match stream.format {
        Format::Ollama => ndjson::Decoder::new(Limits::default()).into(),
        _ => sse::Decoder::new(Limits::default()).into(),
    };
    let mut json = Extractor::new(fields.clone()).with_prediction(stream.predicts);
    let (mut scratch, mut bytes) = (String::new(), 0);
    for mut read in reads.iter().copied() {
        while let Some(event) = framer.next_for(&mut read, &mut json).expect("the bench's stream is sound") {
            if event.data == "[DONE]" {
                continue;
            }
            let found = json.extract_event(&event).expect("the bench's JSON is sound");
            if let Some(text) = found.str(0) {
                bytes += text.decode_lossy(&mut scratch).len();
            }
            std::hint::black_box((&found.get(1), &found.get(2)));
        }
    }
    bytes
}

fn line_ends(_: &Stream, reads: &[&[u8]]) -> Option<usize> {
    std::hint::black_box(reads.iter().map(|read| memchr::memchr_iter(b'\n', read).count()).sum::<usize>());
    None
}

/// As async-openai reads a stream: every read is there at once, so it is polled without an executor, in its favour.
fn async_openai(_: &Stream, reads: &[&[u8]]) -> Option<usize> {
    let mut bytes = 0;
    let mut context = Context::from_waker(Waker::noop());
    for reply in replies(reads) {
        let reads = reply.iter().map(|read| Ok::<_, std::convert::Infallible>(*read));
        let mut events = pin!(futures::iter(reads).eventsource());
        while let Poll::Ready(Some(event)) = events.as_mut().poll_next(&mut context) {
            let data = event.expect("the bench's stream is sound").data;
            if data != "[DONE]" {
                let chunk: CreateChatCompletionStreamResponse =
                    serde_json::from_str(&data).expect("the bench's JSON is sound");
                for choice in &chunk.choices {
                    let calls = choice.delta.tool_calls.iter().flatten();
                    let arguments = calls.filter_map(|call| call.function.as_ref()?.arguments.as_ref());
                    bytes += choice.delta.content.iter().chain(arguments).map(String::len).sum::<usize>();
                }
            }
        }
    }
    Some(bytes)
}

/// Ours by default; sse-core's own default is too small for a line of the bench.
const MAX_EVENT_BYTES: NonZeroUsize = NonZeroUsize::new(8 * 1024 * 1024).unwrap();

/// Every event's data, by the fastest published framer.
fn each(stream: &Stream, reads: &[&[u8]], mut seen: impl FnMut(&mut String) -> usize) -> Option<usize> {
    if stream.format == Format::Ollama {
        let mut line = String::new();
        return each_line(reads, b"", |data| {
            line.clear();
            line.push_str(std::str::from_utf8(data).expect("the bench's stream is sound"));
            seen(&mut line)
        });
    }
    let mut bytes = 0;
    for reply in replies(reads) {
        let mut decoder = SseDecoder::with_limit(MAX_EVENT_BYTES);
        for mut read in reply.iter().copied() {
            while let Some(event) = decoder.next(&mut read) {
                if let SseEvent::Message(mut event) = event.expect("the bench's stream is sound")
                    && event.data != "[DONE]"
                {
                    bytes += seen(&mut event.data);
                }
            }
        }
    }
    Some(bytes)
}

/// Every line's data, as hand-written clients have it.
fn each_line(reads: &[&[u8]], prefix: &[u8], mut seen: impl FnMut(&[u8]) -> usize) -> Option<usize> {
    let mut bytes = 0;
    let mut line = |line: &[u8]| match line.strip_prefix(prefix) {
        Some(b"" | b"[DONE]") | None => {}
        Some(data) => bytes += seen(data),
    };
    let mut carry = Vec::new();
    for read in reads {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', read) {
            if carry.is_empty() {
                line(&read[start..end]);
            } else {
                carry.extend_from_slice(&read[start..end]);
                line(&carry);
                carry.clear();
            }
            start = end + 1;
        }
        carry.extend_from_slice(&read[start..]);
    }
    Some(bytes)
}

fn path(stream: &Stream) -> Vec<PointerNode> {
    let node = |step: &Step| match step {
        Step::Name(name) => PointerNode::Key((*name).into()),
        Step::First => PointerNode::Index(0),
    };
    stream.path.iter().map(node).collect()
}

fn sonic(stream: &Stream, reads: &[&[u8]]) -> Option<usize> {
    let path = path(stream);
    each(stream, reads, |data| {
        let value = sonic_rs::get(data.as_str(), &path);
        value.ok().and_then(|value| value.as_str().map(str::len)).unwrap_or(0)
    })
}

fn sonic_lines(stream: &Stream, reads: &[&[u8]]) -> Option<usize> {
    let path = path(stream);
    each_line(reads, b"data: ", |data| {
        let value = sonic_rs::get(data, &path);
        value.ok().and_then(|value| value.as_str().map(str::len)).unwrap_or(0)
    })
}

fn simd(stream: &Stream, reads: &[&[u8]]) -> Option<usize> {
    let mut buffers = simd_json::Buffers::default();
    each(stream, reads, |data| {
        let mut bytes = std::mem::take(data).into_bytes();
        let tape =
            simd_json::to_tape_with_buffers(&mut bytes, &mut buffers).expect("the bench's JSON is sound");
        let mut value = Some(tape.as_value());
        for step in stream.path {
            value = value.and_then(|value| match step {
                Step::Name(name) => value.as_object()?.get(name),
                Step::First => value.as_array()?.get(0),
            });
        }
        value.and_then(|value| value.as_str().map(str::len)).unwrap_or(0)
    })
}

/// Structs with borrowed strings where they have no escapes.
mod typed {
    use std::borrow::Cow;

    use serde::Deserialize;

    /// serde borrows a `Cow` only where it stands itself, not within an `Option`.
    #[derive(Deserialize)]
    pub struct Text<'e>(#[serde(borrow)] pub Cow<'e, str>);

    #[derive(Deserialize, Default)]
    #[serde(default)]
    pub struct Event<'e> {
        #[serde(borrow)]
        pub choices: Vec<Choice<'e>>,
        #[serde(borrow)]
        pub delta: Option<Delta<'e>>,
    }

    /// Ollama's. Anthropic has a member of that name too, with a list for its content.
    #[derive(Deserialize)]
    pub struct Line<'e> {
        #[serde(borrow)]
        pub message: Delta<'e>,
    }

    #[derive(Deserialize)]
    pub struct Choice<'e> {
        #[serde(borrow)]
        pub delta: Delta<'e>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    pub struct Delta<'e> {
        #[serde(borrow)]
        pub content: Option<Text<'e>>,
        #[serde(borrow)]
        pub text: Option<Text<'e>>,
        #[serde(borrow)]
        pub tool_calls: Vec<Call<'e>>,
    }

    #[derive(Deserialize)]
    pub struct Call<'e> {
        #[serde(borrow)]
        pub function: Function<'e>,
    }

    #[derive(Deserialize)]
    pub struct Function<'e> {
        #[serde(borrow)]
        pub arguments: Text<'e>,
    }

    impl Delta<'_> {
        pub fn text_bytes(&self) -> usize {
            let calls = self.tool_calls.iter().map(|call| &call.function.arguments);
            self.content.iter().chain(&self.text).chain(calls).map(|text| text.0.len()).sum()
        }
    }
}

fn serde(stream: &Stream, reads: &[&[u8]]) -> Option<usize> {
    if stream.format == Format::Ollama {
        return each(stream, reads, |data| {
            let line: typed::Line<'_> = serde_json::from_str(data).expect("the bench's JSON is sound");
            line.message.text_bytes()
        });
    }
    each(stream, reads, |data| {
        let event: typed::Event<'_> = serde_json::from_str(data).expect("the bench's JSON is sound");
        let deltas = event.choices.iter().map(|choice| &choice.delta).chain(&event.delta);
        deltas.map(typed::Delta::text_bytes).sum()
    })
}

/// Whether the peers that build structs can read an event's JSON.
pub fn is_readable_by_all(format: Format, data: &str) -> bool {
    let is_event = || serde_json::from_str::<typed::Event<'_>>(data).is_ok();
    match format {
        Format::OpenAi => {
            is_event() && serde_json::from_str::<CreateChatCompletionStreamResponse>(data).is_ok()
        }
        Format::Anthropic => is_event(),
        Format::Ollama => serde_json::from_str::<typed::Line<'_>>(data).is_ok(),
    }
}
