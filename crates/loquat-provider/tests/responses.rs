//! OpenAI Responses: what its events mean, what a request becomes.

mod support;

use loquat_core::{
    ChatRequest, Ending, ErrorKind, Message, Opaque, Part, Reasoning, ResponseFormat, Role, Tool, ToolCall,
    ToolResult,
};
use loquat_provider::{Format, OPENAI_RESPONSES};
use support::{JSON, SSE, check, decode};

/// Events under their types.
fn stream(events: &[&str]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

const CREATED: &str =
    r#"{"type":"response.created","response":{"id":"r","model":"m","status":"in_progress"}}"#;

#[test]
fn an_answer_in_pieces() {
    let body = stream(&[
        CREATED,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"rs","type":"reasoning","summary":[]}}"#,
        r#"{"type":"response.reasoning_summary_part.added","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}"#,
        r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"hm"}"#,
        r#"{"type":"response.reasoning_summary_part.added","output_index":0,"summary_index":1,"part":{"type":"summary_text","text":""}}"#,
        r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":1,"delta":"so"}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"rs","type":"reasoning","summary":[{"type":"summary_text","text":"hm"},{"type":"summary_text","text":"so"}],"encrypted_content":"E"}}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"message"}}"#,
        r#"{"type":"response.output_text.delta","output_index":1,"delta":"hi","logprobs":[]}"#,
        r#"{"type":"response.output_text.annotation.added","output_index":1,"annotation":{"type":"url_citation"}}"#,
        r#"{"type":"response.output_text.done","output_index":1,"text":"hi"}"#,
        r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"message","content":[{"type":"output_text","text":"hi"}]}}"#,
        r#"{"type":"response.completed","response":{"id":"r","model":"m","output":[],"usage":{"input_tokens":5,"output_tokens":4,"input_tokens_details":{"cached_tokens":2},"output_tokens_details":{"reasoning_tokens":3}}}}"#,
    ]);
    check(
        &OPENAI_RESPONSES,
        SSE,
        &body,
        &[
            "start: r m",
            "reasoning: hm\n\nso",
            r#"signature: {"id":"rs","type":"reasoning","summary":[{"type":"summary_text","text":"hm"},{"type":"summary_text","text":"so"}],"encrypted_content":"E"}"#,
            "text: hi",
            r#"detail: citations {"type":"url_citation"}"#,
            "choice end: stop",
            "finished: stop in=5 out=4 read=2 thought=3",
        ],
    );
}

#[test]
fn calls_side_by_side_and_calls_without_pieces() {
    let body = stream(&[
        CREATED,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","call_id":"a","name":"f","arguments":""}}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"custom_tool_call","call_id":"b","name":"g","input":""}}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{\"x\":"}"#,
        r#"{"type":"response.custom_tool_call_input.delta","output_index":1,"delta":"free"}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"1}"}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","call_id":"a","name":"f","arguments":"{\"x\":1}"}}"#,
        r#"{"type":"response.output_item.done","output_index":2,"item":{"type":"function_call","call_id":"c","name":"h","arguments":"{}"}}"#,
        r#"{"type":"response.output_item.added","output_index":3,"item":{"type":"function_call","call_id":"d","name":"i"}}"#,
        r#"{"type":"response.output_item.done","output_index":3,"item":{"type":"function_call","call_id":"d","name":"i","arguments":"{\"y\":2}"}}"#,
        r#"{"type":"response.completed","response":{"id":"r"}}"#,
    ]);
    check(
        &OPENAI_RESPONSES,
        SSE,
        &body,
        &[
            "start: r m",
            "call: 0 a f",
            "call: 1 b g",
            "arguments 0: {\"x\":",
            "arguments 1: free",
            "arguments 0: 1}",
            "call: 2 c h",
            "arguments 2: {}",
            "call: 3 d i",
            "arguments 3: {\"y\":2}",
            "choice end: tool_calls",
            "finished: tool_calls",
        ],
    );
}

