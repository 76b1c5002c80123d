//! What comes back: status and headers at once, the body as it is pulled, and the connection's history.

use std::{fmt, net::SocketAddr};

use http::{HeaderMap, StatusCode};

use crate::Body;

/// A response whose head has arrived. Dropping it gives the request up: see [`Body`].
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "dropping a response cancels the request"]
pub struct Response {
    /// The status. Any: a 500 is a response, too, and a redirect is not followed.
    pub status: StatusCode,
    /// The header fields. Where the transport decompresses the body, without `Content-Encoding` and `Content-Length`.
    pub headers: HeaderMap,
    /// The body, pulled by the caller.
    pub body: Body,
    /// What it came over.
    pub connection: ConnectionInfo,
}

/// Which protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
}

impl Protocol {
    /// `HTTP/1.1` or `HTTP/2`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A connection's history as far as one request is concerned. `Display` is what error messages say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The address at the other end: the server's, or the proxy's.
    pub peer: Option<SocketAddr>,
    /// This end's address.
    pub local: Option<SocketAddr>,
    /// What is spoken.
    pub protocol: Protocol,
    /// Whether it had carried another request before.
    pub reused: bool,
}

impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(peer) = self.peer {
            write!(f, "{peer}, ")?;
        }
        write!(f, "{}, {} connection", self.protocol, if self.reused { "reused" } else { "fresh" })
    }
}
