//! When one endpoint's failure is another's turn.
//!
//! Before the caller has been given anything the next endpoint may answer in its place, and the caller never notices. The
//! first may have run the request all the same: a fallback costs at most one answer more, and delivers one. After the first
//! delivered token there are three truthful ways on: [`AfterDelivery`].

use loquat_core::{Error, ErrorKind};

/// Kinds of failures that a route tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// Too much asked: 429, 503, 529, an open breaker, a full queue.
    Overload,
    /// A limit in time passed.
    Timeout,
    /// No connection, or a lost one.
    Connection,
    /// The endpoint failed, or answered nonsense, or stopped before its first token.
    Server,
    /// The credential, the account or the model's name is refused there.
    Refused,
    /// It cannot do what was asked.
    Unsupported,
    /// The prompt is too long for it.
    ContextLength,
    /// It declined the content. Another may not: allowing this asks for a second opinion on purpose.
    ContentFilter,
}

impl Class {
    /// All, in the order in which they are listed.
    pub const ALL: [Self; 8] = [
        Self::Overload,
        Self::Timeout,
        Self::Connection,
        Self::Server,
        Self::Refused,
        Self::Unsupported,
        Self::ContextLength,
        Self::ContentFilter,
    ];

    /// The class of that error; `None` for what no other endpoint would do better.
    pub fn of(error: &Error) -> Option<Self> {
        use ErrorKind as K;
        Some(match error.kind() {
            K::RateLimited | K::Overloaded => Self::Overload,
            K::Timeout => Self::Timeout,
            K::Connect | K::Tls | K::Proxy | K::Connection => Self::Connection,
            K::Server | K::Protocol | K::Truncated | K::TooLarge => Self::Server,
            K::Authentication | K::Permission | K::NotFound | K::QuotaExceeded => Self::Refused,
            K::Unsupported => Self::Unsupported,
            K::ContextLength => Self::ContextLength,
            K::ContentFiltered => Self::ContentFilter,
            _ => return None,
        })
    }

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
            Self::ContextLength => "context_length",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// What to do when an answer breaks off that the caller has begun to read.
///
/// Whoever goes on with it is one more attempt of the same answer: a plan that wants it with a [`FallbackPolicy::max_attempts`] of 1 is
/// refused. Where a race or a hedge took all of them, nobody is left to go on, and the answer ends as with [`Fail`](Self::Fail): how
/// many a race really takes depends on who is well and free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AfterDelivery {
    /// End it as what it is: truncated or failed.
    #[default]
    Fail,
    /// Ask another endpoint from the beginning, and go on where its text has reached the same point. If its text differs
    /// from what was delivered, the answer ends truncated. For answers that repeat: temperature 0, the same model.
    Restart,
    /// Ask another endpoint to go on from the text so far ([`PREFILL`](crate::Abilities::PREFILL)). For plain text: an answer
    /// with tool calls, thoughts or media ends truncated. The request's `max_output_tokens` then holds for what is yet to come.
    Continue,
}

/// When to go on to another endpoint.
///
/// | field | default | reason |
/// |---|---|---|
/// | `classes` | all but `content_filter` | a second opinion on content is the operator's to allow |
/// | `max_attempts` | 3 | a request that three endpoints refuse is hardly theirs to answer |
/// | `after_delivery` | fail | the two others change what an answer is |
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackPolicy {
    /// Failures after which another endpoint is asked.
    pub classes: Vec<Class>,
    /// Most endpoints asked for one answer: the first, those of a race, a hedge, and those that go on with it; 1 for never
    /// another one. At most 8.
    pub max_attempts: u32,
    /// What to do once something was delivered.
    pub after_delivery: AfterDelivery,
}

impl Default for FallbackPolicy {
    fn default() -> Self {
        let classes = Class::ALL.into_iter().filter(|class| *class != Class::ContentFilter);
        Self { classes: classes.collect(), max_attempts: 3, after_delivery: AfterDelivery::Fail }
    }
}

impl FallbackPolicy {
    /// Never another endpoint.
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// Only after these.
    #[must_use]
    pub fn with_classes(mut self, classes: impl IntoIterator<Item = Class>) -> Self {
        self.classes = classes.into_iter().collect();
        self
    }

    /// At most so many endpoints for one answer.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Does that once something was delivered.
    #[must_use]
    pub fn with_after_delivery(mut self, policy: AfterDelivery) -> Self {
        self.after_delivery = policy;
        self
    }

    /// Whether another endpoint is asked after that error.
    pub fn allows(&self, error: &Error) -> bool {
        Class::of(error).is_some_and(|class| self.classes.contains(&class))
    }
}
