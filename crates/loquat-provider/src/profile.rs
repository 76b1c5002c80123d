//! Providers as data: where they are, which variable holds the key, which format they speak.
//!
//! A new one is a line here, a line in `tests/profiles.rs` and a recording. Whether a listed address answers is for `doctor` to find out.

use crate::{
    ANTHROPIC_MESSAGES, AZURE_OPENAI, AZURE_OPENAI_DEPLOYMENT, BEDROCK_CONVERSE, COHERE_CHAT, DASHSCOPE,
    Format, GEMINI, GEMINI_INTERACTIONS, OLLAMA_CHAT, OLLAMA_GENERATE, OPENAI_CHAT, OPENAI_COMPATIBLE,
    OPENAI_COMPLETIONS, OPENAI_RESPONSES,
    openai::{
        DEEPSEEK_CHAT, GEMINI_OPENAI_CHAT, MISTRAL_CHAT, MOONSHOT_CHAT, OPENAI_LIKE_CHAT, OPENROUTER_CHAT,
        QWEN_CHAT,
    },
};

/// What is known of a provider before it is asked anything.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Profile {
    /// The short name, the part before the colon in `openai:gpt-4o`.
    pub name: &'static str,
    /// Scheme, host and path prefix, without a slash at its end; a path of the format is put behind it with one between. Empty where
    /// each customer has an address of their own, which has to be given.
    pub base_url: &'static str,
    /// The environment variable that holds the key; `None` for servers that ask for none.
    pub key_variable: Option<&'static str>,
    /// The wire format, with this provider's habits.
    pub format: &'static dyn Format,
    /// Another way to the models of that provider, with the same key: asked only where it is named.
    pub variant_of: Option<&'static str>,
    /// Whether it lists its models.
    pub lists_models: bool,
}

impl Profile {
    const fn new(
        name: &'static str,
        base_url: &'static str,
        key_variable: &'static str,
        format: &'static dyn Format,
    ) -> Self {
        Self {
            name,
            base_url,
            key_variable: Some(key_variable),
            format,
            variant_of: None,
            lists_models: true,
        }
    }

    const fn local(name: &'static str, base_url: &'static str, format: &'static dyn Format) -> Self {
        Self { name, base_url, key_variable: None, format, variant_of: None, lists_models: true }
    }

    /// The same provider under another name, in another format or at another address.
    const fn variant(
        name: &'static str,
        of: &'static Profile,
        base_url: &'static str,
        format: &'static dyn Format,
    ) -> Self {
        Self { name, base_url, format, variant_of: Some(of.name), ..*of }
    }

    const fn without_listing(mut self) -> Self {
        self.lists_models = false;
        self
    }

    /// Whether it runs on this machine unless said otherwise.
    pub fn is_local(&self) -> bool {
        self.key_variable.is_none()
    }
}

const OPENAI: Profile = Profile::new("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", &OPENAI_CHAT);
const ANTHROPIC: Profile =
    Profile::new("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", &ANTHROPIC_MESSAGES);
/// Its listing is of models that could be deployed, not of those that can be asked.
const AZURE: Profile = Profile::new("azure", "", "AZURE_OPENAI_API_KEY", &AZURE_OPENAI).without_listing();
const GOOGLE: Profile =
    Profile::new("gemini", "https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY", &GEMINI);
const OLLAMA: Profile = Profile::local("ollama", "http://127.0.0.1:11434", &OLLAMA_CHAT);
const QWEN: Profile = Profile::new(
    "qwen",
    "https://dashscope.aliyuncs.com/compatible-mode/v1",
    "DASHSCOPE_API_KEY",
    &QWEN_CHAT,
);
const XAI: Profile = Profile::new("xai", "https://api.x.ai/v1", "XAI_API_KEY", &OPENAI_LIKE_CHAT);

