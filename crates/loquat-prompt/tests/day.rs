//! A day of traffic, made up by a seed: what each way of caching has to tokenize, and how often it hits.
//!
//! Templates are chosen by Zipf's law, chats grow turn by turn on nodes chosen at random, some requests are asked twice. Beside our
//! segments stands the usual tier of whole prompts. What counts is bytes given to the tokenizer, which is the same on every machine;
//! `LOQUAT_DAY_CHATS` makes the day longer.
#![cfg(all(feature = "cache", feature = "template"))]
#![allow(clippy::unwrap_used, reason = "tests, helpers included")]

mod support;

use std::{
    collections::HashSet,
    num::NonZeroUsize,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use loquat_prompt::{
    Piece, PromptTemplate, Tokenizer,
    cache::{CacheLimits, CachedTokenizer, Shelf, TokenCache},
    template::Templates,
};
use serde_json::json;
use support::Words;

const NODES: usize = 3;
const TEMPLATES: usize = 50;
const SEED: u64 = 20_261_124;

/// xorshift64*
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % bound
    }

    /// The first ones most often: the inverse of a harmonic distribution.
    #[allow(clippy::cast_possible_truncation, reason = "at most the bound")]
    fn zipf(&mut self, bound: usize) -> usize {
        let share = self.below(1_000_000) as f64 / 1e6;
        ((bound as f64 + 1.0).powf(share) as usize).saturating_sub(1).min(bound - 1)
    }

    fn words(&mut self, count: usize) -> String {
        (0..count).map(|_| format!(" w{}", self.below(3000))).collect()
    }
}

/// A machine with its caches, of either kind, and what they had to encode.
struct Node {
    shelf: Shelf<Templates>,
    ours: CachedTokenizer,
    cache: TokenCache,
    words: Arc<Words>,
    whole: lru::LruCache<String, usize>,
    whole_hits: usize,
    whole_bytes: usize,
    prompts: usize,
    prompt_bytes: usize,
    templates: HashSet<usize>,
}

impl Node {
    fn new() -> Self {
        let words = Arc::new(Words::default());
        let tokenizer: Arc<dyn Tokenizer> = words.clone();
        let cache = TokenCache::new(CacheLimits::default());
        Self {
            shelf: Shelf::new(TEMPLATES * 2),
            ours: cache.tokenizer("day", &tokenizer),
            cache,
            words,
            whole: lru::LruCache::new(NonZeroUsize::new(20_000).unwrap()),
            whole_hits: 0,
            whole_bytes: 0,
            prompts: 0,
            prompt_bytes: 0,
            templates: HashSet::new(),
        }
    }

    /// The bytes that our tokenizer had to encode for this prompt.
    fn serve(&mut self, template: usize, messages: &[String]) -> usize {
        self.templates.insert(template);
        let source = format!("You are number {template}. {{{{topic}}}}{}", " Follow the rules.".repeat(40));
        let system = PromptTemplate::from_shelf(&self.shelf, source, 1, self.ours.clone())
            .and_then(|prompt| prompt.render(&json!({"topic": "Be kind."})))
            .unwrap();
        let mut pieces = vec![Piece::Markup("<|end|>system\n"), Piece::Text(&system)];
        for message in messages {
            pieces.extend([Piece::Markup("<|end|>turn\n"), Piece::Text(message)]);
        }
        let whole: String = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Markup(text) | Piece::Text(text) => *text,
            })
            .collect();

        let before = self.words.encoded.load(Relaxed);
        let mut tokens = Vec::new();
        self.ours.encode_prompt(&pieces, &mut tokens).unwrap();
        let encoded = self.words.encoded.load(Relaxed) - before;
        if self.prompts.is_multiple_of(97) {
            let mut expected = Vec::new();
            Words::default().encode_prompt(&pieces, &mut expected).unwrap();
            assert_eq!(tokens, expected, "seed {SEED}");
        }

        self.prompts += 1;
        self.prompt_bytes += whole.len();
        if self.whole.get(&whole).is_some() {
            self.whole_hits += 1;
        } else {
            self.whole_bytes += whole.len();
            self.whole.put(whole, tokens.len());
        }
        encoded
    }
}

