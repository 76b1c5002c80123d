//! Moderation: what a provider's rules say of texts.
//!
//! <https://platform.openai.com/docs/api-reference/moderations>. Mistral's answer has the same shape, without the word that
//! sums it up.

use std::collections::BTreeMap;

use loquat_core::{Error, ErrorKind, Moderation, ModerationCategory, Result};
use serde::Deserialize;
use serde_json::json;

use super::{Dialect, dialect, encoded, protocol, read, unsupported};
use crate::{Encoded, Format};

/// The request to look at these texts.
///
/// # Errors
/// `Unsupported` where the format has none; `InvalidRequest` without a text.
pub fn encode_moderation(format: &dyn Format, inputs: &[String], model: &str) -> Result<Encoded> {
    if !matches!(dialect(format), Dialect::OpenAi | Dialect::Responses) {
        return Err(unsupported(format, "moderation"));
    }
    if inputs.is_empty() || model.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidRequest,
            "a moderation needs a model and at least one text",
        ));
    }
    Ok(encoded("moderations".to_owned(), &json!({"model": model, "input": inputs})))
}

/// What is said of each of `inputs` texts.
///
/// # Errors
/// `Protocol` if the response is none, or speaks of another number of texts.
pub fn decode_moderation(inputs: usize, body: &[u8]) -> Result<Vec<Moderation>> {
    let found: Found = read(body)?;
    if found.results.len() != inputs {
        return Err(protocol(format!("{inputs} texts were sent, and {} were judged", found.results.len())));
    }
    Ok(found.results.into_iter().map(moderation).collect())
}

fn moderation(mut result: Judged) -> Moderation {
    let mut moderation = Moderation::default();
    for (name, is_flagged) in result.categories {
        let mut category = ModerationCategory::default();
        category.score = result.category_scores.remove(&name).flatten().unwrap_or(0.0);
        // `null` where a category does not apply to texts.
        category.is_flagged = is_flagged.unwrap_or(false);
        category.name = name;
        moderation.categories.push(category);
    }
    let any = moderation.categories.iter().any(|category| category.is_flagged);
    moderation.is_flagged = result.flagged.unwrap_or(any);
    moderation
}

#[derive(Deserialize)]
struct Found {
    results: Vec<Judged>,
}

#[derive(Deserialize)]
struct Judged {
    flagged: Option<bool>,
    categories: BTreeMap<String, Option<bool>>,
    #[serde(default)]
    category_scores: BTreeMap<String, Option<f32>>,
}
