//! Anthropic Messages: bytes in, deltas out, as tables.

mod support;

use loquat_provider::ANTHROPIC_MESSAGES;
use support::{JSON, SSE};

fn stream(events: &[&str], expected: &[&str]) {
    let body: String = events
        .iter()
        .map(|data| {
            let kind = data.split('"').nth(3).unwrap_or_default();
            format!("event: {kind}\ndata: {data}\n\n")
        })
        .collect();
    support::check(&ANTHROPIC_MESSAGES, SSE, &body, expected);
}

fn whole(body: &str, expected: &[&str]) {
    support::check(&ANTHROPIC_MESSAGES, JSON, body, expected);
}

const START: &str = r#"{"type":"message_start","message":{"id":"m1","model":"c","content":[],"stop_reason":null,"usage":{"input_tokens":3,"cache_read_input_tokens":4,"cache_creation_input_tokens":5,"output_tokens":1}}}"#;
const NO_ANSWER: &str =
    "failed: Protocol the body ended without an answer in it (content type \"text/event-stream\")";
const STOP: &str = r#"{"type":"message_stop"}"#;
const TEXT: &str = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
const HELLO: &str =
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello"}}"#;
const END_TURN: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}}"#;

#[test]
fn text_and_usage() {
    let ping = r#"{"type":"ping"}"#;
    let block_stop = r#"{"type":"content_block_stop","index":0}"#;
    stream(
        &[START, ping, TEXT, HELLO, block_stop, END_TURN, STOP],
        &["start: m1 c", "text: hello", "choice end: stop", "finished: stop in=12 out=9 read=4 written=5"],
    );
}

#[test]
fn the_three_endings() {
    stream(
        &[START, TEXT, HELLO, END_TURN],
        &["start: m1 c", "text: hello", "choice end: stop", "finished: stop in=12 out=9 read=4 written=5"],
    );
    stream(
        &[START, TEXT, HELLO, STOP],
        &["start: m1 c", "text: hello", "finished:  in=12 out=1 read=4 written=5"],
    );
    stream(&[START, TEXT, HELLO], &["start: m1 c", "text: hello", "truncated"]);
    stream(
        &[START, HELLO, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#],
        &["start: m1 c", "text: hello", "failed: Overloaded Overloaded"],
    );
    stream(&[r#"{"type":"ping"}"#], &[NO_ANSWER]);
}

/// A server that translates from another format ends as that one does.
/// Found by fuzzing: a start whose message nobody can read, and an end right after it.
#[test]
fn a_start_of_nothing_is_no_answer() {
    let message = r#"{"type":"message_start","meessage":{"id":"m"}}"#;
    stream(&[message, STOP], &[NO_ANSWER]);
}

#[test]
fn a_terminal_word_of_another_format() {
    support::check(
        &ANTHROPIC_MESSAGES,
        SSE,
        &[START, HELLO, END_TURN, "[DONE]"].map(|data| format!("data: {data}\n\n")).concat(),
        &["start: m1 c", "text: hello", "choice end: stop", "finished: stop in=12 out=9 read=4 written=5"],
    );
}

#[test]
fn thoughts_keep_their_seals() {
    stream(
        &[
            START,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"seal"}}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"hidden"}}"#,
            END_TURN,
            STOP,
        ],
        &[
            "start: m1 c",
            "reasoning: hm",
            "signature: seal",
            "redacted: hidden",
            "choice end: stop",
            "finished: stop in=12 out=9 read=4 written=5",
        ],
    );
}

#[test]
fn tool_calls_and_tools_of_the_server() {
    let tool = |index: u32, id: &str, input: &str| {
        format!(
            r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"tool_use","id":"{id}","name":"f","input":{input}}}}}"#
        )
    };
    let piece = |index: u32, json: &str| {
        format!(
            r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"input_json_delta","partial_json":"{json}"}}}}"#
        )
    };
    let stop = |index: u32| format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
    let server = r#"{"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#;
    stream(
        &[
            START,
            &tool(0, "a", "{}"),
            &piece(0, ""),
            &piece(0, "{\\\"x\\\":"),
            &piece(0, "1}"),
            &stop(0),
            // No arguments at all, and all of them at once.
            &tool(1, "b", "{}"),
            &stop(1),
            &tool(2, "c", "{\"y\": 2}"),
            &stop(2),
            server,
            &piece(3, "{\\\"q\\\":"),
            &piece(3, "7}"),
            &stop(3),
            STOP,
        ],
        &[
            "start: m1 c",
            "call: 0 a f",
            "arguments 0: {\"x\":1}",
            "call: 1 b f",
            "arguments 1: {}",
            "call: 2 c f",
            "arguments 2: {\"y\": 2}",
            r#"opaque: anthropic-messages {"id":"s","input":{"q":7},"name":"web_search","type":"server_tool_use"}"#,
            "finished:  in=12 out=1 read=4 written=5",
        ],
    );
}

