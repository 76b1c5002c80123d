//! What is known of one operation when it is over: plain data, from which spans are made if it is kept.
//!
//! While an operation runs, a few instants and numbers are noted down; attributes, names and ids as text are made by
//! whoever exports it, on a thread of its own. So an operation that nobody keeps has paid for none of that.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use loquat_core::{ErrorKind, TraceContext, Usage};

use crate::names;

/// Where an operation or an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The provider's short name, such as `openai`.
    pub provider: Arc<str>,
    /// The model's name there.
    pub model: Arc<str>,
    /// Host and port, where there is a server.
    pub server: Option<(Arc<str>, u16)>,
}

impl Place {
    /// A model of a provider.
    pub fn new(provider: impl Into<Arc<str>>, model: impl Into<Arc<str>>) -> Self {
        Self { provider: provider.into(), model: model.into(), server: None }
    }

    /// At that address: scheme, host, port and path. One that cannot be read is left out.
    #[must_use]
    pub fn with_base_url(mut self, url: &str) -> Self {
        self.server = server(url);
        self
    }
}

fn server(url: &str) -> Option<(Arc<str>, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let default = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, default),
    };
    (!host.is_empty()).then(|| (host.into(), port))
}

/// How an operation or an attempt came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It finished.
    Finished,
    /// It failed of that, with that HTTP status where there was one. A truncated answer is a failure.
    Failed(ErrorKind, Option<u16>),
}

impl Outcome {
    /// The `error.type`; `None` for what finished.
    pub fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Finished => None,
            Self::Failed(kind, _) => Some(names::error_type(kind)),
        }
    }
}

/// One try.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AttemptTrace {
    /// Its span's id.
    pub span_id: [u8; 8],
    /// Where it went.
    pub place: Arc<Place>,
    /// When it began, from the operation's beginning.
    pub started: Duration,
    /// When it ended, likewise.
    pub ended: Duration,
    /// The head of its response.
    pub head: Option<HeadTrace>,
    /// How it came out.
    pub outcome: Outcome,
}

/// A response's head.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HeadTrace {
    /// When it was in, from the operation's beginning.
    pub at: Duration,
    /// The HTTP status.
    pub status: u16,
    /// What was spoken.
    pub protocol: &'static str,
    /// Whether the connection had carried a request before.
    pub reused: bool,
}

/// Something that happened on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The first content came.
    FirstChunk,
    /// A queue let an attempt in, after so long.
    Admitted(Duration),
    /// A circuit breaker kept an attempt back.
    CircuitOpen(Duration),
    /// A retry was decided: its number, the wait, what the attempt before failed of.
    Retry(u32, Duration, ErrorKind),
    /// A second attempt began beside a slow one.
    Hedge,
    /// A router chose an endpoint, and why.
    Route(Box<str>, Box<str>),
}

impl Note {
    /// A few words for a person.
    pub fn words(&self) -> String {
        let seconds = |wait: &Duration| wait.as_secs_f64();
        match self {
            Self::FirstChunk => "first token".into(),
            Self::Admitted(waited) => format!("let in after {:.3} s", seconds(waited)),
            Self::CircuitOpen(wait) => format!("circuit open for {:.1} s", seconds(wait)),
            Self::Retry(retry, wait, kind) => {
                format!("retry {retry} in {:.2} s after {}", seconds(wait), names::error_type(*kind))
            }
            Self::Hedge => "second attempt".into(),
            Self::Route(endpoint, reason) => format!("route {endpoint} ({reason})"),
        }
    }
}

/// What was asked, as far as it is numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Asked {
    /// Most tokens of the answer.
    pub max_output_tokens: Option<u32>,
    /// See [`ChatRequest::temperature`](loquat_core::ChatRequest::temperature).
    pub temperature: Option<f32>,
    /// See [`ChatRequest::top_p`](loquat_core::ChatRequest::top_p).
    pub top_p: Option<f32>,
    /// See [`ChatRequest::seed`](loquat_core::ChatRequest::seed).
    pub seed: Option<u64>,
    /// See [`ChatRequest::choices`](loquat_core::ChatRequest::choices).
    pub choices: Option<u32>,
    /// Whether the answer was to come in pieces.
    pub stream: bool,
}

/// One operation, from the first attempt to the last token.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallTrace {
    /// Its trace, and its own span's id.
    pub trace: TraceContext,
    /// The span it is part of.
    pub parent: Option<[u8; 8]>,
    /// What was asked.
    pub place: Arc<Place>,
    /// The numbers of the request.
    pub asked: Asked,
    /// When it began.
    pub started: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// When the first content came, from the beginning.
    pub first_chunk: Option<Duration>,
    /// How many arrivals of content there were.
    pub chunks: u32,
    /// The provider's name for the answer, and the model that answered; empty where it did not say.
    pub response: (Box<str>, Box<str>),
    /// Why the model stopped.
    pub finish_reason: Option<Box<str>>,
    /// What was counted.
    pub usage: Usage,
    /// The tries, in the order they began.
    pub attempts: Vec<AttemptTrace>,
    /// What happened between, by the time from the beginning.
    pub notes: Vec<(Duration, Note)>,
    /// How it came out.
    pub outcome: Outcome,
    /// What was said, where that is captured.
    #[cfg(feature = "capture")]
    pub content: Option<Arc<crate::Content>>,
}

/// Who is handed operations that are kept. It is called where the operation ends, inside a caller's poll: it neither
/// waits nor works, but puts it somewhere for another thread.
pub trait Keep: Send + Sync {
    /// This one.
    fn keep(&self, call: &Arc<CallTrace>);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_what_is_secret() {
        let at = |url| server(url).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(at("https://api.example/v1").as_deref(), Some("api.example 443"));
        assert_eq!(at("http://user:key@[::1]:8080/v1?key=x").as_deref(), Some("[::1] 8080"));
        assert_eq!(at("http://[::1]/").as_deref(), Some("[::1] 80"));
        assert_eq!(at("nonsense"), None);
        assert_eq!(at("http://h:99999/"), None);
    }
}
