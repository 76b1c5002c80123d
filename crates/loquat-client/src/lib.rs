#![doc = include_str!("../README.md")]
//!
//! # What it does
//!
//! [`HttpModel`] encodes a request, sends it once, and gives an [`Answer`](loquat_core::Answer) behind which no task runs. It holds
//! the limits in time that only somebody who sees parsed events can hold ([`GenerationLimits`]), and it decides where a credential
//! may go.
#![forbid(unsafe_code)]

mod address;
mod blot;
mod kept;
mod limits;
mod model;
mod pace;
mod source;

pub use address::no_base;
pub use limits::GenerationLimits;
pub use model::HttpModel;
/// The crates whose types a model is made of, in the versions that this one uses.
#[doc(no_inline)]
pub use {loquat_core, loquat_provider, loquat_transport};
