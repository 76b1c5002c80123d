//! Gemini interactions: steps in place of messages, and a server that can remember them.
//!
//! Follows <https://ai.google.dev/api/interactions-api>.

mod decode;
mod encode;

use http::{HeaderMap, HeaderName};
use loquat_core::{ChatRequest, Error, ModelInfo, Result, Secret};

use crate::{
    DecodeLimits, Decoder, DecoderMemory, Encoded, Format, GEMINI, Head, encode as shared, failure,
    framing::Json,
};

/// The interactions format. The base URL is Gemini's, `https://generativelanguage.googleapis.com/v1beta`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct GeminiInteractions;

/// Google's own.
pub static GEMINI_INTERACTIONS: GeminiInteractions = GeminiInteractions;

impl Format for GeminiInteractions {
    fn name(&self) -> &'static str {
        "gemini-interactions"
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        encode::encode(request, model)
    }

    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        shared::authenticate(headers, HeaderName::from_static("x-goog-api-key"), "", secret)
    }

    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder {
        Decoder::new(head, limits, Json::Document, memory, decode::Interactions::boxed(limits))
    }

    fn error(&self, head: &Head<'_>, body: &[u8]) -> Error {
        failure::of_response(head, body)
    }

    fn models_path(&self) -> &'static str {
        GEMINI.models_path()
    }

    fn decode_models(&self, body: &[u8]) -> Result<Vec<ModelInfo>> {
        GEMINI.decode_models(body)
    }
}
