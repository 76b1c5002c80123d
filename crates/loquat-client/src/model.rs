//! [`HttpModel`]: where a wire format meets a connection, and where it is decided where a credential may go.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delivery, EmbedRequest, Embeddings, Endpoint, Error, ErrorKind,
    Event, Meta, Model, ModelInfo, Moderation, RateLimits, Result,
};
use loquat_provider::{
    DecodeLimits, DecoderMemory, Format, Head, Outgoing,
    operations::{self, Call},
};
use loquat_transport::{Origin, Request, Response, Transport};
use tokio::time::Instant;

use crate::{
    GenerationLimits,
    address::{base_of, no_base, shown, with_query},
    blot::Blot,
    source::{BodySource, Watch, asks_to_think},
};

/// Most bytes read of an error's body: a message, not a download.
const MAX_ERROR_BODY_BYTES: usize = 64 * 1024;
/// Most bytes read of a model listing: OpenRouter's, the longest, is under 1 MiB.
const MAX_LISTING_BYTES: usize = 16 * 1024 * 1024;

/// Most bytes read of a response that does not stream: two thousand embeddings of three thousand numbers.
const MAX_EXCHANGE_BYTES: usize = 128 * 1024 * 1024;

/// A model at an endpoint, asked once per call. Cheap to clone.
///
/// The endpoint's credential goes to the endpoint's own origin and nowhere else: redirects are not followed, and a
/// credential is refused over plain HTTP unless the peer is this machine or the endpoint allows it
/// ([`Endpoint::plain_credential`]).
#[derive(Clone)]
pub struct HttpModel(Arc<Inner>);

struct Inner {
    transport: Transport,
    format: &'static dyn Format,
    endpoint: Endpoint,
    /// With exactly one slash at its end.
    base_url: String,
    origin: Origin,
    limits: GenerationLimits,
    decode_limits: DecodeLimits,
    /// The field that tells the peer how long the caller will wait, in milliseconds.
    deadline_header: Option<HeaderName>,
    /// What each request has besides.
    headers: HeaderMap,
    /// What each request's query has besides.
    query: Vec<(String, String)>,
    /// What is blotted out of what the peer says.
    blot: Blot,
    /// What answers leave for those after them; made for the first.
    memory: OnceLock<DecoderMemory>,
}

impl HttpModel {
    /// A model at that endpoint, dialled where the endpoint allows it ([`Transport::within`]).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for a base URL that is none ([`no_base`]), or is that of one of the format's calls
    /// (`…/chat/completions`), [`ErrorKind::NotConfigured`] for a credential that would travel over plain HTTP to another machine, which
    /// the endpoint does not allow.
    pub fn new(transport: Transport, format: &'static dyn Format, endpoint: Endpoint) -> Result<Self> {
        if let Some(what) = no_base(&endpoint.base_url) {
            return Err(Error::new(ErrorKind::InvalidRequest, format!("the base URL: {what}")));
        }
        if let Some(base) = base_of(&endpoint.base_url, format) {
            let base = shown(base, "");
            let what = format!("the base URL is that of one call: without the call's own path it is {base}");
            return Err(Error::new(ErrorKind::InvalidRequest, what));
        }
        let base_url = format!("{}/", endpoint.base_url.trim_end_matches('/'));
        let origin = Request::get(&base_url)?.url.origin().clone();
        if endpoint.credential.is_some() {
            not_in_the_open(&origin, &endpoint, "a credential")?;
        }
        let transport = match &endpoint.addresses {
            Some(addresses) => transport.within(addresses),
            None => transport,
        };
        Ok(Self(Arc::new(Inner {
            blot: Blot::new(endpoint.credential.as_ref()),
            transport,
            format,
            endpoint,
            base_url,
            origin,
            limits: GenerationLimits::default(),
            decode_limits: DecodeLimits::default(),
            deadline_header: None,
            headers: HeaderMap::new(),
            query: Vec::new(),
            memory: OnceLock::new(),
        })))
    }

    /// With these limits in time.
    #[must_use]
    pub fn with_limits(self, limits: GenerationLimits) -> Self {
        self.change(|inner| inner.limits = limits)
    }

