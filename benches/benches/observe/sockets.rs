//! Answers over sockets, from a process on another core: the product's own transport, format and model, as a user has them, and
//! somebody who watches.

use std::{cell::Cell, future::poll_fn, net::SocketAddr, rc::Rc, time::Duration};

use loquat_benches::{callgrind, cpu};
use loquat_client::HttpModel;
use loquat_core::{Delta, Ending, Endpoint};
use loquat_provider::OPENAI_CHAT;
use loquat_transport::{Config, Http2Mode, PoolConfig, Transport};
use tokio::{
    runtime::Runtime,
    task::{LocalSet, spawn_local},
    time::{Instant, sleep},
};

use crate::{
    memory::STREAMS,
    who::{Watching, Who},
};

/// Of one stream, at the rate of 100,000 chunks a second over all.
pub const MILLIS_BETWEEN: usize = 5;
/// Under callgrind, which is fifty times slower: few enough that each chunk is still read by itself.
pub const COUNTED_MILLIS_BETWEEN: usize = 20;
const COUNTED_STREAMS: usize = 40;
/// What opening so many streams may take.
const OPENING: Duration = Duration::from_millis(500);
const SETTLING: Duration = Duration::from_millis(200);
/// The argument of a process whose instructions are counted.
const COUNT: &str = "--count-sockets";

/// What one turn gave.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    pub nanos_per_chunk: f64,
    pub chunks_per_second: f64,
}

fn model(address: SocketAddr, events: usize) -> HttpModel {
    // As many idle ones as there are streams: between two turns all rest.
    let pool = PoolConfig::default().with_max_idle_per_origin(8192).with_max_connections_per_origin(8192);
    let config = Config::new().with_http2(Http2Mode::Never).with_pool(pool);
    let endpoint = Endpoint::new("bench", format!("http://{address}/{events}"), "m")
        .with_credential("sk-0123456789abcdef0123456789abcdef");
    HttpModel::new(Transport::new(config).expect("a transport"), &OPENAI_CHAT, endpoint).expect("a model")
}

/// Streams under way, and what they have given so far.
#[derive(Default)]
struct Tally {
    begun: Cell<usize>,
    chunks: Cell<u64>,
}

async fn read(watching: Rc<Watching>, tally: Rc<Tally>) {
    let mut stream = watching.begin().await;
    tally.begun.set(tally.begun.get() + 1);
    while poll_fn(|cx| watching.poll(&mut stream, cx)).await {
        match stream.answer.current() {
            Some(Delta::Text { .. }) => tally.chunks.set(tally.chunks.get() + 1),
            Some(Delta::End(ending)) => assert!(matches!(ending, Ending::Finished { .. }), "{ending:?}"),
            _ => {}
        }
    }
}

/// Opens all streams, waits until each has begun, measures for that long, and lets them end.
pub fn turn(runtime: &Runtime, who: Who, address: SocketAddr, window: Duration) -> Turn {
    LocalSet::new().block_on(runtime, async {
        let all = OPENING + SETTLING + window;
        let events = all.as_millis() as usize / MILLIS_BETWEEN;
        let (watching, tally) = (Rc::new(Watching::new(who, model(address, events))), Rc::<Tally>::default());
        let tasks: Vec<_> =
            (0..STREAMS).map(|_| spawn_local(read(Rc::clone(&watching), Rc::clone(&tally)))).collect();
        while tally.begun.get() < STREAMS {
            sleep(Duration::from_millis(5)).await;
        }
        sleep(SETTLING).await;
        let at = || (tally.chunks.get(), cpu::thread_nanos(), Instant::now());
        let before = at();
        sleep(window).await;
        let after = at();
        for task in tasks {
            task.await.expect("no reader panics");
        }
        let chunks = (after.0 - before.0) as f64;
        Turn {
            nanos_per_chunk: (after.1 - before.1) / chunks,
            chunks_per_second: chunks / (after.2 - before.2).as_secs_f64(),
        }
    })
}

/// Where this process is one whose instructions are counted: does what is to be counted.
pub fn is_counted(runtime: &Runtime, arguments: &[String]) -> bool {
    let Some(at) = arguments.iter().position(|argument| argument == COUNT) else { return false };
    let who = Who::named(&arguments[at + 1]);
    let address = arguments[at + 2].parse().expect("an address");
    let events = arguments[at + 3].parse().expect("a number");
    LocalSet::new().block_on(runtime, async {
        let (watching, tally) = (Rc::new(Watching::new(who, model(address, events))), Rc::<Tally>::default());
        let tasks: Vec<_> = (0..COUNTED_STREAMS)
            .map(|_| spawn_local(read(Rc::clone(&watching), Rc::clone(&tally))))
            .collect();
        for task in tasks {
            task.await.expect("no reader panics");
        }
    });
    true
}

/// Instructions of one chunk from the socket to the caller, the kernel's apart.
pub fn instructions(who: Who, address: SocketAddr, few: usize, many: usize) -> f64 {
    let count = |events: usize| {
        callgrind::instructions(&[COUNT, who.name(), &address.to_string(), &events.to_string()])
    };
    (count(many) - count(few)) / ((many - few) * COUNTED_STREAMS) as f64
}
