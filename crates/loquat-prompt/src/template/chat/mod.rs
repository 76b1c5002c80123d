//! Chat templates: a conversation as the text that a model was trained on.
//!
//! A model's files bring a program in Jinja that writes it (Hugging Face's `chat_template`). [`ChatTemplate`] runs that program
//! with bounds, as Hugging Face's own renderer is set. Most of them write one of a handful of [formats](Format), for which there
//! are renderers by hand, thirty times as fast; one is used where it gives, byte for byte, what the program gives on
//! conversations made up to tell them apart (see [`probe`](self)), and for what it does not cover, such as tools, the program
//! is asked.
//!
//! A [`RenderedChat`] remembers who wrote what: its [pieces](RenderedChat::pieces) are such that a tokenizer never finds a control token
//! of which a template did not write every character. That holds for all that a caller supplies (words, names, ids, arguments, schemas, variables)
//! and for what a program puts together of it, by joining, splitting, replacing or decoding; not for a token that it looks for and
//! then cuts by position (`text[2:]`). Roles are the template's.

mod fast;
mod guard;
mod jinja;
mod probe;
mod python;
mod values;
mod words;

use loquat_core::{Message, Tool};
use serde_json::{Map, Value};

use super::TemplateError;
use crate::tokenizer::Tokenizer;

/// A conversation as text, and who wrote which part of it.
pub use super::Rendered as RenderedChat;
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

    /// The conversation as the model was trained to read it. The tokenizer tells the template's control tokens from those that a
    /// user spells, where the program is run: without one nothing that it writes is a control token.
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
            if fast::render(format, chat, &self.beginning, &self.end, &mut rendered) {
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
        self.program.render(chat, tokenizer, &self.beginning, &self.end)
    }
}