    /// With these limits in size.
    #[must_use]
    pub fn with_decode_limits(self, limits: DecodeLimits) -> Self {
        self.change(|inner| inner.decode_limits = limits)
    }

    /// Tells the peer by that header field how many milliseconds the caller will still wait, where the context has a
    /// deadline: for peers that understand one, such as Envoy (`x-envoy-upstream-rq-timeout-ms`) or a server of one's
    /// own. Default: none, since no provider documents such a field.
    #[must_use]
    pub fn with_deadline_header(self, name: HeaderName) -> Self {
        self.change(|inner| inner.deadline_header = Some(name))
    }

    /// With that header field in each request: for a gateway that asks for one. It takes the place of ours of the same name, and a
    /// request's own takes its; a value that is marked as sensitive is shown nowhere, blotted out of errors where the peer repeats it
    /// ([`Secret::redact`](loquat_core::Secret::redact)), and kept from plain HTTP as a credential is.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] for a sensitive value that would travel over plain HTTP to another machine, which the endpoint does
    /// not allow ([`Endpoint::plain_credential`]).
    pub fn with_header(self, name: HeaderName, value: HeaderValue) -> Result<Self> {
        if value.is_sensitive() {
            not_in_the_open(&self.0.origin, &self.0.endpoint, &format!("the secret header {name}"))?;
        }
        Ok(self.change(|inner| {
            inner.headers.insert(name, value);
            inner.blot.set_values(inner.headers.values());
        }))
    }

