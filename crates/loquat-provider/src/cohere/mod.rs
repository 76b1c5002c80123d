//! Cohere's chat, version 2; answers of version 1 are read as well.
//!
//! Follows <https://docs.cohere.com/reference/chat> and <https://docs.cohere.com/v2/docs/streaming>.

mod decode;
mod encode;

use http::{HeaderMap, header};
use loquat_core::{ChatRequest, Error, ModelInfo, Result, Secret};

use crate::{
    DecodeLimits, Decoder, DecoderMemory, Encoded, Format, Head, encode as shared, failure, framing::Json,
};

/// The Cohere chat format. The base URL is `https://api.cohere.com`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CohereChat;

/// Cohere's own.
pub static COHERE_CHAT: CohereChat = CohereChat;

impl Format for CohereChat {
    fn name(&self) -> &'static str {
        "cohere-chat"
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        encode::encode(request, model)
    }

    fn dimensions_field(&self) -> &'static str {
        "output_dimension"
    }

    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        shared::authenticate(headers, header::AUTHORIZATION, "Bearer ", secret)
    }

    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder {
        // Version 1 streams lines, under the content type of such.
        let streams = head.content_type().is_some_and(|kind| kind.contains("stream+json"));
        let json = if streams { Json::Lines } else { Json::Document };
        Decoder::reusing(head, limits, json, memory, &decode::POOL, decode::Chat::boxed)
    }

    fn error(&self, head: &Head<'_>, body: &[u8]) -> Error {
        failure::of_response(head, body)
    }

    fn models_path(&self) -> &'static str {
        "v1/models?page_size=1000&endpoint=chat"
    }

    fn decode_models(&self, body: &[u8]) -> Result<Vec<ModelInfo>> {
        shared::models(body, &["models"])
    }
}
