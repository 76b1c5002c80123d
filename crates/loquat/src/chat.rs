//! [`Chat`]: a request being written, next to whom it will be sent to: a client, which finds a model by its name, or a
//! model itself, which may be many behind one (a router), layers around one, or a test's double.

use std::{fmt, sync::Arc};

use loquat_core::{Answer, ChatRequest, Context, Message, Model, Response, Result, Tool};

#[cfg(feature = "tools")]
use loquat_tools::schemars::JsonSchema;

#[cfg(feature = "client")]
use crate::Client;

/// A request being written. Nothing happens until [`stream`](Self::stream) or [`send`](Self::send).
///
/// A `Client` begins one by a model's name, [`ModelExt`] at whatever is a [`Model`]; from there on it is the same.
#[derive(Debug, Clone)]
#[must_use = "nothing is asked until .stream() or .send()"]
pub struct Chat {
    whom: Whom,
    model: String,
    request: ChatRequest,
    context: Context,
}

/// Whom a [`Chat`] asks.
#[derive(Clone)]
enum Whom {
    /// Whoever goes by the name at this client.
    #[cfg(feature = "client")]
    Client(Client),
    /// This one, whatever the name.
    Model(Arc<dyn Model>),
}

impl fmt::Debug for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "client")]
            Self::Client(client) => client.fmt(f),
            Self::Model(_) => f.write_str("Model"),
        }
    }
}

/// Begins a [`Chat`] at any [`Model`] as a `Client` does: at a router, at layers around a model, at a test's double.
///
/// ```
/// use std::sync::Arc;
///
/// use loquat::{Model, ModelExt, Result};
///
/// async fn ask(model: Arc<dyn Model>) -> Result<String> {
///     let answer = model.chat("a-route").system("Be brief.").user("Why is the sky blue?").send().await?;
///     Ok(answer.text())
/// }
/// ```
///
/// It is there for every model that can be cloned. One that cannot goes into an [`Arc`], or to [`Chat::over`].
pub trait ModelExt: Model + Clone + 'static {
    /// Begins a request to this model. `name` is what it is asked for: a route, where it is a router; empty where it knows
    /// but one.
    fn chat(&self, name: impl Into<String>) -> Chat {
        Chat::over(self.clone(), name)
    }
}

impl<M: Model + Clone + 'static> ModelExt for M {}

impl Chat {
    #[cfg(feature = "client")]
    pub(crate) fn new(client: Client, model: String) -> Self {
        Self::begun(Whom::Client(client), model)
    }

    /// Begins a request to that model; see [`ModelExt::chat`], which says the same of a model that stays where it is.
    pub fn over(model: impl Model + 'static, name: impl Into<String>) -> Self {
        Self::begun(Whom::Model(Arc::new(model)), name.into())
    }

    fn begun(whom: Whom, model: String) -> Self {
        Self { whom, model, request: ChatRequest::new(""), context: Context::new() }
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
    #[cfg_attr(
        not(feature = "client"),
        allow(clippy::unused_async, reason = "the same signature as with a client")
    )]
    pub(crate) async fn resolve(self) -> Result<(Arc<dyn Model>, Context, ChatRequest)> {
        let (model, name) = match self.whom {
            #[cfg(feature = "client")]
            Whom::Client(client) => client.resolve(&self.context, &self.model).await?,
            Whom::Model(model) => (model, self.model),
        };
        let mut request = self.request;
        request.model = name;
        Ok((model, self.context, request))
    }

    /// Lets the model call these functions; they are called, and it is asked again, until it has answered.
    #[cfg(feature = "tools")]
    pub fn tools(self, toolbox: crate::Toolbox) -> crate::ToolChat {
        crate::ToolChat::new(self, toolbox)
    }

    /// Asks for an answer that is a `T`: by the provider's own means where it has such, checked in any case. A router asks by these
    /// means endpoints that are said to have them (`router::Abilities::JSON_SCHEMA`); where none is, the form is told in words.
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
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the provider's format has no such count, and where this was
    /// not begun at a client: a model answers, and does no more. Else as [`stream`](Self::stream).
    #[cfg(feature = "client")]
    pub async fn count_tokens(&self) -> Result<u64> {
        match &self.whom {
            Whom::Client(client) => {
                let (model, request) = (&client.one_attempt(&self.model)?, &self.request);
                let count = |context: Context| async move { model.count_tokens(&context, request).await };
                client.0.call(&self.context, client.0.limits.listing, model, "counting", true, count).await
            }
            Whom::Model(_) => Err(loquat_core::Error::new(
                loquat_core::ErrorKind::Unsupported,
                "only a provider counts: begin this at a client, with the name of the provider's model",
            )),
        }
    }

    /// Sends it; the answer comes in pieces. Dropping the future or the answer cancels.
    ///
    /// # Errors
    /// What kept the answer from starting; later failures are its [`Ending`](crate::Ending).
    pub async fn stream(self) -> Result<Answer> {
        let (model, context, request) = self.resolve().await?;
        model.infer(&context, Arc::new(request)).await
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
