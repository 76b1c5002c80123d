//! [`Toolbox`]: functions by name, and one call from start to result.

use std::{collections::BTreeMap, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use loquat_core::{Context, Tool, ToolCall, ToolResult};

use crate::{Function, RunLimits};

/// Functions that a model may have called. Cheap to clone.
///
/// They are kept by name, so that a request lists them in one order however they were added: the provider's prompt cache
/// is hit.
#[derive(Clone, Default)]
pub struct Toolbox(Arc<BTreeMap<String, Entry>>);

#[derive(Clone)]
struct Entry {
    tool: Tool,
    function: Arc<dyn Function>,
}

impl Toolbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// With that function, in place of one of the same name.
    #[must_use]
    pub fn with(mut self, function: impl Function + 'static) -> Self {
        let tool = function.tool();
        Arc::make_mut(&mut self.0).insert(tool.name.clone(), Entry { tool, function: Arc::new(function) });
        self
    }

    /// What the model is told, by name.
    pub fn tools(&self) -> Vec<Tool> {
        self.0.values().map(|entry| entry.tool.clone()).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Executes one call. Whatever goes wrong (an unknown name, arguments that do not fit, an error, a panic, the limit in
    /// time) is a result for the model and never an error for the caller.
    pub async fn execute(&self, context: &Context, call: &ToolCall, limits: &RunLimits) -> ToolResult {
        let failed = |message: String| ToolResult::new(call, message).with_error();
        let Some(Entry { function, .. }) = self.0.get(&call.name) else {
            let names = self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = format!("there is no tool of that name; there are: {names}");
            return failed(cut(message, limits.max_result_bytes));
        };
        let limit = context.remaining().map_or(limits.call, |left| left.min(limits.call));
        // `invoke` itself may panic before it gives a future, so both are inside.
        let running =
            AssertUnwindSafe(async { function.invoke(context, &call.arguments).await }).catch_unwind();
        let cut = |text| cut(text, limits.max_result_bytes);
        let timed = tokio::time::timeout(limit, running);
        match context.cancellation().run_until_cancelled(timed).await {
            Some(Ok(Ok(Ok(content)))) => ToolResult::new(call, cut(content)),
            Some(Ok(Ok(Err(error)))) => failed(cut(error.message().to_owned())),
            Some(Ok(Err(_panic))) => failed("the tool crashed".to_owned()),
            Some(Err(_elapsed)) => failed(late(limit)),
            None => failed("the tool was cancelled".to_owned()),
        }
    }
}

fn late(limit: Duration) -> String {
    format!("the tool did not answer within {:.1} s", limit.as_secs_f64())
}

/// A text that fits, and says so if it had to be cut.
fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        let whole = text.len();
        text.truncate(text.floor_char_boundary(max_bytes));
        text.push_str(&format!("\n[cut: the result was {whole} bytes, at most {max_bytes} are shown]"));
    }
    text
}

impl fmt::Debug for Toolbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
