//! Knobs that a program has for its whole life, turned where it starts: each setting is this program once more, as a client that
//! measures for its parent.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use loquat_benches::machine::{median, process_cpu};
use loquat_transport::{Config, Http2Limits, Http2Mode};

use crate::{
    Row,
    contenders::Ours,
    knobs::{ask, config, one_thread, rounds},
    server::Server,
};

pub fn allocator(server: &Server) -> Vec<Row> {
    let variable = crate::allocator::VARIABLE.to_str().expect("text");
    let setting = |who| (who, variable, who);
    started(server, "allocator", "system", HTTP1, ["system", "jemalloc", "mimalloc"].map(setting))
}

/// The heap in pages of 2 MiB, as glibc's `malloc` has it where it is asked to: less to look up where each request finds its
/// memory cold. Takes effect where `/sys/kernel/mm/transparent_hugepage/enabled` says `madvise`; with `always` both are alike.
pub fn huge_pages(server: &Server) -> Vec<Row> {
    let setting = |who, value| (who, "GLIBC_TUNABLES", value);
    let settings = [setting("off", "glibc.malloc.hugetlb=0"), setting("on", "glibc.malloc.hugetlb=1")];
    started(server, "huge pages", "off", HTTP1, settings)
}

/// The longest frame that a peer may send on HTTP/2, which is what a long body comes in pieces of. A program each, since what a
/// piece costs is for the greater part the allocator's, who finds other memory where others leave theirs.
pub fn frame(server: &Server) -> Vec<Row> {
    let setting = |who| (who, FRAME, who);
    started(
        server,
        "frame",
        "16 KiB",
        HTTP2,
        ["64 KiB", "16 KiB", "32 KiB", "128 KiB", "256 KiB"].map(setting),
    )
}

/// What a peer may send ahead on one stream of HTTP/2, and a hundred times that on all.
pub fn window(server: &Server) -> Vec<Row> {
    let setting = |who| (who, WINDOW, who);
    started(server, "window", "64 KiB", HTTP2, ["256 KiB", "64 KiB", "1024 KiB", "2048 KiB"].map(setting))
}

const FRAME: &str = "LOQUAT_BENCH_FRAME";
const WINDOW: &str = "LOQUAT_BENCH_WINDOW";
const HTTP1: [&str; 2] = ["h1/200B/c64", "h1/100K/c16"];
const HTTP2: [&str; 2] = ["h2/200B/c64", "h2/100K/c16"];

/// Where one of its knobs is turned, HTTP/2 with that; HTTP/1.1 otherwise.
fn chosen() -> Config {
    let asked = |name| {
        let text = std::env::var(name).ok()?;
        let kib = text.split(' ').next()?.parse::<u32>().expect("a number");
        Some(kib << 10)
    };
    let limits = Http2Limits::default();
    let limits = match (asked(FRAME), asked(WINDOW)) {
        (Some(bytes), _) => limits.with_max_frame_bytes(bytes),
        (_, Some(bytes)) => limits.with_windows(bytes, 100 * bytes),
        (None, None) => return config(),
    };
    config().with_http2(Http2Mode::PriorKnowledge).with_http2_limits(limits)
}

/// What makes this program measure for its parent, with what it was started with.
pub const CLIENT_ARGUMENT: &str = "--client";

/// Reads `PROTOCOL REQUESTS` a line, answers with the CPU time of each request in microseconds.
pub fn serve_figures() {
    let address =
        std::env::args().find_map(|argument| argument.parse::<SocketAddr>().ok()).expect("an address");
    let runtime = one_thread();
    let clients = [200, 102_400].map(|bytes| {
        let concurrency = if bytes == 200 { 64 } else { 16 };
        ask(&runtime, Ours::with(chosen(), &format!("http://{address}/{bytes}")), concurrency)
    });
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let (which, requests) = line.split_once(' ').expect("two words");
        let before = process_cpu();
        let requests =
            clients[which.parse::<usize>().expect("a number")](requests.parse().expect("a number")).len();
        println!("{}", (process_cpu() - before).as_secs_f64() * 1e6 / requests as f64);
    }
}

/// A client that was started in an environment of its own.
struct Started {
    who: &'static str,
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    figures: [Vec<f64>; 2],
}

impl Started {
    fn new(address: SocketAddr, (who, variable, value): (&'static str, &str, &str)) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args([CLIENT_ARGUMENT, &address.to_string()])
            .env(variable, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { who, child, lines, figures: Default::default() }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients that take turns, and differ in what they were started with: a name, and a variable of the environment.
fn started<const N: usize>(
    server: &Server,
    knob: &'static str,
    usual: &'static str,
    loads: [&'static str; 2],
    settings: [(&'static str, &str, &str); N],
) -> Vec<Row> {
    let address = if loads == HTTP2 { server.http2 } else { server.http1 };
    let mut clients = settings.map(|setting| Started::new(address, setting));
    for round in 0..=rounds() {
        for load in 0..2 {
            let mut order: Vec<usize> = (0..N).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let client = &mut clients[index];
                let stdin = client.child.stdin.as_mut().expect("piped");
                writeln!(stdin, "{load} {}", [1536, 256][load]).expect("the client lives");
                let figure = client.lines.next().expect("a line").expect("text").parse().expect("a number");
                // The first round warms.
                if round > 0 {
                    client.figures[load].push(figure);
                }
            }
        }
    }
    let rows = [0, 1].map(|load| Row {
        knob,
        load: loads[load].to_owned(),
        usual,
        unit: "us cpu/req",
        settings: clients
            .iter_mut()
            .map(|client| (client.who.to_owned(), median(&mut client.figures[load])))
            .collect(),
    });
    rows.into()
}
