//! What a thread of this program is at right now, as names of functions: for the thread that cannot say so itself, because a poll
//! holds it.
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
        sync::{Mutex, MutexGuard, OnceLock, PoisonError},
        time::Duration,
    };

    use super::{ThreadNumber, capture, walk::Loaded};

    impl ThreadNumber {
        /// The thread that asks. One system call for each thread's first time.
        pub(crate) fn current() -> Option<Self> {
            thread_local!(static NUMBER: i32 = capture::this_thread());
            NUMBER.try_with(|number| Self(*number)).ok()
        }

        /// How long it has been ready to run in its life, and had no processor: the second number of `schedstat`, which Linux has where
        /// it counts them (Documentation/scheduler/sched-stats.rst).
        pub(crate) fn run_delay(self) -> Option<Duration> {
            let text = fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.0)).ok()?;
            text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
        }

        /// The functions it is in, the innermost first. Empty where they cannot be had: within 100 ms, of this very thread, or where
        /// somebody else handles `SIGPROF`.
        pub(crate) fn stack(self) -> Vec<String> {
            let Some(copy) = capture::capture(self.0) else { return Vec::new() };
            loaded().walk(&copy)
        }
    }

    pub(super) fn loaded() -> MutexGuard<'static, Loaded> {
        static LOADED: OnceLock<Mutex<Loaded>> = OnceLock::new();
        let loaded = LOADED.get_or_init(|| Mutex::new(Loaded::read()));
        loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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

    pub(crate) fn run_delay(self) -> Option<std::time::Duration> {
        None
    }
}
