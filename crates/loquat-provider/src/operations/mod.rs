//! What can be asked of a provider besides an answer: embeddings, the tokens a request would cost, moderation.
//!
//! Which format speaks which dialect is one table here; what is whole and small is read by serde, as nothing streams.
//!
//! | operation | spoken by |
//! |---|---|
//! | [`encode_embed`] | OpenAI and those who speak it, Gemini, Ollama, Cohere |
//! | [`encode_count`] | Anthropic, Gemini, OpenAI Responses |
//! | [`encode_moderation`] | OpenAI and those who speak it |

mod count;
mod embed;
mod moderate;

use http::{HeaderMap, HeaderValue, header};
use loquat_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::{
    count::{decode_count, encode_count},
    embed::{decode_embed, encode_embed},
    moderate::{decode_moderation, encode_moderation},
};
use crate::{Encoded, Format};

/// The families of formats that differ here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    OpenAi,
    Responses,
    Anthropic,
    Gemini,
    Ollama,
    Cohere,
    None,
}

fn dialect(format: &dyn Format) -> Dialect {
    match format.name() {
        "openai-chat" | "openai-compatible" | "openai-completions" => Dialect::OpenAi,
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
