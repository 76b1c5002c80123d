//! The knobs that are turned most, each measured for what it does here: what others have it at, what we have it at, and the
//! effect, "none" included.
//!
//! Cases are `knob/load`; `ours` is our setting, the peers are the others. Loads are those of the bench `transport`: small
//! POSTs (`h1/200B/c64`) and longer bodies (`h1/100K/c16`, on HTTP/2 `h2/…`) against a server on another core, settings in turns. What
//! differs by less than [`NOISE`] is no effect: as much lies between two runs of the same.
//!
//! Keep-alive is measured by what it decides, how often a connection is found again, with requests that come at random
//! distances of 45 s in the middle, on a clock that runs a hundred times faster (300 ms for 30 s).

mod allocator;
#[path = "../transport/contenders.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod contenders;
mod knobs;
#[path = "../transport/server.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod server;
mod started;

use loquat_benches::{child, machine::pin, side};
use server::Server;

#[global_allocator]
static ALLOCATOR: allocator::Chosen = allocator::Chosen;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// Less than that is no effect.
const NOISE: f64 = 0.04;

/// One knob under one load.
pub struct Row {
    knob: &'static str,
    load: String,
    /// What it is elsewhere, or was thought to be.
    usual: &'static str,
    unit: &'static str,
    /// Ours first.
    settings: Vec<(String, f64)>,
}

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    pin(usize::from(child::is_server()));
    if child::is_server() {
        return server::serve();
    }
    if std::env::args().any(|argument| argument == started::CLIENT_ARGUMENT) {
        return started::serve_figures();
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let server = Server::start();
    let measure: [(&str, &dyn Fn() -> Vec<Row>); 9] = [
        ("threads", &|| knobs::threads(&server, cores)),
        ("allocator", &|| started::allocator(&server)),
        ("huge pages", &|| started::huge_pages(&server)),
        ("keep-alive", &|| knobs::keep_alive(&server)),
        ("copy buffer", &|| knobs::copy_buffer(&server)),
        ("frame", &|| started::frame(&server)),
        ("window", &|| started::window(&server)),
        ("quick ack", &|| knobs::quick_ack(&server)),
        ("no delay", &|| knobs::no_delay(&server)),
    ];
    println!("{:<12} {:<28} {:<22} {:<16} {:<16} effect", "knob", "load", "usual", "setting", "figure");
    for (knob, rows) in measure {
        if wanted.is_empty() || wanted.iter().any(|part| knob.contains(part.as_str())) {
            rows().iter().for_each(show);
        }
    }
}

fn show(row: &Row) {
    let Row { knob, load, usual, unit, settings } = row;
    let case = format!("{knob}/{load}");
    let Some(((ours, figure), others)) = settings.split_first() else { return };
    println!(
        "{knob:<12} {load:<28} {usual:<22} {:<16} {:<16}",
        format!("{ours} (ours)"),
        format!("{figure:.2} {unit}")
    );
    side::figure(&case, "ours", *figure, unit);
    for (setting, value) in others {
        let change = value / figure - 1.0;
        let effect =
            if change.abs() < NOISE { "none".to_owned() } else { format!("{:+.0} %", change * 100.0) };
        println!("{:<64} {setting:<16} {:<16} {effect}", "", format!("{value:.2} {unit}"));
        side::figure(&case, setting, *value, unit);
    }
}