static PROFILES: &[Profile] = &[
    OPENAI,
    Profile::variant("openai-responses", &OPENAI, OPENAI.base_url, &OPENAI_RESPONSES),
    Profile::variant("openai-completions", &OPENAI, OPENAI.base_url, &OPENAI_COMPLETIONS),
    ANTHROPIC,
    AZURE,
    Profile::variant("azure-deployment", &AZURE, "", &AZURE_OPENAI_DEPLOYMENT),
    GOOGLE,
    Profile::variant("gemini-interactions", &GOOGLE, GOOGLE.base_url, &GEMINI_INTERACTIONS),
    Profile::variant(
        "gemini-openai",
        &GOOGLE,
        "https://generativelanguage.googleapis.com/v1beta/openai",
        &GEMINI_OPENAI_CHAT,
    ),
    OLLAMA,
    Profile::variant("ollama-generate", &OLLAMA, OLLAMA.base_url, &OLLAMA_GENERATE),
    Profile::variant("ollama-openai", &OLLAMA, "http://127.0.0.1:11434/v1", &OPENAI_COMPATIBLE),
    QWEN,
    Profile::new(
        "qwen-intl",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "DASHSCOPE_API_KEY",
        &QWEN_CHAT,
    ),
    Profile::variant("dashscope", &QWEN, "https://dashscope.aliyuncs.com/api/v1", &DASHSCOPE)
        .without_listing(),
    Profile::new("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", &DEEPSEEK_CHAT),
    Profile::new("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", &OPENAI_LIKE_CHAT),
    XAI,
    Profile::variant("xai-responses", &XAI, XAI.base_url, &OPENAI_RESPONSES),
    Profile::new("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", &OPENROUTER_CHAT),
    Profile::new("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", &MISTRAL_CHAT),
    Profile::new("cohere", "https://api.cohere.com", "CO_API_KEY", &COHERE_CHAT),
    Profile::new("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", &OPENAI_COMPATIBLE),
    Profile::new(
        "fireworks",
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
        &OPENAI_COMPATIBLE,
    ),
    Profile::new("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", &OPENAI_LIKE_CHAT),
    Profile::new("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", &MOONSHOT_CHAT),
    Profile::new("zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY", &DEEPSEEK_CHAT),
    Profile::new("zhipu", "https://open.bigmodel.cn/api/paas/v4", "ZHIPU_API_KEY", &DEEPSEEK_CHAT),
    Profile::new("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY", &OPENAI_COMPATIBLE)
        .without_listing(),
    Profile::new("huggingface", "https://router.huggingface.co/v1", "HF_TOKEN", &OPENAI_COMPATIBLE),
    Profile::new("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY", &OPENAI_COMPATIBLE),
    Profile::new(
        "bedrock",
        "https://bedrock-runtime.us-east-1.amazonaws.com",
        "AWS_BEARER_TOKEN_BEDROCK",
        &BEDROCK_CONVERSE,
    )
    .without_listing(),
    Profile::local("llamacpp", "http://127.0.0.1:8080/v1", &OPENAI_COMPATIBLE),
    Profile::local("vllm", "http://127.0.0.1:8000/v1", &OPENAI_COMPATIBLE),
    Profile::local("sglang", "http://127.0.0.1:30000/v1", &OPENAI_COMPATIBLE),
    Profile::local("lmstudio", "http://127.0.0.1:1234/v1", &OPENAI_COMPATIBLE),
];

/// The provider of that name.
pub fn profile(name: &str) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.name == name)
}

/// All known providers, the best known first.
pub fn profiles() -> &'static [Profile] {
    PROFILES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_keys_travel_encrypted() {
        for (position, known) in PROFILES.iter().enumerate() {
            assert!(PROFILES[..position].iter().all(|other| other.name != known.name), "{}", known.name);
            assert!(!known.base_url.ends_with('/'), "{}", known.name);
            if !known.base_url.is_empty() {
                assert_eq!(known.base_url.starts_with("https://"), !known.is_local(), "{}", known.name);
            }
            assert!(std::ptr::eq(profile(known.name).expect("listed"), known));
            if let Some(first) = known.variant_of {
                assert_eq!(
                    profile(first).expect("listed").key_variable,
                    known.key_variable,
                    "{}",
                    known.name
                );
            }
        }
    }
}
