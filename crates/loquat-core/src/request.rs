//! What is asked of a model, in words that every provider's format can be encoded from.

use std::{fmt, sync::Arc};

use crate::Message;

/// JSON as text. This crate holds no parser: the encoder that writes it to the wire checks it.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// Wraps JSON text, unchecked.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonText({} bytes)", self.0.len())
    }
}

/// A tool the model may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tool {
    /// The name the model uses.
    pub name: String,
    /// When and how to use it, for the model.
    pub description: String,
    /// JSON Schema of the arguments (an object).
    pub parameters: JsonText,
    /// Whether the provider shall hold the model to the schema exactly, where it can: a schema that its strict mode
    /// refuses goes out as it is, and loosely.
    pub strict: Option<bool>,
}

impl Tool {
    /// A tool whose arguments follow that JSON Schema.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            parameters: JsonText::new(parameters),
            strict: None,
        }
    }
}

/// Whether the model may, must or must not call tools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool.
    None,
    /// Some tool.
    Required,
    /// That tool.
    Tool(String),
}

/// What form the answer shall have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Free text.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema {
        /// A name for the schema, which some providers demand.
        name: String,
        /// The JSON Schema.
        schema: JsonText,
    },
}

/// What the provider shall keep of a prompt, so that the next one that begins like it is cheaper. Only ever a hint: providers
/// that keep prompts of their own accord, or never, are sent nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheHint {
    /// Keep all of this prompt, tools and system included (Anthropic, and Bedrock's Converse: `cache_control`, `cachePoint`).
    pub keep: bool,
    /// With `keep`, whether tools and system are too short to be kept by themselves, as whoever counted them knows: then there is no mark
    /// behind them, and they are kept as a part of what follows. Default `false`: they are marked.
    pub is_system_short: bool,
    /// With `keep`, which of the messages before the last end a beginning that has been kept already (positions in
    /// [`ChatRequest::messages`]; the last two count). Providers look back from a mark over so many blocks (Anthropic: 20) for what they
    /// have: where a turn added more, as tools do, they find it by a mark of its own alone.
    pub also_after: Vec<usize>,
    /// Keep it for longer than usual, where there is a choice, and at the price of that.
    pub long: bool,
    /// Prompts under one key are sent where their beginnings are kept (OpenAI: `prompt_cache_key`).
    pub key: Option<String>,
}

impl CacheHint {
    /// Keep this prompt.
    pub fn keep() -> Self {
        Self { keep: true, ..Self::default() }
    }

    /// Whether the end of the system is marked, and with it the tools, which stand before it.
    pub fn marks_system(&self) -> bool {
        self.keep && !self.is_system_short
    }

    /// Whether that message, which is not the last, is marked, too. No more are than providers take (Anthropic, Bedrock: four with those
    /// of the system and of the end).
    pub fn is_marked(&self, message: usize) -> bool {
        let counted = self.also_after.len().saturating_sub(2)..;
        self.keep && self.also_after.get(counted).is_some_and(|marked| marked.contains(&message))
    }
}

