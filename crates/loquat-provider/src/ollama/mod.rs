//! Ollama's own chat, `/api/chat`.
//!
//! Follows <https://github.com/ollama/ollama/blob/main/docs/api.md> and the server's own request types.

mod decode;
mod encode;

pub(crate) use encode::{set_form, set_options, set_thinking};
use http::{HeaderMap, header};
use loquat_core::{ChatRequest, Error, ModelInfo, Result, Secret};

use crate::{
    DecodeLimits, Decoder, DecoderMemory, Encoded, Format, Head, encode as shared, failure, framing::Json,
};

/// The Ollama chat format.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OllamaChat;

/// Ollama's own.
pub static OLLAMA_CHAT: OllamaChat = OllamaChat;

impl Format for OllamaChat {
    fn name(&self) -> &'static str {
        "ollama-chat"
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        encode::encode(request, model)
    }

    /// A server at home asks for none; Ollama's cloud and proxies before a server do.
    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        shared::authenticate(headers, header::AUTHORIZATION, "Bearer ", secret)
    }

    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder {
        Decoder::reusing(head, limits, Json::Lines, memory, &decode::POOL, decode::Chat::boxed)
    }

    fn error(&self, head: &Head<'_>, body: &[u8]) -> Error {
        failure::of_response(head, body)
    }

    fn models_path(&self) -> &'static str {
        "api/tags"
    }

    fn decode_models(&self, body: &[u8]) -> Result<Vec<ModelInfo>> {
        shared::models(body, &["models"])
    }
}
