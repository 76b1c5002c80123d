//! Short ways to the shared error, so that the engine's files say what is wrong and not how errors are built.

use loquat_core::{Error, ErrorKind};

pub(crate) use loquat_core::Result;

/// A file that is no sound model.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Local, message.into())
}

/// A sound file or request that this engine does not serve.
pub(crate) fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message.into())
}

/// The file system, or another program, refused.
pub(crate) fn local(
    message: impl Into<String>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(ErrorKind::Local, message.into()).with_source(source)
}

/// A bug of ours.
pub(crate) fn internal(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Internal, message.into())
}
