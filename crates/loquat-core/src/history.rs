//! How far an attempt got before it failed, and over which connection: what a person asks first, as data.

use std::{fmt, time::Duration};

/// An attempt's way up to its error; see [`Error::history`](crate::Error::history).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// Where it went: scheme, host and port.
    pub origin: String,
    /// The address at the other end, the server's or the proxy's, once there was a connection over IP.
    pub address: Option<String>,
    /// What was spoken (`HTTP/1.1`, `HTTP/2`), once there was a connection.
    pub protocol: Option<&'static str>,
    /// Whether that connection had carried another request before.
    pub reused: Option<bool>,
    /// Where it stood.
    pub stage: Stage,
    /// From the attempt's beginning to its error.
    pub elapsed: Duration,
}

impl History {
    /// The way of an attempt that has no connection yet.
    pub fn new(origin: impl Into<String>, stage: Stage, elapsed: Duration) -> Self {
        Self { origin: origin.into(), address: None, protocol: None, reused: None, stage, elapsed }
    }
}

/// Where an attempt stands. `Display` is what comes before the origin's name in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Waits for a connection that another makes, or for a free place.
    Pool,
    /// A name is looked up.
    Resolving,
    /// Connections are attempted.
    Connecting,
    /// A proxy is asked to connect.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// The request goes out.
    Sending,
    /// The request is out, the response's head is not in.
    Head,
    /// The head is in, the body comes.
    Body,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "waiting for a free connection to",
            Self::Resolving => "resolving",
            Self::Connecting => "connecting to",
            Self::Proxy => "asking the proxy for a tunnel to",
            Self::Tls => "TLS handshake with",
            Self::Sending => "sending to",
            Self::Head => "waiting for the response head of",
            Self::Body => "reading the body from",
        })
    }
}
