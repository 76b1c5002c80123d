//! [`Family`]: what a kind of model adds to the text, as a table.
//!
//! Measured on the recordings in `LOQUAT_DATA`, 420 requests with the usage of their answers, and where the provider documents a
//! rule, by that: OpenAI's cookbook ("How to count tokens with tiktoken") for messages, its vision guide for pictures,
//! Anthropic's pages on tool use and vision, Gemini's on tokens. Ranges are those seen, with a margin; a test says how many
//! recordings fall within.

use super::{Count, picture::Pictures};
use crate::named::named;

/// A kind of model that counts one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// GPT-4 and GPT-3.5 before 4o: `cl100k_base`.
    Gpt4,
    /// GPT-4o, GPT-4.1: `o200k_base`.
    Gpt4o,
    /// GPT-5 and the o-series: `o200k_base`, one token less around.
    Gpt5,
    /// gpt-oss: `o200k_base` in the harmony format, with a page of instructions of its own.
    GptOss,
    /// Anthropic's; the vocabulary is closed.
    Claude,
    /// Google's; the vocabulary is closed.
    Gemini,
    /// DeepSeek.
    DeepSeek,
    /// Llama.
    Llama,
    /// Qwen.
    Qwen,
    /// Mistral.
    Mistral,
    /// Nobody knows.
    Other,
}

/// Names, each by itself or with a version or a size behind it, the more special first. A family whose counts are exact has the
/// models that are known to be of it, and no others: who calls a model something with `gpt-` need not use OpenAI's tokens, and a
/// model that is not there yet may have others.
const NAMES: &[(&str, Family)] = &[
    ("gpt-oss", Family::GptOss),
    ("gpt-4o", Family::Gpt4o),
    ("gpt-4.1", Family::Gpt4o),
    ("gpt-4.5", Family::Gpt4o),
    ("chatgpt-4o", Family::Gpt4o),
    ("gpt-4", Family::Gpt4),
    ("gpt-3.5", Family::Gpt4),
    ("gpt-35", Family::Gpt4),
    ("text-embedding-3", Family::Gpt4),
    ("text-embedding-ada", Family::Gpt4),
    ("gpt-5", Family::Gpt5),
    ("o1", Family::Gpt5),
    ("o3", Family::Gpt5),
    ("o4-mini", Family::Gpt5),
    ("codex-mini", Family::Gpt5),
];

/// Beginnings of names whose counts are ranges, the more special first.
const RANGED: &[(&str, Family)] = &[
    ("claude", Family::Claude),
    ("gemini", Family::Gemini),
    ("deepseek", Family::DeepSeek),
    ("llama", Family::Llama),
    ("meta-llama", Family::Llama),
    ("qwen", Family::Qwen),
    ("qwq", Family::Qwen),
    ("mistral", Family::Mistral),
    ("mixtral", Family::Mistral),
    ("open-mistral", Family::Mistral),
    ("open-mixtral", Family::Mistral),
    ("devstral", Family::Mistral),
    ("ministral", Family::Mistral),
    ("magistral", Family::Mistral),
    ("codestral", Family::Mistral),
    ("pixtral", Family::Mistral),
];

/// From and to.
type Range = (u64, u64);

/// What a family adds. Percentages are of the tokens of `o200k_base`.
struct Rules {
    /// The text, where the tokenizer is not the model's own.
    text_percent: Range,
    message: Range,
    request: Range,
    tool_part: Range,
    tools: Range,
    tools_percent: Range,
}

