#![doc = include_str!("../README.md")]
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
