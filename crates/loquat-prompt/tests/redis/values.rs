//! What lies in Redis: shared by those it is for, believed only where it is whole.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use loquat_core::{ErrorKind, Result};

use loquat_prompt::{
    Tokenizer,
    cache::{
        CacheLimits, TokenCache,
        remote::{Remote, RemoteTokens},
    },
};

use super::{
    Node, bytes, filled, standalone,
    support::{Words, redis_server::RedisServer},
    texts,
};

/// More than a new cache keeps without a doubt: what is prepared is not computed again for Redis, nor when it is asked for.
#[tokio::test]
async fn many_texts_that_are_prepared_at_once_are_computed_once() {
    let server = RedisServer::start(&[]);
    let one = Node::new(standalone(server.url()), "a").await;
    let all = texts(0, 600);
    let computed = one.check(&all).await;
    // Texts that meet in the doorkeeper's table may be computed once more.
    assert!((bytes(&all)..bytes(&all) * 5 / 4).contains(&computed), "{computed} of {}", bytes(&all));
}

#[tokio::test]
async fn a_fleet_shares_what_one_has_computed() {
    let server = RedisServer::start(&[]);
    let (one, two) =
        (Node::new(standalone(server.url()), "a").await, Node::new(standalone(server.url()), "a").await);
    let all = texts(0, 50);
    assert_eq!(one.check(&all).await, bytes(&all));
    one.written(50).await;
    assert_eq!(two.check(&all).await, 0, "all of it from Redis, in one question");
    assert_eq!((two.remote.stats().asked, two.remote.stats().hits), (1, 50));
    assert_eq!(two.check(&all).await, 0, "and now from memory");
    assert_eq!(two.remote.stats().asked, 1);
    let ttls = server.cli(&["KEYS", "*"]);
    let ttls: Vec<i64> = ttls.lines().map(|key| server.cli(&["PTTL", key]).parse().unwrap()).collect();
    let (first, last) = (*ttls.iter().min().unwrap(), *ttls.iter().max().unwrap());
    assert!(77_000_000 <= first && last <= 95_100_000, "a day, a tenth more or less: {ttls:?}");
    assert!(last - first > 4_000_000, "what was written together does not go together: {ttls:?}");

    // Another tenant finds nothing, and names no key of the first.
    let other = Node::new(standalone(server.url()), "b").await;
    assert_eq!(other.check(&all).await, bytes(&all));
    assert_eq!(other.remote.stats().hits, 0);
    other.written(50).await;
    assert_eq!(server.cli(&["DBSIZE"]), "100");
    // A fleet with another seal finds nothing either.
    let mut sealed = standalone(server.url());
    sealed.seal = "another seal, also long enough".into();
    let sealed = Node::new(sealed, "a").await;
    assert_eq!(sealed.check(&all).await, bytes(&all));
    sealed.written(50).await;

    // Fragments and bought counts.
    one.remote.put_fragment("a", "system", 3, "Be kind.");
    one.remote.put_bought_count("a", "claude", b"request", 1234);
    one.written(52).await;
    assert_eq!(two.remote.fragment("a", "system", 3).await.as_deref(), Some("Be kind."));
    assert_eq!(two.remote.fragment("a", "system", 4).await, None);
    assert_eq!(two.remote.fragment("b", "system", 3).await, None);
    assert_eq!(two.remote.bought_count("a", "claude", b"request").await, Some(1234));
    assert_eq!(two.remote.bought_count("b", "claude", b"request").await, None);

    let inventory = two.remote.inventory().await.unwrap();
    let expected =
        [("count", 1), ("fragment", 1), ("tokens", 150)].map(|(kind, keys)| (kind.to_owned(), keys));
    assert_eq!(inventory.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(two.remote.clear().await.unwrap(), 152);
    assert_eq!(server.cli(&["DBSIZE"]), "0");
    // What the server says is gone is gone on this side, too.
    let end = Instant::now() + Duration::from_secs(10);
    while two.remote.fragment("a", "system", 3).await.is_some() {
        assert!(Instant::now() < end, "the invalidation arrives");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Keys of other programs, or below a prefix that begins alike, are neither counted nor removed, nor do they stand in the way.
#[tokio::test]
async fn only_what_is_ours_is_counted_and_removed() {
    let server = RedisServer::start(&[]);
    let mut nodes = Vec::new();
    for prefix in ["a*", "ab", "a", "a*:tokens", "[a]"] {
        let mut config = standalone(server.url());
        config.prefix = prefix.to_owned();
        let node = Node::new(config, "a").await;
        node.check(&texts(0, 3)).await;
        node.written(3).await;
        nodes.push(node);
    }
    let mut other =
        redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    for key in [&b"a*:\xff\xfe"[..], b"a*:tokens", b"aX:tokens:1:2", b"a*:\x1b[2J:1:2"] {
        redis::cmd("SET").arg(key).arg("another program's").exec_async(&mut other).await.unwrap();
    }
    for (left, node) in (4..).zip(&nodes).collect::<Vec<_>>().into_iter().rev() {
        let inventory = node.remote.inventory().await.unwrap();
        assert_eq!(inventory.into_iter().collect::<Vec<_>>(), [("tokens".to_owned(), 3)]);
        assert_eq!(node.remote.clear().await.unwrap(), 3);
        assert_eq!(server.cli(&["DBSIZE"]), (4 + (left - 4) * 3).to_string());
    }
}

#[tokio::test]
async fn what_redis_has_says_nothing_of_the_cost_of_computing() {
    let (server, _) = filled(&texts(0, 20)).await;
    let two = Node::new(standalone(server.url()), "a").await;
    let before = two.tokens.costs();
    for from in 0..20 {
        assert_eq!(two.check(&texts(from, from + 1)).await, 0);
    }
    let after = two.tokens.costs();
    assert_eq!(after.compute_per_kilobyte, before.compute_per_kilobyte, "nothing was computed");
    assert!(after.found > before.found && after.ask != before.ask, "{after:?}");
    // Of the next one is learned what it costs: Redis does not have it.
    two.check(&texts(19, 21)).await;
    assert_ne!(two.tokens.costs().compute_per_kilobyte, before.compute_per_kilobyte);
}

#[tokio::test]
async fn values_that_were_tampered_with_are_not_believed() {
    let all = texts(0, 20);
    let (server, _) = filled(&all).await;
    let keys: Vec<String> = server.cli(&["KEYS", "*"]).lines().map(str::to_owned).collect();
    assert_eq!(keys.len(), 20);
    for (index, key) in keys.iter().enumerate() {
        let said = match index % 5 {
            0 => server.cli(&["SETRANGE", key, "40", "XYZW"]),
            1 => server.cli(&["SET", key, "rubbish"]),
            2 => server.cli(&[
                "EVAL",
                "redis.call('set', KEYS[1], redis.call('getrange', KEYS[1], 0, 30))",
                "1",
                key,
            ]),
            // Of another key: whole, sealed, and in the wrong place.
            3 => server.cli(&["COPY", &keys[0], key, "REPLACE"]),
            _ => server.cli(&["SETRANGE", key, "1", "\u{7}"]),
        };
        assert!(!said.contains("ERR"), "{said}");
    }
    let two = Node::new(standalone(server.url()), "a").await;
    let computed = two.check(&all).await;
    let stats = two.remote.stats();
    assert_eq!(computed, bytes(&all), "all computed again: {stats:?}");
    assert_eq!((stats.hits, stats.disbelieved, stats.failures), (0, 20, 0), "{stats:?}");
    two.written(20).await;
    // A value of another type fails the question, not the caller.
    for key in server.cli(&["KEYS", "*"]).lines() {
        server.cli(&["DEL", key]);
        server.cli(&["LPUSH", key, "x"]);
    }
    assert_eq!(Node::new(standalone(server.url()), "a").await.check(&all).await, bytes(&all));
}

/// Its tokens are somebody's, nobody knows whose.
#[derive(Debug)]
struct Nameless;

impl Tokenizer for Nameless {
    fn name(&self) -> &'static str {
        "words"
    }

    fn vocabulary_size(&self) -> u32 {
        u32::MAX
    }

    fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        Words::default().encode(text, tokens)
    }

    fn control_token(&self, _: &str) -> Option<u32> {
        None
    }

    fn find_control(&self, _: &str) -> Option<(Range<usize>, u32)> {
        None
    }

    fn token_bytes(&self, token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        Words::default().token_bytes(token, bytes)
    }
}

#[test]
fn a_tokenizer_that_nothing_tells_from_others_shares_nothing() {
    let remote = Remote::try_new(standalone("redis://127.0.0.1:1".into())).unwrap();
    let tokenizer: Arc<dyn Tokenizer> = Arc::new(Nameless);
    let local = TokenCache::new(CacheLimits::default()).tokenizer("a", &tokenizer);
    let error = RemoteTokens::try_new(local, remote).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

/// Like [`Words`] but for one text, of which it makes more tokens than there are bytes.
#[derive(Debug)]
struct Lavish(Words);

impl Tokenizer for Lavish {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn vocabulary_size(&self) -> u32 {
        self.0.vocabulary_size()
    }

    fn fingerprint(&self) -> Option<[u8; 32]> {
        self.0.fingerprint()
    }

    fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        self.0.encode(text, tokens)?;
        if text.starts_with("message 1 ") {
            tokens.resize(text.len() + 1, 7);
        }
        Ok(())
    }

    fn control_token(&self, text: &str) -> Option<u32> {
        self.0.control_token(text)
    }

    fn find_control(&self, text: &str) -> Option<(Range<usize>, u32)> {
        self.0.find_control(text)
    }

    fn token_bytes(&self, token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        self.0.token_bytes(token, bytes)
    }
}

/// A file, a page, a conversation written as one.
#[tokio::test]
async fn of_a_long_text_that_has_grown_only_the_end_is_missing() {
    const END: usize = 5000;
    let server = RedisServer::start(&[]);
    let one = Node::new(standalone(server.url()), "a").await;
    let long = texts(0, 300).join(" ");
    let grown = format!("{long} {}", texts(300, 310).join(" "));
    assert!(long.len() > 4 * END && grown.len() - long.len() < END / 2);
    let (long, grown) = ([long], [grown]);
    assert_eq!(one.check(&long).await, bytes(&long), "once, though it is kept by segments and as a whole");
    let again = one.check(&grown).await;
    assert!((1..END).contains(&again), "{again} bytes");
    one.remote.flush().await;

    // Another node, which has seen neither, has all of it from the first, in one question.
    let two = Node::new(standalone(server.url()), "a").await;
    assert_eq!(two.check(&grown).await, 0);
    assert_eq!((two.remote.stats().asked, two.remote.stats().misses), (1, 0));
    let mut tokens = Vec::new();
    two.tokens.local().encode(&grown[0], &mut tokens).unwrap();
    assert_eq!(two.words.encoded.load(Relaxed), 0, "whoever encodes it finds its segments, too");
    // And of the shorter one what they have in common.
    let end = two.check(&long).await;
    assert!(end < END, "{end} bytes");
}

#[tokio::test]
async fn a_value_that_is_no_tokens_is_a_miss_though_it_is_sealed() {
    let server = RedisServer::start(&[]);
    let remote = Remote::try_new(standalone(server.url())).unwrap();
    remote.connect().await.unwrap();
    let lavish: Arc<dyn Tokenizer> = Arc::new(Lavish(Words::default()));
    let local = TokenCache::new(CacheLimits::default()).tokenizer("a", &lavish);
    let all = texts(0, 3);
    let lavish = RemoteTokens::try_new(local, remote.clone()).unwrap();
    lavish.prepare(&all.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    remote.flush().await;

    let node = Node::new(standalone(server.url()), "a").await;
    assert_eq!(node.check(&all).await, all[1].len(), "the others are found");
    let stats = node.remote.stats();
    assert_eq!((stats.hits, stats.misses, stats.disbelieved, stats.failures), (2, 1, 1, 0), "{stats:?}");
}

#[cfg(feature = "tokens")]
#[tokio::test]
async fn prose_takes_few_bytes_a_token() {
    use loquat_prompt::tokenizer::{cl100k_base, o200k_base};

    // English sentences, without the indentation of the file.
    let prose = include_str!("../../../../LICENSE-APACHE").split_whitespace().collect::<Vec<_>>().join(" ");
    for vocabulary in [o200k_base().unwrap(), cl100k_base().unwrap()] {
        let server = RedisServer::start(&[]);
        let remote = Remote::try_new(standalone(server.url())).unwrap();
        remote.connect().await.unwrap();
        let tokenizer: Arc<dyn Tokenizer> = vocabulary;
        let local = TokenCache::new(CacheLimits::default()).tokenizer("a", &tokenizer);
        let tokens = RemoteTokens::try_new(local, remote.clone()).unwrap();
        tokens.prepare(&[&prose]).await.unwrap();
        remote.flush().await;
        let keys = server.cli(&["KEYS", "*"]);
        let length = |key: &str| server.cli(&["STRLEN", key]).parse::<usize>().unwrap();
        let bytes: usize = keys.lines().map(length).sum();
        let count = tokenizer.count(&prose).unwrap();
        eprintln!("{}: {bytes} bytes for {count} tokens", tokenizer.name());
        assert!(
            count > 1000 && bytes > count && bytes * 2 <= count * 5,
            "{}: {bytes} for {count}",
            tokenizer.name()
        );
    }
}
