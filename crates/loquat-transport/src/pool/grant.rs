//! What a request holds of a [`Site`], given back by dropping it: the permission to make a connection, a connection's place among
//! its origin's, a stream.

use std::{sync::Arc, time::Instant};

use loquat_core::Error;

use super::{
    queue::{Attempt, Failure},
    site::{Shared, Site, State},
};
use crate::{ConnectionInfo, Protocol, http2::Http2};

/// The place a connection takes among its origin's; given back when the connection is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    site: Arc<Site>,
    /// What is counted as open; nothing while it is being made.
    protocol: Option<Protocol>,
    /// Whether it has been given back.
    is_free: bool,
}

impl Permit {
    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Counts the connection as open from here.
    pub(crate) fn opened(&mut self, protocol: Protocol) {
        self.protocol = Some(protocol);
        self.site.counters.opened(protocol);
    }

    /// The place without the connection.
    pub(crate) fn take(&mut self) -> Self {
        let is_free = std::mem::replace(&mut self.is_free, true);
        Self { site: Arc::clone(&self.site), protocol: self.protocol, is_free }
    }

    /// Gives the place back under its site's lock, which is held. Whoever does it serves those who wait.
    pub(super) fn give_back(&mut self, state: &mut State) {
        if std::mem::replace(&mut self.is_free, true) {
            return;
        }
        if let Some(protocol) = self.protocol {
            self.site.counters.closed(protocol);
        }
        state.open -= 1;
        // Tests are to see it in release builds, too.
        if cfg!(any(test, debug_assertions)) {
            assert!(state.connecting <= state.open, "somebody counts on a connection that has no place");
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_free {
            let site = Arc::clone(&self.site);
            site.change(|state| self.give_back(state));
        }
    }
}

/// The permission to make one connection. Dropped unused, it lets another request try.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// Declared before the permit, and so dropped before it: else a place would be free while others still count on this connection.
    pub(crate) making: Making,
    /// To be kept as long as the connection lives.
    pub(crate) permit: Permit,
}

impl Ticket {
    /// For a connection that its site counts already.
    pub(super) fn new(site: &Arc<Site>, attempt: Attempt) -> Self {
        Self {
            making: Making { site: Arc::clone(site), attempt, failure: None, is_over: false },
            permit: Permit { site: Arc::clone(site), protocol: None, is_free: false },
        }
    }
}

/// A connection that is being made; others may count on it.
#[derive(Debug)]
pub(crate) struct Making {
    site: Arc<Site>,
    attempt: Attempt,
    failure: Option<Failure>,
    /// Whether it is counted no more.
    is_over: bool,
}

impl Making {
    /// Which attempt it is, for who has to tell those who count on it of what comes of it later.
    pub(crate) fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// It speaks HTTP/1.1.
    pub(crate) fn made_http1(self) {
        self.made(|state| state.speaks = Some(Protocol::Http1));
    }

    /// It speaks HTTP/2 and is shared from here; the first stream is the maker's. Whoever may give its place back begins after this.
    pub(crate) fn made_http2(self, connection: Http2) -> Slot {
        let connection = Arc::new(connection);
        let site = Arc::clone(&self.site);
        self.made(|state| {
            state.speaks = Some(Protocol::Http2);
            if !state.shut {
                let now = Instant::now();
                state.http2.push(Shared {
                    connection: Arc::clone(&connection),
                    in_use: 1,
                    idle_since: now,
                    retire_at: site.retire_at(),
                    resets: 0,
                    resets_since: now,
                    all_resets: 0,
                });
            }
        });
        Slot::new(connection, site, false)
    }

    /// Nobody counts on its being made any more, under the lock under which they can count on what it is now.
    fn made(mut self, change: impl FnOnce(&mut State)) {
        self.is_over = true;
        self.site.change(|state| {
            state.connecting -= 1;
            change(state);
        });
    }

    /// It could not be made: those who counted on it look for another one, or fail with the same error.
    pub(crate) fn failed(mut self, error: &Error) {
        self.failure = Some(Failure { error: error.clone(), attempt: self.attempt });
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.is_over {
            self.site.not_made(self.failure.as_ref());
        }
    }
}

/// One reserved stream on an HTTP/2 connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    connection: Arc<Http2>,
    site: Arc<Site>,
    reused: bool,
    /// Whether the stream has ended by itself.
    settled: bool,
}

impl Slot {
    /// For a stream that its site counts already.
    pub(super) fn new(connection: Arc<Http2>, site: Arc<Site>, reused: bool) -> Self {
        Self { connection, site, reused, settled: false }
    }

    pub(crate) fn connection(&self) -> &Http2 {
        &self.connection
    }

    /// The stream has ended by itself: giving it back resets nothing.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        ConnectionInfo { reused: self.reused, ..self.connection.info }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.site.release(&self.connection, !self.settled);
    }
}
