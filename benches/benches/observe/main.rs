//! What watching costs: instructions that the observer adds to a chunk and to a short request, beside
//! `tracing-opentelemetry` in its usual set-up.
//!
//! | case | what it is |
//! |---|---|
//! | `chunk` | instructions added to one chunk of a stream, of 500 that are polled in turn; metrics on |
//! | `chunk-spans` | the same with 1 % of the operations kept as spans |
//! | `request` | instructions added to a whole short request of three chunks, with both |
//! | `core-share` | the part of one core, in percent, that 100,000 chunks a second take of it, by instructions; metrics on |
//! | `core-share-spans` | the same with 1 % spans |
//! | `cpu` | the thread's processor time added to a chunk, metrics on: noisy, and the floor is the chunk without anybody watching |
//!
//! Instructions are counted by callgrind in a process of its own: the same program with few and with many chunks, so that the
//! difference is the chunks'. What a core executes in a second is measured here, on the program that nobody watches. Two things
//! callgrind does not see: the kernel, and waiting for memory. Our layer takes no reading of the clock per chunk (the source has
//! one), tracing's does.
//!
//! The peer: a span per operation, entered for each poll, a histogram with three attributes recorded per chunk, the SDK's sampler at 1 %, and
//! an exporter that throws away.

use std::{
    sync::Arc,
    task::{self, Poll, Waker},
    time::{Duration, Instant},
};

use loquat_benches::{callgrind, cpu, is_quick, machine::median, side};
use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delta, Ending, FinishReason, Model, Result, Source, Step, Usage,
};
use loquat_observe::{CallTrace, Keep, Observer, Place, Sampling};
use opentelemetry::{KeyValue, metrics::MeterProvider, trace::TracerProvider};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{Sampler, SpanData, SpanExporter},
};
use tracing_subscriber::layer::SubscriberExt;

/// Streams that are polled in turn.
const STREAMS: usize = 500;

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

/// Who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Metrics,
    Spans,
    Tracing,
}

impl Who {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Nobody, "nobody"),
        (Self::Metrics, "metrics"),
        (Self::Spans, "spans"),
        (Self::Tracing, "tracing"),
    ];
}

struct Nowhere;

impl Keep for Nowhere {
    fn keep(&self, call: &Arc<CallTrace>) {
        std::hint::black_box(call);
    }
}

#[derive(Debug)]
struct ThrownAway;

impl SpanExporter for ThrownAway {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        std::hint::black_box(batch);
        Ok(())
    }
}

