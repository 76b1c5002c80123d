//! The plainest events of a stream take a short way through a format's decoder. It must come to what the long way does: each
//! event here is decoded as it is and with one more member that says nothing and that only the long way has a place for. An event
//! that looks like the one before it is not even decided about, unless it comes in two pieces: so each is decoded both ways.

mod support;

use loquat_provider::{
    ANTHROPIC_MESSAGES, COHERE_CHAT, Format, GEMINI, OLLAMA_CHAT, OPENAI_CHAT, OPENAI_RESPONSES,
};

const CHAT: &[&str] = &[
    r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
    r#"{"choices":[{"delta":{"content":"b"},"index":1}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"c"}},{"index":1,"delta":{"content":"d"}}]}"#,
    r#"{"choices":[{"index":1},{"delta":{"content":"e"}}]}"#,
    r#"{"choices":[{"delta":{"content":"f"}},{"index":1}]}"#,
    r#"{"choices":[{"delta":{"content":"g"}}]}"#,
    r#"{"choices":[{"index":null,"delta":{"content":"h"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"i"},"message":{"content":"ii"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"","reasoning_content":"j"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"k","reasoning":"l"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":null,"reasoning":"m","reasoning_content":"m"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"n"}],"reasoning":"o"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"\ud83d"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"\ude00 p\n"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"q"},"logprobs":null}],"usage":null}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"r"}}],"system_fingerprint":"fp","service_tier":null}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"s"}}],"system_fingerprint":"fp","service_tier":"flex"}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"t"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"u"}}],"object":"error"}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":""}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":null,"function":{"name":null,"arguments":"\":"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"1"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"","tool_calls":[{"index":0,"function":{"arguments":"2"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1},{"function":{"arguments":"3"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":{"b":1}}}]}}]}"#,
    r#"{"choices":[{"index":"0","delta":{"content":"v"}}]}"#,
    r#"{"choices":[{"index":4294967296,"delta":{"content":"w"}}]}"#,
];

const PIECES: &[&str] = &[
    r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"index":0}],"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":1}}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"c","thought":true}]},"index":0}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"d","thought":null}]},"index":null}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":""}]},"index":1}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"e"},{"text":"f"}]},"index":0}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"g"},{}]},"index":0}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"h"}]},"index":1},{"content":{"parts":[{"text":"i"}]},"index":0}]}"#,
    r#"{"candidates":[{"index":0},{"content":{"parts":[{"text":"j"}]}}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":7}]},"index":0}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"k","thoughtSignature":"s"}]},"index":0}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"l"}]},"index":"0"}]}"#,
];

/// Alike but for what they say of the cost, which the last one of an answer decides.
const COSTS: &[&str] = &[
    r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"index":0}],"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":1,"thoughtsTokenCount":0}}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"index":0}],"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":77,"thoughtsTokenCount":12}}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":""}]},"index":0}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":78,"thoughtsTokenCount":13}}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"c"}]},"index":0}],"usageMetadata":{"promptTokenCount":-4,"candidatesTokenCount":1e2,"thoughtsTokenCount":9.5}}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"d"}]},"index":0}],"usageMetadata":{"promptTokenCount":18446744073709551615,"candidatesTokenCount":18446744073709551616,"thoughtsTokenCount":5}}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"e"}]},"index":0}],"usageMetadata":{"promptTokenCount":null,"candidatesTokenCount":5,"thoughtsTokenCount":"6"}}"#,
];

/// The opening, the events in turn and in every pair, and an end.
fn check(format: &dyn Format, start: &str, events: &[&str], end: &str, aside: &str) {
    let decode = |events: &[String]| {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        support::decode(format, support::SSE, [body.as_bytes()], None)
    };
    let long = |event: &str| format!("{{{aside},{}", event.trim_start_matches('{'));
    let sure = |events: &[&str]| {
        let short: Vec<String> = [&[start], events, &[end]].concat().into_iter().map(str::to_owned).collect();
        let aside: Vec<String> = short.iter().map(|event| long(event)).collect();
        assert_eq!(decode(&short), decode(&aside), "{events:#?}");
    };
    let pieces = |events: &[&str]| {
        let events = [&[start], events, &[end]].concat();
        let framed: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let whole = framed.iter().map(|event| event.as_bytes());
        let halves = framed.iter().map(|event| event.as_bytes().split_at(event.len() / 2));
        let halves = halves.flat_map(|(left, right)| [left, right]);
        let [whole, halves] = [whole.collect::<Vec<_>>(), halves.collect()]
            .map(|reads| support::decode(format, support::SSE, reads, None));
        assert_eq!(whole, halves, "{events:#?}");
    };
    // The wrong ones end an answer, so each is tried alone too.
    sure(events);
    for event in events {
        sure(&[event]);
        for other in events {
            sure(&[event, other, event]);
            pieces(&[event, event, event, other, event, other, other]);
        }
    }
}

