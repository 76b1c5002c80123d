//! One increment of an answer, and the three ways an answer can end.

use std::fmt;

use crate::{Error, ErrorKind, Usage};

/// Why a model stopped. Open: a word we do not know is kept as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinishReason {
    /// It had said all, or met a stop text.
    Stop,
    /// It met the limit of tokens: the answer is complete as asked, and not as meant.
    Length,
    /// It asks for tools.
    ToolCalls,
    /// The provider stopped it.
    ContentFilter,
    /// It was broken off because it, or a classifier beside it, declined to go on: what came before is a part. Words in which a model
    /// declines by itself are an answer as any other, a [`Part::Refusal`](crate::Part::Refusal) that ends with [`Stop`](Self::Stop).
    Refusal,
    /// Anything else, in the provider's word.
    Other(String),
}

impl FinishReason {
    /// Whether the answer may be a part, although it has [finished](crate::Ending::Finished): cut by the limit of tokens, by a filter,
    /// or by whoever declined to go on. Calls in it may be half of what was meant.
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Length | Self::ContentFilter | Self::Refusal)
    }

    /// The common name: `stop`, `length`, `tool_calls`, `content_filter`, `refusal`, or the provider's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Refusal => "refusal",
            Self::Other(word) => word,
        }
    }
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an answer ended: always exactly one of these three.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// The model came to an end and said so.
    Finished {
        /// Why it stopped.
        reason: FinishReason,
        /// What was counted; zeros where the provider says nothing.
        usage: Usage,
    },
    /// The stream stopped after deltas, with neither a finish reason nor a terminal event. What arrived is a part.
    Truncated {
        /// What cut it, where known: a lost connection, a limit in time. `None` for an orderly end that came early.
        cause: Option<Error>,
    },
    /// The provider reported an error, or there was nothing that could be called an answer.
    Failed(Error),
}

impl Ending {
    /// Whether the answer is whole.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Finished { .. })
    }

    /// The usage of a finished answer.
    ///
    /// # Errors
    /// The failure, or an error of kind [`ErrorKind::Truncated`] whose source is what cut the answer.
    pub fn into_result(self) -> Result<(FinishReason, Usage), Error> {
        match self {
            Self::Finished { reason, usage } => Ok((reason, usage)),
            Self::Failed(error) => Err(error),
            Self::Truncated { cause } => {
                let error = Error::new(
                    ErrorKind::Truncated,
                    "the answer was truncated: the stream stopped before the model had finished",
                )
                .with_delivery(crate::Delivery::Committed);
                Err(match cause {
                    Some(cause) => error.with_source(cause),
                    None => error,
                })
            }
        }
    }
}

/// One increment of an answer, borrowed from the answer's own buffer.
///
/// `choice` counts alternatives from 0; it is 0 throughout unless several were asked for. `call` counts the tool
/// calls of a choice from 0 in the order they began: our own count, never a number the peer sent.
///
/// `Debug` shows kinds and sizes, never content.
#[derive(Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Delta<'a> {
    /// The answer has begun. Comes at most once, before all others.
    Start {
        /// The provider's name for the answer, or empty.
        id: &'a str,
        /// The model that answers, as it calls itself, or empty.
        model: &'a str,
    },
    /// More text.
    Text {
        /// Which alternative.
        choice: u32,
        /// The text: whole characters, possibly many, never none.
        text: &'a str,
    },
    /// More of what the model thinks.
    Reasoning {
        /// Which alternative.
        choice: u32,
        /// The thoughts, or their summary.
        text: &'a str,
    },
    /// The provider's seal on the reasoning since the last one; send it back unchanged.
    ReasoningSignature {
        /// Which alternative.
        choice: u32,
        /// The opaque text.
        signature: &'a str,
        /// Whether it stands for thoughts that are not shown at all.
        redacted: bool,
        /// Whose it is: see [`Reasoning::format`](crate::Reasoning::format). Empty where that is not known.
        format: &'a str,
    },
    /// More of the model's words as it declines.
    Refusal {
        /// Which alternative.
        choice: u32,
        /// The text.
        text: &'a str,
    },
    /// A tool call begins.
    ToolCall {
        /// Which alternative.
        choice: u32,
        /// Which call of that alternative, counted from 0.
        call: u32,
        /// The provider's name for it.
        id: &'a str,
        /// The tool.
        name: &'a str,
    },
    /// More of a tool call's arguments. They are complete only when the answer has finished.
    ToolArguments {
        /// Which alternative.
        choice: u32,
        /// Which call of that alternative.
        call: u32,
        /// The next piece of JSON text.
        fragment: &'a str,
    },
    /// The provider's seal on a tool call; send it back unchanged with the call.
    ToolSignature {
        /// Which alternative.
        choice: u32,
        /// Which call of that alternative.
        call: u32,
        /// The opaque text.
        signature: &'a str,
    },
    /// A picture, sound or file that the model made. Pictures and files come whole; sound comes in pieces.
    Media {
        /// Which alternative.
        choice: u32,
        /// The media type, such as `image/png` (RFC 6838).
        media_type: &'a str,
        /// The bytes.
        data: &'a [u8],
    },
    /// A part of the message that only its own format understands, such as a tool that the server ran: see
    /// [`Opaque`](crate::Opaque).
    Opaque {
        /// Which alternative.
        choice: u32,
        /// The wire format.
        format: &'a str,
        /// The part as it came.
        json: &'a str,
    },
    /// What the provider says about the answer beside its content: see [`Detail`](crate::Detail).
    Detail {
        /// Which alternative.
        choice: u32,
        /// What it is about: `logprobs`, `citations`, `safety`, `fingerprint`, `service_tier`, the provider's word, or
        /// `raw` ([`ChatRequest::raw`](crate::ChatRequest::raw)).
        name: &'a str,
        /// The provider's JSON, unread.
        json: &'a str,
    },
    /// An alternative has come to its end; the answer goes on until [`Delta::End`].
    ChoiceEnd {
        /// Which alternative.
        choice: u32,
        /// Why it stopped.
        reason: &'a FinishReason,
    },
    /// An event this toolkit does not know, as it came.
    Raw {
        /// The event's name, `message` where it has none.
        event: &'a str,
        /// The event's data.
        data: &'a str,
    },
    /// How it ended: always the last, exactly once.
    End(&'a Ending),
}