/// Some servers send no pieces, but each part when it is complete; some leave the item out, or that it is complete.
#[test]
fn parts_without_pieces() {
    let added = r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message"}}"#;
    let empty = r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":""}"#;
    let first = r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"hi"}"#;
    let second = r#"{"type":"response.refusal.done","output_index":0,"content_index":1,"refusal":"no"}"#;
    let done = r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[{"type":"output_text","text":"hi"},{"type":"refusal","refusal":"no"}]}}"#;
    let end = r#"{"type":"response.completed","response":{"id":"r","output":[{"type":"message","content":[{"type":"output_text","text":"hi"},{"type":"refusal","refusal":"no"}]}]}}"#;
    let whole = [CREATED, added, first, second, done, end];
    for events in [
        &whole[..],
        &[CREATED, added, empty, done, end],
        &[CREATED, added, first, second, end],
        &[CREATED, first, second, end],
        &[CREATED, added, end],
        &[CREATED, added, done, first, second, end],
    ] {
        check(
            &OPENAI_RESPONSES,
            SSE,
            &stream(events),
            &["start: r m", "text: hi", "refusal: no", "choice end: stop", "finished: stop"],
        );
    }
}

#[test]
fn an_answer_of_too_many_items_or_parts_is_refused() {
    let item = |number: usize| {
        format!(
            r#"{{"type":"response.output_item.done","output_index":{number},"item":{{"type":"message","content":[]}}}}"#
        )
    };
    let part = |number: usize| {
        format!(
            r#"{{"type":"response.output_text.delta","output_index":0,"content_index":{number},"delta":"x"}}"#
        )
    };
    for (event, max) in [(&item as &dyn Fn(usize) -> String, "4096 items"), (&part, "1024 parts")] {
        let events: Vec<String> = (0..5000).map(event).collect();
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let decoded = decode(&OPENAI_RESPONSES, SSE, [stream(&events).as_bytes()], None);
        let Ending::Failed(error) = decoded.ending else { panic!("{:?}", decoded.ending) };
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert!(error.to_string().contains(max), "{error}");
    }
}

