//! Who waits at an origin: first come, first served, whether for a connection that another request is making or for a place where there
//! are no more of them.
//!
//! What becomes free is handed to who has waited longest, under the lock under which it became free. If it were only announced, who
//! comes at that moment would take it, and who asks in a loop would leave nothing to the others. Who was given what turned out dead
//! has waited for nothing, and comes before all who came later.

use std::{collections::VecDeque, sync::Arc};

use loquat_core::Error;
use tokio::sync::oneshot;

use super::site::{Checkout, Site, Wants};
use crate::http1::Http1;

/// Those who wait, the longest first.
#[derive(Default)]
pub(super) struct Queue {
    waiters: VecDeque<Waiter>,
    /// How many have come.
    came: u64,
    /// So many of them, from the front, count on a connection that another request is making. The others have no place.
    counting: usize,
    /// How many attempts to connect have been begun.
    begun: u64,
}

/// When somebody came, among all who did: theirs for as long as they try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Turn(u64);

/// An attempt to connect, among all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attempt(u64);

/// Why a connection could not be made.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) attempt: Attempt,
}

struct Waiter {
    turn: Turn,
    /// The last attempt that was begun before this one waited. Their turn does not tell: who tries again has it from before.
    after: Attempt,
    wants: Wants,
    sender: oneshot::Sender<Checkout>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Who has not come before comes now, after all others.
    pub(super) fn come(&mut self, turn: &mut Turn) {
        if *turn == Turn::default() {
            self.came += 1;
            *turn = Turn(self.came);
        }
    }

    /// A place behind those who came before. Whether there may be a stream or a place among the connections for it: not where somebody
    /// before it has none, then whoever comes after has none either.
    pub(super) fn join(&mut self, site: &Arc<Site>, wants: Wants, turn: Turn) -> (Place, bool) {
        let (sender, receiver) = oneshot::channel();
        let ahead = self.waiters.partition_point(|waiter| waiter.turn < turn);
        self.waiters.insert(ahead, Waiter { turn, after: Attempt(self.begun), wants, sender });
        let has_more = ahead <= self.counting;
        // Who comes among those who count does, too; it is the last of them for whom there may be nothing now.
        self.counting += usize::from(ahead < self.counting);
        (Place { site: Arc::clone(site), turn, receiver }, has_more)
    }

    /// What the one behind so many others wants.
    pub(super) fn wants(&self, ahead: usize) -> Option<Wants> {
        self.waiters.get(ahead).map(|waiter| waiter.wants)
    }

    /// The one behind so many others gets that, once the lock is free.
    pub(super) fn hand_over(&mut self, ahead: usize, checkout: Checkout, later: &mut Later) {
        if let Some(waiter) = self.waiters.remove(ahead) {
            self.counting -= usize::from(ahead < self.counting);
            later.handed.push((waiter.sender, checkout));
        }
    }

    /// Another attempt is begun.
    pub(super) fn begin(&mut self) -> Attempt {
        self.begun += 1;
        Attempt(self.begun)
    }

    /// Who counted on a connection being made, has no place any more where there are so many, and waited already when that attempt was
    /// begun, learns why there is none.
    pub(super) fn fail(&mut self, places: usize, failure: &Failure, later: &mut Later) {
        if places >= self.counting {
            return;
        }
        let behind = self.waiters.split_off(self.counting);
        for waiter in self.waiters.split_off(places) {
            if waiter.after < failure.attempt {
                later.handed.push((waiter.sender, Checkout::Failed(failure.error.clone())));
            } else {
                self.waiters.push_back(waiter);
            }
        }
        self.counting = self.waiters.len();
        self.waiters.extend(behind);
    }

    /// The one behind so many others has a connection being made to count on, as those before it have. How many are before the next
    /// for whom it may be otherwise: of those who have one of these places, who wants the same goes on counting on it.
    pub(super) fn counts(&mut self, ahead: usize, places: usize) -> usize {
        let next = ahead + 1;
        self.counting = self.counting.max(next);
        let wants = self.wants(ahead);
        let end = self.counting.min(places);
        let other = (next..end).find(|index| self.wants(*index) != wants);
        other.unwrap_or(end)
    }

    /// So many from the front have one to count on, whatever they want. How many there are.
    pub(super) fn all_count(&mut self, places: usize) -> usize {
        let places = places.min(self.waiters.len());
        self.counting = self.counting.max(places);
        places
    }

    /// The one behind so many others has nothing to count on, and so those behind it have not.
    pub(super) fn counts_not(&mut self, ahead: usize) {
        self.counting = self.counting.min(ahead);
    }

    /// The first from there on who may use an idle connection, of those who may send twice if only they can: how many are before it.
    pub(super) fn next_for_idle(&self, from: usize, only_replayable: bool) -> Option<(usize, Wants)> {
        let mut behind =
            self.waiters.iter().enumerate().skip(from).map(|(ahead, waiter)| (ahead, waiter.wants));
        behind.find(|(_, wants)| !wants.fresh && (wants.replayable || !only_replayable))
    }

    /// Whether others may have waited because that one did.
    fn leave(&mut self, turn: Turn) -> bool {
        let Ok(index) = self.waiters.binary_search_by_key(&turn, |waiter| waiter.turn) else {
            return false;
        };
        self.waiters.remove(index);
        self.counting -= usize::from(index < self.counting);
        index <= self.counting && self.counting < self.waiters.len()
    }
}

/// A place in the queue. Dropping it gives it up, and passes on what it was given at that moment.
pub(super) struct Place {
    site: Arc<Site>,
    turn: Turn,
    receiver: oneshot::Receiver<Checkout>,
}

impl Place {
    /// What this one gets.
    pub(super) async fn served(&mut self) -> Option<Checkout> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.site.change_if(|state| state.queue.leave(self.turn));
        // From here on who would hand something over keeps it.
        self.receiver.close();
        if let Ok(checkout) = self.receiver.try_recv() {
            put_back(&self.site, checkout);
        }
    }
}

/// What a change of a site leaves to be done once its lock is free: each of it may take that lock.
#[derive(Default)]
pub(super) struct Later {
    /// Connections that are of no more use. Dropping one gives its place back.
    #[expect(clippy::vec_box, reason = "as in `State`")]
    pub(super) dead: Vec<Box<Http1>>,
    handed: Vec<(oneshot::Sender<Checkout>, Checkout)>,
}

impl Later {
    /// Does it.
    pub(super) fn now(self, site: &Arc<Site>) {
        for (sender, checkout) in self.handed {
            if let Err(checkout) = sender.send(checkout) {
                put_back(site, checkout);
            }
        }
    }
}

/// Nobody took it.
fn put_back(site: &Arc<Site>, checkout: Checkout) {
    match checkout {
        Checkout::Http1(connection) => site.rest(connection),
        // No stream was begun that could be reset.
        Checkout::Http2(mut slot) => slot.settle(),
        // Gives its place back when it is dropped.
        Checkout::Connect(_) | Checkout::Failed(_) => {}
    }
}
