//! The limits in time of an attempt, as data.

use std::time::Duration;

/// How long a generation may take, and for what. All are on by default: an answer that hangs is worse than one that
/// fails. The context's deadline, where earlier, wins over each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GenerationLimits {
    /// From sending to the first event that carries content; of a whole (not streamed) answer, [`total`](Self::total)
    /// takes its place. Default 60 s: a cold server loads a model in that time. Pings do not count.
    pub first_token: Duration,
    /// Between two events that carry content. Default 30 s: reasoning models pause for long, dead peers for ever;
    /// a timer over bytes would be kept alive by pings.
    pub idle: Duration,
    /// From sending to the end. Default 600 s, as the official SDKs have it.
    pub total: Duration,
    /// From the finish reason to the end of the stream, where usage may still come. Default 5 s; afterwards the
    /// answer is finished all the same.
    pub after_finish: Duration,
    /// Listing models and counting tokens where the context has no deadline; all in all. Default 800 ms: a person or a router
    /// waits for it.
    pub listing: Duration,
}

impl Default for GenerationLimits {
    fn default() -> Self {
        Self {
            first_token: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(600),
            after_finish: Duration::from_secs(5),
            listing: Duration::from_millis(800),
        }
    }
}

impl GenerationLimits {
    /// With that limit to the first token.
    #[must_use]
    pub fn with_first_token(mut self, limit: Duration) -> Self {
        self.first_token = limit;
        self
    }

    /// With that limit between tokens.
    #[must_use]
    pub fn with_idle(mut self, limit: Duration) -> Self {
        self.idle = limit;
        self
    }

    /// With that limit for the whole.
    #[must_use]
    pub fn with_total(mut self, limit: Duration) -> Self {
        self.total = limit;
        self
    }

    /// With that limit from the finish reason to the end of the stream.
    #[must_use]
    pub fn with_after_finish(mut self, limit: Duration) -> Self {
        self.after_finish = limit;
        self
    }

    /// With that limit for listings and counts.
    #[must_use]
    pub fn with_listing(mut self, limit: Duration) -> Self {
        self.listing = limit;
        self
    }
}
