//! How Claude is told to think. Which of the ways a model takes goes by its name:
//!
//! | models | to think | not to think |
//! |---|---|---|
//! | before 3.7 | cannot: nothing is said | nothing is said |
//! | 3.7 to 4.5 | `enabled`, with a budget | nothing is said |
//! | Opus 4.5 | the same where a budget is named; an effort, thoughts or none | nothing is said |
//! | 4.6 to 4.8 | `adaptive`, with an effort | nothing is said |
//! | Opus 5, Sonnet 5, Haiku 5 and 5.5 | `adaptive`, with an effort | `disabled` |
//! | Sonnet 5.5 | `adaptive`, with an effort | `between_tools` |
//! | Opus 5.5, Fable, Mythos and every later one | `adaptive`, with an effort | cannot be told: the effort `low` |
//! | other vendors' and names that say nothing | `enabled`, with a budget; an effort as it is | `disabled` |
//!
//! What a model is not told in its own way is refused, a budget by all since Opus 4.7, an effort by all before 4.6 but Opus 4.5.
//! Behind a name that says nothing (an inference profile, a deployment) may be any of them: it gets what is asked for in the
//! plainest form. Efforts and budgets stand for each other: `low` is 1,024 tokens or a budget up to 2,048, `medium` 4,096 or a
//! budget up to 8,192, every other word 16,384 and every larger budget `high`. `none`,
//! `off` and `minimal` are no efforts of Claude's and mean not to think, as a budget of nothing does.
//!
//! Thoughts are refused beside a forced call, beside most `temperature`s and `top_p`s, and, where they have a budget, in a loop of
//! calls that began without any. An effort is a wish and turns none on there; a budget that the caller named stays theirs, but for
//! such a loop, which another provider may have begun. What then contradicts itself is an error here.
//!
//! So is what a model never takes: a `temperature` but 1 and a `top_p` below 0.99 all since Opus 4.7, a forced call Opus 5.5,
//! Sonnet 5.5, Fable 5.1, Mythos 5.1 and every later one.
//!
//! Follows <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking>, `…/thinking#limits-and-feature-compatibility`,
//! `…/effort`, <https://platform.claude.com/docs/en/api/messages> and the models' migration guides, as of November 2026.

use loquat_core::{ChatRequest, Message, Part, Result, Role, ToolChoice};
use serde::Serialize;

use crate::{
    encode::{Sampling, unsupported},
    seal::Family,
};

/// What goes out.
#[derive(Default)]
pub(crate) struct Thinking<'a> {
    pub(crate) mode: Option<Mode>,
    /// The member of `output_config`.
    pub(crate) effort: Option<&'a str>,
    /// Tokens the thoughts may take, which a limit for the whole answer has to have besides.
    pub(crate) tokens: u32,
}

/// The member `thinking`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Mode {
    Enabled {
        budget_tokens: u32,
    },
    /// Since Opus 4.7 thoughts come without their text unless it is asked for.
    Adaptive {
        display: &'static str,
    },
    Disabled,
    BetweenTools,
}

/// How the request's wishes are said to that model.
pub(crate) fn thinking<'a>(request: &'a ChatRequest, model: &str) -> Thinking<'a> {
    let effort = request.reasoning_effort.as_deref();
    let budget = request.reasoning_budget_tokens;
    let kind = Kind::of(model);
    if budget == Some(0) || matches!(effort, Some("none" | "minimal" | "off")) {
        let (mode, effort) = match kind {
            Kind::Thoughtless | Kind::Budget { .. } | Kind::Adaptive { off: Off::Silence, .. } => {
                (None, None)
            }
            Kind::Adaptive { off: Off::Disabled, .. } | Kind::Other | Kind::Unknown => {
                (Some(Mode::Disabled), None)
            }
            Kind::Adaptive { off: Off::BetweenTools, .. } => (Some(Mode::BetweenTools), None),
            Kind::Adaptive { off: Off::Never, .. } => (None, Some("low")),
        };
        return Thinking { mode, effort, tokens: 0 };
    }
    let tokens = match (budget, effort) {
        (Some(budget), _) => budget,
        (None, Some("low")) => 1024,
        (None, Some("medium")) => 4096,
        (None, Some(_)) => 16_384,
        (None, None) => return Thinking::default(),
    };
    let is_forced = is_forced(request);
    let is_refused = budget.is_none() && (is_forced || is_sampled(request));
    match kind {
        Kind::Thoughtless => Thinking::default(),
        Kind::Budget { takes_effort } => {
            let effort = effort.filter(|_| takes_effort).map(up_to_high);
            // An effort that can be said needs no budget in its stead.
            let is_silent = is_refused || (budget.is_none() && effort.is_some());
            if is_silent || began_without_thoughts(&request.messages) {
                return Thinking { effort, ..Thinking::default() };
            }
            // A budget must be smaller than the limit of the whole answer. One that nobody named leaves half of that for
            // words, or is none at all where that is less than the smallest there is.
            let most =
                request.max_output_tokens.filter(|_| budget.is_none()).map_or(u32::MAX, |most| most / 2);
            let tokens = tokens.min(most);
            if budget.is_none() && tokens < 1024 {
                return Thinking::default();
            }
            Thinking { mode: Some(Mode::Enabled { budget_tokens: tokens }), effort, tokens }
        }
        Kind::Adaptive { knows_xhigh, off, .. } => {
            let effort = match effort {
                Some("xhigh") if !knows_xhigh => "high",
                Some(word) => word,
                None if tokens <= 2048 => "low",
                None if tokens <= 8192 => "medium",
                None => "high",
            };
            if is_refused && off == Off::Silence {
                return Thinking { effort: Some(effort), ..Thinking::default() };
            }
            if is_refused && is_forced && off == Off::Disabled {
                // Which is refused beside the words above `high`.
                return Thinking { mode: Some(Mode::Disabled), effort: Some(up_to_high(effort)), tokens: 0 };
            }
            Thinking { mode: Some(Mode::Adaptive { display: "summarized" }), effort: Some(effort), tokens }
        }
        Kind::Other | Kind::Unknown => Thinking {
            mode: budget.map(|budget_tokens| Mode::Enabled { budget_tokens }),
            effort,
            tokens: budget.unwrap_or(0),
        },
    }
}

