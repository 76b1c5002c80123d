//! What must hold of the pool after each thing that has happened, and who is to be given what: reckoned from what there is, as simply as can
//! be.

use std::sync::Arc;

use super::{Kind, Protocol, World, http2::Http2, pool};

impl World {
    /// HTTP/1.1 connections, wherever they are.
    pub(crate) fn alive(&self) -> usize {
        self.lives.iter().filter(|life| life.strong_count() > 0).count()
    }

    /// That what the site counts is what there is, and within its limits.
    pub(crate) fn check_counts(&self) {
        let counts = pool::counts(&self.site);
        let held = self.tickets.len() + self.http1.len() + self.drivers.len();
        let open = held + counts.idle;
        assert_eq!(counts, pool::Counts { open, connecting: self.tickets.len(), idle: counts.idle });
        assert!(open <= self.max_open, "{open} open");
        assert!(self.tickets.len() <= self.max_connecting, "{} at once", self.tickets.len());
        for connection in self.connections() {
            let held = self.held(&connection);
            let counted = pool::in_use(&self.site, &connection);
            assert!(counted.is_none_or(|counted| counted == held), "{counted:?} in use, {held} held");
        }
    }

    /// Those that new streams may go to.
    pub(crate) fn connections(&self) -> impl Iterator<Item = Arc<Http2>> {
        let live = self.drivers.iter().filter_map(|driver| driver.connection.upgrade());
        live.filter(|connection| !connection.is_closing())
    }

    pub(crate) fn held(&self, connection: &Arc<Http2>) -> usize {
        self.slots.iter().filter(|(_, other, _)| Arc::ptr_eq(other, connection)).count()
    }

    /// How many may wait for the connections that others are making, where so many are.
    pub(crate) fn room(&self, coming: usize) -> usize {
        match self.speaks {
            Some(Protocol::Http1) => 0,
            _ if coming == 0 => 0,
            None => usize::MAX,
            Some(_) => coming * (self.streams - 1),
        }
    }

    /// After that attempt failed, which is no longer among those that are being made: who counted on it, finds no room in what others
    /// make, and waited all the while that it was tried.
    pub(crate) fn those_without_hope(&self, attempt: usize) -> Vec<usize> {
        if self.connections().next().is_some() {
            return Vec::new();
        }
        let coming = self.coming();
        let (room, had_room) = (self.room(coming), self.room(coming + 1));
        let counted = self.waiters.iter().take(had_room).skip(room);
        counted.filter(|waiter| waiter.begun < attempt).map(|waiter| waiter.number).collect()
    }

    pub(crate) fn coming(&self) -> usize {
        self.tickets.len() + self.connections().filter(|connection| !connection.is_settled()).count()
    }

    /// Whether another connection would hardly take streams either.
    pub(crate) fn is_paused(&self) -> bool {
        let all = || self.connections();
        let pausing = all().filter(|connection| connection.limit() == 0).count();
        let taking = all().filter(|connection| connection.is_settled() && connection.limit() > 0).count();
        match all().any(|connection| connection.takes_none(self.held(&connection))) {
            true => pausing > taking,
            false => pausing > taking + 1,
        }
    }

    /// That nobody waits for what there is.
    pub(crate) fn check_waiters(&self) {
        if self.waiters.is_empty() {
            return;
        }
        let has_stream = self.connections().any(|connection| self.held(&connection) < connection.limit());
        assert!(!has_stream, "a stream is free, and {} waits", self.waiters[0].number);
        let counts = pool::counts(&self.site);
        // All but those for whom a connection that others are making has room.
        let others = &self.waiters[self.waiters.len().min(self.room(self.coming()))..];
        // Also behind one who needs a place and has none.
        for waiter in &self.waiters {
            assert!(waiter.wants.fresh || counts.idle == 0, "one is idle, and {} waits", waiter.number);
        }
        if let Some(first) = others.first() {
            let may_connect = counts.connecting < self.max_connecting
                && (counts.open < self.max_open || counts.idle > 0)
                && !self.is_paused();
            assert!(!may_connect, "a place is free, and {} waits", first.number);
        }
    }

    /// That nobody was given what somebody would have taken who came before and still waits.
    pub(crate) fn check_order(&mut self) {
        let mut given = std::mem::take(&mut self.given);
        given.sort_by_key(|(number, ..)| *number);
        let made = given.iter().filter(|(.., kind)| *kind == Kind::Connect).count();

        // Before any of them was asked to make one, and with what was given to who then left.
        let mut coming = self.coming() - made + usize::from(std::mem::take(&mut self.has_left));
        let failed = given.iter().filter(|(.., kind)| *kind == Kind::Failed).map(|(number, ..)| *number);
        assert_eq!(
            failed.collect::<Vec<_>>(),
            std::mem::take(&mut self.failing),
            "who learns that none was made"
        );
        for (number, wants, kind) in given {
            let ahead: Vec<_> = self.waiters.iter().filter(|waiter| waiter.number < number).collect();
            let is_fair = match kind {
                Kind::Http2 => ahead.is_empty(),
                Kind::Failed => true, // see above
                Kind::Http1 => ahead.iter().all(|waiter| waiter.wants.fresh) && !wants.fresh,
                Kind::Connect => {
                    coming += 1;
                    ahead.len() <= self.room(coming - 1)
                }
            };
            assert!(
                is_fair,
                "{number} was given {kind:?} before {}",
                ahead.first().map_or(0, |first| first.number)
            );
        }
    }

    pub(crate) fn check(&mut self) {
        self.check_counts();
        self.check_order();
        self.check_waiters();
    }
}
