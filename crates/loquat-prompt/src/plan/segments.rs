//! A request in the order in which providers see it: the form of the answer, each tool, the system messages, then the conversation.

use loquat_core::{ChatRequest, Media, MediaSource, Message, Part, ResponseFormat, Result, Role};

use crate::Tokenizer;

/// Tokens around a message and around a tool: role, separators, the words of the frame. Providers differ by one or two.
const FRAME_TOKENS: u64 = 4;
/// A picture, where nothing is known of its size. It only has to be the same each time.
const PICTURE_TOKENS: u64 = 765;

/// A part of a prompt that is sent as one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedSegment {
    /// `response format`, `tool 2 (search)`, `system`, `message 3 (user)`.
    pub name: String,
    /// Tokens from the prompt's beginning to this segment's end.
    pub tokens_to_here: u64,
    /// BLAKE3 of everything up to here.
    pub prefix_hash: [u8; 32],
    /// Whether it belongs to the beginning that all conversations share: the form of the answer, tools and system.
    pub(super) is_stable: bool,
}

/// # Errors
/// As [`Tokenizer::count`].
pub(super) fn of(request: &ChatRequest, tokenizer: &dyn Tokenizer) -> Result<Vec<PlannedSegment>> {
    let mut all = Walk { hasher: blake3::Hasher::new(), tokens: 0, segments: Vec::new(), tokenizer };
    // A schema is written before all else (OpenAI's guide on prompt caching).
    if let ResponseFormat::JsonSchema { name, schema } = &request.response_format {
        all.text(name)?;
        all.text(schema.as_str())?;
        all.end("response format".to_owned(), true);
    }
    for (index, tool) in request.tools.iter().enumerate() {
        let parts = [tool.name.as_str(), &tool.description, tool.parameters.as_str()];
        for part in parts {
            all.text(part)?;
        }
        all.end(format!("tool {} ({})", index + 1, tool.name), true);
    }
    let leading = request.messages.iter().take_while(|message| message.role == Role::System).count();
    for (index, message) in request.messages.iter().enumerate() {
        all.message(message)?;
        let is_leading = index < leading;
        let name = match message.role {
            Role::System if is_leading && leading == 1 => "system".to_owned(),
            Role::System => format!("message {} (system)", index + 1),
            Role::User => format!("message {} (user)", index + 1),
            Role::Assistant => format!("message {} (assistant)", index + 1),
            _ => format!("message {} (tool)", index + 1),
        };
        all.end(name, is_leading);
    }
    Ok(all.segments)
}

struct Walk<'a> {
    hasher: blake3::Hasher,
    tokens: u64,
    segments: Vec<PlannedSegment>,
    tokenizer: &'a dyn Tokenizer,
}

impl Walk<'_> {
    fn hash(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }

    fn text(&mut self, text: &str) -> Result<()> {
        self.hash(text.as_bytes());
        self.tokens += self.tokenizer.count(text)? as u64;
        Ok(())
    }

    fn media(&mut self, media: &Media) {
        match &media.source {
            MediaSource::Bytes(bytes) => self.hash(bytes),
            MediaSource::Url(place) | MediaSource::FileId(place) => self.hash(place.as_bytes()),
            _ => self.hash(b"?"),
        }
        self.tokens += PICTURE_TOKENS;
    }

    fn message(&mut self, message: &Message) -> Result<()> {
        self.hash(format!("{:?}", message.role).as_bytes());
        for part in &message.parts {
            match part {
                Part::Text(text) | Part::Refusal(text) => self.text(text)?,
                Part::Reasoning(reasoning) => self.text(&reasoning.text)?,
                Part::ToolCall(call) => {
                    self.text(&call.name)?;
                    self.text(&call.arguments)?;
                }
                Part::ToolResult(result) => self.text(&result.content)?,
                Part::Image(media) | Part::Audio(media) | Part::File(media) => self.media(media),
                Part::Opaque(opaque) => self.text(opaque.json.as_str())?,
                _ => self.hash(b"?"),
            }
        }
        Ok(())
    }

    fn end(&mut self, name: String, is_stable: bool) {
        self.tokens += FRAME_TOKENS;
        let prefix_hash = *self.hasher.finalize().as_bytes();
        self.segments.push(PlannedSegment { name, tokens_to_here: self.tokens, prefix_hash, is_stable });
    }
}
