//! What can be asked of a provider besides an answer: embeddings, the tokens a request would cost, moderation.
//!
//! Which format speaks which dialect is one table here; what is whole and small is read by serde, as nothing streams.
//!
//! | operation | spoken by |
//! |---|---|
//! | [`encode_embed`] | OpenAI and those who speak it, Gemini, Ollama, Cohere |
//! | [`encode_count`] | Anthropic, Gemini, OpenAI Responses |
//! | [`encode_moderation`] | OpenAI and those who speak it |
//! | [`encode_batch`] | OpenAI (chat and Responses), Anthropic |
//! | [`encode_file_upload`] | OpenAI, Anthropic |

mod batch;
mod count;
mod embed;
mod files;
mod moderate;

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use loquat_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::{
    batch::{
        Batch, BatchItem, BatchResult, BatchState, decode_batch, decode_batch_results, encode_batch,
        encode_batch_cancel, encode_batch_info, encode_batch_lines, encode_batch_results,
    },
    count::{decode_count, encode_count},
    embed::{decode_embed, encode_embed},
    files::{
        FilePage, FileUpload, StoredFile, decode_file, decode_file_list, encode_file_content,
        encode_file_delete, encode_file_info, encode_file_list, encode_file_upload,
    },
    moderate::{decode_moderation, encode_moderation},
};
use crate::{Encoded, Format};

/// A request that is more than JSON posted, but for its address and its credential. `Debug` shows sizes only.
#[derive(Clone)]
#[non_exhaustive]
pub struct Call {
    /// `GET`, `POST` or `DELETE`.
    pub method: Method,
    /// Relative to the base URL, without a leading slash; a query may follow.
    pub path: String,
    /// Headers without credentials.
    pub headers: HeaderMap,
    /// Empty where there is none.
    pub body: Bytes,
}

impl From<Encoded> for Call {
    fn from(encoded: Encoded) -> Self {
        let Encoded { path, headers, body } = encoded;
        Self { method: Method::POST, path, headers, body: body.into() }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("header_names", &self.headers.keys().collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// The families of formats that differ here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    OpenAi,
    /// OpenAI's as far as a model of its own does it.
    Deployment,
    Responses,
    Anthropic,
    Gemini,
    Ollama,
    Cohere,
    None,
}

fn dialect(format: &dyn Format) -> Dialect {
    match format.name() {
        "openai-chat" | "openai-compatible" | "openai-completions" | "azure-openai" => Dialect::OpenAi,
        "azure-openai-deployment" => Dialect::Deployment,
        "openai-responses" => Dialect::Responses,
        "anthropic-messages" => Dialect::Anthropic,
        "gemini" => Dialect::Gemini,
        "ollama-chat" | "ollama-generate" => Dialect::Ollama,
        "cohere-chat" => Dialect::Cohere,
        _ => Dialect::None,
    }
}

fn unsupported(format: &dyn Format, what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the format {} has no {what}", format.name()))
}

fn encoded(path: String, body: &Value) -> Encoded {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Encoded { path, headers, body: body.to_string().into_bytes() }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        // Serde's words may quote the body; where it stopped does not.
        let (line, column) = (error.line(), error.column());
        protocol(format!("the response is not what was asked for (line {line}, column {column})"))
    })
}

fn protocol(message: String) -> Error {
    Error::new(ErrorKind::Protocol, message)
}
