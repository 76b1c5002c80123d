#![doc = include_str!("../README.md")]
//!
//! # How it is kept
//!
//! A [`Conversation`] is a tree of messages and a place in it, the head: what is said next goes below the head, an edited
//! message is a branch beside the old one. A model is asked with the path from the root to the head. The saved form is apart from
//! how this toolkit's types look today.
#![forbid(unsafe_code)]

mod conversation;
mod saved;

pub use conversation::{Conversation, NodeId};
/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
