//! Bytes through a decoder and deltas as lines of text: the one place where the tests touch the API.

#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use loquat_core::{Assembler, Delta, Ending, Error, ErrorKind, Response};
use loquat_provider::{Advance, DecodeLimits, Decoder, Format, Head};

pub(crate) const SSE: &str = "text/event-stream";
pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// What came out of a body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// One line a delta, neighbours of the same running text joined.
    pub(crate) lines: Vec<String>,
    pub(crate) ending: Ending,
    pub(crate) response: Response,
    pub(crate) deltas: usize,
    pub(crate) raw: Vec<String>,
}

pub(crate) fn decoder(format: &dyn Format, content_type: &str, limits: DecodeLimits) -> Decoder {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::try_from(content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    format.decoder(&Head { status: 200, headers: &headers }, limits)
}

/// Decodes a body that comes in these chunks and then ends.
pub(crate) fn decode<'a>(
    format: &dyn Format,
    content_type: &str,
    chunks: impl IntoIterator<Item = &'a [u8]>,
    cause: Option<&Error>,
) -> Outcome {
    run(decoder(format, content_type, DecodeLimits::default()), chunks, cause)
}

pub(crate) fn run<'a>(
    mut decoder: Decoder,
    chunks: impl IntoIterator<Item = &'a [u8]>,
    cause: Option<&Error>,
) -> Outcome {
    let mut chunks = chunks.into_iter();
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut assembler = Assembler::new(usize::MAX);
    let (mut deltas, mut raw) = (0, Vec::new());
    let ending = loop {
        match decoder.advance() {
            Advance::Delta => {
                deltas += 1;
                let delta = decoder.current();
                assembler.push(delta).expect("the decoder numbers calls in order");
                if let Delta::Raw { event, .. } = delta {
                    raw.push(event.to_owned());
                }
                let (lead, text) = line(delta);
                match lines.last_mut() {
                    // A whole answer says at once what a stream says in pieces.
                    Some((last, whole)) if *last == lead && is_running(delta) => whole.push_str(&text),
                    _ => lines.push((lead, text)),
                }
            }
            Advance::NeedBytes => match chunks.next() {
                Some(chunk) => decoder.push(Bytes::copy_from_slice(chunk)),
                None => decoder.end(cause.cloned()),
            },
            Advance::End(ending) => break ending,
        }
    };
    assert_eq!(decoder.advance(), Advance::End(ending.clone()), "an ending is final");
    assembler.push(Delta::End(&ending)).expect("an ending adds nothing");
    Outcome {
        lines: lines.into_iter().map(|(lead, text)| lead + &text).collect(),
        ending,
        response: assembler.into_response(),
        deltas,
        raw,
    }
}

/// How a body ends that comes at once and then stops; what it says is not looked at.
pub(crate) fn end_of_body(mut decoder: Decoder, body: Bytes) -> Ending {
    decoder.push(body);
    loop {
        match decoder.advance() {
            Advance::Delta => {}
            Advance::NeedBytes => decoder.end(None),
            Advance::End(ending) => return ending,
        }
    }
}

fn is_running(delta: Delta<'_>) -> bool {
    matches!(
        delta,
        Delta::Text { .. } | Delta::Reasoning { .. } | Delta::Refusal { .. } | Delta::ToolArguments { .. }
    )
}

