#![doc = include_str!("../README.md")]
//!
//! # The parts
//!
//! `#[tool]` on a function makes a [`Function`] of it: the name, the doc comments and the types of its parameters
//! are what the model is told, so that code and description cannot drift apart. A [`Toolbox`] holds functions; a [`Run`] is a
//! [`Model`](loquat_core::Model) and a toolbox at work. [`response_format`] and [`parse`] do for answers what `#[tool]` does for
//! arguments. Schemas come from [`schemars`] (version 1).
#![forbid(unsafe_code)]

mod function;
mod limits;
mod run;
mod schema;
mod structured;
mod toolbox;

#[doc(hidden)]
pub mod __private;

pub use function::{FnTool, Function, ToolError};
pub use limits::RunLimits;
/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
pub use loquat_core::{Context, Tool};
pub use loquat_macros::tool_alone as tool;
pub use run::{Outcome, Run, RunEvent};
pub use schemars;
pub use serde::de::DeserializeOwned;
pub use structured::{Misfit, parse, parse_text, response_format};
pub use toolbox::Toolbox;

/// What `#[tool]` refuses, each of which compiles but for one thing.
///
/// ```
/// /// Fine.
/// #[loquat_tools::tool]
/// async fn fine(text: String) -> String { text }
/// ```
/// No description:
/// ```compile_fail
/// #[loquat_tools::tool]
/// async fn fine(text: String) -> String { text }
/// ```
/// A borrowed parameter:
/// ```compile_fail
/// /// Fine.
/// #[loquat_tools::tool]
/// async fn fine(text: &str) -> String { text.to_owned() }
/// ```
/// Generics:
/// ```compile_fail
/// /// Fine.
/// #[loquat_tools::tool]
/// async fn fine<T>(text: String) -> String { text }
/// ```
/// A name that no provider takes:
/// ```compile_fail
/// /// Fine.
/// #[loquat_tools::tool(name = "not fine")]
/// async fn fine(text: String) -> String { text }
/// ```
/// An option that is none:
/// ```compile_fail
/// /// Fine.
/// #[loquat_tools::tool(lenient)]
/// async fn fine(text: String) -> String { text }
/// ```
#[cfg(doctest)]
struct Refused;
