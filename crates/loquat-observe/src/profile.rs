//! Where the program spends its processor time: the stacks of the threads that run, so many times a second, added up.
//!
//! It deliberately sets no timer and walks nothing in a signal handler: the thread that was asked for the profile looks which
//! threads are running (`/proc/self/task`) and copies the stack of each ([`crate::stack`]). What that costs falls on that thread,
//! but for some microseconds of each that is copied. A thread that runs between two looks alone is not seen, as in any
//! profile by samples.
//!
//! The result is in pprof's format (`go tool pprof`, Grafana), <https://github.com/google/pprof/blob/main/proto/profile.proto>,
//! or folded: a line per stack, outermost first, as flame graph programs read it; or the picture itself.

use std::{
    collections::HashMap,
    fs, io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use prost::Message;

use crate::{flame, stack::ThreadNumber};

/// Longest profile, and the most samples a second: what a person waits for, and what does not disturb what it measures.
const MAX_SECONDS: u64 = 60;
const MAX_HZ: u64 = 999;
/// Most threads looked at in one turn; the rest of a larger program shows in proportion to its place in the list.
const MAX_THREADS: usize = 256;
/// Most different stacks kept; samples of others are added to `[other]`.
const MAX_STACKS: usize = 20_000;

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
}

/// Stacks and how often each was seen.
#[derive(Debug)]
pub(crate) struct Profile {
    began: SystemTime,
    took: Duration,
    hz: u64,
    /// Outermost first.
    stacks: HashMap<Vec<String>, u64>,
}

impl Profile {
    /// Takes one, for as long as is wanted; `None` while another is being taken. Blocks.
    pub(crate) fn take(wanted: Wanted) -> Option<Self> {
        static TAKING: AtomicBool = AtomicBool::new(false);
        struct Taking;
        impl Drop for Taking {
            fn drop(&mut self) {
                TAKING.store(false, Ordering::Release);
            }
        }
        if TAKING.swap(true, Ordering::Acquire) {
            return None;
        }
        let _taking = Taking;
        let (began, start) = (SystemTime::now(), Instant::now());
        let (due, gap) =
            (Duration::from_secs(wanted.seconds), Duration::from_nanos(1_000_000_000 / wanted.hz));
        let mut profile = Self { began, took: due, hz: wanted.hz, stacks: HashMap::new() };
        let mut next = gap;
        while start.elapsed() < due {
            thread::sleep(next.saturating_sub(start.elapsed()));
            for thread in running().unwrap_or_default() {
                profile.add(thread.stack());
            }
            // A turn that took too long is not made up for by two at once.
            next = (next + gap).max(start.elapsed());
        }
        profile.took = start.elapsed();
        Some(profile)
    }

    fn add(&mut self, mut stack: Vec<String>) {
        if stack.is_empty() {
            return;
        }
        stack.reverse();
        if self.stacks.len() >= MAX_STACKS && !self.stacks.contains_key(&stack) {
            stack = vec!["[other]".to_owned()];
        }
        *self.stacks.entry(stack).or_default() += 1;
    }

    /// A line per stack.
    pub(crate) fn folded(&self) -> String {
        let line = |(stack, count): (&Vec<String>, &u64)| {
            let frames: Vec<String> = stack.iter().map(|frame| frame.replace([';', '\n'], ",")).collect();
            format!("{} {count}\n", frames.join(";"))
        };
        let mut lines: Vec<String> = self.stacks.iter().map(line).collect();
        lines.sort();
        lines.concat()
    }

    /// A flame graph.
    pub(crate) fn svg(&self) -> String {
        let stacks = self.stacks.iter().map(|(stack, count)| (stack.as_slice(), *count));
        let about = format!("processor time, {:.1} s at {} Hz", self.took.as_secs_f64(), self.hz);
        flame::svg(stacks, &about)
    }

