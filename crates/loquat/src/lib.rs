// The example needs the feature; the page has it in any case.
#![cfg_attr(any(feature = "client", not(doctest)), doc = include_str!("../README.md"))]
//!
//! # Models by name
//!
//! | name | what answers |
//! |---|---|
//! | `engine`, `engine:PATH.gguf` | the embedded engine (feature `engine`): no key, no network |
//! | `openai:gpt-4o`, `anthropic:…`, `ollama:…`, `qwen:…` | that provider, with the key its environment variable holds |
//! | `azure:NAME` | that deployment at the resource in `AZURE_OPENAI_ENDPOINT` |
//! | `gpt-4o` | the one configured provider that lists it; an error where several or none do |
//!
//! # Several models
//!
//! A router, layers around a model, the engine, a double in a test: whatever is a [`Model`] is asked as a `Client` is, by
//! [`ModelExt::chat`]. `Client::router` makes a router of a plan, and its routes are then what is asked for.
//!
//! # Retries
//!
//! A [`Client`] puts every endpoint inside a `schedule::Schedule`: an attempt that cannot have run is made again, at
//! most twice, within 70 % of the time and the endpoint's budget; an endpoint that times out three times in a row is left
//! alone for five seconds. `ClientBuilder::schedule` changes that, or turns it off.
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
mod aws;
#[cfg(feature = "client")]
mod azure;
mod chat;
#[cfg(feature = "otlp")]
mod collecting;
#[cfg(feature = "otlp")]
mod collector;
#[cfg(all(feature = "client", feature = "engine"))]
mod engines;
#[cfg(feature = "discovery")]
mod follow;
#[cfg(feature = "discovery")]
mod health;
#[cfg(feature = "tracing")]
mod logged;
#[cfg(all(feature = "client", feature = "observe"))]
mod observing;
#[cfg(feature = "client")]
mod operations;
#[cfg(all(feature = "client", feature = "engine"))]
pub mod pull;
#[cfg(feature = "client")]
mod resolve;
#[cfg(feature = "router")]
mod route_file;
#[cfg(all(feature = "client", feature = "router"))]
mod routes;
#[cfg(feature = "observe")]
mod runtime;
#[cfg(feature = "tools")]
mod typed;
#[cfg(all(feature = "client", feature = "router"))]
mod webhook;
#[cfg(feature = "client")]
mod wiring;

/// Rust functions as tools, Rust types as answers: the crate `loquat-tools`.
#[cfg(feature = "tools")]
pub mod tools {
    // Named, it comes before the glob's: the code it generates finds its items below `loquat`.
    pub use loquat_macros::tool;
    pub use loquat_tools::*;
}

pub use chat::{Chat, ModelExt};
#[cfg(feature = "otlp")]
pub use collecting::{Collecting, CollectorProtocol};
#[cfg(feature = "otlp")]
pub use collector::Collector;
#[cfg(feature = "client")]
pub use loquat_client as client;
pub use loquat_conversation::{self as conversation, Conversation};
pub use loquat_core as core;
pub use loquat_core::{
    Answer, CacheHint, ChatRequest, Context, Delta, Ending, Error, ErrorKind, FinishReason, Message, Model,
    ModelInfo, OwnedDelta, Part, Response, Result, Role, Secret, Tool, ToolCall, ToolResult, Usage,
};
/// Sources of endpoints: the crate `loquat-discovery`, and routers that follow one.
#[cfg(feature = "discovery")]
pub mod discovery {
    pub use loquat_core::{Discover, Discovered, Listing};
    pub use loquat_discovery::*;

    pub use crate::{
        follow::{Followed, Status},
        health::{HealthChecks, HealthWatch},
    };
}
#[cfg(feature = "tracing")]
pub use logged::Logged;
#[cfg(feature = "engine")]
pub use loquat_engine as engine;
#[cfg(feature = "client")]
pub use loquat_json as json;
#[cfg(feature = "tools")]
pub use loquat_macros::tool;
#[cfg(feature = "observe")]
pub use loquat_observe as observe;
#[cfg(feature = "prompt")]
pub use loquat_prompt as prompt;
#[cfg(feature = "client")]
pub use loquat_provider as provider;
#[cfg(feature = "observe")]
pub use runtime::watch_runtime;
/// A model over many endpoints: the crate `loquat-router`, and its routes from files.
#[cfg(feature = "router")]
pub mod router {
    pub use loquat_router::*;

    pub use crate::route_file::{find_key, plan_from_file, plan_without_keys, reload};
}
#[cfg(feature = "schedule")]
pub use loquat_schedule as schedule;
#[cfg(feature = "test-util")]
pub use loquat_testing as testing;
#[cfg(feature = "client")]
pub use loquat_transport as transport;
#[cfg(feature = "tools")]
pub use tools::{Run, RunEvent, RunLimits, Toolbox, schemars};
#[cfg(feature = "tools")]
pub use typed::{Structured, ToolChat};
#[cfg(feature = "client")]
pub use wiring::{Client, ClientBuilder, ProviderStatus};

/// The README's programs, compiled.
#[cfg(all(doctest, feature = "client", feature = "router"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The guide's programs, compiled, and run where they need nobody.
#[cfg(all(
    doctest,
    feature = "client",
    feature = "observe",
    feature = "prompt",
    feature = "router",
    feature = "tools"
))]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;
