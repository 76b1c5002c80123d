//! Connections kept for the next request, per origin.
//!
//! [`Pool`] finds the [`Site`] of an origin; the site decides, under one short lock and without waiting, between an
//! HTTP/2 stream, an idle HTTP/1.1 connection, a new connection, and a wait.

mod grant;
mod keep;
mod queue;
mod site;
#[cfg(test)]
mod tests;

/// What a site's lock is here; its model under loom has another.
mod parts {
    pub(super) use std::sync::{Mutex, MutexGuard};
}

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

pub(crate) use grant::{Making, Permit, Slot, Ticket};
pub(crate) use queue::{Attempt, Failure, Turn};
pub(crate) use site::{Checkout, MOST_RESETS, PROBE_AFTER, Site, Wants};

use crate::{Http2Limits, Origin, PoolConfig, Protocol, stats::Counters};

/// How often the whole pool is looked through for connections that have been idle for too long.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Pool {
    sites: Mutex<Sites>,
    pub(crate) config: PoolConfig,
    http2: Http2Limits,
    pub(crate) counters: Arc<Counters>,
}

/// An origin has its hash, with a secret in it, and is not hashed again.
type AsItIs = BuildHasherDefault<Kept>;

#[derive(Default)]
struct Kept(u64);

impl Hasher for Kept {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Nothing that is no origin comes here; it would be found all the same.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Sites {
    of: HashMap<Origin, Arc<Site>, AsItIs>,
    swept: Instant,
}

impl Pool {
    pub(crate) fn new(config: PoolConfig, http2: &Http2Limits) -> Self {
        Self::counted(config, http2, Arc::default())
    }

    fn counted(config: PoolConfig, http2: &Http2Limits, counters: Arc<Counters>) -> Self {
        let sites = Mutex::new(Sites { of: HashMap::default(), swept: Instant::now() });
        Self { sites, config, http2: http2.clone(), counters }
    }

    /// Another one of that kind, counted together with it.
    pub(crate) fn beside(&self) -> Self {
        Self::counted(self.config.clone(), &self.http2, Arc::clone(&self.counters))
    }

    /// The place of that origin. `protocol` is what its connections will speak, where that is known beforehand.
    pub(crate) fn site(&self, origin: &Origin, protocol: Option<Protocol>, now: Instant) -> Arc<Site> {
        let mut expired = Vec::new();
        let site = {
            let mut sites = self.counters.locks.lock(&self.sites);
            if now.saturating_duration_since(sites.swept) >= SWEEP_EVERY {
                sites.swept = now;
                // A site that somebody holds is about to be used, whatever it holds now.
                sites.of.retain(|_, site| !site.sweep(now, &mut expired) || Arc::strong_count(site) > 1);
            }
            match sites.of.get(origin) {
                Some(site) => Arc::clone(site),
                None => {
                    let site =
                        Site::new(self.config.clone(), &self.http2, Arc::clone(&self.counters), protocol);
                    sites.of.insert(origin.clone(), Arc::clone(&site));
                    site
                }
            }
        };
        drop(expired); // sockets are closed outside the lock
        site
    }

    pub(crate) fn stats(&self) -> crate::Stats {
        self.counters.snapshot()
    }

    pub(crate) fn count_replaced(&self) {
        self.counters.replaced.fetch_add(1, Relaxed);
    }
}

impl Drop for Pool {
    /// Connections hold their site and sites their connections: the ring is cut here.
    fn drop(&mut self) {
        let sites = self.sites.get_mut().unwrap_or_else(PoisonError::into_inner);
        for site in sites.of.values() {
            site.shut();
        }
    }
}
