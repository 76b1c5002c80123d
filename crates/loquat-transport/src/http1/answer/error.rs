//! What an answer can be wrong in.

use std::fmt;

/// See the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// The connection ended in the middle.
    Cut,
    /// More bytes or fields than a head may have.
    HeadTooLarge,
    /// What came is no head of HTTP/1.1 (RFC 9112 §4).
    Head(httparse::Error),
    /// Three digits that are no status.
    Status,
    /// `Content-Length` is no number, or several that differ (RFC 9112 §6.3).
    Length,
    /// A transfer coding from a server that speaks HTTP/1.0, which has none.
    Coding,
    /// Another protocol follows, for which nobody asked (RFC 9110 §7.8).
    Switch,
    /// A chunk or what follows the last is not framed as RFC 9112 §7.1 demands; what about it.
    Chunks(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the connection ended before the answer did"),
            Self::HeadTooLarge => f.write_str("the head is longer than it may be"),
            Self::Head(what) => write!(f, "the head is none: {what}"),
            Self::Status => f.write_str("the head has no valid status"),
            Self::Length => f.write_str("the head has no valid Content-Length"),
            Self::Coding => f.write_str("the head has a Transfer-Encoding, which HTTP/1.0 does not know"),
            Self::Switch => f.write_str("the server switches to a protocol that was not asked for"),
            Self::Chunks(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}