#[test]
fn what_is_new_comes_out_raw() {
    let citation = r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"url":"u"}}}"#;
    let news = r#"{"type":"news"}"#;
    stream(
        &[START, citation, news, STOP],
        &[
            "start: m1 c",
            r#"detail: citations {"url":"u"}"#,
            &format!("raw: news {news}"),
            "finished:  in=12 out=1 read=4 written=5",
        ],
    );
}

#[test]
fn whole_answers_say_the_same() {
    whole(
        r#"{"type":"message","id":"m1","model":"c","role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"seal"},{"type":"redacted_thinking","data":"hidden"},{"type":"text","text":"hello"},{"type":"tool_use","id":"a","name":"f","input":{"x":1}},{"type":"tool_use","id":"b","name":"g","input":{}},{"type":"image","n":1}],"stop_reason":"tool_use","usage":{"input_tokens":3,"output_tokens":9,"output_tokens_details":{"thinking_tokens":2}}}"#,
        &[
            "start: m1 c",
            "reasoning: hm",
            "signature: seal",
            "redacted: hidden",
            "text: hello",
            "call: 0 a f",
            "arguments 0: {\"x\":1}",
            "call: 1 b g",
            "arguments 1: {}",
            "opaque: anthropic-messages {\"type\":\"image\",\"n\":1}",
            "choice end: tool_calls",
            "finished: tool_calls in=3 out=9 thought=2",
        ],
    );
    whole(
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}"#,
        &["failed: RateLimited slow"],
    );
}

#[test]
fn blocks_of_new_kinds_are_put_together() {
    stream(
        &[
            START,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"compaction","content":"so "}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"compaction_delta","content":"far "}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"compaction_delta","content":"so good","list":[1]}}"#,
            r#"{"type":"content_block_delta","index":7,"delta":{"type":"new_delta","x":1}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            END_TURN,
            STOP,
        ],
        &[
            "start: m1 c",
            r#"raw: content_block_delta {"type":"content_block_delta","index":7,"delta":{"type":"new_delta","x":1}}"#,
            r#"opaque: anthropic-messages {"content":"so far so good","list":[1],"type":"compaction"}"#,
            "choice end: stop",
            "finished: stop in=12 out=9 read=4 written=5",
        ],
    );
}

/// Servers that translate from formats which have no blocks open those of all calls and then tell their arguments in turn.
#[test]
fn calls_that_are_told_side_by_side() {
    let start = |index: &str, block: &str| {
        format!(r#"{{"type":"content_block_start"{index},"content_block":{{{block}}}}}"#)
    };
    let piece = |index: u32, json: &str| {
        format!(
            r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"input_json_delta","partial_json":"{json}"}}}}"#
        )
    };
    let stop = |index: u32| format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
    let call = |id: &str| format!(r#""type":"tool_use","id":"{id}","name":"f","input":{{}}"#);
    let server = r#""type":"server_tool_use","id":"s","name":"web_search","input":{}"#;
    stream(
        &[
            START,
            &start(r#","index":0"#, &call("a")),
            &start(r#","index":1"#, server),
            &start(r#","index":2"#, &call("b")),
            &start(r#","index":3"#, &call("c")),
            &piece(0, r#"{\"x\":"#),
            &piece(2, r#"{\"y\":"#),
            &piece(1, r#"{\"q\":7}"#),
            &piece(0, "1}"),
            &stop(0),
            &piece(2, "2}"),
            &stop(1),
            &stop(3),
            // Of the other call the end is missing.
            STOP,
        ],
        &[
            "start: m1 c",
            "call: 0 a f",
            "call: 1 b f",
            "call: 2 c f",
            "arguments 0: {\"x\":",
            "arguments 1: {\"y\":",
            "arguments 0: 1}",
            "arguments 1: 2}",
            r#"opaque: anthropic-messages {"id":"s","input":{"q":7},"name":"web_search","type":"server_tool_use"}"#,
            "arguments 2: {}",
            "finished:  in=12 out=1 read=4 written=5",
        ],
    );
    // All at one number, or at none: then each begins where the one before it ends.
    for index in [r#","index":0"#, ""] {
        stream(
            &[START, &start(index, &call("a")), &start(index, &call("b")), &piece(0, r#"{\"x\":1}"#), STOP],
            &[
                "start: m1 c",
                "call: 0 a f",
                "arguments 0: {}",
                "call: 1 b f",
                "arguments 1: {\"x\":1}",
                "finished:  in=12 out=1 read=4 written=5",
            ],
        );
    }
}

#[test]
fn blocks_that_never_end_are_bounded() {
    let starts: Vec<String> = (0..300)
        .map(|index| {
            format!(r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"new"}}}}"#)
        })
        .collect();
    let body: String =
        [START.to_owned()].iter().chain(&starts).map(|event| format!("data: {event}\n\n")).collect();
    let ending = support::decode(&ANTHROPIC_MESSAGES, SSE, [body.as_bytes()], None).ending;
    assert_eq!(support::ending(&ending), "failed: TooLarge the answer has more than 256 blocks open at once");
}
