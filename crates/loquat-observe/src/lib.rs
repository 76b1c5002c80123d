#![doc = include_str!("../README.md")]
//!
//! # Cost
//!
//! A chunk of an answer costs some additions to the stream's own numbers; handles are bound to their labels when a model is
//! wrapped; histograms are touched when an answer ends. An operation notes down instants and numbers, and spans are made of
//! them by another thread, if it is kept at all. `cargo xtask bench observe` has the figures.
//!
//! # How it hears
//!
//! An [`Observer`] wraps a [`Model`](loquat_core::Model) from outside, and hears from what is inside by a
//! [`Probe`](loquat_core::Probe).
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
