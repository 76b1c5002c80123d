//! Recorded answers of real providers: each decodes to a truthful end, equal to an independent reading, whole, split at
//! random, and cut after every event. Reads `$LOQUAT_DATA/transcripts`; the recordings are not part of the project.

#![allow(clippy::print_stdout, reason = "the summary is what the test is run for")]

mod reading;
mod support;

use std::{collections::BTreeMap, env, fs, path::Path};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use loquat_core::{Ending, Part};
use loquat_provider::{
    ANTHROPIC_MESSAGES, BEDROCK_CONVERSE, COHERE_CHAT, DASHSCOPE_CUMULATIVE, DecodeLimits, Decoder, Format,
    GEMINI, GEMINI_INTERACTIONS, Head, OLLAMA_CHAT, OLLAMA_GENERATE, OPENAI_CHAT, OPENAI_COMPLETIONS,
    OPENAI_RESPONSES,
};
use reading::{End, Reading};
use serde_json::Value;
use support::Outcome;

/// Recordings that end otherwise than `Finished`, and why. One that finishes after all fails the test; one that is not in this
/// list and ends so by the independent reading too is printed.
const NOT_FINISHED: &[(&str, End, &str)] = &[
    (
        "dashscope.dashscope-native.erda.resp-example.06e21b.sse",
        End::Truncated,
        "an excerpt: the first two events, without a reason",
    ),
    (
        "writer.openai-completions.otelllm.test-writer-async-streaming-completions-legacy.c1c063.sse",
        End::Truncated,
        "pieces of text, and neither a reason nor a terminal event",
    ),
    (
        "openai.openai-responses.vercel.openai-error-1.14cd02.json",
        End::Failed,
        "a response that failed, under status 200",
    ),
    (
        "openai.openai-responses.vercel.parallel-tool-call-wrapper-1-chunks.3937cd.chunks.jsonl",
        End::Failed,
        "its first event lacks a bracket",
    ),
    (
        "openai.openai-responses.vercel.openai-error-1-chunks.9046a4.chunks.jsonl",
        End::Failed,
        "an error event, and a response that failed",
    ),
    (
        "gemini.gemini-generate.firebase.streaming-failure-image-rejected.b01105.sse",
        End::Failed,
        "an error's body in the place of a stream",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-api-key.f818d7.sse",
        End::Failed,
        "an error's body in the place of a stream",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-http-error.f478bb.sse",
        End::Failed,
        "an error's body in the place of a stream",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-unknown-model.7b014e.sse",
        End::Failed,
        "an error's body in the place of a stream",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-error-mid-stream.40958d.sse",
        End::Failed,
        "an error's body after two events",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-empty-content.a53aad.sse",
        End::Failed,
        "a candidate without content or reason",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-malformed-content.32b109.sse",
        End::Failed,
        "a candidate without content or reason",
    ),
    (
        "vertex.gemini-generate.firebase.streaming-failure-prompt-blocked-safety.42f092.sse",
        End::Failed,
        "the prompt was refused",
    ),
    (
        "gpustack.openai-chat.rubyllm.chat-with-extended-thinking-gpustack-qwen3-strea.0cc39f.sse",
        End::Failed,
        "breaks off with an `error:` line in the place of an event",
    ),
    (
        "groq.openai-chat.pyai.test-tool-use-failed-error-streaming-with-text.952e74.sse",
        End::Failed,
        "an error event after the text",
    ),
    (
        "openrouter.openai-chat.pyai.test-openrouter-stream-error.baafd4.sse",
        End::Failed,
        "an error event after a finish reason",
    ),
    (
        "pydantic-gateway.openai-chat.pyai.test-invalid-response.14ef5d.json",
        End::Failed,
        "JSON under status 200 that is no answer at all",
    ),
];

/// Whether such an event is known to come out raw: news of what a server's own tools do meanwhile, and one echo of a test server.
/// Any other is printed as one to look at. It fails nothing by itself: what it should have told and did not, the independent
/// reading misses.
fn may_be_raw(api: &str, event: &str) -> bool {
    match api {
        "openai-chat" => event == "message",
        "openai-responses" => event.contains("_call.") || event.starts_with("response.mcp_list_tools."),
        _ => false,
    }
}

