//! The remote tier with real Redis servers: well, killed, paused, full, talking nonsense; alone, led by a sentinel, as a cluster. Never
//! a wrong answer, never an error, never a delay beyond the budget.
#![cfg(all(feature = "redis", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "tests, helpers included")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use loquat_prompt::{
    Tokenizer,
    cache::{
        CacheLimits, TokenCache,
        remote::{Ask, Remote, RemoteConfig, RemoteTokens, Topology},
    },
};
use support::{
    Words,
    redis_server::{RedisServer, until},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

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

fn texts(from: usize, to: usize) -> Vec<String> {
    (from..to)
        .map(|n| format!("message {n} of some conversation, with words, {}", "and more ".repeat(n % 20)))
        .collect()
}

fn bytes(texts: &[String]) -> usize {
    texts.iter().map(String::len).sum()
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
    let ttl: i64 = server.cli(&["PTTL", server.cli(&["RANDOMKEY"]).as_str()]).parse().unwrap();
    assert!((77_000_000..=95_100_000).contains(&ttl), "a day, a tenth more or less: {ttl}");

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

#[tokio::test]
async fn what_redis_has_says_nothing_of_the_cost_of_computing() {
    let server = RedisServer::start(&[]);
    let one = Node::new(standalone(server.url()), "a").await;
    one.check(&texts(0, 20)).await;
    one.written(20).await;
    let two = Node::new(standalone(server.url()), "a").await;
    let before = two.remote.costs();
    for from in 0..20 {
        assert_eq!(two.check(&texts(from, from + 1)).await, 0);
    }
    let after = two.remote.costs();
    assert_eq!(after.compute_per_kilobyte, before.compute_per_kilobyte, "nothing was computed");
    assert!(after.found > before.found && after.ask != before.ask, "{after:?}");
    // Of the next one is learned what it costs: Redis does not have it.
    two.check(&texts(19, 21)).await;
    assert_ne!(two.remote.costs().compute_per_kilobyte, before.compute_per_kilobyte);
}

#[tokio::test]
async fn values_that_were_tampered_with_are_not_believed() {
    let server = RedisServer::start(&[]);
    let all = texts(0, 20);
    let one = Node::new(standalone(server.url()), "a").await;
    one.check(&all).await;
    one.written(20).await;
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

#[tokio::test]
async fn killed_and_paused_servers_are_misses_within_the_budget() {
    let mut server = RedisServer::start(&[]);
    let mut config = standalone(server.url());
    config.budget = Duration::from_millis(50);
    config.failures_to_open = 2;
    let node = Node::new(config, "a").await;
    node.check(&texts(0, 5)).await;

    server.pause();
    let mut n = 10;
    let end = Instant::now() + NEVER;
    // Each question that a paused server is asked ends with the budget, and after two it is left alone.
    while node.remote.stats().failures < 2 || node.remote.stats().refused < 10 {
        node.check_within(&texts(n, n + 5)).await;
        n += 10;
        assert!(Instant::now() < end, "left alone: {:?}", node.remote.stats());
    }

    server.resume();
    let written = node.remote.stats().written;
    let end = Instant::now() + Duration::from_secs(20);
    let mut n = 1000;
    while node.remote.stats().written == written {
        node.check(&texts(n, n + 1)).await;
        n += 1;
        assert!(Instant::now() < end, "it comes back: {:?}", node.remote.stats());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    server.kill();
    for n in 0..50 {
        node.check_within(&texts(20_000 + n * 10, 20_005 + n * 10)).await;
    }
    let absent = Remote::try_new(standalone("redis://127.0.0.1:1".into())).unwrap();
    assert!(absent.connect().await.is_err());
    Node::of(absent, "a").check_within(&texts(0, 5)).await;
}

#[tokio::test]
async fn nothing_waits_for_connecting() {
    let server = RedisServer::start(&[]);
    // A server that is there: who waited for the connection would then have asked.
    let node = Node::of(Remote::try_new(standalone(server.url())).unwrap(), "a");
    assert_eq!(node.check(&texts(0, 5)).await, bytes(&texts(0, 5)));
    let stats = node.remote.stats();
    assert_eq!((stats.asked, stats.refused > 0), (0, true), "{stats:?}");
}

#[tokio::test]
async fn a_full_server_keeps_what_it_can() {
    let server = RedisServer::start(&["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"]);
    let node = Node::new(standalone(server.url()), "a").await;
    let long: Vec<String> = (0..400).map(|n| format!("{n} {}", "long words ".repeat(1000))).collect();
    for some in long.chunks(20) {
        node.check(some).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let end = Instant::now() + Duration::from_secs(20);
    while node.remote.stats().unwritten == 0 {
        assert!(Instant::now() < end, "{:?}", node.remote.stats());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stats = node.remote.stats();
    assert!(!stats.is_open && stats.failures == 0, "full is not down: {stats:?}");
    let other = Node::new(standalone(server.url()), "a").await;
    other.check(&long[..20]).await;
}

/// What stands between a client and Redis.
#[derive(Default)]
struct Spoiling {
    /// Until then it only hands on.
    begun: AtomicBool,
    /// Answers that came out as they were not.
    spoiled: AtomicUsize,
}

/// Hands bytes on between a client and Redis and, once that has begun, spoils the answers as told.
async fn proxy(to: u16, spoil: fn(usize, &mut Vec<u8>), spoiling: Arc<Spoiling>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { break };
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let spoiling = Arc::clone(&spoiling);
            tokio::spawn(async move {
                let (mut buffer, mut seen) = (vec![0; 16 << 10], 0);
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    let mut chunk = buffer[..read].to_vec();
                    if spoiling.begun.load(Relaxed) {
                        spoil(seen, &mut chunk);
                        seen += 1;
                        spoiling.spoiled.fetch_add(usize::from(chunk != buffer[..read]), Relaxed);
                    }
                    if to_client.write_all(&chunk).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn nonsense_from_the_wire_is_a_miss() {
    let server = RedisServer::start(&[]);
    let all = texts(0, 30);
    let one = Node::new(standalone(server.url()), "a").await;
    one.check(&all).await;
    one.written(30).await;
    let spoils: [fn(usize, &mut Vec<u8>); 5] = [
        |_, chunk| chunk.fill(b'?'),
        |n, chunk| chunk.iter_mut().skip(n % 7).step_by(97).for_each(|byte| *byte ^= 0x15),
        |n, chunk| chunk.truncate(chunk.len() * (n % 3) / 3),
        |_, chunk| *chunk = b"*1000000000\r\n$999999999\r\n".to_vec(),
        |n, chunk| {
            if n % 2 == 1 {
                *chunk = b"$-1\r\n+OK\r\n:7\r\n".to_vec();
            }
        },
    ];
    for (index, spoil) in spoils.into_iter().enumerate() {
        // The greeting is let through, so that there is a connection to spoil; those that follow on it are not.
        let spoiling = Arc::new(Spoiling::default());
        let port = proxy(server.port, spoil, Arc::clone(&spoiling)).await;
        let mut config = standalone(format!("redis://127.0.0.1:{port}"));
        config.budget = Duration::from_millis(60);
        config.near_values = index % 2 * 16;
        let node = Node::new(config, "a").await;
        spoiling.begun.store(true, Relaxed);
        for round in 0..12 {
            node.check_within(&texts(round * 3, round * 3 + 3)).await;
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
        let end = Instant::now() + Duration::from_secs(20);
        while spoiling.spoiled.load(Relaxed) == 0 {
            assert!(Instant::now() < end, "{index}: every answer came through: {:?}", node.remote.stats());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What went over a connection, there and back.
#[derive(Default)]
struct Overheard {
    there: Mutex<Vec<u8>>,
    back: Mutex<Vec<u8>>,
}

impl Overheard {
    /// Each command since the last look as its words, keys without their digests and values as nothing; and what Redis said to them.
    fn shapes(&self) -> (Vec<Vec<String>>, Vec<u8>) {
        let there = std::mem::take(&mut *self.there.lock().unwrap());
        let mut rest = there.as_slice();
        let mut commands = Vec::new();
        while !rest.is_empty() {
            let words = number(&mut rest, b'*');
            let words = (0..words).map(|_| {
                let length = number(&mut rest, b'$');
                let (word, more) = rest.split_at(length);
                rest = &more[2..];
                match std::str::from_utf8(word) {
                    Ok(key) if key.starts_with("loquat:") => format!("loquat:… of {}", key.len()),
                    Ok(millis) if millis.parse::<u64>().is_ok() => "millis".to_owned(),
                    _ if word.first() == Some(&b'L') => "value".to_owned(),
                    word => word.unwrap().to_owned(),
                }
            });
            commands.push(words.collect());
        }
        (commands, std::mem::take(&mut *self.back.lock().unwrap()))
    }
}

fn number(bytes: &mut &[u8], mark: u8) -> usize {
    assert_eq!(bytes.first(), Some(&mark));
    let end = bytes.iter().position(|byte| *byte == b'\r').unwrap();
    let number = std::str::from_utf8(&bytes[1..end]).unwrap().parse().unwrap();
    *bytes = &bytes[end + 2..];
    number
}

async fn overhearing(to: u16, overheard: Arc<Overheard>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
        let (mut asked, mut answered) = (vec![0; 16 << 10], vec![0; 16 << 10]);
        loop {
            // It is heard before it is handed on: who sees its effect finds it written down.
            tokio::select! {
                read = client.read(&mut asked) => {
                    let Ok(read @ 1..) = read else { break };
                    overheard.there.lock().unwrap().extend(&asked[..read]);
                    server.write_all(&asked[..read]).await.unwrap();
                }
                read = server.read(&mut answered) => {
                    let Ok(read @ 1..) = read else { break };
                    overheard.back.lock().unwrap().extend(&answered[..read]);
                    client.write_all(&answered[..read]).await.unwrap();
                }
            }
        }
    });
    port
}

/// What a tenant can time is what Redis is asked and what it answers: both are the same whether another has the texts or nobody has.
#[tokio::test]
async fn what_another_tenant_has_changes_nothing_that_could_be_timed() {
    let server = RedisServer::start(&[]);
    let overheard = Arc::new(Overheard::default());
    let port = overhearing(server.port, Arc::clone(&overheard)).await;
    let mut config = standalone(format!("redis://127.0.0.1:{port}"));
    config.near_values = 0;
    let victim = Node::new(config, "victim").await;
    let known = texts(0, 40);
    victim.check(&known).await;
    victim.written(40).await;
    let mut written = 40;
    // Of the same lengths, and nobody's.
    let unknown: Vec<String> = known.iter().map(|text| text.replace("message", "massage")).collect();
    // One alone is asked for in another way than many.
    for range in [0..1, 1..2, 2..40] {
        let mut seen = Vec::new();
        for texts in [&known[range.clone()], &unknown[range.clone()]] {
            // On the same connection, with the same counters, and all else as it was.
            let curious = Node::of(victim.remote.clone(), "curious");
            overheard.shapes();
            let before = curious.remote.stats();
            assert_eq!(curious.check(texts).await, bytes(texts), "nothing of it is there for this tenant");
            written += texts.len() as u64;
            curious.written(written).await;
            let after = curious.remote.stats();
            let counted = [
                after.asked - before.asked,
                after.hits - before.hits,
                after.hit_bytes - before.hit_bytes,
                after.misses - before.misses,
                after.disbelieved - before.disbelieved,
                after.failures - before.failures,
                after.refused - before.refused,
                after.unwritten - before.unwritten,
            ];
            seen.push((overheard.shapes(), counted));
        }
        let ((commands, answers), _) = &seen[0];
        assert_eq!(commands.len(), 1 + range.len(), "a question and what was written: {commands:?}");
        assert!(!answers.is_empty());
        assert_eq!(seen[0], seen[1]);
    }
    // The owner does find them: the look itself sees a difference where there is one.
    overheard.shapes();
    assert_eq!(Node::of(victim.remote.clone(), "victim").check(&known).await, 0);
    assert_eq!(overheard.shapes().0.len(), 1);
}

#[cfg(feature = "tokens")]
#[tokio::test]
async fn prose_takes_few_bytes_a_token() {
    use loquat_prompt::tokenizer::{cl100k_base, o200k_base};

    // English sentences, without the indentation of the file.
    let prose = include_str!("../../../LICENSE-APACHE").split_whitespace().collect::<Vec<_>>().join(" ");
    for vocabulary in [o200k_base().unwrap(), cl100k_base().unwrap()] {
        let server = RedisServer::start(&[]);
        let remote = Remote::try_new(standalone(server.url())).unwrap();
        remote.connect().await.unwrap();
        let tokenizer: Arc<dyn Tokenizer> = vocabulary;
        let local = TokenCache::new(CacheLimits::default()).tokenizer("a", &tokenizer);
        let tokens = RemoteTokens::try_new(local, remote.clone()).unwrap();
        tokens.prepare(&[&prose]).await.unwrap();
        remote.flush().await;
        let key = server.cli(&["RANDOMKEY"]);
        let bytes: usize = server.cli(&["STRLEN", &key]).parse().unwrap();
        let count = tokenizer.count(&prose).unwrap();
        eprintln!("{}: {bytes} bytes for {count} tokens", tokenizer.name());
        assert!(
            count > 1000 && bytes > count && bytes * 2 <= count * 5,
            "{}: {bytes} for {count}",
            tokenizer.name()
        );
    }
}

#[tokio::test]
async fn users_and_passwords_are_those_of_the_acl() {
    let server = RedisServer::start(&[
        "--user",
        "default",
        "off",
        "--user",
        "app",
        "on",
        ">right",
        "~loquat:*",
        "+@all",
    ]);
    let url = |user: &str| format!("redis://{user}@127.0.0.1:{}", server.port);
    let node = Node::new(standalone(url("app:right")), "a").await;
    node.check(&texts(0, 3)).await;
    node.written(3).await;
    let wrong = Remote::try_new(standalone(url("app:wrong"))).unwrap();
    let error = wrong.connect().await.unwrap_err();
    assert!(!format!("{error:?} {wrong:?}").contains("wrong"), "no password: {error:?}");
    Node::of(wrong, "a").check(&texts(0, 3)).await;
    // A key that the user may not touch is not written, and that is all.
    let mut elsewhere = standalone(url("app:right"));
    elsewhere.prefix = "other".to_owned();
    let node = Node::new(elsewhere, "a").await;
    node.check(&texts(0, 3)).await;
    let end = Instant::now() + Duration::from_secs(10);
    while node.remote.stats().unwritten < 3 {
        assert!(Instant::now() < end, "{:?}", node.remote.stats());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn tls_with_a_certificate_of_our_own() {
    let issued =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    let tls_port = support::redis_server::free_port();
    let server = RedisServer::start_with(
        |folder, _| {
            std::fs::write(folder.join("cert.pem"), &certificate).unwrap();
            std::fs::write(folder.join("key.pem"), &key).unwrap();
            let file = |name: &str| folder.join(name).display().to_string();
            [
                "--tls-port",
                &tls_port.to_string(),
                "--tls-cert-file",
                &file("cert.pem"),
                "--tls-key-file",
                &file("key.pem"),
                "--tls-auth-clients",
                "no",
            ]
            .map(str::to_owned)
            .to_vec()
        },
        &[],
    );
    assert!(server.folder().join("cert.pem").is_file());
    until("TLS is served", || std::net::TcpStream::connect(("127.0.0.1", tls_port)).is_ok());
    let mut config = standalone(format!("rediss://127.0.0.1:{tls_port}"));
    assert!(Remote::try_new(config.clone()).unwrap().connect().await.is_err(), "nobody vouches for it");
    config.trusted_pem = Some(certificate.into_bytes());
    let node = Node::new(config, "a").await;
    node.check(&texts(0, 3)).await;
    node.written(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three() {
    let servers: Vec<RedisServer> = (0..3)
        .map(|_| {
            RedisServer::start_with(
                |folder, _| {
                    let file = folder.join("nodes.conf").display().to_string();
                    let bus = support::redis_server::free_port().to_string();
                    [
                        "--cluster-enabled",
                        "yes",
                        "--cluster-config-file",
                        &file,
                        "--cluster-port",
                        &bus,
                        "--cluster-node-timeout",
                        "2000",
                    ]
                    .map(str::to_owned)
                    .to_vec()
                },
                &[],
            )
        })
        .collect();
    let addresses: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let mut create = vec!["--cluster", "create"];
    create.extend(addresses.iter().map(String::as_str));
    create.push("--cluster-yes");
    let said = servers[0].cli(&create);
    until(&format!("the cluster is up: {said}"), || {
        servers.iter().all(|server| server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
    });
    let topology = || Topology::Cluster(servers.iter().map(|server| server.url().into()).collect());
    let mut timed = config(topology());
    timed.budget = Duration::from_millis(500);
    let (one, two) = (Node::new(timed, "a").await, Node::new(config(topology()), "a").await);
    let all = texts(0, 60);
    assert_eq!(one.check(&all).await, bytes(&all));
    one.written(60).await;
    assert!(servers.iter().all(|server| server.cli(&["DBSIZE"]) != "0"), "all nodes hold some");
    assert_eq!(two.check(&all).await, 0, "one question, answered by three nodes");
    assert_eq!(two.remote.stats().hits, 60);
    // One node gone: what it held is computed.
    let mut servers = servers;
    servers[1].kill();
    for n in 0..5 {
        one.check_within(&texts(100 + n * 10, 110 + n * 10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_leads_to_the_new_master() {
    let mut master = RedisServer::start(&[]);
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    until("the replica follows", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
    let sentinel = RedisServer::sentinel(|port| {
        format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor fleet 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds fleet 300\nsentinel failover-timeout fleet 2000\n",
            master.port
        )
    });
    until("the sentinel knows the replica", || {
        sentinel.cli(&["SENTINEL", "REPLICAS", "fleet"]).contains(&replica.port.to_string())
    });
    let topology = Topology::Sentinel { addresses: vec![sentinel.url().into()], master: "fleet".to_owned() };
    let node = Node::new(config(topology), "a").await;
    node.check(&texts(0, 5)).await;
    node.written(5).await;
    until("the replica has it", || replica.cli(&["DBSIZE"]) == "5");

    master.kill();
    let end = Instant::now() + Duration::from_secs(30);
    let mut n = 10;
    while node.remote.stats().written < 6 || !replica.cli(&["INFO", "replication"]).contains("role:master") {
        node.check(&texts(n, n + 1)).await;
        n += 1;
        assert!(Instant::now() < end, "it finds the new master: {:?}", node.remote.stats());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let fresh = Node::of(node.remote.clone(), "a");
    assert_eq!(fresh.check(&texts(0, 5)).await, 0, "from the new master");
}
