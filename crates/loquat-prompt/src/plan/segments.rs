//! A request in the order in which providers see it: the form of the answer, each tool, the system messages, the settings that
//! messages are read under, then the conversation.
//!
//! Hashed is every field that goes over the wire as a part of the prompt, be it a call's name or a signature: a provider compares
//! bytes, and finds nothing where one differs. How the answer is drawn (temperature, seed and such) is no part of it.

use loquat_core::{ChatRequest, Media, MediaSource, Message, Part, ResponseFormat, Result, Role, ToolChoice};

use crate::Tokenizer;

/// Tokens around a message and around a tool: role, separators, the words of the frame. Providers differ by one or two.
const FRAME_TOKENS: u64 = 4;
/// A picture, where nothing is known of its size. It only has to be the same each time.
const PICTURE_TOKENS: u64 = 765;

/// A part of a prompt that is sent as one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedSegment {
    /// `response format`, `tool 2 (search)`, `system`, `settings`, `message 3 (user)`.
    pub name: String,
    /// Tokens from the prompt's beginning to this segment's end.
    pub tokens_to_here: u64,
    /// BLAKE3 of everything up to here.
    pub prefix_hash: [u8; 32],
    /// Whether it belongs to the beginning that all conversations share: the form of the answer, tools and system.
    pub(super) is_stable: bool,
    pub(super) kind: SegmentKind,
}

/// What a segment is, in the order they go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum SegmentKind {
    Format,
    Tool,
    System,
    Settings,
    Message,
}

impl SegmentKind {
    /// All of that kind, where none has a name of its own.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Format => "response format",
            Self::Tool => "tools",
            Self::System => "system",
            Self::Settings => "settings",
            Self::Message => "messages",
        }
    }
}

