//! Chat completions: bytes in, deltas out, as tables.

mod other_shapes;
#[path = "../support/mod.rs"]
mod support;

use loquat_core::{Ending, ErrorKind};
use loquat_provider::{DecodeLimits, OPENAI_CHAT};
use support::{JSON, SSE};

fn stream(body: &str, expected: &[&str]) {
    support::check(&OPENAI_CHAT, SSE, body, expected);
}

fn whole(body: &str, expected: &[&str]) {
    support::check(&OPENAI_CHAT, JSON, body, expected);
}

/// Each line an event.
fn events(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("data: {line}\n\n")).collect()
}

#[test]
fn text_reasoning_usage_and_the_terminal_event() {
    stream(
        &events(&[
            r#"{"id":"c1","model":"m","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#,
            r#"{"id":"c1","model":"m","choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}"#,
            r#"{"id":"c1","model":"m","choices":[{"delta":{"content":"a \"b\" "},"index":0}]}"#,
            r#"{"choices":[{"delta":{"content":"caf\u00e9 \ud83d"}}]}"#,
            r#"{"choices":[{"delta":{"content":"\ude00"}}]}"#,
            r#"{"choices":[{"finish_reason":"stop","index":0,"delta":{}}]}"#,
            r#"{"id":"c1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":3}}}"#,
            "[DONE]",
        ]),
        &[
            "start: c1 m",
            "reasoning: hm",
            "text: a \"b\" café 😀",
            "choice end: stop",
            "finished: stop in=5 out=7 read=2 thought=3",
        ],
    );
}

