//! What a tier of a prompt cache says of itself, as metrics: read when somebody scrapes.
//!
//! It knows no cache. A cache counts anyway, for each thread apart; an event for each look-up would cost more than many a look-up
//! does.

use std::{sync::Arc, time::Duration};

use crate::{
    metric::{About, Kind, Registry},
    names,
};

/// What happened in a tier since its beginning. Nothing in it falls.
///
/// Of `loquat-prompt`: what templates and prompts are kept on (`l1`), tokens (`l2`) and whole answers (`answers`) is [`of`](Self::of) the fields of
/// `CacheStats`, `CacheState::of(stats.hits + stats.joined, stats.misses).with_bytes(stats.hit_bytes).with_time(stats.timed, stats.time)`; of a fleet's
/// (`l3`) those of `RemoteStats`, `CacheState::of(stats.hits, stats.misses).with_bytes(stats.hit_bytes).with_time(stats.asked, stats.time)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheState {
    /// Look-ups that were answered.
    pub hits: u64,
    /// Look-ups that were not.
    pub misses: u64,
    /// What hits gave, in bytes.
    pub hit_bytes: u64,
    /// Look-ups whose time was taken: a sample, where a look-up is quicker than a clock.
    pub timed: u64,
    /// How long those took, all together.
    pub time: Duration,
}

impl CacheState {
    /// So many look-ups.
    pub fn of(hits: u64, misses: u64) -> Self {
        Self { hits, misses, ..Self::default() }
    }

    /// With what hits gave, in bytes.
    #[must_use]
    pub fn with_bytes(mut self, hit_bytes: u64) -> Self {
        self.hit_bytes = hit_bytes;
        self
    }

    /// With how long so many of the look-ups took.
    #[must_use]
    pub fn with_time(mut self, timed: u64, time: Duration) -> Self {
        (self.timed, self.time) = (timed, time);
        self
    }
}

/// Shows it.
pub(crate) fn watch(
    registry: &Registry,
    tier: &Arc<str>,
    ask: impl Fn() -> CacheState + Send + Sync + 'static,
) {
    type Read = fn(&CacheState) -> f64;
    #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
    let shown: [(About, Option<&str>, Read); 5] = [
        (names::CACHE, Some("hit"), |state| state.hits as f64),
        (names::CACHE, Some("miss"), |state| state.misses as f64),
        (names::CACHE_BYTES, None, |state| state.hit_bytes as f64),
        (names::CACHE_TIMED, None, |state| state.timed as f64),
        (names::CACHE_TIME, None, |state| state.time.as_secs_f64()),
    ];
    let ask = Arc::new(ask);
    for (about, result, read) in shown {
        let mut labels = vec![("tier", tier.clone())];
        labels.extend(result.map(|result| ("result", result.into())));
        let ask = ask.clone();
        registry.asked(about, Kind::Counter, labels, move || read(&ask()));
    }
}