/// What is asked. Fields left `None` are left to the provider: nothing is sent for them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ChatRequest {
    /// The model's name at the endpoint. Empty: the endpoint's own.
    pub model: String,
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// Tools the model may ask for.
    pub tools: Vec<Tool>,
    /// Whether it may, must or must not. Of Claude's models that always think, the newer ones cannot be made to: that is
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    pub tool_choice: ToolChoice,
    /// Whether it may ask for several at once.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub response_format: ResponseFormat,
    /// Most tokens to generate.
    pub max_output_tokens: Option<u32>,
    /// Randomness, 0 (greedy) to 2. Many models that think, and all of Claude's since Opus 4.7, choose in their own way:
    /// to those that are known any but 1 is [`Unsupported`](crate::ErrorKind::Unsupported) before anything is sent, as
    /// are `top_p` and `top_logprobs`.
    pub temperature: Option<f32>,
    /// Nucleus sampling: smallest set of tokens with that probability, 0 to 1.
    pub top_p: Option<f32>,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// Makes sampling repeatable, where the provider can.
    pub seed: Option<u64>,
    /// How hard to think: `low`, `medium`, `high`, or a provider's own word; `none` for not at all. Models of Claude's that
    /// count a budget instead get one of that size, and those that cannot stop thinking the least effort.
    /// Where it and the budget disagree, the one that says not to think counts.
    pub reasoning_effort: Option<String>,
    /// Tokens the model may spend on thinking, where the provider counts them; 0 for not at all. Claude's models since 4.6
    /// take no number: they get an effort of that size.
    pub reasoning_budget_tokens: Option<u32>,
    /// How many alternatives; `None` for one.
    pub choices: Option<u32>,
    /// Asks for the log probabilities of the tokens said, and of that many others at each place. They come as
    /// [`Delta::Detail`](crate::Delta::Detail) under `logprobs`.
    pub top_logprobs: Option<u32>,
    /// What the provider shall keep of the prompt.
    pub cache: CacheHint,
    /// Whether the answer shall come in pieces as it is made. Default `true`.
    pub stream: bool,
    /// Members added to the request's JSON object: whatever this type does not know. Where an object of that name is there already, its
    /// members are kept but for those said here, at any depth, and lists named `tools` or `include` are put together; anything else of
    /// that name is replaced, as are objects of another `type`, a `toolChoice` and JSON Schemas named `schema` or `responseJsonSchema`. Of
    /// other members that exclude each other, say `null` for the one that shall not be.
    pub extra_body: Vec<(String, JsonText)>,
    /// Whether all events of the answer, or the whole of one that is no stream, are also told as they came: each is a
    /// [`Detail`](crate::Detail) named `raw`. For what a provider says and this library has no word for. Default `false`, as it costs a
    /// copy of everything; the copies count as content where the length of an answer is bounded.
    pub raw: bool,
    /// Headers added to the request as they are. They may be credentials: `Debug` hides the values.
    pub extra_headers: ExtraHeaders,
}

/// Header names and values; `Debug` shows the names only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ExtraHeaders(pub Vec<(String, String)>);

impl fmt::Debug for ExtraHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl ChatRequest {
    /// A streamed request for that model, with nothing said yet.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            messages: Vec::new(),
            tools: Vec::new(),
            tool_choice: ToolChoice::default(),
            parallel_tool_calls: None,
            response_format: ResponseFormat::default(),
            max_output_tokens: None,
            temperature: None,
            top_p: None,
            stop: Vec::new(),
            seed: None,
            reasoning_effort: None,
            reasoning_budget_tokens: None,
            choices: None,
            top_logprobs: None,
            cache: CacheHint::default(),
            stream: true,
            extra_body: Vec::new(),
            raw: false,
            extra_headers: ExtraHeaders::default(),
        }
    }

    /// Adds a message.
    #[must_use]
    pub fn with_message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// Adds a user's message.
    #[must_use]
    pub fn with_user(self, text: impl Into<String>) -> Self {
        self.with_message(Message::user(text))
    }

    /// Adds a system message.
    #[must_use]
    pub fn with_system(self, text: impl Into<String>) -> Self {
        self.with_message(Message::system(text))
    }

    /// Adds a tool.
    #[must_use]
    pub fn with_tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Sets the randomness.
    #[must_use]
    pub fn with_temperature(mut self, temperature: f32) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Sets the most tokens to generate.
    #[must_use]
    pub fn with_max_output_tokens(mut self, tokens: u32) -> Self {
        self.max_output_tokens = Some(tokens);
        self
    }

    /// Asks the provider to keep the prompt.
    #[must_use]
    pub fn with_cache(mut self, hint: CacheHint) -> Self {
        self.cache = hint;
        self
    }

    /// Asks for the answer in pieces (`true`) or whole (`false`).
    #[must_use]
    pub fn with_stream(mut self, stream: bool) -> Self {
        self.stream = stream;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_header_value() {
        let mut request = ChatRequest::new("m").with_user("private");
        request.extra_headers.0.push(("x-key".into(), "private".into()));
        request.extra_body.push(("k".into(), JsonText::new("\"private\"")));
        let shown = format!("{request:?}");
        assert!(!shown.contains("private") && shown.contains("x-key"), "{shown}");
    }
}