/// How words are chosen, beside those thoughts.
///
/// # Errors
/// `Unsupported` for what that model refuses, a forced call included.
pub(crate) fn sampling(
    request: &ChatRequest,
    thinking: &Thinking<'_>,
    model: &str,
    format: &str,
) -> Result<Sampling> {
    let refused = |place, what| Err(unsupported(place, what, format));
    let kind = Kind::of(model);
    if is_forced(request) {
        match (kind, &thinking.mode) {
            (Kind::Adaptive { is_forcible: false, .. }, _) => {
                return refused("tool_choice", "a demand for a call to this model");
            }
            // Others' models may do with it what they like.
            (Kind::Budget { .. }, Some(Mode::Enabled { .. })) => {
                return refused(
                    "tool_choice",
                    "a demand for a call beside a budget of thoughts to this model",
                );
            }
            _ => {}
        }
    }
    match (kind, &thinking.mode) {
        (Kind::Adaptive { knows_xhigh: true, .. }, _) => Sampling::none(request, 0.99, format),
        (Kind::Budget { .. } | Kind::Adaptive { .. }, Some(Mode::Enabled { .. } | Mode::Adaptive { .. })) => {
            if request.temperature.is_some_and(|temperature| temperature != 1.0) {
                return refused("temperature", "any but 1 beside thoughts to this model");
            }
            if request.top_p.is_some_and(|top_p| top_p < 0.95) {
                return refused("top_p", "less than 0.95 beside thoughts to this model");
            }
            Ok(Sampling::of(request))
        }
        _ => Ok(Sampling::of(request)),
    }
}

fn is_forced(request: &ChatRequest) -> bool {
    matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Tool(_))
}

/// The effort, without the words above `high`.
fn up_to_high(effort: &str) -> &str {
    if matches!(effort, "low" | "medium") { effort } else { "high" }
}

/// Whether words are chosen in a way that a model that thinks does not take.
fn is_sampled(request: &ChatRequest) -> bool {
    request.temperature.is_some_and(|temperature| temperature != 1.0)
        || request.top_p.is_some_and(|top_p| top_p < 0.95)
}

/// Whether what the model has said since the user's last words, results of tools apart, does not begin with thoughts. A loop of
/// calls is thought about from its first answer on or not at all.
fn began_without_thoughts(messages: &[Message]) -> bool {
    let is_result = |part: &Part| matches!(part, Part::ToolResult(_));
    // What the loop's first answer begins with; whether there are results since the last answer.
    let (mut first, mut has_results) = (None, false);
    for message in messages {
        match message.role {
            Role::Assistant => {
                first = first.or_else(|| message.parts.iter().find(|part| is_sent(part)));
                has_results = false;
            }
            Role::User | Role::Tool => {
                has_results |= message.parts.iter().any(is_result);
                first = first.filter(|_| has_results);
            }
            _ => {}
        }
    }
    first.is_some_and(|part| !matches!(part, Part::Reasoning(_)))
}

/// Whether such a part of an answer goes back.
fn is_sent(part: &Part) -> bool {
    match part {
        Part::Text(text) | Part::Refusal(text) => !text.trim().is_empty(),
        Part::Reasoning(thoughts) => Family::Anthropic.own(thoughts).is_some(),
        _ => true,
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Thoughtless,
    Budget {
        takes_effort: bool,
    },
    /// Those that know `xhigh` take no other `temperature` than their own.
    Adaptive {
        knows_xhigh: bool,
        off: Off,
        is_forcible: bool,
    },
    Other,
    Unknown,
}

/// How such a model is told not to think.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Off {
    /// It does not unless told to.
    Silence,
    Disabled,
    BetweenTools,
    Never,
}

