//! What watching costs: instructions that the observer adds to a chunk and to a short request, beside
//! `tracing-opentelemetry` in its usual set-up.
//!
//! | case | what it is |
//! |---|---|
//! | `chunk` | instructions added to one chunk of a stream, of 500 that are polled in turn; metrics on |
//! | `chunk-spans` | the same with 1 % of the operations kept as spans |
//! | `request` | instructions added to a whole short request of three chunks, with both |
//! | `core-share`, `core-share-spans` | the part of one core, in percent, that 100,000 chunks a second take of it: those instructions, of what a core executes in a second that does nothing but this |
//! | `core-share-streaming`, `…-spans` | the same, of what a core executes in a second that reads streams from sockets, the kernel's instructions left out |
//! | `rate` | both rates: thousand million instructions a second, ours over sockets, and in the loop |
//! | `cpu` | the thread's processor time added to a chunk in the loop; the floor is the chunk without anybody watching |
//! | `sockets` | the processor time, user and kernel, added to a chunk that comes over a socket: 500 streams of 200 events a second, over HTTP/1.1, from a process on another core |
//! | `requests` | the part of a core, in percent, that watching adds to 5,000 short requests a second, which are run at that rate: by processor time; `requests-computed`, by instructions |
//! | `sockets/chunks`, `requests/rate` | how many of both there really were in a second, beside how many were asked for |
//!
//! **Two rates**, since a core's second may be one or the other. A core that runs a loop from its first cache executes some ten
//! thousand million instructions in one. One that serves sockets waits for memory, spends most of its time in the kernel, whose instructions
//! nobody here can count, and executes a tenth of that in the program; but the instructions that are added do not run at that rate, since
//! none of them waits for the kernel. So the first rate flatters, the second wrongs, and the time that was really added (`cpu`, and
//! `sockets` as far as noise lets it be seen) lies between.
//!
//! Instructions are counted by callgrind in a process of its own: the same program with few and with many chunks, so that the
//! difference is the chunks'. Two things callgrind does not see: the kernel, and waiting for memory. Our layer takes no reading of the
//! clock per chunk (the source has one), tracing's does.
//!
//! Times are taken in turns whose order is reversed every round. What is added is the median of the differences within a round; of those,
//! `…/low` and `…/high` hold the median nineteen times out of twenty (by order statistics, which assume nothing of the noise).

mod memory;
mod peer;
#[path = "../stream/server.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod server;
mod sockets;
mod who;

use std::time::Duration;

use loquat_benches::{
    callgrind, child, cpu, is_quick,
    machine::{median, pin},
    side,
};
use memory::{REQUESTS_PER_SECOND, SHORT, STREAMS};
use server::Server;
use who::Who;

const PEER: &str = "tracing-opentelemetry";
const WITH_SPANS: &str = "ours with 1 % spans";
/// Over all streams.
const CHUNKS_PER_SECOND: f64 = 100_000.0;
/// The argument of a process whose instructions are counted.
const COUNT: &str = "--count";

fn main() {
    pin(usize::from(child::is_server()));
    if child::is_server() {
        return server::serve();
    }
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == COUNT) {
        let number = |index: usize| arguments[at + index].parse().expect("a number");
        return memory::run(Who::named(&arguments[at + 1]), number(2), number(3));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if sockets::is_counted(&runtime, &arguments) {
        return;
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("skipped: run by `cargo xtask bench observe`");
        return;
    }

    let chunk = Who::ALL.map(per_chunk);
    let request = Who::ALL.map(per_request);
    added("chunk", "instructions", [chunk[0], chunk[1], chunk[3]]);
    added("chunk-spans", "instructions", [chunk[0], chunk[2], chunk[3]]);
    added("request", "instructions", [request[0], request[2], request[3]]);

    let alone = in_the_loop();
    let streaming = over_sockets(&runtime);
    let server = Server::start_with(sockets::COUNTED_MILLIS_BETWEEN);
    let (few, many) = (20, if is_quick() { 60 } else { 120 });
    let whole = sockets::instructions(Who::Nobody, server.http1, few, many);
    drop(server);

    // Instructions a second: of the loop's chunk and of the socket's, each by how long it took.
    let (loops, streams) = (chunk[0] / alone * 1e9, whole / streaming * 1e9);
    side::figure("rate", "ours", streams / 1e9, "G instructions");
    side::figure("rate", "loop", loops / 1e9, "G instructions");
    side::figure("sockets/instructions", "ours", whole, "instructions");
    side::figure("sockets/instructions", "loop", chunk[0], "instructions");
    for (case, rate) in [("core-share", loops), ("core-share-streaming", streams)] {
        let share = |instructions: f64| instructions * CHUNKS_PER_SECOND / rate * 100.0;
        added(case, "%", [chunk[0], chunk[1], chunk[3]].map(share));
        added(&format!("{case}-spans"), "%", [chunk[0], chunk[2], chunk[3]].map(share));
    }
    let share = |instructions: f64| instructions * REQUESTS_PER_SECOND / loops * 100.0;
    added("requests-computed", "%", [request[0], request[2], request[3]].map(share));
    at_rate();
}

