//! The bounds of a run.

use std::time::Duration;

/// The bounds of a [`Run`](crate::Run): a model that never stops asking costs what is written here and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunLimits {
    /// Most answers asked of the model. Default 16: agents that make progress rarely need ten.
    pub max_turns: u32,
    /// Most calls executed for one answer; those beyond are refused to the model. Default 64.
    pub max_calls_per_turn: usize,
    /// Most calls that run side by side. Default 16; 1 runs them in the model's order, one after the other.
    pub max_parallel_calls: usize,
    /// Longest time one call may take. Default 60 s; the context's deadline may end it sooner.
    pub call: Duration,
    /// Most bytes of one result that are handed back; the rest is cut off, and the model is told. Default 256 KiB, some
    /// 60,000 tokens.
    pub max_result_bytes: usize,
}

impl RunLimits {
    /// With at most that many answers.
    #[must_use]
    pub fn with_max_turns(self, turns: u32) -> Self {
        Self { max_turns: turns, ..self }
    }

    /// With at most that many calls executed for one answer.
    #[must_use]
    pub fn with_max_calls_per_turn(self, calls: usize) -> Self {
        Self { max_calls_per_turn: calls, ..self }
    }

    /// With at most that many calls side by side.
    #[must_use]
    pub fn with_max_parallel_calls(self, calls: usize) -> Self {
        Self { max_parallel_calls: calls, ..self }
    }

    /// With that longest time for one call.
    #[must_use]
    pub fn with_call(self, limit: Duration) -> Self {
        Self { call: limit, ..self }
    }

    /// With at most that many bytes of one result.
    #[must_use]
    pub fn with_max_result_bytes(self, bytes: usize) -> Self {
        Self { max_result_bytes: bytes, ..self }
    }
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            max_turns: 16,
            max_calls_per_turn: 64,
            max_parallel_calls: 16,
            call: Duration::from_secs(60),
            max_result_bytes: 256 * 1024,
        }
    }
}
