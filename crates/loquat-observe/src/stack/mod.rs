//! What a thread of this program is at right now, as names of functions: for the thread that cannot say so itself, because a poll
//! holds it.
//!
//! The thread's handler copies its registers and the top of its stack (`capture`), and whoever asked walks the copy by the unwind
//! tables of what is loaded. Following frame pointers in the handler would copy less, and see less: the standard library as it is
//! shipped, and any crate or C library built without `-C force-frame-pointers`, keeps none, so that such a walk ends, or goes
//! astray, at the first function of theirs. The tables are there in every build, as panics need them. And nothing is unwound inside of a
//! handler, where a broken stack or a lock of the unwinder would hurt the program.
//!
//! The price is bytes: at most 64 KiB a sample, and what is deeper is cut off. By the test in `capture`, on a Sapphire Rapids with others
//! at work, 40 KiB took 4.6 µs and 64 KiB 7.6 µs (medians of 200; at most 45 µs), to which the signal itself comes. So a thread
//! that runs all the time loses at most some 0.08 % to the copies of a profile at 99 Hz, and 0.8 % at 999. The walk costs the
//! thread that asks.
//!
//! With the feature `stack`, on Linux on x86-64; elsewhere there are no stacks, and whatever shows them does without.

#[cfg(all(feature = "stack", target_os = "linux", target_arch = "x86_64"))]
mod capture;
#[cfg(all(feature = "stack", target_os = "linux", target_arch = "x86_64"))]
mod walk;

/// Most frames of a stack.
#[cfg(feature = "stack")]
pub(crate) const MAX_FRAMES: usize = 128;

/// A thread of this program. Cheap to copy; a number once given may be another thread's after it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThreadNumber(i32);

impl ThreadNumber {
    /// As it is kept in a word; 0 is none.
    pub(crate) fn from_word(word: i32) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }

    /// To be kept in a word.
    pub(crate) fn word(self) -> i32 {
        self.0
    }
}

#[cfg(all(feature = "stack", target_os = "linux", target_arch = "x86_64"))]
mod here {
    use std::{
        fs,
        os::unix::fs::FileExt,
        sync::{Mutex, MutexGuard, OnceLock, PoisonError},
        time::Duration,
    };

    use super::{ThreadNumber, capture, walk::Loaded};
    use crate::tasks::Account;

    impl ThreadNumber {
        /// The thread that asks. One system call for each thread's first time.
        pub(crate) fn current() -> Option<Self> {
            thread_local!(static NUMBER: i32 = capture::this_thread());
            NUMBER.try_with(|number| Self(*number)).ok()
        }

        /// What it has got in its life, which is right up to when it was last put on a processor or taken off; `None` where Linux does
        /// not count (Documentation/scheduler/sched-stats.rst).
        pub(crate) fn account(self) -> Option<Account> {
            account(&fs::read(format!("/proc/self/task/{}/schedstat", self.0)).ok()?)
        }

        /// Whether it runs, or would if it had a processor; `None` where there is no such thread.
        pub(crate) fn is_running(self) -> Option<bool> {
            let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", self.0)).ok()?;
            // Its name stands in brackets, and may hold any.
            let (_, rest) = stat.rsplit_once(')')?;
            Some(rest.trim_start().starts_with('R'))
        }

        /// The functions it is in, the innermost first. Empty where they cannot be had: within 100 ms, of this very thread, or where
        /// somebody else handles `SIGPROF`.
        pub(crate) fn stack(self) -> Vec<String> {
            let Some(copy) = capture::capture(self.0) else { return Vec::new() };
            loaded().walk(&copy)
        }
    }

