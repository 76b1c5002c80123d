//! What of an answer is content: a sign that the endpoint works, where a head, a ping or a word about the answer is none.
//!
//! Many servers say that an answer has begun long before they have a token (`response.created`, `message_start`), and some say
//! so and then nothing. So limits, the breaker, admission and hedges all look at the first delta with content, and not at
//! the first.

use loquat_core::Delta;

/// The bytes of content that a delta carries; `None` for one that is no sign of progress.
pub(crate) fn bytes(delta: &Delta<'_>) -> Option<usize> {
    match delta {
        Delta::Text { text, .. } | Delta::Reasoning { text, .. } | Delta::Refusal { text, .. } => {
            Some(text.len())
        }
        Delta::ReasoningSignature { signature, .. } | Delta::ToolSignature { signature, .. } => {
            Some(signature.len())
        }
        Delta::ToolCall { id, name, .. } => Some(id.len() + name.len()),
        Delta::ToolArguments { fragment, .. } => Some(fragment.len()),
        Delta::Media { data, .. } => Some(data.len()),
        Delta::Opaque { json, .. } => Some(json.len()),
        Delta::ChoiceEnd { .. } => Some(0),
        _ => None, // the start, what is said about an answer, and events that nobody knows: a ping may be one
    }
}

#[cfg(test)]
mod tests {
    use loquat_core::FinishReason;

    use super::*;

    #[test]
    fn what_a_model_makes_is_content_and_what_is_said_of_it_is_not() {
        let (choice, call, text) = (0, 0, "0123");
        for (delta, expected) in [
            (Delta::Text { choice, text }, Some(4)),
            (Delta::Reasoning { choice, text }, Some(4)),
            (Delta::ReasoningSignature { choice, signature: text, redacted: true }, Some(4)),
            (Delta::Refusal { choice, text }, Some(4)),
            (Delta::ToolCall { choice, call, id: "1", name: text }, Some(5)),
            (Delta::ToolArguments { choice, call, fragment: text }, Some(4)),
            (Delta::ToolSignature { choice, call, signature: text }, Some(4)),
            (Delta::Media { choice, media_type: "audio/wav", data: &[0; 9] }, Some(9)),
            (Delta::Opaque { choice, format: "f", json: text }, Some(4)),
            (Delta::ChoiceEnd { choice, reason: &FinishReason::Stop }, Some(0)),
            (Delta::Start { id: text, model: text }, None),
            (Delta::Detail { choice, name: "fingerprint", json: text }, None),
            (Delta::Raw { event: "ping", data: "{}" }, None),
        ] {
            assert_eq!(bytes(&delta), expected, "{delta:?}");
        }
    }
}
