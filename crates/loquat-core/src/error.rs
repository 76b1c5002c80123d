//! One opaque error for the whole toolkit: what happened, who is at fault, whether a retry is safe.
//!
//! It is one pointer wide and cheap to clone, because an error travels inside [`crate::Ending`]. It never carries a
//! credential; message content stays out of `Display` and `Debug`, and the provider's raw body is handed out only on
//! request. Follows the shape of `std::io::Error` (kind and source), not of an enum with payloads: kinds can grow.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use crate::{History, RateLimits, Response, Secret};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Match it with a wildcard arm: kinds are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot be sent or was refused as malformed (HTTP 400, 422 and the like).
    InvalidRequest,
    /// No provider, model or address goes by that name here; the message says what exists.
    NotConfigured,
    /// The credential is missing, wrong or expired (HTTP 401).
    Authentication,
    /// The credential is valid and may not do this (HTTP 403).
    Permission,
    /// The model or path does not exist at the provider (HTTP 404).
    NotFound,
    /// Too many requests or tokens per time (HTTP 429); see [`Error::retry_hint`].
    RateLimited,
    /// The account's quota or credit is used up; waiting does not help.
    QuotaExceeded,
    /// The prompt is too long: for the model's context window, or for what the server takes at all (HTTP 413). Another
    /// endpoint may take it; the same one never will.
    ContextLength,
    /// The provider refused the content.
    ContentFiltered,
    /// The provider is over capacity (HTTP 503, 529).
    Overloaded,
    /// The provider failed otherwise (HTTP 5xx, an error event).
    Server,
    /// The peer answered with bytes that are not what the protocol allows.
    Protocol,
    /// A bound was exceeded: an event, body, header or answer larger than its named limit.
    TooLarge,
    /// The provider does not have what was asked for (a part, a parameter, an operation).
    Unsupported,
    /// The name did not resolve or no connection could be made.
    Connect,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// The proxy refused or failed.
    Proxy,
    /// The connection was lost after it had been made.
    Connection,
    /// A limit in time passed: connect, first byte, first token, idle, total, or the caller's deadline.
    Timeout,
    /// The caller cancelled, by token or by dropping.
    Cancelled,
    /// The answer stopped before its end; [`Error::partial`] holds what had arrived.
    Truncated,
    /// A local file, device or process did not do its part.
    Local,
    /// A bug of ours.
    Internal,
}

/// Whose fault an error is, so that a person knows where to look and an alert knows whom to wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The calling program or its configuration.
    Caller,
    /// The company or server that was asked.
    Provider,
    /// What lies between: names, routes, proxies, connections.
    Network,
    /// This machine or this toolkit.
    Local,
}

/// How far an attempt got: what a retry may assume of the other side (RFC 9110 §9.2.2 on idempotency).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Delivery {
    /// Not a byte of the request left: repeating is always safe.
    NotSent,
    /// Some or all of it may have arrived: repeating may run it twice. The careful default.
    #[default]
    MaybeSent,
    /// Response headers with status 2xx came back: the attempt counts as done.
    Committed,
}

/// What the peer said about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RetryHint {
    /// How long to wait: `retry-after-ms`, or `Retry-After` (RFC 9110 §10.2.3) resolved against now.
    pub after: Option<Duration>,
    /// `x-should-retry`, where a provider sends it: overrides the guess from the status.
    pub should_retry: Option<bool>,
}

impl RetryHint {
    /// A hint to wait that long.
    pub fn after(wait: Duration) -> Self {
        Self { after: Some(wait), should_retry: None }
    }
}

/// The numbers of [`ErrorKind::ContextLength`], as far as the provider gave them. Tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ContextLength {
    /// How many the model can hold.
    pub limit_tokens: Option<u64>,
    /// How many the request came to; prompt and answer together where the provider counts them so.
    pub request_tokens: Option<u64>,
}

impl ContextLength {
    /// These numbers.
    pub fn new(limit_tokens: Option<u64>, request_tokens: Option<u64>) -> Self {
        Self { limit_tokens, request_tokens }
    }

    /// Whether no number was given.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// What went wrong, in one pointer. See the [module's words](ErrorKind) for kinds.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    delivery: Delivery,
    history: Option<Box<History>>,
    retry: RetryHint,
    asked: Option<String>,
    status: Option<u16>,
    code: Option<String>,
    request_id: Option<String>,
    parameter: Option<String>,
    rate_limits: RateLimits,
    context_length: ContextLength,
    raw_body: Option<Arc<[u8]>>,
    partial: Option<Arc<Response>>,
}

