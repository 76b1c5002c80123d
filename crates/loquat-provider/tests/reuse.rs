//! A decoder goes on with what the one before it left: the answer before, whole or cut anywhere, must not show in the next.
//!
//! One test, so that nobody else of this process takes or leaves anything.

mod support;

use loquat_provider::{
    ANTHROPIC_MESSAGES, COHERE_CHAT, DecodeLimits, Decoder, Format, GEMINI, OLLAMA_CHAT, OPENAI_CHAT,
    OPENAI_RESPONSES,
};
use support::{NDJSON, SSE};

/// More than are kept of any format.
const MANY: usize = 32;

/// One that nobody has used: while it decodes, all that is kept is in other hands.
fn fresh(format: &dyn Format, kind: &str) -> (Decoder, Vec<Decoder>) {
    let make = || support::decoder(format, kind, DecodeLimits::default());
    let others = (0..MANY).map(|_| make()).collect();
    (make(), others)
}

/// Answers of one format, each cut after every event and then followed by each of the others.
fn check(format: &dyn Format, kind: &str, answers: &[&[&str]]) {
    let text = |events: &[&str]| -> String {
        let framed =
            |event: &&str| if kind == SSE { format!("data: {event}\n\n") } else { format!("{event}\n") };
        events.iter().map(framed).collect()
    };
    for next in answers {
        let body = text(next);
        let (decoder, others) = fresh(format, kind);
        let expected = support::run(decoder, [body.as_bytes()], None);
        drop(others);
        for before in answers {
            for cut in 0..=before.len() {
                let cut = text(&before[..cut]);
                support::decode(format, kind, [cut.as_bytes()], None);
                let got = support::decode(format, kind, [body.as_bytes()], None);
                assert_eq!(got, expected, "{}: {next:?} after {cut:?}", format.name());
            }
        }
    }
}

#[test]
fn nothing_of_an_answer_shows_in_the_next() {
    check(
        &OPENAI_CHAT,
        SSE,
        &[
            &[
                r#"{"id":"1","model":"m","system_fingerprint":"fp","service_tier":"flex","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
                r#"{"id":"1","model":"m","system_fingerprint":"fp","choices":[{"index":0,"delta":{"content":"a\ud83d"}}]}"#,
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":"{"}}]}}]}"#,
                r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#,
                r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
                "[DONE]",
            ],
            &[
                r#"{"choices":[{"delta":{"content":"\ude00c"}}]}"#,
                r#"{"choices":[{"message":{"content":"d"}}],"system_fingerprint":"fp"}"#,
                r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"1"}}]}}]}"#,
                r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            ],
            &[r#"{"choices":[{"message":{"content":"whole"},"finish_reason":"stop"}]}"#, "[DONE]"],
            &[r#"{"error":{"message":"boom"}}"#],
            &["not JSON"],
        ],
    );
    check(
        &ANTHROPIC_MESSAGES,
        SSE,
        &[
            &[
                r#"{"type":"message_start","message":{"id":"1","model":"m","usage":{"input_tokens":3,"cache_read_input_tokens":9}}}"#,
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"x","name":"f","input":{}}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
                r#"{"type":"content_block_stop","index":0}"#,
                r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":7}}"#,
                r#"{"type":"message_stop"}"#,
            ],
            &[
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"}"}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
                r#"{"type":"content_block_stop","index":0}"#,
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
            ],
        ],
    );
    check(
        &OPENAI_RESPONSES,
        SSE,
        &[
            &[
                r#"{"type":"response.created","response":{"id":"1","model":"m"}}"#,
                r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message"}}"#,
                r#"{"type":"response.output_text.delta","output_index":0,"delta":"a\ud83d"}"#,
                r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","call_id":"x","name":"f"}}"#,
                r#"{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":2,"output_tokens":1}}}"#,
            ],
            &[
                r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[{"type":"output_text","text":"b"}]}}"#,
                r#"{"type":"response.function_call_arguments.delta","output_index":1,"delta":"{}"}"#,
                r#"{"type":"response.completed","response":{"status":"completed"}}"#,
            ],
            &[
                r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"m","type":"message","content":[{"type":"output_text","text":"c"}]}}"#,
                r#"{"type":"response.completed","response":{"status":"completed"}}"#,
            ],
            // Nobody has told of this item, though another answer had one of that name and place.
            &[
                r#"{"type":"response.completed","response":{"status":"completed","output":[{"id":"m","type":"message","content":[{"type":"output_text","text":"d"}]}]}}"#,
            ],
            &[
                r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"c"}]}]}}"#,
            ],
        ],
    );
    check(
        &GEMINI,
        SSE,
        &[
            &[
                r#"{"responseId":"1","modelVersion":"m","candidates":[{"content":{"parts":[{"text":"a\ud83d"}]},"index":0}],"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":1}}"#,
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","partialArgs":[{"jsonPath":"$.a","stringValue":"b"}],"willContinue":true}}]},"index":0}]}"#,
                r#"{"candidates":[{"finishReason":"STOP","index":0}]}"#,
            ],
            &[
                r#"{"candidates":[{"content":{"parts":[{"text":"\ude00"}]},"index":0}]}"#,
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"partialArgs":[{"jsonPath":"$.c","stringValue":"d"}]}}]},"index":0}]}"#,
                r#"{"candidates":[{"finishReason":"STOP","index":0}]}"#,
            ],
        ],
    );
    check(
        &OLLAMA_CHAT,
        NDJSON,
        &[
            &[
                r#"{"model":"m","created_at":"2025","message":{"content":"a\ud83d"},"done":false}"#,
                r#"{"model":"m","message":{"tool_calls":[{"function":{"name":"f","arguments":{}}}]},"done":false}"#,
                r#"{"model":"m","message":{"content":""},"done":true,"done_reason":"stop","eval_count":4}"#,
            ],
            &[
                r#"{"message":{"content":"\ude00b"},"done":false}"#,
                r#"{"message":{"tool_calls":[{"function":{"name":"g","arguments":{}}}]},"done":true,"done_reason":"stop"}"#,
            ],
        ],
    );
    check(
        &COHERE_CHAT,
        SSE,
        &[
            &[
                r#"{"type":"message-start","id":"1"}"#,
                r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a\ud83d"}}}}"#,
                r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"x","function":{"name":"f","arguments":""}}}}}"#,
                r#"{"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":{"tokens":{"input_tokens":1,"output_tokens":2}}}}"#,
            ],
            &[
                r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"\ude00"}}}}"#,
                r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{}"}}}}}"#,
                r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#,
            ],
        ],
    );
}
