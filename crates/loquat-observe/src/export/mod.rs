//! What is kept goes out: to an OpenTelemetry collector as spans and metrics, or to a file as lines of JSON.
//!
//! Each exporter has a thread of its own and a bounded queue before it. Who ends an operation puts one pointer into the queue and
//! goes on: what the collector does (stands still, refuses, is gone) is the thread's affair. What does not fit is dropped
//! and counted, in `loquat_observe_dropped_total`. Encoding happens on the thread, too.

pub mod grpc;
mod http;
mod lines;
mod metrics;
mod private;
mod proto;
mod queue;
mod spans;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use loquat_core::{Error, ErrorKind, Result, Secret};
use prost::Message;

use crate::{CallTrace, Keep, Observer, metric::Kind, names};
use http::PlainHttp;
use lines::Lines;
use queue::{Queue, Woken};

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// The path of OTLP over HTTP.
    pub fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// The path of OTLP over gRPC.
    pub fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

/// Why something did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undelivered {
    /// It may arrive later, after so long where the collector says so.
    Later(Option<Duration>),
    /// The collector does not want it.
    Refused,
}

/// Carries an encoded request to a collector. The seam for whatever is not plain HTTP: the facade's `Collector` fills it with TLS and gRPC.
pub trait Deliver: Send {
    /// Brings it there, and the body of the answer back. It may block, within a limit of its own: it is called on the
    /// exporter's thread.
    ///
    /// # Errors
    /// Whether trying again makes sense.
    fn deliver(&mut self, signal: Signal, body: &[u8]) -> Result<Vec<u8>, Undelivered>;
}

/// How an [`Exporter`] is set.
///
/// | field | default | reason |
/// |---|---|---|
/// | `service_name` | `unknown_service` | as OpenTelemetry says for want of one |
/// | `max_queued` | 2,048 | operations; some 4 MiB at worst |
/// | `max_batch` | 512 | operations in one request |
/// | `flush_every` | 5 s | how old a span may get |
/// | `metrics_every` | 30 s | what most dashboards resolve |
/// | `timeout` | 10 s | of one delivery |
/// | `max_attempts` | 4 | then a batch is dropped: with waits of 1, 2 and 4 s, and meanwhile the queue fills |
/// | `max_file_bytes` | 256 MiB | of a file of lines, twice at most |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExportConfig {
    /// `service.name`.
    pub service_name: String,
    /// What else is known of this process: `deployment.environment.name`, `service.version`, …
    pub resource: Vec<(String, String)>,
    /// Most operations that wait.
    pub max_queued: usize,
    /// Most operations in one request.
    pub max_batch: usize,
    /// How long an operation waits for others to go with it.
    pub flush_every: Duration,
    /// How often metrics are sent; `None` for never.
    pub metrics_every: Option<Duration>,
    /// How long one delivery may take.
    pub timeout: Duration,
    /// How often a batch is tried.
    pub max_attempts: u32,
    /// Fields of the requests, such as a token.
    pub headers: Vec<(String, Secret)>,
    /// After how many bytes a file is begun anew.
    pub max_file_bytes: u64,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self {
            service_name: "unknown_service".into(),
            resource: Vec::new(),
            max_queued: 2048,
            max_batch: 512,
            flush_every: Duration::from_secs(5),
            metrics_every: Some(Duration::from_secs(30)),
            timeout: Duration::from_secs(10),
            max_attempts: 4,
            headers: Vec::new(),
            max_file_bytes: 256 * 1024 * 1024,
        }
    }
}

impl ExportConfig {
    /// For a service of that name.
    pub fn new(service_name: impl Into<String>) -> Self {
        Self { service_name: service_name.into(), ..Self::default() }
    }

