//! Streaming decoder for language-model traffic: framing of event streams, and one-pass extraction of chosen fields.
//!
//! Two halves that meet in a text. **Framing** ([`sse`], [`ndjson`], or [`Framer`] for either) cuts bytes into
//! [`Event`]s, whatever the reads were: any split of the stream yields the same events. **Extraction** ([`Fields`],
//! [`Extractor`]) finds a fixed set of JSON Pointers in one pass over an event, validates all of it, and lends what it
//! found. Both hold little, never more than their limits, and allocate nothing per event once warm.
//!
//! **Prediction** is what makes the two fast together: the events of a stream resemble each other, so each is compared with
//! the last few, and only the strings and numbers that change are scanned ([`Framer::next_for`],
//! [`Extractor::extract_event`]). What comes out never depends on it. For a JSON text that itself arrives in pieces, as the
//! arguments of a tool call do, there is [`Partial`].
//!
//! The crate does no IO, reads no clock, spawns nothing and knows no provider: bytes come in by slices, values go
//! out as borrows.
//!
//! ```
//! use loquat_json::{Extractor, Fields, Limits, sse};
//!
//! let mut events = sse::Decoder::new(Limits::default());
//! let mut json = Extractor::new(Fields::compile(&["/choices/0/delta/content"])?);
//! let (mut scratch, mut text) = (String::new(), String::new());
//! # let reads: [&[u8]; 3] = [
//! #     b"data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\nda",
//! #     b"ta: {\"choices\":[{\"delta\":{\"content\":\"qu\\u0061t\"}}]}\n\n",
//! #     b"data: [DONE]\n\n",
//! # ];
//! for mut read in reads {
//!     while let Some(event) = events.next_for(&mut read, &mut json)? {
//!         if event.data == "[DONE]" {
//!             break;
//!         }
//!         if let Some(delta) = json.extract_event(&event)?.str(0) {
//!             text.push_str(delta.decode(&mut scratch)?);
//!         }
//!     }
//! }
//! assert_eq!(text, "loquat");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `bytes` | no | [`keep`]: what was lent, kept as a [`Bytes`](::bytes::Bytes) that shares the read's memory |
//! | `document` | no | whole documents, parsed by simd-json and read by pointer or by serde: the module `document` |
//!
//! Without them `memchr` is the only dependency, and all of the above is there.

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
mod text;
mod value;

mod pattern;
mod predict;
mod shape;
mod template;

mod escape;
mod scan;
mod vector;

pub use error::{Error, ErrorKind};
pub use event::{Event, Limits};
pub use extract::Extractor;
pub use found::{Found, Indices, Likeness, Match};
pub use framer::Framer;
#[cfg(feature = "bytes")]
pub use keep::keep;
pub use partial::{Partial, Progress};
pub use pointer::{Fields, PointerError, PointerErrorKind};
pub use text::{SplitPair, Str};
pub use value::{Number, Raw, Value};
