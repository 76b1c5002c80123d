//! Stacks and what was counted at each: processor time ([`processor`]) or memory ([`heap`]), as whoever asks wants to read it.
//!
//! The result is in pprof's format (`go tool pprof`, Grafana), <https://github.com/google/pprof/blob/main/proto/profile.proto>,
//! or folded: a line per stack, outermost first, as flame graph programs read it; or the picture itself. One profile is taken at
//! a time, of whatever kind: each looks into the whole program.

mod heap;
mod processor;
mod proto;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost::Message;

use crate::flame;
pub(crate) use heap::AskHeap;
pub use heap::HeapStack;
pub(crate) use heap::take as take_heap;
pub(crate) use processor::Wanted;

/// Most different stacks kept; samples of others are added to `[other]`.
const MAX_STACKS: usize = 20_000;

static TAKING: AtomicBool = AtomicBool::new(false);

/// Whoever has it takes a profile; there is one in the program.
#[derive(Debug)]
pub(crate) struct Turn(());

impl Turn {
    /// `None` while another profile is being taken.
    pub(crate) fn take() -> Option<Self> {
        // Made only where it is ours: one that is dropped gives the turn back.
        (!TAKING.swap(true, Ordering::Acquire)).then(|| Self(()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKING.store(false, Ordering::Release);
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    /// How often a stack ran.
    Processor { took: Duration, hz: u64 },
    /// How many bytes are held that it asked for.
    Heap,
}

/// Stacks and what was counted at each.
#[derive(Debug)]
pub(crate) struct Profile {
    at: SystemTime,
    meaning: Meaning,
    /// Outermost first.
    stacks: HashMap<Vec<String>, u64>,
}

impl Profile {
    fn new(meaning: Meaning) -> Self {
        Self { at: SystemTime::now(), meaning, stacks: HashMap::new() }
    }

    fn add(&mut self, mut stack: Vec<String>, count: u64) {
        if stack.is_empty() || count == 0 {
            return;
        }
        if self.stacks.len() >= MAX_STACKS && !self.stacks.contains_key(&stack) {
            stack = vec!["[other]".to_owned()];
        }
        let sum = self.stacks.entry(stack).or_default();
        *sum = sum.saturating_add(count);
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
        let (about, unit) = match self.meaning {
            Meaning::Processor { took, hz } => {
                (format!("processor time, {:.1} s at {hz} Hz", took.as_secs_f64()), "samples")
            }
            Meaning::Heap => ("memory held, by who asked for it".to_owned(), "bytes"),
        };
        flame::svg(stacks, &about, unit)
    }

    /// In pprof's format, not compressed, which its readers take as well.
    pub(crate) fn pprof(&self) -> Vec<u8> {
        let mut words = Words::default();
        let mut kind =
            |name: &str, unit: &str| proto::ValueType { kind: words.index(name), unit: words.index(unit) };
        let mut shown = match self.meaning {
            Meaning::Processor { took, hz } => {
                let (samples, cpu) = (kind("samples", "count"), kind("cpu", "nanoseconds"));
                proto::Profile {
                    sample_type: vec![samples, cpu],
                    period_type: Some(cpu),
                    period: clamp(1_000_000_000 / u128::from(hz.max(1))),
                    duration_nanos: clamp(took.as_nanos()),
                    ..proto::Profile::default()
                }
            }
            Meaning::Heap => proto::Profile {
                sample_type: vec![kind("inuse_space", "bytes")],
                ..proto::Profile::default()
            },
        };
        shown.time_nanos = self.at.duration_since(UNIX_EPOCH).map_or(0, |at| clamp(at.as_nanos()));
        let mut functions: HashMap<&str, u64> = HashMap::new();
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
            let value = match self.meaning {
                Meaning::Processor { .. } => vec![count, count.saturating_mul(shown.period)],
                Meaning::Heap => vec![count],
            };
            shown.sample.push(proto::Sample { location_id: locations, value });
        }
        shown.string_table = words.list;
        shown.encode_to_vec()
    }
}

fn clamp(nanos: u128) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
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