    /// With one more field in each request.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Takes what is kept and brings it out; see the [module's words](self). Cheap to clone. Give it to
/// [`ObserverBuilder::export`](crate::ObserverBuilder::export).
///
/// When the last clone and its observer are gone, what is queued is tried once more, and the thread ends. To wait for that,
/// [`flush`](Self::flush) first.
#[derive(Clone)]
pub struct Exporter(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Exporter {
    /// To a collector that speaks OTLP over plain HTTP: `http://127.0.0.1:4318`.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] for an address that is none; [`ErrorKind::Local`] where there is no thread to be had.
    pub fn otlp_http(endpoint: &str, config: ExportConfig) -> Result<Self> {
        let http = PlainHttp::new(endpoint, config.headers.clone(), config.timeout)?;
        Self::otlp(http, config)
    }

    /// To a collector that speaks OTLP, by that way.
    ///
    /// # Errors
    /// [`ErrorKind::Local`] where there is no thread to be had.
    pub fn otlp(deliver: impl Deliver + 'static, config: ExportConfig) -> Result<Self> {
        Self::start(Sink::Otlp(Box::new(deliver)), config)
    }

    /// To a file: one operation per line, in JSON. Metrics are not written.
    ///
    /// On Unix the file is its owner's alone, also one that was there and that everybody could read, since with content captured what
    /// people wrote is in it. Who wants a group to read it makes it so before (`chmod 640`): that stays, and the one that is begun when
    /// it is full is the same group's. Links, pipes and devices are left as they are, and never begun anew.
    ///
    /// # Errors
    /// [`ErrorKind::Local`] for a file that cannot be written, or where there is no thread to be had.
    pub fn json_lines(path: impl Into<PathBuf>, config: ExportConfig) -> Result<Self> {
        let path = path.into();
        let failed = |error| {
            Error::new(ErrorKind::Local, format!("cannot write {}", path.display())).with_source(error)
        };
        let lines = Lines::open(path.clone(), config.max_file_bytes).map_err(failed)?;
        Self::start(Sink::Lines(lines), config)
    }

    fn start(sink: Sink, config: ExportConfig) -> Result<Self> {
        let queue = Arc::new(Queue::new(config.max_queued, config.max_batch));
        let worker = Worker { queue: queue.clone(), sink, config, since: SystemTime::now() };
        let spawned = thread::Builder::new().name("loquat-export".into()).spawn(move || worker.run());
        spawned.map_err(|error| {
            Error::new(ErrorKind::Local, "cannot start a thread to export").with_source(error)
        })?;
        Ok(Self(Arc::new(Inner { queue })))
    }

    /// Waits until what is queued now has gone out or was given up, and metrics were sent; `false` if that took longer.
    /// It blocks: in asynchronous code, call it where blocking is allowed.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.0.queue.flush(timeout)
    }

    /// Operations that were dropped: the queue was full, the collector unreachable for too long, or it refused them.
    pub fn dropped(&self) -> u64 {
        let queue = &self.0.queue;
        queue.overflown.value() + queue.undelivered.value() + queue.refused.value()
    }

    /// Operations that arrived.
    pub fn exported(&self) -> u64 {
        self.0.queue.exported.value()
    }

    /// Operations that wait, or are on their way.
    pub fn pending(&self) -> u64 {
        // Read before those that it is lessened by: what is done in between does not make it negative.
        let accepted = self.0.queue.accepted.value();
        let queue = &self.0.queue;
        let done = queue.exported.value() + queue.undelivered.value() + queue.refused.value();
        accepted.saturating_sub(done)
    }

    /// Tells the thread whose metrics to send, and the observer what became of its operations.
    pub(crate) fn attach(&self, observer: &Observer) {
        let queue = &self.0.queue;
        queue.attach(&observer.0);
        let registry = &observer.0.registry;
        type Read = fn(&Queue) -> u64;
        let dropped: [(&str, Read); 3] = [
            ("queue_full", |queue| queue.overflown.value()),
            ("undelivered", |queue| queue.undelivered.value()),
            ("refused", |queue| queue.refused.value()),
        ];
        #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
        let ask = |queue: &Arc<Queue>, read: Read| {
            let queue = queue.clone();
            move || read(&queue) as f64
        };
        for (reason, read) in dropped {
            let labels = vec![("reason", reason.into())];
            registry.asked(names::DROPPED, Kind::Counter, labels, ask(queue, read));
        }
        let exported = ask(queue, |queue| queue.exported.value());
        registry.asked(names::EXPORTED, Kind::Counter, Vec::new(), exported);
    }
}

impl Keep for Exporter {
    fn keep(&self, call: &Arc<CallTrace>) {
        self.0.queue.push(call.clone());
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter")
            .field("exported", &self.exported())
            .field("dropped", &self.dropped())
            .finish()
    }
}

enum Sink {
    Otlp(Box<dyn Deliver>),
    Lines(Lines),
}

/// The thread's own.
struct Worker {
    queue: Arc<Queue>,
    sink: Sink,
    config: ExportConfig,
    since: SystemTime,
}

impl Worker {
    fn run(mut self) {
        let after = |now: Instant, every: Duration| now + every.min(LONGEST_PAUSE);
        let mut metrics_due = self.config.metrics_every.map(|every| after(Instant::now(), every));
        loop {
            let mut wait = self.config.flush_every;
            if let Some(due) = metrics_due {
                wait = wait.min(due.saturating_duration_since(Instant::now()));
            }
            let Woken { calls, flushing, closed } = self.queue.take(wait);
            let mut rest = calls.as_slice();
            while !rest.is_empty() {
                let (some, more) = rest.split_at(fitting(rest));
                self.spans(some);
                rest = more;
            }
            let now = Instant::now();
            let is_last = flushing.is_some() && calls.len() < self.config.max_batch;
            if metrics_due.is_some_and(|due| now >= due || is_last || closed) {
                metrics_due = self.config.metrics_every.map(|every| after(now, every));
                self.metrics();
            }
            if is_last && let Some(flush) = flushing {
                self.queue.flushed(flush);
            }
            if closed && calls.is_empty() {
                return;
            }
        }
    }

