//! Chat templates: a conversation as the text that a model was trained on.
//!
//! A model's files bring a program in Jinja that writes it (Hugging Face's `chat_template`). [`ChatTemplate`] runs that program
//! with bounds, as Hugging Face's own renderer is set. Most of them write one of a handful of [formats](Format), for which there
//! are renderers by hand, thirty times as fast; one is used where it gives, byte for byte, what the program gives on
//! conversations made up to tell them apart (see [`probe`](self)), and for what it does not cover, such as tools, the program
//! is asked.
//!
//! A [`RenderedChat`] remembers where a user's words spell a control token: its [pieces](RenderedChat::pieces) are cut there, so that
//! a tokenizer never finds one that the template did not write.

mod fast;
mod jinja;
mod probe;
mod python;
mod values;

use std::fmt;

use loquat_core::{Message, Tool};
use serde_json::{Map, Value};

use super::{TemplateError, TemplateErrorKind as Kind};
use crate::tokenizer::{Piece, Tokenizer};

pub use fast::Format;
use jinja::Program;

/// Longest chat template, bytes: the longest published ones have about 30 kB.
pub const MAX_SOURCE_BYTES: usize = 256 << 10;
/// Longest rendered conversation, bytes.
pub const MAX_OUTPUT_BYTES: usize = 64 << 20;

/// What is to be rendered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Chat<'a> {
    /// The conversation, oldest first.
    pub messages: &'a [Message],
    /// Tools that the model may ask for.
    pub tools: &'a [Tool],
    /// Whether the assistant's turn is opened at the end. Default `true`.
    pub opens_answer: bool,
    /// Further variables of the template, such as `enable_thinking`.
    pub variables: Map<String, Value>,
    /// The present, Unix seconds: what `strftime_now` shows. Without it a template that asks for the time fails, rather than
    /// make every prompt begin differently unseen.
    pub now: Option<i64>,
}

impl<'a> Chat<'a> {
    /// These messages, no tools, the answer opened.
    pub fn new(messages: &'a [Message]) -> Self {
        Self { messages, tools: &[], opens_answer: true, variables: Map::new(), now: None }
    }

    /// With these tools.
    #[must_use]
    pub fn with_tools(mut self, tools: &'a [Tool]) -> Self {
        self.tools = tools;
        self
    }

    /// With or without the assistant's turn opened.
    #[must_use]
    pub fn with_answer_opened(mut self, opens_answer: bool) -> Self {
        self.opens_answer = opens_answer;
        self
    }

    /// With one more variable.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// At that time.
    #[must_use]
    pub fn with_now(mut self, unix_seconds: i64) -> Self {
        self.now = Some(unix_seconds);
        self
    }
}

/// A chat template, ready to be rendered.
#[derive(Debug)]
pub struct ChatTemplate {
    program: Program,
    format: Option<Format>,
    beginning: String,
    end: String,
}

impl ChatTemplate {
    /// Compiles a model's template. `beginning` and `end` are its `bos_token` and `eos_token` as they are written out.
    ///
    /// Looking for a format by hand renders the template some hundred times: a few milliseconds, once.
    ///
    /// # Errors
    /// The source is no template, or longer than [`MAX_SOURCE_BYTES`].
    pub fn try_new(
        source: impl Into<String>,
        beginning: impl Into<String>,
        end: impl Into<String>,
    ) -> Result<Self, TemplateError> {
        let (source, beginning, end) = (source.into(), beginning.into(), end.into());
        let program = Program::compile(source.clone())?;
        let mut template = Self { program, format: None, beginning, end };
        template.format = probe::format_of(&template, &source);
        Ok(template)
    }

    /// A format by itself, without a program: what it does not cover is an error.
    pub fn of(format: Format, beginning: impl Into<String>, end: impl Into<String>) -> Self {
        Self { program: Program::none(), format: Some(format), beginning: beginning.into(), end: end.into() }
    }

    /// The format that is written by hand in the program's place.
    pub fn format(&self) -> Option<&Format> {
        self.format.as_ref()
    }

    /// The conversation as the model was trained to read it. With a tokenizer, what a user wrote is looked through for its
    /// control tokens; without one [`RenderedChat::pieces`] is not to be trusted with strangers' words.
    ///
    /// # Errors
    /// The template refuses the conversation, or takes too many steps.
    pub fn render(
        &self,
        chat: &Chat<'_>,
        tokenizer: Option<&dyn Tokenizer>,
    ) -> Result<RenderedChat, TemplateError> {
        if let Some(format) = &self.format {
            let mut rendered = RenderedChat::default();
            let mut sink = fast::Sink { to: &mut rendered, tokenizer };
            if fast::render(format, chat, &self.beginning, &self.end, &mut sink) {
                return Ok(rendered);
            }
        }
        self.interpret(chat, tokenizer)
    }

    /// The same by the program, whatever format was found: for comparisons.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn interpret(
        &self,
        chat: &Chat<'_>,
        tokenizer: Option<&dyn Tokenizer>,
    ) -> Result<RenderedChat, TemplateError> {
        let guard = values::Guard::new(chat, tokenizer)?;
        let text = self.program.render(chat, &guard, &self.beginning, &self.end)?;
        if text.len() > MAX_OUTPUT_BYTES {
            let what = format!("a prompt of {} bytes; allowed are {MAX_OUTPUT_BYTES}", text.len());
            return Err(TemplateError::new(Kind::TooLarge, jinja::NAME, what));
        }
        Ok(guard.remove(text))
    }
}

/// A conversation as text, and where it must be cut so that no user's words are taken for control tokens.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RenderedChat {
    text: String,
    /// Byte offsets, ascending.
    cuts: Vec<usize>,
}

impl RenderedChat {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text alone.
    pub fn into_text(self) -> String {
        self.text
    }

    /// The text for [`Tokenizer::encode_prompt`]: control tokens in it are the template's.
    pub fn pieces(&self) -> Vec<Piece<'_>> {
        let mut pieces = Vec::with_capacity(self.cuts.len() + 1);
        let mut from = 0;
        for to in self.cuts.iter().copied().chain([self.text.len()]) {
            match self.text.get(from..to) {
                Some(part) if !part.is_empty() => pieces.push(Piece::Markup(part)),
                _ => {}
            }
            from = to;
        }
        pieces
    }
}

impl fmt::Debug for RenderedChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RenderedChat({} bytes, {} cuts)", self.text.len(), self.cuts.len())
    }
}
