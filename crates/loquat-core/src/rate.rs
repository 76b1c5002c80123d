//! What a provider says of its limits: how much may be asked per time, how much of it is left, when it is full again.
//!
//! As said, not as guessed: a member that the provider left out is `None`. Providers count different things over different
//! windows, often several at once, so this is a short list and not a struct of fixed fields.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// What a limit counts. Open: a word that is not known here is kept as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metered {
    /// Requests.
    Requests,
    /// Tokens of prompt and answer together.
    Tokens,
    /// Tokens of the prompt.
    InputTokens,
    /// Tokens generated.
    OutputTokens,
    /// Anything else, in the provider's word (`input-images`).
    Other(String),
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::InputTokens => "input tokens",
            Self::OutputTokens => "output tokens",
            Self::Other(word) => word,
        })
    }
}

/// When a limit is full again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// That long after the response.
    After(Duration),
    /// At that time of the provider's clock.
    At(SystemTime),
}

impl Reset {
    /// How long that is from `now`; zero for what has passed.
    pub fn wait(self, now: SystemTime) -> Duration {
        match self {
            Self::After(wait) => wait,
            Self::At(time) => time.duration_since(now).unwrap_or_default(),
        }
    }
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// What it counts.
    pub metered: Metered,
    /// Over what time, where said.
    pub window: Option<Duration>,
    /// How much may be asked in that time.
    pub limit: Option<u64>,
    /// How much of it is left.
    pub remaining: Option<u64>,
    /// When it is full again.
    pub reset: Option<Reset>,
}

impl RateLimit {
    /// A limit of which nothing is known yet but what it counts.
    pub fn new(metered: Metered) -> Self {
        Self { metered, window: None, limit: None, remaining: None, reset: None }
    }

    /// Whether nothing is left.
    pub fn is_exhausted(&self) -> bool {
        self.remaining == Some(0)
    }

    /// The share that is left, 0 to 1, where both numbers are known.
    pub fn share_left(&self) -> Option<f64> {
        let (remaining, limit) = (self.remaining?, self.limit?);
        #[allow(clippy::cast_precision_loss, reason = "a share, not a count")]
        (limit > 0).then(|| (remaining as f64 / limit as f64).clamp(0.0, 1.0))
    }
}

/// The limits that came with one response, successful or not, in the order of their headers. Empty where the provider
/// says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RateLimits(Vec<RateLimit>);

impl RateLimits {
    /// Most limits kept: three times what any provider is known to send.
    pub const MAX: usize = 16;

    /// The limit that counts this over that window, made if need be; `None` at [`MAX`](Self::MAX).
    pub fn entry(&mut self, metered: &Metered, window: Option<Duration>) -> Option<&mut RateLimit> {
        let is_it = |limit: &RateLimit| limit.metered == *metered && limit.window == window;
        let position = match self.0.iter().position(is_it) {
            Some(position) => position,
            None if self.0.len() == Self::MAX => return None,
            None => {
                self.0.push(RateLimit { window, ..RateLimit::new(metered.clone()) });
                self.0.len() - 1
            }
        };
        self.0.get_mut(position)
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, RateLimit> {
        self.0.iter()
    }

    /// Whether the provider said nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first limit that counts this.
    pub fn of(&self, metered: &Metered) -> Option<&RateLimit> {
        self.0.iter().find(|limit| limit.metered == *metered)
    }

    /// The limit on requests.
    pub fn requests(&self) -> Option<&RateLimit> {
        self.of(&Metered::Requests)
    }

    /// The limit on tokens.
    pub fn tokens(&self) -> Option<&RateLimit> {
        self.of(&Metered::Tokens)
    }

    /// The limit of which the smallest share is left: the one that will be met first.
    pub fn tightest(&self) -> Option<&RateLimit> {
        let known = self.0.iter().filter_map(|limit| Some((limit.share_left()?, limit)));
        known.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, limit)| limit)
    }

    /// How long from `now` until every exhausted limit is full again; `None` where none is exhausted, or none says.
    pub fn wait(&self, now: SystemTime) -> Option<Duration> {
        self.0.iter().filter(|limit| limit.is_exhausted()).filter_map(|l| Some(l.reset?.wait(now))).max()
    }
}

impl<'a> IntoIterator for &'a RateLimits {
    type Item = &'a RateLimit;
    type IntoIter = std::slice::Iter<'a, RateLimit>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_is_the_one_met_first_and_waits_count_for_spent_ones_only() {
        let mut limits = RateLimits::default();
        let minute = Some(Duration::from_secs(60));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for (metered, remaining, reset) in [
            (Metered::Requests, 90, Reset::After(Duration::from_secs(500))),
            (Metered::Tokens, 0, Reset::At(now + Duration::from_secs(7))),
            (Metered::InputTokens, 0, Reset::At(SystemTime::UNIX_EPOCH)),
        ] {
            let limit = limits.entry(&metered, minute).expect("room");
            (limit.limit, limit.remaining, limit.reset) = (Some(100), Some(remaining), Some(reset));
        }
        assert_eq!(limits.tightest().map(|limit| &limit.metered), Some(&Metered::Tokens));
        assert_eq!(limits.wait(now), Some(Duration::from_secs(7)));
        assert_eq!(limits.requests().and_then(RateLimit::share_left), Some(0.9));
        assert!(limits.entry(&Metered::Requests, minute).is_some());
        assert_eq!(limits.iter().count(), 3, "an entry is made once");
    }

    #[test]
    fn hostile_lists_are_bounded() {
        let mut limits = RateLimits::default();
        for number in 0..1000 {
            let entry = limits.entry(&Metered::Other(number.to_string()), None);
            assert_eq!(entry.is_some(), number < RateLimits::MAX);
        }
        assert_eq!(limits.iter().count(), RateLimits::MAX);
    }
}
