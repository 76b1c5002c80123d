//! Time to first token that is the client's own: from the call to the first text in the caller's hands, against a server
//! whose first token is ready at once. One caller, one request after the other; HTTP/1.1 over a connection of its own and over
//! one that is used again, HTTP/2 over one that is used again.
//!
//! The floor is a socket: one write, and reads until the event is there. `…/p50` and `…/p99` are the whole time, `… over floor` what
//! a client adds to the floor's. Contenders take turns request by request, forwards and then backwards (ABBA), so that
//! whatever happens on the machine strikes all alike.

#[path = "../stream/contenders.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod contenders;
#[path = "../stream/floor.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod floor;
mod server;
#[path = "../stream/tally.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod tally;

use std::cell::{Cell, RefCell};

use contenders::{AsyncOpenAi, Ours, Reader, Reqwest, Target, reqwests};
use floor::Socket;
use loquat_benches::{
    child, is_quick,
    machine::{monotonic, pin, quantile},
    side,
};
use server::Server;
use tally::Tally;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    task::LocalSet,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

fn main() {
    pin(usize::from(child::is_server()));
    if child::is_server() {
        return server::serve();
    }
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (case, protocol, keeps) in [
        ("h1 fresh", Protocol::Http1, false),
        ("h1 reused", Protocol::Http1, true),
        ("h2 reused", Protocol::Http2, true),
    ] {
        let address = if protocol == Protocol::Http1 { server.http1 } else { server.http2 };
        measure(case, &runtime, Target { protocol, address, events: 1 }, keeps);
    }
}

type Ask<'a> = Box<dyn Fn(&Tally) + 'a>;

fn measure(case: &str, runtime: &Runtime, target: Target, keeps: bool) {
    let _entered = runtime.enter();
    let clients = || match (target.protocol, keeps) {
        (Protocol::Http1, false) => {
            let builder = reqwest::Client::builder().no_proxy().http1_only().pool_max_idle_per_host(0);
            vec![builder.build().expect("a client")]
        }
        _ => reqwests(target, 1),
    };
    let contenders: Vec<(&str, Ask<'_>)> = vec![
        ("ours", ask(runtime, Ours::new(target, usize::from(keeps)))),
        ("reqwest + sse-core + sonic-rs", ask(runtime, Reqwest::decoding(clients(), target))),
        ("async-openai", ask(runtime, AsyncOpenAi::new(clients(), target))),
        match target.protocol {
            Protocol::Http1 => ("floor", ask(runtime, Socket::new(target, keeps))),
            Protocol::Http2 => ("floor", ask(runtime, Frames::new(target))),
        },
    ];
    let mut times: Vec<Vec<f64>> = contenders.iter().map(|_| Vec::new()).collect();
    let tally = Tally::new();
    tally.measure(true);
    // The first tenth warms connections, caches and buffers.
    let rounds = if is_quick() { 300 } else { 3_000 };
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let began = monotonic();
            contenders[index].1(&tally);
            if round >= rounds / 10 {
                times[index].push((tally.arrived() - began).as_secs_f64() * 1e6);
            }
        }
    }
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        let at: Vec<f64> = times.iter_mut().map(|times| quantile(times, part)).collect();
        let floor = at.last().copied().unwrap_or(f64::NAN);
        for ((who, _), value) in contenders.iter().zip(at) {
            side::figure(&format!("{case}/{name}"), who, value, "us");
            if *who != "floor" {
                side::figure(&format!("{case}/{name} over floor"), who, value - floor, "us");
            }
        }
    }
}

fn ask<'a, R: Reader>(runtime: &'a Runtime, reader: R) -> Ask<'a> {
    let local = LocalSet::new();
    Box::new(move |tally| local.block_on(runtime, reader.read(0, tally)))
}

/// One HTTP/2 connection whose frames are written and read by hand, one stream after the other.
struct Frames {
    target: Target,
    next: Cell<u32>,
    idle: RefCell<Option<(TcpStream, Vec<u8>)>>,
}

impl Frames {
    fn new(target: Target) -> Self {
        Self { target, next: Cell::new(1), idle: RefCell::default() }
    }
}

impl Reader for Frames {
    async fn read(&self, _: usize, tally: &Tally) {
        let idle = self.idle.borrow_mut().take();
        let mut request = Vec::new();
        let (mut socket, mut buffer) = match idle {
            Some(idle) => idle,
            None => {
                let socket = TcpStream::connect(self.target.address).await.expect("connect");
                socket.set_nodelay(true).expect("nodelay");
                request = floor::preface();
                (socket, vec![0; 16 * 1024])
            }
        };
        let stream = self.next.get();
        self.next.set(stream + 2);
        request.extend(floor::request(self.target, stream));
        socket.write_all(&request).await.expect("write");
        loop {
            let bytes = socket.read(&mut buffer).await.expect("read");
            assert!(bytes > 0, "the server closed");
            tally.bytes(&buffer[..bytes]);
            if memchr::memmem::find(&buffer[..bytes], b"[DONE]").is_some() {
                break;
            }
        }
        *self.idle.borrow_mut() = Some((socket, buffer));
    }
}
