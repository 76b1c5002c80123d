//! [`Function`]: something a model can have called. Object-safe; `#[tool]` and [`FnTool`] make them.

use std::{fmt, future::Future, marker::PhantomData};

use loquat_core::{BoxFuture, Context, Tool};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::schema;

/// Something a model can have called.
pub trait Function: Send + Sync {
    /// What the model is told of it: name, description, schema of the arguments.
    fn tool(&self) -> Tool;

    /// Calls it with the arguments as the model wrote them, which may be no JSON at all.
    ///
    /// The future runs beside those of other calls on one task: what computes for long belongs on a thread
    /// (`tokio::task::spawn_blocking`).
    ///
    /// # Errors
    /// Whatever the model shall know of the failure.
    ///
    /// # Cancel safety
    /// It is dropped where it stands when its time is over or the run is dropped.
    fn invoke<'a>(
        &'a self,
        context: &'a Context,
        arguments: &'a str,
    ) -> BoxFuture<'a, Result<String, ToolError>>;
}

/// Why a tool did not do what it was asked for, in words for the model.
///
/// The words go to the model and nowhere else: no error of this toolkit repeats them.
#[derive(Clone, PartialEq, Eq)]
pub struct ToolError(String);

impl ToolError {
    /// An error in these words.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }

    /// The words.
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolError({} bytes)", self.0.len())
    }
}

impl std::error::Error for ToolError {}

/// A closure as a [`Function`], for tools that hold something: a pool of connections, a cache.
///
/// ```
/// use loquat_tools::{FnTool, Function, schemars};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Lookup {
///     /// The key to look up.
///     key: String,
/// }
///
/// let store = std::sync::Arc::new(std::collections::HashMap::from([("a".to_owned(), 1)]));
/// let lookup = FnTool::new("lookup", "Looks a key up.", move |arguments: Lookup| {
///     let store = store.clone();
///     async move { store.get(&arguments.key).copied().ok_or("no such key") }
/// });
/// assert_eq!(lookup.tool().name, "lookup");
/// ```
pub struct FnTool<F, A> {
    tool: Tool,
    function: F,
    arguments: PhantomData<fn(A)>,
}

impl<F, A, Fut, T, E> FnTool<F, A>
where
    F: Fn(A) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T, E>> + Send,
    A: DeserializeOwned + JsonSchema + Send,
    T: Serialize,
    E: fmt::Display,
{
    /// That closure under that name; the arguments' schema comes from their type.
    pub fn new(name: impl Into<String>, description: impl Into<String>, function: F) -> Self {
        let tool = Tool::new(name, description, schema::text(&schema::of::<A>(false)));
        Self { tool, function, arguments: PhantomData }
    }
}

impl<F, A, Fut, T, E> Function for FnTool<F, A>
where
    F: Fn(A) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T, E>> + Send,
    A: DeserializeOwned + JsonSchema + Send,
    T: Serialize,
    E: fmt::Display,
{
    fn tool(&self) -> Tool {
        self.tool.clone()
    }

    fn invoke<'a>(
        &'a self,
        _context: &'a Context,
        text: &'a str,
    ) -> BoxFuture<'a, Result<String, ToolError>> {
        Box::pin(async move {
            let running = (self.function)(arguments(text)?);
            written(&running.await.map_err(ToolError::new)?)
        })
    }
}

impl<F, A> fmt::Debug for FnTool<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnTool").field("tool", &self.tool).finish_non_exhaustive()
    }
}

/// The arguments that the model wrote. None at all is an empty object, as some models say it.
pub(crate) fn arguments<A: DeserializeOwned>(text: &str) -> Result<A, ToolError> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!(" at `{path}`") };
        ToolError::new(format_args!("the arguments do not fit the tool's schema{place}: {}", error.inner()))
    })?;
    reader
        .end()
        .map_err(|error| ToolError::new(format_args!("the arguments are not one JSON object: {error}")))?;
    Ok(read)
}

/// A result as the model reads it: text as it is, anything else as JSON.
pub(crate) fn written<T: Serialize>(value: &T) -> Result<String, ToolError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        Ok(value) => Ok(value.to_string()),
        Err(error) => Err(ToolError::new(format_args!("the result cannot be written as JSON: {error}"))),
    }
}
