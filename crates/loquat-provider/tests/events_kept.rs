//! Events that are told as they came, besides what they say: whatever a provider says, a caller can read it.

mod support;

use loquat_core::ErrorKind;
use loquat_provider::{
    ANTHROPIC_MESSAGES, DecodeLimits, Format, GEMINI, OLLAMA_CHAT, OPENAI_CHAT, OPENAI_RESPONSES,
};
use support::{JSON, NDJSON, SSE};

const CHAT: &[&str] = &[
    r#"{"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"}}],"provider":"P"}"#,
    r#"{"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"b"}}],"provider":"P"}"#,
    r#"{"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"c"}}],"provider":"P"}"#,
    r#"{"id":"1","model":"m","choices":[{"index":0,"delta":{"executed_tools":[{"type":"search"}]},"finish_reason":"stop"}]}"#,
    r#"{"id":"1","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":3,"cost":0.5}}"#,
];

const MESSAGES: &[&str] = &[
    r#"{"type":"message_start","message":{"id":"m1","model":"c","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}"#,
    r#"{"type":"ping"}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"c"}}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","container":{"id":"c1"}},"usage":{"output_tokens":2}}"#,
    r#"{"type":"message_stop"}"#,
];

const RESPONSES: &[&str] = &[
    r#"{"type":"response.created","response":{"id":"r","model":"m"}}"#,
    r#"{"type":"response.new","n":1}"#,
    r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a"}"#,
    r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"b"}"#,
    r#"{"type":"response.completed","response":{"id":"r","status":"completed","output":[],"tools":[]}}"#,
];

const LINES: &[&str] = &[
    r#"{"model":"m","message":{"content":"a"},"done":false}"#,
    r#"{"model":"m","message":{"content":"b"},"done":false}"#,
    r#"{"model":"m","message":{"content":""},"done":true,"done_reason":"stop","total_duration":7}"#,
];

const PIECES: &[&str] = &[
    r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"index":0}],"responseId":"r"}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"index":0,"finishReason":"STOP","finishMessage":"so"}]}"#,
];

fn check(format: &dyn Format, content_type: &str, body: &str, events: &[&str]) {
    let decode = |keeps: bool, chunks: &[&[u8]]| {
        let decoder = support::decoder(format, content_type, DecodeLimits::default().with_events_kept(keeps));
        support::run(decoder, chunks.iter().copied(), None)
    };
    let plain = decode(false, &[body.as_bytes()]);
    let kept = decode(true, &[body.as_bytes()]);
    let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    assert_eq!(decode(true, &bytes), kept, "byte by byte: {body}");
    assert_eq!(kept.ending, plain.ending, "{body}");
    assert_eq!(kept.response.text(), plain.response.text(), "{body}");
    let raw: Vec<&str> = kept.response.details("raw").map(|json| json.as_str()).collect();
    assert_eq!(raw, events, "{body}");
    assert_eq!(plain.response.details("raw").count(), 0, "{body}");
}

#[test]
fn every_event_and_every_whole_answer() {
    let stream =
        |events: &[&str]| -> String { events.iter().map(|event| format!("data: {event}\n\n")).collect() };
    for (format, events) in [
        (&OPENAI_CHAT as &dyn Format, CHAT),
        (&ANTHROPIC_MESSAGES, MESSAGES),
        (&OPENAI_RESPONSES, RESPONSES),
        (&GEMINI, PIECES),
    ] {
        check(format, SSE, &stream(events), events);
        check(format, SSE, &(stream(events) + "data: [DONE]\n\n"), events);
    }
    check(&OLLAMA_CHAT, NDJSON, &LINES.join("\n"), LINES);
    check(&GEMINI, JSON, &format!("[{}]", PIECES.join(",\n")), PIECES);
    let whole = r#"{"id":"1","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"cost":0.5}}"#;
    check(&OPENAI_CHAT, JSON, &format!("{whole}\n"), &[whole]);
    // An error too, but nothing that is no JSON.
    let error = r#"{"error":{"message":"boom","hint":7}}"#;
    check(&OPENAI_CHAT, SSE, &stream(&[CHAT[0], error]), &[CHAT[0], error]);
    check(&OPENAI_CHAT, SSE, &(stream(&[CHAT[0]]) + "event: error\ndata: boom\n\n"), &[CHAT[0]]);
}

/// The copies count as content.
#[test]
fn they_are_bounded() {
    let limits = DecodeLimits::default().with_events_kept(true).with_max_answer_bytes(1024);
    let decoder = support::decoder(&OPENAI_CHAT, SSE, limits);
    let body = format!("data: {}\n\n", CHAT[0]).repeat(50);
    let ending = support::run(decoder, [body.as_bytes()], None).ending;
    let loquat_core::Ending::Failed(error) = ending else { panic!("{ending:?}") };
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}
