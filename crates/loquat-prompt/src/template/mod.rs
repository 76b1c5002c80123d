//! Templates: data in, prompt out.
//!
//! [`Templates`] are handlebars, compiled once, strict about missing variables and bounded in size and time; [`TemplateDirectory`]
//! is a folder of them that is read again when a file changes. [`chat`] has what models bring along: Hugging Face chat
//! templates.
//!
//! handlebars is the language, because people who write prompts know it and it cannot do much; what a template can do here
//! is bounded further: no HTML escaping unless asked for, no partial that includes itself, no name that only the data know.

mod budget;
pub mod chat;
mod check;
pub mod date;
mod directory;
mod error;
mod helpers;
mod limits;
mod set;

pub use directory::{EXTENSION, TemplateDirectory, Watch};
pub use error::{TemplateError, TemplateErrorKind};
pub use limits::TemplateLimits;
pub use set::{Prepared, Templates, TemplatesBuilder};
