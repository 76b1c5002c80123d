//! Prompts: data into text, text into tokens.
//!
//! A [`Tokenizer`] turns text into a model's tokens and back, counts them, and cuts a text to a number of them. What a
//! user wrote never becomes a control token, by type: a [`Piece::Text`] is ordinary text whatever it says, and only a
//! [`Piece::Markup`], a template's own words, may write one.
//!
//! Deliberately knows no provider's wire format, and opens no connection but that to Redis, where the feature `redis` asks for it.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `cache` | no | `cache`: compiled templates, tokens and counts, kept; `plan`: what a provider keeps of a prompt |
//! | `chat` | no | `template::chat`: the chat templates that models bring, without handlebars |
//! | `redis` | no | `cache::remote`: what a fleet shares |
//! | `template` | no | `template`: handlebars templates beside those of `chat` |
//! | `tokenizers` | no | `tokenizer.json` files of any other kind, by Hugging Face's library: `tokenizer::from_file` |
//! | `tokens` | no | the built-in vocabularies, those of `tokenizer.json` files, and their encoder; `count`: whole requests, by each provider's rules; `fit`: a request into a context window |
#![forbid(unsafe_code)]

#[cfg(feature = "cache")]
pub mod cache;
#[cfg(feature = "tokens")]
pub mod count;
#[cfg(feature = "tokens")]
pub mod fit;
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
