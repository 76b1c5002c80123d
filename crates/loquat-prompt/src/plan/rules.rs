//! What each provider keeps, as data.

use crate::named::named;

/// How a provider's cache of prompts works for one model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheRules {
    /// Shortest beginning that is kept, tokens; asking for less is skipped in silence.
    pub min_tokens: u64,
    /// What is kept is a multiple of this, tokens.
    pub block_tokens: u64,
    /// Whether the prompt must say where to keep (Anthropic's `cache_control`, Bedrock's `cachePoint`). The others keep of their own
    /// accord.
    pub wants_marks: bool,
    /// Whether a key helps finding the machine that has it (OpenAI's `prompt_cache_key`).
    pub wants_key: bool,
}

impl CacheRules {
    /// Rules of your own.
    pub fn new(min_tokens: u64) -> Self {
        Self { min_tokens, block_tokens: 1, wants_marks: false, wants_key: false }
    }

    /// What is known of a model, by its name with or without a provider's before it; `None` where nothing is: then there is
    /// nothing to plan.
    pub fn of(model: &str) -> Option<Self> {
        named(model, Self::of_bare)
    }

    /// The name as a provider has it, in lower case.
    fn of_bare(name: &str) -> Option<Self> {
        let has = |part: &str| name.contains(part);
        let rules = |min_tokens, block_tokens, wants_marks, wants_key| {
            Some(Self { min_tokens, block_tokens, wants_marks, wants_key })
        };
        if has("claude") {
            // The smaller and the newest ones keep from 4,096 or 2,048 tokens on; the rest from 1,024. An older name is
            // wholly spelled with its date.
            let min_tokens = match () {
                () if has("haiku-4-5") || has("opus-4-5") || has("opus-4-6") || has("opus-4-7") => 4096,
                () if has("haiku") => 2048,
                () => 1024,
            };
            return rules(min_tokens, 1, true, false);
        }
        if ["gpt-", "o1", "o3", "o4", "chatgpt"].iter().any(|prefix| name.starts_with(prefix)) {
            // The open ones are served by others, of whose caches nothing is known.
            let keeps = !(["gpt-3.5", "gpt-4-", "gpt-oss"].iter().any(|prefix| name.starts_with(prefix))
                || name == "gpt-4");
            return if keeps { rules(1024, 128, false, true) } else { None };
        }
        if has("deepseek") {
            return rules(64, 64, false, false);
        }
        if name.starts_with("gemini-2.5") || name.starts_with("gemini-3") {
            return rules(if has("flash") { 1024 } else { 2048 }, 1, false, false);
        }
        None
    }

    /// Whether a beginning of that length is kept.
    pub fn keeps(&self, tokens: u64) -> bool {
        tokens >= self.min_tokens
    }

    /// How much of a beginning of that length can be read again.
    pub fn readable(&self, tokens: u64) -> u64 {
        if self.keeps(tokens) { tokens - tokens % self.block_tokens.max(1) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_name() {
        for (model, expected) in [
            ("gpt-4o", Some(1024)),
            ("openai:gpt-5-mini", Some(1024)),
            ("gpt-3.5-turbo", None),
            ("anthropic/claude-sonnet-4-5", Some(1024)),
            ("claude-haiku-4-5", Some(4096)),
            ("claude-3-5-haiku-20241022", Some(2048)),
            ("deepseek-chat", Some(64)),
            ("gemini-2.5-flash", Some(1024)),
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", Some(1024)),
            ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", Some(4096)),
            ("openai/gpt-oss:20b", None),
            ("azure:gpt-4o", Some(1024)),
            ("smollm2", None),
        ] {
            assert_eq!(CacheRules::of(model).map(|rules| rules.min_tokens), expected, "{model}");
        }
        let openai = CacheRules::of("gpt-4o").unwrap();
        assert_eq!((openai.readable(1023), openai.readable(1024), openai.readable(1300)), (0, 1024, 1280));
    }
}
