//! The formats before chat: a prompt, and the text that follows it. OpenAI's legacy completions and Ollama's `/api/generate`.
//!
//! They know no roles: a conversation is refused rather than glued together, since how to do that is the model's own
//! template. Follow <https://platform.openai.com/docs/api-reference/completions> and
//! <https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-completion>.

mod generate;
mod openai;

use http::{HeaderMap, header};
use loquat_core::{ChatRequest, Error, Message, ModelInfo, Part, Result, Role, Secret};

use crate::{
    DecodeLimits, Decoder, DecoderMemory, Encoded, Format, Head,
    encode::{self as shared, unsupported},
    failure,
    framing::Json,
};

/// OpenAI's legacy completions, which vLLM, llama.cpp, Together and others still serve.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OpenAiCompletions;

/// OpenAI's own.
pub static OPENAI_COMPLETIONS: OpenAiCompletions = OpenAiCompletions;

/// Ollama's `/api/generate`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OllamaGenerate;

/// Ollama's own.
pub static OLLAMA_GENERATE: OllamaGenerate = OllamaGenerate;

impl Format for OpenAiCompletions {
    fn name(&self) -> &'static str {
        "openai-completions"
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        openai::encode(request, model)
    }

    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        shared::authenticate(headers, header::AUTHORIZATION, "Bearer ", secret)
    }

    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder {
        Decoder::new(head, limits, Json::Document, memory, openai::Completions::boxed())
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

impl Format for OllamaGenerate {
    fn name(&self) -> &'static str {
        "ollama-generate"
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        generate::encode(request, model)
    }

    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        shared::authenticate(headers, header::AUTHORIZATION, "Bearer ", secret)
    }

    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder {
        Decoder::new(head, limits, Json::Lines, memory, generate::Generate::boxed())
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

/// The one message of the user, of which a prompt is made; and those of the system, where the format has a place.
fn prompt<'a>(request: &'a ChatRequest, system: bool, format: &str) -> Result<&'a Message> {
    let is_system = |message: &&Message| system && message.role == Role::System;
    let rest: Vec<_> = request.messages.iter().filter(|message| !is_system(message)).collect();
    let [Message { role: Role::User, .. }] = rest[..] else {
        return Err(unsupported("messages", "more than one message of the user", format));
    };
    if !request.tools.is_empty() {
        return Err(unsupported("tools", "tools", format));
    }
    Ok(rest[0])
}

/// The text of a message that holds nothing else.
fn text(message: &Message, format: &str) -> Result<String> {
    if message.parts.iter().all(|part| matches!(part, Part::Text(_))) {
        Ok(message.text())
    } else {
        Err(unsupported("messages", "anything but text", format))
    }
}
