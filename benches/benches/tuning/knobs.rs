//! What is turned, and under which load.

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use loquat_benches::{
    is_quick,
    machine::unpin,
    turns::{Medians, Turns, alternate},
};
use loquat_core::Context;
use loquat_transport::{
    Config, HeadLimits, Http2Mode, Method, PoolConfig, Request, TcpConfig, Transport, Url,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
};

use crate::{
    Row,
    contenders::{BODY, Ours},
    server::{self, Server},
};

pub fn rounds() -> usize {
    if is_quick() { 8 } else { 40 }
}

pub fn config() -> Config {
    Config::new().with_http2(Http2Mode::Never).with_pool(PoolConfig::default().with_max_idle_per_origin(1024))
}

fn url(server: &Server, bytes: usize) -> String {
    format!("http://{}/{bytes}", server.http1)
}

pub fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Requests of so many callers, on whatever runtime.
pub fn ask<'a>(
    runtime: &'a Runtime,
    client: Ours,
    concurrency: usize,
) -> Box<dyn Fn(usize) -> Vec<Duration> + 'a> {
    Box::new(move |requests| {
        let callers = (0..concurrency).map(|_| {
            let client = client.clone();
            runtime.spawn(async move {
                let mut times = Vec::with_capacity(requests / concurrency);
                for _ in 0..requests / concurrency {
                    let began = Instant::now();
                    client.ask().await;
                    times.push(began.elapsed());
                }
                times
            })
        });
        let callers: Vec<_> = callers.collect();
        runtime.block_on(async {
            let mut all = Vec::with_capacity(requests);
            for caller in callers {
                all.extend(caller.await.expect("no caller panics"));
            }
            all
        })
    })
}

/// Settings in turns; each one's medians.
fn compare(mut contenders: Vec<Turns<'_>>, concurrency: usize) -> Vec<(String, Medians)> {
    alternate(&mut contenders, rounds(), concurrency);
    contenders.iter_mut().map(|contender| (contender.who.clone(), contender.medians())).collect()
}

fn row(
    knob: &'static str,
    load: &str,
    usual: &'static str,
    unit: &'static str,
    all: &[(String, Medians)],
    of: fn(&Medians) -> f64,
) -> Row {
    let settings = all.iter().map(|(setting, medians)| (setting.clone(), of(medians))).collect();
    Row { knob, load: load.to_owned(), usual, unit, settings }
}

/// One thread of the runtime, or as many as there are cores. The server shares them in the second case.
pub fn threads(server: &Server, cores: usize) -> Vec<Row> {
    let one = one_thread();
    unpin(cores);
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    loquat_benches::machine::pin(0);
    let all = compare(
        vec![
            Turns::new("1 thread", ask(&one, Ours::with(config(), &url(server, 200)), 64)),
            Turns::new("2 threads", ask(&two, Ours::with(config(), &url(server, 200)), 64)),
        ],
        64,
    );
    vec![
        row("threads", "h1/200B/c64", "one per core", "us cpu/req", &all, |medians| medians.cpu),
        row("threads", "h1/200B/c64, rate", "one per core", "req/s", &all, |medians| medians.rate),
        row("threads", "h1/200B/c64, p99", "one per core", "us", &all, |medians| medians.p99),
    ]
}

/// The largest piece in which a connection is read.
pub fn copy_buffer(server: &Server) -> Vec<Row> {
    let runtime = one_thread();
    let with = |kib: usize| {
        let head = HeadLimits::default().with_max_bytes(8 * 1024).with_read_bytes(kib * 1024);
        let config = config().with_head(head);
        Turns::new(format!("{kib} KiB"), ask(&runtime, Ours::with(config, &url(server, 102_400)), 16))
    };
    let all = compare([256, 8, 16, 32, 64, 128].map(with).into(), 16);
    vec![row("copy buffer", "h1/100K/c16", "32 KiB", "us cpu/req", &all, |medians| medians.cpu)]
}

/// `TCP_QUICKACK`, said again after each read.
pub fn quick_ack(server: &Server) -> Vec<Row> {
    let runtime = one_thread();
    let loads = [(200, 64, "h1/200B/c64"), (200, 1, "h1/200B/c1"), (102_400, 16, "h1/100K/c16")];
    let mut rows = Vec::new();
    for (bytes, concurrency, load) in loads {
        let with = |who: &str, quick_ack| {
            let mut tcp = TcpConfig::default();
            tcp.quick_ack = quick_ack;
            Turns::new(
                who,
                ask(&runtime, Ours::with(config().with_tcp(tcp), &url(server, bytes)), concurrency),
            )
        };
        let all = compare(vec![with("off", false), with("on", true)], concurrency);
        rows.push(row("quick ack", load, "on", "us cpu/req", &all, |medians| medians.cpu));
        rows.push(row("quick ack", &format!("{load}, p99"), "on", "us", &all, |medians| medians.p99));
    }
    rows
}

