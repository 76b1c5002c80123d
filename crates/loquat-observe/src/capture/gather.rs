//! [`Gather`]: what a chosen operation was asked, shared with its caller, and its answer's text, copied as it passes.

use std::sync::Arc;

use loquat_core::{Assembler, ChatRequest, Delta, FinishReason, Media, MediaSource, Part};

use super::{Capture, Content, Hold};

/// What has been gathered of one operation.
pub(crate) struct Gather {
    capture: Arc<Capture>,
    request: Arc<ChatRequest>,
    answer: Assembler,
    left: usize,
    /// Whether something was left out.
    is_cut: bool,
    hold: Hold,
}

impl Gather {
    pub(super) fn new(capture: Arc<Capture>, request: Arc<ChatRequest>, hold: Hold) -> Self {
        let left = capture.max_bytes.saturating_add(capture.max_secret_bytes);
        // The assembler's own bound counts the same bytes, names and seals besides.
        Self { capture, request, answer: Assembler::new(left.saturating_mul(2)), left, is_cut: false, hold }
    }

    /// Takes over what is text. Seals, pictures and what only a format understands are not shown, so they are not kept.
    pub(crate) fn push(&mut self, delta: Delta<'_>) {
        let left = self.left;
        let fit = |text: &mut &str| {
            let kept = text.get(..text.floor_char_boundary(left)).unwrap_or_default();
            let is_whole = kept.len() == text.len();
            *text = kept;
            (kept.len(), is_whole)
        };
        let mut delta = delta;
        let (bytes, is_whole) = match &mut delta {
            Delta::Text { text, .. } | Delta::Reasoning { text, .. } | Delta::Refusal { text, .. } => {
                fit(text)
            }
            Delta::ToolArguments { fragment, .. } => fit(fragment),
            Delta::ToolCall { id, name, .. } => {
                let bytes = id.len().saturating_add(name.len()).saturating_add(64);
                (bytes.min(left), bytes <= left)
            }
            Delta::ChoiceEnd { .. } => (0, true),
            _ => return,
        };
        if self.is_cut {
            return;
        }
        self.left -= bytes;
        self.is_cut = !is_whole;
        let is_text = !matches!(delta, Delta::ToolCall { .. });
        if (is_whole || (is_text && bytes > 0)) && self.answer.push(delta).is_err() {
            self.is_cut = true;
        }
    }

    /// All there is, when the operation is over: for that reason, if it finished.
    pub(crate) fn over(self: Box<Self>, reason: Option<&FinishReason>) -> Content {
        let mut answer = self.answer.into_response();
        let is_whole = !self.is_cut && reason.is_some_and(|reason| *reason != FinishReason::Length);
        if let (Some(first), Some(reason)) = (answer.choices.first_mut(), reason) {
            first.finish_reason.get_or_insert_with(|| reason.clone());
        }
        Content::new(self.capture, self.request, answer, is_whole, self.hold)
    }
}

/// How much memory a request keeps busy, roughly.
pub(super) fn weight(request: &ChatRequest) -> usize {
    let media = |media: &Media| match &media.source {
        MediaSource::Bytes(bytes) => bytes.len(),
        MediaSource::Url(text) | MediaSource::FileId(text) => text.len(),
        _ => 0,
    };
    let part = |part: &Part| {
        size_of::<Part>()
            + match part {
                Part::Text(text) | Part::Refusal(text) => text.len(),
                Part::Image(one) | Part::Audio(one) | Part::File(one) => media(one),
                Part::ToolCall(call) => call.arguments.len(),
                Part::ToolResult(result) => result.content.len(),
                Part::Reasoning(thoughts) => {
                    thoughts.text.len() + thoughts.signature.as_ref().map_or(0, String::len)
                }
                Part::Opaque(opaque) => opaque.json.as_str().len(),
                _ => 0,
            }
    };
    let parts = request.messages.iter().flat_map(|message| &message.parts).map(part);
    let tools = request.tools.iter().map(|tool| tool.description.len() + tool.parameters.as_str().len());
    let extra = request.extra_body.iter().map(|(name, json)| name.len() + json.as_str().len());
    parts.chain(tools).chain(extra).fold(size_of::<ChatRequest>(), usize::saturating_add)
}