#[test]
fn the_three_endings() {
    let hello = r#"{"choices":[{"delta":{"content":"hello"}}]}"#;
    let finish = r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#;
    stream(&events(&[hello, finish]), &["text: hello", "choice end: length", "finished: length"]);
    stream(&events(&[hello]), &["text: hello", "truncated"]);
    stream(&events(&[hello, "[DONE]"]), &["text: hello", "finished: "]);
    stream(
        &events(&[hello, r#"{"error":{"message":"boom","type":"server_error"}}"#, "[DONE]"]),
        &["text: hello", "failed: Server boom"],
    );
    stream(
        &events(&[hello, finish, r#"{"error":{"message":"late"}}"#]),
        &["text: hello", "choice end: length", "failed: Server late"],
    );
    let empty =
        "failed: Protocol the body ended without an answer in it (content type \"text/event-stream\")";
    stream("", &[empty]);
    stream(": ping\n\n", &[empty]);
    stream(&events(&["[DONE]"]), &[empty]);
}

/// Shapes of failure under status 200 that are easily taken for the end of an answer.
/// Found by fuzzing: a choice with nothing but DashScope's word for going on.
#[test]
fn a_choice_without_a_word_or_a_reason_has_not_finished() {
    for body in [r#"{"choices":[{"finish_reason":"null"}]}"#, r#"{"choices":[{"index":0}]}"#] {
        let ending = support::decode(&OPENAI_CHAT, JSON, [body.as_bytes()], None).ending;
        assert!(matches!(ending, Ending::Failed(_)), "{body}: {ending:?}");
    }
    let stream =
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\ndata: [DONE]\n\n";
    let ending = support::decode(&OPENAI_CHAT, SSE, [&stream[..]], None).ending;
    assert!(matches!(ending, Ending::Failed(_)), "{ending:?}");
}

#[test]
fn what_says_nothing_is_no_answer() {
    let hello = r#"{"choices":[{"index":0,"delta":{"content":"hello"}}]}"#;
    stream(
        &events(&[
            hello,
            r#"{"choices":[{"index":0,"delta":{"content":"!"},"error":{"code":502,"message":"upstream"}}]}"#,
            "[DONE]",
        ]),
        &["text: hello!", "failed: Server upstream"],
    );
    stream(
        &events(&[
            hello,
            r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error","error":{"code":502,"message":"upstream"}}]}"#,
        ]),
        &["text: hello", "failed: Server upstream"],
    );
    whole(
        r#"{"id":"1","model":"m","object":"chat.completion","choices":[{"index":0,"message":{"content":""},"error":{"code":502,"message":"upstream"}}]}"#,
        &["start: 1 m", "failed: Server upstream"],
    );
    for choices in ["null", "[]"] {
        whole(
            &format!(r#"{{"id":"1","model":"m","object":"chat.completion","choices":{choices}}}"#),
            &["start: 1 m", "failed: Protocol the answer has no alternative in it"],
        );
    }
    let refused = r#"{"id":"1","choices":null,"object":"chat.completion","base_resp":{"status_code":1004,"status_msg":"login fail"}}"#;
    whole(refused, &["failed: Server login fail"]);
    stream(&events(&[refused]), &["failed: Server login fail"]);
    stream(
        &events(&[
            hello,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"base_resp":{"status_code":0,"status_msg":""}}"#,
        ]),
        &["text: hello", "choice end: stop", "finished: stop"],
    );
    stream(
        &events(&[r#"{"id":"1","model":"m","object":"chat.completion.chunk","choices":[]}"#, "[DONE]"]),
        &[
            "start: 1 m",
            "failed: Protocol the body ended without an answer in it (content type \"text/event-stream\")",
        ],
    );
}

/// What is held back until the end comes before the end, also where a terminal event is the end.
#[test]
fn what_was_held_back_comes_before_a_terminal_event() {
    let half = r#"{"choices":[{"delta":{"content":"a\ud83d"}}]}"#;
    stream(&events(&[half, "[DONE]"]), &["text: a\u{fffd}", "finished: "]);
    stream(&events(&[half]), &["text: a\u{fffd}", "truncated"]);
    let nameless = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"x"}]}}]}"#;
    stream(&events(&[nameless, "[DONE]"]), &["call: 0 x ", "finished: "]);
    stream(&events(&[half, r#"{"error":{"message":"boom"}}"#]), &["text: a\u{fffd}", "failed: Server boom"]);
}

#[test]
fn errors_hide_in_strange_places() {
    let hello = events(&[r#"{"choices":[{"delta":{"content":"hello"}}]}"#]);
    stream(
        &format!("{hello}error: {{\"detail\":\"lost it\"}}\n\n"),
        &["text: hello", "failed: Server lost it"],
    );
    stream(
        &format!("{hello}error: {{\"detail\":\"lost it\"}}\n\ndata: [DONE]\n\n"),
        &["text: hello", "failed: Server lost it"],
    );
    stream(
        &format!("{hello}{{\"error\":{{\"message\":\"bare\",\"code\":429}}}}\n"),
        &["text: hello", "failed: RateLimited bare"],
    );
    stream(
        &format!("{hello}event: error\ndata: out of memory\n\n"),
        &["text: hello", "failed: Server out of memory"],
    );
    stream(r#"{"error":{"message":"no","code":"invalid_api_key"}}"#, &["failed: Authentication no"]);
    stream(
        &events(&[r#"{"object":"error","message":"too long","code":400,"type":"BadRequestError"}"#]),
        &["failed: InvalidRequest too long"],
    );
    stream(&events(&[r#"{"type":"error","message":"lost it"}"#]), &["failed: Server lost it"]);
    stream(
        &events(&[r#"{"code":"Throttling","message":"slow down","request_id":"r"}"#]),
        &["failed: RateLimited slow down"],
    );
    stream(
        &events(&[r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"error"}]}"#]),
        &["text: x", "failed: Server the provider ended the answer with an error"],
    );
    // Beside an answer, an empty error says nothing.
    stream(
        &events(&[r#"{"error":null,"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#]),
        &["text: x", "choice end: stop", "finished: stop"],
    );
}

#[test]
fn what_is_no_json_is_never_skipped() {
    stream(
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":oops}\n\n",
        &["text: a", "failed: Protocol an event is not valid JSON at its byte 11 (1 events before it)"],
    );
    whole("{\"choices\":", &["failed: Protocol the answer is not valid JSON"]);
}

#[test]
fn a_stream_without_its_last_blank_line() {
    let start = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let last = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}";
    for end in ["", "\n", "\r\n"] {
        stream(&format!("{start}{last}{end}"), &["text: a", "choice end: stop", "finished: stop"]);
    }
    stream(&format!("{start}{}", &last[..30]), &["text: a", "truncated"]);
    stream(&format!("{start}data: [DON"), &["text: a", "truncated"]);
    stream(&format!("{start}data: [DONE]"), &["text: a", "finished: "]);
}

#[test]
fn tool_calls_however_they_are_numbered() {
    let call = |piece: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{piece}]}}}}]}}"#);
    let run = |pieces: &[&str], expected: &[&str]| {
        let mut lines: Vec<String> = pieces.iter().map(|piece| call(piece)).collect();
        lines.push(r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#.into());
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut expected = expected.to_vec();
        expected.extend(["choice end: tool_calls", "finished: tool_calls"]);
        stream(&events(&lines), &expected);
    };
    // Interleaved by index, as documented.
    run(
        &[
            r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}"#,
            r#"{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{"}}"#,
            r#"{"index":0,"function":{"arguments":"{\"x\":"}}"#,
            r#"{"index":0,"function":{"arguments":"1}"}},{"index":1,"function":{"arguments":"}"}}"#,
        ],
        &["call: 0 a f", "call: 1 b g", "arguments 1: {", "arguments 0: {\"x\":1}", "arguments 1: }"],
    );
    // Qwen: later pieces with an empty id; others: no index, or the name again and again.
    run(
        &[
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}"#,
            r#"{"index":0,"id":"","function":{"name":"","arguments":"}"}}"#,
            r#"{"id":"b","function":{"name":"g","arguments":"{"}}"#,
            r#"{"function":{"arguments":"}"}}"#,
        ],
        &["call: 0 a f", "arguments 0: {}", "call: 1 b g", "arguments 1: {}"],
    );
    run(
        &[
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}"#,
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":"}"}}"#,
        ],
        &["call: 0 a f", "arguments 0: {}"],
    );
    // The same index with a new id is a new call; a whole call in one piece.
    run(
        &[
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}"#,
            r#"{"index":0,"id":"b","function":{"name":"f","arguments":"{}"}}"#,
        ],
        &["call: 0 a f", "arguments 0: {}", "call: 1 b f", "arguments 1: {}"],
    );
    // Older vLLM: a new id with each piece, and a name with the first only.
    run(
        &[
            r#"{"index":0,"id":"a1","function":{"name":"f"}}"#,
            r#"{"index":0,"id":"a2","function":{"arguments":"{"}}"#,
            r#"{"index":0,"id":"a3","function":{"arguments":"}"}}"#,
            r#"{"index":1,"id":"b1","function":{"name":"f","arguments":"{}"}}"#,
        ],
        &["call: 0 a1 f", "arguments 0: {}", "call: 1 b1 f", "arguments 1: {}"],
    );
    // No ids at all: names are made up.
    run(
        &[
            r#"{"index":0,"function":{"name":"f","arguments":"{}"}},{"index":1,"function":{"name":"g","arguments":"{}"}}"#,
        ],
        &["call: 0 call_0 f", "arguments 0: {}", "call: 1 call_1 g", "arguments 1: {}"],
    );
    // Hostile indices are names like any other.
    run(
        &[
            r#"{"index":4000000000,"id":"a","function":{"name":"f","arguments":"{"}}"#,
            r#"{"index":-1,"id":"b","function":{"name":"g","arguments":"["}}"#,
            r#"{"index":"x","function":{"name":"h","arguments":"("}}"#,
            r#"{"index":4000000000,"function":{"arguments":"}"}}"#,
            r#"{"index":-1,"function":{"arguments":"]"}}"#,
            r#"{"index":99,"function":{"arguments":"!"}}"#,
        ],
        &[
            "call: 0 a f",
            "arguments 0: {",
            "call: 1 b g",
            "arguments 1: [",
            "call: 2 call_2 h",
            "arguments 2: (",
            "arguments 0: }",
            "arguments 1: ]!",
        ],
    );
    // An id that is followed by its name later; a call that never gets one.
    run(
        &[r#"{"index":0,"id":"a"}"#, r#"{"index":0,"function":{"name":"f"}}"#, r#"{"index":1,"id":"b"}"#],
        &["call: 0 a f", "call: 1 b "],
    );
    // One waits for its name while another has it: calls are numbered as they are announced.
    run(
        &[
            r#"{"index":0,"id":"a"},{"index":1,"id":"b","function":{"name":"g"}}"#,
            r#"{"index":0,"function":{"name":"f","arguments":"{}"}}"#,
        ],
        &["call: 0 b g", "call: 1 a f", "arguments 1: {}"],
    );
    // Arguments as an object.
    run(
        &[r#"{"index":0,"id":"a","function":{"name":"f","arguments":{"x": 1}}}"#],
        &["call: 0 a f", "arguments 0: {\"x\": 1}"],
    );
}

#[test]
fn dialects() {
    // Mistral: content as a list of parts.
    stream(
        &events(&[
            r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"hi"}]}}]}"#,
            r#"{"choices":[{"delta":{"content":""},"finish_reason":"stop"}]}"#,
        ]),
        &["reasoning: hm", "text: hi", "choice end: stop", "finished: stop"],
    );
    // A chunk of a kind that is not known stays a part of the message.
    stream(
        &events(&[
            r#"{"choices":[{"delta":{"content":[{"type":"text","text":"hi"},{"type":"reference","reference_ids":[1]},{"type":"new","x":1},{"type":"also","text":"!"}]},"finish_reason":"stop"}]}"#,
        ]),
        &[
            "text: hi",
            "detail: citations [1]",
            r#"opaque: openai-chat {"type":"reference","reference_ids":[1]}"#,
            r#"opaque: openai-chat {"type":"new","x":1}"#,
            "text: !",
            "choice end: stop",
            "finished: stop",
        ],
    );
    // OpenRouter: reasoning twice, and its signature.
    stream(
        &events(&[
            r#"{"choices":[{"delta":{"content":"","reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm"}]}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_details":[{"type":"reasoning.text","signature":"s"}]}}]}"#,
            r#"{"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}"#,
        ]),
        &[
            "reasoning: hm",
            r#"signature: {"signature":"s","type":"reasoning.text"}"#,
            "text: hi",
            "choice end: stop",
            "finished: stop",
        ],
    );
    // DashScope: `"null"` while it goes on. Perplexity: a growing message beside the deltas.
    stream(
        &events(&[
            r#"{"choices":[{"delta":{"content":"a"},"message":{"content":"a"},"finish_reason":"null"}]}"#,
            r#"{"choices":[{"delta":{"content":"b"},"message":{"content":"ab"},"finish_reason":""}]}"#,
            r#"{"choices":[{"message":{"content":"ab"},"finish_reason":"stop"}]}"#,
        ]),
        &["text: ab", "choice end: stop", "finished: stop"],
    );
    // Groq's usage, Moonshot's, xAI's.
    let end = r#""choices":[{"delta":{"content":"a"},"finish_reason":"stop""#;
    for (usage, expected) in [
        (r#"}],"x_groq":{"usage":{"prompt_tokens":1,"completion_tokens":2}}"#, "finished: stop in=1 out=2"),
        (
            r#","usage":{"prompt_tokens":1,"completion_tokens":2,"cached_tokens":1}}]"#,
            "finished: stop in=1 out=2 read=1",
        ),
        (
            r#"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":13,"completion_tokens_details":{"reasoning_tokens":10}}"#,
            "finished: stop in=1 out=12 thought=10",
        ),
    ] {
        stream(&events(&[&format!("{{{end}{usage}}}")]), &["text: a", "choice end: stop", expected]);
    }
    // A refusal, an unknown event, a whole completion inside a stream.
    stream(
        &events(&[
            r#"{"kind":"news"}"#,
            r#"{"object":"chat.completion","choices":[{"message":{"refusal":"no"},"finish_reason":"stop"}]}"#,
        ]),
        &["raw: message {\"kind\":\"news\"}", "refusal: no", "choice end: stop", "finished: stop"],
    );
}

