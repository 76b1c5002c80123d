//! The pool, compiled once more over connections that are nothing but what it asks them: for its models, each of which says in its `parts`
//! what locks and words are made of.
#![allow(dead_code, reason = "each model uses its part")]

#[path = "../../src/pool"]
#[allow(unreachable_pub, reason = "who uses it all is the crate")]
pub(crate) mod pool {
    mod grant;
    mod keep;
    mod queue;
    mod site;

    mod parts {
        pub(super) use crate::parts::{Mutex, MutexGuard};
    }

    use std::{sync::Arc, time::Instant};

    pub(crate) use grant::{Permit, Slot, Ticket};
    #[allow(unused_imports, reason = "each model uses its part")]
    pub(crate) use queue::{Attempt, Failure, Turn};
    pub(crate) use site::{Checkout, Site, Wants};

    use crate::{Http2Limits, PoolConfig, http2::Http2};

    pub(crate) fn site(config: PoolConfig, http2: &Http2Limits) -> Arc<Site> {
        Site::new(config, http2, Arc::default(), None)
    }

    /// What the site counts.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct Counts {
        pub(crate) open: usize,
        pub(crate) connecting: usize,
        pub(crate) idle: usize,
    }

    pub(crate) fn counts(site: &Site) -> Counts {
        let state = site.lock();
        Counts { open: state.open, connecting: state.connecting, idle: state.idle.len() }
    }

    /// Streams in use there; `None` where the site has let go of it.
    pub(crate) fn in_use(site: &Site, connection: &Arc<Http2>) -> Option<usize> {
        let state = site.lock();
        state
            .http2
            .iter()
            .find(|shared| Arc::ptr_eq(&shared.connection, connection))
            .map(|shared| shared.in_use)
    }

    /// The connection that it is a stream of.
    pub(crate) fn whose(site: &Site, slot: &Slot) -> Option<Arc<Http2>> {
        let state = site.lock();
        let mut all = state.http2.iter().map(|shared| &shared.connection);
        all.find(|connection| std::ptr::eq(&***connection, slot.connection())).cloned()
    }

    /// Closes what has been idle for a minute and a half. Whether nothing is left.
    pub(crate) fn sweep(site: &Site, now: Instant) -> bool {
        site.sweep(now, &mut Vec::new())
    }
}

/// Of a connection, what the site asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionInfo {
    pub(crate) reused: bool,
    pub(crate) more: (),
}

pub(crate) mod http1 {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use super::pool::Permit;

    #[derive(Debug)]
    pub(crate) struct Http1 {
        pub(crate) idle_since: Instant,
        pub(crate) permit: Permit,
        pub(crate) _life: Arc<()>,
    }

    impl Http1 {
        pub(crate) fn idle_for(&self, now: Instant) -> Duration {
            now.saturating_duration_since(self.idle_since)
        }

        pub(crate) fn rest(&mut self, now: Instant) {
            self.idle_since = now;
        }

        pub(crate) fn keep_alive(&self) -> Option<Duration> {
            None
        }

        pub(crate) fn is_too_old(&self, _: Instant) -> bool {
            false
        }

        pub(crate) fn is_settled(&self) -> bool {
            true
        }

        pub(crate) fn is_usable(&mut self) -> bool {
            true
        }
    }
}

pub(crate) mod http2 {
    use std::sync::{Arc, atomic::Ordering::Relaxed};

    use super::ConnectionInfo;
    use crate::parts::{AtomicBool, AtomicUsize};

    /// What the peer has said, and whether it closes.
    #[derive(Debug)]
    pub(crate) struct Said {
        /// [`UNSETTLED`] until it has said any.
        pub(crate) limit: AtomicUsize,
        pub(crate) has_allowed: AtomicBool,
        pub(crate) closing: AtomicBool,
    }

    pub(crate) const UNSETTLED: usize = usize::MAX - 1;

    #[derive(Debug)]
    pub(crate) struct Http2 {
        pub(crate) said: Arc<Said>,
        pub(crate) own_limit: usize,
        pub(crate) info: ConnectionInfo,
    }

    impl Said {
        pub(crate) fn new(limit: usize) -> Arc<Self> {
            let (has_allowed, closing) = (AtomicBool::new(false), AtomicBool::new(false));
            Arc::new(Self { limit: AtomicUsize::new(limit), has_allowed, closing })
        }
    }

    impl Http2 {
        pub(crate) fn limit(&self) -> usize {
            match self.said.limit.load(Relaxed) {
                UNSETTLED => 1,
                limit => limit.min(self.own_limit),
            }
        }

        pub(crate) fn is_settled(&self) -> bool {
            self.said.limit.load(Relaxed) != UNSETTLED
        }

        pub(crate) fn takes_none(&self, in_use: usize) -> bool {
            self.limit() == 0 && (in_use == 0 || !self.said.has_allowed.load(Relaxed))
        }

        pub(crate) fn is_closing(&self) -> bool {
            self.said.closing.load(Relaxed)
        }

        pub(crate) fn retire(&self) {
            self.said.closing.store(true, Relaxed);
        }
    }
}

pub(crate) mod stats {
    use std::sync::{PoisonError, atomic::AtomicU64};

    use crate::{
        Protocol,
        parts::{Mutex, MutexGuard},
    };

    #[derive(Debug, Default)]
    pub(crate) struct Counters {
        pub(crate) reused: AtomicU64,
        pub(crate) locks: Locks,
    }

    impl Counters {
        pub(crate) fn opened(&self, _: Protocol) {}

        pub(crate) fn closed(&self, _: Protocol) {}
    }

    #[derive(Debug, Default)]
    pub(crate) struct Locks;

    impl Locks {
        pub(crate) fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
            mutex.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
