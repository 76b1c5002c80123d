//! Numbers that nothing else in the process has had. An extractor takes some together: a locked instruction costs as much as a fifth of an
//! event.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many are taken together. The first of them is nobody's.
const AT_ONCE: u64 = 64;

/// How many have been taken.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Those that one extractor has taken.
#[derive(Default)]
pub(crate) struct Serials {
    /// The next one; none is left where it is a multiple of those taken together.
    next: u64,
}

impl Serials {
    pub(crate) fn next(&mut self) -> Option<NonZeroU64> {
        if self.next.is_multiple_of(AT_ONCE) {
            self.next = TAKEN.fetch_add(AT_ONCE, Ordering::Relaxed) + 1;
        }
        let serial = NonZeroU64::new(self.next);
        self.next += 1;
        serial
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let mut takers: [Serials; 3] = Default::default();
        let mut seen = HashSet::new();
        for turn in 0..1000 {
            let serial = takers[turn * turn % 3].next();
            assert!(serial.is_some_and(|serial| seen.insert(serial)), "{serial:?}");
        }
    }
}