/// A line of the manifest.
struct Recording {
    file: String,
    provider: String,
    api: String,
    kind: String,
    format: String,
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

#[derive(Default)]
struct Tally {
    recordings: usize,
    finished: usize,
    truncated: usize,
    failed: usize,
    refused: usize,
    cuts: usize,
    unknown: usize,
    /// Of all of these, those that are not as they should be.
    wrong: usize,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        let Self { recordings, finished, truncated, failed, refused, cuts, unknown, wrong } = other;
        self.recordings += recordings;
        self.finished += finished;
        self.truncated += truncated;
        self.failed += failed;
        self.refused += refused;
        self.cuts += cuts;
        self.unknown += unknown;
        self.wrong += wrong;
    }

    fn passed_and_failed(&self) -> String {
        format!("passed={} failed={} skipped=0", self.recordings - self.wrong, self.wrong)
    }
}

#[test]
fn recorded_answers_end_truthfully() {
    let Some(data) = env::var_os("LOQUAT_DATA") else {
        println!("skipped: LOQUAT_DATA is not set");
        return;
    };
    let folder = Path::new(&data).join("transcripts");
    let recordings = recordings(&folder);
    assert!(!recordings.is_empty(), "no recordings in {}", folder.display());

    let mut tallies: BTreeMap<(String, String), Tally> = BTreeMap::new();
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for recording in &recordings {
        let tally = tallies.entry((recording.api.clone(), recording.provider.clone())).or_default();
        tally.recordings += 1;
        let checked = if recording.kind == "error" {
            tally.refused += 1;
            check_refusal(recording)
        } else {
            check_answer(recording, tally, &mut unknown)
        };
        if let Err(why) = checked {
            tally.wrong += 1;
            failures.push(format!("{}: {why}", recording.file));
        }
    }
    println!(
        "{:<20} {:<18} {:>5} {:>8} {:>9} {:>6} {:>7} {:>6} {:>7}",
        "format", "provider", "files", "finished", "truncated", "failed", "refused", "cuts", "unknown"
    );
    for ((api, provider), tally) in &tallies {
        println!(
            "{api:<20} {provider:<18} {:>5} {:>8} {:>9} {:>6} {:>7} {:>6} {:>7}",
            tally.recordings,
            tally.finished,
            tally.truncated,
            tally.failed,
            tally.refused,
            tally.cuts,
            tally.unknown
        );
    }
    for (event, count) in &unknown {
        println!("raw: {count:>5} {event}");
    }
    if cfg!(debug_assertions) {
        println!(
            "cuts: a sample of each long stream's events in this debug build; all of them with --release"
        );
    }
    for (file, end, why) in NOT_FINISHED {
        println!("not finished, rightly: {end:?} {file}: {why}");
    }
    for failure in &failures {
        println!("FAILED {failure}");
    }
    let (mut formats, mut all) = (BTreeMap::<&str, Tally>::new(), Tally::default());
    for ((api, _), tally) in &tallies {
        formats.entry(api).or_default().add(tally);
        all.add(tally);
    }
    for (api, tally) in &formats {
        println!("conformance: transcripts/{api} {} unknown={}", tally.passed_and_failed(), tally.unknown);
    }
    println!(
        "conformance: transcripts {} unknown={} cuts={}",
        all.passed_and_failed(),
        all.unknown,
        all.cuts
    );
    assert!(failures.is_empty(), "{} recordings failed", failures.len());
}