    /// With that member in each request's query, in place of the format's own of that name: which version of an API is
    /// asked (`api-version` at Azure). No secret: addresses are shown and logged on the way.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for a name or a value with other characters than letters, digits and `-._~`, which
    /// need no escape (RFC 3986 §2.3).
    pub fn with_query(self, name: &str, value: &str) -> Result<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if name.is_empty() || !name.bytes().chain(value.bytes()).all(is_plain) {
            let what =
                format!("the query {name:?}: its name or value has characters that have no place there");
            return Err(Error::new(ErrorKind::InvalidRequest, what));
        }
        Ok(self.change(|inner| {
            inner.query.retain(|(known, _)| known != name);
            inner.query.push((name.to_owned(), value.to_owned()));
        }))
    }

    /// Learns what the endpoint's events look like in that memory. Default: one of its own, which its clones share: for who makes a new
    /// one for each request to the same endpoint.
    #[must_use]
    pub fn with_decoder_memory(self, memory: DecoderMemory) -> Self {
        self.change(|inner| inner.memory = OnceLock::from(memory))
    }

    fn change(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            transport: shared.transport.clone(),
            format: shared.format,
            endpoint: shared.endpoint.clone(),
            base_url: shared.base_url.clone(),
            origin: shared.origin.clone(),
            limits: shared.limits,
            decode_limits: shared.decode_limits,
            deadline_header: shared.deadline_header.clone(),
            headers: shared.headers.clone(),
            query: shared.query.clone(),
            blot: shared.blot.clone(),
            memory: shared.memory.clone(),
        });
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// The endpoint it asks.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// The models that the endpoint lists, in its order. Bounded by the context's deadline or, where it has none, by
    /// [`GenerationLimits::listing`].
    ///
    /// # Errors
    /// As [`Model::infer`].
    pub async fn list_models(&self, context: &Context) -> Result<Vec<ModelInfo>> {
        let inner = &*self.0;
        let limit = inner.patience(context);
        let context = context.clone().with_timeout(limit);
        let mut request = Request::get(inner.address(inner.format.models_path()))?;
        inner.authenticate(&mut request)?;
        inner.add_context(&mut request.headers, &context)?;
        inner.add_headers(&mut request.headers, &[])?;
        request.first_byte = Some(limit);
        let response =
            inner.transport.send(&context, request).await.map_err(|error| inner.blot.error(error))?;
        if !response.status.is_success() {
            return Err(inner.refusal("GET", inner.format.models_path(), response).await);
        }
        let status = response.status.as_u16();
        let remaining = context.remaining().unwrap_or(limit);
        let body = tokio::time::timeout(remaining, response.body.collect(MAX_LISTING_BYTES))
            .await
            .unwrap_or_else(|_| {
                let limit = limit.as_secs_f64();
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!("the listing was not complete within its limit of {limit:.1} s"),
                ))
            })?;
        inner.format.decode_models(&body).map_err(|error| error.with_status(status).with_raw_body(&body))
    }

    /// A vector for each text. Bounded by [`GenerationLimits::total`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the format has no embeddings; else as [`Model::infer`].
    pub async fn embed(&self, context: &Context, request: &EmbedRequest) -> Result<Embeddings> {
        let format = self.0.format;
        let encoded = operations::encode_embed(format, request, self.model_name(&request.model))?;
        let (body, rate_limits) = self.0.exchange(context, encoded).await?;
        let mut embeddings = operations::decode_embed(format, request.inputs.len(), &body)?;
        embeddings.rate_limits = rate_limits;
        Ok(embeddings)
    }

    /// How many tokens that request would be, by the provider's own count; nothing is generated. Bounded by the context's
    /// deadline or, where it has none, by [`GenerationLimits::listing`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the format has no such count; else as [`Model::infer`].
    pub async fn count_tokens(&self, context: &Context, request: &ChatRequest) -> Result<u64> {
        let encoded = operations::encode_count(self.0.format, request, self.model_name(&request.model))?;
        let (body, _) = self.0.exchange_within(self.0.patience(context), context, encoded).await?;
        operations::decode_count(self.0.format, &body)
    }

    /// What the provider's rules say of each text. Bounded by [`GenerationLimits::total`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the format has no moderation; else as [`Model::infer`].
    pub async fn moderate(&self, context: &Context, inputs: &[String]) -> Result<Vec<Moderation>> {
        let encoded = operations::encode_moderation(self.0.format, inputs, &self.0.endpoint.model)?;
        let (body, _) = self.0.exchange(context, encoded).await?;
        operations::decode_moderation(inputs.len(), &body)
    }

    /// A call that [`operations`] encodes, and the body of its response: for those that have no method here. Bounded by
    /// [`GenerationLimits::total`] and 128 MiB.
    ///
    /// # Errors
    /// As [`Model::infer`].
    pub async fn call(&self, context: &Context, call: Call) -> Result<Bytes> {
        Ok(self.0.exchange(context, call).await?.0)
    }

    pub(crate) fn format(&self) -> &'static dyn Format {
        self.0.format
    }

    fn model_name<'a>(&'a self, asked: &'a str) -> &'a str {
        if asked.is_empty() { &self.0.endpoint.model } else { asked }
    }

    async fn ask(&self, context: &Context, request: &ChatRequest) -> Result<Answer> {
        context.check()?;
        let inner = &*self.0;
        let model = if request.model.is_empty() { &inner.endpoint.model } else { &request.model };
        let unsent = |error: Error| error.with_delivery(Delivery::NotSent);
        let encoded = inner.format.encode(request, model).map_err(unsent)?;

        let path = encoded.path;
        let mut outgoing = Request::post(inner.address(&path), Bytes::from(encoded.body))?;
        outgoing.headers = encoded.headers;
        inner.authenticate(&mut outgoing)?;
        inner.add_context(&mut outgoing.headers, context)?;
        inner.add_headers(&mut outgoing.headers, &request.extra_headers.0)?;
        let mut blot = inner.blot.clone();
        if !request.extra_headers.0.is_empty() {
            blot.set_values(outgoing.headers.values());
        }
        // A server that answers whole sends its head when it has done everything.
        outgoing.first_byte = Some(match (request.stream, asks_to_think(request)) {
            (false, _) => inner.limits.total,
            (true, false) => inner.limits.first_token,
            // And some send it with the first token.
            (true, true) => inner.limits.first_token.max(inner.limits.thinking),
        });

        let started = Instant::now();
        let response = inner.transport.send(context, outgoing).await.map_err(|error| blot.error(error))?;
        if context.probe().is_some() {
            context.report(&Event::Head {
                status: response.status.as_u16(),
                protocol: response.connection.protocol.name(),
                reused: response.connection.reused,
                elapsed: started.elapsed(),
            });
        }
        if !response.status.is_success() {
            return Err(blot.error(inner.refusal("POST", &path, response).await));
        }
        let head = Head { status: response.status.as_u16(), headers: &response.headers };
        let mut meta = Meta::default();
        meta.request_id = head.request_id().map(str::to_owned);
        meta.rate_limits = head.rate_limits();
        let limits = inner.decode_limits;
        let limits = limits.with_events_kept(limits.keeps_events || request.raw);
        let memory = inner.memory.get_or_init(DecoderMemory::new);
        let decoder = inner.format.decoder_in(&head, limits, Some(memory));
        let watch = Watch::new(inner.limits, started, context.deadline(), request);
        let source = BodySource::new(response.body, decoder, watch, blot);
        Ok(Answer::new(source).with_meta(meta))
    }
}

