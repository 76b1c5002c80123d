//! [`ToolChat`] and [`Structured`]: a request whose tools are functions, a request whose answer is a type.

use std::{fmt, marker::PhantomData};

use loquat_core::{ChatRequest, ErrorKind, Message, Response, ResponseFormat, Result};
use loquat_tools::{
    DeserializeOwned, Misfit, Outcome, Run, RunLimits, Toolbox, parse, response_format, schemars::JsonSchema,
};

use crate::Chat;

/// A request whose tools are functions. Nothing happens until [`stream`](Self::stream) or [`send`](Self::send).
#[derive(Debug, Clone)]
#[must_use = "nothing is asked until .stream() or .send()"]
pub struct ToolChat {
    chat: Chat,
    toolbox: Toolbox,
    limits: RunLimits,
}

impl ToolChat {
    pub(crate) fn new(chat: Chat, toolbox: Toolbox) -> Self {
        Self { chat, toolbox, limits: RunLimits::default() }
    }

    /// Within these bounds.
    pub fn limits(mut self, limits: RunLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Begins; everything that happens comes through the [`Run`]. Dropping the future or the run cancels.
    ///
    /// # Errors
    /// No model of that name; later failures are the run's ending.
    pub async fn stream(self) -> Result<Run> {
        let (model, context, request) = self.chat.resolve().await?;
        Ok(Run::new(model, context, request, self.toolbox).with_limits(self.limits))
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// As [`stream`](Self::stream) and [`Run::finish`].
    pub async fn send(self) -> Result<Outcome> {
        self.stream().await?.finish().await
    }
}

/// A request whose answer is a `T`. Nothing happens until [`send`](Self::send).
#[must_use = "nothing is asked until .send()"]
pub struct Structured<T> {
    chat: Chat,
    repairs: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + JsonSchema> Structured<T> {
    pub(crate) fn new(chat: Chat) -> Self {
        Self { chat, repairs: 0, kind: PhantomData }
    }

    /// Asks again up to that often where what came is no `T`, telling the model what does not fit. Default 0: each is
    /// another answer to pay for.
    pub fn repairs(mut self, times: u32) -> Self {
        self.repairs = times;
        self
    }

    /// Sends it and gives the value. Where the provider's format cannot be told of a schema, the model is told in words.
    ///
    /// # Errors
    /// As [`Chat::send`]; [`parse`] says what becomes of an answer that is no `T`.
    pub async fn send(self) -> Result<T> {
        self.send_whole().await.map(|(value, _)| value)
    }

    /// Sends it and gives the value with the answer it was read from.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_whole(self) -> Result<(T, Response)> {
        let mut chat = self.chat.with(|request| request.response_format = response_format::<T>());
        let mut left = self.repairs;
        let mut is_told = false;
        loop {
            let response = match chat.clone().send().await {
                // Refused by this side's own encoder: nothing was sent.
                Err(error) if error.kind() == ErrorKind::Unsupported && !is_told => {
                    is_told = true;
                    chat = chat.with(in_words);
                    continue;
                }
                response => response?,
            };
            let error = match parse(&response) {
                Ok(value) => return Ok((value, response)),
                Err(error) => error,
            };
            let misfit = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Misfit>());
            match misfit {
                Some(misfit) if left > 0 && error.kind() == ErrorKind::Protocol => {
                    left -= 1;
                    let said = response.message().cloned().into_iter();
                    chat = chat.messages(said.chain([Message::user(misfit.for_model())]));
                }
                _ => return Err(error),
            }
        }
    }
}

/// Says the form in words, for a format that has no place for it.
fn in_words(request: &mut ChatRequest) {
    if let ResponseFormat::JsonSchema { schema, .. } = std::mem::take(&mut request.response_format) {
        let words = format!(
            "Answer with JSON alone, without a word around it. It must follow this JSON Schema: {}",
            schema.as_str()
        );
        request.messages.insert(0, Message::system(words));
    }
}

impl<T> Clone for Structured<T> {
    fn clone(&self) -> Self {
        Self { chat: self.chat.clone(), repairs: self.repairs, kind: PhantomData }
    }
}

impl<T> fmt::Debug for Structured<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Structured")
            .field("chat", &self.chat)
            .field("repairs", &self.repairs)
            .finish_non_exhaustive()
    }
}