#[test]
fn chat_takes_it_for_text_and_for_arguments() {
    check(
        &OPENAI_CHAT,
        r#"{"id":"1","model":"m","choices":[]}"#,
        CHAT,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        // A total is no usage without its parts.
        r#""x_groq":{"usage":{"total_tokens":0}}"#,
    );
}

#[test]
fn gemini_takes_it_for_text() {
    for events in [PIECES, COSTS] {
        check(
            &GEMINI,
            r#"{"responseId":"1","modelVersion":"m","candidates":[]}"#,
            events,
            r#"{"candidates":[{"finishReason":"STOP","index":0}]}"#,
            r#""promptFeedback":{}"#,
        );
    }
}

/// Texts as a stream has them: plain, empty, escaped, halves of a pair, none at all.
const TEXTS: &[&str] =
    &[r#""a""#, r#""""#, r#""b\n\u00e9""#, r#""\ud83d""#, r#""\ude00c""#, "null", "7", r#""枇杷""#];

/// The texts in an event with these around them.
fn around(events: &[&str]) -> Vec<String> {
    let put = |event: &&str| TEXTS.iter().map(|text| event.replace("TEXT", text)).collect::<Vec<_>>();
    events.iter().flat_map(put).collect()
}

fn check_texts(format: &dyn Format, start: &str, events: &[&str], end: &str, aside: &str) {
    let events = around(events);
    check(format, start, &events.iter().map(String::as_str).collect::<Vec<_>>(), end, aside);
}

#[test]
fn anthropic_takes_it_for_text() {
    check_texts(
        &ANTHROPIC_MESSAGES,
        r#"{"type":"message_start","message":{"id":"1","model":"m","usage":{"input_tokens":3}}}"#,
        &[
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":TEXT}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":TEXT}}"#,
            r#"{"type":"ping","delta":{"text":TEXT}}"#,
            r#"{"type":"content_block\u005fdelta","index":0,"delta":{"type":"text_delta","text":TEXT}}"#,
        ],
        r#"{"type":"message_stop"}"#,
        r#""message":{"stop_reason":""}"#,
    );
}

#[test]
fn responses_take_it_for_text() {
    check_texts(
        &OPENAI_RESPONSES,
        r#"{"type":"response.created","response":{"id":"1","model":"m"}}"#,
        &[
            r#"{"type":"response.output_text.delta","output_index":0,"delta":TEXT,"logprobs":[]}"#,
            r#"{"type":"response.output_text.delta","output_index":1,"delta":TEXT,"logprobs":[{"token":"a"}]}"#,
            r#"{"type":"response.output_text.delta","delta":TEXT}"#,
            r#"{"type":"response.refusal.delta","output_index":0,"delta":TEXT}"#,
        ],
        r#"{"type":"response.completed","response":{"status":"completed"}}"#,
        r#""annotation":"none""#,
    );
}

#[test]
fn cohere_takes_it_for_text() {
    check_texts(
        &COHERE_CHAT,
        r#"{"type":"message-start","id":"1","delta":{"message":{"content":[]}}}"#,
        &[
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":TEXT}}}}"#,
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":TEXT,"thinking":TEXT}}}}"#,
            r#"{"type":"content-end","index":0,"delta":{"message":{"content":{"text":TEXT}}}}"#,
        ],
        r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#,
        r#""generation_id":"none""#,
    );
}

#[test]
fn ollama_takes_it_for_text() {
    check_texts(
        &OLLAMA_CHAT,
        r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":""},"done":false}"#,
        &[
            r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":TEXT},"done":false}"#,
            r#"{"model":"m","message":{"content":TEXT,"thinking":TEXT}}"#,
            r#"{"model":"m","message":{"content":TEXT},"done":"true"}"#,
            r#"{"model":"m","message":{"content":TEXT},"done":true}"#,
        ],
        r#"{"model":"m","message":{"content":""},"done_reason":"stop","done":true}"#,
        r#""prompt_eval_count":"none""#,
    );
}
