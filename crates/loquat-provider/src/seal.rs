//! Whose a seal on thoughts is.
//!
//! To others it is noise at best: Anthropic and Google refuse every turn of a conversation in which there is one that they did not
//! make, and both write them as bare base64, so that it cannot be seen which is whose.

use loquat_core::Reasoning;

/// Formats that take each other's seals back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Anthropic's own, its models at Vertex and at Bedrock.
    Anthropic,
    /// Gemini's own, its interactions, its models at Vertex.
    Google,
    /// Responses: the seal is an item, with its type in it.
    Responses,
    /// Chat completions with `reasoning_details`: the seal is one of those, with its type in it.
    ReasoningDetails,
}

impl Family {
    /// What [`Reasoning::format`] says.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Google => "google",
            Self::Responses => "openai-responses",
            Self::ReasoningDetails => "openai-chat",
        }
    }

    /// The seal, if it may be of this family: where nobody said whose it is, one that is JSON is of those that write JSON.
    pub(crate) fn own(self, thoughts: &Reasoning) -> Option<&str> {
        let seal = thoughts.signature.as_deref()?;
        let is_own = match thoughts.format.as_deref() {
            Some(format) => format == self.name(),
            None => seal.starts_with('{') == matches!(self, Self::Responses | Self::ReasoningDetails),
        };
        is_own.then_some(seal)
    }
}
