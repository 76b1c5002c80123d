//! How many tokens a request would be, by the provider's own count: the request as it would be sent, at another path and
//! without what only a generation takes.
//!
//! <https://docs.anthropic.com/en/api/messages-count-tokens>, <https://ai.google.dev/api/tokens>,
//! <https://platform.openai.com/docs/api-reference/responses/input-tokens>.

use std::collections::BTreeMap;

use loquat_core::{ChatRequest, Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Dialect, dialect, protocol, read, unsupported};
use crate::{Encoded, Format, encode::path_segment};

const ANTHROPIC_TAKES: &[&str] =
    &["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"];
const RESPONSES_TAKES: &[&str] =
    &["model", "input", "instructions", "tools", "tool_choice", "text", "reasoning", "parallel_tool_calls"];

/// The request for a count.
///
/// # Errors
/// `Unsupported` where the format has none; what [`Format::encode`] refuses.
pub fn encode_count(format: &dyn Format, request: &ChatRequest, model: &str) -> Result<Encoded> {
    let dialect = dialect(format);
    if !matches!(dialect, Dialect::Anthropic | Dialect::Responses | Dialect::Gemini) {
        return Err(unsupported(format, "count of tokens: count them on this side"));
    }
    let mut encoded = format.encode(request, model)?;
    let wrong =
        |error| Error::new(ErrorKind::Internal, "an encoded body is not an object").with_source(error);
    let mut members: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(&encoded.body).map_err(wrong)?;
    match dialect {
        Dialect::Anthropic => {
            members.retain(|name, _| ANTHROPIC_TAKES.contains(&name.as_str()));
            "messages/count_tokens".clone_into(&mut encoded.path);
        }
        Dialect::Responses => {
            members.retain(|name, _| RESPONSES_TAKES.contains(&name.as_str()));
            "responses/input_tokens".clone_into(&mut encoded.path);
        }
        _ => {
            let model_name = serde_json::value::to_raw_value(&format!("models/{model}")).map_err(wrong)?;
            members.insert("model".to_owned(), model_name);
            let inner = serde_json::value::to_raw_value(&members).map_err(wrong)?;
            members = BTreeMap::from([("generateContentRequest".to_owned(), inner)]);
            encoded.path = format!("models/{}:countTokens", path_segment(model));
        }
    }
    encoded.body = serde_json::to_vec(&members).map_err(wrong)?;
    Ok(encoded)
}

/// The count.
///
/// # Errors
/// `Protocol` if the response has none.
pub fn decode_count(format: &dyn Format, body: &[u8]) -> Result<u64> {
    let counted: Counted = read(body)?;
    let counted = match dialect(format) {
        Dialect::Gemini => counted.total_tokens,
        _ => counted.input_tokens,
    };
    counted.ok_or_else(|| protocol("the response has no count of tokens".to_owned()))
}

#[derive(Deserialize)]
struct Counted {
    input_tokens: Option<u64>,
    #[serde(rename = "totalTokens")]
    total_tokens: Option<u64>,
}