/// `TCP_NODELAY`, and whether a request is written in one piece, which makes it matter or not. Bare sockets, since ours is
/// always on.
pub fn no_delay(server: &Server) -> Vec<Row> {
    let runtime = one_thread();
    let address = server.http1;
    let with = |who: &str, no_delay: bool, pieces: usize| {
        let socket = runtime.block_on(TcpStream::connect(address)).expect("connect");
        socket.set_nodelay(no_delay).expect("an option");
        let socket = Rc::new(std::cell::RefCell::new(socket));
        let runtime = &runtime;
        let run = move |requests: usize| {
            // A delayed acknowledgement takes 40 ms: a few of them tell.
            let requests = if !no_delay && pieces > 1 { requests.min(8) } else { requests };
            let mut socket = socket.borrow_mut();
            runtime.block_on(async { bare(&mut socket, address, pieces, requests).await })
        };
        Turns::new(who, Box::new(run) as Box<dyn Fn(usize) -> Vec<Duration>>)
    };
    let contenders = vec![
        with("on, 1 write", true, 1),
        with("on, 2 writes", true, 2),
        with("off, 1 write", false, 1),
        with("off, 2 writes", false, 2),
    ];
    let all = compare(contenders, 1);
    vec![row("no delay", "h1/200B/c1, p50", "off", "us", &all, |medians| medians.p50)]
}

async fn bare(socket: &mut TcpStream, address: SocketAddr, pieces: usize, requests: usize) -> Vec<Duration> {
    let head = format!("POST /200 HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", BODY.len());
    let expected = server::response(200).len();
    let mut buffer = vec![0; 16 * 1024];
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests {
        let began = Instant::now();
        if pieces == 1 {
            socket.write_all(&[head.as_bytes(), BODY].concat()).await.expect("write");
        } else {
            socket.write_all(head.as_bytes()).await.expect("write");
            socket.write_all(BODY).await.expect("write");
        }
        let mut left = expected;
        while left > 0 {
            left -= socket.read(&mut buffer).await.expect("read");
        }
        times.push(began.elapsed());
    }
    times
}

/// A hundredth of the time that is meant.
fn scaled(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds / 100.0)
}

/// How often a connection is found again when callers come back after 45 s in the middle.
pub fn keep_alive(server: &Server) -> Vec<Row> {
    let runtime = one_thread();
    let mut rows = Vec::new();
    for (method, load) in [(Method::GET, "GET every 45 s"), (Method::POST, "POST every 45 s")] {
        let reused = |idle: f64| {
            let pool = PoolConfig::default().with_idle_timeout(scaled(idle)).with_reuse_within(scaled(4.0));
            let transport = Transport::new(config().with_pool(pool)).expect("a transport");
            let url = Url::parse(&url(server, 200)).expect("an address");
            let request = Request::new(method.clone(), url).with_body(BODY);
            runtime.block_on(async {
                let callers = (0..16_u64).map(|caller| {
                    let (transport, request) = (transport.clone(), request.clone());
                    tokio::spawn(async move {
                        // xorshift64, from the caller's number
                        let mut random = 0x9e37_79b9_7f4a_7c15 ^ (caller + 1);
                        for _ in 0..if is_quick() { 6 } else { 20 } {
                            random ^= random << 13;
                            random ^= random >> 7;
                            random ^= random << 17;
                            let part = (random >> 11) as f64 / (1_u64 << 53) as f64;
                            // Exponential distances.
                            tokio::time::sleep(scaled(-45.0 * (1.0 - part).ln())).await;
                            let context = Context::new().with_timeout(Duration::from_secs(10));
                            let response =
                                transport.send(&context, request.clone()).await.expect("a response");
                            response.body.collect(1 << 20).await.expect("a body");
                        }
                    })
                });
                for caller in callers.collect::<Vec<_>>() {
                    caller.await.expect("no caller fails");
                }
            });
            transport.stats().reuse_ratio() * 100.0
        };
        rows.push(Row {
            knob: "keep-alive",
            load: load.to_owned(),
            usual: "30 s",
            unit: "% reused",
            settings: vec![("90 s".to_owned(), reused(90.0)), ("30 s".to_owned(), reused(30.0))],
        });
    }
    rows
}