/// # Errors
/// As [`Tokenizer::count`].
pub(super) fn of(request: &ChatRequest, tokenizer: &dyn Tokenizer) -> Result<Vec<PlannedSegment>> {
    let mut all = Walk { hasher: blake3::Hasher::new(), tokens: 0, segments: Vec::new(), tokenizer };
    // A schema is written before all else (OpenAI's guide on prompt caching).
    if let ResponseFormat::JsonSchema { name, schema } = &request.response_format {
        all.text(name)?;
        all.text(schema.as_str())?;
        all.end("response format".to_owned(), SegmentKind::Format);
    }
    for (index, tool) in request.tools.iter().enumerate() {
        let parts = [tool.name.as_str(), &tool.description, tool.parameters.as_str()];
        for part in parts {
            all.text(part)?;
        }
        all.tag(match tool.strict {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        });
        all.end(format!("tool {} ({})", index + 1, tool.name), SegmentKind::Tool);
    }
    let leading = request.messages.iter().take_while(|message| message.role == Role::System).count();
    for (index, message) in request.messages.iter().enumerate() {
        if index == leading {
            all.settings(request);
        }
        all.message(message)?;
        let is_leading = index < leading;
        let name = match message.role {
            Role::System if is_leading && leading == 1 => "system".to_owned(),
            Role::System => format!("message {} (system)", index + 1),
            Role::User => format!("message {} (user)", index + 1),
            Role::Assistant => format!("message {} (assistant)", index + 1),
            _ => format!("message {} (tool)", index + 1),
        };
        all.end(name, if is_leading { SegmentKind::System } else { SegmentKind::Message });
    }
    if leading == request.messages.len() {
        all.settings(request);
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
    /// What kind of thing follows, so that two kinds of one content differ.
    fn tag(&mut self, tag: u8) {
        self.hasher.update(&[tag]);
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }

    fn maybe(&mut self, text: Option<&str>) {
        self.tag(u8::from(text.is_some()));
        self.hash(text.unwrap_or_default().as_bytes());
    }

    fn text(&mut self, text: &str) -> Result<()> {
        self.hash(text.as_bytes());
        self.tokens += self.tokenizer.count(text)? as u64;
        Ok(())
    }

    fn media(&mut self, media: &Media) {
        let (tag, source) = match &media.source {
            MediaSource::Bytes(bytes) => (1, &**bytes),
            MediaSource::Url(place) => (2, place.as_bytes()),
            MediaSource::FileId(place) => (3, place.as_bytes()),
            _ => (0, &b"?"[..]),
        };
        self.tag(tag);
        self.hash(source);
        self.hash(media.media_type.as_bytes());
        self.maybe(media.name.as_deref());
        self.tokens += PICTURE_TOKENS;
    }

    /// What stands beside the conversation and changes how it is written out, or what of it is found again (Anthropic's page, "What
    /// invalidates the cache": the choice of tools and thinking do, for messages).
    fn settings(&mut self, request: &ChatRequest) {
        match &request.tool_choice {
            ToolChoice::Auto => self.tag(0),
            ToolChoice::None => self.tag(1),
            ToolChoice::Required => self.tag(2),
            ToolChoice::Tool(name) => {
                self.tag(3);
                self.hash(name.as_bytes());
            }
            _ => self.tag(4),
        }
        self.tag(match request.parallel_tool_calls {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        });
        self.tag(u8::from(request.response_format == ResponseFormat::JsonObject));
        self.maybe(request.reasoning_effort.as_deref());
        self.maybe(request.reasoning_budget_tokens.map(|tokens| tokens.to_string()).as_deref());
        let prefix_hash = *self.hasher.finalize().as_bytes();
        let (kind, tokens_to_here) = (SegmentKind::Settings, self.tokens);
        let name = kind.name().to_owned();
        self.segments.push(PlannedSegment { name, tokens_to_here, prefix_hash, is_stable: false, kind });
    }

    fn message(&mut self, message: &Message) -> Result<()> {
        self.tag(match message.role {
            Role::System => 1,
            Role::User => 2,
            Role::Assistant => 3,
            Role::Tool => 4,
            _ => 0,
        });
        self.hasher.update(&(message.parts.len() as u64).to_le_bytes());
        for part in &message.parts {
            match part {
                Part::Text(text) => {
                    self.tag(1);
                    self.text(text)?;
                }
                Part::Refusal(text) => {
                    self.tag(2);
                    self.text(text)?;
                }
                Part::Reasoning(reasoning) => {
                    self.tag(3 + u8::from(reasoning.redacted));
                    self.text(&reasoning.text)?;
                    // Whose it is decides whether it is sent.
                    self.maybe(reasoning.signature.as_deref());
                    self.maybe(reasoning.format.as_deref());
                }
                Part::ToolCall(call) => {
                    self.tag(5);
                    self.hash(call.id.as_bytes());
                    self.text(&call.name)?;
                    self.text(&call.arguments)?;
                    self.maybe(call.signature.as_deref());
                }
                Part::ToolResult(result) => {
                    self.tag(6 + u8::from(result.is_error));
                    self.hash(result.call_id.as_bytes());
                    self.hash(result.name.as_bytes());
                    self.text(&result.content)?;
                }
                Part::Image(media) => {
                    self.tag(8);
                    self.media(media);
                }
                Part::Audio(media) => {
                    self.tag(9);
                    self.media(media);
                }
                Part::File(media) => {
                    self.tag(10);
                    self.media(media);
                }
                Part::Opaque(opaque) => {
                    self.tag(11);
                    self.hash(opaque.format.as_bytes());
                    self.text(opaque.json.as_str())?;
                }
                _ => self.tag(0),
            }
        }
        Ok(())
    }

    fn end(&mut self, name: String, kind: SegmentKind) {
        self.tokens += FRAME_TOKENS;
        let prefix_hash = *self.hasher.finalize().as_bytes();
        let (tokens_to_here, is_stable) = (self.tokens, kind < SegmentKind::Settings);
        self.segments.push(PlannedSegment { name, tokens_to_here, prefix_hash, is_stable, kind });
    }
}