    /// What the thread that asks has got in its life, to the nanosecond. One file stays open for it.
    pub(crate) fn own_account() -> Option<Account> {
        thread_local!(static FILE: Option<fs::File> = fs::File::open("/proc/thread-self/schedstat").ok());
        let mut text = [0; 128];
        let count = FILE.try_with(|file| file.as_ref()?.read_at(&mut text, 0).ok()).ok().flatten()?;
        let account = account(text.get(..count)?)?;
        // The file's own number is as old as the kernel's last tick.
        Some(Account { ran: capture::processor_time()?, ..account })
    }

    /// How long a thread ran and how long it was ready and did not, both in nanoseconds, and how often it was put on a processor: never is
    /// nothing counted, since who can read it has been.
    fn account(text: &[u8]) -> Option<Account> {
        let mut numbers = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
        let mut next = || numbers.next()?.parse().ok();
        let (ran, waited, turns) = (next()?, next()?, next()?);
        let of = Duration::from_nanos;
        (turns > 0).then_some(Account { ran: of(ran), waited: of(waited) })
    }

    pub(super) fn loaded() -> MutexGuard<'static, Loaded> {
        static LOADED: OnceLock<Mutex<Loaded>> = OnceLock::new();
        let loaded = LOADED.get_or_init(|| Mutex::new(Loaded::read()));
        loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn accounts_good_and_bad() {
            let of = |ran, waited| {
                Some(Account { ran: Duration::from_nanos(ran), waited: Duration::from_nanos(waited) })
            };
            for (text, read) in [
                ("7 9 1\n", of(7, 9)),
                ("7 0 1", of(7, 0)),
                ("0 0 1", of(0, 0)),
                ("0 0 0\n", None),
                ("", None),
                ("7", None),
                ("7 9", None),
                ("-7 9 1", None),
                ("99999999999999999999 9 1", None),
                ("\u{e9} 9", None),
            ] {
                assert_eq!(account(text.as_bytes()), read, "{text}");
            }
        }

        #[test]
        fn threads_are_told_apart_by_what_they_do() {
            let own = ThreadNumber::current().expect("Linux");
            assert_eq!(own.is_running(), Some(true));
            assert_eq!(ThreadNumber(i32::MAX).is_running(), None);
            // Not every kernel counts; one that does counts on.
            let Some(before) = own_account() else {
                return assert_eq!(own.account(), None, "both or none");
            };
            while own_account().expect("it counts").ran < before.ran + Duration::from_millis(20) {
                std::hint::spin_loop();
            }
            assert!(own.account().expect("it counts").ran > before.ran);
        }
    }
}

#[cfg(all(feature = "stack", target_os = "linux", target_arch = "x86_64"))]
pub(crate) use here::own_account;

/// For the fuzz target `stack`: how many frames a walk over arbitrary registers and memory comes to.
#[cfg(all(feature = "stack", target_os = "linux", target_arch = "x86_64"))]
pub fn walk_hostile(input: &[u8]) -> usize {
    here::loaded().walk_hostile(input)
}

/// Names of functions by addresses in them, each looked for once.
#[cfg(feature = "stack")]
#[derive(Debug, Default)]
pub(crate) struct Names(std::collections::HashMap<u64, String>);

#[cfg(feature = "stack")]
impl Names {
    /// What stands at that address; the number itself where nobody knows.
    pub(crate) fn of(&mut self, address: u64) -> String {
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        let find = |address| here::loaded().name(address);
        #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
        let find = |address| format!("{address:#x}");
        self.0.entry(address).or_insert_with_key(|address| find(*address)).clone()
    }
}

#[cfg(not(all(feature = "stack", target_os = "linux", target_arch = "x86_64")))]
impl ThreadNumber {
    pub(crate) fn current() -> Option<Self> {
        None
    }

    pub(crate) fn stack(self) -> Vec<String> {
        Vec::new()
    }

    pub(crate) fn account(self) -> Option<crate::tasks::Account> {
        None
    }

    pub(crate) fn is_running(self) -> Option<bool> {
        None
    }
}

#[cfg(not(all(feature = "stack", target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn own_account() -> Option<crate::tasks::Account> {
    None
}
