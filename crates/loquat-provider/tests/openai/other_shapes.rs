//! What compatible servers write in other places, or by other names, than OpenAI does.

use super::{events, stream, whole};

/// One tool asked for twice, each time whole, under one index and without an id: the arguments of the one are no more of the other's.
#[test]
fn whole_calls_of_one_tool_are_not_glued_together() {
    let call =
        |arguments: &str| format!(r#"{{"index":0,"function":{{"name":"f","arguments":"{arguments}"}}}}"#);
    let event =
        |calls: &str| format!(r#"{{"id":"1","choices":[{{"index":0,"delta":{{"tool_calls":[{calls}]}}}}]}}"#);
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;
    let (first, second) = (call(r#"{\"a\":1}"#), call(r#"{\"a\":2}"#));
    let twice = [
        "start: 1 ",
        "call: 0 1-0 f",
        "arguments 0: {\"a\":1}",
        "call: 1 1-1 f",
        "arguments 1: {\"a\":2}",
        "choice end: tool_calls",
        "finished: tool_calls",
    ];
    stream(&events(&[&event(&first), &event(&second), end]), &twice);
    stream(&events(&[&event(&format!("{first},{second}")), end]), &twice);
    // The name again in each piece, and at last without any: still one call.
    let once = [
        "start: 1 ",
        "call: 0 1-0 f",
        "arguments 0: {\"a\":{\"b\":1}}",
        "choice end: tool_calls",
        "finished: tool_calls",
    ];
    let pieces = [r#"{\"a\":"#, r#"{\"b\":1}"#, "}", ""].map(|piece| event(&call(piece)));
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).chain([end]).collect();
    stream(&events(&pieces), &once);
}

#[test]
fn thoughts_by_other_names() {
    for name in ["reasoning_content", "reasoning", "thinking", "reasoning_text"] {
        stream(
            &events(&[
                &format!(r#"{{"choices":[{{"index":0,"delta":{{"{name}":"hm"}}}}]}}"#),
                r#"{"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}"#,
            ]),
            &["reasoning: hm", "text: hi", "choice end: stop", "finished: stop"],
        );
    }
}

#[test]
fn lists_of_content_in_other_shapes() {
    let message = |content: &str| {
        format!(r#"{{"choices":[{{"index":0,"message":{{"content":{content}}},"finish_reason":"stop"}}]}}"#)
    };
    for (content, lead) in [
        (r#"["h","i"]"#, None),
        (r#"[{"type":"output_text","text":"hi"}]"#, None),
        (r#"[{"type":"thinking","thinking":"hm"},{"type":"text","text":"hi"}]"#, Some("reasoning: hm")),
        (
            r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"hi"}]"#,
            Some("reasoning: hm"),
        ),
    ] {
        let expected: Vec<&str> =
            lead.into_iter().chain(["text: hi", "choice end: stop", "finished: stop"]).collect();
        whole(&message(content), &expected);
    }
}

#[test]
fn usage_by_other_names() {
    whole(
        r#"{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"input_tokens":5,"output_tokens":2}}"#,
        &["text: hi", "choice end: stop", "finished: stop in=5 out=2"],
    );
}

#[test]
fn content_that_is_one_object() {
    let told = |content: &str, expected: &[&str]| {
        let expected = [expected, &["choice end: stop", "finished: stop"]].concat();
        let event = |said: &str| {
            format!(
                r#"{{"choices":[{{"index":0,"{said}":{{"content":{content}}},"finish_reason":"stop"}}]}}"#
            )
        };
        whole(&event("message"), &expected);
        stream(&events(&[&event("delta")]), &expected);
    };
    told(r#"{"type":"text","text":"h\u00e9"}"#, &["text: hé"]);
    told(r#"{"text":"hi"}"#, &["text: hi"]);
    told(r#"{"type":"thinking","thinking":"hm"}"#, &["reasoning: hm"]);
    told(
        r#"{"type":"new","of":{"text":"no"}}"#,
        &[r#"opaque: openai-chat {"type":"new","of":{"text":"no"}}"#],
    );
    // Two at once: each has its own.
    stream(
        &events(&[
            r#"{"choices":[{"index":0,"delta":{"content":{"text":"a"}}},{"index":1,"delta":{"content":{"text":"b"}}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":{"text":"c"}},"finish_reason":"stop"},{"index":1,"delta":{},"finish_reason":"length"}]}"#,
        ]),
        &["text: a", "text 1: b", "text: c", "choice end: stop", "choice end 1: length", "finished: stop"],
    );
}

#[test]
fn text_where_legacy_completions_have_it() {
    whole(
        r#"{"object":"text_completion","choices":[{"index":0,"finish_reason":"stop","text":"h\u00e9"},{"text":"b","index":1,"finish_reason":"length"}]}"#,
        &["text: hé", "text 1: b", "choice end: stop", "choice end 1: length", "finished: stop"],
    );
    stream(
        &events(&[
            r#"{"object":"chat.completion.chunk","choices":[{"text":"h","index":0,"finish_reason":null}]}"#,
            r#"{"object":"chat.completion.chunk","choices":[{"text":"i","index":0,"finish_reason":null}]}"#,
            r#"{"object":"chat.completion.chunk","choices":[{"text":"","index":0,"finish_reason":"stop"}]}"#,
        ]),
        &["text: hi", "choice end: stop", "finished: stop"],
    );
    stream(&events(&[r#"{"choices":[{"text":"hi"}]}"#, "[DONE]"]), &["text: hi", "finished: "]);
    // Beside a message and beside deltas it repeats them.
    whole(
        r#"{"choices":[{"index":0,"message":{"content":"hi"},"text":"hi"},{"index":1,"finish_reason":"stop"}]}"#,
        &["text: hi", "choice end 1: stop", "finished: stop"],
    );
    stream(
        &events(&[
            r#"{"choices":[{"index":0,"delta":{"content":"hi"},"text":"hi"}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"text":"hi","finish_reason":"stop"}]}"#,
        ]),
        &["text: hi", "choice end: stop", "finished: stop"],
    );
}
