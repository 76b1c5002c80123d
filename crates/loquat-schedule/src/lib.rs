//! What to do with attempts: limits in time, retry within a budget, a circuit breaker, admission, hedging. Each piece is
//! usable alone, and as a layer that wraps a [`Model`](loquat_core::Model) and is one again.
//!
//! It deliberately knows no HTTP and no JSON, and the arithmetic of each piece reads no clock: it takes a `now`, which
//! is what lets a simulation drive the real code. The layers wait with tokio's timers, so they need a tokio runtime
//! with time enabled; none of them spawns a task.
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
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use loquat_core::{ChatRequest, Context, Delivery, Error, ErrorKind, Model, OwnedDelta, test_util::Scripted};
//! use loquat_schedule::{Schedule, admission::AdmissionPolicy, limits::Limits};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! // A server that refuses the first connection.
//! let refused = Error::new(ErrorKind::Connect, "refused").with_delivery(Delivery::NotSent);
//! let hello = OwnedDelta::Text { choice: 0, text: "hello".into() };
//! let server = Scripted::new().then(Err(refused)).then(Ok(vec![hello]));
//!
//! let schedule = Schedule::new()
//!     .with_total(Duration::from_secs(30))
//!     .with_admission(AdmissionPolicy::default())
//!     .with_limits(Limits::default());
//! let endpoint = schedule.for_endpoint(); // one per endpoint: its budget, queue and breaker
//! let model: Arc<dyn Model> = endpoint.around(server);
//!
//! let mut answer = model.infer(&Context::new(), Arc::new(ChatRequest::new("m").with_user("hi"))).await?;
//! assert_eq!(answer.next_text().await?, Some("hello"));
//! assert_eq!(endpoint.admission().map(|queue| queue.in_flight()), Some(1)); // until the answer ends or is dropped
//! # Ok::<_, Error>(()) }).unwrap();
//! ```
//!
//! # Defaults
//!
//! Each policy's documentation has its table with the reasons: [`limits::Limits`], [`retry::RetryPolicy`],
//! [`retry::BudgetPolicy`], [`breaker::BreakerPolicy`], [`admission::AdmissionPolicy`], [`hedge::HedgePolicy`],
//! [`Schedule`]. In short: 60 s to the first token, 30 s between tokens, 600 s in all (800 ms for what is not a
//! generation); two retries after 1 s and 2 s ± 20 %, within 70 % of the time and 20 % + 10/s of the load; open after three
//! timeouts for 5 s; no hedges.
//!
//! # Errors
//!
//! What this crate refuses itself bears a code of [`refusal`] and was never sent. All other errors are the attempt's
//! own; where trying again was considered, their message says why it ended.
//!
//! # Features
//!
//! None.
#![forbid(unsafe_code)]

pub mod admission;
pub mod breaker;
mod content;
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
