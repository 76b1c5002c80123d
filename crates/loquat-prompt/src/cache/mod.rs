//! What need not be computed twice, in three tiers.
//!
//! | tier | what it keeps | asked |
//! |---|---|---|
//! | L1, [`Shelf`] | compiled templates, by hash and version | without a lock |
//! | L2, [`TokenCache`] | tokens and counts of texts, one tenant's apart from another's, bounded by bytes | one lock of sixteen |
//! | L3, `remote` (feature `redis`) | what a fleet shares | where asking costs less than computing |
//!
//! A chat grows by its tail, so a cache of whole prompts hardly ever hits where it would help. Control tokens between messages,
//! and the places where a tokenizer can be cut safely, divide a prompt into segments; L2 keeps those, and a grown prompt
//! costs its new tail alone; a prompt that begins with all of one that was asked for before is not even looked up segment by segment, and
//! keeps what it appends until somebody else may ask for it.
//! The tokens are those of the whole, by the tokenizer's own word
//! ([`Tokenizer::safe_cut`](crate::Tokenizer::safe_cut)) and by differential tests.

mod admission;
mod cached;
mod counters;
mod flight;
mod grown;
mod hashing;
#[cfg(feature = "redis")]
mod hashing_digest;
mod partition;
#[cfg(feature = "redis")]
pub mod remote;
mod segment;
mod shelf;
mod tokens;

pub use cached::CachedTokenizer;
pub use counters::CacheStats;
pub use segment::Segment;
pub use shelf::{Shelf, ShelfKey};
pub use tokens::{CacheLimits, TokenCache};
