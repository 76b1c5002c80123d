//! What to do with attempts: limits in time, retry within a budget, a circuit breaker. Each piece is usable alone, and
//! as a layer that wraps a [`Model`](loquat_core::Model) and is one again.
//!
//! It deliberately knows no HTTP and no JSON, and the arithmetic of each piece reads no clock: it takes a `now`, which
//! is what lets a simulation drive the real code. The layers wait with tokio's timers, so they need a tokio runtime
//! with time enabled.
//!
//! # The layers, outermost first
//!
//! | layer | question | its arithmetic | why here |
//! |---|---|---|---|
//! | [`limits::WithDeadline`] | until when at all? | – | queueing and retries count against the one deadline |
//! | [`retry::Retrying`] | once more? | [`retry::Operation`], [`retry::Budget`] | each attempt below passes all that follows |
//! | [`breaker::Guarded`] | is the endpoint well? | [`breaker::Breaker`] | it judges single attempts |
//! | [`limits::Limited`] | is the attempt still going on? | [`limits::Progress`] | the breaker must see its timeouts |
//!
//! # Features
//!
//! None.
#![forbid(unsafe_code)]

pub mod breaker;
pub mod limits;
mod random;
pub mod refusal;
pub mod retry;
mod time;

pub use random::Random;
pub use time::TokioClock;
