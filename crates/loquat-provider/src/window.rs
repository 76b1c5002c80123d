//! The numbers in an error that says a prompt is too long: how many tokens fit, and how many there were.
//!
//! Nearly every provider puts them into a sentence, so they are read by the words beside them. A number whose words are
//! not known is left out and never guessed.

use loquat_core::ContextLength;
use serde_json::Value;

/// Longest message that is read, in bytes; longer ones quote the prompt.
const MAX_READ_BYTES: usize = 1024;

/// What stands before the number of tokens that fit.
const LIMIT_AFTER_WORDS: &[&str] = &[
    "maximum context length is ",  // OpenAI, vLLM, OpenRouter
    "maximum prompt length is ",   // xAI
    "context length of only ",     // LM Studio
    "context length (",            // SGLang
    "available context size (",    // llama.cpp
    "number of tokens allowed (",  // Gemini
    "tokens > ",                   // Anthropic, Bedrock
    "tokens allowed is ",          // Fireworks
    "must be <= ",                 // text-generation-inference
    "input length should be [1, ", // DashScope
    "cannot exceed ",              // Cohere
    "large for model with ",       // Mistral
    "maximum model length of ",    // vLLM
    "model token limit: ",         // Moonshot
];

/// What stands before the number of tokens that were sent.
const REQUEST_AFTER_WORDS: &[&str] = &[
    "resulted in ",
    "you requested about ",
    "you requested ",
    "request contains ",
    "request has ",
    "prompt contains ",
    "prompt is too long: ",
    "request (",
    "the input (",
    "token count (",
    "given: ",
    "received ",
    "prompt (length ",
    "(requested: ",
];

/// The numbers in the error's members, where it has such, else in its message.
pub(crate) fn numbers(body: Option<&Value>, message: &str) -> ContextLength {
    let inner = body.map(|body| body.get("error").unwrap_or(body));
    let member = |name: &str| inner?.get(name)?.as_u64();
    // llama.cpp's server has them as members.
    let found = ContextLength::new(member("n_ctx"), member("n_prompt_tokens"));
    if !found.is_unknown() {
        return found;
    }
    let text = message[..message.floor_char_boundary(MAX_READ_BYTES)].to_ascii_lowercase();
    let after = |words: &[&str]| words.iter().find_map(|word| count_at(text.split_once(word)?.1));
    ContextLength::new(after(LIMIT_AFTER_WORDS), after(REQUEST_AFTER_WORDS))
}

/// The number at the beginning of a text; some write `1,048,576`.
fn count_at(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(text.len());
    let digits = text[..end].trim_end_matches(',').replace(',', "");
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_of_many_providers() {
        for (message, limit, request) in [
            (
                "This model's maximum context length is 4097 tokens. However, your messages resulted in 5360 tokens.",
                Some(4097),
                Some(5360),
            ),
            (
                "This model's maximum context length is 8192 tokens, however you requested 10000 tokens (9000 in your \
                 prompt; 1000 for the completion).",
                Some(8192),
                Some(10000),
            ),
            (
                "This endpoint's maximum context length is 131072 tokens. However, you requested about 150003 tokens",
                Some(131_072),
                Some(150_003),
            ),
            ("prompt is too long: 210000 tokens > 200000 maximum", Some(200_000), Some(210_000)),
            (
                "The input token count (1,050,000) exceeds the maximum number of tokens allowed (1048576).",
                Some(1_048_576),
                Some(1_050_000),
            ),
            (
                "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
                Some(32768),
                Some(40000),
            ),
            (
                "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
                Some(131_072),
                Some(537_812),
            ),
            (
                "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
                Some(4096),
                Some(5000),
            ),
            ("Range of input length should be [1, 6000]", Some(6000), None),
            (
                "request (2009 tokens) exceeds the available context size (512 tokens), try increasing it",
                Some(512),
                Some(2009),
            ),
            (
                "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
                Some(8192),
                Some(9000),
            ),
            ("The total length of all messages is too long.", None, None),
            ("maximum context length is 99999999999999999999999 tokens", None, None),
            ("maximum context length is ", None, None),
        ] {
            assert_eq!(numbers(None, message), ContextLength::new(limit, request), "{message}");
        }
        let body = serde_json::json!({"error": {"n_ctx": 512, "n_prompt_tokens": 2009}});
        assert_eq!(numbers(Some(&body), ""), ContextLength::new(Some(512), Some(2009)));
    }
}
