//! Servers that fail: gone, silent, full, not there yet, or talking nonsense.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use loquat_core::ErrorKind;
use loquat_prompt::cache::remote::Remote;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{NEVER, Node, bytes, filled, standalone, support::redis_server::RedisServer, texts};

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

/// The clock stands still but for what is waited for: that is the budget, however busy the machine.
#[tokio::test]
async fn a_question_without_an_answer_takes_its_budget_and_no_longer() {
    let server = RedisServer::start(&[]);
    let asked = texts(0, 5);
    for budget in [5, 40, 3_000].map(Duration::from_millis) {
        let mut config = standalone(server.url());
        config.budget = budget;
        let node = Node::new(config, "a").await;
        server.pause();
        tokio::time::pause();
        let (began, before) = (tokio::time::Instant::now(), node.tokens.costs());
        assert_eq!(node.check(&asked).await, bytes(&asked));
        let took = began.elapsed();
        // Timers count whole milliseconds.
        assert!(took >= budget && took <= budget + Duration::from_millis(1), "{took:?} of {budget:?}");
        let stats = node.remote.stats();
        assert_eq!((stats.asked, stats.failures, stats.misses), (1, 1, 5), "{stats:?}");
        assert_eq!(stats.time, took);
        // And what it cost is learnt: who asks in vain for long asks less.
        let after = node.tokens.costs();
        assert!(after.ask > before.ask && after.pays_from_bytes > before.pays_from_bytes, "{after:?}");
        tokio::time::resume();
        server.resume();
    }
}

/// However many questions a prompt is.
#[tokio::test]
async fn many_questions_without_answers_take_one_budget() {
    let server = RedisServer::start(&[]);
    // Three questions and a half.
    let asked = texts(0, 1800);
    let budget = Duration::from_millis(40);
    let mut config = standalone(server.url());
    (config.budget, config.failures_to_open) = (budget, 100);
    let node = Node::new(config, "a").await;
    server.pause();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    // Texts that meet in the doorkeeper's table may be computed once more.
    let computed = node.check(&asked).await;
    assert!((bytes(&asked)..bytes(&asked) * 5 / 4).contains(&computed), "{computed}");
    let took = began.elapsed();
    assert!(took >= budget && took <= budget + Duration::from_millis(1), "{took:?}");
    assert_eq!(node.remote.stats().asked, 1);
    tokio::time::resume();
    server.resume();
}

#[tokio::test]
async fn an_outage_says_nothing_of_what_redis_has() {
    let (mut server, _) = filled(&texts(0, 20)).await;
    let mut config = standalone(server.url());
    config.open_for = NEVER;
    let node = Node::new(config, "a").await;
    node.check(&texts(0, 20)).await;
    let before = node.tokens.costs();
    server.kill();
    for n in 1..200 {
        node.check_within(&texts(n * 100, n * 100 + 1)).await;
    }
    let (after, stats) = (node.tokens.costs(), node.remote.stats());
    assert!(stats.refused > 150, "{stats:?}");
    assert_eq!((after.found, after.ask), (before.found, before.ask), "{stats:?}");
}

/// What is kept on this side takes a microsecond, and what is written nobody waits for.
#[tokio::test]
async fn what_else_is_in_redis_says_nothing_of_tokens() {
    let (server, _) = filled(&texts(0, 3)).await;
    let node = Node::new(standalone(server.url()), "a").await;
    node.check(&texts(0, 3)).await;
    let before = node.tokens.costs();
    node.remote.put_fragment("a", "system", 1, "Be kind.");
    node.remote.flush().await;
    for _ in 0..200 {
        assert_eq!(node.remote.fragment("a", "system", 1).await.as_deref(), Some("Be kind."));
    }
    assert_eq!(node.tokens.costs(), before);
    // Another tokenizer or tenant has texts of its own.
    let other = Node::of(node.remote.clone(), "b");
    other.check(&texts(100, 120)).await;
    assert_eq!(node.tokens.costs(), before);
    assert_ne!(other.tokens.costs().found, before.found);
}

/// A server that greets and then says nothing more to anybody.
#[tokio::test]
async fn who_counts_or_clears_does_not_wait_for_ever() {
    let server = RedisServer::start(&[]);
    let silent: fn(usize, &mut Vec<u8>) = |_, chunk| chunk.clear();
    let spoiling = Arc::new(Spoiling::default());
    let port = proxy(server.port, silent, Arc::clone(&spoiling)).await;
    let mut config = standalone(format!("redis://127.0.0.1:{port}"));
    config.budget = Duration::from_millis(100);
    let remote = Remote::try_new(config).unwrap();
    remote.connect().await.unwrap();
    spoiling.begun.store(true, Relaxed);
    let within = |what| tokio::time::timeout(NEVER, what);
    let error = within(remote.inventory()).await.expect("it ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let cleared = tokio::time::timeout(NEVER, remote.clear()).await.expect("it ends");
    assert_eq!(cleared.unwrap_err().kind(), ErrorKind::Timeout);
}

/// What waits to be written takes no more memory than was said, and leaves it when it is written.
#[tokio::test]
async fn what_waits_to_be_written_is_bounded() {
    let server = RedisServer::start(&[]);
    let mut config = standalone(server.url());
    config.max_write_bytes = 10_000;
    let node = Node::new(config, "a").await;
    let text = "x".repeat(3000);
    for round in 1..4 {
        for version in 0..10 {
            node.remote.put_fragment("a", "system", version, &text);
        }
        node.remote.flush().await;
        let stats = node.remote.stats();
        assert_eq!((stats.written, stats.unwritten), (3 * round, 7 * round), "{stats:?}");
    }
}

#[test]
fn without_a_runtime_nothing_is_written_and_nothing_panics() {
    let server = RedisServer::start(&[]);
    let remote = Remote::try_new(standalone(server.url())).unwrap();
    remote.put_fragment("a", "system", 1, "Be kind.");
    remote.put_bought_count("a", "m", b"request", 7);
    assert_eq!(remote.stats().unwritten, 2);
}

#[tokio::test]
async fn what_is_to_be_kept_for_ever_is_kept() {
    let server = RedisServer::start(&[]);
    for keep_for in [Duration::MAX, Duration::from_secs(u64::MAX / 4000), Duration::ZERO] {
        let mut config = standalone(server.url());
        config.keep_for = keep_for;
        let node = Node::new(config, "a").await;
        node.remote.put_fragment("a", "system", 1, "Be kind.");
        node.remote.flush().await;
        assert_eq!(node.remote.stats().written, 1, "{keep_for:?}");
    }
}

#[test]
fn what_a_runtime_began_and_did_not_end_is_begun_anew() {
    let server = RedisServer::start(&[]);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = Node::of(Remote::try_new(standalone(server.url())).unwrap(), "a");
    // Nobody waits for the connection: it is dropped with its runtime.
    runtime().block_on(node.check(&texts(0, 5)));
    assert_eq!(node.remote.stats().asked, 0);
    runtime().block_on(async {
        let end = Instant::now() + NEVER;
        let mut n = 10;
        while node.remote.stats().asked == 0 {
            assert!(Instant::now() < end, "nobody connects: {:?}", node.remote.stats());
            node.check(&texts(n, n + 1)).await;
            n += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
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
    // No two segments of them alike.
    let long = |n: usize| (0..1000).map(|word| format!("long{n}x{word} ")).collect::<String>();
    let long: Vec<String> = (0..400).map(long).collect();
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
    assert!(!stats.is_open && stats.failures == 0 && stats.errors > 0, "full is not down: {stats:?}");
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
    let (server, _) = filled(&texts(0, 30)).await;
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
