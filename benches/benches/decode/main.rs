//! The decoder: from bytes as they arrive to the text of each delta, beside what else a Rust program could use.
//!
//! Cases are `stream/reads`: a kind of stream, in reads of one event (`event`), of 16 KiB (`16k`) or of 1 to 64 bytes
//! (`tiny`). Figures are nanoseconds per event.
//!
//! | stream | what it is |
//! |---|---|
//! | `openai`, `openai-obfuscated`, `openai-tools`, `anthropic`, `ollama` | made up after real traffic; see `streams.rs` |
//! | `short-20` | fresh replies of 20 events each: before each round all is forgotten but eight other replies |
//! | `miss` | `openai` with prediction turned off: the full pass |
//! | `recorded`, `recorded-anthropic`, `recorded-ollama` | the streams of `$LOQUAT_DATA` in these formats, each decoded once with a store that has seen eight others and never itself; left out, and said so, without |
//! | `arguments` | a tool call's arguments, 64 KiB in pieces of 4 bytes, against one parse at the end (ns for all) |
//! | `long-line` | one event of 8 MB in 1,024 reads, beside itself in one (ns for the line) |
//! | `document` | a whole answer and a list of embeddings, parsed and two values read (ns for the document) |
//!
//! Peers are in `contenders.rs`. What each checks of an event before it hands out text, ours being all of it (the framing's
//! lines and limits, UTF-8, JSON to the last byte):
//!
//! | peer | UTF-8 | JSON | limits |
//! |---|---|---|---|
//! | eventsource-stream + async-openai | all | all, and the types of known members; a member of an unexpected type is an error | depth 128 |
//! | sse-core, lines | all, as they build `String`s; `lines + sonic-rs get` leaves it to sonic-rs | – | sse-core: length of an event |
//! | … + sonic-rs `get` | | up to the value only, and there all but the digits of `\u`; what follows is not read | none |
//! | … + serde_json | | all, skipped members too | depth 128 |
//! | … + simd-json | | all, numbers converted, each string unescaped | depth 1,024 |
//! | floor: one memchr scan for line ends | – | – | – |
//!
//! simdjson's On-Demand, which is C++, is not among them: `simdjson-rust`, the one crate that is kept, binds simdjson's tree alone
//! and needs CMake.
//!
//! All contenders of a case take turns in one process, a slice of less than a millisecond each; medians over the rounds are
//! reported, so that a neighbour's burst on a shared machine strikes all alike, or nobody. What is counted is the thread's own
//! time on the processor.
//!
//! Instructions, which do not depend on the machine's mood, are counted for one contender and case at a time, to be divided by the
//! number of events that is printed:
//!
//! ```console
//! $ LOQUAT_BENCH_COUNT=ours valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*counted*' \
//!     target/release/deps/decode-* openai/event
//! ```

mod arguments;
mod contenders;
mod documents;
mod long_line;
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
    if is_wanted("long-line/1024-reads") {
        long_line::measure("long-line/1024-reads");
    }
    for (case, json) in
        [("document/answer", documents::answer()), ("document/embeddings", documents::embeddings())]
    {
        if is_wanted(case) {
            documents::measure(case, &json);
        }
    }
    for (case, api) in recorded::CASES {
        if is_wanted(case) {
            recorded::measure(case, api);
        }
    }
}

fn measure(case: &str, stream: &Stream, reads: &[&[u8]]) {
    let contenders = contenders::of(stream);
    if let Ok(who) = std::env::var("LOQUAT_BENCH_COUNT") {
        for contender in contenders.iter().filter(|contender| contender.name == who) {
            black_box((contender.run)(stream, reads));
            contenders::refresh(stream);
            counted(contender, stream, reads);
            eprintln!("{case}: {} events", stream.events);
        }
        return;
    }
    // Every contender must have found the same before its speed is of interest.
    for contender in &contenders {
        if let Some(text) = (contender.run)(stream, reads) {
            assert_eq!(text, stream.text_bytes, "{case}: {}", contender.name);
        }
    }
    let is_fresh = !stream.seen_before.is_empty();
    for contender in contenders.iter().filter(|contender| contender.name != "floor") {
        let run = || {
            black_box((contender.run)(stream, black_box(reads)));
        };
        run();
        contenders::refresh(stream);
        side::allocations_once(case, contender.name, stream.events as u64, run);
    }
    // Fresh replies are so only once.
    let repeats = |contender| if is_fresh { 1 } else { repeats(contender, stream, reads) };
    let repeats: Vec<u32> = contenders.iter().map(repeats).collect();
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds() {
        for ((contender, repeats), times) in contenders.iter().zip(&repeats).zip(&mut times) {
            contenders::refresh(stream);
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

/// What callgrind is told to collect.
#[inline(never)]
fn counted(contender: &Contender, stream: &Stream, reads: &[&[u8]]) {
    black_box((contender.run)(stream, black_box(reads)));
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
