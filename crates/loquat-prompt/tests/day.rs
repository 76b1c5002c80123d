//! A day of traffic, made up by a seed: what each way of caching has to tokenize, and how often it hits.
//!
//! The day is `support/trace.rs`. Beside our segments stands the usual tier of whole prompts. What counts is bytes given to the tokenizer,
//! which is the same on every machine; what that takes of a processor is measured by `cargo xtask bench cache`, case `day`.
//! `LOQUAT_DAY_CHATS` makes the day longer.
#![cfg(all(feature = "cache", feature = "template"))]
#![allow(clippy::unwrap_used, reason = "tests, helpers included")]

mod support;
#[path = "support/trace.rs"]
mod trace;

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use loquat_prompt::{
    Piece, PromptTemplate, Tokenizer,
    cache::{CacheLimits, CachedTokenizer, Shelf, TokenCache},
    template::Templates,
};
use serde_json::json;
use support::Words;
use trace::{Asked, Chance, Kind, NODES, TEMPLATES, TURNS};

const SEED: u64 = 20_261_124;

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
    let mut nodes: Vec<Node> = (0..NODES).map(|_| Node::new()).collect();
    let mut turns = Turns::default();
    trace::day(SEED, chats, |asked| {
        let encoded = nodes[asked.node].serve(asked.template, asked.messages);
        turns.add(&asked, encoded);
    });
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
    // What turn N costs does not grow with N; where the node changes, what it has not seen of the chat is new to it.
    let [early, late] = [3..13, 25..40].map(|range| turns.mean(Kind::Warm, range));
    let [cold_early, cold_late] = [3..13, 25..40].map(|range| turns.mean(Kind::Cold, range));
    eprintln!(
        "encoded a turn: {early:.0} bytes early, {late:.0} late; where the node changed {cold_early:.0}, {cold_late:.0}"
    );
    assert!(late <= early * 1.05, "{early} early, {late} late");
    assert_eq!(turns.sum(Kind::Again, 0..TURNS), 0, "what was asked just now costs nothing");
}

/// The bytes that turns of each kind had to encode, and how many turns there were.
#[derive(Default)]
struct Turns(HashMap<(Kind, usize), (usize, usize)>);

impl Turns {
    fn add(&mut self, asked: &Asked<'_>, encoded: usize) {
        let sums = self.0.entry((asked.kind, asked.turn)).or_default();
        *sums = (sums.0 + encoded, sums.1 + 1);
    }

    fn all(&self, kind: Kind, range: Range<usize>) -> (usize, usize) {
        let found = range.filter_map(|turn| self.0.get(&(kind, turn)));
        found.fold((0, 0), |all, turn| (all.0 + turn.0, all.1 + turn.1))
    }

    fn sum(&self, kind: Kind, range: Range<usize>) -> usize {
        self.all(kind, range).0
    }

    fn mean(&self, kind: Kind, range: Range<usize>) -> f64 {
        let (bytes, count) = self.all(kind, range);
        assert!(count > 0, "no such turns");
        bytes as f64 / count as f64
    }
}

/// The same with Redis behind the nodes, asked always: what one has encoded none encodes again, so that a turn on another node costs what
/// it costs at home.
#[cfg(all(feature = "redis", target_os = "linux"))]
#[test]
fn a_day_of_traffic_with_redis() {
    use loquat_prompt::cache::remote::{Ask, Remote, RemoteConfig, RemoteTokens, Topology};
    use support::redis_server::RedisServer;

    let server = RedisServer::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut nodes: Vec<(Node, RemoteTokens, Remote)> = (0..NODES)
        .map(|_| {
            let mut config =
                RemoteConfig::new(Topology::Standalone(server.url().into()), "a seal of the tests alone");
            config.ask = Ask::Always;
            // Answers are of interest here, not the time they take.
            config.budget = std::time::Duration::from_secs(30);
            let remote = Remote::try_new(config).unwrap();
            runtime.block_on(remote.connect()).unwrap();
            let node = Node::new();
            let tokens = RemoteTokens::try_new(node.ours.clone(), remote.clone()).unwrap();
            (node, tokens, remote)
        })
        .collect();
    let (mut turns, mut new) = (Turns::default(), HashSet::new());
    trace::day(SEED, 100, |asked| {
        let (node, tokens, remote) = &mut nodes[asked.node];
        // What stands between two control tokens is encoded as one.
        let texts: Vec<String> = asked.messages.iter().map(|message| format!("turn\n{message}")).collect();
        let before = node.words.encoded.load(Relaxed);
        runtime.block_on(async {
            tokens.prepare(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
            // The next node asks for what this one has written.
            remote.flush().await;
        });
        let prepared = node.words.encoded.load(Relaxed) - before;
        turns.add(&asked, prepared);
        node.serve(asked.template, asked.messages);
        new.extend(texts);
    });
    let stats: Vec<_> = nodes.iter().map(|(_, _, remote)| remote.stats()).collect();
    let (hits, misses) = stats.iter().fold((0, 0), |sum, stats| (sum.0 + stats.hits, sum.1 + stats.misses));
    let home = turns.mean(Kind::Warm, 3..TURNS);
    let away = turns.mean(Kind::Cold, 3..TURNS);
    eprintln!(
        "L3: {hits} hits, {misses} misses ({:.1} %); encoded a turn: {home:.0} bytes at home, {away:.0} where the node changed",
        hits as f64 / (hits + misses) as f64 * 100.0
    );
    assert!(stats.iter().all(|stats| stats.failures + stats.disbelieved + stats.unwritten == 0), "{stats:?}");
    assert!(hits > 0, "no node is ever changed");
    let encoded: usize =
        [Kind::Warm, Kind::Cold, Kind::Again].iter().map(|kind| turns.sum(*kind, 0..TURNS)).sum();
    assert_eq!(encoded, new.iter().map(String::len).sum::<usize>(), "each message once, by one node");
    assert_eq!(misses, new.len() as u64);
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
