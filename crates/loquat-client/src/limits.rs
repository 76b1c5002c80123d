//! The limits in time of an attempt, as data.

use std::time::Duration;

/// How long a generation may take, and for what. All are on by default: an answer that hangs is worse than one that
/// fails. The context's deadline, where earlier, wins over each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GenerationLimits {
    /// From sending to the first content: text, thoughts that can be read, a refusal, a tool call, a picture. Of a whole (not
    /// streamed) answer, [`total`](Self::total) takes its place. Default 60 s: a cold server loads a model in that time. Neither pings
    /// count nor events that only frame an answer. Those, and empty deltas, say that the peer is there: it is not given up before
    /// as much time again, or [`idle`](Self::idle) if that is shorter, has passed since the last one.
    pub first_token: Duration,
    /// The same, and between two contents, while the model is known to think: thoughts have begun and nothing has been said since, or
    /// the request asked for reasoning and no content has come, nor maybe a head. Before the first content it takes the place
    /// of [`first_token`](Self::first_token) where it ends later. Default 300 s: providers keep thoughts to themselves and send
    /// pings alone for minutes; and the other half of [`total`](Self::total) is left for an answer.
    pub thinking: Duration,
    /// Between two events after the first content. Default 30 s: dead peers pause for ever; a timer over bytes would be kept alive by
    /// pings.
    pub idle: Duration,
    /// Fewest tokens in a minute of waiting, after the first content and while the model is not known to think; 0 for no such limit. An event is one, or one for each four bytes of its
    /// content. Default 3: a peer that drips a token every 29 s would keep [`idle`](Self::idle) content up to `total`, and nobody who
    /// computes is as slow as one in twenty seconds: neither a large model on a processor, nor one that thinks behind a gateway
    /// that says by empty deltas that it is there. (Pings alone meet `idle`.) A stream that slows down is noticed within two to
    /// three minutes, and costs nothing before that.
    pub min_tokens_per_minute: u32,
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
            thinking: Duration::from_secs(300),
            idle: Duration::from_secs(30),
            min_tokens_per_minute: 3,
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

    /// With that limit while the model is known to think.
    #[must_use]
    pub fn with_thinking(mut self, limit: Duration) -> Self {
        self.thinking = limit;
        self
    }

    /// With that limit between tokens.
    #[must_use]
    pub fn with_idle(mut self, limit: Duration) -> Self {
        self.idle = limit;
        self
    }

    /// With that least pace; 0 for none.
    #[must_use]
    pub fn with_min_tokens_per_minute(mut self, tokens: u32) -> Self {
        self.min_tokens_per_minute = tokens;
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