impl Inner {
    /// How long a listing or a count may take. Whoever asks for one waits for it before anything else can begin; how long is theirs
    /// to say.
    /// Where that path is asked.
    fn address(&self, path: &str) -> String {
        format!("{}{}", self.base_url, with_query(path, &self.query))
    }

    fn patience(&self, context: &Context) -> Duration {
        context.remaining().unwrap_or(self.limits.listing)
    }

    /// One request and its whole response, for what does not stream.
    async fn exchange(&self, context: &Context, call: impl Into<Call>) -> Result<(Bytes, RateLimits)> {
        self.exchange_within(self.limits.total, context, call).await
    }

    async fn exchange_within(
        &self,
        limit: Duration,
        context: &Context,
        call: impl Into<Call>,
    ) -> Result<(Bytes, RateLimits)> {
        let call = call.into();
        let context = context.clone().with_timeout(limit);
        let (method, path) = (call.method, call.path);
        let mut request = Request::post(self.address(&path), call.body)?;
        request.replayable = method.is_idempotent();
        request.method = method.clone();
        request.headers = call.headers;
        self.authenticate(&mut request)?;
        self.add_context(&mut request.headers, &context)?;
        self.add_headers(&mut request.headers, &[])?;
        request.first_byte = Some(limit);
        let response =
            self.transport.send(&context, request).await.map_err(|error| self.blot.error(error))?;
        if !response.status.is_success() {
            return Err(self.refusal(method.as_str(), &path, response).await);
        }
        let head = Head { status: response.status.as_u16(), headers: &response.headers };
        let rate_limits = head.rate_limits();
        let remaining = context.remaining().unwrap_or(limit);
        let body = tokio::time::timeout(remaining, response.body.collect(MAX_EXCHANGE_BYTES));
        let late = |_| Err(Error::new(ErrorKind::Timeout, "the response was not complete within its time"));
        Ok((body.await.unwrap_or_else(late)?, rate_limits))
    }

    fn authenticate(&self, request: &mut Request) -> Result<()> {
        let Some(secret) = &self.endpoint.credential else { return Ok(()) };
        let Request { method, url, headers, body, .. } = request;
        let outgoing = Outgoing::new(method, url.origin().host_field(), url.path(), body)
            .with_query(url.query().unwrap_or_default());
        self.format.sign(&outgoing, secret, SystemTime::now(), headers)
    }

