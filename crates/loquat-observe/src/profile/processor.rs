//! Where the program spends its processor time: the stacks of the threads that run, so many times a second, added up.
//!
//! It deliberately sets no timer and walks nothing in a signal handler: the thread that was asked for the profile looks which
//! threads are running (`/proc/self/task`) and has the stack of each copied ([`crate::stack`], which says why it follows no frame
//! pointers, and what a copy costs). The walk falls on that thread; each that is copied gives some microseconds for at most 64 KiB. A thread that runs between two looks alone is not seen, as in any
//! profile by samples.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use super::{Meaning, Profile, Turn};
use crate::stack::ThreadNumber;

/// Longest profile, and the most samples a second: what a person waits for, and what does not disturb what it measures.
const MAX_SECONDS: u64 = 60;
const MAX_HZ: u64 = 999;
/// Most threads looked at in one turn; the rest of a larger program shows in proportion to its place in the list.
const MAX_THREADS: usize = 256;

/// How a profile is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    seconds: u64,
    hz: u64,
}

impl Wanted {
    /// From `seconds=10&hz=99`, either of which may be left out; `None` for what is beyond the bounds or no number.
    pub(crate) fn parse(query: &str) -> Option<Self> {
        let mut wanted = Self { seconds: 10, hz: 99 };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "seconds" => wanted.seconds = value.parse().ok()?,
                "hz" => wanted.hz = value.parse().ok()?,
                _ => {}
            }
        }
        let is_bounded = (1..=MAX_SECONDS).contains(&wanted.seconds) && (1..=MAX_HZ).contains(&wanted.hz);
        is_bounded.then_some(wanted)
    }

    /// Takes one, for as long as is wanted. Blocks.
    pub(crate) fn take(self, _turn: &Turn) -> Profile {
        let start = Instant::now();
        let (due, gap) = (Duration::from_secs(self.seconds), Duration::from_nanos(1_000_000_000 / self.hz));
        let mut profile = Profile::new(Meaning::Processor { took: due, hz: self.hz });
        let mut next = gap;
        while start.elapsed() < due {
            thread::sleep(next.saturating_sub(start.elapsed()));
            for thread in running().unwrap_or_default() {
                // A thread that gets no processor is waited for, and there may be many.
                if start.elapsed() >= due {
                    break;
                }
                let mut stack = thread.stack();
                stack.reverse();
                profile.add(stack, 1);
            }
            // A turn that took too long is not made up for by two at once.
            next = (next + gap).max(start.elapsed());
        }
        profile.meaning = Meaning::Processor { took: start.elapsed(), hz: self.hz };
        profile
    }
}

/// The threads of this program that run right now, but for the one that asks.
fn running() -> io::Result<Vec<ThreadNumber>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc/self/task")?.take(MAX_THREADS).flatten() {
        let number =
            entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(ThreadNumber::from_word);
        let is_running = number.and_then(ThreadNumber::is_running) == Some(true);
        threads.extend(number.filter(|number| is_running && ThreadNumber::current() != Some(*number)));
    }
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_bounded() {
        let of = |seconds, hz| Some(Wanted { seconds, hz });
        for (query, wanted) in [
            ("", of(10, 99)),
            ("seconds=60&hz=999", of(60, 999)),
            ("format=folded&seconds=1", of(1, 99)),
            ("seconds=61", None),
            ("seconds=0", None),
            ("hz=1000", None),
            ("hz=0", None),
            ("seconds=x", None),
            ("seconds=-1", None),
            ("seconds=99999999999999999999", None),
        ] {
            assert_eq!(Wanted::parse(query), wanted, "{query}");
        }
    }
}