/// Longest message kept, in bytes: a terminal's worth. A provider may send a page of HTML where a sentence belongs.
const MAX_MESSAGE_BYTES: usize = 2048;
/// Longest raw body kept for [`Error::raw_body`], in bytes.
const MAX_RAW_BODY_BYTES: usize = 16 * 1024;

impl Error {
    /// An error of that kind. `message` says what happened and what to do; it is cut at 2 KiB. What is not configured was
    /// never sent; of all else [`with_delivery`](Self::with_delivery) says how far it got, or it counts as maybe sent.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let message = match message.into() {
            Cow::Owned(mut text) if text.len() > MAX_MESSAGE_BYTES => {
                let end = text.floor_char_boundary(MAX_MESSAGE_BYTES);
                text.truncate(end);
                text.push('…');
                Cow::Owned(text)
            }
            message => message,
        };
        Self(Arc::new(Inner {
            kind,
            message,
            source: None,
            delivery: if kind == ErrorKind::NotConfigured { Delivery::NotSent } else { Delivery::default() },
            history: None,
            retry: RetryHint::default(),
            asked: None,
            status: None,
            code: None,
            request_id: None,
            parameter: None,
            rate_limits: RateLimits::default(),
            context_length: ContextLength::default(),
            raw_body: None,
            partial: None,
        }))
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The cause, shown by [`std::error::Error::source`] and not repeated by `Display`.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.change(|inner| inner.source = Some(Arc::from(source.into())))
    }

    /// How far the attempt got.
    #[must_use]
    pub fn with_delivery(self, delivery: Delivery) -> Self {
        self.change(|inner| inner.delivery = delivery)
    }

    /// The attempt's way up to here.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        self.change(|inner| inner.history = Some(Box::new(history)))
    }

    /// What the peer said about trying again.
    #[must_use]
    pub fn with_retry_hint(self, hint: RetryHint) -> Self {
        self.change(|inner| inner.retry = hint)
    }

    /// What the peer was asked: method and address, such as `POST https://api.openai.com/v1/chat/completions`. The address is shown, so it
    /// comes without a user's name, password and query.
    #[must_use]
    pub fn with_asked(self, asked: impl Into<String>) -> Self {
        self.change(|inner| inner.asked = Some(asked.into()))
    }

    /// The HTTP status that came with it.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        self.change(|inner| inner.status = Some(status))
    }

    /// The provider's own code or type (`insufficient_quota`, `overloaded_error`, …).
    #[must_use]
    pub fn with_code(self, code: impl Into<String>) -> Self {
        self.change(|inner| inner.code = Some(code.into()))
    }

    /// The provider's name for the request, which its support asks for.
    #[must_use]
    pub fn with_request_id(self, id: impl Into<String>) -> Self {
        self.change(|inner| inner.request_id = Some(id.into()))
    }

    /// The part of the request that the provider objects to (`messages[3].role`).
    #[must_use]
    pub fn with_parameter(self, parameter: impl Into<String>) -> Self {
        self.change(|inner| inner.parameter = Some(parameter.into()))
    }

    /// What the provider says of its limits.
    #[must_use]
    pub fn with_rate_limits(self, limits: RateLimits) -> Self {
        self.change(|inner| inner.rate_limits = limits)
    }

    /// The numbers of a prompt that is too long.
    #[must_use]
    pub fn with_context_length(self, numbers: ContextLength) -> Self {
        self.change(|inner| inner.context_length = numbers)
    }

    /// The body as it came, cut at 16 KiB. Neither `Display` nor `Debug` shows it.
    #[must_use]
    pub fn with_raw_body(self, body: &[u8]) -> Self {
        self.change(|inner| inner.raw_body = Some(Arc::from(&body[..body.len().min(MAX_RAW_BODY_BYTES)])))
    }

    /// What had arrived before things went wrong.
    #[must_use]
    pub fn with_partial(self, partial: Response) -> Self {
        self.change(|inner| inner.partial = Some(Arc::new(partial)))
    }

    /// Rewrites the message, for a layer that knows more.
    #[must_use]
    pub fn map_message(self, map: impl FnOnce(&str) -> String) -> Self {
        self.change(|inner| inner.message = Cow::Owned(map(&inner.message)))
    }

    /// Blots a credential out of everything this error shows. A peer may repeat what it was sent, so whoever sent a
    /// credential calls this on what came back. How short it may be, [`Secret::redact`] says. [`raw_body`](Self::raw_body) stays as it
    /// came.
    #[must_use]
    pub fn redact(self, secret: &Secret) -> Self {
        let inner = &*self.0;
        let shown = [&inner.asked, &inner.code, &inner.request_id, &inner.parameter].map(Option::as_deref);
        if ![Some(&*inner.message)].into_iter().chain(shown).flatten().any(|text| secret.is_in(text)) {
            return self;
        }
        self.change(|inner| {
            inner.message = Cow::Owned(secret.redact(&inner.message));
            let shown = [&mut inner.asked, &mut inner.code, &mut inner.request_id, &mut inner.parameter];
            for text in shown.into_iter().flatten() {
                *text = secret.redact(text);
            }
        })
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone, as `Display` shows it first.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        use ErrorKind as K;
        match self.0.kind {
            K::InvalidRequest
            | K::NotConfigured
            | K::Authentication
            | K::Permission
            | K::NotFound
            | K::QuotaExceeded
            | K::ContextLength
            | K::Unsupported
            | K::Cancelled => Fault::Caller,
            K::RateLimited
            | K::ContentFiltered
            | K::Overloaded
            | K::Server
            | K::Protocol
            | K::TooLarge
            | K::Truncated => Fault::Provider,
            K::Connect | K::Tls | K::Proxy | K::Connection | K::Timeout => Fault::Network,
            K::Local | K::Internal => Fault::Local,
        }
    }

    /// Whether the same request, sent again, may succeed *and* cannot run twice for it: nothing was sent, or the
    /// peer itself refused before doing any work (429, 503, 529). The scheduler asks more than this; a caller with a
    /// loop of their own should ask no less.
    pub fn is_retryable(&self) -> bool {
        use ErrorKind as K;
        if self.0.delivery == Delivery::Committed {
            return false;
        }
        if let Some(answer) = self.0.retry.should_retry {
            return answer;
        }
        match self.0.kind {
            K::RateLimited | K::Overloaded => true,
            K::Connect | K::Proxy | K::Connection | K::Timeout => self.0.delivery == Delivery::NotSent,
            _ => false,
        }
    }

    /// How far the attempt got.
    pub fn delivery(&self) -> Delivery {
        self.0.delivery
    }

    /// The way of the attempt that failed: where to, over what, how far, after how long. None for what did not fail on the
    /// way. The message says the same in words.
    pub fn history(&self) -> Option<&History> {
        self.0.history.as_deref()
    }

    /// What the peer said about trying again.
    pub fn retry_hint(&self) -> RetryHint {
        self.0.retry
    }

    /// What the peer was asked: method and address, where it answered with an error.
    pub fn asked(&self) -> Option<&str> {
        self.0.asked.as_deref()
    }

    /// The HTTP status, where there was one.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The provider's own code or type.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The provider's name for the request.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// The part of the request that the provider objects to, where it names one.
    pub fn parameter(&self) -> Option<&str> {
        self.0.parameter.as_deref()
    }

    /// What the provider says of its limits; empty where it says nothing.
    pub fn rate_limits(&self) -> &RateLimits {
        &self.0.rate_limits
    }

    /// How long the prompt may be and how long it was, where the kind is [`ErrorKind::ContextLength`] and the provider
    /// gave a number.
    pub fn context_length(&self) -> Option<ContextLength> {
        Some(self.0.context_length).filter(|numbers| !numbers.is_unknown())
    }

    /// The provider's body as it came, at most 16 KiB. It may repeat parts of the prompt: mind where it is logged.
    pub fn raw_body(&self) -> Option<&[u8]> {
        self.0.raw_body.as_deref()
    }

    /// What had arrived before things went wrong, where something had.
    pub fn partial(&self) -> Option<&Response> {
        self.0.partial.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut open = false;
        let mut note = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| {
            let lead = if std::mem::replace(&mut open, true) { ", " } else { " (" };
            write!(f, "{lead}{name} {value}")
        };
        if let Some(asked) = &self.0.asked {
            note(f, "asked", asked)?;
        }
        if let Some(status) = self.0.status {
            note(f, "HTTP status", &status)?;
        }
        if let Some(code) = &self.0.code {
            note(f, "code", code)?;
        }
        if let Some(id) = &self.0.request_id {
            note(f, "request", id)?;
        }
        if let Some(wait) = self.0.retry.after {
            note(f, "retry after", &format_args!("{:.1} s", wait.as_secs_f64()))?;
        }
        if open { f.write_str(")") } else { Ok(()) }
    }
}

