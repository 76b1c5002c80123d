//! What a chunk takes outside the kernel, counted: instructions, and lines of memory that nothing but this stream keeps at hand.
//! Where many streams take turns each finds its own cold, so the lines are what a chunk waits for; the kernel has just written
//! about five of them, the chunk itself. On HTTP/2 both depend a little on how many frames a read brings.
//!
//! Forty streams of ten events a second each: few enough for a client that runs fifty times slower to read each event by itself,
//! and enough for a first cache to hold none from one event to the next.

use std::rc::Rc;

use loquat_benches::{
    callgrind::{Counts, counts},
    side,
};
use tokio::{
    runtime::Runtime,
    task::{LocalSet, spawn_local},
};

use crate::{
    contenders::{Reader, Target},
    tally::Tally,
};

pub const STREAMS: usize = 40;
/// Of a stream's events, so many ticks apart.
pub const SLOTS: usize = 100;
/// Events of each stream in the shorter run and in the longer.
const EVENTS: [usize; 2] = [10, 30];
/// The argument of a process whose work is counted; then the protocol, the contender, the address, the events.
const ARGUMENT: &str = "--count";

/// Where this process is one whose work is counted: whom to run, against what, for how many events.
pub fn asked(arguments: &[String]) -> Option<[&str; 4]> {
    let at = arguments.iter().position(|argument| argument == ARGUMENT)?;
    let asked = arguments.get(at + 1..at + 5).expect("protocol, contender, address, events");
    Some([0, 1, 2, 3].map(|index| asked[index].as_str()))
}

/// All streams at once, from their requests to their ends.
pub fn run<R: Reader>(runtime: &Runtime, reader: &Rc<R>) {
    LocalSet::new().block_on(runtime, async {
        let tally = Rc::new(Tally::new());
        let read = |number| {
            let (reader, tally) = (Rc::clone(reader), Rc::clone(&tally));
            spawn_local(async move { reader.read(number, &tally).await })
        };
        for task in (0..STREAMS).map(read).collect::<Vec<_>>() {
            task.await.expect("no reader panics");
        }
    });
}

/// Reports what one event more of each stream takes.
pub fn figures(case: &str, protocol: &str, who: &str, target: Target) {
    let address = target.address.to_string();
    let [few, many] = EVENTS.map(|events| counts(&[ARGUMENT, protocol, who, &address, &events.to_string()]));
    let Counts { instructions, data_lines } =
        many.each_beyond(few, ((EVENTS[1] - EVENTS[0]) * STREAMS) as f64);
    side::figure(&format!("{case}/instructions"), who, instructions, "instructions/chunk");
    side::figure(&format!("{case}/data lines"), who, data_lines, "lines/chunk");
}