#[test]
fn alternatives_end_each_for_itself() {
    let both = [
        r#"{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}"#,
        r#"{"choices":[{"index":1,"delta":{"content":"c"},"finish_reason":"length"}]}"#,
    ];
    let start = ["text: a", "text 1: bc", "choice end 1: length"];
    stream(&events(&both), &[&start[..], &["truncated"]].concat());
    let last = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    stream(
        &events(&[both[0], both[1], last]),
        &[&start[..], &["choice end: stop", "finished: stop"]].concat(),
    );
    // One that has been announced and has not said a word yet is missing from a stream that ends here.
    let announced = [
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"choices":[{"index":1,"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
    ];
    stream(&events(&announced), &["text: a", "choice end: stop", "truncated"]);
    stream(
        &events(&[r#"{"choices":[{"index":4000000000,"delta":{"content":"a"}}]}"#]),
        &["failed: TooLarge alternative 4000000000 is beyond the bound of 256"],
    );
}

#[test]
fn whole_answers_say_the_same() {
    whole(
        r#"{"id":"c1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","reasoning":"hm","content":"hi","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
        &[
            "start: c1 m",
            "reasoning: hm",
            "text: hi",
            "call: 0 a f",
            "arguments 0: {}",
            "call: 1 b g",
            "arguments 1: {}",
            "choice end: tool_calls",
            "finished: tool_calls in=1 out=2",
        ],
    );
    // Asked whole, answered in a stream; asked for a stream, answered whole.
    whole(
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n",
        &["text: a", "choice end: stop", "finished: stop"],
    );
    stream(
        r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#,
        &["text: a", "choice end: stop", "finished: stop"],
    );
    // A deprecated call, and an answer without a finish reason: its document is whole.
    whole(
        r#"{"choices":[{"message":{"content":null,"function_call":{"name":"f","arguments":"{}"}}}]}"#,
        &["call: 0 call_0 f", "arguments 0: {}", "finished: "],
    );
    whole(
        r#"{"object":"chat.completion","choices":[]}"#,
        &["failed: Protocol the answer has no alternative in it"],
    );
    // A document that only resembles an answer: shown as it came, and no answer for it (found by mutation).
    let stranger = r#"{"{choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    whole(
        stranger,
        &[
            &format!("raw: message {stranger}"),
            "failed: Protocol the body ended without an answer in it (content type \"application/json\")",
        ],
    );
}

#[test]
fn limits_are_named() {
    let endless = "data: ".to_owned() + &"x".repeat(4096);
    let calls: Vec<String> = (0..5)
        .map(|n| {
            format!(
                r#"{{"choices":[{{"delta":{{"tool_calls":[{{"id":"{n}","function":{{"name":"f"}}}}]}}}}]}}"#
            )
        })
        .collect();
    let calls = events(&calls.iter().map(String::as_str).collect::<Vec<_>>());
    let long = events(&[r#"{"choices":[{"delta":{"content":"0123456789"}}]}"#; 3]);
    let document = format!("{{\"choices\":\"{}\"}}", "x".repeat(4096));
    let limits = DecodeLimits::default();
    for (body, limits, name) in [
        (&endless, limits.with_max_event_bytes(1024), "max_event_bytes (1024)"),
        (&calls, limits.with_max_tool_calls(4), "max_tool_calls (4)"),
        (&long, limits.with_max_answer_bytes(25), "max_answer_bytes (25)"),
        (&document, limits.with_max_body_bytes(1024), "max_body_bytes (1024)"),
    ] {
        let decoder = support::decoder(&OPENAI_CHAT, SSE, limits);
        let outcome = support::run(decoder, body.as_bytes().chunks(7), None);
        let Ending::Failed(error) = outcome.ending else { panic!("{name}: {:?}", outcome.ending) };
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.message().contains(name), "{}", error.message());
    }
}

#[test]
fn a_lost_connection_is_told_from_an_early_end() {
    let lost = loquat_core::Error::new(ErrorKind::Connection, "reset");
    let run = |body: &str| {
        support::ending(&support::decode(&OPENAI_CHAT, SSE, [body.as_bytes()], Some(&lost)).ending)
    };
    assert_eq!(run(""), "failed: Connection reset");
    assert_eq!(run("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"), "truncated: Connection");
    assert_eq!(
        run("data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n"),
        "finished: stop"
    );
    assert_eq!(run("{\"choices\":[{\"mess"), "failed: Connection reset");
}

#[test]
fn what_is_said_beside_the_content_comes_out_once() {
    support::check(
        &OPENAI_CHAT,
        SSE,
        concat!(
            "data: {\"id\":\"c\",\"system_fingerprint\":\"fp\",\"service_tier\":\"default\",\"citations\":[\"u\"],\"choices\":[{\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":0}]}}]}\n\n",
            "data: {\"id\":\"c\",\"system_fingerprint\":\"fp\",\"service_tier\":null,\"citations\":[\"u\"],\"choices\":[{\"delta\":{\"annotations\":[{\"type\":\"url_citation\"}]},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n",
        ),
        &[
            "start: c ",
            "detail: fingerprint \"fp\"",
            "detail: service_tier \"default\"",
            "detail: citations [\"u\"]",
            "text: a",
            "detail: logprobs {\"content\":[{\"token\":\"a\",\"logprob\":0}]}",
            "detail: citations [{\"type\":\"url_citation\"}]",
            "choice end: stop",
            "finished: stop",
        ],
    );
}