    /// What the peer is told of the operation: its trace (W3C Trace Context) where it joined one, its idempotency key
    /// where it has one, its time where the peer understands that.
    fn add_context(&self, headers: &mut HeaderMap, context: &Context) -> Result<()> {
        const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
        const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
        const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
        if let Some(trace) = context.traceparent().and_then(|trace| HeaderValue::try_from(trace).ok()) {
            headers.insert(TRACEPARENT, trace);
            // Of no use without the other (§3.3 there).
            if let Some(Ok(state)) = context.tracestate().map(|state| HeaderValue::try_from(state.as_str())) {
                headers.insert(TRACESTATE, state);
            }
        }
        if let Some(key) = context.idempotency_key() {
            let key = HeaderValue::try_from(key).map_err(|_| {
                Error::new(ErrorKind::InvalidRequest, "the idempotency key has forbidden characters")
            })?;
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        if let (Some(name), Some(left)) = (&self.deadline_header, context.remaining()) {
            headers.insert(name, u64::try_from(left.as_millis()).unwrap_or(u64::MAX).into());
        }
        Ok(())
    }

    /// Our name, this model's headers in the place of ours, and the caller's in the place of all of these.
    fn add_headers(&self, headers: &mut HeaderMap, extra: &[(String, String)]) -> Result<()> {
        const OURS: HeaderValue = HeaderValue::from_static(concat!("loquat/", env!("CARGO_PKG_VERSION")));
        headers.insert(header::USER_AGENT, OURS);
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        for (name, value) in extra {
            let refused =
                |what| Error::new(ErrorKind::InvalidRequest, format!("extra header {name:?}: {what}"));
            let parsed = HeaderName::try_from(name).map_err(|_| refused("not a header name"))?;
            if carries_a_credential(&parsed) {
                not_in_the_open(&self.origin, &self.endpoint, &format!("the request's header {parsed}"))?;
            }
            let mut value =
                HeaderValue::try_from(value).map_err(|_| refused("its value has forbidden characters"))?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        Ok(())
    }

    /// The error of an answer that is not 2xx. A body that cannot be read costs the message, not the status.
    async fn refusal(&self, method: &str, path: &str, response: Response) -> Error {
        let Response { status, headers, mut body, .. } = response;
        let received = SystemTime::now();
        let mut read = Vec::new();
        let reading = async {
            while let Some(Ok(chunk)) = body.chunk().await {
                let room = MAX_ERROR_BODY_BYTES - read.len();
                read.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if read.len() == MAX_ERROR_BODY_BYTES {
                    break;
                }
            }
        };
        // Ample for a message; whoever is slower than that gets an error without one.
        let _ = tokio::time::timeout(self.limits.after_finish, reading).await;
        let head = Head { status: status.as_u16(), headers: &headers };
        let error = with_date(self.format.error(&head, &read), &head, received);
        self.blot.error(error.with_asked(format!("{method} {}", shown(&self.base_url, path))))
    }
}

/// Whether it does by its name: what else a caller's header may be, nobody knows.
fn carries_a_credential(name: &HeaderName) -> bool {
    let name = name.as_str();
    ["authorization", "cookie", "proxy-authorization"].contains(&name)
        || ["api-key", "apikey", "auth-token", "secret"].iter().any(|word| name.contains(word))
}

/// Nothing that is secret goes over plain HTTP to another machine unless the endpoint allows it.
fn not_in_the_open(origin: &Origin, endpoint: &Endpoint, what: &str) -> Result<()> {
    if origin.is_secure() || origin.is_loopback() || endpoint.plain_credential {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotConfigured,
        format!(
            "refusing to send {what} over plain HTTP to {origin}, where others may read it: use https://, or none for this address; \
             for a network of your own, `Endpoint::with_plain_credential(true)`, for a provider's address \
             `ClientBuilder::provider_plain_key`, for the one server of a client `ClientBuilder::base_url_plain_key`, in a file of \
             routes `plain_key = true`, for the program loquat `--plain-key`"
        ),
    ))
}

/// The error with the time that its head names as a date, where the response has no `Date` for the format to count from: counted from
/// its receipt. A date that has passed says nothing then, since whose clock is wrong cannot be told.
fn with_date(error: Error, head: &Head<'_>, received: SystemTime) -> Error {
    let mut hint = error.retry_hint();
    if hint.after.is_none() {
        hint.after = head.retry_hint(received).after.filter(|wait| !wait.is_zero());
    }
    error.with_retry_hint(hint)
}

impl Model for HttpModel {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move { self.ask(context, &request).await })
    }
}

impl fmt::Debug for HttpModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpModel")
            .field("format", &self.0.format.name())
            .field("endpoint", &self.0.endpoint)
            .finish_non_exhaustive()
    }
}
