//! Anthropic Messages.
//!
//! Follows <https://docs.anthropic.com/en/api/messages> and <https://docs.anthropic.com/en/api/messages-streaming>,
//! version 2023-06-01.

mod decode;
mod encode;

use http::{HeaderMap, HeaderName};
use loquat_core::{ChatRequest, Error, ModelInfo, Result, Secret};

use crate::{DecodeLimits, Decoder, Encoded, Format, Head, decoder::Json, encode as shared, failure};

/// The Messages format.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AnthropicMessages {
    /// `max_tokens` for requests that say nothing, as the format demands one: 8,192, which every model still served
    /// accepts. With a thinking budget it is added to the budget, which counts against it.
    pub default_max_tokens: u32,
}

/// Anthropic's own.
pub static ANTHROPIC_MESSAGES: AnthropicMessages = AnthropicMessages { default_max_tokens: 8192 };

impl Format for AnthropicMessages {
    fn name(&self) -> &'static str {
        "anthropic-messages"
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        encode::encode(self, request, model)
    }

    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        shared::authenticate(headers, HeaderName::from_static("x-api-key"), "", secret)?;
        // A listing needs the version as much as a generation does, and has no body to be encoded with it.
        headers.insert(encode::VERSION_HEADER, encode::VERSION);
        Ok(())
    }

    fn decoder(&self, head: &Head<'_>, limits: DecodeLimits) -> Decoder {
        Decoder::new(head, limits, Json::Document, decode::Messages::boxed())
    }

    fn error(&self, head: &Head<'_>, body: &[u8]) -> Error {
        failure::of_response(head, body)
    }

    fn models_path(&self) -> &'static str {
        // Twenty a page unless asked; a thousand is the most there is.
        "models?limit=1000"
    }

    fn decode_models(&self, body: &[u8]) -> Result<Vec<ModelInfo>> {
        shared::models(body, &["data"])
    }
}
