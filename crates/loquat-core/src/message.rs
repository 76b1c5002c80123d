//! What is said: messages made of parts, in the order they were said.
//!
//! `Debug` shows kinds and sizes and never content, so that a logged request gives nothing away.

use std::{fmt, sync::Arc};

use crate::JsonText;

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Instructions that stand above the conversation.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
}

impl Message {
    /// A message of these parts.
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self { role, parts }
    }

    /// A system message.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, vec![Part::Text(text.into())])
    }

    /// A user's message.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, vec![Part::Text(text.into())])
    }

    /// Something the model said.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, vec![Part::Text(text.into())])
    }

    /// A tool's result.
    pub fn tool(result: ToolResult) -> Self {
        Self::new(Role::Tool, vec![Part::ToolResult(result)])
    }

    /// The same with one more part.
    #[must_use]
    pub fn with_part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// All text parts, one after the other; reasoning and refusals are not text.
    pub fn text(&self) -> String {
        self.texts().collect()
    }

    /// The text parts, borrowed.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The tool calls, in the order the model made them.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }
}

/// A piece of a message.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// Plain text.
    Text(String),
    /// A picture.
    Image(Media),
    /// Sound.
    Audio(Media),
    /// Any other file, such as a PDF.
    File(Media),
    /// The model asks for a tool to be run.
    ToolCall(ToolCall),
    /// What the tool answered.
    ToolResult(ToolResult),
    /// What the model thought. Sent back unchanged where the provider asks for it.
    Reasoning(Reasoning),
    /// The model's words when it declines.
    Refusal(String),
    /// What only one wire format understands; kept in its place and sent back unchanged in that format.
    Opaque(Opaque),
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Refusal(text) => write!(f, "Refusal({} bytes)", text.len()),
            Self::Opaque(part) => part.fmt(f),
            Self::Image(media) => f.debug_tuple("Image").field(media).finish(),
            Self::Audio(media) => f.debug_tuple("Audio").field(media).finish(),
            Self::File(media) => f.debug_tuple("File").field(media).finish(),
            Self::ToolCall(call) => call.fmt(f),
            Self::ToolResult(result) => result.fmt(f),
            Self::Reasoning(reasoning) => reasoning.fmt(f),
        }
    }
}

/// Binary content: a picture, sound, a document.
#[derive(Clone, PartialEq)]
pub struct Media {
    /// The media type, such as `image/png` (RFC 6838); empty where an address says it.
    pub media_type: String,
    /// Where the bytes are.
    pub source: MediaSource,
    /// A file name, where it matters.
    pub name: Option<String>,
}

/// Where the bytes of a [`Media`] are.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum MediaSource {
    /// Here. Shared, so that a retry copies nothing.
    Bytes(Arc<[u8]>),
    /// At an address that the provider fetches.
    Url(String),
    /// At the provider already, under this id.
    FileId(String),
}

impl Media {
    /// Bytes at hand.
    pub fn bytes(media_type: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { media_type: media_type.into(), source: MediaSource::Bytes(bytes.into()), name: None }
    }

    /// Bytes the provider shall fetch.
    pub fn url(url: impl Into<String>) -> Self {
        Self { media_type: String::new(), source: MediaSource::Url(url.into()), name: None }
    }
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media").field("media_type", &self.media_type).field("source", &self.source).finish()
    }
}

impl fmt::Debug for MediaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Url(_) => f.write_str("url"),
            Self::FileId(_) => f.write_str("file id"),
        }
    }
}

/// The model asks for a tool to be run.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ToolCall {
    /// The provider's name for this call, which the result repeats. Made up by us where a provider gives none.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as the model wrote them: JSON text, unchecked. A truncated answer leaves them cut.
    pub arguments: String,
    /// An opaque signature that some providers want back with the call.
    pub signature: Option<String>,
}

impl ToolCall {
    /// A call with arguments as JSON text.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into(), arguments: arguments.into(), signature: None }
    }
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolCall({}, {} bytes of arguments)", self.name, self.arguments.len())
    }
}

/// What a tool answered.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ToolResult {
    /// Which call it answers.
    pub call_id: String,
    /// The tool's name, which some providers want repeated.
    pub name: String,
    /// The answer as text, often JSON.
    pub content: String,
    /// Whether the tool failed; the model is told.
    pub is_error: bool,
}

impl ToolResult {
    /// The answer to that call.
    pub fn new(call: &ToolCall, content: impl Into<String>) -> Self {
        Self { call_id: call.id.clone(), name: call.name.clone(), content: content.into(), is_error: false }
    }

    /// Marks the call as failed.
    #[must_use]
    pub fn with_error(mut self) -> Self {
        self.is_error = true;
        self
    }
}

impl fmt::Debug for ToolResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolResult({}, {} bytes, error {})", self.name, self.content.len(), self.is_error)
    }
}

/// A part of a message that only one wire format understands: a tool that the server ran and its result, an item of a
/// kind that is newer than this toolkit. Encoders of other formats leave it out.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opaque {
    /// The wire format it came in, and goes back in.
    pub format: String,
    /// The part's JSON, byte for byte.
    pub json: JsonText,
}

impl Opaque {
    /// A part of that format.
    pub fn new(format: impl Into<String>, json: impl Into<Arc<str>>) -> Self {
        Self { format: format.into(), json: JsonText::new(json) }
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opaque({}, {} bytes)", self.format, self.json.as_str().len())
    }
}

/// What the model thought before it spoke.
#[derive(Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Reasoning {
    /// The thoughts, or their summary; empty where the provider keeps them to itself.
    pub text: String,
    /// The provider's opaque signature, or the encrypted thoughts when `redacted`: sent back byte for byte.
    pub signature: Option<String>,
    /// Whether the provider gave only the encrypted form.
    pub redacted: bool,
    /// Whose the signature is: the family of wire formats that it came in, and in which alone it goes back, as others refuse a whole
    /// conversation for it. `anthropic` (Claude's, at Bedrock and Vertex too), `google` (Gemini's, interactions too),
    /// `openai-responses` or `openai-chat` (chat completions with `reasoning_details`); under every other word it goes nowhere. `None`
    /// where that is not known: it is then sent wherever it may be the right one.
    pub format: Option<String>,
}

impl Reasoning {
    /// Readable thoughts without a signature.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// With the provider's signature.
    #[must_use]
    pub fn with_signature(mut self, signature: impl Into<String>) -> Self {
        self.signature = Some(signature.into());
        self
    }

    /// With the word for whose the signature is ([`format`](Self::format)).
    #[must_use]
    pub fn with_format(mut self, format: impl Into<String>) -> Self {
        self.format = Some(format.into());
        self
    }
}

impl fmt::Debug for Reasoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reasoning({} bytes, signed {})", self.text.len(), self.signature.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_content() {
        let message = Message::user("private words")
            .with_part(Part::ToolCall(ToolCall::new("id", "lookup", "{\"private\":1}")))
            .with_part(Part::Image(Media::url("http://private")))
            .with_part(Part::Reasoning(Reasoning::new("private").with_signature("private")));
        let shown = format!("{message:?}");
        assert!(!shown.contains("private"), "{shown}");
        assert!(shown.contains("lookup"), "{shown}");
    }
}
