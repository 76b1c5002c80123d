//! What a request costs: CPU time and allocations of one small POST and its response, beside reqwest, hyper-util's pooled
//! client and hyper's bare connection; the floor is a raw socket on HTTP/1.1, the bare `h2` crate on HTTP/2.
//!
//! Cases are `protocol/response body/concurrency`. The figure that counts is `us cpu/req`: the client is pinned to one core
//! and its server, a process of its own, to another, so the server's work is in nobody's figure and its speed changes
//! little. `.../rate` is what one core of client would do by that. `.../p50` and `.../p99` are the whole request as its caller waits
//! for it, in microseconds, with `added` what is beyond the floor's; `.../reads`, `.../writes` and `.../polls` the calls of `recv`, of `send` and `writev`, and of `epoll_wait` for each request.
//!
//! `.../instructions` is what the client executes for a request outside the kernel, counted by callgrind in a process of its
//! own with few and with many requests, so that the difference is the requests': it does not depend on the machine or on who
//! else is using it.
//!
//! All contenders of a case take turns in one process, a slice of some ten milliseconds each, in an order that is reversed
//! every round; medians over the rounds are reported, so that a neighbour's burst on a shared machine strikes all alike.
//! Ours runs with every limit at its default, a deadline, and a token to cancel it by; the others as they come.

mod contenders;
mod instructions;
mod server;

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use contenders::{Bare, Client, HyperUtil, Ours, RawH2, Reqwest, Socket};
use loquat_benches::{
    alloc, child, is_quick,
    machine::pin,
    side, syscalls,
    turns::{Turns, alternate},
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
type Case = (Protocol, usize, &'static str, usize);

/// The shortest first, which most is compared by.
fn cases() -> impl Iterator<Item = Case> {
    let protocols = [Protocol::Http1, Protocol::Http2].into_iter();
    protocols.flat_map(|protocol| {
        [(200, "200B"), (1024, "1K"), (102_400, "100K")]
            .into_iter()
            .flat_map(move |(bytes, size)| [1, 64, 512].map(|callers| (protocol, bytes, size, callers)))
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let serves = child::is_server();
    pin(usize::from(serves));
    if serves {
        return server::serve();
    }
    // cargo passes `--bench`; anything else chooses cases.
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let server = Server::start();
    if let Some((case, who, requests)) = instructions::asked(&arguments) {
        let of = cases().find(|of| name(of) == case).expect("a case");
        return with(&server, of, |name| name == who, |contenders, _| drop(contenders[0].run(requests)));
    }
    for case in cases() {
        let name = name(&case);
        let is_wanted = |who: &str| {
            let id = format!("{name}/{who}");
            wanted.is_empty() || wanted.iter().any(|part| id.contains(part.as_str()))
        };
        with(&server, case, is_wanted, |contenders, concurrency| measure(&name, contenders, concurrency));
    }
}

fn name((protocol, _, size, concurrency): &Case) -> String {
    let protocol = if *protocol == Protocol::Http1 { "h1" } else { "h2" };
    format!("{protocol}/{size}/c{concurrency}")
}

/// Hands the contenders of that case to `use_them`, if there are any.
fn with(
    server: &Server,
    (protocol, bytes, _, concurrency): Case,
    is_wanted: impl Fn(&str) -> bool,
    use_them: impl FnOnce(&mut [Turns<'_>], usize),
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
            turns("hyper-util", Kind::HyperUtil(Box::new(HyperUtil::new(protocol, &url)))),
            turns("hyper's connection", Kind::Bare(Bare::new(address, &path))),
            turns("floor", Kind::Socket(Socket::new(address, &path, bytes))),
        ],
        Protocol::Http2 => vec![
            turns("ours", Kind::Ours(Ours::new(protocol, &url))),
            turns("reqwest", Kind::Reqwest(Reqwest::new(protocol, &url))),
            turns("hyper-util", Kind::HyperUtil(Box::new(HyperUtil::new(protocol, &url)))),
            turns("floor", Kind::RawH2(local.block_on(&runtime, RawH2::new(address, &url)))),
        ],
    };
    contenders.retain(|contender| is_wanted(&contender.who));
    if !contenders.is_empty() {
        use_them(&mut contenders, concurrency);
    }
}

fn measure(case: &str, contenders: &mut [Turns<'_>], concurrency: usize) {
    let requests = alternate(contenders, if is_quick() { 8 } else { 40 }, concurrency);
    let mut floor = None;
    // Backwards: what the others add to the floor, which is the last one.
    for contender in contenders.iter_mut().rev() {
        let (medians, who) = (contender.medians(), &contender.who);
        side::figure(case, who, medians.cpu, "us cpu/req");
        side::figure(&format!("{case}/rate"), who, 1e6 / medians.cpu, "requests a core/s");
        side::figure(&format!("{case}/p50"), who, medians.p50, "us");
        side::figure(&format!("{case}/p99"), who, medians.p99, "us");
        if let Some((p50, p99)) = floor {
            side::figure(&format!("{case}/p50 added"), who, medians.p50 - p50, "us");
            side::figure(&format!("{case}/p99 added"), who, medians.p99 - p99, "us");
        }
        if who == "floor" {
            floor = Some((medians.p50, medians.p99));
        }
        side::allocations(case, who, requests as u64, || drop(contender.run(requests)));
        let before = syscalls::counts();
        drop(contender.run(requests));
        let after = syscalls::counts();
        let calls =
            |what: fn(&syscalls::Counts) -> u64| (what(&after) - what(&before)) as f64 / requests as f64;
        side::figure(&format!("{case}/reads"), who, calls(|counts| counts.reads), "recv/req");
        side::figure(&format!("{case}/writes"), who, calls(|counts| counts.writes), "send/req");
        side::figure(&format!("{case}/polls"), who, calls(|counts| counts.polls), "epoll_wait/req");
        if concurrency == 64 {
            instructions::figure(case, who, concurrency);
        }
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
    Turns::new(who, run)
}
