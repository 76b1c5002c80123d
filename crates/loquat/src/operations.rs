//! What a [`Client`] can be asked besides an answer. Embeddings, moderation, counts and listings go by the endpoint's schedule as
//! generations do: its breaker, its budget, its retries. Embeddings and moderation are work that somebody pays for, so what may have
//! been done is not asked for again; counts and listings are repeated freely, as far as their 800 ms go. What is kept at an endpoint
//! (files, batches) is asked for once.

use loquat_client::HttpModel;
use loquat_core::{Context, EmbedRequest, Embeddings, Error, ErrorKind, Moderation, Result};

use crate::{Client, resolve::Asked};

impl Client {
    /// A vector for each text, by a model named as in [`chat`](Self::chat): `openai:text-embedding-3-small`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the provider's format has no embeddings; else as
    /// [`Chat::stream`](crate::Chat::stream).
    pub async fn embed<S: Into<String>>(
        &self,
        model: &str,
        inputs: impl IntoIterator<Item = S>,
    ) -> Result<Embeddings> {
        self.embed_with(&Context::new(), model, &EmbedRequest::new(inputs)).await
    }

    /// [`embed`](Self::embed) with everything there is to say.
    ///
    /// # Errors
    /// As [`embed`](Self::embed).
    pub async fn embed_with(
        &self,
        context: &Context,
        model: &str,
        request: &EmbedRequest,
    ) -> Result<Embeddings> {
        let model = &self.one_attempt(model)?;
        let embed = |context: Context| async move { model.embed(&context, request).await };
        self.0.call(context, self.0.limits.total, model, &model.endpoint().model, false, embed).await
    }

    /// What a provider's rules say of each text: `openai:omni-moderation-latest`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the provider's format has no moderation; else as
    /// [`Chat::stream`](crate::Chat::stream).
    pub async fn moderate<S: Into<String>>(
        &self,
        model: &str,
        inputs: impl IntoIterator<Item = S>,
    ) -> Result<Vec<Moderation>> {
        let inputs: Vec<String> = inputs.into_iter().map(Into::into).collect();
        self.moderate_with(&Context::new(), model, &inputs).await
    }

    /// [`moderate`](Self::moderate) by the context's deadline, and cancelled with it.
    ///
    /// # Errors
    /// As [`moderate`](Self::moderate).
    pub async fn moderate_with(
        &self,
        context: &Context,
        model: &str,
        inputs: &[String],
    ) -> Result<Vec<Moderation>> {
        let model = &self.one_attempt(model)?;
        let moderate = |context: Context| async move { model.moderate(&context, inputs).await };
        self.0.call(context, self.0.limits.total, model, &model.endpoint().model, false, moderate).await
    }

    /// A model's endpoint alone, named as `openai:gpt-4o`, for what is kept there: files and batches.
    ///
    /// ```no_run
    /// # async fn run() -> loquat::Result<()> {
    /// use loquat::{ChatRequest, Client, Context, provider::operations::BatchItem};
    ///
    /// let (endpoint, context) = (Client::from_env()?.endpoint("openai:gpt-4o")?, Context::new());
    /// let items = [BatchItem::new("first", ChatRequest::new("").with_user("Say hello in French."))];
    /// let batch = endpoint.start_batch(&context, &items).await?;
    /// // … hours later:
    /// for result in endpoint.batch_results(&context, &endpoint.batch(&context, &batch.id).await?).await? {
    ///     println!("{}: {:?}", result.id, result.outcome?.text());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for the embedded engine; else as [`Chat::stream`](crate::Chat::stream) for a name.
    pub fn endpoint(&self, name: &str) -> Result<HttpModel> {
        self.one_attempt(name)
    }

    /// The model of that name without what attempts pass through. A bare name is no help: nobody lists what it can do.
    pub(crate) fn one_attempt(&self, name: &str) -> Result<HttpModel> {
        match self.asked(name)? {
            Asked::Http(model) => Ok(*model),
            Asked::Engine => {
                Err(Error::new(ErrorKind::Unsupported, "the embedded engine answers, and does no more"))
            }
            Asked::Bare => Err(Error::new(
                ErrorKind::NotConfigured,
                format!("say which provider's model that is, as in openai:{name}"),
            )),
        }
    }
}
