//! Why a stream ended before its answer did.

use std::{fmt, time::Duration};

use bytes::Bytes;
use h2::Reason;

use crate::upload::Outgoing;

/// Why a stream ended before its answer did.
#[derive(Debug)]
pub(crate) enum Failure {
    H2(h2::Error),
    /// Its caller did not read it.
    Laggard(Laggard),
    /// The connection was given up: its peer answered no PING for so long.
    Silent(Duration),
    /// The connection was given up: its peer sent no SETTINGS for so long after it was made.
    Unsettled(Duration),
    /// The source of the request's body failed.
    Upload(Outgoing),
}

impl Failure {
    /// Whether the peer was sent a reset for it, which is one more that it may hold against the connection.
    pub(crate) fn is_reset_here(&self) -> bool {
        match self {
            Self::Laggard(_) | Self::Upload(_) => true,
            // The library's own: an answer that it cannot take.
            Self::H2(error) => error.is_library() && error.is_reset(),
            Self::Silent(_) | Self::Unsettled(_) => false,
        }
    }
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        Self::H2(error)
    }
}

/// The source of the error of a response that was given up because its body was not read
/// ([`Http2Limits::laggard_after`](crate::Http2Limits::laggard_after)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Laggard {
    /// Bytes that had come and were not read.
    pub unread_bytes: usize,
    /// For how long nothing had been read, at least.
    pub unread_for: Duration,
}

impl fmt::Display for Laggard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.unread_for.as_secs_f64();
        write!(f, "{} bytes lay unread for {seconds:.2} s", self.unread_bytes)
    }
}

impl std::error::Error for Laggard {}

/// The end that an error is.
pub(super) fn ended(error: h2::Error) -> Option<Result<Bytes, Failure>> {
    (!is_early_answer(&error)).then_some(Err(Failure::H2(error)))
}

/// An answer may be complete before the upload was (RFC 9113 §8.1): that is no failure.
pub(super) fn is_early_answer(error: &h2::Error) -> bool {
    error.is_remote() && error.reason() == Some(Reason::NO_ERROR) && error.is_reset()
}
