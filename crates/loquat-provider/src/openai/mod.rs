//! OpenAI chat completions, as OpenAI and those compatible with it speak it.
//!
//! What distinguishes one speaker from another is data ([`OpenAiChat`]), not code. Follows
//! <https://platform.openai.com/docs/api-reference/chat> and, where servers differ from it, recordings of them.

mod decode;
mod encode;

pub(crate) use encode::wire_messages;
use http::{HeaderMap, HeaderName, header};
use loquat_core::{ChatRequest, Error, ModelInfo, Result, Secret};

use crate::{
    DecodeLimits, Decoder, DecoderMemory, Encoded, Format, Head, StrictMode, encode as shared, failure,
    framing::Json,
};

/// The format's name in an opaque part: an element of a content list, of a kind that is not known.
const OPAQUE: &str = "openai-chat";

/// How a thinking budget in tokens is said, where it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BudgetField {
    /// Not at all: a budget is an `Unsupported` error.
    None,
    /// `enable_thinking` and `thinking_budget` (DashScope).
    ThinkingBudget,
    /// `reasoning.max_tokens` (OpenRouter).
    ReasoningMaxTokens,
}

/// The chat completions format with the habits of one family of servers.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OpenAiChat {
    /// See [`Format::name`].
    pub name: &'static str,
    /// The member for the most tokens to generate: `max_completion_tokens` at OpenAI, whose reasoning models refuse the
    /// older `max_tokens`, which is what most others know.
    pub max_tokens_field: &'static str,
    /// Whether `stream_options.include_usage` may be sent. Without it most servers stream no usage; a few refuse it and
    /// send usage anyway.
    pub stream_options: bool,
    /// The member of an assistant's message in which its earlier reasoning is sent back. `None`: it is left out, as
    /// the format itself has no place for it.
    pub reasoning_field: Option<&'static str>,
    /// Whether the seals of tool calls are sent back in `extra_content` (Google's compatible mode).
    pub call_signatures: bool,
    /// Whether sealed reasoning is sent back as `reasoning_details` (OpenRouter).
    pub reasoning_details: bool,
    /// How a thinking budget is said.
    pub budget: BudgetField,
    /// Whether an answer can be asked for by a schema. Where it cannot, a schema is an `Unsupported` error.
    pub json_schema: bool,
    /// Which schemas may be asked for strictly. A tool or an answer whose schema is another is asked for loosely.
    pub strict: StrictMode,
    /// Whether hints about the prompt cache are understood (OpenAI, and Azure without versions).
    pub prompt_cache: bool,
    /// Whether models of OpenAI's are known by their names, which say whether they take a `temperature`, a `top_p` and log
    /// probabilities (OpenAI, Azure): what one refuses is an `Unsupported` error. Servers that hand models of others on may
    /// leave those members out instead.
    pub refuses_sampling: bool,
    /// The member for a seed.
    pub seed_field: &'static str,
    /// The member for the length of embeddings.
    pub dimensions_field: &'static str,
    /// The word for a demand of some tool.
    pub required_choice: &'static str,
    /// Whether an assistant's earlier reasoning, and chunks of kinds not known, are sent back as chunks of its content (Mistral).
    pub thinking_chunks: bool,
    /// Whether names of calls are nine letters and digits and nothing else (Mistral): others are sent as such, made of them.
    pub short_call_ids: bool,
    /// Whose front door it is asked at.
    pub place: OpenAiPlace,
}

/// Where chat completions are spoken: what is said is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenAiPlace {
    /// At `chat/completions`, with a bearer's key.
    OpenAi,
    /// At Azure: the same path, with the key in a header of its own.
    Azure,
    /// At Azure, where the model's name is that of a deployment and part of the path. Holds the version of the API.
    AzureDeployment(&'static str),
}

/// OpenAI's own.
pub static OPENAI_CHAT: OpenAiChat = OpenAiChat {
    name: "openai-chat",
    max_tokens_field: "max_completion_tokens",
    stream_options: true,
    reasoning_field: None,
    call_signatures: false,
    reasoning_details: false,
    budget: BudgetField::None,
    json_schema: true,
    strict: StrictMode::OpenAi,
    prompt_cache: true,
    refuses_sampling: true,
    seed_field: "seed",
    dimensions_field: "dimensions",
    required_choice: "required",
    thinking_chunks: false,
    short_call_ids: false,
    place: OpenAiPlace::OpenAi,
};

