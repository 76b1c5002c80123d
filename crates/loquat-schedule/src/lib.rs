#![doc = include_str!("../README.md")]
//!
//! # The layers, outermost first
//!
//! [`Schedule`] stacks them in this order; each can be left out, or used without the others.
//!
//! | layer | question | its arithmetic | why here |
//! |---|---|---|---|
//! | [`limits::WithDeadline`] | until when at all? | – | queueing and retries count against the one deadline |
//! | [`retry::Retrying`] | once more? | [`retry::Operation`], [`retry::Budget`] | each attempt passes all that follows |
//! | [`hedge::Hedged`] | a second one beside it? | [`hedge::Latencies`] | a hedge is an attempt like any other |
//! | [`admission::Admitted`] | now, or later? | [`admission::Gate`] | no permit is held between attempts |
//! | [`breaker::Guarded`] | is the endpoint well? | [`breaker::Breaker`] | asked when an attempt goes, not when it queues |
//! | [`limits::Limited`] | is the attempt still going on? | [`limits::Progress`] | the breaker must see its timeouts |
//!
//! # Defaults
//!
//! Each policy's documentation has its table with the reasons: [`limits::Limits`], [`retry::RetryPolicy`],
//! [`retry::BudgetPolicy`], [`breaker::BreakerPolicy`], [`admission::AdmissionPolicy`], [`hedge::HedgePolicy`],
//! [`Schedule`]. In short: 60 s to the first token, 30 s between tokens, 600 s in all; two retries after 1 s and 2 s ± 20 %,
//! within 70 % of the time and 20 % + 10/s of the load; open after three timeouts for 5 s; no hedges.
//!
//! # Errors
//!
//! What this crate refuses itself bears a code of [`refusal`] and was never sent. All other errors are the attempt's
//! own; where trying again was considered, their message says why it ended.
#![forbid(unsafe_code)]

pub mod admission;
pub mod breaker;
mod delivery;
pub mod hedge;
pub mod limits;
mod observed;
mod random;
pub mod refusal;
pub mod retry;
mod stack;
mod time;

/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
pub use random::Random;
pub use stack::{EndpointSchedule, Schedule};
pub use time::TokioClock;
