//! Why an exchange failed, and what its caller is told.

use std::{fmt, io};

use loquat_core::{Error, ErrorKind};

use super::answer;
use crate::{trail::Trail, upload::SourceFailed};

/// See the [module](self).
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection was closed before any of the request was written.
    Closed,
    /// The server had sent something before it was asked.
    Unasked,
    Io(io::Error),
    Source(SourceFailed),
    Answer(answer::Error),
}

impl Failure {
    /// Whether the connection is what failed: another may do better.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Closed | Self::Unasked | Self::Io(_) | Self::Answer(answer::Error::Cut))
    }

    /// The error of the attempt that failed so.
    pub(crate) fn into_error(self, trail: &Trail) -> Error {
        if let Some(failed) = trail.upload.as_ref().and_then(|upload| upload.failure(trail)) {
            return failed;
        }
        const CLOSED: (ErrorKind, &str) =
            (ErrorKind::Connection, "the server closed the connection before the response was complete");
        const MISFRAMED: (ErrorKind, &str) =
            (ErrorKind::Protocol, "the response's body is not framed as HTTP/1.1 demands");
        let (kind, what) = match &self {
            Self::Closed | Self::Unasked | Self::Answer(answer::Error::Cut) => CLOSED,
            Self::Answer(answer::Error::HeadTooLarge) => {
                (ErrorKind::TooLarge, "the response head is larger than the limit")
            }
            Self::Answer(answer::Error::Chunks(_)) => MISFRAMED,
            Self::Answer(_) => (ErrorKind::Protocol, "the response is not HTTP/1.1"),
            Self::Io(error) => match error.kind() {
                // TLS without its own end, and records that are none.
                io::ErrorKind::UnexpectedEof => CLOSED,
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => MISFRAMED,
                _ => (ErrorKind::Connection, "the connection was lost"),
            },
            Self::Source(_) => (ErrorKind::Local, "the source of the request's body failed"),
        };
        trail.error(kind, what).with_source(self)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection was closed before the request was written"),
            Self::Unasked => f.write_str("the server sent something before it was asked"),
            Self::Io(_) => f.write_str("reading or writing failed"),
            Self::Source(failed) => failed.fmt(f),
            Self::Answer(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

impl From<answer::Error> for Failure {
    fn from(error: answer::Error) -> Self {
        Self::Answer(error)
    }
}
