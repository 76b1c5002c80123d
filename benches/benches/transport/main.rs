//! What a request costs: CPU time and allocations of one small POST and its response, beside reqwest, hyper-util's pooled
//! client and hyper's bare connection; the floor is a raw socket on HTTP/1.1, the bare `h2` crate on HTTP/2.
//!
//! Cases are `protocol/response body/concurrency`. The figure that counts is `us cpu/req`: the client is pinned to one core
//! and its server, a process of its own, to another, so the server's work is in nobody's figure and its speed changes
//! little. `.../p50` and `.../p99` are the whole request as its caller waits for it, in microseconds.
//!
//! All contenders of a case take turns in one process, a slice of some ten milliseconds each, in an order that is reversed
//! every round; medians over the rounds are reported, so that a neighbour's burst on a shared machine strikes all alike.
//! Ours runs with every limit at its default, a deadline, and a token to cancel it by; the others as they come.

mod contenders;
mod server;

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use contenders::{Bare, Client, HyperUtil, Ours, RawH2, Reqwest, Socket};
use loquat_benches::{alloc, is_quick, side};
use rustix::{
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};
use server::Server;
use tokio::{runtime::Runtime, task::LocalSet};

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// Protocol, response bytes and their name, concurrency.
const CASES: &[(Protocol, usize, &str, usize)] = &[
    (Protocol::Http1, 200, "200B", 1),
    (Protocol::Http1, 200, "200B", 64),
    (Protocol::Http1, 200, "200B", 512),
    (Protocol::Http1, 1024, "1K", 64),
    (Protocol::Http1, 102_400, "100K", 64),
    (Protocol::Http2, 200, "200B", 1),
    (Protocol::Http2, 200, "200B", 64),
    (Protocol::Http2, 1024, "1K", 64),
    (Protocol::Http2, 1024, "1K", 512),
    (Protocol::Http2, 102_400, "100K", 64),
];

/// Where most of a case's time goes: a slice long enough for the clock, short enough to be seldom interrupted.
const SLICE: Duration = Duration::from_millis(25);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let serves = arguments.iter().any(|argument| argument == server::ARGUMENT);
    pin(usize::from(serves));
    if serves {
        return server::serve();
    }
    // cargo passes `--bench`; anything else chooses cases.
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let server = Server::start();
    for (protocol, bytes, size, concurrency) in CASES {
        let name = if *protocol == Protocol::Http1 { "h1" } else { "h2" };
        let case = format!("{name}/{size}/c{concurrency}");
        let is_wanted = |who: &str| {
            let id = format!("{case}/{who}");
            wanted.is_empty() || wanted.iter().any(|part| id.contains(part.as_str()))
        };
        measure(&case, is_wanted, &server, *protocol, *bytes, *concurrency);
    }
}

/// Pins this process to one of the cores it may use. With one core only, both ends share it: still the same for all.
fn pin(which: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let mut one = CpuSet::new();
    one.set(cores[which % cores.len()]);
    let _ = sched_setaffinity(None, &one);
}

/// One contender's rounds.
struct Turns<'a> {
    who: &'static str,
    /// Sends that many requests; how long each took.
    run: Box<dyn Fn(usize) -> Vec<Duration> + 'a>,
    cpu_per_request: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

