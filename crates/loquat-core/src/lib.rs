#![doc = include_str!("../README.md")]
//!
//! # Reading an answer
//!
//! ```
//! use std::{error::Error, io::{Write, stdout}};
//!
//! use loquat_core::{Answer, Delta, Ending};
//!
//! async fn print(mut answer: Answer) -> Result<(), Box<dyn Error>> {
//!     while let Some(delta) = answer.next().await {
//!         match delta {
//!             Delta::Text { text, .. } => {
//!                 print!("{text}");
//!                 stdout().flush()?; // or only whole lines are seen
//!             }
//!             Delta::End(Ending::Finished { usage, .. }) => println!("\n{} tokens", usage.output_tokens),
//!             Delta::End(ending) => return Ok(ending.clone().into_result().map(drop)?),
//!             _ => {} // reasoning, tool calls, events this program does not know
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # The three endings
//!
//! | what happened | ending |
//! |---|---|
//! | the provider gave a finish reason, or its terminal event (reason `length` too; `[DONE]` not required) | [`Ending::Finished`] |
//! | the stream stopped after deltas, with neither | [`Ending::Truncated`] |
//! | an error event, or an end before any delta, or bytes that are no answer at all | [`Ending::Failed`] |
//!
//! # The words
//!
//! What is asked is a [`ChatRequest`], what comes back an [`Answer`], a stream of [`Delta`]s with exactly one [`Ending`]; a
//! [`Context`] has the conditions, an [`Error`] what can go wrong. [`Model`] is the one waist that providers, engines, schedulers,
//! routers and observers share.
#![forbid(unsafe_code)]

mod address;
mod answer;
mod assemble;
mod availability;
mod clock;
mod context;
mod delta;
mod discover;
mod endpoint;
mod error;
mod history;
#[cfg_attr(not(feature = "test-util"), allow(unreachable_pub, reason = "`test_util` hands it on"))]
mod made;
mod message;
mod model;
mod operations;
mod probe;
mod rate;
mod request;
mod response;
mod secret;
#[cfg(feature = "test-util")]
pub mod test_util;
mod trace_state;

pub use address::{AddressPolicy, Network};
pub use answer::{Answer, DEFAULT_MAX_ANSWER_BYTES, DeltaStream, Meta, Source, Step};
pub use assemble::Assembler;
pub use availability::{Availability, Standing};
pub use clock::{Clock, SystemClock};
pub use context::{Context, TraceContext, system_random};
pub use delta::{Delta, Ending, FinishReason, OwnedDelta};
pub use discover::{Discover, Discovered, Listing};
pub use endpoint::{Endpoint, ModelInfo};
pub use error::{ContextLength, Delivery, Error, ErrorKind, Fault, Result, RetryHint};
pub use history::{History, Stage};
pub use message::{Media, MediaSource, Message, Opaque, Part, Reasoning, Role, ToolCall, ToolResult};
pub use model::{BoxFuture, Model, ModelFn, model_fn};
pub use operations::{EmbedPurpose, EmbedRequest, Embeddings, Moderation, ModerationCategory};
pub use probe::{Event, LockProbe, Probe};
pub use rate::{Metered, RateLimit, RateLimits, Reset};
pub use request::{CacheHint, ChatRequest, ExtraHeaders, JsonText, ResponseFormat, Tool, ToolChoice};
pub use response::{Choice, Detail, Response, Usage};
pub use secret::Secret;
pub use tokio_util::sync::CancellationToken;
pub use trace_state::TraceState;
