//! [`Chat`]: a request being written, next to the client that will send it.

use std::sync::Arc;

use loquat_core::{Answer, ChatRequest, Context, Message, Model, Response, Result, Tool};

#[cfg(feature = "tools")]
use loquat_tools::schemars::JsonSchema;

use crate::Client;

/// A request being written. Nothing happens until [`stream`](Self::stream) or [`send`](Self::send).
#[derive(Debug, Clone)]
#[must_use = "nothing is asked until .stream() or .send()"]
pub struct Chat {
    client: Client,
    model: String,
    request: ChatRequest,
    context: Context,
}

impl Chat {
    pub(crate) fn new(client: Client, model: String) -> Self {
        Self { client, model, request: ChatRequest::new(""), context: Context::new() }
    }

    /// Adds instructions that stand above the conversation.
    pub fn system(self, text: impl Into<String>) -> Self {
        self.message(Message::system(text))
    }

    /// Adds a user's message.
    pub fn user(self, text: impl Into<String>) -> Self {
        self.message(Message::user(text))
    }

    /// Adds any message.
    pub fn message(mut self, message: Message) -> Self {
        self.request.messages.push(message);
        self
    }

    /// Adds a conversation so far, oldest first.
    pub fn messages(mut self, messages: impl IntoIterator<Item = Message>) -> Self {
        self.request.messages.extend(messages);
        self
    }

    /// Adds a tool the model may ask for.
    pub fn tool(mut self, tool: Tool) -> Self {
        self.request.tools.push(tool);
        self
    }

    /// Sets the randomness, 0 (greedy) to 2.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.request.temperature = Some(temperature);
        self
    }

    /// Sets nucleus sampling, 0 to 1.
    pub fn top_p(mut self, top_p: f32) -> Self {
        self.request.top_p = Some(top_p);
        self
    }

    /// Sets the most tokens to generate.
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.request.max_output_tokens = Some(tokens);
        self
    }

    /// Adds a text that ends the answer and is not part of it.
    pub fn stop(mut self, text: impl Into<String>) -> Self {
        self.request.stop.push(text.into());
        self
    }

    /// Makes sampling repeatable, where the provider can.
    pub fn seed(mut self, seed: u64) -> Self {
        self.request.seed = Some(seed);
        self
    }

    /// Runs under these conditions: trace, tenant, deadline, cancellation.
    pub fn context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// Changes whatever the methods here do not name.
    pub fn with(mut self, change: impl FnOnce(&mut ChatRequest)) -> Self {
        change(&mut self.request);
        self
    }

    /// The model of that name, and everything else that asking it takes.
    #[cfg(feature = "tools")]
    pub(crate) async fn resolve(self) -> Result<(Arc<dyn Model>, Context, ChatRequest)> {
        let (model, name) = self.client.resolve(&self.context, &self.model).await?;
        let mut request = self.request;
        request.model = name;
        Ok((model, self.context, request))
    }

    /// Lets the model call these functions; they are called, and it is asked again, until it has answered.
    #[cfg(feature = "tools")]
    pub fn tools(self, toolbox: crate::Toolbox) -> crate::ToolChat {
        crate::ToolChat::new(self, toolbox)
    }

    /// Asks for an answer that is a `T`: by the provider's own means where it has such, checked in any case.
    ///
    /// `T` derives [`schemars::JsonSchema`](crate::schemars) beside serde's `Deserialize`; after
    /// `use loquat::schemars::{self, JsonSchema}` it does so without schemars among the dependencies.
    #[cfg(feature = "tools")]
    pub fn structured<T>(self) -> crate::Structured<T>
    where
        T: loquat_tools::DeserializeOwned + JsonSchema,
    {
        crate::Structured::new(self)
    }

    /// How many tokens it would be, by the provider's own count. Nothing is generated, and most providers charge nothing. Takes as long
    /// as the context's deadline allows; where it has none, 800 ms
    /// ([`GenerationLimits::listing`](crate::client::GenerationLimits::listing)).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the provider's format has no such count; else as
    /// [`stream`](Self::stream).
    pub async fn count_tokens(&self) -> Result<u64> {
        self.client.one_attempt(&self.model)?.count_tokens(&self.context, &self.request).await
    }

    /// Sends it; the answer comes in pieces. Dropping the future or the answer cancels.
    ///
    /// # Errors
    /// What kept the answer from starting; later failures are its [`Ending`](crate::Ending).
    pub async fn stream(self) -> Result<Answer> {
        let (model, name) = self.client.resolve(&self.context, &self.model).await?;
        let mut request = self.request;
        request.model = name;
        model.infer(&self.context, Arc::new(request)).await
    }

    /// Sends it and waits for the whole answer. On the wire it is streamed all the same, unless
    /// [`ChatRequest::stream`] was set to `false`: so the limits to the first token and between tokens hold, and what
    /// arrived before a failure is in [`Error::partial`](crate::Error::partial).
    ///
    /// # Errors
    /// As [`stream`](Self::stream), and every answer that did not finish.
    pub async fn send(self) -> Result<Response> {
        self.stream().await?.collect().await
    }
}
