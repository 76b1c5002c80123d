//! Mutated streams in every format, split at random: no panic, one ending, the same for every split, and never
//! `Finished` without something that says so.

mod support;

use loquat_provider::{
    ANTHROPIC_MESSAGES, COHERE_CHAT, DASHSCOPE, DASHSCOPE_CUMULATIVE, Format, GEMINI, GEMINI_INTERACTIONS,
    OLLAMA_CHAT, OLLAMA_GENERATE, OPENAI_CHAT, OPENAI_COMPLETIONS, OPENAI_RESPONSES,
};
use proptest::{collection::vec, prelude::*};

const SEEDS: &[(&dyn Format, &str, &str)] = &[
    (
        &OPENAI_CHAT,
        support::SSE,
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\ud83d\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"\\ude00\",\"tool_calls\":[{\"index\":1,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n",
    ),
    (
        &OPENAI_CHAT,
        support::JSON,
        "{\"choices\":[{\"message\":{\"reasoning\":\"r\",\"content\":\"a\",\"tool_calls\":[{\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}]}",
    ),
    (
        &ANTHROPIC_MESSAGES,
        support::SSE,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"partial_json\":\"{}\"}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
    ),
    (
        &COHERE_CHAT,
        support::SSE,
        "data: {\"id\":\"c\",\"type\":\"message-start\"}\n\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"a\"}}}}\n\ndata: {\"type\":\"tool-call-start\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}}}}\n\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\"}}\n\n",
    ),
    (
        &OPENAI_COMPLETIONS,
        support::SSE,
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"text\":\"a\"},{\"index\":1,\"text\":\"b\"}]}\n\ndata: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    ),
    (
        &OLLAMA_GENERATE,
        support::NDJSON,
        "{\"model\":\"m\",\"response\":\"a\"}\n{\"response\":\"\",\"done\":true,\"done_reason\":\"stop\"}\n",
    ),
    (
        &DASHSCOPE,
        support::SSE,
        "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"a\",\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"null\"}]},\"request_id\":\"r\"}\n\ndata:{\"output\":{\"choices\":[{\"message\":{\"content\":[{\"text\":\"a\"},{\"text\":\"b\"}]},\"finish_reason\":\"stop\"}]}}\n\n",
    ),
    (
        &DASHSCOPE_CUMULATIVE,
        support::SSE,
        "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"a\",\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"null\"}]},\"request_id\":\"r\"}\n\ndata:{\"output\":{\"choices\":[{\"message\":{\"content\":[{\"text\":\"a\"},{\"text\":\"b\"}]},\"finish_reason\":\"stop\"}]}}\n\n",
    ),
    (
        &GEMINI_INTERACTIONS,
        support::SSE,
        "data: {\"event_type\":\"interaction.created\",\"interaction\":{\"id\":\"v\"}}\n\ndata: {\"event_type\":\"step.start\",\"step\":{\"type\":\"google_search_call\"}}\n\ndata: {\"event_type\":\"step.delta\",\"delta\":{\"result\":[1]}}\n\ndata: {\"event_type\":\"step.start\",\"step\":{\"type\":\"function_call\",\"id\":\"a\",\"name\":\"f\"}}\n\ndata: {\"event_type\":\"step.delta\",\"delta\":{\"arguments\":\"{}\"}}\n\ndata: {\"event_type\":\"interaction.completed\",\"interaction\":{\"status\":\"completed\"}}\n\n",
    ),
    (
        &OPENAI_RESPONSES,
        support::SSE,
        "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}\n\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"f\"}}\n\ndata: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":0,\"delta\":\"{}\"}\n\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":1,\"delta\":\"\\ud83d\"}\n\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"type\":\"message\",\"content\":[{\"text\":\"a\"}]}]}}\n\n",
    ),
    (
        &GEMINI,
        support::SSE,
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\",\"thought\":true},{\"functionCall\":{\"name\":\"f\",\"willContinue\":true}}]},\"index\":0}],\"responseId\":\"r\"}\n\ndata: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"partialArgs\":[{\"jsonPath\":\"$.a[0]\",\"stringValue\":\"x\"}]}}]},\"finishReason\":\"STOP\"}]}\n\n",
    ),
    (
        &GEMINI,
        support::JSON,
        "[{\"candidates\":[{\"content\":{\"parts\":[{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"AQI=\"}}]}}]},\n{\"candidates\":[{\"finishReason\":\"STOP\"}]}]",
    ),
    (
        &OLLAMA_CHAT,
        support::NDJSON,
        "{\"model\":\"m\",\"message\":{\"content\":\"a\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{}}}]}}\n{\"done\":true,\"done_reason\":\"stop\"}\n",
    ),
];

/// What a mutation puts in: single bytes, and pieces that mean something.
const PIECES: [&str; 14] = [
    "\n",
    "\r",
    "\"",
    "{",
    "}",
    "[",
    ":",
    "data: ",
    "error: ",
    "null",
    "-1",
    "4000000000",
    "\\ud800",
    "\u{feff}",
];

/// Words without which no format can say that it has finished.
const FINISHING: &[&str] = &[
    "finish_reason",
    "[DONE]",
    "stop_reason",
    "message_stop",
    "\"done\"",
    "\"message\"",
    "\"choices\"",
    "finishReason",
    "\"candidates\"",
    "response.completed",
    "message-end",
    "interaction.completed",
    "\"status\"",
    "\"text\"",
    "\"object\"",
    "\"output\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn mutated_streams_end_once_and_alike(
        seed in 0..SEEDS.len(),
        changes in vec((any::<prop::sample::Index>(), 0..3_u8, 0..PIECES.len()), 0..6),
        splits in vec(1..40_usize, 1..8),
    ) {
        let (format, content_type, body) = SEEDS[seed];
        let mut body = body.as_bytes().to_vec();
        for (at, change, piece) in changes {
            let at = at.index(body.len().max(1)).min(body.len());
            match change {
                0 => body.truncate(at),
                1 => drop(body.splice(at..at, PIECES[piece].bytes())),
                _ => drop(body.splice(at..(at + 1).min(body.len()), PIECES[piece].bytes())),
            }
        }
        let whole = support::decode(format, content_type, [&body[..]], None);
        let mut rest = &body[..];
        let mut chunks = Vec::new();
        for size in splits.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, tail) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        prop_assert_eq!(&support::decode(format, content_type, chunks, None), &whole);
        if whole.ending.is_finished() {
            let text = String::from_utf8_lossy(&body);
            prop_assert!(FINISHING.iter().any(|word| text.contains(word)), "{}", text);
        }
    }
}
