//! A day of traffic: what tokenizing takes of a processor, a prompt, for each way to remember.
//!
//! The day is that of the crate's test `day`, whose bytes are counted there; here they are really encoded. Time is the thread's own on
//! the processor, so that a neighbour's does not count. What wobbles all the same is told apart by instructions, of one day of one way:
//!
//! ```console
//! $ LOQUAT_BENCH_COUNT=ours valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*counted*' \
//!       target/release/deps/cache-HASH --bench day/novel
//! ```

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    hint::black_box,
    num::NonZeroUsize,
    sync::Arc,
};

use loquat_benches::{cpu::thread_nanos, is_quick, machine, side};
use loquat_prompt::{
    Piece, Tokenizer,
    cache::{CacheLimits, CachedTokenizer, TokenCache},
    tokenizer::o200k_base,
};
use lru::LruCache;

#[allow(dead_code, reason = "the test uses more of it")]
#[path = "../../../crates/loquat-prompt/tests/support/trace.rs"]
mod trace;

const SEED: u64 = 20_261_124;

/// Which traffic.
#[derive(Clone, Copy)]
enum Traffic {
    /// Chats that grow.
    Day,
    /// Messages of which none comes twice: what remembering costs where it cannot help.
    Novel,
}

/// A node's ways to remember.
struct Node {
    segments: CachedTokenizer,
    whole: LruCache<String, Vec<u32>>,
}

/// Each way to remember by its name.
const WAYS: [&str; 3] = ["ours", "whole prompts", "no cache"];

pub fn measure(is_wanted: impl Fn(&str) -> bool) {
    // A round is a day of each way, one after the other, with nothing kept from the last one.
    for (case, traffic) in [("day", Traffic::Day), ("day/novel", Traffic::Novel)] {
        if !is_wanted(case) {
            continue;
        }
        if let Ok(wanted) = std::env::var("LOQUAT_BENCH_COUNT") {
            if let Some(who) = WAYS.iter().position(|way| *way == wanted) {
                let _ = day(traffic, who);
            }
            continue;
        }
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..if is_quick() { 3 } else { 9 } {
            let mut same = None;
            for (who, times) in times.iter_mut().enumerate() {
                let (time, tokens) = day(traffic, who);
                times.push(time);
                assert_eq!(tokens, *same.get_or_insert(tokens), "{case}, {}: other tokens", WAYS[who]);
            }
        }
        for (who, times) in WAYS.into_iter().zip(&mut times) {
            side::figure(case, who, machine::median(times), "ns");
        }
    }
}

/// Nanoseconds of processor time for a prompt, and the hash of all tokens, which is the same for each way.
fn day(traffic: Traffic, who: usize) -> (f64, u64) {
    let plain: Arc<dyn Tokenizer> = o200k_base().expect("it is built in");
    let mut nodes: Vec<Node> = (0..trace::NODES)
        .map(|_| Node {
            segments: TokenCache::new(CacheLimits::default()).tokenizer("tenant", &plain),
            whole: LruCache::new(NonZeroUsize::new(20_000).expect("some")),
        })
        .collect();
    let (mut spent, mut prompts, mut tokens) = (0.0, 0_u32, Vec::new());
    let mut all = DefaultHasher::new();
    let mut serve = |node: usize, messages: &[String]| {
        let mut pieces = Vec::new();
        for message in messages {
            pieces.extend([Piece::Markup("<|endofprompt|>user\n"), Piece::Text(message)]);
        }
        let whole: String = messages.iter().flat_map(|message| ["<|endofprompt|>user\n", message]).collect();
        let node = &mut nodes[node];
        tokens.clear();
        // Reading the clock is a call of the kernel, a tenth of what a prompt takes with ours: an empty span is taken off each.
        let empty = thread_nanos();
        let began = thread_nanos();
        counted(|| match who {
            0 => node.segments.encode_prompt(&pieces, &mut tokens).expect("any prompt is encoded"),
            1 => match node.whole.get(&whole) {
                Some(kept) => tokens.extend_from_slice(kept),
                None => {
                    plain.encode_prompt(&pieces, &mut tokens).expect("any prompt is encoded");
                    node.whole.put(whole, tokens.clone());
                }
            },
            _ => plain.encode_prompt(&pieces, &mut tokens).expect("any prompt is encoded"),
        });
        spent += (thread_nanos() - began) - (began - empty);
        prompts += 1;
        black_box(&tokens).hash(&mut all);
    };
    match traffic {
        Traffic::Day => trace::day(SEED, 100, |asked| serve(asked.node, asked.messages)),
        Traffic::Novel => {
            let mut chance = trace::Chance(SEED);
            (0..2_000).for_each(|_| serve(0, &[chance.words(200)]));
        }
    }
    (spent / f64::from(prompts), all.finish())
}

/// What callgrind is told to collect.
#[inline(never)]
fn counted(serve: impl FnOnce()) {
    serve();
}