#[test]
fn a_day_of_traffic() {
    let chats: usize =
        std::env::var("LOQUAT_DAY_CHATS").ok().and_then(|chats| chats.parse().ok()).unwrap_or(1000);
    let mut chance = Chance(SEED);
    let mut nodes: Vec<Node> = (0..NODES).map(|_| Node::new()).collect();
    let mut by_turn = vec![(0_usize, 0_usize); 40];
    for _ in 0..chats {
        let (template, node) = (chance.zipf(TEMPLATES), chance.below(NODES));
        let mut messages: Vec<String> = Vec::new();
        let turns = chance.below(40) + 1;
        for sums in by_turn.iter_mut().take(turns) {
            let (question, answer) = (chance.below(40) + 5, chance.below(150) + 20);
            messages.push(chance.words(question));
            // Most turns stay on their node; a router's second choice starts cold.
            let node = if chance.below(20) == 0 { chance.below(NODES) } else { node };
            let encoded = nodes[node].serve(template, &messages);
            sums.0 += encoded;
            sums.1 += 1;
            // Some are asked again as they are: a retry, a second window.
            if chance.below(10) == 0 {
                nodes[node].serve(template, &messages);
            }
            messages.push(chance.words(answer));
        }
    }
    let sum = |of: fn(&Node) -> usize| nodes.iter().map(of).sum::<usize>();
    let (prompts, prompt_bytes) = (sum(|node| node.prompts), sum(|node| node.prompt_bytes));
    let (ours, whole) = (sum(|node| node.words.encoded.load(Relaxed)), sum(|node| node.whole_bytes));
    let l1 = nodes.iter().map(|node| node.shelf.stats().hit_ratio()).fold(1.0, f64::min);
    let served = 1.0 - ours as f64 / prompt_bytes as f64;
    eprintln!("{prompts} prompts of {chats} chats on {NODES} nodes, {} MB, seed {SEED}", prompt_bytes >> 20);
    eprintln!(
        "L1 hits {:.2} %; bytes from segments {:.2} %, segment hits {:.2} %",
        l1 * 100.0,
        served * 100.0,
        nodes[0].cache.stats(None).hit_ratio() * 100.0
    );
    eprintln!(
        "whole prompts: hits {:.1} %; encoded {:.1} MB, ours {:.1} MB, {:.1} times as much",
        sum(|node| node.whole_hits) as f64 / prompts as f64 * 100.0,
        whole as f64 / 1e6,
        ours as f64 / 1e6,
        whole as f64 / ours as f64
    );
    // Only first times miss, so that how often L1 hits says how long the day is.
    for node in &nodes {
        assert_eq!(node.shelf.stats().misses, node.templates.len() as u64, "compiled more than once");
    }
    assert!(l1 >= 0.99, "L1: {l1}");
    assert!(served >= 0.9, "{served}");
    assert!(ours * 5 <= whole, "{ours} against {whole}");
    // What turn N costs does not grow with N.
    let mean = |turns: &[(usize, usize)]| {
        let (bytes, count) = turns.iter().fold((0, 0), |all, turn| (all.0 + turn.0, all.1 + turn.1));
        bytes as f64 / count.max(1) as f64
    };
    let (early, late) = (mean(&by_turn[3..13]), mean(&by_turn[25..40]));
    eprintln!("encoded a turn: {early:.0} bytes early, {late:.0} bytes late");
    assert!(late <= early * 2.0, "{early} early, {late} late");
}

#[test]
fn where_nothing_comes_twice_nothing_is_lost() {
    let mut chance = Chance(SEED);
    let mut node = Node::new();
    let mut bytes = 0;
    for _ in 0..500 {
        let message = chance.words(200);
        bytes += message.len();
        node.ours.count(&message).unwrap();
    }
    assert!(node.words.encoded.load(Relaxed) <= bytes, "never more than without a cache");
    node.serve(0, &[]);
}