fn recordings(folder: &Path) -> Vec<Recording> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let text = |name: &str| String::from_utf8(read(name)).expect("the lists are UTF-8");
    let mut headers: BTreeMap<String, HeaderMap> = BTreeMap::new();
    for line in text("HEADERS.jsonl").lines() {
        let entry: Value = serde_json::from_str(line).expect("HEADERS.jsonl holds JSON");
        let mut map = HeaderMap::new();
        for (name, value) in entry["headers"].as_object().into_iter().flatten() {
            let name = HeaderName::try_from(name.as_str());
            let value = HeaderValue::try_from(value.as_str().unwrap_or_default());
            if let (Ok(name), Ok(value)) = (name, value) {
                map.insert(name, value);
            }
        }
        headers.insert(entry["file"].as_str().unwrap_or_default().to_owned(), map);
    }
    let manifest = text("MANIFEST.tsv");
    let mut lines = manifest.lines();
    let names: Vec<&str> = lines.next().expect("the manifest has a head").split('\t').collect();
    let column = |name: &str| names.iter().position(|known| *known == name).expect("a known column");
    let [file, provider, api, kind, format, status] =
        ["file", "provider", "api", "kind", "format", "status"].map(column);
    lines
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|cells| {
            let mut headers = headers.get(cells[file]).cloned().unwrap_or_default();
            let body = read(cells[file]);
            let body = match cells[format] {
                "lines" => reframed(&body),
                "http+sse" => unwrapped(&body, &mut headers),
                _ => body,
            };
            Recording {
                file: cells[file].to_owned(),
                provider: cells[provider].to_owned(),
                api: cells[api].to_owned(),
                kind: cells[kind].to_owned(),
                format: cells[format].to_owned(),
                status: cells[status].parse().unwrap_or(200),
                headers,
                body,
            }
        })
        .collect()
}

/// Data lines whose framing was stripped, framed again.
fn reframed(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("data: {line}\n\n"))
        .collect::<String>()
        .into()
}

/// A raw HTTP response in chunked framing, without both.
fn unwrapped(body: &[u8], headers: &mut HeaderMap) -> Vec<u8> {
    let end = body.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    let mut rest = &body[end + 4..];
    let mut out = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n").expect("a chunk's size");
        let size =
            std::str::from_utf8(&rest[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("a hexadecimal size");
        if size == 0 {
            return out;
        }
        out.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
}

fn format_of(api: &str) -> &'static dyn Format {
    match api {
        "openai-chat" => &OPENAI_CHAT,
        "openai-responses" => &OPENAI_RESPONSES,
        "openai-completions" => &OPENAI_COMPLETIONS,
        "anthropic-messages" => &ANTHROPIC_MESSAGES,
        "gemini-generate" => &GEMINI,
        "gemini-interactions" => &GEMINI_INTERACTIONS,
        "ollama-chat" => &OLLAMA_CHAT,
        "ollama-generate" => &OLLAMA_GENERATE,
        "cohere-chat" => &COHERE_CHAT,
        // The recorded requests left the format's own default.
        "dashscope-native" => &DASHSCOPE_CUMULATIVE,
        "bedrock" => &BEDROCK_CONVERSE,
        other => panic!("recordings of {other}, which no format here reads"),
    }
}

fn decoded<'a>(recording: &Recording, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    support::run(decoder(recording), chunks, None)
}

fn decoder(recording: &Recording) -> Decoder {
    let head = Head { status: recording.status, headers: &recording.headers };
    format_of(&recording.api).decoder(&head, DecodeLimits::default())
}

/// The body cut after each event: pieces that add up to it.
fn pieces(recording: &Recording) -> Vec<&[u8]> {
    let body = &recording.body[..];
    if recording.format == "json" {
        return vec![body];
    }
    let mut pieces = Vec::new();
    if recording.format == "aws" {
        let mut rest = body;
        while let Some(length) = rest.first_chunk::<4>() {
            let (frame, tail) = rest.split_at(u32::from_be_bytes(*length) as usize);
            pieces.push(frame);
            rest = tail;
        }
        return pieces;
    }
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    let (mut start, mut end) = (0, 0);
    for line in lines {
        end += line.len();
        let blank = line.iter().all(|byte| b"\r\n".contains(byte));
        if blank || recording.format == "ndjson" {
            pieces.push(&body[start..end]);
            start = end;
        }
    }
    if start < body.len() {
        pieces.push(&body[start..]);
    }
    pieces
}

