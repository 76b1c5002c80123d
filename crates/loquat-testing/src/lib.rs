#![doc = include_str!("../README.md")]
//!
//! # The parts
//!
//! A [`Server`] answers from a script ([`Reply`]), replays recorded exchanges ([`Cassette`]), and fails as told ([`Fault`]: cut,
//! stalled until a [`Gate`] is opened, garbage, an error event). A [`Recorder`] stands between a program and a provider and writes
//! such a cassette; a [`Scrubber`] takes the credentials out. [`model`] has a scripted `Model` and a clock moved by hand.
#![forbid(unsafe_code)]

mod cassette;
mod fault;
mod record;
mod reply;
mod scrub;
mod server;
mod wire;

pub use cassette::{Cassette, Exchange, RecordedReply, RecordedRequest};
pub use fault::{Fault, Gate};
/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
/// A scripted `Model`, replayed deltas and a clock moved by hand.
pub use loquat_core::test_util as model;
pub use record::Recorder;
pub use reply::Reply;
pub use scrub::Scrubber;
pub use server::Server;
