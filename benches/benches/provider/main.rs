//! Formats: from bytes as they arrive to deltas (text, tool calls, endings), beside what other Rust SDKs make of the same bytes.
//!
//! Cases are formats; a read is one event, figures are nanoseconds of the thread's processor time per chunk of the stream (one
//! event, or one line), beginning and end included. Streams are made up after real traffic (`streams.rs`): two thousand chunks
//! of text in one reply, of `short` twenty. `recorded-*` are the streams of `$LOQUAT_DATA` that every contender can read, each
//! decoded once a round by a decoder of its own; left out, and said so, without.
//!
//! | peer | what runs |
//! |---|---|
//! | async-openai | eventsource-stream and its own types, as its client has them; without the task and the channel between |
//! | rig | its own client, whole: framing, decoder, fold; the bytes come from memory through its `HttpClientExt` |
//! | genai | its own client, whole, over the loopback, less what its HTTP client alone (reqwest) spends on the same bytes; see `genai.rs` for why |
//! | floor | one memchr scan for line ends |
//!
//! A contender is handed the reads for its own; what making a handle of each costs is nobody's decoding, and not counted.
//! Contenders take turns in one process, each a slice of about a millisecond (genai: a reply), and medians over the rounds count. A
//! turn begins with a pass that is not counted: a chunk that has just been received is in the processor's caches, one that waited
//! while the others had their turns is not.
//! Allocations are counted over a whole stream, its beginning and its end included.

mod contenders;
mod genai;
mod recorded;
mod streams;

use std::hint::black_box;

use contenders::Contender;
use loquat_benches::{alloc, cpu, is_quick, machine::median, side};
use streams::Stream;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// How long a contender's turn should take, in nanoseconds: short enough to be seldom interrupted.
const TURN_NANOS: f64 = 400_000.0;
const UNIT: &str = "ns/chunk";

fn main() {
    // cargo passes `--bench`; anything else chooses cases.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |case: &str| wanted.is_empty() || wanted.iter().any(|part| case.contains(part.as_str()));
    for stream in streams::all().iter().filter(|stream| is_wanted(stream.case)) {
        measure(stream);
    }
    for case in recorded::CASES.iter().filter(|case| is_wanted(case.name)) {
        recorded::measure(case);
    }
}

fn measure(stream: &Stream) {
    let mut contenders = contenders::of(stream.dialect);
    for contender in &contenders {
        // Every contender must have found the same before its speed is of interest.
        if let Some(text) =
            (contender.run)(stream.dialect, stream.reads.clone()).expect("the bench's stream is sound")
        {
            assert_eq!(text, stream.text_bytes, "{}: {}", stream.case, contender.name);
        }
        if contender.name != "floor" {
            let chunks = stream.reads.len() as u64;
            let mut turns = vec![stream.reads.clone(); 2];
            let run = || {
                let reads = turns.pop().expect("one turn to warm up, one to count");
                drop(black_box((contender.run)(stream.dialect, reads)));
            };
            side::allocations(stream.case, contender.name, chunks, run);
        }
    }
    let repeats: Vec<u32> = contenders.iter().map(|contender| repeats(contender, stream)).collect();
    let mut genai = genai::Over::new(stream);
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds() {
        for ((contender, repeats), times) in contenders.iter_mut().zip(&repeats).zip(&mut times) {
            // A transport owns what it hands over; making it is not decoding.
            let turns = vec![stream.reads.clone(); *repeats as usize];
            drop(black_box((contender.run)(stream.dialect, stream.reads.clone())));
            let start = cpu::thread_nanos();
            for reads in turns {
                drop(black_box((contender.run)(stream.dialect, black_box(reads))));
            }
            times.push((cpu::thread_nanos() - start) / f64::from(*repeats) / stream.reads.len() as f64);
        }
        genai.iter_mut().for_each(genai::Over::round);
    }
    for (contender, times) in contenders.iter().zip(&mut times) {
        side::figure(stream.case, contender.name, median(times), UNIT);
    }
    if let Some(genai) = genai {
        genai.tell(stream.case);
    }
}

/// Turns of each contender.
fn rounds() -> usize {
    if is_quick() { 21 } else { 101 }
}

fn repeats(contender: &Contender, stream: &Stream) -> u32 {
    let reads = stream.reads.clone();
    let start = cpu::thread_nanos();
    drop(black_box((contender.run)(stream.dialect, reads)));
    (TURN_NANOS / (cpu::thread_nanos() - start)).clamp(1.0, 10_000.0) as u32
}

/// What a contender made of one reply: bytes of text and of arguments, `None` for one that does not look for them.
type Seen = Result<Option<usize>, String>;
