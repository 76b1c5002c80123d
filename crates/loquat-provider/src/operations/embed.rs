//! Embeddings: texts in, a vector for each out, in their order whatever order they come in.
//!
//! <https://platform.openai.com/docs/api-reference/embeddings>, <https://ai.google.dev/api/embeddings>,
//! <https://github.com/ollama/ollama/blob/main/docs/api.md#generate-embeddings>,
//! <https://docs.cohere.com/v2/reference/embed>, <https://docs.mistral.ai/api/endpoint/embeddings>,
//! <https://learn.microsoft.com/azure/ai-services/openai/reference#embeddings>.

use loquat_core::{EmbedPurpose, EmbedRequest, Embeddings, Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Dialect, dialect, encoded, protocol, read, unsupported};
use crate::{Encoded, Format, encode::path_segment};

/// The request for embeddings by that model.
///
/// # Errors
/// `Unsupported` where the format has none, or no way to say the dimensions; `InvalidRequest` without a text or a model.
pub fn encode_embed(format: &dyn Format, request: &EmbedRequest, model: &str) -> Result<Encoded> {
    if model.is_empty() || request.inputs.is_empty() {
        return Err(Error::new(ErrorKind::InvalidRequest, "embeddings need a model and at least one text"));
    }
    let inputs = &request.inputs;
    let (path, mut body) = match dialect(format) {
        Dialect::OpenAi | Dialect::Deployment | Dialect::Responses => {
            // Floats as JSON: compatible servers know no other way.
            (
                format.operation_path("embeddings", model),
                json!({"model": model, "input": inputs, "encoding_format": "float"}),
            )
        }
        Dialect::Ollama => ("api/embed".to_owned(), json!({"model": model, "input": inputs})),
        Dialect::Cohere => {
            // The one format that demands a purpose.
            let purpose = match request.purpose {
                EmbedPurpose::Query => "search_query",
                _ => "search_document",
            };
            let body = json!({
                "model": model, "texts": inputs, "input_type": purpose, "embedding_types": ["float"]
            });
            ("v2/embed".to_owned(), body)
        }
        Dialect::Gemini => {
            let purpose = match request.purpose {
                EmbedPurpose::Query => Some("RETRIEVAL_QUERY"),
                EmbedPurpose::Document => Some("RETRIEVAL_DOCUMENT"),
                _ => None,
            };
            let requests = inputs.iter().map(|input| {
                let mut one =
                    json!({"model": format!("models/{model}"), "content": {"parts": [{"text": input}]}});
                if let Some(purpose) = purpose {
                    one["taskType"] = purpose.into();
                }
                if let Some(dimensions) = request.dimensions {
                    one[format.dimensions_field()] = dimensions.into();
                }
                one
            });
            let body = json!({"requests": requests.collect::<Vec<_>>()});
            return Ok(encoded(format!("models/{}:batchEmbedContents", path_segment(model)), &body));
        }
        Dialect::Anthropic | Dialect::None => return Err(unsupported(format, "embeddings")),
    };
    if let Some(dimensions) = request.dimensions {
        body[format.dimensions_field()] = dimensions.into();
    }
    Ok(encoded(path, &body))
}

/// The vectors, one for each of `inputs` texts.
///
/// # Errors
/// `Protocol` if the response is none, or has another number of vectors.
pub fn decode_embed(format: &dyn Format, inputs: usize, body: &[u8]) -> Result<Embeddings> {
    let mut embeddings = Embeddings::default();
    match dialect(format) {
        Dialect::OpenAi | Dialect::Deployment | Dialect::Responses => {
            let mut found: OpenAi = read(body)?;
            // By their numbers where they have such; no number is ever used as a place.
            found.data.sort_by_key(|entry| entry.index.unwrap_or(0));
            let numbered = found.data.iter().filter_map(|entry| entry.index);
            if !numbered.eq(0..found.data.len() as u64)
                && found.data.iter().any(|entry| entry.index.is_some())
            {
                return Err(protocol("the embeddings are not numbered from 0".to_owned()));
            }
            embeddings.usage.input_tokens = found.usage.unwrap_or_default().prompt_tokens;
            embeddings.vectors = found.data.into_iter().map(|entry| entry.embedding).collect();
        }
        Dialect::Ollama => {
            let found: Ollama = read(body)?;
            embeddings.usage.input_tokens = found.prompt_eval_count;
            embeddings.vectors = found.embeddings;
        }
        Dialect::Gemini => {
            let found: Gemini = read(body)?;
            embeddings.vectors = found.embeddings.into_iter().map(|entry| entry.values).collect();
        }
        Dialect::Cohere => {
            let found: Cohere = read(body)?;
            let counted = |place: &str| found.meta.pointer(place).and_then(Value::as_u64);
            embeddings.usage.input_tokens = counted("/billed_units/input_tokens").unwrap_or(0);
            embeddings.vectors = found.embeddings.float;
        }
        Dialect::Anthropic | Dialect::None => return Err(unsupported(format, "embeddings")),
    }
    let vectors = embeddings.vectors.len();
    if vectors != inputs || embeddings.vectors.iter().any(Vec::is_empty) {
        return Err(protocol(format!(
            "{inputs} texts were sent, and {vectors} vectors came, or an empty one"
        )));
    }
    Ok(embeddings)
}

#[derive(Deserialize)]
struct OpenAi {
    data: Vec<Entry>,
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Entry {
    index: Option<u64>,
    embedding: Vec<f32>,
}

#[derive(Deserialize, Default)]
struct Counted {
    #[serde(default)]
    prompt_tokens: u64,
}

#[derive(Deserialize)]
struct Ollama {
    embeddings: Vec<Vec<f32>>,
    #[serde(default)]
    prompt_eval_count: u64,
}

#[derive(Deserialize)]
struct Gemini {
    embeddings: Vec<Values>,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct Cohere {
    embeddings: Floats,
    #[serde(default)]
    meta: Value,
}

#[derive(Deserialize)]
struct Floats {
    float: Vec<Vec<f32>>,
}