    /// In pprof's format, not compressed, which its readers take as well.
    pub(crate) fn pprof(&self) -> Vec<u8> {
        let period = i64::try_from(1_000_000_000 / self.hz.max(1)).unwrap_or(i64::MAX);
        let mut words = Words::default();
        let mut kind =
            |name: &str, unit: &str| proto::ValueType { kind: words.index(name), unit: words.index(unit) };
        let (samples, cpu) = (kind("samples", "count"), kind("cpu", "nanoseconds"));
        let mut functions: HashMap<&str, u64> = HashMap::new();
        let mut shown = proto::Profile {
            sample_type: vec![samples, cpu],
            period_type: Some(cpu),
            period,
            time_nanos: self.began.duration_since(UNIX_EPOCH).map_or(0, |at| clamp(at.as_nanos())),
            duration_nanos: clamp(self.took.as_nanos()),
            ..proto::Profile::default()
        };
        for (stack, count) in &self.stacks {
            let mut locations = Vec::with_capacity(stack.len());
            for frame in stack.iter().rev() {
                let id = functions.len() as u64 + 1;
                locations.push(*functions.entry(frame).or_insert_with(|| {
                    let name = words.index(frame);
                    shown.function.push(proto::Function { id, name, system_name: name });
                    shown.location.push(proto::Location { id, line: vec![proto::Line { function_id: id }] });
                    id
                }));
            }
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            shown.sample.push(proto::Sample {
                location_id: locations,
                value: vec![count, count.saturating_mul(period)],
            });
        }
        shown.string_table = words.list;
        shown.encode_to_vec()
    }
}

fn clamp(nanos: u128) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// The threads of this program that run right now, but for the one that asks.
fn running() -> io::Result<Vec<ThreadNumber>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc/self/task")?.take(MAX_THREADS).flatten() {
        let number =
            entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(ThreadNumber::from_word);
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Its name stands in brackets, and may hold any.
        let is_running = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('R'));
        threads.extend(number.filter(|number| is_running && ThreadNumber::current() != Some(*number)));
    }
    Ok(threads)
}

/// Each word once. The first is empty, as the format wants it.
struct Words {
    list: Vec<String>,
    known: HashMap<String, i64>,
}

impl Default for Words {
    fn default() -> Self {
        Self { list: vec![String::new()], known: HashMap::new() }
    }
}

impl Words {
    fn index(&mut self, word: &str) -> i64 {
        if let Some(index) = self.known.get(word) {
            return *index;
        }
        let index = i64::try_from(self.list.len()).unwrap_or(0);
        self.list.push(word.to_owned());
        self.known.insert(word.to_owned(), index);
        index
    }
}

/// The fields of `profile.proto` that are written here, by their numbers there.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub(super) sample_type: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub(super) sample: Vec<Sample>,
        #[prost(message, repeated, tag = "4")]
        pub(super) location: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub(super) function: Vec<Function>,
        #[prost(string, repeated, tag = "6")]
        pub(super) string_table: Vec<String>,
        #[prost(int64, tag = "9")]
        pub(super) time_nanos: i64,
        #[prost(int64, tag = "10")]
        pub(super) duration_nanos: i64,
        #[prost(message, optional, tag = "11")]
        pub(super) period_type: Option<ValueType>,
        #[prost(int64, tag = "12")]
        pub(super) period: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct ValueType {
        #[prost(int64, tag = "1")]
        pub(super) kind: i64,
        #[prost(int64, tag = "2")]
        pub(super) unit: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(uint64, repeated, tag = "1")]
        pub(super) location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub(super) value: Vec<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Location {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(message, repeated, tag = "4")]
        pub(super) line: Vec<Line>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Line {
        #[prost(uint64, tag = "1")]
        pub(super) function_id: u64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Function {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(int64, tag = "2")]
        pub(super) name: i64,
        #[prost(int64, tag = "3")]
        pub(super) system_name: i64,
    }
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
