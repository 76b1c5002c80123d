//! What the code that `#[tool]` generates uses. Not for anybody else: it may change at any time.

use std::fmt::Display;

pub use loquat_core::BoxFuture;
use loquat_core::Tool;
pub use schemars;
use schemars::JsonSchema;
pub use serde;
use serde::{Serialize, de::DeserializeOwned};

use crate::{ToolError, function, schema};

/// The tool of a function with these arguments.
pub fn described<A: JsonSchema>(name: &str, description: &str, is_strict: bool) -> Tool {
    let mut tool = Tool::new(name, description, schema::text(&schema::of::<A>(is_strict)));
    tool.strict = is_strict.then_some(true);
    tool
}

/// The arguments that the model wrote.
///
/// # Errors
/// What does not fit, in words that the model can mend it by.
pub fn arguments<A: DeserializeOwned>(text: &str) -> Result<A, ToolError> {
    function::arguments(text)
}

/// The result of a function that cannot fail.
///
/// # Errors
/// A value that is no JSON.
pub fn success<T: Serialize>(value: T) -> Result<String, ToolError> {
    function::written(&value)
}

/// The result of a function that can.
///
/// # Errors
/// Its error's words.
pub fn outcome<T: Serialize, E: Display>(result: Result<T, E>) -> Result<String, ToolError> {
    function::written(&result.map_err(ToolError::new)?)
}
