//! How many tokens a whole request has, as its provider will count it.
//!
//! The text is the smaller part of the question: each provider adds its own for a message, for tools, for a picture, and
//! says so late, in `usage`, or never. What is known is counted exactly and is [`Count::Exact`]; all else is a range that says
//! how wrong it may be, [`Count::Estimated`]. The rules are a table ([`Family`]), each measured on recorded requests and the
//! `usage` of their answers (`tests/usage.rs` says how many fall within), and what an answer says corrects the next
//! count ([`Counter::learn`]).

mod correction;
mod family;
mod picture;
mod tools;

use std::{fmt, ops::Add, sync::Arc};

use loquat_core::{ChatRequest, Media, MediaSource, Message, Part, ResponseFormat, Result, Role, Usage};

use crate::tokenizer::{self, Tokenizer};

use correction::Correction;
pub use family::Family;
use picture::Pictures;

/// How many tokens something has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Count {
    /// So many.
    Exact(u64),
    /// Probably between these, both included: the model's tokenizer or its rules are not public.
    Estimated {
        /// At least.
        low: u64,
        /// At most: what to keep a place for.
        high: u64,
    },
}

impl Count {
    /// Nothing.
    pub const ZERO: Self = Self::Exact(0);

    /// The range, exact where both are the same.
    pub fn between(low: u64, high: u64) -> Self {
        if low == high {
            Self::Exact(low)
        } else {
            Self::Estimated { low: low.min(high), high: low.max(high) }
        }
    }

    /// At least so many.
    pub fn low(self) -> u64 {
        match self {
            Self::Exact(tokens) | Self::Estimated { low: tokens, .. } => tokens,
        }
    }

    /// At most so many: what to keep a place for.
    pub fn high(self) -> u64 {
        match self {
            Self::Exact(tokens) | Self::Estimated { high: tokens, .. } => tokens,
        }
    }

    /// Whether it is a number and no guess.
    pub fn is_exact(self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (low, high) = (self.low().saturating_add(other.low()), self.high().saturating_add(other.high()));
        if self.is_exact() && other.is_exact() { Self::Exact(low) } else { Self::Estimated { low, high } }
    }
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::ZERO, Self::add)
    }
}

/// `12`, or `10–14`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(tokens) => tokens.fmt(f),
            Self::Estimated { low, high } => write!(f, "{low}–{high}"),
        }
    }
}

/// What a request comes to, part by part. Tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestCount {
    /// Each message with what the provider adds for it, in their order.
    pub messages: Vec<Count>,
    /// The tools, and the instructions that the provider puts before them.
    pub tools: Count,
    /// What is added once: the beginning of the answer, a schema for it.
    pub overhead: Count,
    /// All together, corrected by what answers have said so far.
    pub total: Count,
}

/// Counts for one model.
#[derive(Debug)]
pub struct Counter {
    tokenizer: Arc<dyn Tokenizer>,
    family: Family,
    pictures: Pictures,
    correction: Correction,
}

impl Counter {
    /// For the model of that name, such as `gpt-4o`, `openai:gpt-4o` or `anthropic/claude-sonnet-4-5`; a name that nobody knows is counted
    /// with a range wide enough for any.
    ///
    /// # Errors
    ///
    /// As [`tokenizer::o200k_base`].
    pub fn for_model(model: &str) -> Result<Self> {
        let family = Family::of(model);
        let tokenizer: Arc<dyn Tokenizer> =
            if family.is_cl100k() { tokenizer::cl100k_base()? } else { tokenizer::o200k_base()? };
        Ok(Self { pictures: family::pictures(model), ..Self::with_tokenizer(tokenizer, family) })
    }

    /// With the model's own tokenizer, read from its file, and the rules of its family; pictures, which models of one family count
    /// each their way, are a range wide enough for all of them.
    pub fn with_tokenizer(tokenizer: Arc<dyn Tokenizer>, family: Family) -> Self {
        Self { tokenizer, family, pictures: family.pictures(), correction: Correction::default() }
    }

