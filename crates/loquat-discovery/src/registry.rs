//! A registry over HTTP: one address that answers a GET with the endpoints there are, as JSON.
//!
//! Followed as a whole ([`Registry::follow`]) or asked for what serves one model ([`Registry::lookup`]), which is cached. With
//! `ETag` and `If-None-Match` (RFC 9110 §13.1.2) a registry that has no news says so in an empty answer.

use std::{fmt, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use loquat_core::{BoxFuture, Context, Error, ErrorKind, Listing, Result, Secret};
use loquat_transport::{HeaderName, HeaderValue, Method, Request, StatusCode, Transport, Url};

use crate::{
    CacheLimits, Policy, Polled,
    cache::Cache,
    entries::parse_entries,
    fetch::{Fetcher, Token, authorize, unexpected},
    policy::{MAX_MODEL_BYTES, believed},
    poll::Ask,
};

/// A registry. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct Registry {
    fetcher: Fetcher,
    url: Url,
    /// As it was given, for questions.
    address: String,
    token: Token,
    limits: CacheLimits,
    cache: Cache<Known>,
}

/// An answer, and the tag to ask by whether it still holds.
#[derive(Clone)]
struct Known {
    listing: Arc<Listing>,
    tag: Option<HeaderValue>,
}

impl Known {
    fn is_nothing(&self) -> bool {
        self.listing.endpoints.is_empty()
    }
}

impl Registry {
    /// The registry at that address. Nothing is asked yet.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(transport: Transport, address: impl Into<String>, policy: Policy) -> Result<Self> {
        let address = address.into();
        let limits = CacheLimits::default();
        Ok(Self {
            fetcher: Fetcher::new(transport, policy),
            url: Url::parse(&address)?,
            address,
            token: Token::None,
            limits,
            cache: Cache::new(limits, Known::is_nothing),
        })
    }

    /// Authenticates with that token, over `https` or on the loopback alone.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Token::Bearer(token.into());
        self
    }

    /// Keeps answers like that; what is followed is asked again after the same time to live.
    #[must_use]
    pub fn with_cache(mut self, limits: CacheLimits) -> Self {
        self.limits = limits;
        self.cache = Cache::new(limits, Known::is_nothing);
        self
    }

    /// Most time for one answer. Default 5 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.fetcher.timeout = timeout;
        self
    }

    /// All endpoints of the registry, followed.
    pub fn follow(&self) -> Polled {
        let accept_empty = self.fetcher.policy.accept_empty;
        Polled::new(Following { registry: self.clone(), known: None }, self.limits.time_to_live, accept_empty)
    }

    /// The endpoints that serve a model, from the cache where it knows them: asked as `?model=…`, and whatever else the
    /// registry answers with is left out. A question belongs to nobody: who gives up, or has no more time, goes without, and the
    /// answer, waited for as long as [`with_timeout`](Self::with_timeout) says, is kept for the next one.
    ///
    /// A registry that lists nothing at all where it listed this model before is not believed, and the old answer stands for
    /// [`CacheLimits::max_stale`], unless [`Policy::accept_empty`] is set; one that lists other models alone is believed: this one
    /// is gone. A registry that minds `?model=` says of a model that is gone that there is nothing: with such a one set
    /// `accept_empty`, or a model that was removed is served for as long.
    ///
    /// # Errors
    /// The registry cannot be asked, and there is no answer that may still be served; the context's end; no model has a name of
    /// more than 256 bytes.
    ///
    /// # Cancel safety
    /// Dropping this ends the wait and not the question.
    pub async fn lookup(&self, context: &Context, model: &str) -> Result<Arc<Listing>> {
        if model.len() > MAX_MODEL_BYTES {
            return Err(Error::new(ErrorKind::InvalidRequest, "no model has so long a name"));
        }
        let joint = if self.url.query().is_some() { '&' } else { '?' };
        let address = format!("{}{joint}model={}", self.address, percent(model));
        let url = Url::parse(&address)?;
        let ask = |known: Option<Known>| {
            let (registry, model) = (self.clone(), model.to_owned());
            async move {
                // What is fetched for all is not cut short by the deadline of the one who happened to ask.
                let mut found = registry.ask(&Context::new(), url, known.as_ref()).await?;
                // Judged whole: a registry that lists other models alone is well, and this model is gone from it.
                let was_full = known.is_some_and(|known| !known.is_nothing());
                believed(was_full, &found.listing, registry.fetcher.policy.accept_empty)?;
                if found.listing.endpoints.iter().any(|found| found.endpoint.model != model) {
                    Arc::make_mut(&mut found.listing).endpoints.retain(|found| found.endpoint.model == model);
                }
                Ok(found)
            }
        };
        within(context, self.cache.get(model, ask)).await.map(|known| known.listing)
    }

    async fn ask(&self, context: &Context, url: Url, known: Option<&Known>) -> Result<Known> {
        let mut request = Request::new(Method::GET, url);
        authorize(&mut request, &self.token).await?;
        request
            .headers
            .insert(HeaderName::from_static("accept"), HeaderValue::from_static("application/json"));
        if let Some(tag) = known.and_then(|known| known.tag.clone()) {
            request.headers.insert(HeaderName::from_static("if-none-match"), tag);
        }
        let fetched = self.fetcher.fetch(context, request).await?;
        match (fetched.status, known) {
            (StatusCode::NOT_MODIFIED, Some(known)) if known.tag.is_some() => Ok(known.clone()),
            (StatusCode::OK, _) => Ok(Known {
                listing: Arc::new(parse_entries(&fetched.body, &self.fetcher.policy)?),
                tag: fetched.headers.get("etag").filter(|tag| tag.len() <= 1024).cloned(),
            }),
            (status, _) => Err(unexpected(status)),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("origin", self.url.origin())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What comes of it, unless the context ends before.
async fn within<T>(context: &Context, asked: impl Future<Output = Result<T>>) -> Result<T> {
    let (mut asked, mut cancelled) = (pin!(asked), pin!(context.cancellation().cancelled()));
    let either = poll_fn(|cx| match asked.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(answer),
        Poll::Pending => cancelled
            .as_mut()
            .poll(cx)
            .map(|()| Err(Error::new(ErrorKind::Cancelled, "the caller cancelled the wait for endpoints"))),
    });
    match context.remaining() {
        Some(left) => tokio::time::timeout(left, either).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, "the registry did not answer before the deadline"))
        }),
        None => either.await,
    }
}

struct Following {
    registry: Registry,
    known: Option<Known>,
}

impl Ask for Following {
    fn ask<'a>(&'a mut self, context: &'a Context) -> BoxFuture<'a, Result<Option<Listing>>> {
        Box::pin(async move {
            let known = self.registry.ask(context, self.registry.url.clone(), self.known.as_ref()).await?;
            let listing = Listing::clone(&known.listing);
            self.known = Some(known);
            Ok(Some(listing))
        })
    }
}

/// A value as a query holds it (RFC 3986 §2.3: all but unreserved characters encoded).
pub(crate) fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