/// Told in pieces, and once more whole: those are no further parts.
#[test]
fn an_item_of_a_thousand_parts_is_told_once() {
    let numbers = || 0..1000_usize;
    let mut events: Vec<String> = vec![CREATED.to_owned()];
    events.extend(numbers().map(|number| {
        format!(
            r#"{{"type":"response.output_text.delta","output_index":0,"content_index":{number},"delta":"{number:03} "}}"#
        )
    }));
    let parts: Vec<String> =
        numbers().map(|number| format!(r#"{{"type":"output_text","text":"{number:03} "}}"#)).collect();
    let item = format!(r#"{{"type":"message","content":[{}]}}"#, parts.join(","));
    events.push(format!(r#"{{"type":"response.output_item.done","output_index":0,"item":{item}}}"#));
    events.push(format!(r#"{{"type":"response.completed","response":{{"id":"r","output":[{item}]}}}}"#));
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let decoded = decode(&OPENAI_RESPONSES, SSE, [stream(&events).as_bytes()], None);
    assert!(decoded.ending.is_finished(), "{:?}", decoded.ending);
    assert_eq!(decoded.response.text(), numbers().map(|number| format!("{number:03} ")).collect::<String>());
}

#[test]
fn arguments_without_pieces() {
    let added = r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","call_id":"a","name":"f","arguments":""}}"#;
    let custom = r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"custom_tool_call","call_id":"b","name":"g","input":""}}"#;
    let all = r#"{"type":"response.function_call_arguments.done","output_index":0,"arguments":"{\"x\":1}"}"#;
    let input = r#"{"type":"response.custom_tool_call_input.done","output_index":1,"input":"free"}"#;
    let done = r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","call_id":"a","name":"f","arguments":"{\"x\":1}"}}"#;
    let end = r#"{"type":"response.completed","response":{"id":"r"}}"#;
    for events in [
        &[CREATED, added, custom, all, input, end][..],
        &[CREATED, added, custom, all, done, input, end],
        &[CREATED, added, custom, done, all, input, end],
    ] {
        let told = [
            "start: r m",
            "call: 0 a f",
            "call: 1 b g",
            "arguments 0: {\"x\":1}",
            "arguments 1: free",
            "choice end: tool_calls",
            "finished: tool_calls",
        ];
        check(&OPENAI_RESPONSES, SSE, &stream(events), &told);
    }
}

#[test]
fn a_stream_of_the_whole_response_alone() {
    let body = stream(&[
        r#"{"type":"response.completed","response":{"id":"r","output":[{"type":"message","content":[{"type":"output_text","text":"hi"},{"type":"refusal","refusal":"no"}]}]}}"#,
    ]);
    check(
        &OPENAI_RESPONSES,
        SSE,
        &body,
        &["start: r ", "text: hi", "refusal: no", "choice end: stop", "finished: stop"],
    );
}

#[test]
fn what_the_server_ran_stays_in_its_place() {
    check(
        &OPENAI_RESPONSES,
        JSON,
        r#"{"object":"response","id":"r","status":"completed","output":[{"type":"web_search_call","id":"w"},{"type":"image_generation_call","id":"i","result":"AQI=","output_format":"webp"},{"type":"reasoning","id":"e","summary":[],"encrypted_content":"E"}]}"#,
        &[
            "start: r ",
            r#"opaque: openai-responses {"type":"web_search_call","id":"w"}"#,
            "media: image/webp [1, 2]",
            r#"opaque: openai-responses {"type":"image_generation_call","id":"i"}"#,
            r#"redacted: {"type":"reasoning","id":"e","summary":[],"encrypted_content":"E"}"#,
            "choice end: stop",
            "finished: stop",
        ],
    );
}

#[test]
fn endings() {
    let ended = |events: &[&str], expected: &[&str]| check(&OPENAI_RESPONSES, SSE, &stream(events), expected);
    let hi = r#"{"type":"response.output_text.delta","output_index":0,"delta":"hi"}"#;
    ended(&[CREATED, hi], &["start: r m", "text: hi", "truncated"]);
    ended(
        &[
            CREATED,
            hi,
            r#"{"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"}}}"#,
        ],
        &["start: r m", "text: hi", "choice end: length", "finished: length"],
    );
    ended(
        &[
            CREATED,
            hi,
            r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"oh"}}}"#,
        ],
        &["start: r m", "text: hi", "failed: Server oh"],
    );
    ended(
        &[CREATED, r#"{"type":"error","code":"rate_limit_exceeded","message":"slow down"}"#],
        &["start: r m", "failed: RateLimited slow down"],
    );
    ended(
        &[
            CREATED,
            r#"{"type":"response.new_thing","x":1}"#,
            r#"{"type":"response.completed","response":{}}"#,
        ],
        &[
            "start: r m",
            r#"raw: response.new_thing {"type":"response.new_thing","x":1}"#,
            "choice end: stop",
            "finished: stop",
        ],
    );
    // What the response says of itself counts, and not what the event is called.
    ended(
        &[
            hi,
            r#"{"type":"response.completed","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}}"#,
        ],
        &["text: hi", "choice end: length", "finished: length"],
    );
    ended(
        &[hi, r#"{"type":"response.done","response":{"status":"failed","error":{"message":"oh"}}}"#],
        &["text: hi", "failed: Server oh"],
    );
    ended(
        &[hi, r#"{"type":"response.done","response":{"status":"completed"}}"#],
        &["text: hi", "choice end: stop", "finished: stop"],
    );
    check(
        &OPENAI_RESPONSES,
        JSON,
        r#"{"object":"response","status":"failed","error":{"code":"insufficient_quota","message":"broke"}}"#,
        &["failed: QuotaExceeded broke"],
    );
}

fn body(request: &ChatRequest) -> String {
    String::from_utf8(OPENAI_RESPONSES.encode(request, "m").expect("a valid request").body)
        .expect("JSON is UTF-8")
}

#[test]
fn a_conversation_becomes_items() {
    let call = ToolCall::new("a", "f", "{\"x\":1}");
    let mut request = ChatRequest::new("m").with_system("be brief").with_user("hi").with_stream(false);
    request.messages.push(Message::new(
        Role::Assistant,
        vec![
            Part::Reasoning(
                Reasoning::new("hm").with_signature(
                    r#"{"id":"rs","type":"reasoning","status":null,"encrypted_content":"E"}"#,
                ),
            ),
            Part::Reasoning(Reasoning::new("another's").with_signature("opaque")),
            Part::Text("hello".into()),
            Part::Opaque(Opaque::new("openai-responses", "{\"type\": \"web_search_call\"}")),
            Part::ToolCall(call.clone()),
        ],
    ));
    request.messages.push(Message::tool(ToolResult::new(&call, "5")));
    request.tools.push(Tool::new("f", "does f", "{\"type\":\"object\"}"));
    request.response_format =
        ResponseFormat::JsonSchema { name: "n".into(), schema: loquat_core::JsonText::new("{}") };
    request.reasoning_effort = Some("low".into());
    assert_eq!(
        body(&request),
        concat!(
            r#"{"model":"m","input":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},"#,
            r#"{"encrypted_content":"E","id":"rs","summary":[],"type":"reasoning"},"#,
            r#"{"role":"assistant","content":"hello"},"#,
            r#"{"type": "web_search_call"},{"type":"function_call","call_id":"a","name":"f","arguments":"{\"x\":1}"},"#,
            r#"{"type":"function_call_output","call_id":"a","output":"5"}],"#,
            r#""tools":[{"type":"function","name":"f","description":"does f","parameters":{"type":"object"},"strict":false}],"#,
            r#""text":{"format":{"type":"json_schema","name":"n","schema":{},"strict":false}},"#,
            r#""reasoning":{"effort":"low"},"stream":false}"#,
        )
    );
}

#[test]
fn what_the_format_cannot_say_is_an_error() {
    let mut request = ChatRequest::new("m").with_user("hi");
    request.stop.push("x".into());
    let error = OPENAI_RESPONSES.encode(&request, "m").expect_err("no stop texts");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// So many items that room was made for more since: an event of one that is complete tells nothing again.
#[test]
fn an_event_that_comes_a_thousand_items_late_is_no_news() {
    let mut events = vec![CREATED.to_owned()];
    let done = |place: usize| {
        format!(
            r#"{{"type":"response.output_text.done","output_index":{place},"content_index":0,"text":"{place:04}","logprobs":[{{"token":"x"}}]}}"#
        )
    };
    for place in 0..1100 {
        let item = format!(
            r#"{{"type":"response.output_item.done","output_index":{place},"item":{{"type":"message","content":[{{"type":"output_text","text":"{place:04}"}}]}}}}"#
        );
        events.extend([done(place), item]);
    }
    let told = |events: &[String]| {
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        decode(&OPENAI_RESPONSES, SSE, [stream(&events).as_bytes()], None).lines
    };
    let before = told(&events);
    events.extend([done(0), done(7), done(1099)]);
    assert_eq!(told(&events), before);
}

/// Text and a refusal in one part, where the second needs the room of what is complete: the citations stay the first's.
#[test]
fn citations_are_told_once_though_room_is_made_meanwhile() {
    let mut events = vec![CREATED.to_owned()];
    let item = |place: usize, parts: usize| {
        let parts = vec![r#"{"type":"output_text","text":"x"}"#; parts].join(",");
        format!(
            r#"{{"type":"response.output_item.done","output_index":{place},"item":{{"type":"message","content":[{parts}]}}}}"#
        )
    };
    let part = |event: &str| {
        format!(
            r#"{{"type":"response.content_part.{event}","output_index":9,"content_index":0,"part":{{"type":"output_text","text":"hi","annotations":[{{"n":1}}],"refusal":"no"}}}}"#
        )
    };
    events.extend([item(0, 1000), item(1, 23), part("done"), part("done")]);
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let decoded = decode(&OPENAI_RESPONSES, SSE, [stream(&events).as_bytes()], None);
    assert_eq!(
        decoded.lines.iter().filter(|line| line.starts_with("detail: citations")).count(),
        1,
        "{:?}",
        &decoded.lines[1000..]
    );
}
