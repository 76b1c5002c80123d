//! Bedrock's Converse, which speaks to all of Amazon's models alike, over its binary event stream.
//!
//! Follows <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>. The base URL is
//! `https://bedrock-runtime.REGION.amazonaws.com`; the credential is a Bedrock API key or, with the feature
//! `sigv4`, a key pair to sign with. Anthropic's own format at Bedrock is [`ANTHROPIC_BEDROCK`](crate::ANTHROPIC_BEDROCK).

mod decode;
mod encode;

use std::time::SystemTime;

use http::{HeaderMap, header};
use loquat_core::{ChatRequest, Error, ModelInfo, Result, Secret};

use crate::{
    DecodeLimits, Decoder, DecoderMemory, Encoded, Format, Head, Outgoing, encode as shared, failure,
    framing::Json,
};

/// The Converse format.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BedrockConverse;

/// Amazon's own.
pub static BEDROCK_CONVERSE: BedrockConverse = BedrockConverse;

impl Format for BedrockConverse {
    fn name(&self) -> &'static str {
        "bedrock-converse"
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        encode::encode(request, model)
    }

    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        shared::authenticate(headers, header::AUTHORIZATION, "Bearer ", secret)
    }

    fn sign(
        &self,
        outgoing: &Outgoing<'_>,
        secret: &Secret,
        now: SystemTime,
        headers: &mut HeaderMap,
    ) -> Result<()> {
        #[cfg(feature = "sigv4")]
        if crate::sigv4::sign(outgoing, secret, now, headers)? {
            return Ok(());
        }
        let _ = (outgoing, now);
        self.authenticate(secret, headers)
    }

    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder {
        Decoder::new(head, limits, Json::Document, memory, decode::Converse::boxed())
    }

    fn error(&self, head: &Head<'_>, body: &[u8]) -> Error {
        failure::of_response(head, body)
    }

    fn models_path(&self) -> &'static str {
        "foundation-models"
    }

    fn decode_models(&self, body: &[u8]) -> Result<Vec<ModelInfo>> {
        shared::models(body, &["modelSummaries", "models"])
    }
}
