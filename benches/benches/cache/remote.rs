//! L3: tokens from a real Redis, beside a raw GET of the same bytes.

use std::{
    future::Future,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_benches::{is_quick, machine, side};
use loquat_prompt::{
    Tokenizer,
    cache::{
        CacheLimits, TokenCache,
        remote::{Ask, Remote, RemoteConfig, RemoteTokens, Topology},
    },
    tokenizer::o200k_base,
};
use redis::AsyncCommands as _;

#[path = "../../../crates/loquat-prompt/tests/support/redis_server.rs"]
mod redis_server;

pub fn measure(case: &str, text: &str) {
    let server = redis_server::RedisServer::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(case, text, &server.url()));
}

async fn run(case: &str, text: &str, url: &str) {
    let mut config =
        RemoteConfig::new(Topology::Standalone(url.to_owned().into()), "a seal of the bench alone");
    // Nothing is kept on this side: the way there and back is what is measured.
    config.near_values = 0;
    config.ask = Ask::Always;
    config.budget = Duration::from_secs(1);
    let remote = Remote::try_new(config).expect("a configuration");
    remote.connect().await.expect("Redis answers");
    let plain: Arc<dyn Tokenizer> = o200k_base().expect("it is built in");
    let cache = TokenCache::new(CacheLimits::default());
    let tokens =
        RemoteTokens::try_new(cache.tokenizer("tenant", &plain), remote.clone()).expect("it encodes");
    tokens.prepare(&[text]).await.expect("it encodes");
    remote.flush().await;

    let client = redis::Client::open(url).expect("an address");
    let mut raw = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let key: String = redis::cmd("RANDOMKEY").query_async(&mut raw).await.expect("it holds one value");
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..if is_quick() { 500 } else { 5_000 } {
        cache.clear(None);
        ours.push(time(tokens.prepare(&[black_box(text)])).await);
        floor.push(time(raw.get::<_, Vec<u8>>(&key)).await);
    }
    let stats = remote.stats();
    assert_eq!((stats.misses, stats.failures), (1, 0), "all but the first hit: {stats:?}");
    side::figure(case, "ours", machine::median(&mut ours), "ns");
    side::figure(case, "redis GET", machine::median(&mut floor), "ns");
}

async fn time<T, E: std::fmt::Debug>(work: impl Future<Output = Result<T, E>>) -> f64 {
    let began = Instant::now();
    black_box(work.await.expect("it answers"));
    began.elapsed().as_nanos() as f64
}
