//! What happens to requests, shown: metrics, spans, and a look inside while it runs. Layers around a
//! [`Model`](loquat_core::Model), from outside.
//!
//! It deliberately knows no provider and no prompt. It hears from the other crates by
//! [`Probe`](loquat_core::Probe) and never asks them; it installs nothing global, neither a tracer nor a logger nor a
//! recorder: an [`Observer`] is a value, and a program may have none or several.
//!
//! # Cost
//!
//! A chunk of an answer costs some additions to the stream's own numbers; handles are bound to their labels when a model is
//! wrapped; histograms are touched when an answer ends. An operation notes down instants and numbers, and spans are made of
//! them by another thread, if it is kept at all. `cargo xtask bench observe` has the figures.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use loquat_core::{ChatRequest, Context, Error, Model, OwnedDelta, test_util::Scripted};
//! use loquat_observe::{Observer, Place, TextFormat};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let hello = OwnedDelta::Text { choice: 0, text: "hello".into() };
//! let server = Scripted::new().then(Ok(vec![hello]));
//!
//! let observer = Observer::new();
//! let place = Place::new("openai", "gpt-5");
//! let model = observer.operation(observer.attempt(server, place.clone()), place);
//!
//! let mut answer = model.infer(&Context::new(), Arc::new(ChatRequest::new("gpt-5").with_user("hi"))).await?;
//! assert_eq!(answer.next_text().await?, Some("hello"));
//! assert_eq!(observer.streams().len(), 1); // until the answer ends or is dropped
//! assert!(observer.metrics(TextFormat::Prometheus).contains("loquat_operations_in_flight"));
//! # Ok::<_, Error>(()) }).unwrap();
//! ```
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `capture` | no | what was asked and answered, with spans, by sampling and redacted: still off until it is asked for |
//! | `otlp` | no | `export`: spans and metrics to a collector over HTTP, JSON lines to a file |
//! | `stack` | no | the stack of a poll that a watchdog reports, and `/debug/pprof`: on Linux on x86-64 |
#![deny(unsafe_code)]

mod attempt;
mod cache;
mod call;
#[cfg(feature = "capture")]
mod capture;
#[cfg(feature = "otlp")]
pub mod export;
#[cfg(feature = "stack")]
mod flame;
mod layer;
mod locks;
mod metric;
mod names;
mod observer;
mod pace;
mod places;
mod price;
#[cfg(feature = "stack")]
mod profile;
mod runtime;
mod sampling;
mod series;
pub mod serve;
mod stack;
pub mod tasks;
mod ticks;
pub mod top;
mod trace;
mod waterfall;

pub use attempt::Attempted;
pub use cache::CacheState;
#[cfg(feature = "capture")]
pub use capture::{Capture, Content};
pub use layer::Observed;
pub use locks::{Lock, Locks, SiteState};
/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
pub use metric::TextFormat;
pub use names::Conventions;
pub use observer::{Observer, ObserverBuilder, StreamState};
pub use price::Price;
#[cfg(feature = "stack")]
pub use profile::HeapStack;
pub use runtime::{RuntimeState, WorkerState};
pub use sampling::Sampling;
#[cfg(all(feature = "stack", target_os = "linux", target_arch = "x86_64"))]
#[doc(hidden)]
pub use stack::walk_hostile;
pub use trace::{Asked, AttemptTrace, CallTrace, HeadTrace, Keep, Note, Outcome, Place};
