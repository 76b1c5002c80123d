//! Anthropic Messages.
//!
//! Follows <https://docs.anthropic.com/en/api/messages> and <https://docs.anthropic.com/en/api/messages-streaming>,
//! version 2023-06-01.

mod decode;
mod encode;
mod schema;

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, header};
use loquat_core::{ChatRequest, Error, ModelInfo, Result, Secret};

use crate::{
    DecodeLimits, Decoder, DecoderMemory, Encoded, Format, Head, Outgoing, encode as shared, failure,
    framing::Json,
};

/// The Messages format.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AnthropicMessages {
    /// See [`Format::name`].
    pub name: &'static str,
    /// `max_tokens` for requests that say nothing, as the format demands one: 8,192, which every model still served
    /// accepts. What the model may spend on thinking counts against it and is added to it: the request's budget, or what
    /// stands for its effort (`low` 1,024, `medium` 4,096, anything else 16,384).
    pub default_max_tokens: u32,
    /// Whose front door it is asked at.
    pub place: AnthropicPlace,
}

/// Where the Messages format is spoken: the body says and leaves out different things, and the path names the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnthropicPlace {
    /// At Anthropic, and those who do as it does.
    Anthropic,
    /// At Bedrock, inside its binary event stream. The credential is a Bedrock API key or, with the feature `sigv4`, a key
    /// pair to sign with.
    Bedrock,
    /// At Vertex AI. The credential is an access token, and the base URL ends in `…/publishers/anthropic`.
    Vertex,
}

/// Anthropic's own.
pub static ANTHROPIC_MESSAGES: AnthropicMessages = AnthropicMessages {
    name: "anthropic-messages",
    default_max_tokens: 8192,
    place: AnthropicPlace::Anthropic,
};

/// Claude at Bedrock: the base URL is `https://bedrock-runtime.REGION.amazonaws.com`.
pub static ANTHROPIC_BEDROCK: AnthropicMessages =
    AnthropicMessages { name: "anthropic-bedrock", place: AnthropicPlace::Bedrock, ..ANTHROPIC_MESSAGES };

/// Claude at Vertex AI: the base URL ends in `…/projects/PROJECT/locations/REGION/publishers/anthropic`.
pub static ANTHROPIC_VERTEX: AnthropicMessages =
    AnthropicMessages { name: "anthropic-vertex", place: AnthropicPlace::Vertex, ..ANTHROPIC_MESSAGES };

impl Format for AnthropicMessages {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        encode::encode(self, request, model)
    }

    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        if self.place != AnthropicPlace::Anthropic {
            return shared::authenticate(headers, header::AUTHORIZATION, "Bearer ", secret);
        }
        shared::authenticate(headers, HeaderName::from_static("x-api-key"), "", secret)?;
        // A listing needs the version as much as a generation does, and has no body to be encoded with it.
        headers.insert(encode::VERSION_HEADER, encode::VERSION);
        Ok(())
    }

    fn sign(
        &self,
        outgoing: &Outgoing<'_>,
        secret: &Secret,
        now: SystemTime,
        headers: &mut HeaderMap,
    ) -> Result<()> {
        #[cfg(feature = "sigv4")]
        if self.place == AnthropicPlace::Bedrock && crate::sigv4::sign(outgoing, secret, now, headers)? {
            return Ok(());
        }
        let _ = (outgoing, now);
        self.authenticate(secret, headers)
    }

    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder {
        Decoder::reusing(head, limits, Json::Document, memory, &decode::POOL, decode::Messages::boxed)
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
