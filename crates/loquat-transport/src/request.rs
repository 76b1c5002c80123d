//! What is sent: one request whose body lies ready in memory, so that it can be sent again without a copy.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use loquat_core::Result;

use crate::Url;

/// One request. `Host`, `Content-Length` and what frames the message are added by the transport (a `Host` of the caller's own is sent
/// instead, on HTTP/2 as the `:authority`, and with a user's name in it is an error; what it connects to is `url` all the same, and so is
/// what a forwarding proxy is asked for); no `User-Agent` and nothing else is, except `Accept-Encoding` with the feature `decompress` ([`crate::DecompressLimits`]).
///
/// `Debug` shows header names only, and the body's length.
#[derive(Clone)]
#[non_exhaustive]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Header fields. Mark those that hold credentials sensitive: HTTP/2 keeps them out of its tables then.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
    /// Most time to the response head, instead of [`crate::Limits::first_byte`]. [`Duration::MAX`]: the context's
    /// deadline alone.
    pub first_byte: Option<Duration>,
    /// Whether the peer may get it twice (RFC 9110 §9.2.2): a GET, or a POST that it deduplicates. Decides which idle
    /// connections may carry it, and whether one that closes under it is replaced silently.
    pub replayable: bool,
}

impl Request {
    /// A request of that method, replayable where the method is idempotent.
    pub fn new(method: Method, url: Url) -> Self {
        let replayable = method.is_idempotent();
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), first_byte: None, replayable }
    }

    /// A GET.
    ///
    /// # Errors
    /// Those of [`Url::parse`].
    pub fn get(url: impl AsRef<str>) -> Result<Self> {
        Ok(Self::new(Method::GET, Url::parse(url.as_ref())?))
    }

    /// A POST of that body, not replayable.
    ///
    /// # Errors
    /// Those of [`Url::parse`].
    pub fn post(url: impl AsRef<str>, body: impl Into<Bytes>) -> Result<Self> {
        Ok(Self::new(Method::POST, Url::parse(url.as_ref())?).with_body(body))
    }

    /// With that body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With these header fields instead of those there were.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// With that limit to the response head.
    #[must_use]
    pub fn with_first_byte(mut self, limit: Duration) -> Self {
        self.first_byte = Some(limit);
        self
    }

    /// Says whether the peer may get it twice.
    #[must_use]
    pub fn with_replayable(mut self, replayable: bool) -> Self {
        self.replayable = replayable;
        self
    }

    /// Whether a `Host` of the caller's names a user, who has no place in it (RFC 9110 §7.2), nor in an `:authority` (RFC 9113 §8.3.1).
    pub(crate) fn names_a_user(&self) -> bool {
        self.headers.get_all(header::HOST).iter().any(|host| host.as_bytes().contains(&b'@'))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .field("first_byte", &self.first_byte)
            .field("replayable", &self.replayable)
            .finish()
    }
}
