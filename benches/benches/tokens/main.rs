//! Text into tokens, one thread, beside what else a Rust program could use.
//!
//! Cases are `vocabulary/text`. Texts are in calls of 4 KB (as prompts come, message by message) of what a contender has not
//! seen: each turn has a slice of text of its own, and only the words that any text shares are warm. `a1M` and the like are one
//! call of a megabyte, new in each turn where it is random. Figures are MB/s of the process's time on the processor, so that
//! what a peer does in other threads is counted.
//!
//! | case | what it is |
//! |---|---|
//! | `prose`, `code`, `json` | from the sources that cargo has unpacked to build this; see `texts.rs` |
//! | `zh` | common words, drawn by rank (Zipf); made up |
//! | `a1M`, `spaces1M`, `base64-1M`, `random1M` | one letter; spaces; base64 of random bytes; random bytes as text (ms a megabyte) |
//! | `chat40` | a chat of 40 turns growing to 33 KB, counted after each: by segments that know their tokens (µs a turn) |
//! | `chat40-rendered` | the same, of the whole prompt each time, through the cache |
//! | `first-token` | a new process: from nothing to the first token (ms) |
//!
//! Peers get our vocabularies, written out as they want them: `tokenizers` a `tokenizer.json`, fastokens ranks. `tiktoken-rs` and
//! `bpe-openai` bring their own. Peers whose tokens differ from ours on a text are named on standard error.
//!
//! Instructions of one contender, to be divided by the bytes that are printed:
//!
//! ```console
//! $ LOQUAT_BENCH_COUNT=ours valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*counted*' \
//!     target/release/deps/tokens-* o200k/prose
//! ```

mod chat;
mod contenders;
mod texts;

use std::{hint::black_box, panic, process::Command, time::Instant};

use contenders::{Contender, Vocabulary};
use loquat_benches::{alloc, is_quick, machine, side};

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// Bytes of a call.
const CALL_BYTES: usize = 4096;
/// The argument that makes this program take the time to a first token.
const FIRST: &str = "--first-token";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == FIRST) {
        let began = Instant::now();
        let who = arguments.get(at + 1).map_or("", String::as_str);
        black_box(contenders::first(who));
        println!("{}", began.elapsed().as_secs_f64() * 1e3);
        return;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |case: &str| wanted.is_empty() || wanted.iter().any(|part| case.contains(part.as_str()));
    for vocabulary in [Vocabulary::O200k, Vocabulary::Cl100k] {
        let name = vocabulary.name();
        let cases: Vec<(String, texts::Kind)> = texts::KINDS
            .iter()
            .map(|kind| (format!("{name}/{}", kind.name()), *kind))
            .filter(|(case, _)| is_wanted(case))
            .collect();
        let chats: Vec<String> = ["chat40", "chat40-rendered"]
            .map(|case| format!("{name}/{case}"))
            .into_iter()
            .filter(|case| is_wanted(case))
            .collect();
        if cases.is_empty() && chats.is_empty() {
            continue;
        }
        let contenders = contenders::of(vocabulary);
        for (case, kind) in cases {
            measure(&case, kind, &contenders);
        }
        for case in chats {
            chat::measure(&case, vocabulary);
        }
    }
    if is_wanted("first-token") && std::env::var_os("LOQUAT_BENCH_COUNT").is_none() {
        first_token();
    }
}

fn measure(case: &str, kind: texts::Kind, contenders: &[Contender]) {
    let slices = kind.slices(if is_quick() { 5 } else { 15 });
    if let Ok(who) = std::env::var("LOQUAT_BENCH_COUNT") {
        for contender in contenders.iter().filter(|contender| contender.name == who) {
            encode(contender, kind, &slices[0]);
            counted(contender, kind, &slices[1]);
            eprintln!("{case}: {} bytes", slices[1].len());
        }
        return;
    }
    let mut rates = vec![Vec::new(); contenders.len()];
    let mut is_out = vec![false; contenders.len()];
    for (turn, slice) in slices.iter().enumerate() {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if turn % 2 == 1 {
            order.reverse();
        }
        let mut counts = vec![0; contenders.len()];
        order.retain(|index| !is_out[*index]);
        for index in order {
            let contender = &contenders[index];
            let before = machine::process_cpu();
            // Some overflow a stack of their own; that is a result, too.
            match panic::catch_unwind(panic::AssertUnwindSafe(|| encode(contender, kind, slice))) {
                Ok(count) => counts[index] = count,
                Err(_) => {
                    eprintln!("{case}: {} panics and is left out", contender.name);
                    is_out[index] = true;
                    continue;
                }
            }
            let seconds = (machine::process_cpu() - before).as_secs_f64();
            // The first slice warms.
            if turn > 0 {
                let megabytes = slice.len() as f64 / 1e6;
                rates[index].push(if kind.is_whole() {
                    seconds * 1e3 / megabytes
                } else {
                    megabytes / seconds
                });
            }
        }
        if turn == 0 {
            let ours = counts[0];
            for (contender, count) in contenders.iter().zip(&counts) {
                if *count != ours {
                    eprintln!("{case}: {} has {count} tokens, ours {ours}", contender.name);
                }
            }
        }
    }
    for ((contender, rates), is_out) in contenders.iter().zip(&mut rates).zip(is_out) {
        if !is_out {
            let unit = if kind.is_whole() { "ms" } else { "MB/s" };
            side::figure(case, contender.name, machine::median(rates), unit);
        }
    }
}

fn encode(contender: &Contender, kind: texts::Kind, text: &str) -> usize {
    if kind.is_whole() {
        return (contender.encode)(black_box(text));
    }
    let (mut rest, mut count) = (text, 0);
    while !rest.is_empty() {
        let (call, after) = rest.split_at(rest.floor_char_boundary(CALL_BYTES));
        count += (contender.encode)(black_box(call));
        rest = after;
    }
    count
}

/// What callgrind is told to collect.
#[inline(never)]
fn counted(contender: &Contender, kind: texts::Kind, text: &str) {
    black_box(encode(contender, kind, text));
}

fn first_token() {
    let program = std::env::current_exe().expect("this program has a path");
    for who in ["ours", "bpe-openai", "tiktoken-rs"] {
        let mut times: Vec<f64> = (0..7)
            .map(|_| {
                let output = Command::new(&program).args([FIRST, who]).output().expect("it runs");
                String::from_utf8_lossy(&output.stdout).trim().parse().expect("milliseconds")
            })
            .collect();
        side::figure("o200k/first-token", who, machine::median(&mut times), "ms");
    }
}
