//! Ollama's chat: bytes in, deltas out, as tables.

mod support;

use loquat_provider::OLLAMA_CHAT;
use support::{JSON, NDJSON};

fn stream(lines: &[&str], expected: &[&str]) {
    support::check(&OLLAMA_CHAT, NDJSON, &(lines.join("\n") + "\n"), expected);
    // The last line needs no end.
    support::check(&OLLAMA_CHAT, NDJSON, &lines.join("\r\n"), expected);
}

fn whole(body: &str, expected: &[&str]) {
    support::check(&OLLAMA_CHAT, JSON, body, expected);
}

const HELLO: &str =
    r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":"hello"},"done":false}"#;
const DONE: &str = r#"{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":4}"#;

#[test]
fn text_thinking_and_usage() {
    stream(
        &[r#"{"model":"m","message":{"content":"","thinking":"hm"},"done":false}"#, HELLO, DONE],
        &["start:  m", "reasoning: hm", "text: hello", "choice end: stop", "finished: stop in=3 out=4"],
    );
}

#[test]
fn the_three_endings() {
    stream(&[HELLO], &["start:  m", "text: hello", "truncated"]);
    stream(&[HELLO, r#"{"model":"m","done":true}"#], &["start:  m", "text: hello", "finished: "]);
    stream(
        &[HELLO, r#"{"error":"out of memory"}"#],
        &["start:  m", "text: hello", "failed: Server out of memory"],
    );
    // A cut line is a cut answer; a whole one that is no JSON is none.
    support::check(
        &OLLAMA_CHAT,
        NDJSON,
        &format!("{HELLO}\n{{\"message\":{{\"content\":\"cu"),
        &["start:  m", "text: hello", "truncated"],
    );
    support::check(
        &OLLAMA_CHAT,
        NDJSON,
        &format!("{HELLO}\nnonsense\n{DONE}\n"),
        &[
            "start:  m",
            "text: hello",
            "failed: Protocol an event is not valid JSON at its byte 1 (1 events before it)",
        ],
    );
}

#[test]
fn tool_calls_come_whole() {
    let calls = r#"{"model":"m","message":{"content":"","tool_calls":[{"id":"a","function":{"index":0,"name":"f","arguments":{"x": 1}}},{"function":{"index":0,"name":"f","arguments":{}}}]},"done":false}"#;
    let more =
        r#"{"model":"m","message":{"content":"","tool_calls":[{"function":{"name":"g"}}]},"done":false}"#;
    stream(
        &[calls, more, DONE],
        &[
            "start:  m",
            "call: 0 a f",
            "arguments 0: {\"x\": 1}",
            "call: 1 call_1 f",
            "arguments 1: {}",
            "call: 2 call_2 g",
            "arguments 2: {}",
            "choice end: tool_calls",
            "finished: tool_calls in=3 out=4",
        ],
    );
}

#[test]
fn names_made_up_for_calls_differ_from_answer_to_answer() {
    let call = |at: &str| {
        format!(
            r#"{{"model":"m","created_at":"{at}","message":{{"tool_calls":[{{"function":{{"name":"f"}}}}]}},"done":true}}"#
        )
    };
    for (at, id) in [
        ("2026-01-02T03:04:05.678Z", "call-20260102T030405678Z-0"),
        (&"9".repeat(200), &format!("call-{}-0", "9".repeat(40))),
    ] {
        stream(&[&call(at)], &["start:  m", &format!("call: 0 {id} f"), "arguments 0: {}", "finished: "]);
    }
}

#[test]
fn whole_answers_say_the_same() {
    whole(
        r#"{"model":"m","message":{"content":"hello","thinking":"hm"},"done":true,"done_reason":"length","prompt_eval_count":3,"eval_count":4}"#,
        &["start:  m", "reasoning: hm", "text: hello", "choice end: length", "finished: length in=3 out=4"],
    );
    // Lines under the content type of a document.
    whole(
        &format!("{HELLO}\n{DONE}\n"),
        &["start:  m", "text: hello", "choice end: stop", "finished: stop in=3 out=4"],
    );
}

/// They are asked for by the encoder.
#[test]
fn probabilities_and_pictures_are_told() {
    stream(
        &[
            r#"{"model":"m","message":{"content":"a"},"done":false,"logprobs":[{"token":"a","logprob":-0.5}]}"#,
            r#"{"model":"m","message":{"content":"b","images":["iVBORw0K"]},"done":false,"logprobs":[{"token":"b","logprob":-0.25}]}"#,
            DONE,
        ],
        &[
            "start:  m",
            "text: a",
            r#"detail: logprobs [{"token":"a","logprob":-0.5}]"#,
            "text: b",
            "media: image/png [137, 80, 78, 71, 13, 10]",
            r#"detail: logprobs [{"token":"b","logprob":-0.25}]"#,
            "choice end: stop",
            "finished: stop in=3 out=4",
        ],
    );
}
