//! Who takes part: ours, its peers, and the floor of the protocol.

use std::time::Duration;

use tokio::{runtime::Runtime, task::LocalSet};

use crate::{
    Protocol,
    contenders::{AsyncOpenAi, Ours, RawH2, Reader, Reqwest, Target, reqwests},
    floor::{Frames, Socket},
};

/// What is done with them.
pub trait Visit {
    fn reader<R: Reader>(&mut self, who: &'static str, make: impl FnOnce() -> R);
}

/// Shows everybody who can read that many streams.
pub fn each(runtime: &Runtime, target: Target, streams: usize, visit: &mut impl Visit) {
    let _entered = runtime.enter();
    visit.reader("ours", || Ours::new(target, 8192));
    if target.protocol == Protocol::Http2 {
        visit.reader("every 4 ms", || Ours::clocked(target, 8192, Duration::from_millis(4)));
    }
    visit.reader("reqwest, drained", || Reqwest::draining(reqwests(target, streams), target));
    visit.reader("reqwest + sse-core + sonic-rs", || Reqwest::decoding(reqwests(target, streams), target));
    visit.reader("async-openai", || AsyncOpenAi::new(reqwests(target, streams), target));
    match target.protocol {
        Protocol::Http1 => visit.reader("floor", || Socket::new(target, true)),
        Protocol::Http2 => {
            let raw = || LocalSet::new().block_on(runtime, RawH2::new(target, streams));
            visit.reader("h2, drained", raw);
            visit.reader("floor", || Frames::new(target, streams));
        }
    }
}
