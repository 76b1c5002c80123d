//! Gemini `generateContent` and `streamGenerateContent`, at Google AI and at Vertex AI.
//!
//! Follows <https://ai.google.dev/api/generate-content> and, for thought signatures and arguments in pieces,
//! <https://ai.google.dev/gemini-api/docs/thought-signatures> and
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling>. Streams are asked for as events;
//! a stream that comes as one JSON list all the same is read as well.

mod arguments;
mod decode;
mod encode;

use http::{HeaderMap, HeaderName, header};
use loquat_core::{ChatRequest, Error, ModelInfo, Result, Secret};

use crate::{
    DecodeLimits, Decoder, DecoderMemory, Encoded, Format, Head, encode as shared, failure, framing::Json,
};

/// The Gemini format. Both places speak the same; they differ in the address and in where the credential goes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Gemini {
    /// See [`Format::name`].
    pub name: &'static str,
    /// Whether the credential is an OAuth token (Vertex AI) instead of a key.
    pub bearer: bool,
}

/// At Google AI: the base URL is `https://generativelanguage.googleapis.com/v1beta`.
pub static GEMINI: Gemini = Gemini { name: "gemini", bearer: false };

/// At Vertex AI: the base URL ends in `…/projects/PROJECT/locations/REGION/publishers/google`, and the credential is an
/// access token.
pub static GEMINI_VERTEX: Gemini = Gemini { name: "gemini-vertex", bearer: true };

impl Format for Gemini {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        encode::encode(request, model)
    }

    fn dimensions_field(&self) -> &'static str {
        "outputDimensionality"
    }

    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        if self.bearer {
            shared::authenticate(headers, header::AUTHORIZATION, "Bearer ", secret)
        } else {
            shared::authenticate(headers, HeaderName::from_static("x-goog-api-key"), "", secret)
        }
    }

    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder {
        Decoder::reusing(head, limits, Json::List, memory, &decode::POOL, || decode::Generate::boxed(limits))
    }

    fn error(&self, head: &Head<'_>, body: &[u8]) -> Error {
        failure::of_response(head, body)
    }

    fn models_path(&self) -> &'static str {
        // Fifty a page unless asked; a thousand is the most there is.
        "models?pageSize=1000"
    }

    fn decode_models(&self, body: &[u8]) -> Result<Vec<ModelInfo>> {
        let mut models = shared::models(body, &["models", "publisherModels"])?;
        for model in &mut models {
            // `models/gemini-2.5-flash`, or the same behind a publisher.
            if let Some((_, name)) = model.id.rsplit_once("models/") {
                model.id = name.to_owned();
            }
        }
        Ok(models)
    }
}
