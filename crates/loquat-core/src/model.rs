//! The one waist: everything that answers is a [`Model`], and layers are models around models.

use std::{future::Future, pin::Pin, sync::Arc};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_object_safe() {
        fn takes(_: Option<Arc<dyn Model>>) {}
        takes(None);
    }
}
