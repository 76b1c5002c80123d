//! Sources that have to be asked again: at intervals, after failures less and less often.

use std::{fmt, time::Duration};

use loquat_core::{BoxFuture, Context, Discover, Listing, Result};

use crate::{
    backoff::{Backoff, spread},
    keep::Keeper,
};

/// No interval is longer: as good as never, and an instant all the same.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Something that can be asked for a listing.
pub(crate) trait Ask: Send {
    /// The present listing; `None` where it is known to be the same as before.
    fn ask<'a>(&'a mut self, context: &'a Context) -> BoxFuture<'a, Result<Option<Listing>>>;
    /// Whether some of what was given out last may not be so, and is to be asked about again soon.
    fn is_in_doubt(&self) -> bool {
        false
    }
}

/// A source that is asked at intervals.
pub struct Polled {
    ask: Box<dyn Ask>,
    every: Duration,
    /// The time until it is asked again after a failure, or in doubt.
    soon: Duration,
    backoff: Backoff,
    keeper: Keeper,
    /// When it may be asked next.
    due: Option<tokio::time::Instant>,
}

impl Polled {
    pub(crate) fn new(ask: impl Ask + 'static, every: Duration, accept_empty: bool) -> Self {
        // After failures it is asked sooner at first: most are short.
        let every = every.min(LONGEST);
        let soon = (every / 8).max(Duration::from_millis(10));
        Self {
            ask: Box::new(ask),
            every,
            soon,
            backoff: Backoff::new(soon),
            keeper: Keeper::new(accept_empty),
            due: None,
        }
    }

    async fn once(&mut self, context: &Context) -> Result<Option<Listing>> {
        if let Some(due) = self.due {
            tokio::time::sleep_until(due).await;
        }
        // Should this future be dropped now, the next one does not ask in a hurry.
        self.due = Some(tokio::time::Instant::now() + spread(self.every));
        let asked = self.ask.ask(context).await;
        let news = asked.and_then(|listing| listing.map_or(Ok(None), |listing| self.keeper.news(listing)));
        match &news {
            Ok(_) => {
                self.backoff.succeeded();
                if self.ask.is_in_doubt() {
                    self.due = Some(tokio::time::Instant::now() + spread(self.soon.min(self.every)));
                }
            }
            Err(_) => self.due = Some(tokio::time::Instant::now() + self.backoff.failed()),
        }
        news
    }
}

impl Discover for Polled {
    fn next<'a>(&'a mut self, context: &'a Context) -> BoxFuture<'a, Result<Listing>> {
        Box::pin(async move {
            loop {
                if let Some(listing) = self.once(context).await? {
                    return Ok(listing);
                }
            }
        })
    }
}

impl fmt::Debug for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polled").field("every", &self.every).finish_non_exhaustive()
    }
}