/// Whether the model is known to be no Claude.
pub(crate) fn is_other(model: &str) -> bool {
    Kind::of(model) == Kind::Other
}

impl Kind {
    fn of(model: &str) -> Self {
        let adaptive = |off, is_forcible| Self::Adaptive { knows_xhigh: true, off, is_forcible };
        let model = model.to_ascii_lowercase();
        let Some((_, name)) = model.split_once("claude") else {
            let is_other = |word: &str| OTHERS.iter().any(|other| word.starts_with(other));
            return if words(&model).any(is_other) { Self::Other } else { Self::Unknown };
        };
        // A name without a number may be that of Mythos's first, which could be forced.
        let Some(version) = version(name) else { return adaptive(Off::Never, true) };
        let family = ["opus", "sonnet", "haiku"].into_iter().find(|family| name.contains(family));
        match (family, version) {
            _ if version < (3, 7) => Self::Thoughtless,
            _ if version < (4, 6) => {
                Self::Budget { takes_effort: family == Some("opus") && version == (4, 5) }
            }
            (_, (4, minor)) => {
                Self::Adaptive { knows_xhigh: minor > 6, off: Off::Silence, is_forcible: true }
            }
            (Some("opus" | "sonnet"), (5, 0)) | (Some("haiku"), (5, _)) => adaptive(Off::Disabled, true),
            (Some("sonnet"), (5, 5)) => adaptive(Off::BetweenTools, false),
            (None, (5, 0)) => adaptive(Off::Never, true),
            _ => adaptive(Off::Never, false),
        }
    }
}

/// How names of models begin that others offer in these formats.
const OTHERS: [&str; 16] = [
    "ai21", "amazon", "cohere", "deepseek", "gemma", "glm", "gpt", "kimi", "llama", "mimo", "minimax",
    "mistral", "nova", "nvidia", "qwen", "writer",
];

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric())
}

/// The first number and the one right after it: `-opus-4-6-v1`, `-3-7-sonnet-20250219`, `-sonnet-4@20250514`, `/opus-4.8`.
fn version(name: &str) -> Option<(u32, u32)> {
    // What is longer is a date.
    let number = |word: &str| word.parse().ok().filter(|_| word.len() <= 2);
    let mut words = words(name).skip_while(|word| number(word).is_none());
    let major = number(words.next()?)?;
    Some((major, words.next().and_then(number).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_doors() {
        let adaptive = |knows_xhigh, off| Kind::Adaptive { knows_xhigh, off, is_forcible: true };
        let unforcible = |off| Kind::Adaptive { knows_xhigh: true, off, is_forcible: false };
        let newest = unforcible(Off::Never);
        let nameless = adaptive(true, Off::Never);
        let budget = Kind::Budget { takes_effort: false };
        for (name, expected) in [
            ("anthropic.claude-3-5-sonnet-20241022-v2:0", Kind::Thoughtless),
            ("anthropic.claude-v2:1", Kind::Thoughtless),
            ("claude-3-7-sonnet-20250219", budget),
            ("claude-sonnet-4@20250514", budget),
            ("claude-opus-4-20250514", budget),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", budget),
            ("anthropic/claude-opus-4.5", Kind::Budget { takes_effort: true }),
            ("global.anthropic.claude-opus-4-6-v1", adaptive(false, Off::Silence)),
            ("claude-sonnet-4-6", adaptive(false, Off::Silence)),
            ("claude-opus-4-7", adaptive(true, Off::Silence)),
            ("Claude-Opus-4.8", adaptive(true, Off::Silence)),
            ("claude-opus-5", adaptive(true, Off::Disabled)),
            ("claude-sonnet-5-20260630", adaptive(true, Off::Disabled)),
            ("claude-haiku-5-5", adaptive(true, Off::Disabled)),
            ("claude-sonnet-5-5", unforcible(Off::BetweenTools)),
            ("claude-opus-5-5", newest),
            ("claude-sonnet-6", newest),
            ("claude-fable-5", nameless),
            ("claude-fable-5-1", newest),
            ("anthropic.claude-mythos-preview", nameless),
            ("claude-opus-latest", nameless),
            ("arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2", Kind::Unknown),
            ("m", Kind::Unknown),
            ("us.amazon.nova-pro-v1:0", Kind::Other),
            ("deepseek-chat", Kind::Other),
            ("zai-org/GLM-4.6", Kind::Other),
        ] {
            assert_eq!(Kind::of(name), expected, "{name}");
        }
    }
}
