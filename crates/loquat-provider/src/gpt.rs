//! Which of OpenAI's models choose their words in their own way, by their names:
//!
//! | models | a `temperature`, a `top_p`, log probabilities |
//! |---|---|
//! | o1, o3, o4-mini and the like, gpt-5 with its sizes and kinds | refused |
//! | gpt-5.1 and later of 5 | refused beside an effort but `none`; without one the model's own effort decides |
//! | gpt-6 and later | refused but beside the effort `none`, which none has unless it is told |
//! | for chats (`gpt-5-chat-latest`), others, names that say nothing | sent as they are |
//!
//! What means the same unsaid, a `temperature` or a `top_p` of 1, is left out. Another is an error and not left out:
//! whoever asks for 0 counts on it.
//!
//! Follows <https://developers.openai.com/api/docs/guides/latest-model> and `…/reasoning`, as of November 2026.

use loquat_core::{ChatRequest, Result};

use crate::encode::{Sampling, unsupported};

/// How words are chosen.
///
/// # Errors
/// `Unsupported` for what that model refuses, log probabilities included.
pub(crate) fn sampling(request: &ChatRequest, model: &str, format: &str) -> Result<Sampling> {
    let effort = request.reasoning_effort.as_deref();
    let refuses = match Kind::of(model) {
        Kind::Thinker => true,
        Kind::Either { thinks } => effort.map_or(thinks, |effort| effort != "none"),
        Kind::Unknown => false,
    };
    if !refuses {
        return Ok(Sampling::of(request));
    }
    if request.top_logprobs.is_some() {
        return Err(unsupported("top_logprobs", "log probabilities to this model", format));
    }
    Sampling::none(request, 1.0, format)
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// It always thinks.
    Thinker,
    /// It thinks as it is told; whether it is known to where nothing is said.
    Either {
        thinks: bool,
    },
    Unknown,
}

impl Kind {
    fn of(model: &str) -> Self {
        let (family, rest) = model.split_once('-').unwrap_or((model, ""));
        if family.strip_prefix('o').is_some_and(|number| number.parse::<u32>().is_ok()) {
            return Self::Thinker;
        }
        let (version, variant) = rest.split_once('-').unwrap_or((rest, ""));
        let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
        let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else {
            return Self::Unknown;
        };
        match (major, minor) {
            _ if family != "gpt" || variant.split('-').any(|word| word == "chat") => Self::Unknown,
            (..5, _) => Self::Unknown,
            (5, 0) => Self::Thinker,
            _ => Self::Either { thinks: major > 5 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_who_thinks() {
        let either = |thinks| Kind::Either { thinks };
        for (name, expected) in [
            ("o1", Kind::Thinker),
            ("o3-mini-2025-01-31", Kind::Thinker),
            ("o4-mini", Kind::Thinker),
            ("gpt-5", Kind::Thinker),
            ("gpt-5-2025-08-07", Kind::Thinker),
            ("gpt-5-mini", Kind::Thinker),
            ("gpt-5-codex", Kind::Thinker),
            ("gpt-5.1", either(false)),
            ("gpt-5.3-codex", either(false)),
            ("gpt-5.6-luna", either(false)),
            ("gpt-6-astra", either(true)),
            ("gpt-6.1-sol", either(true)),
            ("gpt-5-chat-latest", Kind::Unknown),
            ("gpt-5.1-chat-latest", Kind::Unknown),
            ("gpt-4.1", Kind::Unknown),
            ("gpt-4o-2024-08-06", Kind::Unknown),
            ("gpt-3.5-turbo", Kind::Unknown),
            ("gpt-oss-120b", Kind::Unknown),
            ("ft:gpt-4o:acme", Kind::Unknown),
            ("openai/gpt-5", Kind::Unknown),
            ("olmo-3", Kind::Unknown),
            ("o", Kind::Unknown),
            ("grok-5", Kind::Unknown),
            ("m", Kind::Unknown),
            ("", Kind::Unknown),
        ] {
            assert_eq!(Kind::of(name), expected, "{name}");
        }
    }
}