impl PushMetricExporter for ThrownAway {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        std::hint::black_box(metrics);
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

/// One stream under way.
struct Stream {
    answer: Answer,
    traced: Option<(tracing::Span, Instant)>,
}

struct Peer {
    histogram: opentelemetry::metrics::Histogram<f64>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Peer {
    fn new() -> Self {
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder()
            .with_batch_exporter(ThrownAway)
            .with_sampler(Sampler::TraceIdRatioBased(0.01))
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let meters = opentelemetry_sdk::metrics::SdkMeterProvider::builder()
            .with_periodic_exporter(ThrownAway)
            .build();
        let histogram =
            meters.meter("bench").f64_histogram("gen_ai.client.operation.time_per_output_chunk").build();
        // Its instruments live as long as it does.
        std::mem::forget(meters);
        Self { histogram, _guard: guard }
    }

    fn chunk(&self, since: &mut Instant) {
        let now = Instant::now();
        let gap = now.duration_since(std::mem::replace(since, now));
        let attributes = [
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.provider.name", "openai"),
            KeyValue::new("gen_ai.request.model", "gpt-5"),
        ];
        self.histogram.record(gap.as_secs_f64(), &attributes);
    }
}

/// So many streams at a time, each of so many chunks, until all `operations` have ended.
fn run(who: Who, operations: usize, chunks: usize) {
    let server = Server(chunks);
    let place = || Place::new("openai", "gpt-5").with_base_url("https://api.example/v1");
    let model: Arc<dyn Model> = match who {
        Who::Nobody | Who::Tracing => Arc::new(server),
        Who::Metrics | Who::Spans => {
            let mut builder = Observer::builder();
            if who == Who::Spans {
                builder = builder.sampling(Sampling::default()).keep(Arc::new(Nowhere));
            }
            let observer = builder.build();
            Arc::new(observer.operation(observer.attempt(server, place()), place()))
        }
    };
    let peer = (who == Who::Tracing).then(Peer::new);
    let request = Arc::new(ChatRequest::new("gpt-5").with_user("hi"));
    let mut cx = task::Context::from_waker(Waker::noop());
    let mut left = operations;
    while left > 0 {
        let mut streams: Vec<Stream> = (0..left.min(STREAMS))
            .map(|_| {
                let traced = peer.as_ref().map(|_| {
                    (tracing::info_span!("chat", otel.kind = "client", model = "gpt-5"), Instant::now())
                });
                let context = Context::new();
                let mut infer = model.infer(&context, request.clone());
                let Poll::Ready(Ok(answer)) = infer.as_mut().poll(&mut cx) else {
                    panic!("it answers at once")
                };
                drop(infer);
                Stream { answer, traced }
            })
            .collect();
        left -= streams.len();
        while !streams.is_empty() {
            streams.retain_mut(|stream| {
                let entered = stream.traced.as_ref().map(|(span, _)| span.enter());
                let polled = stream.answer.poll_advance(&mut cx);
                drop(entered);
                if let (Poll::Ready(true), Some(peer), Some((_, since))) =
                    (&polled, &peer, &mut stream.traced)
                {
                    peer.chunk(since);
                }
                if polled.is_ready() {
                    std::hint::black_box(stream.answer.current());
                }
                stream.answer.ending().is_none()
            });
        }
    }
}

/// Instructions of this program, run like that.
fn instructions(who: &str, operations: usize, chunks: usize) -> f64 {
    callgrind::instructions(&["--count", who, &operations.to_string(), &chunks.to_string()])
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--count") {
        let number = |index: usize| arguments[at + index].parse().expect("a number");
        let who = Who::ALL.iter().find(|(_, name)| *name == arguments[at + 1]).expect("a name").0;
        return run(who, number(2), number(3));
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("skipped: run by `cargo xtask bench observe`");
        return;
    }

    let (few, many) = (20, if is_quick() { 60 } else { 220 });
    let per_chunk = |who| {
        (instructions(who, STREAMS, many) - instructions(who, STREAMS, few)) / ((many - few) * STREAMS) as f64
    };
    let per_request = |who| {
        let (few, many) = (STREAMS, STREAMS * 3);
        (instructions(who, many, 3) - instructions(who, few, 3)) / (many - few) as f64
    };
    let chunk = Who::ALL.map(|(_, name)| per_chunk(name));
    let request = Who::ALL.map(|(_, name)| per_request(name));

    // Processor time, in turns.
    let rounds = if is_quick() { 5 } else { 31 };
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..rounds {
        for (index, (who, _)) in Who::ALL.iter().enumerate() {
            let chunks = 200;
            let before = cpu::thread_nanos();
            run(*who, STREAMS, chunks);
            times[index].push((cpu::thread_nanos() - before) / (STREAMS * chunks) as f64);
        }
    }
    let [nobody, metrics, spans, tracing] = times.each_mut().map(|values| median(values));
    // What a core gets done in a second, on this program.
    let a_second = chunk[0] / nobody * 1e9;
    let share = |instructions: f64| instructions * 100_000.0 / a_second * 100.0;

    let peer = "tracing-opentelemetry";
    let [bare, with_metrics, with_spans, traced] = chunk;
    side::figure("chunk", "ours", with_metrics - bare, "instructions");
    side::figure("chunk", peer, traced - bare, "instructions");
    side::figure("chunk-spans", "ours", with_spans - bare, "instructions");
    side::figure("chunk-spans", peer, traced - bare, "instructions");
    side::figure("request", "ours", request[2] - request[0], "instructions");
    side::figure("request", peer, request[3] - request[0], "instructions");
    side::figure("core-share", "ours", share(with_metrics - bare), "%");
    side::figure("core-share", peer, share(traced - bare), "%");
    side::figure("core-share-spans", "ours", share(with_spans - bare), "%");
    side::figure("core-share-spans", peer, share(traced - bare), "%");
    side::figure("cpu", "ours", metrics - nobody, "ns/chunk");
    side::figure("cpu", "ours with 1 % spans", spans - nobody, "ns/chunk");
    side::figure("cpu", peer, tracing - nobody, "ns/chunk");
    side::figure("cpu", "floor", nobody, "ns/chunk");
}
