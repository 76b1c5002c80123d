//! Where buffers rest: a mutex that nobody waits for. Compiled a second time over loom's, by `tests/shelf_model.rs`.

use super::parts::Mutex;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Shelf {
    resting: Mutex<Vec<Box<[u8]>>>,
    most: usize,
}

impl Shelf {
    /// For so many at most.
    pub(super) fn new(most: usize) -> Self {
        Self { resting: Mutex::new(Vec::new()), most }
    }

    /// The one that was put there last; none where somebody else is at the shelf just then.
    pub(super) fn take(&self) -> Option<Box<[u8]>> {
        self.resting.try_lock().ok()?.pop()
    }

    /// Dropped where the shelf is full, or somebody else is at it.
    pub(super) fn put(&self, memory: Box<[u8]>) {
        if let Ok(mut resting) = self.resting.try_lock()
            && resting.len() < self.most
        {
            resting.push(memory);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.resting.lock().expect("nobody panicked").len()
    }
}