impl Family {
    /// The family of the model with that name; what stands before a `:` or `/`, a provider or an account, is not looked at.
    pub fn of(model: &str) -> Self {
        let is_known = |name: &str, known: &str| {
            // `gpt-4o-mini`, `gpt-5.1`, `o3@2025`; not `gpt-4all` nor `o365`.
            name.strip_prefix(known).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        let of = |name: &str| {
            let known = NAMES.iter().find(|(known, _)| is_known(name, known));
            let ranged = || RANGED.iter().find(|(beginning, _)| name.starts_with(beginning));
            known.or_else(ranged).map(|(_, family)| *family)
        };
        named(model, of).unwrap_or(Self::Other)
    }

    pub(super) fn is_cl100k(self) -> bool {
        self == Self::Gpt4
    }

    /// Whether a tokenizer of that name is not this family's own. Only a built-in one can be: any other came from a file, which the
    /// caller says is the model's.
    pub(super) fn is_foreign_to(self, tokenizer: &str) -> bool {
        match self {
            Self::Gpt4 => tokenizer == "o200k_base",
            Self::Gpt4o | Self::Gpt5 | Self::GptOss => tokenizer == "cl100k_base",
            _ => matches!(tokenizer, "cl100k_base" | "o200k_base"),
        }
    }

    const fn rules(self) -> Rules {
        let open_ai = Rules {
            text_percent: (85, 125),
            message: (4, 4),
            request: (3, 3),
            tool_part: (0, 20),
            tools: (0, 9),
            tools_percent: (90, 115),
        };
        match self {
            Self::Gpt4 | Self::Gpt4o => open_ai,
            Self::Gpt5 => Rules { request: (2, 2), tools: (0, 40), ..open_ai },
            Self::GptOss => Rules {
                request: (55, 75),
                message: (3, 6),
                tools: (0, 60),
                tools_percent: (40, 160),
                ..open_ai
            },
            Self::Claude => Rules {
                text_percent: (100, 145),
                message: (0, 10),
                request: (3, 45),
                tool_part: (10, 60),
                tools: (250, 700),
                tools_percent: (40, 300),
            },
            Self::Gemini => Rules {
                text_percent: (85, 125),
                message: (0, 3),
                request: (0, 8),
                tool_part: (0, 25),
                tools: (0, 60),
                tools_percent: (10, 250),
            },
            Self::DeepSeek => Rules {
                text_percent: (85, 125),
                message: (1, 6),
                request: (0, 8),
                tool_part: (0, 50),
                tools: (40, 330),
                tools_percent: (40, 250),
            },
            Self::Llama => Rules {
                text_percent: (85, 130),
                message: (0, 8),
                request: (0, 45),
                tool_part: (0, 40),
                tools: (0, 700),
                tools_percent: (50, 250),
            },
            Self::Qwen | Self::Mistral => Rules {
                text_percent: (85, 145),
                message: (0, 8),
                request: (0, 30),
                tool_part: (0, 40),
                tools: (0, 250),
                tools_percent: (30, 300),
            },
            Self::Other => Rules {
                text_percent: (75, 160),
                message: (0, 15),
                request: (0, 200),
                tool_part: (0, 60),
                tools: (0, 700),
                tools_percent: (10, 350),
            },
        }
    }

    pub(super) fn text(self, tokens: u64, is_own: bool) -> Count {
        if is_own { Count::Exact(tokens) } else { percent(tokens, self.rules().text_percent) }
    }

    pub(super) fn per_message(self) -> Count {
        range(self.rules().message)
    }

    pub(super) fn per_tool_part(self) -> Count {
        range(self.rules().tool_part)
    }

    pub(super) fn per_request(self, messages: u64) -> Count {
        let (low, high) = self.rules().request;
        if self == Self::Gpt5 && messages > 1 {
            // Between messages a token is sometimes saved; which, nobody says.
            return Count::Estimated { low: low.saturating_sub(messages - 1), high: high + messages };
        }
        range((low, high))
    }

    /// `written` and `json` are the tokens of the two ways to write the tools.
    pub(super) fn tools(self, written: u64, json: u64, tools: u64, has_system: bool) -> Count {
        let rules = self.rules();
        let around = Count::Estimated { low: rules.tools.0, high: rules.tools.1 };
        let text = percent(written, rules.tools_percent);
        match self {
            Self::Gpt4 | Self::Gpt4o | Self::Gpt5 => {
                // Nine tokens around all of them, four of them shared with a system message.
                let low = text.low() + if has_system { 5 } else { 9 };
                Count::Estimated { low, high: text.high() + 9 + around.high() + 3 * tools }
            }
            _ => Count::between(text.low(), percent(json, rules.tools_percent).high() + 20 * tools) + around,
        }
    }

    /// How it counts pictures, whichever of its models it is.
    pub(super) fn pictures(self) -> Pictures {
        match self {
            Self::Gpt4 => Pictures::Tiles { base: 85, tile: 170 },
            Self::Gpt4o | Self::Gpt5 => Pictures::OpenAi,
            Self::Claude => Pictures::Anthropic,
            Self::Gemini => Pictures::Gemini,
            Self::Mistral => Pictures::Mistral,
            Self::Qwen => Pictures::Qwen,
            _ => Pictures::Unknown,
        }
    }
}

/// How the model of that name counts pictures.
pub(super) fn pictures(model: &str) -> Pictures {
    named(model, Pictures::of).unwrap_or_else(|| Family::of(model).pictures())
}

fn range((low, high): Range) -> Count {
    Count::between(low, high)
}

fn percent(tokens: u64, (low, high): Range) -> Count {
    let of = |percent: u64| tokens.saturating_mul(percent);
    Count::Estimated { low: of(low) / 100, high: of(high).div_ceil(100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_pictures() {
        let tiles = |base, tile| Pictures::Tiles { base, tile };
        let patches = |less, more| Pictures::Patches { hundredths: (less, more) };
        for (name, expected) in [
            ("gpt-4o", tiles(85, 170)),
            ("openai:gpt-4o-mini-2024-07-18", tiles(2833, 5667)),
            ("openai/gpt-4.1-nano", patches(246, 246)),
            ("gpt-4.1", tiles(85, 170)),
            ("o4-mini", patches(172, 172)),
            ("gpt-5", tiles(70, 140)),
            ("gpt-5-mini", patches(120, 162)),
            ("gpt-5.6-sol", Pictures::OpenAi),
            ("anthropic.claude-haiku-4-5", Pictures::Anthropic),
            ("mistralai/pixtral-12b", Pictures::Mistral),
            ("Qwen/Qwen2.5-VL-7B-Instruct", Pictures::Qwen),
            ("something-new", Pictures::Unknown),
        ] {
            assert_eq!(pictures(name), expected, "{name}");
        }
    }

    #[test]
    fn names_say_the_family() {
        for (name, family) in [
            ("gpt-4o", Family::Gpt4o),
            ("openai:gpt-4o-mini-2024-07-18", Family::Gpt4o),
            ("openai/gpt-4.1-nano", Family::Gpt4o),
            ("gpt-4-turbo", Family::Gpt4),
            ("gpt-3.5-turbo-0125", Family::Gpt4),
            ("gpt-5.6-sol", Family::Gpt5),
            ("o3-mini", Family::Gpt5),
            ("gpt-oss:20b", Family::GptOss),
            ("openai/gpt-oss-120b", Family::GptOss),
            ("anthropic/claude-sonnet-4-5", Family::Claude),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", Family::Claude),
            ("anthropic.claude-haiku-4-5", Family::Claude),
            ("models/gemini-2.5-flash", Family::Gemini),
            ("Qwen/Qwen3-8B", Family::Qwen),
            ("mistralai/Mixtral-8x7B-Instruct-v0.1", Family::Mistral),
            ("open-mistral-nemo", Family::Mistral),
            ("devstral-small", Family::Mistral),
            ("meta-llama/Llama-3.1-8B-Instruct", Family::Llama),
            ("gpt-4-0613", Family::Gpt4),
            ("gpt-4", Family::Gpt4),
            ("gpt-35-turbo", Family::Gpt4),
            ("gpt-5.1-codex", Family::Gpt5),
            ("o1", Family::Gpt5),
            ("azure:o4-mini", Family::Gpt5),
            ("text-embedding-3-small", Family::Gpt4),
            ("text-embedding-ada-002", Family::Gpt4),
            // Named like OpenAI's, and nobody knows or somebody else's.
            ("EleutherAI/gpt-j-6b", Family::Other),
            ("gpt-neox-20b", Family::Other),
            ("gpt-6", Family::Other),
            ("gpt-4all", Family::Other),
            ("gpt-55", Family::Other),
            ("o365-copilot", Family::Other),
            ("text-embedding-004", Family::Other),
            ("text-embedding-v3", Family::Other),
            ("something-new", Family::Other),
            ("", Family::Other),
        ] {
            assert_eq!(Family::of(name), family, "{name}");
        }
    }
}
