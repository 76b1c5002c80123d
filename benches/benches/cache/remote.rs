//! L3: tokens from a real Redis, beside a raw GET of the same bytes on a connection that is set up alike. A hit has to keep a budget, so
//! the raw GET that it is measured by has a timer, too; one without is shown beside them.

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

/// Of either side: both arm a timer of that length for each question.
const BUDGET: Duration = Duration::from_secs(1);

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
    config.budget = BUDGET;
    let remote = Remote::try_new(config).expect("a configuration");
    remote.connect().await.expect("Redis answers");
    let plain: Arc<dyn Tokenizer> = o200k_base().expect("it is built in");
    let mut limits = CacheLimits::default();
    // One value, as the raw GET asks for.
    limits.segment_bytes = text.len();
    let cache = TokenCache::new(limits);
    let tokens =
        RemoteTokens::try_new(cache.tokenizer("tenant", &plain), remote.clone()).expect("it encodes");
    tokens.prepare(&[text]).await.expect("it encodes");
    remote.flush().await;

    let mut timed = raw(url, Some(BUDGET)).await;
    let mut plain = raw(url, None).await;
    let key: String = redis::cmd("RANDOMKEY").query_async(&mut timed).await.expect("it holds one value");
    const SIDES: usize = 3;
    let mut times = [const { Vec::new() }; SIDES];
    // Who comes first finds the processor as the one before left it: they take turns in that, too.
    for turn in 0..if is_quick() { 501 } else { 5_001 } {
        for who in (0..SIDES).map(|side| (side + turn) % SIDES) {
            times[who].push(match who {
                0 => {
                    cache.clear(None);
                    time(tokens.prepare(&[black_box(text)])).await
                }
                1 => time(timed.get::<_, Vec<u8>>(&key)).await,
                _ => time(plain.get::<_, Vec<u8>>(&key)).await,
            });
        }
    }
    let stats = remote.stats();
    assert_eq!((stats.misses, stats.failures), (1, 0), "all but the first hit: {stats:?}");
    for (who, times) in ["ours", "redis GET", "redis GET without a timer"].into_iter().zip(&mut times) {
        side::figure(case, who, machine::median(times), "ns");
    }
}

/// A connection set up as ours is: what is asked goes out at once, and a timer is armed for the answer, or none is.
async fn raw(url: &str, timer: Option<Duration>) -> redis::aio::MultiplexedConnection {
    let info = redis::IntoConnectionInfo::into_connection_info(url).expect("an address");
    let info = info.set_tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true));
    let client = redis::Client::open(info).expect("an address");
    let settings = redis::AsyncConnectionConfig::new().set_response_timeout(timer);
    client.get_multiplexed_async_connection_with_config(&settings).await.expect("Redis answers")
}

async fn time<T, E: std::fmt::Debug>(work: impl Future<Output = Result<T, E>>) -> f64 {
    let began = Instant::now();
    black_box(work.await.expect("it answers"));
    began.elapsed().as_nanos() as f64
}
