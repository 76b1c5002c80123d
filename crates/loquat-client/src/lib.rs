//! One attempt as a [`Model`](loquat_core::Model): a provider's wire format over a transport's connection.
//!
//! [`HttpModel`] encodes a request, sends it once, and gives an [`Answer`](loquat_core::Answer) that reads the
//! socket only when it is pulled: no task runs behind it. It holds the limits in time that only somebody who sees
//! parsed events can hold ([`GenerationLimits`]), and it decides where a credential may go.
//!
//! It deliberately knows nothing of retries and routes: those are models around this one.
//!
//! # Features
//!
//! None.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use loquat_client::HttpModel;
//! use loquat_core::{ChatRequest, Context, Endpoint, Model};
//! use loquat_transport::{Config, Transport};
//!
//! # async fn run() -> Result<(), loquat_core::Error> {
//! let transport = Transport::new(Config::default())?;
//! let endpoint = Endpoint::new("llama.cpp", "http://127.0.0.1:8080/v1", "smollm2");
//! let model = HttpModel::new(transport, &loquat_provider::OPENAI_CHAT, endpoint)?;
//! let request = Arc::new(ChatRequest::new("").with_user("Say hello in French."));
//! let mut answer = model.infer(&Context::new(), request).await?;
//! while let Some(text) = answer.next_text().await? {
//!     print!("{text}");
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod kept;
mod limits;
mod model;
mod source;

pub use limits::GenerationLimits;
pub use model::HttpModel;
/// The crates whose types a model is made of, in the versions that this one uses.
#[doc(no_inline)]
pub use {loquat_core, loquat_provider, loquat_transport};
