//! Who waits for a place at an origin that has no more of them: first come, first served, whatever each has waited for before.
//!
//! What becomes free is handed to who has waited longest, under the lock under which it became free. If it were only announced, who
//! comes at that moment would take it, and who asks in a loop would leave nothing to the others.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::oneshot;

use super::site::{Checkout, Site, Wants};
use crate::http1::Http1;

/// Those who wait, the longest first.
#[derive(Default)]
pub(super) struct Queue {
    waiters: VecDeque<Waiter>,
    numbers: u64,
}

struct Waiter {
    number: u64,
    wants: Wants,
    sender: oneshot::Sender<Checkout>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// A number, by which one who came now is served.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The place of who has that number.
    pub(super) fn join(&mut self, site: &Arc<Site>, wants: Wants, number: u64) -> Place {
        let (sender, receiver) = oneshot::channel();
        let index = self.waiters.partition_point(|waiter| waiter.number < number);
        self.waiters.insert(index, Waiter { number, wants, sender });
        Place { site: Arc::clone(site), number, receiver }
    }

    /// Whether all who wait here came after who has that number.
    pub(super) fn is_behind(&self, number: u64) -> bool {
        self.waiters.front().is_none_or(|waiter| waiter.number > number)
    }

    /// What the first one wants.
    pub(super) fn first(&self) -> Option<Wants> {
        self.waiters.front().map(|waiter| waiter.wants)
    }

    /// The first one gets that, once the lock is free.
    pub(super) fn hand_over(&mut self, checkout: Checkout, later: &mut Later) {
        if let Some(waiter) = self.waiters.pop_front() {
            later.handed.push((waiter.sender, checkout));
        }
    }

    fn leave(&mut self, number: u64) {
        if let Ok(index) = self.waiters.binary_search_by_key(&number, |waiter| waiter.number) {
            self.waiters.remove(index);
        }
    }
}

/// A place in the queue. Dropping it gives it up, and passes on what it was given at that moment.
pub(super) struct Place {
    site: Arc<Site>,
    number: u64,
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
        self.site.lock().queue.leave(self.number);
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