#[test]
fn pictures_sound_and_seals_on_calls() {
    support::check(
        &OPENAI_CHAT,
        JSON,
        r#"{"choices":[{"message":{"content":null,"audio":{"id":"a","data":"UklGAA==","transcript":"hi"},"images":[{"image_url":{"url":"data:image/png;base64,AQI="}},{"image_url":{"url":"https://x"}}],"tool_calls":[{"id":"x","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"S"}}},{"id":"y","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#,
        &[
            "media: image/png [1, 2]",
            "detail: images \"https://x\"",
            "text: hi",
            "media: audio/wav [82, 73, 70, 0]",
            "call: 0 x f",
            "arguments 0: {}",
            "seal 0: S",
            "call: 1 y g",
            "arguments 1: {}",
            "choice end: tool_calls",
            "finished: tool_calls",
        ],
    );
}

#[test]
fn sealed_reasoning_goes_back_as_it_came() {
    use loquat_core::{ChatRequest, Message, Part, Reasoning, Role, ToolCall};
    use loquat_provider::profile;
    let written = |provider: &str| {
        let mut call = ToolCall::new("x", "f", "{}");
        call.signature = Some("S".into());
        let parts = vec![
            Part::Reasoning(
                Reasoning::new("hm")
                    .with_signature(r#"{"format":"f","signature":"s","type":"reasoning.text"}"#),
            ),
            Part::Reasoning(
                Reasoning::default().with_signature(r#"{"data":"E","type":"reasoning.encrypted"}"#),
            ),
            Part::ToolCall(call),
        ];
        let request =
            ChatRequest::new("m").with_message(Message::new(Role::Assistant, parts)).with_stream(false);
        let encoded = profile(provider).expect("known").format.encode(&request, "m").expect("valid");
        String::from_utf8(encoded.body).expect("JSON is UTF-8")
    };
    assert_eq!(
        written("openrouter"),
        concat!(
            r#"{"model":"m","messages":[{"role":"assistant","content":null,"reasoning":"hm","reasoning_details":["#,
            r#"{"format":"f","signature":"s","text":"hm","type":"reasoning.text"},{"data":"E","type":"reasoning.encrypted"}],"#,
            r#""tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}}]}],"stream":false}"#,
        )
    );
    assert_eq!(
        written("gemini-openai"),
        concat!(
            r#"{"model":"m","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"x","type":"function","#,
            r#""function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"S"}}}]}],"stream":false}"#,
        )
    );
}
