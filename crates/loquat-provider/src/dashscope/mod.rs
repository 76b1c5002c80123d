//! DashScope's own format, for Qwen and whatever else Alibaba Cloud serves.
//!
//! Follows <https://www.alibabacloud.com/help/en/model-studio/qwen-api-reference>. The base URL is
//! `https://dashscope-intl.aliyuncs.com/api/v1`.

mod decode;
mod encode;

use http::{HeaderMap, header};
use loquat_core::{ChatRequest, Error, ModelInfo, Result, Secret};

use crate::{
    DecodeLimits, Decoder, DecoderMemory, Encoded, Format, Head, encode as shared, failure, framing::Json,
};

/// The DashScope format.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct DashScope {
    /// See [`Format::name`].
    pub name: &'static str,
    /// Whether each event holds what is new, which is asked for, or all so far, which is the format's own default and
    /// costs by the square of the answer's length.
    pub incremental: bool,
}

/// With events that hold what is new.
pub static DASHSCOPE: DashScope = DashScope { name: "dashscope", incremental: true };

/// With events that repeat all so far: for models and servers that know no other way.
pub static DASHSCOPE_CUMULATIVE: DashScope = DashScope { name: "dashscope-cumulative", incremental: false };

impl Format for DashScope {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        encode::encode(self, request, model)
    }

    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        shared::authenticate(headers, header::AUTHORIZATION, "Bearer ", secret)
    }

    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder {
        Decoder::new(head, limits, Json::Document, memory, decode::Generation::boxed(self.incremental))
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
