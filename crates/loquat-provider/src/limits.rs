//! What one answer may cost: bounds that a decoder enforces while bytes arrive.

use loquat_core::DEFAULT_MAX_ANSWER_BYTES;
use loquat_json::Limits;

/// What a [`Decoder`](crate::Decoder) may hold or hand out. Exceeding one fails the answer with `TooLarge`, naming the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeLimits {
    /// Longest single event of a stream, in bytes. Default 8 MiB: an image inline still passes.
    pub max_event_bytes: usize,
    /// Most bytes of content in one answer. Default 64 MiB, a hundred times the longest answer a model gives.
    pub max_answer_bytes: usize,
    /// Most tool calls in one alternative. Default 1,024, what the assembler keeps at most.
    pub max_tool_calls: usize,
    /// Longest whole JSON answer, in bytes. Default 64 MiB.
    pub max_body_bytes: usize,
    /// Whether each event, or a whole answer, is also told as it came, as a detail named `raw`. Default `false`.
    pub keeps_events: bool,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_event_bytes: Limits::default().max_event_bytes,
            max_answer_bytes: DEFAULT_MAX_ANSWER_BYTES,
            max_tool_calls: 1024,
            max_body_bytes: DEFAULT_MAX_ANSWER_BYTES,
            keeps_events: false,
        }
    }
}

impl DecodeLimits {
    /// Replaces [`max_event_bytes`](Self::max_event_bytes).
    #[must_use]
    pub fn with_max_event_bytes(mut self, bytes: usize) -> Self {
        self.max_event_bytes = bytes;
        self
    }

    /// Replaces [`max_answer_bytes`](Self::max_answer_bytes).
    #[must_use]
    pub fn with_max_answer_bytes(mut self, bytes: usize) -> Self {
        self.max_answer_bytes = bytes;
        self
    }

    /// Replaces [`max_tool_calls`](Self::max_tool_calls).
    #[must_use]
    pub fn with_max_tool_calls(mut self, calls: usize) -> Self {
        self.max_tool_calls = calls;
        self
    }

    /// Replaces [`keeps_events`](Self::keeps_events).
    #[must_use]
    pub fn with_events_kept(mut self, keeps: bool) -> Self {
        self.keeps_events = keeps;
        self
    }

    /// Replaces [`max_body_bytes`](Self::max_body_bytes).
    #[must_use]
    pub fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }
}