/// Shows what there is and leaves out the rest: it is what a `main` that returns an error prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Error");
        shown.field("kind", &self.0.kind);
        shown.field("message", &self.0.message);
        shown.field("delivery", &self.0.delivery);
        if let Some(asked) = &self.0.asked {
            shown.field("asked", asked);
        }
        if let Some(status) = self.0.status {
            shown.field("status", &status);
        }
        if let Some(code) = &self.0.code {
            shown.field("code", code);
        }
        if let Some(id) = &self.0.request_id {
            shown.field("request_id", id);
        }
        if let Some(body) = &self.0.raw_body {
            shown.field("raw_body_bytes", &body.len());
        }
        if self.0.partial.is_some() {
            shown.field("has_partial", &true);
        }
        if let Some(source) = &self.0.source {
            shown.field("source", source);
        }
        shown.finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Equality of what a caller can act on (kind, message, status, code); causes and bodies do not take part.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.kind == other.0.kind
                && self.0.message == other.0.message
                && self.0.status == other.0.status
                && self.0.code == other.0.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn retry_is_safe_only_where_nothing_can_run_twice() {
        let lost = Error::new(ErrorKind::Connection, "lost");
        assert!(!lost.is_retryable(), "may have been sent");
        assert!(lost.clone().with_delivery(Delivery::NotSent).is_retryable());
        assert!(Error::new(ErrorKind::Overloaded, "busy").is_retryable());
        assert!(!Error::new(ErrorKind::Overloaded, "busy").with_delivery(Delivery::Committed).is_retryable());
        assert!(!Error::new(ErrorKind::Authentication, "no").with_delivery(Delivery::NotSent).is_retryable());
    }

    #[test]
    fn debug_shows_what_there_is_and_nothing_else() {
        // What `fn main() -> Result<(), Error>` prints of a first try without a key.
        let error = Error::new(ErrorKind::NotConfigured, "openai needs a key");
        assert_eq!(
            format!("{error:?}"),
            r#"Error { kind: NotConfigured, message: "openai needs a key", delivery: NotSent }"#
        );
        let error = Error::new(ErrorKind::Server, "no").with_status(500).with_code("c").with_request_id("r");
        let error = error.with_raw_body(b"four").with_partial(Response::default()).with_source("inner");
        assert_eq!(
            format!("{error:?}"),
            r#"Error { kind: Server, message: "no", delivery: MaybeSent, status: 500, code: "c", request_id: "r", "#
                .to_owned()
                + r#"raw_body_bytes: 4, has_partial: true, source: "inner" }"#
        );
    }

    #[test]
    fn display_never_repeats_the_cause_and_debug_hides_the_body() {
        let error = Error::new(ErrorKind::Server, "the provider failed")
            .with_status(500)
            .with_request_id("req_1")
            .with_raw_body(b"a private prompt")
            .with_source(std::io::Error::other("inner"));
        assert_eq!(error.to_string(), "the provider failed (HTTP status 500, request req_1)");
        assert!(!format!("{error:?}").contains("private"));
        assert_eq!(std::error::Error::source(&error).map(ToString::to_string).as_deref(), Some("inner"));
    }

    #[test]
    fn a_credential_that_a_peer_repeats_is_blotted_out() {
        let error = Error::new(ErrorKind::Authentication, "bad key sk-planted")
            .with_code("sk-planted")
            .with_request_id("req-sk-planted")
            .redact(&Secret::new("sk-planted"));
        assert!(!format!("{error} {error:?}").contains("planted"), "{error:?}");
        let same = error.clone().redact(&Secret::new(""));
        assert_eq!(same, error, "no credential, no change");
        // What is left of one at the end of a long message is no longer the whole of it.
        let key = "sk-0123456789abcdef-é-planted";
        for kept in 0..key.len() {
            let before = "x".repeat(MAX_MESSAGE_BYTES - kept);
            let error = Error::new(ErrorKind::Server, format!("{before}{key} and more"));
            let message = error.redact(&Secret::new(key)).message().to_owned();
            assert!(!message.contains("sk-01234"), "{kept}: {}", &message[before.len()..]);
        }
    }

    #[test]
    fn a_page_of_html_is_cut() {
        let error = Error::new(ErrorKind::Server, "é".repeat(100_000));
        assert!(error.message().len() <= MAX_MESSAGE_BYTES + '…'.len_utf8());
    }
}
