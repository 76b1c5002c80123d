//! What a token costs on its way from the socket to the caller: CPU time of a client that reads many paced streams at once in
//! one thread, beside reqwest bare, reqwest with the fastest published decoder, and async-openai; the floor is a socket whose
//! bytes are only read.
//!
//! Cases are `protocol/streams`: `h1/s400` is 400 streams of 50 events a second each. `us cpu/chunk` is the client's own CPU
//! time, user and kernel, for each event; its server is a process on another core and is in nobody's figure. Beside it, for
//! the same turns: `/p50` and `/p99`, how long an event was on its way (from just before the server's write to the text in the
//! caller's hands, one clock for both); `/reads` and `/polls`, calls of `recv` and `epoll_wait` for each event.
//!
//! `every 4 ms` is ours with [`loquat_transport::Http2Limits::read_every`], which is no default: what it saves, and what it delays.
//!
//! A turn begins with a pause ([`PAUSE`]), opens all streams, waits until each has given its first event, measures a second, and
//! lets them end. Contenders take turns, in an order that is reversed every round; medians are reported. Ours runs with every
//! limit at its default, and keeps what it read, as it does for its users.
//!
//! `…/most streams` is the largest number of streams with p99 below 20 ms on the client's one core. A number counts only
//! where the server's core was less than 80 % busy; `(server)` after a case's name says that the server was the limit,
//! and that the number is the least that holds.
//!
//! `h1/s40/instructions` and `…/data lines` are what a chunk takes outside the kernel, counted by callgrind: see [`counted`].
//!
//! Arguments choose cases and contenders (`h1/s400`, `ours`, `h1/s400/floor`).

mod contenders;
mod counted;
mod floor;
mod readers;
mod server;
mod tally;

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use contenders::{Reader, Target};
use loquat_benches::{
    alloc, child, cpu, is_quick,
    machine::{median, pin, quantile},
    side, syscalls,
};
use readers::Visit;
use server::Server;
use tally::Tally;
use tokio::{
    runtime::Runtime,
    task::{LocalSet, spawn_local},
    time::sleep,
};

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

const EVENTS_PER_SECOND: f64 = 50.0;
/// Before a turn nothing is sent for so long. A request that follows the last answer within 40 ms makes Linux take the connection for
/// a conversation, and what is read from one is acknowledged every second time only, which saves its reader a sixth: in a turn that
/// followed one of the same contender's, and in the later ones, that was measured, and in no other's.
const PAUSE: Duration = Duration::from_millis(200);
/// What opening so many streams may take, beside a second of warming up.
const OPENING_PER_STREAM: Duration = Duration::from_micros(500);
/// Delivery that a reader would notice.
const LATE_MILLIS: f64 = 20.0;
/// Past that the server's own delay is what is measured.
const SERVER_BUSY: f64 = 0.8;

fn main() {
    pin(usize::from(child::is_server()));
    if child::is_server() {
        return server::serve();
    }
    let arguments: Vec<String> = std::env::args().collect();
    if let Some([protocol, who, address, events]) = counted::asked(&arguments) {
        let protocol = if protocol == "h1" { Protocol::Http1 } else { Protocol::Http2 };
        let (address, events) = (address.parse().expect("an address"), events.parse().expect("a number"));
        let (runtime, target) = (runtime(), Target { protocol, address, events });
        return readers::each(&runtime, target, counted::STREAMS, &mut Counted { runtime: &runtime, who });
    }
    // cargo passes `--bench`; anything else chooses cases.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let bench = Bench { server: Server::start(), runtime: runtime(), wanted };
    for (protocol, name) in [(Protocol::Http1, "h1"), (Protocol::Http2, "h2")] {
        for streams in [100, 400] {
            bench.case(&format!("{name}/s{streams}"), protocol, streams);
        }
        bench.count(name, protocol);
        bench.most(&format!("{name}/most streams"), protocol);
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

struct Bench {
    server: Server,
    runtime: Runtime,
    wanted: Vec<String>,
}

/// What one turn gave.
struct Turn {
    micros_per_chunk: f64,
    reads: f64,
    polls: f64,
    allocations: f64,
    p50: f64,
    p99: f64,
    /// Of a core, 0 to 1.
    server_busy: f64,
    own_busy: f64,
}

type Take<'a> = Box<dyn Fn() -> Turn + 'a>;

/// The turns of those that are wanted.
struct Takes<'a> {
    bench: &'a Bench,
    case: &'a str,
    streams: usize,
    found: Vec<(&'static str, Take<'a>)>,
}

impl Visit for Takes<'_> {
    fn reader<R: Reader>(&mut self, who: &'static str, make: impl FnOnce() -> R) {
        if self.bench.is_wanted(self.case, who) {
            self.found.push((who, self.bench.take(make(), self.streams)));
        }
    }
}

