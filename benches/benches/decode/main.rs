//! The decoder: from bytes as they arrive to the text of each delta, beside what else a Rust program could use.
//!
//! Cases are `stream/reads`: a kind of stream, in reads of one event (`event`), of 16 KiB (`16k`) or of 1 to 64 bytes
//! (`tiny`). Figures are nanoseconds per event.
//!
//! | stream | what it is |
//! |---|---|
//! | `openai`, `openai-obfuscated`, `openai-tools`, `anthropic`, `ollama` | made up after real traffic; see `streams.rs` |
//! | `short-20` | fresh replies of 20 events each; only other replies have been seen before |
//! | `miss` | `openai` with prediction turned off: the full pass |
//! | `recorded` | OpenAI chat streams of `$LOQUAT_DATA`, each after eight others; left out, and said so, without |
//! | `arguments` | a tool call's arguments, 64 KiB in pieces of 4 bytes, against one parse at the end (ns for all) |
//!
//! Peers are in `contenders.rs`. They validate less than we do: sonic-rs's `get` stops at the target, serde with borrowed
//! strings and async-openai's types stop at nothing but check no UTF-8 twice, none but simd-json notices bytes that no field
//! covers. The floor is one memchr scan for line ends.
//!
//! All contenders of a case take turns in one process, a slice of less than a millisecond each; medians over the rounds are
//! reported, so that a neighbour's burst on a shared machine strikes all alike, or nobody. What is counted is the thread's own
//! time on the processor.

mod arguments;
mod contenders;
mod recorded;
mod streams;

use std::hint::black_box;

use contenders::Contender;
use loquat_benches::{alloc, cpu, is_quick, side};
use streams::Stream;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// How long a contender's turn should take, in nanoseconds: short enough to be seldom interrupted.
const TURN_NANOS: f64 = 400_000.0;

fn main() {
    // cargo passes `--bench`; anything else chooses cases.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |case: &str| wanted.is_empty() || wanted.iter().any(|part| case.contains(part.as_str()));
    for stream in streams::all() {
        for (reads, cut) in streams::READS {
            let case = format!("{}/{reads}", stream.name);
            if is_wanted(&case) && (stream.in_all_reads || *reads == "event") {
                measure(&case, &stream, &cut(&stream));
            }
        }
    }
    if is_wanted("arguments/4-bytes") {
        arguments::measure("arguments/4-bytes");
    }
    if is_wanted("recorded/event") {
        recorded::measure("recorded/event");
    }
}

fn measure(case: &str, stream: &Stream, reads: &[&[u8]]) {
    let contenders = contenders::of(stream);
    // Every contender must have found the same before its speed is of interest.
    for contender in &contenders {
        if let Some(text) = (contender.run)(stream, reads) {
            assert_eq!(text, stream.text_bytes, "{case}: {}", contender.name);
        }
    }
    for contender in contenders.iter().filter(|contender| contender.name != "floor") {
        side::allocations(case, contender.name, stream.events as u64, || {
            black_box((contender.run)(stream, black_box(reads)));
        });
    }
    let repeats: Vec<u32> = contenders.iter().map(|contender| repeats(contender, stream, reads)).collect();
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds() {
        for ((contender, repeats), times) in contenders.iter().zip(&repeats).zip(&mut times) {
            let start = cpu::thread_nanos();
            for _ in 0..*repeats {
                black_box((contender.run)(stream, black_box(reads)));
            }
            times.push((cpu::thread_nanos() - start) / f64::from(*repeats) / stream.events as f64);
        }
    }
    for (contender, times) in contenders.iter().zip(&mut times) {
        side::figure(case, contender.name, median(times), "ns/event");
    }
}

/// Turns of each contender.
fn rounds() -> usize {
    if is_quick() { 21 } else { 101 }
}

fn repeats(contender: &Contender, stream: &Stream, reads: &[&[u8]]) -> u32 {
    let start = cpu::thread_nanos();
    black_box((contender.run)(stream, reads));
    (TURN_NANOS / (cpu::thread_nanos() - start)).clamp(1.0, 10_000.0) as u32
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
