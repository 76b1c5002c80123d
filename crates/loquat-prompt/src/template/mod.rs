//! Templates: data in, prompt out.
//!
//! [`Templates`] are handlebars, compiled once, strict about missing variables and bounded in size and time; [`TemplateDirectory`]
//! is a folder of them that is read again when a file changes. [`chat`] has what models bring along: Hugging Face chat
//! templates.
//!
//! handlebars is the language, because people who write prompts know it and it cannot do much; what a template can do here
//! is bounded further: no HTML escaping unless asked for, no partial that includes itself, no name that only the data know.

#[cfg(feature = "template")]
mod budget;
pub mod chat;
#[cfg(feature = "template")]
mod check;
pub mod date;
#[cfg(feature = "template")]
mod directory;
mod error;
#[cfg(feature = "template")]
mod held;
#[cfg(feature = "template")]
mod helpers;
#[cfg(feature = "template")]
mod limits;
mod rendered;
#[cfg(feature = "template")]
mod set;
#[cfg(feature = "template")]
mod strict;
#[cfg(feature = "template")]
mod words;

#[cfg(feature = "template")]
pub use directory::{EXTENSION, TemplateDirectory, Watch};
pub use error::{TemplateError, TemplateErrorKind};
#[cfg(feature = "template")]
pub use limits::TemplateLimits;
pub use rendered::Rendered;
/// The types of `serde_json` that a helper of one's own is given.
#[cfg(feature = "template")]
pub use serde_json::{Map, Value};
#[cfg(feature = "template")]
pub use set::{Prepared, Templates, TemplatesBuilder};
