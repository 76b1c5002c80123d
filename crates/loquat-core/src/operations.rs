//! What can be asked of a provider besides an answer: embeddings, moderation.

use std::fmt;

use crate::{RateLimits, Usage};

/// What texts are embedded for. Some providers make different vectors for what is searched and what is searched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum EmbedPurpose {
    /// Not said.
    #[default]
    Unspecified,
    /// Texts to be found.
    Document,
    /// Texts to find with.
    Query,
}

/// Texts to be embedded. `Debug` shows their number and never the texts.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EmbedRequest {
    /// The model's name at the endpoint. Empty: the endpoint's own.
    pub model: String,
    /// The texts.
    pub inputs: Vec<String>,
    /// How long the vectors shall be, where the model lets one choose.
    pub dimensions: Option<u32>,
    /// What for.
    pub purpose: EmbedPurpose,
}

impl EmbedRequest {
    /// These texts.
    pub fn new<S: Into<String>>(inputs: impl IntoIterator<Item = S>) -> Self {
        Self { inputs: inputs.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Vectors of that length.
    #[must_use]
    pub fn with_dimensions(mut self, dimensions: u32) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// For that purpose.
    #[must_use]
    pub fn with_purpose(mut self, purpose: EmbedPurpose) -> Self {
        self.purpose = purpose;
        self
    }
}

impl fmt::Debug for EmbedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedRequest")
            .field("model", &self.model)
            .field("inputs", &self.inputs.len())
            .field("dimensions", &self.dimensions)
            .field("purpose", &self.purpose)
            .finish()
    }
}

/// A vector for each text, in the order of the texts.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Embeddings {
    /// The vectors: as many as there were texts, each of the model's dimensions.
    pub vectors: Vec<Vec<f32>>,
    /// What was counted.
    pub usage: Usage,
    /// What the provider says of its limits.
    pub rate_limits: RateLimits,
}

/// What a moderation says of one text.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Moderation {
    /// Whether it breaks the provider's rules.
    pub is_flagged: bool,
    /// Each category with its score, 0 to 1, and whether it is the reason, sorted by name.
    pub categories: Vec<ModerationCategory>,
}

/// What a moderation says of one category.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ModerationCategory {
    /// The provider's word.
    pub name: String,
    /// How likely, 0 to 1.
    pub score: f32,
    /// Whether that is too much.
    pub is_flagged: bool,
}
