//! A conversation that can be edited, branched, saved and loaded.
//!
//! A [`Conversation`] is a tree of messages and a place in it, the head: what is said next goes below the head, an edited
//! message is a branch beside the old one, and nothing that was said is ever lost. A model is asked with the path from the
//! root to the head. Saved, it is JSON with a version of its own, apart from how this toolkit's types look today; a file of
//! a version that this build does not know is refused, not guessed at.
//!
//! Deliberately knows no provider: what a format cannot carry of a conversation is `loquat_provider::losses`' to say.
//!
//! # Example
//!
//! ```
//! use loquat_conversation::Conversation;
//! use loquat_core::Message;
//!
//! let mut talk = Conversation::new();
//! talk.push(Message::system("Be brief."));
//! let question = talk.push(Message::user("Why is the sky blue?"));
//! talk.push(Message::assistant("Rayleigh scattering."));
//! talk.edit(question, Message::user("Why is the sea blue?"))?;
//! assert_eq!(talk.messages().len(), 2, "the answer belongs to the other branch");
//!
//! let again = Conversation::load(&talk.save()?)?;
//! assert_eq!(again, talk);
//! # Ok::<(), loquat_core::Error>(())
//! ```
#![forbid(unsafe_code)]

mod conversation;
mod saved;

pub use conversation::{Conversation, NodeId};
/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