fn read_piece(reading: &mut Reading, recording: &Recording, piece: &[u8]) {
    let text = String::from_utf8_lossy(piece);
    match recording.format.as_str() {
        "aws" => {
            let headers = u32::from_be_bytes(*piece[4..].first_chunk().expect("a prelude")) as usize;
            let (headers, payload) = piece[12..piece.len() - 4].split_at(headers);
            let headers = String::from_utf8_lossy(headers);
            let (_, name) = headers.split_once(":event-type\u{7}\0").expect("a frame with an event");
            let length = usize::from(name.as_bytes()[0]);
            reading.take(&recording.api, &name[1..=length], &String::from_utf8_lossy(payload), false);
        }
        "json" => reading.take(&recording.api, "message", &text, true),
        "ndjson" => {
            if !text.trim().is_empty() {
                reading.take(&recording.api, "message", &text, false);
            }
        }
        _ => {
            let (mut name, mut data, mut stray) = ("message", Vec::new(), String::new());
            for line in text.lines() {
                if let Some(value) = line.strip_prefix("data:") {
                    data.push(value.strip_prefix(' ').unwrap_or(value));
                } else if let Some(value) = line.strip_prefix("event:") {
                    name = value.trim();
                } else {
                    stray.push_str(line);
                    stray.push('\n');
                }
            }
            reading.stray(&stray);
            if !data.is_empty() {
                reading.take(&recording.api, name, &data.join("\n"), false);
            }
        }
    }
}

fn end_of(ending: &Ending) -> End {
    match ending {
        Ending::Finished { .. } => End::Finished,
        Ending::Truncated { .. } => End::Truncated,
        Ending::Failed(_) => End::Failed,
    }
}

fn check_answer(
    recording: &Recording,
    tally: &mut Tally,
    unknown: &mut BTreeMap<String, usize>,
) -> Result<(), String> {
    let pieces = pieces(recording);
    let mut reading = Reading::default();
    pieces.iter().for_each(|piece| read_piece(&mut reading, recording, piece));
    let whole = decoded(recording, [&recording.body[..]]);
    match end_of(&whole.ending) {
        End::Finished => tally.finished += 1,
        End::Truncated => tally.truncated += 1,
        End::Failed => tally.failed += 1,
    }
    for event in &whole.raw {
        tally.unknown += 1;
        let listed = if may_be_raw(&recording.api, event) { "" } else { ", NOT LISTED" };
        *unknown.entry(format!("{} {event}{listed}", recording.api)).or_default() += 1;
    }
    agree(&reading, &whole)?;

    let ended = end_of(&whole.ending);
    match NOT_FINISHED.iter().find(|(file, ..)| *file == recording.file) {
        Some((_, expected, _)) if ended != *expected => {
            return Err(format!("ended {}, listed as {expected:?}", support::ending(&whole.ending)));
        }
        // The independent reading agrees; a recording that is new here is listed once somebody has looked at it.
        None if ended != End::Finished => {
            println!("not finished, not listed: {} {}", recording.file, support::ending(&whole.ending));
        }
        _ => {}
    }

    let mut random = Random(0x1090_0a75 ^ recording.body.len() as u64);
    for round in 0..3 {
        let mut chunks = Vec::new();
        let mut rest = &recording.body[..];
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at(random.below(300).min(rest.len() - 1) + 1);
            chunks.push(chunk);
            rest = tail;
        }
        let split = decoded(recording, chunks);
        if split != whole {
            return Err(format!("round {round} of random splits differs"));
        }
    }

    let mut reading = Reading::default();
    let mut end = 0;
    let body = Bytes::copy_from_slice(&recording.body);
    for (number, piece) in pieces.iter().enumerate() {
        read_piece(&mut reading, recording, piece);
        end += piece.len();
        if !is_cut_after(number, pieces.len()) {
            continue;
        }
        let cut = support::end_of_body(decoder(recording), body.slice(..end));
        tally.cuts += 1;
        if end_of(&cut) != reading.end() {
            return Err(format!(
                "cut after event {number} of {}: {}, expected {:?}",
                pieces.len(),
                support::ending(&cut),
                reading.end()
            ));
        }
    }
    Ok(())
}

