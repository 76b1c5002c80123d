//! The one waist: everything that answers is a [`Model`], and layers are models around models.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use crate::{Answer, ChatRequest, Context, Result};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that answers a chat request: a provider over a transport, the embedded engine, a scheduler around
/// either, a router over many. Used as `Arc<dyn Model>`.
pub trait Model: Send + Sync {
    /// Starts an answer. Resolves once the peer has accepted (or refused) the request; the text comes through the
    /// [`Answer`]. The request is shared, so that a retry or a fallback copies nothing.
    ///
    /// # Errors
    /// Whatever kept the answer from starting. What goes wrong later is the answer's [`crate::Ending`].
    ///
    /// # Cancel safety
    /// Dropping the future or the answer gives up the request at once and releases its connection.
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>>;
}

impl<M: Model + ?Sized> Model for Arc<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        (**self).infer(context, request)
    }
}

/// A [`Model`] that is a function: for a test, a rule that answers without anybody being asked, or what another library does.
///
/// The function is called for each request, side by side where several are made, and is given both as its own. What it returns
/// is dropped when the caller gives up.
///
/// ```
/// use loquat_core::{Answer, Error, ErrorKind, Model, model_fn};
///
/// let polite = model_fn(|context, request| async move {
///     context.check()?;
///     match request.messages.last() {
///         Some(asked) => Ok(Answer::from_text(format!("You said: {}", asked.text()))),
///         None => Err(Error::new(ErrorKind::InvalidRequest, "nothing was said")),
///     }
/// });
/// # fn is_model(_: impl Model) {}
/// # is_model(polite);
/// ```
///
/// A model that keeps something of its own between requests holds it in what the function has captured: an `Arc`, cloned into
/// the future.
pub fn model_fn<F, Answering>(function: F) -> ModelFn<F>
where
    F: Fn(Context, Arc<ChatRequest>) -> Answering + Send + Sync,
    Answering: Future<Output = Result<Answer>> + Send + 'static,
{
    ModelFn(function)
}

/// See [`model_fn`].
#[derive(Clone, Copy)]
pub struct ModelFn<F>(F);

impl<F, Answering> Model for ModelFn<F>
where
    F: Fn(Context, Arc<ChatRequest>) -> Answering + Send + Sync,
    Answering: Future<Output = Result<Answer>> + Send + 'static,
{
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin((self.0)(context.clone(), request))
    }
}

impl<F> fmt::Debug for ModelFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelFn").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_object_safe() {
        fn takes(_: Option<Arc<dyn Model>>) {}
        takes(None);
    }
}
