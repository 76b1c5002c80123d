//! How one of several endpoints is chosen: filter, score, pick, each behind a trait of its own, and the usual ways of
//! combining them.
//!
//! A [`Filter`] takes members out, a [`Score`] says how good one is (lower is better), a [`Pick`] chooses by scores. What
//! every decision needs is not left to them: abilities and health are checked before, by the table.

mod affinity;
mod best;
mod cheapest;
mod score;
mod shares;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

pub use affinity::Rendezvous;
pub use best::BestOf;
pub use cheapest::Cheapest;
pub use score::{FewestRequests, FirstToken};
pub use shares::{Turns, Weighted};

use crate::{Asked, Draw, Mask, Pool};

/// All that a part of a strategy may look at.
#[derive(Debug)]
#[non_exhaustive]
pub struct View<'a> {
    /// The members.
    pub pool: &'a Pool,
    /// What is asked of them.
    pub asked: &'a Asked,
    /// The present instant.
    pub now: Instant,
    /// The same in milliseconds since the router's beginning: worked out once for all that are scored.
    pub(crate) now_ms: u64,
    /// How many were in question at first.
    pub(crate) eligible: usize,
}

/// Takes members out.
pub trait Filter: Send + Sync {
    /// Its name in explanations.
    fn name(&self) -> &'static str;
    /// Leaves in `mask` those that may be chosen.
    fn filter(&self, view: &View<'_>, mask: &mut Mask);
}

/// Says how good a member is.
pub trait Score: Send + Sync {
    /// Its name in explanations.
    fn name(&self) -> &'static str;
    /// Lower is better; not a number is worst.
    fn score(&self, view: &View<'_>, index: usize) -> f32;
    /// What a score of its own says, for explanations.
    fn describe(&self, score: f32) -> String {
        format!("score {score}")
    }
}

/// Chooses among members.
pub trait Pick: Send + Sync {
    /// Its name in explanations.
    fn name(&self) -> &'static str;
    /// Whether the pool shall know which members rank first for keys: work at the making of a table, and
    /// half a MiB.
    fn wants_ranks(&self) -> bool {
        false
    }

    /// One of those in `mask`, or `None` where there is none it would take.
    fn pick(&self, view: &View<'_>, mask: &Mask, score: &dyn Score, draw: &mut Draw) -> Option<Picked>;
}

/// What a [`Pick`] chose, and from what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picked {
    /// The chosen member.
    pub index: usize,
    /// Its score; 0 where scores took no part.
    pub score: f32,
    /// The one it was compared with, and its score.
    pub rival: Option<(usize, f32)>,
}

impl Picked {
    /// Chosen without a comparison.
    pub fn alone(index: usize) -> Self {
        Self { index, score: 0.0, rival: None }
    }
}

/// Filters, a score and a pick.
#[derive(Clone)]
pub struct Strategy {
    filters: Arc<[Arc<dyn Filter>]>,
    score: Arc<dyn Score>,
    pick: Arc<dyn Pick>,
}

impl Strategy {
    /// That score, chosen from by that pick.
    pub fn new(score: impl Score + 'static, pick: impl Pick + 'static) -> Self {
        Self { filters: Arc::new([]), score: Arc::new(score), pick: Arc::new(pick) }
    }

    /// The best of five by the first token that is to be expected: what to use unless something speaks against it. Five,
    /// because in simulations it is never worse than two, also with ten routers that do not know of each other.
    pub fn latency() -> Self {
        Self::new(FirstToken, BestOf::new(5))
    }

    /// By chance, in proportion to weights.
    pub fn weighted() -> Self {
        Self::new(FirstToken, Weighted)
    }

    /// In turn.
    pub fn round_robin() -> Self {
        Self::new(FirstToken, Turns::default())
    }

    /// The one of two with fewer requests in hand.
    pub fn least_in_flight() -> Self {
        Self::new(FewestRequests, BestOf::TWO)
    }

    /// The cheapest whose first token is expected within `objective`; the best of two where none's is.
    pub fn cheapest(objective: Duration) -> Self {
        Self::new(FirstToken, Cheapest::within(objective))
    }

    /// The same one for requests that belong together, unless it has more than its share of work.
    pub fn affinity() -> Self {
        Self::new(FirstToken, Rendezvous::default())
    }

    /// With one more filter, after those it has.
    #[must_use]
    pub fn with_filter(mut self, filter: impl Filter + 'static) -> Self {
        self.filters = self.filters.iter().cloned().chain([Arc::new(filter) as _]).collect();
        self
    }

    /// Its filters, in order.
    pub fn filters(&self) -> &[Arc<dyn Filter>] {
        &self.filters
    }

    /// Its score.
    pub fn score(&self) -> &dyn Score {
        &*self.score
    }

    /// Its pick's name, for spans and metrics.
    pub(crate) fn word(&self) -> &'static str {
        self.pick.name()
    }

    pub(crate) fn wants_ranks(&self) -> bool {
        self.pick.wants_ranks()
    }

    pub(crate) fn pick(&self, view: &View<'_>, mask: &Mask, draw: &mut Draw) -> Option<Picked> {
        self.pick.pick(view, mask, &*self.score, draw).filter(|picked| mask.contains(picked.index))
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self::latency()
    }
}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Strategy(")?;
        self.filters.iter().try_for_each(|filter| write!(f, "{} → ", filter.name()))?;
        write!(f, "{} → {})", self.score.name(), self.pick.name())
    }
}
