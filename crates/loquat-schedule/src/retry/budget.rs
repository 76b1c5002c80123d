//! The retry budget of an endpoint: what retries, hedges and fallbacks together may add to its load.
//!
//! Without one, every layer that tries again multiplies an outage. The shape is Finagle's and tower's: a share of the
//! requests of the last ten seconds, plus a floor per second for endpoints with little traffic. Counted in ten slots of
//! a second, so that old requests stop earning.
//! <https://finagle.github.io/blog/2016/02/08/retry-budgets/>

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Slots of one second each.
const SLOTS: usize = 10;

/// How much may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetPolicy {
    /// Of the requests of the last ten seconds, in percent. Default 20: an outage costs the endpoint a fifth more
    /// than its usual load, no multiple.
    pub percent: u32,
    /// On top, per second. Default 10: at low traffic a share alone would round to nothing. Ten seconds' worth may
    /// go at once.
    pub per_second: u32,
}

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self { percent: 20, per_second: 10 }
    }
}

impl BudgetPolicy {
    /// That share in percent, and that many per second.
    pub fn new(percent: u32, per_second: u32) -> Self {
        Self { percent, per_second }
    }
}

/// A budget, shared in an `Arc` by all that send extra attempts to one endpoint. A request takes an uncontended lock
/// for some tens of nanoseconds.
#[derive(Debug)]
pub struct Budget {
    policy: BudgetPolicy,
    window: Mutex<Window>,
}

/// Requests and extra attempts by second.
#[derive(Debug)]
struct Window {
    epoch: Instant,
    /// The second that the newest slot counts.
    second: u64,
    requests: [u32; SLOTS],
    extra: [u32; SLOTS],
    /// Deposits of the newest second that are to earn nothing.
    unearned: u32,
}

impl Budget {
    /// A budget whose seconds count from `now`.
    pub fn new(policy: BudgetPolicy, now: Instant) -> Self {
        let window = Window { epoch: now, second: 0, requests: [0; SLOTS], extra: [0; SLOTS], unearned: 0 };
        Self { policy, window: Mutex::new(window) }
    }

    /// Counts a request: an operation's first attempt, which earns its share.
    pub fn deposit(&self, now: Instant) {
        self.with_window(now, |window, slot| match window.unearned {
            0 => window.requests[slot] = window.requests[slot].saturating_add(1),
            _ => window.unearned -= 1,
        });
    }

    /// Takes one extra attempt out, if there is one.
    pub fn try_withdraw(&self, now: Instant) -> bool {
        self.with_window(now, |window, slot| {
            let fits = window.has_left(self.policy);
            if fits {
                window.extra[slot] = window.extra[slot].saturating_add(1);
            }
            fits
        })
    }

    /// Whether there is an extra attempt to take out, without taking it. Somebody else may take it meanwhile.
    pub fn has_left(&self, now: Instant) -> bool {
        self.with_window(now, |window, _| window.has_left(self.policy))
    }

    /// Takes one extra attempt out, if there is one, for an operation that comes here from another endpoint: a fallback, or one more of
    /// a race. As that is no first attempt, the deposit that it makes on its way in earns nothing; else a storm of fallbacks would
    /// raise what it may take.
    pub fn try_withdraw_fallback(&self, now: Instant) -> bool {
        let fits = self.try_withdraw(now);
        if fits {
            self.with_window(now, |window, _| window.unearned = window.unearned.saturating_add(1));
        }
        fits
    }

    /// With the window moved to `now`, and the slot of `now`.
    fn with_window<T>(&self, now: Instant, change: impl FnOnce(&mut Window, usize) -> T) -> T {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        // A `now` from before the newest slot is counted in the newest.
        let second = now.saturating_duration_since(window.epoch).as_secs().max(window.second);
        for passed in (window.second + 1..=second).rev().take(SLOTS) {
            let slot = slot(passed);
            (window.requests[slot], window.extra[slot]) = (0, 0);
        }
        if second > window.second {
            // Whoever has not come in by now has been given up on the way.
            window.unearned = 0;
        }
        window.second = second;
        change(&mut window, slot(second))
    }
}

impl Window {
    fn has_left(&self, BudgetPolicy { percent, per_second }: BudgetPolicy) -> bool {
        let sum = |slots: &[u32]| slots.iter().map(|&n| u64::from(n)).sum::<u64>();
        let floor = u64::from(per_second) * SLOTS as u64 * 100;
        let earned = floor.saturating_add(sum(&self.requests).saturating_mul(percent.into()));
        (sum(&self.extra) + 1) * 100 <= earned
    }
}

fn slot(second: u64) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "below SLOTS")]
    let slot = (second % SLOTS as u64) as usize;
    slot
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn earns_a_share_and_forgets() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let budget = Budget::new(BudgetPolicy::new(20, 1), start);
        let drawn = |at| {
            let drawn = (0..1000).filter(|_| budget.has_left(at) && budget.try_withdraw(at)).count();
            assert!(!budget.has_left(at) && !budget.try_withdraw(at));
            drawn
        };
        assert!((0..1000).all(|_| budget.has_left(at(0))), "to ask takes nothing");
        assert_eq!(drawn(at(0)), 10, "the floor of ten seconds");
        (0..100).for_each(|_| budget.deposit(at(1)));
        assert_eq!(drawn(at(1)), 20, "a fifth of a hundred");
        assert_eq!(drawn(at(9)), 0, "not yet forgotten");
        assert_eq!(drawn(at(10)), 10, "the first second is");
        assert_eq!(drawn(at(11)), 0, "and the requests of the next with what they paid for");
        assert_eq!(drawn(at(500)), 10);
        assert_eq!(drawn(at(3)), 0, "a clock that lags earns nothing");
    }

    #[test]
    fn a_fallback_earns_nothing() {
        let start = Instant::now();
        let budget = Budget::new(BudgetPolicy::new(20, 0), start);
        (0..50).for_each(|_| budget.deposit(start));
        let fallbacks = (0..1000).filter(|_| {
            let allowed = budget.try_withdraw_fallback(start);
            if allowed {
                budget.deposit(start);
            }
            allowed
        });
        assert_eq!(fallbacks.count(), 10, "a fifth of those that began here");
        budget.deposit(start + Duration::from_secs(1));
        let later = start + Duration::from_secs(10);
        (0..4).for_each(|_| budget.deposit(later));
        assert!(budget.try_withdraw_fallback(later) && !budget.try_withdraw_fallback(later));
        // It never came in: the next second owes nothing for it.
        let next = start + Duration::from_secs(11);
        (0..5).for_each(|_| budget.deposit(next));
        assert_eq!((0..9).filter(|_| budget.try_withdraw(next)).count(), 0, "nine in the window, one taken");
        budget.deposit(next);
        assert!(budget.try_withdraw(next));
    }

    #[test]
    fn nothing_means_nothing() {
        let budget = Budget::new(BudgetPolicy::new(0, 0), Instant::now());
        budget.deposit(Instant::now());
        assert!(!budget.try_withdraw(Instant::now()));
    }
}