    /// The tokenizer it counts with; for a closed vocabulary one that comes near.
    pub fn tokenizer(&self) -> &Arc<dyn Tokenizer> {
        &self.tokenizer
    }

    /// Whose rules it counts by.
    pub fn family(&self) -> Family {
        self.family
    }

    /// A text by itself.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn text(&self, text: &str) -> Result<Count> {
        Ok(self.family.text(self.tokenizer.count(text)? as u64, self.is_own()))
    }

    /// A message with what the provider adds for it.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn message(&self, message: &Message) -> Result<Count> {
        let role = match message.role {
            Role::Tool => Count::ZERO,
            _ => self.family.per_message(),
        };
        let parts = message.parts.iter().map(|part| self.part(part));
        parts.sum::<Result<Count>>().map(|parts| role + parts)
    }

    fn part(&self, part: &Part) -> Result<Count> {
        let around = self.family.per_tool_part();
        Ok(match part {
            Part::Text(text) | Part::Refusal(text) => self.text(text)?,
            Part::ToolCall(call) => self.text(&call.name)? + self.text(&call.arguments)? + around,
            Part::ToolResult(result) => self.text(&result.content)? + around,
            // Most providers leave old thoughts out, and count none of them.
            Part::Reasoning(thought) => Count::between(0, self.text(&thought.text)?.high()),
            Part::Image(media) => self.pictures.count(size(media)),
            // A page of a document or a second of sound is some hundred tokens; its size says how many there may be.
            Part::Audio(media) | Part::File(media) => Count::Estimated { low: 0, high: weight(media) },
            Part::Opaque(opaque) => Count::between(0, self.text(opaque.json.as_str())?.high()),
            _ => Count::ZERO,
        })
    }

    /// A whole request.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn request(&self, request: &ChatRequest) -> Result<RequestCount> {
        let messages = request.messages.iter().map(|message| self.message(message));
        let messages = messages.collect::<Result<Vec<Count>>>()?;
        let tools = if request.tools.is_empty() {
            Count::ZERO
        } else {
            let has_system = request.messages.iter().any(|message| message.role == Role::System);
            let written = self.tokenizer.count(&tools::written(&request.tools))? as u64;
            let json = request.tools.iter().map(|tool| self.tokenizer.count(tool.parameters.as_str()));
            let json = json.sum::<Result<usize>>()? as u64;
            self.family.tools(written, json.max(written), request.tools.len() as u64, has_system)
        };
        let mut overhead = self.family.per_request(request.messages.len() as u64);
        if let ResponseFormat::JsonSchema { schema, .. } = &request.response_format {
            // Its text, shorter or longer than it is written, and a sentence around it.
            let schema = self.tokenizer.count(schema.as_str())? as u64;
            overhead = overhead + Count::Estimated { low: 0, high: schema * 2 + 40 };
        }
        let counted = messages.iter().copied().sum::<Count>() + tools + overhead;
        Ok(RequestCount { messages, tools, overhead, total: self.correction.apply(counted) })
    }

    /// What the answer to a request says of it, for the next counts. Estimates are corrected, and exact counts that three answers in a
    /// row contradict are estimates from then on; nothing is learnt where the provider said nothing, and little from a number that is
    /// far from all that is possible.
    pub fn learn(&self, request: &RequestCount, usage: &Usage) {
        if usage.input_tokens > 0 {
            let counted = request.messages.iter().copied().sum::<Count>() + request.tools + request.overhead;
            self.correction.learn(counted, usage.input_tokens);
        }
    }

    /// Whether the tokenizer is the model's own, not one that comes near.
    fn is_own(&self) -> bool {
        !self.family.is_foreign_to(self.tokenizer.name())
    }
}

fn size(media: &Media) -> Option<(u32, u32)> {
    match &media.source {
        MediaSource::Bytes(bytes) => picture::size(bytes),
        _ => None,
    }
}

fn weight(media: &Media) -> u64 {
    match &media.source {
        MediaSource::Bytes(bytes) => bytes.len() as u64 / 4 + 2000,
        _ => 100_000,
    }
}

#[cfg(test)]
mod tests;
