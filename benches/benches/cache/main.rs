//! What is kept of prompts, beside other ways to keep it. Figures are nanoseconds for one hit.
//!
//! | case | what it is |
//! |---|---|
//! | `l1` | a compiled template by its key, of 64 that are read by Zipf |
//! | `l2/4K/t1`, `l2/4K/t2` | the tokens of a text of 4 KB, of 256 that are read by Zipf; by one thread, by two at once |
//! | `segment` | the same by a segment's identity |
//! | `l3/4K` | the same from a Redis that this bench starts; the floor is a raw GET on a connection of the same kind, with a timer as ours |
//! | `day`, `day/novel` | processor time of tokenizing for a prompt, over a day of traffic; of texts of which none comes twice |
//!
//! Peers keep `Arc<[u32]>` under the whole text, as a user of them would write it; `textbook` is a SHA-256 in hexadecimal under a
//! locked `lru`, whose value is cloned. Contenders take turns, so that a neighbour's burst strikes all alike; medians count.

mod day;
mod remote;

use std::{
    hint::black_box,
    num::NonZeroUsize,
    sync::{Arc, Barrier, Mutex},
    thread,
    time::Instant,
};

use loquat_benches::{alloc, is_quick, machine, side};
use loquat_prompt::{
    Tokenizer,
    cache::{CacheLimits, Segment, Shelf, ShelfKey, TokenCache},
    tokenizer::o200k_base,
};
use lru::LruCache;
use sha2::{Digest as _, Sha256};

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// Bytes of a text.
const TEXT_BYTES: usize = 4096;
const TEXTS: usize = 256;
const TEMPLATES: usize = 64;
/// Look-ups of a turn.
const LOOKS: usize = 2_000;

/// Looks up the text of that number; something of what was found.
type Look<'a> = Box<dyn Fn(usize) -> usize + Sync + 'a>;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |case: &str| wanted.is_empty() || wanted.iter().any(|part| case.contains(part.as_str()));
    if is_wanted("l1") {
        l1();
    }
    let texts = texts();
    if ["l2/4K/t1", "l2/4K/t2", "segment"].into_iter().any(is_wanted) {
        l2(&texts, is_wanted);
    }
    if is_wanted("l3/4K") {
        remote::measure("l3/4K", &texts[0]);
    }
    day::measure(is_wanted);
}

/// Texts that differ from the first byte on and are equal in length.
fn texts() -> Vec<String> {
    let sentence = "The quick brown fox jumps over the lazy dog, and then it sits down to think about what it has done. ";
    (0..TEXTS)
        .map(|number| {
            let mut text = format!("{number} {}", sentence.repeat(TEXT_BYTES / sentence.len() + 1));
            text.truncate(TEXT_BYTES);
            text
        })
        .collect()
}

/// Which is read when: the logarithm of a rank is about even (Zipf).
fn order(count: usize) -> Vec<usize> {
    let mut state = 20_261_128_u64;
    (0..LOOKS)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let part = (state >> 11) as f64 / (1_u64 << 53) as f64;
            ((count as f64).powf(part) as usize).clamp(1, count) - 1
        })
        .collect()
}

fn l1() {
    let key = |number: usize| ShelfKey::of("the source of a template", number as u64);
    let keys: Vec<ShelfKey> = (0..TEMPLATES).map(key).collect();
    let shelf = Shelf::new(TEMPLATES);
    let plain = |key: &ShelfKey| (key.hash, key.version);
    let locked = Mutex::new(LruCache::new(NonZeroUsize::new(TEMPLATES).expect("some")));
    let quick = quick_cache::sync::Cache::new(TEMPLATES * 4);
    let moka = moka::sync::Cache::new(TEMPLATES as u64 * 4);
    let dash = dashmap::DashMap::new();
    for (number, key) in keys.iter().enumerate() {
        let value = Arc::new(number);
        shelf.find_or_make(*key, || Ok::<_, ()>(number)).expect("made");
        locked.lock().expect("alone").put(plain(key), Arc::clone(&value));
        quick.insert(plain(key), Arc::clone(&value));
        moka.insert(plain(key), Arc::clone(&value));
        dash.insert(plain(key), value);
    }
    let contenders: Vec<(&str, Look<'_>)> = vec![
        ("ours", Box::new(|at| shelf.read(&keys[at], |value| *value).expect("it is there"))),
        (
            "Mutex<lru> + clone",
            Box::new(|at| {
                *Arc::clone(locked.lock().expect("no panic").get(&plain(&keys[at])).expect("there"))
            }),
        ),
        ("quick_cache", Box::new(|at| *quick.get(&plain(&keys[at])).expect("it is there"))),
        ("moka", Box::new(|at| *moka.get(&plain(&keys[at])).expect("it is there"))),
        ("dashmap", Box::new(|at| **dash.get(&plain(&keys[at])).expect("it is there"))),
    ];
    measure("l1", &contenders, &order(TEMPLATES), 1);
}

