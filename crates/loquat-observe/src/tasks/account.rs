//! What a thread got of the machine: how long it ran, and how long it was ready to run and had no processor.
//!
//! A poll that works for 20 ms takes 70 on the clock where 50 others want the same processor. That is no fault of the task, and nothing
//! that can be mended there; so a [`Watchdog`](super::Watchdog) takes it off. Linux counts both for each thread
//! (`/proc/…/schedstat`, Documentation/scheduler/sched-stats.rst), but to ask costs as much as a small poll. Hence a thread asks at
//! most every 5 ms, and what it may have got since then is added: at worst, 5 ms less than it waited are taken off a poll, and never
//! more.

use std::{cell::Cell, time::Duration};

use crate::stack::{self, ThreadNumber};

/// How old an account may be that a poll begins with, in nanoseconds: a tenth of the watchdog's threshold, and a question in
/// 5 ms is 0.02 % of a processor.
const FRESH: u64 = 5_000_000;
/// How far the clock may move while an account is asked for, in nanoseconds: beyond, the thread was interrupted in between.
const CLOSE: u64 = 1_000_000;
/// How often it is asked for again then.
const TRIES: u32 = 8;

/// What a thread got since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// How long it ran.
    pub(crate) ran: Duration,
    /// How long it was ready and did not.
    pub(crate) waited: Duration,
}

impl Account {
    pub(super) fn since(self, before: Self) -> Self {
        Self { ran: self.ran.saturating_sub(before.ran), waited: self.waited.saturating_sub(before.waited) }
    }
}

/// Who keeps the accounts: the system, or a test.
pub(super) trait Accounts: Send + Sync {
    /// Of the thread that asks.
    fn own(&self) -> Option<Account>;
    /// Of that thread; and whether it was asleep, or stopped, right before: if not, it may have been waiting for a processor since some
    /// time that is not in the account yet.
    fn of(&self, thread: ThreadNumber) -> Option<(Account, bool)>;
}

/// Linux, with the feature `stack`; elsewhere there are no accounts.
pub(super) struct Kernel;

impl Accounts for Kernel {
    fn own(&self) -> Option<Account> {
        stack::own_account()
    }

    fn of(&self, thread: ThreadNumber) -> Option<(Account, bool)> {
        let is_asleep = !thread.is_running()?;
        Some((thread.account()?, is_asleep))
    }
}

/// An account, and when it was right, in nanoseconds by the clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) at: u64,
    pub(super) account: Account,
}

/// This thread's account as it is now, and now: close together, so that what happens in between is not counted wrongly.
pub(super) fn exact(accounts: &dyn Accounts, clock: &dyn Fn() -> u64) -> Option<Look> {
    let mut look;
    let mut tries = 0;
    loop {
        let began = clock();
        let account = accounts.own()?;
        look = Look { at: clock(), account };
        tries += 1;
        if look.at.saturating_sub(began) <= CLOSE || tries == TRIES {
            return Some(look);
        }
    }
}

/// When the poll that is about to be made begins, and what its thread has got until then at most. `whose` tells clocks apart.
pub(super) fn before(
    accounts: &dyn Accounts,
    clock: &dyn Fn() -> u64,
    whose: usize,
) -> (u64, Option<Account>) {
    thread_local!(static LAST: Cell<Option<(usize, Look)>> = const { Cell::new(None) });
    let now = clock();
    let last = LAST.try_with(Cell::get).ok().flatten();
    let age = |look: &Look| now.checked_sub(look.at).filter(|age| *age < FRESH);
    if let Some((_, look)) = last.filter(|(owner, _)| *owner == whose)
        && let Some(age) = age(&look)
    {
        let since = Duration::from_nanos(age);
        let Account { ran, waited } = look.account;
        return (now, Some(Account { ran: ran.saturating_add(since), waited: waited.saturating_add(since) }));
    }
    let Some(look) = exact(accounts, clock) else { return (now, None) };
    // A thread that is about to end has no place for it any more.
    let _ = LAST.try_with(|last| last.set(Some((whose, look))));
    (look.at, Some(look.account))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    use super::*;

    const MS: u64 = 1_000_000;

    /// A thread that waits all the time, and whose every question takes so long by the clock.
    struct Slow<'a> {
        clock: &'a AtomicU64,
        takes: Mutex<Vec<u64>>,
    }

    impl Accounts for Slow<'_> {
        fn own(&self) -> Option<Account> {
            let takes = self.takes.lock().expect("not poisoned").pop()?;
            let at = self.clock.fetch_add(takes, Relaxed) + takes;
            Some(Account { ran: Duration::ZERO, waited: Duration::from_nanos(at) })
        }

        fn of(&self, _: ThreadNumber) -> Option<(Account, bool)> {
            None
        }
    }

    #[test]
    fn an_account_is_asked_for_seldom_and_what_may_have_been_since_is_added() {
        let clock = AtomicU64::new(10 * MS);
        let now = || clock.load(Relaxed);
        // The last of them is taken first.
        let accounts = Slow { clock: &clock, takes: Mutex::new(vec![0; 3]) };
        let left = || accounts.takes.lock().expect("not poisoned").len();
        let waited = |(at, account): (u64, Option<Account>)| (at, account.map(|account| account.waited));
        let of = |at: u64| (at, Some(Duration::from_nanos(at)));
        assert_eq!(waited(before(&accounts, &now, 1)), of(10 * MS));
        clock.store(13 * MS, Relaxed);
        assert_eq!(waited(before(&accounts, &now, 1)), of(13 * MS));
        assert_eq!(before(&accounts, &now, 1).1.expect("known").ran, Duration::from_nanos(3 * MS));
        assert_eq!(left(), 2, "asked once");
        assert_eq!(before(&accounts, &now, 2).1.expect("known").ran, Duration::ZERO);
        assert_eq!(left(), 1, "another's clock");
        clock.store(18 * MS, Relaxed);
        assert_eq!(waited(before(&accounts, &now, 2)), of(18 * MS));
        assert_eq!(left(), 0, "too old");
        clock.store(30 * MS, Relaxed);
        assert_eq!(before(&accounts, &now, 2), (30 * MS, None), "nobody keeps any");
    }

    #[test]
    fn who_is_interrupted_while_asking_asks_again_and_not_for_ever() {
        let clock = AtomicU64::new(0);
        let accounts = Slow { clock: &clock, takes: Mutex::new(vec![0, 7 * MS, 90 * MS]) };
        let look = exact(&accounts, &|| clock.load(Relaxed)).expect("an account");
        assert_eq!((look.at, look.account.waited), (97 * MS, Duration::from_millis(97)));
        assert!(accounts.takes.lock().expect("not poisoned").is_empty(), "a third time");
        *accounts.takes.lock().expect("not poisoned") = vec![2 * MS; 100];
        assert!(exact(&accounts, &|| clock.load(Relaxed)).is_some());
        assert_eq!(accounts.takes.lock().expect("not poisoned").len(), 92);
    }
}
