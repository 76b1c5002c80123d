//! The remote tier with real Redis servers: well, killed, paused, full, talking nonsense; alone, led by a sentinel, as a cluster. Never
//! a wrong answer, never an error, never a delay beyond the budget.
#![cfg(all(feature = "redis", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "tests, helpers included")]

#[path = "../support/mod.rs"]
mod support;

mod certificate;
mod failing;
mod near;
mod sentinels;
mod tenants;
mod topologies;
mod values;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use loquat_prompt::{
    Tokenizer,
    cache::{
        CacheLimits, TokenCache,
        remote::{Ask, Remote, RemoteConfig, RemoteTokens, Topology},
    },
};
use support::{Words, redis_server::RedisServer};

const SEAL: &str = "a seal of the tests alone";
/// Without a budget what is waited for here would never come; with one a machine takes far less, however busy it is.
const NEVER: Duration = Duration::from_secs(60);
/// Where answers are of interest and not the time they take: a busy machine is not taken for a slow Redis.
const BUDGET: Duration = Duration::from_secs(10);

fn config(topology: Topology) -> RemoteConfig {
    let mut config = RemoteConfig::new(topology, SEAL);
    config.budget = BUDGET;
    config.open_for = Duration::from_millis(50);
    config.ask = Ask::Always;
    config
}

fn standalone(url: String) -> RemoteConfig {
    config(Topology::Standalone(url.into()))
}

/// A node of the fleet: its own cache, its own count of what it encoded.
struct Node {
    words: Arc<Words>,
    tokens: RemoteTokens,
    remote: Remote,
}

impl Node {
    fn of(remote: Remote, tenant: &str) -> Self {
        let words = Arc::new(Words::default());
        let tokenizer: Arc<dyn Tokenizer> = words.clone();
        let local = TokenCache::new(CacheLimits::default()).tokenizer(tenant, &tokenizer);
        let tokens = RemoteTokens::try_new(local, remote.clone()).unwrap();
        words.encoded.store(0, Relaxed);
        Self { words, tokens, remote }
    }

    async fn new(config: RemoteConfig, tenant: &str) -> Self {
        let remote = Remote::try_new(config).unwrap();
        remote.connect().await.unwrap();
        Self::of(remote, tenant)
    }

    /// Prepares the texts, compares the tokens, and gives the bytes that had to be encoded.
    async fn check(&self, texts: &[String]) -> usize {
        let before = self.words.encoded.load(Relaxed);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.tokens.prepare(&texts).await.unwrap();
        for text in &texts {
            let mut expected = Vec::new();
            Words::default().encode(text, &mut expected).unwrap();
            assert_eq!(*self.tokens.local().tokens(text).unwrap(), *expected, "a wrong answer");
        }
        self.words.encoded.load(Relaxed) - before
    }

    /// As [`Node::check`], where Redis gives no answer: only the budget ends the question.
    async fn check_within(&self, texts: &[String]) -> usize {
        let checked = tokio::time::timeout(NEVER, self.check(texts)).await;
        checked.unwrap_or_else(|_| panic!("nothing ends the question: {:?}", self.remote.stats()))
    }

    async fn written(&self, values: u64) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.remote.stats().written < values {
            assert!(Instant::now() < end, "{:?}", self.remote.stats());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A server that holds the tokens of these texts, and the node that wrote them.
async fn filled(texts: &[String]) -> (RedisServer, Node) {
    let server = RedisServer::start(&[]);
    let node = Node::new(standalone(server.url()), "a").await;
    assert_eq!(node.check(texts).await, bytes(texts));
    node.written(texts.len() as u64).await;
    (server, node)
}

fn texts(from: usize, to: usize) -> Vec<String> {
    (from..to)
        .map(|n| format!("message {n} of some conversation, with words, {}", "and more ".repeat(n % 20)))
        .collect()
}

fn bytes(texts: &[String]) -> usize {
    texts.iter().map(String::len).sum()
}
