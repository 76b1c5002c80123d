//! OpenAI Responses.
//!
//! Follows <https://platform.openai.com/docs/api-reference/responses> and
//! <https://platform.openai.com/docs/api-reference/responses-streaming>; xAI, OpenRouter, Azure and others speak it too.

mod decode;
mod encode;
mod item;
mod kept;
mod told;

use http::{HeaderMap, header};
use loquat_core::{ChatRequest, Error, ModelInfo, Result, Secret};

use crate::{
    DecodeLimits, Decoder, DecoderMemory, Encoded, Format, Head, encode as shared, failure, framing::Json,
};

/// The Responses format.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OpenAiResponses;

/// OpenAI's own.
pub static OPENAI_RESPONSES: OpenAiResponses = OpenAiResponses;

impl Format for OpenAiResponses {
    fn name(&self) -> &'static str {
        "openai-responses"
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        encode::encode(request, model)
    }

    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        shared::authenticate(headers, header::AUTHORIZATION, "Bearer ", secret)
    }

    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder {
        Decoder::reusing(head, limits, Json::Document, memory, &decode::POOL, || {
            decode::Responses::boxed(limits)
        })
    }

    fn error(&self, head: &Head<'_>, body: &[u8]) -> Error {
        failure::of_response(head, body)
    }

    fn models_path(&self) -> &'static str {
        "models"
    }

    fn decode_models(&self, body: &[u8]) -> Result<Vec<ModelInfo>> {
        shared::models(body, &["data", "models"])
    }
}