fn line(delta: Delta<'_>) -> (String, String) {
    let numbered = |name: &str, choice: u32| {
        if choice == 0 { format!("{name}: ") } else { format!("{name} {choice}: ") }
    };
    match delta {
        Delta::Start { id, model } => ("start: ".into(), format!("{id} {model}")),
        Delta::Text { choice, text } => (numbered("text", choice), text.into()),
        Delta::Reasoning { choice, text } => (numbered("reasoning", choice), text.into()),
        Delta::ReasoningSignature { choice, signature, redacted, .. } => {
            (numbered(if redacted { "redacted" } else { "signature" }, choice), signature.into())
        }
        Delta::Refusal { choice, text } => (numbered("refusal", choice), text.into()),
        Delta::ToolCall { choice, call, id, name } => {
            (numbered("call", choice), format!("{call} {id} {name}"))
        }
        Delta::ToolArguments { choice, call, fragment } => {
            (numbered(&format!("arguments {call}"), choice), fragment.into())
        }
        Delta::ToolSignature { choice, call, signature } => {
            (numbered(&format!("seal {call}"), choice), signature.into())
        }
        Delta::Media { choice, media_type, data } => {
            (numbered("media", choice), format!("{media_type} {data:?}"))
        }
        Delta::Opaque { choice, format, json } => (numbered("opaque", choice), format!("{format} {json}")),
        Delta::Detail { choice, name, json } => (numbered("detail", choice), format!("{name} {json}")),
        Delta::ChoiceEnd { choice, reason } => (numbered("choice end", choice), reason.to_string()),
        Delta::Raw { event, data } => ("raw: ".into(), format!("{event} {data}")),
        other => ("other: ".into(), format!("{other:?}")),
    }
}

/// The ending as a line of text.
pub(crate) fn ending(ending: &Ending) -> String {
    match ending {
        Ending::Finished { reason, usage } => {
            let mut line = format!("finished: {reason}");
            let counts = [
                ("in", usage.input_tokens),
                ("out", usage.output_tokens),
                ("read", usage.cache_read_tokens),
                ("written", usage.cache_write_tokens),
                ("thought", usage.reasoning_tokens),
            ];
            for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
                line.push_str(&format!(" {name}={count}"));
            }
            line
        }
        Ending::Truncated { cause: None } => "truncated".into(),
        Ending::Truncated { cause: Some(cause) } => format!("truncated: {:?}", cause.kind()),
        Ending::Failed(error) => format!("failed: {:?} {}", error.kind(), error.message()),
    }
}

/// A body and what is to come of it, whole, at every two-way split, and byte by byte.
pub(crate) fn check(format: &dyn Format, content_type: &str, body: &str, expected: &[&str]) {
    let body = body.as_bytes();
    let whole = decode(format, content_type, [body], None);
    let mut lines = whole.lines.clone();
    lines.push(ending(&whole.ending));
    assert_eq!(lines, expected, "whole: {}", String::from_utf8_lossy(body));
    for split in 0..=body.len() {
        let (front, back) = body.split_at(split);
        let parts = decode(format, content_type, [front, back], None);
        assert_eq!(parts, whole, "split at {split}: {}", String::from_utf8_lossy(body));
    }
    let bytewise = decode(format, content_type, body.chunks(1), None);
    assert_eq!(bytewise, whole, "byte by byte: {}", String::from_utf8_lossy(body));
}

/// For fuzzing: the first bytes choose the content type and the split, the rest is the body. No panic, one ending, the
/// same for every split, bounded output, and no `Finished` out of nothing.
pub(crate) fn check_any(format: &dyn Format, input: &[u8]) {
    let Some((head, body)) = input.split_at_checked(4) else { return };
    let content_type = [SSE, JSON, NDJSON, ""][usize::from(head[0] % 4)];
    let cause = (head[0] & 4 != 0).then(|| Error::new(ErrorKind::Connection, "lost"));
    let limits = DecodeLimits::default().with_max_event_bytes(2048).with_max_tool_calls(8);
    let fresh = || decoder(format, content_type, limits.with_max_answer_bytes(4096));
    let whole = run(fresh(), [body], cause.as_ref());

    let mut rest = body;
    let mut chunks = Vec::new();
    for size in head[1..].iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, tail) = rest.split_at(usize::from(*size % 64 + 1).min(rest.len()));
        chunks.push(chunk);
        rest = tail;
    }
    assert_eq!(run(fresh(), chunks, cause.as_ref()), whole, "a split changes the answer");

    let said: usize = whole.lines.iter().map(String::len).sum();
    // Every delta is a line at most, with a lead and a made-up id; its text counts against the limit.
    assert!(said <= 4096 + whole.deltas * 64, "{said} bytes in {} deltas", whole.deltas);
    assert!(!whole.ending.is_finished() || whole.deltas > 0, "finished out of nothing");
}