/// Whether to cut there. All cuts of a stream cost time by the square of its length, which a debug build has for short
/// streams only: of a long one it takes the beginning, the end and some between.
fn is_cut_after(event: usize, events: usize) -> bool {
    !cfg!(debug_assertions) || event < 32 || events - event <= 32 || event.is_multiple_of(events.div_ceil(64))
}

/// The decoder's outcome against the independent reading.
fn agree(reading: &Reading, outcome: &Outcome) -> Result<(), String> {
    let differs = |what: &str, ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
        Err(format!("{what}: decoded {ours:?}, read {theirs:?}"))
    };
    let ended = end_of(&outcome.ending);
    if ended != reading.end() {
        return differs("ending", &support::ending(&outcome.ending), &reading.end());
    }
    let response = &outcome.response;
    if response.text() != reading.text {
        return differs("text", &response.text(), &reading.text);
    }
    let parts = response.choices.first().map(|choice| choice.message.parts.as_slice()).unwrap_or_default();
    let reasoning: String = parts
        .iter()
        .filter_map(|part| match part {
            Part::Reasoning(thoughts) => Some(thoughts.text.as_str()),
            _ => None,
        })
        .collect();
    if reasoning != reading.reasoning {
        return differs("reasoning", &reasoning, &reading.reasoning);
    }
    let calls: Vec<_> = response
        .tool_calls()
        .map(|call| (call.id.clone(), call.name.clone(), normal(&call.arguments)))
        .collect();
    let read: Vec<_> =
        reading.calls.iter().map(|(id, name, json)| (id.clone(), name.clone(), normal(json))).collect();
    let same = |(ours, theirs): (&(String, String, String), &(String, String, String))| {
        (theirs.0.is_empty() || ours.0 == theirs.0) && ours.1 == theirs.1 && ours.2 == theirs.2
    };
    if calls.len() != read.len() || !calls.iter().zip(&read).all(same) {
        return differs("tool calls", &calls, &read);
    }
    if let Ending::Finished { reason, usage } = &outcome.ending {
        if reason.as_str() != reading.reason.as_deref().unwrap_or_default() {
            return differs("finish reason", reason, &reading.reason);
        }
        let ours = [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
        ];
        if ours != reading.usage {
            return differs("usage", &ours, &reading.usage);
        }
    }
    Ok(())
}

/// JSON without its spaces, where it is JSON.
fn normal(json: &str) -> String {
    serde_json::from_str::<Value>(json).map_or_else(|_| json.to_owned(), |value| value.to_string())
}

/// A response that is not 2xx: the status, the provider's own words and its code come through.
fn check_refusal(recording: &Recording) -> Result<(), String> {
    let head = Head { status: recording.status, headers: &recording.headers };
    let error = format_of(&recording.api).error(&head, &recording.body);
    let body: Value = serde_json::from_slice(&recording.body).unwrap_or(Value::Null);
    let body = if body.is_array() { &body[0] } else { &body };
    let said = [
        &body["error"]["message"],
        &body["error"],
        &body["message"],
        &body["detail"],
        &body["detail"][0]["msg"],
    ];
    if let Some(said) = said.iter().find_map(|said| said.as_str())
        && !error.message().starts_with(said.trim())
    {
        return Err(format!("message {:?}, said {said:?}", error.message()));
    }
    if error.status() != Some(recording.status) || error.raw_body() != Some(&recording.body[..]) {
        return Err("the status or the body was lost".to_owned());
    }
    use loquat_core::ErrorKind as K;
    let kind = error.kind();
    let fits = match recording.status {
        400 | 422 => matches!(
            kind,
            K::InvalidRequest
                | K::ContextLength
                | K::ContentFiltered
                | K::NotFound
                | K::Authentication
                | K::Unsupported
        ),
        401 => kind == K::Authentication,
        403 => kind == K::Permission,
        404 => kind == K::NotFound,
        429 => matches!(kind, K::RateLimited | K::QuotaExceeded),
        _ => true,
    };
    if fits { Ok(()) } else { Err(format!("kind {kind:?} for status {}", recording.status)) }
}

/// xorshift64*: seeded, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap_or(0) % bound
    }
}
