//! [`Content`]: what was captured of one operation, shown only after redaction.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use loquat_core::{ChatRequest, Response};

use super::{Capture, Hold, render};

/// What one operation was asked, and what it answered. `Debug` shows sizes.
///
/// It gives its text only redacted and cut, made by the first who asks for it and kept: ask on a thread that may work.
pub struct Content {
    capture: Arc<Capture>,
    request: Arc<ChatRequest>,
    answer: Response,
    /// Whether the answer came to its own end and is here to the end.
    is_whole: bool,
    _hold: Hold,
    rendered: OnceLock<Rendered>,
}

/// JSON by the conventions' schemas; empty where there was nothing.
#[derive(Default)]
pub(super) struct Rendered {
    pub(super) instructions: String,
    pub(super) input: String,
    pub(super) output: String,
    pub(super) is_cut: bool,
}

impl Content {
    pub(super) fn new(
        capture: Arc<Capture>,
        request: Arc<ChatRequest>,
        answer: Response,
        is_whole: bool,
        hold: Hold,
    ) -> Self {
        Self { capture, request, answer, is_whole, _hold: hold, rendered: OnceLock::new() }
    }

    fn rendered(&self) -> &Rendered {
        self.rendered.get_or_init(|| {
            let capture = &self.capture;
            let held_back = if self.is_whole { 0 } else { capture.max_secret_bytes };
            render::render(&self.request, &self.answer, &capture.rules, capture.max_bytes, held_back)
        })
    }

    /// `gen_ai.system_instructions`: an array of parts; empty without any.
    pub fn system_instructions(&self) -> &str {
        &self.rendered().instructions
    }

    /// `gen_ai.input.messages`: an array of messages, of the last ones where all are too many.
    pub fn input_messages(&self) -> &str {
        &self.rendered().input
    }

    /// `gen_ai.output.messages`: an array of the alternatives that were answered, as far as they came.
    pub fn output_messages(&self) -> &str {
        &self.rendered().output
    }

    /// Whether anything was left out for its length.
    pub fn is_cut(&self) -> bool {
        self.rendered().is_cut
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("messages", &self.request.messages.len())
            .field("choices", &self.answer.choices.len())
            .finish_non_exhaustive()
    }
}
