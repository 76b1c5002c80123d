// The example needs the feature; the page has it in any case.
#![cfg_attr(any(feature = "tokens", not(doctest)), doc = include_str!("../README.md"))]
//!
//! # Text into tokens
//!
//! A [`Tokenizer`] turns text into a model's tokens and back, counts them, and cuts a text to a number of them. A [`Piece::Text`]
//! is ordinary text whatever it says, and only a [`Piece::Markup`], a template's own words, may write a control token.
#![forbid(unsafe_code)]

#[cfg(feature = "cache")]
pub mod cache;
#[cfg(feature = "tokens")]
pub mod count;
#[cfg(feature = "tokens")]
pub mod fit;
#[cfg(any(feature = "cache", feature = "tokens"))]
mod named;
#[cfg(feature = "cache")]
pub mod plan;
#[cfg(all(feature = "cache", feature = "template"))]
mod prompt;
#[cfg(feature = "chat")]
pub mod template;
pub mod tokenizer;

/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
#[cfg(all(feature = "cache", feature = "template"))]
pub use prompt::PromptTemplate;
pub use tokenizer::{Detokenizer, Keep, Piece, Tokenizer};
