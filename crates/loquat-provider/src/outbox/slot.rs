//! One delta in waiting: its kind, and where its texts are.

use std::ops::Range;

use loquat_core::{Delta, FinishReason};
use loquat_json::Str;

/// Text on its way into a delta.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text<'a> {
    /// A JSON string, still escaped.
    Json(Str<'a>),
    /// Ready as it is.
    Plain(&'a str),
}

impl Text<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Json(text) => text.is_empty(),
            Self::Plain(text) => text.is_empty(),
        }
    }

    /// Whether it begins as a JSON object does, white space apart.
    pub(crate) fn begins_object(&self) -> bool {
        self.written().trim_ascii_start().starts_with('{')
    }

    /// Whether it is a JSON object, from end to end.
    pub(crate) fn is_object(&self) -> bool {
        let written = self.written().trim_ascii();
        if !(written.starts_with('{') && written.ends_with('}')) {
            return false;
        }
        let mut scratch = String::new();
        let text = match self {
            Self::Json(text) => text.decode_lossy(&mut scratch),
            Self::Plain(text) => text,
        };
        serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    }

    /// As it stands on the wire.
    fn written(&self) -> &str {
        match self {
            Self::Json(text) => text.raw(),
            Self::Plain(text) => text,
        }
    }
}

impl<'a> From<Str<'a>> for Text<'a> {
    fn from(text: Str<'a>) -> Self {
        Self::Json(text)
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Plain(text)
    }
}

/// Which sort of running text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Reasoning,
    Refusal,
}

impl Kind {
    #[inline]
    pub(super) fn delta(self, choice: u32, text: &str) -> Delta<'_> {
        match self {
            Self::Text => Delta::Text { choice, text },
            Self::Reasoning => Delta::Reasoning { choice, text },
            Self::Refusal => Delta::Refusal { choice, text },
        }
    }
}

pub(super) type Span = Range<usize>;

/// A delta whose texts lie in the outbox's one string.
#[derive(Debug)]
pub(super) enum Slot {
    Start { id: Span, model: Span },
    Running { kind: Kind, choice: u32, text: Span },
    Signature { choice: u32, signature: Span, redacted: bool, format: &'static str },
    ToolCall { choice: u32, call: u32, id: Span, name: Span },
    ToolArguments { choice: u32, call: u32, fragment: Span },
    ToolSignature { choice: u32, call: u32, signature: Span },
    Media { choice: u32, media_type: Span, data: Vec<u8> },
    Opaque { choice: u32, format: &'static str, json: Span },
    Detail { choice: u32, name: &'static str, json: Span },
    ChoiceEnd { choice: u32, reason: FinishReason },
    Raw { event: Span, data: Span },
}

impl Slot {
    /// The delta, lent.
    #[inline]
    pub(super) fn show<'a>(&'a self, scratch: &'a str) -> Delta<'a> {
        match self {
            Self::Running { kind: Kind::Text, choice, text } => {
                Delta::Text { choice: *choice, text: scratch.get(text.clone()).unwrap_or_default() }
            }
            rarer => rarer.show_rarer(scratch),
        }
    }

    #[inline(never)] // the way of few, kept out of that of many
    fn show_rarer<'a>(&'a self, scratch: &'a str) -> Delta<'a> {
        let text = |span: &Span| scratch.get(span.clone()).unwrap_or_default();
        match self {
            Self::Start { id, model } => Delta::Start { id: text(id), model: text(model) },
            Self::Running { kind, choice, text: span } => kind.delta(*choice, text(span)),
            Self::Signature { choice, signature, redacted, format } => Delta::ReasoningSignature {
                choice: *choice,
                signature: text(signature),
                redacted: *redacted,
                format,
            },
            Self::ToolCall { choice, call, id, name } => {
                Delta::ToolCall { choice: *choice, call: *call, id: text(id), name: text(name) }
            }
            Self::ToolArguments { choice, call, fragment } => {
                Delta::ToolArguments { choice: *choice, call: *call, fragment: text(fragment) }
            }
            Self::ToolSignature { choice, call, signature } => {
                Delta::ToolSignature { choice: *choice, call: *call, signature: text(signature) }
            }
            Self::Media { choice, media_type, data } => {
                Delta::Media { choice: *choice, media_type: text(media_type), data }
            }
            Self::Opaque { choice, format, json } => {
                Delta::Opaque { choice: *choice, format, json: text(json) }
            }
            Self::Detail { choice, name, json } => Delta::Detail { choice: *choice, name, json: text(json) },
            Self::ChoiceEnd { choice, reason } => Delta::ChoiceEnd { choice: *choice, reason },
            Self::Raw { event, data } => Delta::Raw { event: text(event), data: text(data) },
        }
    }
}