fn measure(
    case: &str,
    is_wanted: impl Fn(&str) -> bool,
    server: &Server,
    protocol: Protocol,
    bytes: usize,
    concurrency: usize,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = LocalSet::new();
    let path = format!("/{bytes}");
    let address = if protocol == Protocol::Http1 { server.http1 } else { server.http2 };
    let url = format!("http://{address}{path}");
    let turns = |who, client| turns(&runtime, &local, who, client, concurrency, bytes);
    let _entered = runtime.enter();
    let mut contenders = match protocol {
        Protocol::Http1 => vec![
            turns("ours", Kind::Ours(Ours::new(protocol, &url))),
            turns("reqwest", Kind::Reqwest(Reqwest::new(protocol, &url))),
            turns("hyper-util", Kind::HyperUtil(Box::new(HyperUtil::new(&url)))),
            turns("hyper's connection", Kind::Bare(Bare::new(address, &path))),
            turns("floor", Kind::Socket(Socket::new(address, &path, bytes))),
        ],
        Protocol::Http2 => vec![
            turns("ours", Kind::Ours(Ours::new(protocol, &url))),
            turns("reqwest", Kind::Reqwest(Reqwest::new(protocol, &url))),
            turns("floor", Kind::RawH2(local.block_on(&runtime, RawH2::new(address, &url)))),
        ],
    };
    contenders.retain(|contender| is_wanted(contender.who));
    if contenders.is_empty() {
        return;
    }
    // Warms connections, caches and buffers; then, how many requests fill a slice.
    let warm = concurrency.max(16) * 8;
    contenders.iter().for_each(|contender| drop((contender.run)(warm)));
    let began = Instant::now();
    contenders.iter().for_each(|contender| drop((contender.run)(warm)));
    let each = began.elapsed().as_secs_f64() / (warm * contenders.len()) as f64;
    // Callers that come and go at a slice's ends must not be what is measured.
    let requests = ((SLICE.as_secs_f64() / each) as usize).max(concurrency * 8).next_multiple_of(concurrency);
    for round in 0..if is_quick() { 8 } else { 40 } {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let contender = &mut contenders[index];
            let before = cpu();
            let mut times = (contender.run)(requests);
            let spent = cpu() - before;
            times.sort_unstable();
            let micros = |time: Duration| time.as_secs_f64() * 1e6;
            contender.cpu_per_request.push(micros(spent) / times.len() as f64);
            contender.p50.push(micros(times[times.len() / 2]));
            contender.p99.push(micros(times[times.len() * 99 / 100]));
        }
    }
    for contender in &mut contenders {
        side::figure(case, contender.who, median(&mut contender.cpu_per_request), "us cpu/req");
        side::figure(&format!("{case}/p50"), contender.who, median(&mut contender.p50), "us");
        side::figure(&format!("{case}/p99"), contender.who, median(&mut contender.p99), "us");
        let run = &contender.run;
        side::allocations(case, contender.who, requests as u64, || drop(run(requests)));
    }
}

/// Whom to ask.
enum Kind {
    Ours(Ours),
    Reqwest(Reqwest),
    HyperUtil(Box<HyperUtil>),
    Bare(Bare),
    Socket(Socket),
    RawH2(RawH2),
}

fn turns<'a>(
    runtime: &'a Runtime,
    local: &'a LocalSet,
    who: &'static str,
    kind: Kind,
    concurrency: usize,
    bytes: usize,
) -> Turns<'a> {
    fn run<'a, C: Client>(
        runtime: &'a Runtime,
        local: &'a LocalSet,
        client: C,
        concurrency: usize,
        bytes: usize,
    ) -> Box<dyn Fn(usize) -> Vec<Duration> + 'a> {
        let client = Rc::new(client);
        Box::new(move |requests| {
            let callers = (0..concurrency).map(|_| {
                let client = Rc::clone(&client);
                local.spawn_local(async move {
                    let mut times = Vec::with_capacity(requests / concurrency);
                    for _ in 0..requests / concurrency {
                        let began = Instant::now();
                        assert_eq!(client.once().await, bytes);
                        times.push(began.elapsed());
                    }
                    times
                })
            });
            let callers: Vec<_> = callers.collect();
            local.block_on(runtime, async {
                let mut all = Vec::with_capacity(requests);
                for caller in callers {
                    all.extend(caller.await.expect("no caller panics"));
                }
                all
            })
        })
    }
    let run = match kind {
        Kind::Ours(client) => run(runtime, local, client, concurrency, bytes),
        Kind::Reqwest(client) => run(runtime, local, client, concurrency, bytes),
        Kind::HyperUtil(client) => run(runtime, local, *client, concurrency, bytes),
        Kind::Bare(client) => run(runtime, local, client, concurrency, bytes),
        Kind::Socket(client) => run(runtime, local, client, concurrency, bytes),
        Kind::RawH2(client) => run(runtime, local, client, concurrency, bytes),
    };
    Turns { who, run, cpu_per_request: Vec::new(), p50: Vec::new(), p99: Vec::new() }
}

/// CPU time of this process, all threads, user and kernel.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