/// The work of one of them, to be counted.
struct Counted<'a> {
    runtime: &'a Runtime,
    who: &'a str,
}

impl Visit for Counted<'_> {
    fn reader<R: Reader>(&mut self, who: &'static str, make: impl FnOnce() -> R) {
        if who == self.who {
            counted::run(self.runtime, &Rc::new(make()));
        }
    }
}

impl Bench {
    fn is_wanted(&self, case: &str, who: &str) -> bool {
        let id = format!("{case}/{who}");
        self.wanted.is_empty() || self.wanted.iter().any(|part| id.contains(part.as_str()))
    }

    fn window(&self) -> Duration {
        Duration::from_millis(if is_quick() { 400 } else { 1_000 })
    }

    /// All who read that many streams.
    fn contenders<'a>(
        &'a self,
        case: &'a str,
        protocol: Protocol,
        streams: usize,
    ) -> Vec<(&'static str, Take<'a>)> {
        let all = OPENING_PER_STREAM * streams as u32 + Duration::from_millis(500) + self.window();
        let events = (all.as_secs_f64() * EVENTS_PER_SECOND) as usize;
        let address = if protocol == Protocol::Http1 { self.server.http1 } else { self.server.http2 };
        let target = Target { protocol, address, events };
        let mut takes = Takes { bench: self, case, streams, found: Vec::new() };
        readers::each(&self.runtime, target, streams, &mut takes);
        takes.found
    }

    fn take<'a, R: Reader>(&'a self, reader: R, streams: usize) -> Take<'a> {
        let reader = Rc::new(reader);
        Box::new(move || {
            let local = LocalSet::new();
            local.block_on(&self.runtime, self.turn(&reader, streams))
        })
    }

    async fn turn<R: Reader>(&self, reader: &Rc<R>, streams: usize) -> Turn {
        sleep(PAUSE).await;
        let tally = Rc::new(Tally::new());
        let read = |number| {
            let (reader, tally) = (Rc::clone(reader), Rc::clone(&tally));
            spawn_local(async move { reader.read(number, &tally).await })
        };
        let tasks: Vec<_> = (0..streams).map(read).collect();
        while tally.begun() < streams {
            sleep(Duration::from_millis(5)).await;
        }
        sleep(Duration::from_millis(200)).await;

        tally.measure(true);
        let at = |allocations| {
            (
                tally.chunks(),
                cpu::thread_nanos(),
                syscalls::counts(),
                self.server.cpu(),
                Instant::now(),
                allocations,
            )
        };
        let before = at(alloc::start());
        sleep(self.window()).await;
        let after = at(alloc::stop());
        tally.measure(false);

        for task in tasks {
            task.await.expect("no reader panics");
        }
        let chunks = (after.0 - before.0) as f64;
        let nanos = after.1 - before.1;
        let elapsed = (after.4 - before.4).as_secs_f64();
        let mut delays = tally.take_delays();
        Turn {
            micros_per_chunk: nanos / 1e3 / chunks,
            reads: (after.2.reads - before.2.reads) as f64 / chunks,
            polls: (after.2.polls - before.2.polls) as f64 / chunks,
            allocations: (after.5 - before.5) as f64 / chunks,
            p50: quantile(&mut delays, 0.5),
            p99: quantile(&mut delays, 0.99),
            server_busy: (after.3 - before.3).as_secs_f64() / elapsed,
            own_busy: nanos / 1e9 / elapsed,
        }
    }

    fn case(&self, case: &str, protocol: Protocol, streams: usize) {
        let contenders = self.contenders(case, protocol, streams);
        let mut turns: Vec<Vec<Turn>> = contenders.iter().map(|_| Vec::new()).collect();
        // The first round warms connections, caches and buffers.
        for round in 0..if is_quick() { 4 } else { 12 } {
            let mut order: Vec<usize> = (0..contenders.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let turn = contenders[index].1();
                if round > 0 {
                    turns[index].push(turn);
                }
            }
        }
        for ((who, _), turns) in contenders.iter().zip(&turns) {
            let middle = |of: fn(&Turn) -> f64| median(&mut turns.iter().map(of).collect::<Vec<_>>());
            side::figure(case, who, middle(|turn| turn.micros_per_chunk), "us cpu/chunk");
            side::allocations_are(case, who, middle(|turn| turn.allocations));
            side::figure(&format!("{case}/p50"), who, middle(|turn| turn.p50), "ms");
            side::figure(&format!("{case}/p99"), who, middle(|turn| turn.p99), "ms");
            side::figure(&format!("{case}/reads"), who, middle(|turn| turn.reads), "recv/chunk");
            side::figure(&format!("{case}/polls"), who, middle(|turn| turn.polls), "epoll_wait/chunk");
        }
    }

    /// What an event of each takes, counted.
    fn count(&self, name: &str, protocol: Protocol) {
        let case = format!("{name}/s{}", counted::STREAMS);
        let names: Vec<_> = self.contenders(&case, protocol, 1).into_iter().map(|(who, _)| who).collect();
        if names.is_empty() {
            return;
        }
        let server = Server::start_with(counted::SLOTS);
        let address = if protocol == Protocol::Http1 { server.http1 } else { server.http2 };
        for who in names {
            counted::figures(&case, name, who, Target { protocol, address, events: 0 });
        }
    }

    /// The most streams that arrive in time, found by taking more until they do not.
    fn most(&self, case: &str, protocol: Protocol) {
        let step = if is_quick() { 800 } else { 200 };
        let names: Vec<_> = self.contenders(case, protocol, 1).into_iter().map(|(who, _)| who).collect();
        let mut by_server = false;
        let mut most = Vec::new();
        for who in names {
            let (mut streams, mut holds) = (step, 0);
            loop {
                let contenders = self.contenders(case, protocol, streams);
                let take = contenders.iter().find(|(name, _)| *name == who).map(|(_, take)| take);
                let Some(take) = take else { break };
                // The best of three: a neighbour's burst is not this client's limit.
                let turns = std::iter::repeat_with(take).take(3);
                let Some(turn) = turns.min_by(|a, b| a.p99.total_cmp(&b.p99)) else { break };
                eprintln!(
                    "{case}: {who}, {streams} streams: p99 {:.1} ms, client's core {:.0} % busy, server's {:.0} %",
                    turn.p99,
                    turn.own_busy * 100.0,
                    turn.server_busy * 100.0
                );
                let server_is_limit = turn.server_busy >= SERVER_BUSY;
                by_server |= server_is_limit && who == "ours";
                if server_is_limit || turn.p99 >= LATE_MILLIS {
                    break;
                }
                (streams, holds) = (streams + step, streams);
            }
            most.push((who, holds));
        }
        let case = if by_server { format!("{case} (server)") } else { case.to_owned() };
        for (who, streams) in most {
            side::figure(&case, who, streams as f64, "streams");
        }
    }
}
