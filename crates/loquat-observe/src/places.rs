//! A list of what is under way: put in once, taken out by its place, looked at whole. One lock for some instructions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) struct Places<T>(Mutex<Inner<T>>);

struct Inner<T> {
    taken: Vec<Option<Arc<T>>>,
    free: Vec<usize>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self(Mutex::new(Inner { taken: Vec::new(), free: Vec::new() }))
    }
}

impl<T> Places<T> {
    /// Its place.
    pub(crate) fn enter(&self, one: Arc<T>) -> usize {
        let mut inner = self.lock();
        match inner.free.pop() {
            Some(place) => {
                if let Some(free) = inner.taken.get_mut(place) {
                    *free = Some(one);
                }
                place
            }
            None => {
                inner.taken.push(Some(one));
                inner.taken.len() - 1
            }
        }
    }

    pub(crate) fn leave(&self, place: usize) {
        let mut inner = self.lock();
        let left = inner.taken.get_mut(place).and_then(Option::take);
        if left.is_some() {
            inner.free.push(place);
        }
        drop(inner); // before what left, which may be the last to hold something large
    }

    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.lock().taken.iter().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
