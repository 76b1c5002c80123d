//! An answer on its way, watched: when it begins, and how it ends.

use std::{
    task::{self, Poll, ready},
    time::Instant,
};

use loquat_core::{Answer, Delta, Ending, Source, Step};

use crate::time::now;

/// What wants to know. Dropped without [`ended`](Self::ended) when the caller gives the answer up.
pub(crate) trait Observer: Send + 'static {
    /// The first delta with content has come.
    fn begun(&mut self, now: Instant);
    /// So it ended.
    fn ended(self, ending: &Ending, now: Instant);
}

/// The answer, with somebody watching. The clock is read twice: for the first content and for the ending.
pub(crate) fn observe(answer: Answer, observer: impl Observer) -> Answer {
    answer.map_source(|inner| Observed { inner, observer: Some(observer), begun: false })
}

struct Observed<O> {
    inner: Box<dyn Source>,
    observer: Option<O>,
    begun: bool,
}

impl<O: Observer> Source for Observed<O> {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        let step = ready!(self.inner.poll_advance(cx));
        match &step {
            Step::Delta => {
                if !self.begun && self.inner.current().content_bytes().is_some() {
                    self.begun = true;
                    if let Some(observer) = &mut self.observer {
                        observer.begun(now());
                    }
                }
            }
            Step::End(ending) => {
                if let Some(observer) = self.observer.take() {
                    observer.ended(ending, now());
                }
            }
        }
        Poll::Ready(step)
    }

    fn current(&self) -> Delta<'_> {
        self.inner.current()
    }

    fn warm(&mut self) {
        self.inner.warm();
    }

    fn arrived(&self) -> Option<Instant> {
        self.inner.arrived()
    }
}