fn l2(texts: &[String], is_wanted: impl Fn(&str) -> bool) {
    let plain: Arc<dyn Tokenizer> = o200k_base().expect("it is built in");
    // One entry for a text, as the peers have.
    let mut limits = CacheLimits::default();
    limits.segment_bytes = TEXT_BYTES;
    let cached = TokenCache::new(limits).tokenizer("tenant", &plain);
    let segments: Vec<Segment> = texts.iter().map(|text| Segment::new(text.as_str())).collect();
    let hex = |text: &str| {
        use std::fmt::Write as _;
        let mut written = String::with_capacity(64);
        Sha256::digest(text).iter().for_each(|byte| write!(written, "{byte:02x}").expect("to memory"));
        written
    };
    let textbook = Mutex::new(LruCache::new(NonZeroUsize::new(TEXTS * 2).expect("some")));
    let quick = quick_cache::sync::Cache::new(TEXTS * 4);
    let moka: moka::sync::Cache<Arc<str>, Arc<[u32]>> = moka::sync::Cache::new(TEXTS as u64 * 4);
    let dash: dashmap::DashMap<Arc<str>, Arc<[u32]>> = dashmap::DashMap::new();
    for text in texts {
        let tokens = cached.tokens(text).expect("any text is encoded");
        textbook.lock().expect("alone").put(hex(text), tokens.to_vec());
        quick.insert(Arc::<str>::from(text.as_str()), Arc::clone(&tokens));
        moka.insert(text.as_str().into(), Arc::clone(&tokens));
        dash.insert(text.as_str().into(), tokens);
    }
    for segment in &segments {
        segment.tokens(&cached).expect("any text is encoded");
    }
    let peers = || -> Vec<(&str, Look<'_>)> {
        vec![
            (
                "textbook",
                Box::new(|at| {
                    let key = hex(&texts[at]);
                    textbook.lock().expect("no panic").get(&key).expect("it is there").clone().len()
                }),
            ),
            ("quick_cache", Box::new(|at| quick.get(texts[at].as_str()).expect("it is there").len())),
            ("moka", Box::new(|at| moka.get(texts[at].as_str()).expect("it is there").len())),
            ("dashmap", Box::new(|at| dash.get(texts[at].as_str()).expect("it is there").len())),
        ]
    };
    for (case, threads) in [("l2/4K/t1", 1), ("l2/4K/t2", 2)] {
        if is_wanted(case) {
            let ours: Look<'_> = Box::new(|at| cached.tokens(&texts[at]).expect("it is there").len());
            let mut contenders = vec![("ours", ours)];
            contenders.extend(peers());
            measure(case, &contenders, &order(TEXTS), threads);
        }
    }
    if is_wanted("segment") {
        let ours: Look<'_> = Box::new(|at| segments[at].count(&cached).expect("it knows"));
        let mut contenders = vec![("ours", ours)];
        contenders.extend(peers());
        measure("segment", &contenders, &order(TEXTS), 1);
    }
}

fn measure(case: &str, contenders: &[(&str, Look<'_>)], order: &[usize], threads: usize) {
    let turn = |look: &Look<'_>| {
        let began = Instant::now();
        for at in order {
            black_box(look(black_box(*at)));
        }
        began.elapsed().as_nanos() as f64 / order.len() as f64
    };
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..if is_quick() { 21 } else { 101 } {
        for ((_, look), times) in contenders.iter().zip(&mut times) {
            if threads == 1 {
                times.push(turn(look));
                continue;
            }
            let barrier = Barrier::new(threads);
            let all: Vec<f64> = thread::scope(|scope| {
                let run = || {
                    barrier.wait();
                    turn(look)
                };
                let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
                running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            times.extend(all);
        }
    }
    for ((who, look), times) in contenders.iter().zip(&mut times) {
        side::allocations(case, who, order.len() as u64, || {
            order.iter().for_each(|at| {
                black_box(look(*at));
            });
        });
        side::figure(case, who, machine::median(times), "ns");
    }
}
