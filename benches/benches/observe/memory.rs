//! Answers without a network: what is counted is the watching and little else.

use std::{
    pin::pin,
    sync::Arc,
    task::{self, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use loquat_benches::cpu;
use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delta, Ending, FinishReason, Model, Result, Source, Step, Usage,
};

use crate::who::{Stream, Watching, Who};

/// Streams that are polled in turn.
pub const STREAMS: usize = 500;
/// Chunks of a short request.
pub const SHORT: usize = 3;
/// Short requests in a second, and how many begin in each millisecond of it.
pub const REQUESTS_PER_SECOND: f64 = 5_000.0;
const REQUESTS_PER_TICK: usize = 5;

/// A source that waits before each chunk and says when it arrived, as a connection's does. It makes those times up: a reading
/// of the clock is no instruction to callgrind, and would hide in the time what a core gets done.
struct Paced {
    left: usize,
    waited: bool,
    arrived: Instant,
}

impl Source for Paced {
    fn poll_advance(&mut self, _: &mut task::Context<'_>) -> Poll<Step> {
        if !std::mem::replace(&mut self.waited, true) {
            return Poll::Pending;
        }
        self.waited = false;
        if self.left == 0 {
            let mut usage = Usage::default();
            (usage.input_tokens, usage.output_tokens) = (10, 20);
            return Poll::Ready(Step::End(Ending::Finished { reason: FinishReason::Stop, usage }));
        }
        self.left -= 1;
        self.arrived += Duration::from_millis(5);
        Poll::Ready(Step::Delta)
    }

    fn current(&self) -> Delta<'_> {
        Delta::Text { choice: 0, text: " token" }
    }

    fn arrived(&self) -> Option<Instant> {
        Some(self.arrived)
    }
}

struct Server(usize);

impl Model for Server {
    fn infer<'a>(&'a self, _: &'a Context, _: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        let source = Paced { left: self.0, waited: false, arrived: Instant::now() };
        Box::pin(async move { Ok(Answer::new(source).without_history()) })
    }
}

fn begin(watching: &Watching, cx: &mut task::Context<'_>) -> Stream {
    match pin!(watching.begin()).poll(cx) {
        Poll::Ready(stream) => stream,
        Poll::Pending => unreachable!("it answers at once"),
    }
}

/// One poll; whether it goes on.
fn goes_on(watching: &Watching, stream: &mut Stream, cx: &mut task::Context<'_>) -> bool {
    if watching.poll(stream, cx).is_ready() {
        std::hint::black_box(stream.answer.current());
    }
    stream.answer.ending().is_none()
}

/// So many streams at a time, each of so many chunks, until all `operations` have ended.
pub fn run(who: Who, operations: usize, chunks: usize) {
    let watching = Watching::new(who, Server(chunks));
    let mut cx = task::Context::from_waker(Waker::noop());
    let mut left = operations;
    while left > 0 {
        let mut streams: Vec<Stream> = (0..left.min(STREAMS)).map(|_| begin(&watching, &mut cx)).collect();
        left -= streams.len();
        while !streams.is_empty() {
            streams.retain_mut(|stream| goes_on(&watching, stream, &mut cx));
        }
    }
}

/// Short requests at their rate for so long, five each millisecond: the part of the core that they took, in percent; and how many
/// there were in a second.
pub fn at_rate(who: Who, span: Duration) -> (f64, f64) {
    let watching = Watching::new(who, Server(SHORT));
    let mut cx = task::Context::from_waker(Waker::noop());
    let (began, before) = (Instant::now(), cpu::thread_nanos());
    let mut ticks = 0_u32;
    while began.elapsed() < span {
        for _ in 0..REQUESTS_PER_TICK {
            let mut stream = begin(&watching, &mut cx);
            while goes_on(&watching, &mut stream, &mut cx) {}
        }
        ticks += 1;
        // A late tick is made up for: the rate holds.
        let due = began + Duration::from_millis(1) * ticks;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let elapsed = began.elapsed().as_secs_f64();
    let spent = cpu::thread_nanos() - before;
    (spent / 1e7 / elapsed, f64::from(ticks) * REQUESTS_PER_TICK as f64 / elapsed)
}
