//! Successes and failures of the last while, in ten slots: the sample that a success rate is taken from.

use std::time::{Duration, Instant};

const SLOTS: usize = 10;

#[derive(Debug)]
pub(super) struct Window {
    slots: [(u32, u32); SLOTS],
    slot_nanos: u128,
    epoch: Instant,
    /// Slots since the epoch, up to the newest.
    newest: u128,
}

impl Window {
    pub(super) fn new(length: Duration, epoch: Instant) -> Self {
        let slot_nanos = (length.as_nanos() / SLOTS as u128).max(1);
        Self { slots: [(0, 0); SLOTS], slot_nanos, epoch, newest: 0 }
    }

    pub(super) fn add(&mut self, succeeded: bool, now: Instant) {
        let at = (now.saturating_duration_since(self.epoch).as_nanos() / self.slot_nanos).max(self.newest);
        let passed = (at - self.newest).min(SLOTS as u128);
        for back in 0..passed {
            self.slots[slot(at - back)] = (0, 0);
        }
        self.newest = at;
        let (successes, failures) = &mut self.slots[slot(at)];
        let count = if succeeded { successes } else { failures };
        *count = count.saturating_add(1);
    }

    /// Whether fewer than `percent` of at least `min_sample` outcomes were successes.
    pub(super) fn is_below(&self, percent: u32, min_sample: u32) -> bool {
        let (mut successes, mut all) = (0_u64, 0_u64);
        for (succeeded, failed) in self.slots {
            successes += u64::from(succeeded);
            all += u64::from(succeeded) + u64::from(failed);
        }
        all >= u64::from(min_sample.max(1)) && successes * 100 < all * u64::from(percent)
    }

    pub(super) fn clear(&mut self) {
        self.slots = [(0, 0); SLOTS];
    }
}

fn slot(at: u128) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "below SLOTS")]
    let slot = (at % SLOTS as u128) as usize;
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_a_sample_and_forgets() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(10), start);
        for n in 0..19 {
            window.add(n % 3 == 0, start);
            assert!(!window.is_below(50, 20), "too few");
        }
        window.add(false, start + Duration::from_secs(9));
        assert!(window.is_below(50, 20), "7 of 20");
        assert!(!window.is_below(35, 20), "35 % are not below 35 %");
        window.add(false, start + Duration::from_secs(10));
        assert!(!window.is_below(50, 20), "the first slot has passed");
        window.add(false, start + Duration::from_secs(500));
        assert!(window.is_below(50, 1) && !window.is_below(50, 2));
    }
}
