#![doc = include_str!("../README.md")]
//!
//! # The parts
//!
//! Two halves that meet in a text. **Framing** ([`sse`], [`ndjson`], or [`Framer`] for either) cuts bytes into
//! [`Event`]s: any split of the stream yields the same events. **Extraction** ([`Fields`], [`Extractor`]) finds a fixed set of
//! JSON Pointers in an event, and lends what it found.
//!
//! **Prediction** is what makes the two fast together: the events of a stream resemble each other, so each is compared with
//! the last few, and only the strings and numbers that change are scanned ([`Framer::next_for`],
//! [`Extractor::extract_event`]). What comes out never depends on it. For a JSON text that itself arrives in pieces, as the
//! arguments of a tool call do, there is [`Partial`].

mod again;
mod error;
mod event;
mod framer;
pub mod ndjson;
pub mod sse;

mod carry;

#[cfg(feature = "bytes")]
mod keep;

#[cfg(feature = "document")]
pub mod document;

mod explain;
mod extract;
mod found;
mod outline;
mod partial;
mod pass;
mod pointer;
mod state;
mod string_ends;
mod text;
mod value;

mod pattern;
mod predict;
mod shape;
mod template;

mod escape;
mod scan;
mod serial;
mod spare;
mod vector;

pub use error::{Error, ErrorKind};
pub use event::{Event, Limits};
pub use extract::Extractor;
pub use found::{Found, Indices, Likeness, Match};
pub use framer::Framer;
#[cfg(feature = "bytes")]
pub use keep::keep;
pub use partial::{Part, Partial};
pub use pointer::{Fields, PointerError, PointerErrorKind};
pub use text::{SplitPair, Str};
pub use value::{Number, Raw, Value};
#[cfg(fuzzing)]
pub use vector::by_words;