/// What ours and the peer add to what is there without them.
fn added(case: &str, unit: &str, [nobody, ours, peer]: [f64; 3]) {
    side::figure(case, "ours", ours - nobody, unit);
    side::figure(case, PEER, peer - nobody, unit);
}

fn per_chunk(who: Who) -> f64 {
    let (few, many) = (20, if is_quick() { 60 } else { 220 });
    (instructions(who, STREAMS, many) - instructions(who, STREAMS, few)) / ((many - few) * STREAMS) as f64
}

fn per_request(who: Who) -> f64 {
    let (few, many) = (STREAMS, STREAMS * 3);
    (instructions(who, many, SHORT) - instructions(who, few, SHORT)) / (many - few) as f64
}

/// Instructions of this program, run like that.
fn instructions(who: Who, operations: usize, chunks: usize) -> f64 {
    callgrind::instructions(&[COUNT, who.name(), &operations.to_string(), &chunks.to_string()])
}

/// Takes each in turn, in an order that is reversed every round; the first round warms, and counts for nothing.
fn in_turns(rounds: usize, mut take: impl FnMut(Who) -> f64) -> Vec<[f64; 4]> {
    let mut all = Vec::new();
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..4).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        let mut values = [0.0; 4];
        order.into_iter().for_each(|index| values[index] = take(Who::ALL[index]));
        if round > 0 {
            all.push(values);
        }
    }
    all
}

/// What each adds to what nobody takes, with where it lies; what nobody takes.
fn tell(case: &str, unit: &str, rounds: &[[f64; 4]]) -> f64 {
    let nobody = median(&mut rounds.iter().map(|round| round[0]).collect::<Vec<_>>());
    for (index, who) in [(1, "ours"), (2, WITH_SPANS), (3, PEER)] {
        let mut differences: Vec<f64> = rounds.iter().map(|round| round[index] - round[0]).collect();
        side::figure(case, who, median(&mut differences), unit);
        // Ranks between which the median lies with 95 %: half of them, less 1.96 deviations of half the root.
        let count = differences.len();
        let low = (count as f64 / 2.0 - 0.98 * (count as f64).sqrt()).floor().max(0.0) as usize;
        side::figure(&format!("{case}/low"), who, differences[low], unit);
        side::figure(&format!("{case}/high"), who, differences[count - 1 - low], unit);
    }
    side::figure(case, "floor", nobody, unit);
    nobody
}

/// Nanoseconds of a chunk in the loop without anybody watching.
fn in_the_loop() -> f64 {
    let rounds = in_turns(if is_quick() { 5 } else { 41 }, |who| {
        let chunks = 200;
        let before = cpu::thread_nanos();
        memory::run(who, STREAMS, chunks);
        (cpu::thread_nanos() - before) / (STREAMS * chunks) as f64
    });
    tell("cpu", "ns/chunk", &rounds)
}

/// The same of a chunk that comes over a socket.
fn over_sockets(runtime: &tokio::runtime::Runtime) -> f64 {
    let server = Server::start_with(sockets::MILLIS_BETWEEN);
    let window = Duration::from_millis(if is_quick() { 300 } else { 1_000 });
    let mut rates = Vec::new();
    let rounds = in_turns(if is_quick() { 3 } else { 24 }, |who| {
        let turn = sockets::turn(runtime, who, server.http1, window);
        rates.push(turn.chunks_per_second);
        turn.nanos_per_chunk
    });
    side::figure("sockets/chunks", "ours", median(&mut rates), "chunks/s");
    side::figure("sockets/chunks", "asked for", CHUNKS_PER_SECOND, "chunks/s");
    tell("sockets", "ns/chunk", &rounds)
}

/// 5,000 short requests a second, run.
fn at_rate() {
    let span = Duration::from_millis(if is_quick() { 200 } else { 500 });
    let mut rates = Vec::new();
    let rounds = in_turns(if is_quick() { 3 } else { 20 }, |who| {
        let (percent, rate) = memory::at_rate(who, span);
        rates.push(rate);
        percent
    });
    side::figure("requests/rate", "ours", median(&mut rates), "requests/s");
    side::figure("requests/rate", "asked for", REQUESTS_PER_SECOND, "requests/s");
    tell("requests", "%", &rounds);
}
