#![doc = include_str!("../README.md")]
//!
//! # The formats
//!
//! A format is stateless data behind the object-safe [`Format`]; what an answer needs while it arrives lives in its [`Decoder`].
//!
//! | format | spoken by | stream | whole |
//! |---|---|---|---|
//! | [`OPENAI_CHAT`], [`OPENAI_COMPATIBLE`] | OpenAI chat completions and the many who speak it; see [`profiles`] | SSE | JSON |
//! | [`OPENAI_RESPONSES`] | OpenAI Responses, and those who speak it | SSE | JSON |
//! | [`AZURE_OPENAI`], [`AZURE_OPENAI_DEPLOYMENT`] | the same at Azure | SSE | JSON |
//! | [`ANTHROPIC_MESSAGES`], [`ANTHROPIC_VERTEX`] | Anthropic Messages, at Anthropic and at Vertex AI | SSE | JSON |
//! | [`ANTHROPIC_BEDROCK`] | the same at Bedrock | binary event stream | JSON |
//! | [`GEMINI`], [`GEMINI_VERTEX`] | Gemini `generateContent`, at Google AI and at Vertex AI | SSE, JSON list | JSON |
//! | [`GEMINI_INTERACTIONS`] | Gemini interactions | SSE | JSON |
//! | [`DASHSCOPE`], [`DASHSCOPE_CUMULATIVE`] | Alibaba Cloud's own, for Qwen | SSE | JSON |
//! | [`BEDROCK_CONVERSE`] | Bedrock's Converse | binary event stream | JSON |
//! | [`COHERE_CHAT`] | Cohere's chat, version 2 (answers of version 1 are read too) | SSE | JSON |
//! | [`OPENAI_COMPLETIONS`], [`OLLAMA_GENERATE`] | the formats before chat: a prompt and what follows it | SSE, NDJSON | JSON |
//! | [`OLLAMA_CHAT`] | Ollama's own `/api/chat` | NDJSON | JSON |
//!
//! # The three endings
//!
//! A provider's error event is `Failed`, whatever came before it; so is an end before any delta. A finish reason or
//! the terminal event (`[DONE]`, `message_stop`, `done: true`, the end of a whole document) is `Finished`. An end
//! after deltas with neither is `Truncated`. A terminal event without a finish reason is `Finished` with
//! `FinishReason::Other("")`: whole, and nobody said why it stopped.
#![forbid(unsafe_code)]

mod format;
mod head;
pub mod operations;
mod profile;

mod anthropic;
mod bedrock;
mod cohere;
mod completions;
mod dashscope;
mod gemini;
mod interactions;
mod ollama;
mod openai;
mod responses;

mod calls;
mod claude;
mod closed;
mod decoder;
mod encode;
mod eventstream;
mod failure;
mod fields;
mod framing;
mod gpt;
mod habits;
mod limits;
mod list;
mod losses;
mod media;
mod merge;
mod outbox;
mod pool;
mod rate;
mod seal;
#[cfg(feature = "sigv4")]
mod sigv4;
mod window;
mod wire;

pub use anthropic::{
    ANTHROPIC_BEDROCK, ANTHROPIC_MESSAGES, ANTHROPIC_VERTEX, AnthropicMessages, AnthropicPlace,
};
pub use bedrock::{BEDROCK_CONVERSE, BedrockConverse};
/// The bytes that a [`Decoder`] is handed.
pub use bytes::Bytes;
pub use closed::StrictMode;
pub use cohere::{COHERE_CHAT, CohereChat};
pub use completions::{OLLAMA_GENERATE, OPENAI_COMPLETIONS, OllamaGenerate, OpenAiCompletions};
pub use dashscope::{DASHSCOPE, DASHSCOPE_CUMULATIVE, DashScope};
pub use decoder::{Advance, Decoder};
pub use format::{Encoded, Format, Outgoing, by_name, format_names, secrets_in};
pub use gemini::{GEMINI, GEMINI_VERTEX, Gemini};
pub use head::Head;
/// The types of `http` that appear in this crate's own.
pub use http::{HeaderMap, HeaderName, HeaderValue, Method};
pub use interactions::{GEMINI_INTERACTIONS, GeminiInteractions};
pub use limits::DecodeLimits;
/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
pub use losses::{Loss, fitted, losses};
pub use ollama::{OLLAMA_CHAT, OllamaChat};
pub use openai::{
    AZURE_OPENAI, AZURE_OPENAI_DEPLOYMENT, BudgetField, OPENAI_CHAT, OPENAI_COMPATIBLE, OpenAiChat,
    OpenAiPlace,
};
pub use pool::DecoderMemory;
pub use profile::{Profile, profile, profiles};
pub use responses::{OPENAI_RESPONSES, OpenAiResponses};
#[cfg(feature = "sigv4")]
pub use sigv4::AwsCredentials;