impl<'a> Delta<'a> {
    /// The text, if this is text of the first alternative.
    pub fn text(&self) -> Option<&'a str> {
        match self {
            Self::Text { choice: 0, text } => Some(text),
            _ => None,
        }
    }

    /// The bytes of content that it carries; `None` for one that is no sign of progress: the start, what is said about an answer, and
    /// events that nobody knows, of which one may be a ping. The end of an alternative is such a sign, of no bytes.
    ///
    /// Many servers say that an answer has begun long before they have a token (`response.created`, `message_start`), and some say so
    /// and then nothing. Whoever asks whether an endpoint works looks at the first delta with content, and not at the first.
    pub fn content_bytes(&self) -> Option<usize> {
        match self {
            Self::Text { text, .. } | Self::Reasoning { text, .. } | Self::Refusal { text, .. } => {
                Some(text.len())
            }
            Self::ReasoningSignature { signature, .. } | Self::ToolSignature { signature, .. } => {
                Some(signature.len())
            }
            Self::ToolCall { id, name, .. } => Some(id.len() + name.len()),
            Self::ToolArguments { fragment, .. } => Some(fragment.len()),
            Self::Media { data, .. } => Some(data.len()),
            Self::Opaque { json, .. } => Some(json.len()),
            Self::ChoiceEnd { .. } => Some(0),
            Self::Start { .. } | Self::Detail { .. } | Self::Raw { .. } | Self::End(_) => None,
        }
    }

    /// A copy that borrows nothing.
    pub fn to_owned(&self) -> OwnedDelta {
        match *self {
            Self::Start { id, model } => OwnedDelta::Start { id: id.into(), model: model.into() },
            Self::Text { choice, text } => OwnedDelta::Text { choice, text: text.into() },
            Self::Reasoning { choice, text } => OwnedDelta::Reasoning { choice, text: text.into() },
            Self::ReasoningSignature { choice, signature, redacted, format } => {
                let (signature, format) = (signature.into(), format.into());
                OwnedDelta::ReasoningSignature { choice, signature, redacted, format }
            }
            Self::Refusal { choice, text } => OwnedDelta::Refusal { choice, text: text.into() },
            Self::ToolCall { choice, call, id, name } => {
                OwnedDelta::ToolCall { choice, call, id: id.into(), name: name.into() }
            }
            Self::ToolArguments { choice, call, fragment } => {
                OwnedDelta::ToolArguments { choice, call, fragment: fragment.into() }
            }
            Self::ToolSignature { choice, call, signature } => {
                OwnedDelta::ToolSignature { choice, call, signature: signature.into() }
            }
            Self::Media { choice, media_type, data } => {
                OwnedDelta::Media { choice, media_type: media_type.into(), data: data.into() }
            }
            Self::Opaque { choice, format, json } => {
                OwnedDelta::Opaque { choice, format: format.into(), json: json.into() }
            }
            Self::Detail { choice, name, json } => {
                OwnedDelta::Detail { choice, name: name.into(), json: json.into() }
            }
            Self::ChoiceEnd { choice, reason } => OwnedDelta::ChoiceEnd { choice, reason: reason.clone() },
            Self::Raw { event, data } => OwnedDelta::Raw { event: event.into(), data: data.into() },
            Self::End(ending) => OwnedDelta::End(ending.clone()),
        }
    }
}

