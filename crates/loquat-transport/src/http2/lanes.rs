//! The lanes of a connection: those that streams have, and those that wait for the next ones. Compiled a second time over loom's
//! parts, by `tests/lanes_model.rs`.

use std::sync::PoisonError;

use super::parts::{Arc, Lane, Mutex, MutexGuard, Relaxed, Timer};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Lanes(Mutex<Places>);

#[derive(Debug)]
struct Places {
    open: Vec<Arc<Lane>>,
    /// For the next streams, each with the timer of the last caller: at most one for each stream that was ever open at once.
    idle: Vec<(Arc<Lane>, Option<Timer>)>,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Places { open: Vec::new(), idle: Vec::new() }))
    }

    /// A lane in which a stream has begun, and a timer where one is there.
    pub(super) fn enter(
        &self,
        make: impl FnOnce() -> Lane,
        begin: impl FnOnce(&Lane),
    ) -> (Arc<Lane>, Option<Timer>) {
        let mut places = self.lock();
        let (lane, timer) = places.idle.pop().unwrap_or_else(|| (Arc::new(make()), None));
        begin(&lane);
        lane.index.store(places.open.len(), Relaxed);
        places.open.push(Arc::clone(&lane));
        (lane, timer)
    }

    /// The lane's stream ends, and what `end` takes out of there is all that is left of it; its caller's timer goes to the next one.
    pub(super) fn leave<T>(&self, lane: &Arc<Lane>, timer: Option<Timer>, end: impl FnOnce(&Lane) -> T) -> T {
        // Before it is left: a lane is empty when it is another's.
        let left = end(lane);
        let mut places = self.lock();
        let index = lane.index.load(Relaxed);
        if places.open.get(index).is_some_and(|other| Arc::ptr_eq(other, lane)) {
            let lane = places.open.swap_remove(index);
            if let Some(moved) = places.open.get(index) {
                moved.index.store(index, Relaxed);
            }
            // Its caller's and this one. Whoever else has it took it under this lock, and may be about to give its stream up.
            if Arc::strong_count(&lane) == 2 {
                places.idle.push((lane, timer));
            }
        }
        left
    }

    /// Of all that streams have, under the lock.
    pub(super) fn sum(&self, of: impl Fn(&Lane) -> usize) -> usize {
        self.lock().open.iter().fold(0, |sum, lane| sum.saturating_add(of(lane)))
    }

    /// Those that are so, to be looked at without the lock. Their streams may be over then, but no others have begun there.
    pub(super) fn those(&self, are: impl Fn(&Lane) -> bool) -> Vec<Arc<Lane>> {
        self.lock().open.iter().filter(|lane| are(lane)).cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().open.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