/// Azure OpenAI, its API without versions: the base URL is `https://RESOURCE.openai.azure.com/openai/v1`.
pub static AZURE_OPENAI: OpenAiChat =
    OpenAiChat { name: "azure-openai", place: OpenAiPlace::Azure, ..OPENAI_CHAT };

/// Azure OpenAI by deployment: the base URL is `https://RESOURCE.openai.azure.com/openai`.
pub static AZURE_OPENAI_DEPLOYMENT: OpenAiChat = OpenAiChat {
    name: "azure-openai-deployment",
    place: OpenAiPlace::AzureDeployment("2024-10-21"),
    // Hints are younger than that version, and refused as arguments that it does not know.
    prompt_cache: false,
    ..OPENAI_CHAT
};

/// What servers that call themselves compatible understand (llama.cpp, vLLM, SGLang, LM Studio and most companies).
pub static OPENAI_COMPATIBLE: OpenAiChat = OpenAiChat {
    name: "openai-compatible",
    max_tokens_field: "max_tokens",
    prompt_cache: false,
    refuses_sampling: false,
    ..OPENAI_CHAT
};

/// Companies that took over OpenAI's newer member names, and not its prompt cache.
pub(crate) static OPENAI_LIKE_CHAT: OpenAiChat =
    OpenAiChat { prompt_cache: false, refuses_sampling: false, ..OPENAI_CHAT };

/// Moonshot wants the reasoning back with the tool calls it led to.
pub(crate) static MOONSHOT_CHAT: OpenAiChat =
    OpenAiChat { reasoning_field: Some("reasoning_content"), ..OPENAI_COMPATIBLE };

/// So do DeepSeek and Z.ai, which know JSON and no schema of it.
/// <https://api-docs.deepseek.com/api/create-chat-completion>
/// <https://docs.z.ai/guides/capabilities/struct-output>
pub(crate) static DEEPSEEK_CHAT: OpenAiChat =
    OpenAiChat { json_schema: false, strict: StrictMode::DeepSeek, ..MOONSHOT_CHAT };

/// DashScope's compatible mode.
pub(crate) static QWEN_CHAT: OpenAiChat =
    OpenAiChat { budget: BudgetField::ThinkingBudget, ..OPENAI_COMPATIBLE };

/// Google's compatible mode.
pub(crate) static GEMINI_OPENAI_CHAT: OpenAiChat = OpenAiChat { call_signatures: true, ..OPENAI_COMPATIBLE };

/// OpenRouter.
pub(crate) static OPENROUTER_CHAT: OpenAiChat = OpenAiChat {
    reasoning_field: Some("reasoning"),
    reasoning_details: true,
    budget: BudgetField::ReasoningMaxTokens,
    ..OPENAI_COMPATIBLE
};

/// Mistral refuses members it does not know, streams usage without being asked, and has words of its own.
pub(crate) static MISTRAL_CHAT: OpenAiChat = OpenAiChat {
    stream_options: false,
    seed_field: "random_seed",
    dimensions_field: "output_dimension",
    required_choice: "any",
    thinking_chunks: true,
    short_call_ids: true,
    ..OPENAI_COMPATIBLE
};

impl Format for OpenAiChat {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded> {
        encode::encode(self, request, model)
    }

    fn operation_path(&self, path: &str, model: &str) -> String {
        match self.place {
            OpenAiPlace::AzureDeployment(version) => {
                format!("deployments/{}/{path}?api-version={version}", shared::escaped(model))
            }
            _ => path.to_owned(),
        }
    }

    fn dimensions_field(&self) -> &'static str {
        self.dimensions_field
    }

    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()> {
        match self.place {
            OpenAiPlace::OpenAi => shared::authenticate(headers, header::AUTHORIZATION, "Bearer ", secret),
            _ => shared::authenticate(headers, HeaderName::from_static("api-key"), "", secret),
        }
    }

    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder {
        Decoder::reusing(head, limits, Json::Document, memory, &decode::POOL, decode::Chat::boxed)
    }

    fn error(&self, head: &Head<'_>, body: &[u8]) -> Error {
        failure::of_response(head, body)
    }

    fn models_path(&self) -> &'static str {
        "models"
    }

    fn decode_models(&self, body: &[u8]) -> Result<Vec<ModelInfo>> {
        shared::models(body, &["data", "models"])
    }
}