impl fmt::Debug for Delta<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { id, model } => write!(f, "Start({id}, {model})"),
            Self::Text { choice, text } => write!(f, "Text({choice}, {} bytes)", text.len()),
            Self::Reasoning { choice, text } => write!(f, "Reasoning({choice}, {} bytes)", text.len()),
            Self::ReasoningSignature { choice, signature, .. } => {
                write!(f, "ReasoningSignature({choice}, {} bytes)", signature.len())
            }
            Self::Refusal { choice, text } => write!(f, "Refusal({choice}, {} bytes)", text.len()),
            Self::ToolCall { choice, call, name, .. } => write!(f, "ToolCall({choice}.{call}, {name})"),
            Self::ToolArguments { choice, call, fragment } => {
                write!(f, "ToolArguments({choice}.{call}, {} bytes)", fragment.len())
            }
            Self::ToolSignature { choice, call, signature } => {
                write!(f, "ToolSignature({choice}.{call}, {} bytes)", signature.len())
            }
            Self::Media { choice, media_type, data } => {
                write!(f, "Media({choice}, {media_type}, {} bytes)", data.len())
            }
            Self::Opaque { choice, format, json } => {
                write!(f, "Opaque({choice}, {format}, {} bytes)", json.len())
            }
            Self::Detail { choice, name, json } => {
                write!(f, "Detail({choice}, {name}, {} bytes)", json.len())
            }
            Self::ChoiceEnd { choice, reason } => write!(f, "ChoiceEnd({choice}, {reason})"),
            Self::Raw { event, data } => write!(f, "Raw({event}, {} bytes)", data.len()),
            Self::End(ending) => write!(f, "End({ending:?})"),
        }
    }
}

/// A [`Delta`] that owns its text: what [`crate::Answer::into_stream`] yields. The fields mean the same.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant and field is documented at its borrowed twin, `Delta`")]
pub enum OwnedDelta {
    Start { id: String, model: String },
    Text { choice: u32, text: String },
    Reasoning { choice: u32, text: String },
    ReasoningSignature { choice: u32, signature: String, redacted: bool, format: String },
    Refusal { choice: u32, text: String },
    ToolCall { choice: u32, call: u32, id: String, name: String },
    ToolArguments { choice: u32, call: u32, fragment: String },
    ToolSignature { choice: u32, call: u32, signature: String },
    Media { choice: u32, media_type: String, data: Vec<u8> },
    Opaque { choice: u32, format: String, json: String },
    Detail { choice: u32, name: String, json: String },
    ChoiceEnd { choice: u32, reason: FinishReason },
    Raw { event: String, data: String },
    End(Ending),
}

impl OwnedDelta {
    /// The same, borrowed.
    pub fn as_delta(&self) -> Delta<'_> {
        match self {
            Self::Start { id, model } => Delta::Start { id, model },
            Self::Text { choice, text } => Delta::Text { choice: *choice, text },
            Self::Reasoning { choice, text } => Delta::Reasoning { choice: *choice, text },
            Self::ReasoningSignature { choice, signature, redacted, format } => {
                Delta::ReasoningSignature { choice: *choice, signature, redacted: *redacted, format }
            }
            Self::Refusal { choice, text } => Delta::Refusal { choice: *choice, text },
            Self::ToolCall { choice, call, id, name } => {
                Delta::ToolCall { choice: *choice, call: *call, id, name }
            }
            Self::ToolArguments { choice, call, fragment } => {
                Delta::ToolArguments { choice: *choice, call: *call, fragment }
            }
            Self::ToolSignature { choice, call, signature } => {
                Delta::ToolSignature { choice: *choice, call: *call, signature }
            }
            Self::Media { choice, media_type, data } => Delta::Media { choice: *choice, media_type, data },
            Self::Opaque { choice, format, json } => Delta::Opaque { choice: *choice, format, json },
            Self::Detail { choice, name, json } => Delta::Detail { choice: *choice, name, json },
            Self::ChoiceEnd { choice, reason } => Delta::ChoiceEnd { choice: *choice, reason },
            Self::Raw { event, data } => Delta::Raw { event, data },
            Self::End(ending) => Delta::End(ending),
        }
    }
}

impl fmt::Debug for OwnedDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_delta().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_makes_is_content_and_what_is_said_of_it_is_not() {
        let (choice, call, text) = (0, 0, "0123");
        for (delta, expected) in [
            (Delta::Text { choice, text }, Some(4)),
            (Delta::Reasoning { choice, text }, Some(4)),
            (Delta::ReasoningSignature { choice, signature: text, redacted: true, format: "f" }, Some(4)),
            (Delta::Refusal { choice, text }, Some(4)),
            (Delta::ToolCall { choice, call, id: "1", name: text }, Some(5)),
            (Delta::ToolArguments { choice, call, fragment: text }, Some(4)),
            (Delta::ToolSignature { choice, call, signature: text }, Some(4)),
            (Delta::Media { choice, media_type: "audio/wav", data: &[0; 9] }, Some(9)),
            (Delta::Opaque { choice, format: "f", json: text }, Some(4)),
            (Delta::ChoiceEnd { choice, reason: &FinishReason::Stop }, Some(0)),
            (Delta::Start { id: text, model: text }, None),
            (Delta::Detail { choice, name: "fingerprint", json: text }, None),
            (Delta::Raw { event: "ping", data: "{}" }, None),
        ] {
            assert_eq!(delta.content_bytes(), expected, "{delta:?}");
        }
    }
}