    fn spans(&mut self, calls: &[Arc<CallTrace>]) {
        let count = calls.len() as u64;
        match &mut self.sink {
            Sink::Lines(lines) => {
                let result = lines.write(calls.iter().map(|call| &**call));
                let counter = if result.is_ok() { &self.queue.exported } else { &self.queue.undelivered };
                counter.add(count);
            }
            Sink::Otlp(_) => {
                let names = self.queue.names();
                let spans = calls.iter().flat_map(|call| spans::spans(call, names)).collect();
                let scope_spans = vec![proto::ScopeSpans { scope: Some(scope()), spans }];
                let resource = Some(self.resource());
                let resource_spans = vec![proto::ResourceSpans { resource, scope_spans }];
                let body = proto::TraceRequest { resource_spans }.encode_to_vec();
                let (queue, result) = (self.queue.clone(), self.send(Signal::Traces, &body));
                match result {
                    Ok(answer) => {
                        let rejected = proto::ExportResponse::decode(answer.as_slice())
                            .ok()
                            .and_then(|answer| answer.partial_success)
                            .map_or(0, |partial| u64::try_from(partial.rejected).unwrap_or(0).min(count));
                        queue.refused.add(rejected);
                        queue.exported.add(count - rejected);
                    }
                    Err(Undelivered::Refused) => queue.refused.add(count),
                    Err(Undelivered::Later(_)) => queue.undelivered.add(count),
                }
            }
        }
    }

    /// The next ones say the same and more: nothing is counted for those that are lost.
    fn metrics(&mut self) {
        let (Sink::Otlp(_), Some(shared)) = (&self.sink, self.queue.observer()) else { return };
        let now = spans::unix(SystemTime::now());
        let metrics = metrics::metrics(shared.registry.read(), spans::unix(self.since), now);
        drop(shared);
        let scope_metrics = vec![proto::ScopeMetrics { scope: Some(scope()), metrics }];
        let resource = Some(self.resource());
        let resource_metrics = vec![proto::ResourceMetrics { resource, scope_metrics }];
        let body = proto::MetricsRequest { resource_metrics }.encode_to_vec();
        if let Sink::Otlp(deliver) = &mut self.sink {
            let _ = delivered(&mut **deliver, Signal::Metrics, &body);
        }
    }

    fn resource(&self) -> proto::Resource {
        let config = &self.config;
        let own = [
            ("service.name", config.service_name.as_str()),
            ("telemetry.sdk.name", "loquat"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ];
        let own = own.into_iter().map(|(key, value)| proto::KeyValue::text(key, value));
        let more = config.resource.iter().map(|(key, value)| proto::KeyValue::text(key, value));
        proto::Resource { attributes: own.chain(more).collect() }
    }

    /// Tries as often as is allowed; once, when everybody has gone.
    fn send(&mut self, signal: Signal, body: &[u8]) -> Result<Vec<u8>, Undelivered> {
        const LONGEST_WAIT: Duration = Duration::from_secs(30);
        let mut wait = Duration::from_secs(1);
        for attempt in 1.. {
            let Sink::Otlp(deliver) = &mut self.sink else { break };
            let Some(answered) = delivered(&mut **deliver, signal, body) else { break };
            match answered {
                Err(Undelivered::Later(after)) if attempt < self.config.max_attempts => {
                    if self.queue.pause(after.unwrap_or(wait).min(LONGEST_WAIT)) {
                        break; // closed
                    }
                    wait = wait.saturating_mul(2);
                }
                result => return result,
            }
        }
        Err(Undelivered::Later(None))
    }
}

/// Nothing of one that panics. What it was given may have arrived, and is not tried again; what comes later may still go out.
fn delivered(deliver: &mut dyn Deliver, signal: Signal, body: &[u8]) -> Option<Result<Vec<u8>, Undelivered>> {
    catch_unwind(AssertUnwindSafe(|| deliver.deliver(signal, body))).ok()
}

/// No pause is longer: as good as none ever ending, and an instant all the same.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Most bytes of content in one request: half of what a collector over gRPC takes as it comes.
#[cfg(feature = "capture")]
const MAX_CONTENT_BYTES: usize = 2 * 1024 * 1024;

/// How many of them go into one request, for the content that they have: at least one.
#[cfg(feature = "capture")]
fn fitting(calls: &[Arc<CallTrace>]) -> usize {
    let mut bytes = 0;
    let heavy = calls.iter().position(|call| {
        bytes += call.content.as_ref().map_or(0, |content| {
            content.system_instructions().len()
                + content.input_messages().len()
                + content.output_messages().len()
        });
        bytes > MAX_CONTENT_BYTES
    });
    heavy.unwrap_or(calls.len()).max(1)
}

#[cfg(not(feature = "capture"))]
fn fitting(calls: &[Arc<CallTrace>]) -> usize {
    calls.len()
}

fn scope() -> proto::Scope {
    proto::Scope { name: env!("CARGO_PKG_NAME").into(), version: env!("CARGO_PKG_VERSION").into() }
}
