//! What goes out, read by OpenTelemetry's own decoder; and what becomes of it when the collector misbehaves.
#![cfg(feature = "otlp")]
#![allow(clippy::print_stderr, reason = "says what it skips")]

#[path = "common/collector.rs"]
mod collector;
mod common;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use collector::{Collector, SILENT, until};
use common::{ask, drain, finished, place};
use loquat_core::{ChatRequest, Context, Error, ErrorKind, Event, Model, TraceContext, test_util::Scripted};
use loquat_observe::{
    Conventions, Observer, Sampling, TextFormat,
    export::{Deliver, ExportConfig, Exporter, Signal, Undelivered},
};
use serde_json::Value;

/// Quick enough for a test; nothing goes out by itself.
fn config() -> ExportConfig {
    let mut config = ExportConfig::new("tested");
    config.flush_every = Duration::from_secs(3600);
    config.metrics_every = Some(Duration::from_secs(3600));
    config.timeout = Duration::from_secs(60);
    config.resource.push(("deployment.environment.name".into(), "test".into()));
    config
}

/// The requests as OpenTelemetry's Python package reads them; `None` where it is not here.
fn decoded(kind: &str, bodies: &[Vec<u8>]) -> Option<Vec<Value>> {
    let Some(python) = std::env::var_os("LOQUAT_PYTHON") else {
        eprintln!("skipped: the independent decoder needs LOQUAT_PYTHON, which `cargo xtask test` sets");
        return None;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decode_otlp.py")).arg(kind);
    for (index, body) in bodies.iter().enumerate() {
        let file = folder.path().join(index.to_string());
        fs::write(&file, body).expect("written");
        command.arg(file);
    }
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

fn request() -> ChatRequest {
    let mut request = ChatRequest::new("gpt-5").with_user("the planted prompt");
    (request.max_output_tokens, request.temperature, request.seed) = (Some(64), Some(0.5), Some(7));
    request
}

/// A model that fails once, with events as a schedule and a router report them, and then answers.
fn retried(observer: &Observer) -> impl Model {
    let server = Scripted::new()
        .then(Err(Error::new(ErrorKind::Overloaded, "the planted secret").with_status(503)))
        .then(Ok(finished(&["one", "two"], 9, 4)));
    let attempt = observer.attempt(server, place());
    observer.operation(Twice(attempt), place())
}

struct Twice<M>(M);

impl<M: Model> Model for Twice<M> {
    fn infer<'a>(
        &'a self,
        context: &'a Context,
        request: Arc<ChatRequest>,
    ) -> loquat_core::BoxFuture<'a, loquat_core::Result<loquat_core::Answer>> {
        Box::pin(async move {
            context.report(&Event::Route { endpoint: "first", reason: "cheapest" });
            let error = match self.0.infer(context, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            context.report(&Event::Retry { retry: 1, wait: Duration::from_millis(250), error: &error });
            self.0.infer(context, request).await
        })
    }
}

#[tokio::test]
async fn an_independent_decoder_reads_the_tree() {
    let collector = Collector::start();
    let exporter = Exporter::otlp_http(&collector.endpoint(), config()).expect("an exporter");
    let observer = Observer::builder().sampling(Sampling::all()).export(exporter.clone()).build();
    let trace =
        TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").expect("valid");
    let model = retried(&observer);
    let answer = model.infer(&Context::new().with_trace(trace), Arc::new(request())).await.expect("answered");
    drain(answer).await;
    assert!(exporter.flush(Duration::from_secs(60)));
    assert_eq!((exporter.exported(), exporter.dropped()), (1, 0));

    let (traces, metrics) = (collector.bodies("/v1/traces"), collector.bodies("/v1/metrics"));
    let sent = [traces.concat(), metrics.concat()].concat();
    let holds = |words: &str| sent.windows(words.len()).any(|window| window == words.as_bytes());
    assert!(holds("gpt-5") && !holds("planted"), "content or a message went out");

    let Some(spans) = decoded("traces", &traces) else { return };
    let [operation, first, second] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!(operation["name"], "chat gpt-5");
    assert_eq!(operation["kind"], 3, "client");
    assert_eq!(operation["parent"], "b7ad6b7169203331");
    assert_eq!(operation["resource"]["service.name"], "tested");
    assert_eq!(operation["resource"]["deployment.environment.name"], "test");
    let attributes = &operation["attributes"];
    for (name, value) in [
        ("gen_ai.operation.name", Value::from("chat")),
        ("gen_ai.provider.name", "openai".into()),
        ("gen_ai.request.model", "gpt-5".into()),
        ("gen_ai.request.max_tokens", 64.into()),
        ("gen_ai.request.temperature", 0.5.into()),
        ("gen_ai.request.seed", 7.into()),
        ("gen_ai.request.stream", true.into()),
        ("gen_ai.response.id", "resp-1".into()),
        ("gen_ai.response.model", "gpt-5-2026".into()),
        ("gen_ai.response.finish_reasons", vec!["stop"].into()),
        ("gen_ai.usage.input_tokens", 9.into()),
        ("gen_ai.usage.output_tokens", 4.into()),
        ("server.address", "api.example".into()),
        ("server.port", 443.into()),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    assert!(attributes["gen_ai.response.time_to_first_chunk"].is_f64() && attributes["error.type"].is_null());
    let events: Vec<&Value> =
        operation["events"].as_array().expect("events").iter().map(|e| &e["name"]).collect();
    assert_eq!(events, ["loquat.route", "loquat.retry", "loquat.first_token"]);
    assert_eq!(operation["events"][1]["attributes"]["error.type"], "overloaded");

    for attempt in [first, second] {
        assert_eq!(attempt["trace"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((&attempt["parent"], &attempt["kind"]), (&operation["id"], &3.into()));
        assert!(attempt["start"].as_u64() >= operation["start"].as_u64());
        assert!(attempt["end"].as_u64() <= operation["end"].as_u64());
    }
    assert_eq!(first["attributes"]["error.type"], "overloaded");
    assert_eq!(first["status"], serde_json::json!([2, "overloaded"]));
    assert_eq!(second["attributes"]["http.request.resend_count"], 1);
    assert_eq!(second["status"], serde_json::json!([0, ""]));

    let metrics = decoded("metrics", &metrics).expect("decoded before");
    let named =
        |name: &str| metrics.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("{name}"));
    let duration = &named("gen_ai.client.operation.duration")["histogram"];
    assert_eq!(duration["aggregationTemporality"], "AGGREGATION_TEMPORALITY_CUMULATIVE");
    let point = &duration["dataPoints"][0];
    assert_eq!((&point["count"], point["explicitBounds"].as_array().map(Vec::len)), (&"1".into(), Some(14)));
    assert_eq!(point["bucketCounts"].as_array().map(Vec::len), Some(15));
    assert_eq!(point["exemplars"].as_array().map(Vec::len), Some(1));
    assert_eq!(named("gen_ai.client.operation.duration")["unit"], "s");
    assert_eq!(named("loquat.attempts")["sum"]["isMonotonic"], true);
    assert!(named("loquat.operations.in_flight")["gauge"].is_object());
}

#[tokio::test]
async fn the_older_names_for_older_dashboards() {
    let collector = Collector::start();
    let exporter = Exporter::otlp_http(&collector.endpoint(), config()).expect("an exporter");
    let observer = Observer::builder()
        .conventions(Conventions::V1_36)
        .sampling(Sampling::all())
        .export(exporter.clone());
    drain(retried(&observer.build()).infer(&Context::new(), Arc::new(request())).await.expect("answered"))
        .await;
    assert!(exporter.flush(Duration::from_secs(60)));
    let sent = collector.bodies("/v1/traces").concat();
    let holds = |words: &str| sent.windows(words.len()).any(|window| window == words.as_bytes());
    assert!(holds("gen_ai.system") && !holds("gen_ai.provider.name") && !holds("time_to_first_chunk"));
}

#[tokio::test]
async fn what_failed_or_was_slow_is_kept_and_the_rest_is_not() {
    let clock = Arc::new(loquat_core::test_util::ManualClock::new());
    let collector = Collector::start();
    let exporter = Exporter::otlp_http(&collector.endpoint(), config()).expect("an exporter");
    let sampling = Sampling::default().with_ratio(0.0).with_slower_than(Duration::from_secs(10));
    let observer =
        Observer::builder().clock(clock.clone()).sampling(sampling).export(exporter.clone()).build();
    for seconds in [1, 3, 1] {
        let model = observer.operation(common::slow(clock.clone(), Duration::from_secs(seconds)), place());
        drain(ask(&model, "gpt-5").await.expect("answered")).await;
    }
    let failing =
        Scripted::new().then(Err(Error::new(ErrorKind::Server, "no"))).then(Ok(finished(&["x"], 1, 1)));
    let failing = observer.operation(failing, place());
    assert!(ask(&failing, "gpt-5").await.is_err());
    drop(ask(&failing, "gpt-5").await.expect("answered, and given up"));
    assert!(exporter.flush(Duration::from_secs(60)));
    assert_eq!(exporter.exported(), 2, "one took 12 s, one failed");
}

/// So many operations, none of which waits for anybody.
async fn many(observer: &Observer, count: usize) {
    for _ in 0..count {
        let model = observer.operation(Scripted::new().then(Ok(finished(&["x"], 1, 1))), place());
        drain(ask(&model, "gpt-5").await.expect("answered")).await;
    }
}

#[tokio::test]
async fn a_collector_that_stands_still_delays_nobody() {
    let collector = Collector::start();
    collector.behave(SILENT);
    let mut config = config();
    (config.max_queued, config.max_batch, config.max_attempts) = (64, 16, 1);
    config.timeout = Duration::from_secs(1);
    let exporter = Exporter::otlp_http(&collector.endpoint(), config).expect("an exporter");
    let observer = Observer::builder().sampling(Sampling::all()).export(exporter.clone()).build();
    many(&observer, 16).await;
    until("the first batch on its way", || collector.asked.load(SeqCst) > 0);
    // The thread sits in a delivery that nobody answers; all of these end nevertheless, and what has no room is counted.
    many(&observer, 1000).await;
    assert!(exporter.dropped() >= 1000 - 64 - 16, "{exporter:?}");
    let shown = observer.metrics(TextFormat::Prometheus);
    assert!(common::sample(&shown, "loquat_observe_dropped_total{reason=\"queue_full\"}") > 900.0);

    // It works again, and so does the flow.
    collector.behave(200);
    until("the flow to resume", || exporter.flush(Duration::from_secs(5)) && exporter.exported() > 0);
    let before = exporter.exported();
    many(&observer, 5).await;
    assert!(exporter.flush(Duration::from_secs(60)));
    assert_eq!(exporter.exported(), before + 5);
    assert_eq!(exporter.exported() + exporter.dropped(), 16 + 1000 + 5, "every one is accounted for");
}

#[tokio::test]
async fn a_queue_shorter_than_a_batch_goes_out_when_it_is_full() {
    let collector = Collector::start();
    let mut config = config();
    config.max_queued = 16;
    let exporter = Exporter::otlp_http(&collector.endpoint(), config).expect("an exporter");
    let observer = Observer::builder().sampling(Sampling::all()).export(exporter.clone()).build();
    many(&observer, 16).await;
    until("a full queue on its way", || exporter.exported() == 16);
    assert_eq!(exporter.dropped(), 0);
}

/// How a collector may fail who delivers to it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Gone,
    Refusing,
    /// Each delivery takes a while.
    Slow,
    /// A delivery ends when the test lets it.
    Paused,
}

/// What a delivery or the wait for the next takes: whoever waited for that would be told from a thread that had no processor.
const A_WHILE: Duration = Duration::from_millis(500);

/// Stands for the way to a collector.
struct Faulty {
    fault: Fault,
    is_released: Arc<AtomicBool>,
    begun: Arc<AtomicU64>,
}

impl Deliver for Faulty {
    fn deliver(&mut self, _: Signal, _: &[u8]) -> Result<Vec<u8>, Undelivered> {
        self.begun.fetch_add(1, SeqCst);
        match self.fault {
            Fault::None => Ok(Vec::new()),
            Fault::Gone => Err(Undelivered::Later(Some(A_WHILE))),
            Fault::Refusing => Err(Undelivered::Refused),
            Fault::Slow => {
                std::thread::sleep(A_WHILE);
                Ok(Vec::new())
            }
            Fault::Paused => {
                until("the test to let it go on", || self.is_released.load(SeqCst));
                Ok(Vec::new())
            }
        }
    }
}

/// No call is delayed, whatever becomes of what was kept. With the paused one that is certain, not a matter of speed: a call that
/// waited for the exporter's thread would never end. For the others, the slowest hundredth of the calls beside those of a
/// collector that is well, one call of each in turn, so that a busy machine is as busy for both.
#[tokio::test]
async fn no_fault_of_a_collector_delays_a_call_or_holds_more_than_the_queue() {
    const CALLS: usize = 3000;
    let observed = |fault| {
        let (is_released, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut config = config();
        (config.max_queued, config.max_batch, config.max_attempts) = (64, 16, 2);
        config.metrics_every = None;
        let faulty = Faulty { fault, is_released: is_released.clone(), begun: begun.clone() };
        let exporter = Exporter::otlp(faulty, config).expect("a thread");
        let observer = Observer::builder().sampling(Sampling::all()).export(exporter.clone()).build();
        (observer, exporter, is_released, begun)
    };
    for fault in [Fault::Gone, Fault::Refusing, Fault::Slow, Fault::Paused] {
        let (well, ..) = observed(Fault::None);
        let (ill, exporter, is_released, begun) = observed(fault);
        many(&ill, 16).await;
        until("a delivery", || begun.load(SeqCst) > 0);
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..CALLS {
            for (observer, took) in [&well, &ill].into_iter().zip(&mut took) {
                let began = Instant::now();
                many(observer, 1).await;
                took.push(began.elapsed());
            }
            assert!(exporter.pending() <= 64 + 16, "{fault:?}: {exporter:?}");
        }
        let [well, ill] = took.map(|mut took| {
            took.sort();
            took[CALLS * 99 / 100]
        });
        println!("{fault:?}: P99 {ill:?}, of a collector that is well {well:?}");
        assert!(ill <= well * 20 + A_WHILE / 5, "{fault:?}: {ill:?} beside {well:?}");
        if fault == Fault::Paused {
            assert_eq!(
                (begun.load(SeqCst), exporter.exported()),
                (1, 0),
                "in its first delivery all the time"
            );
            assert_eq!(exporter.dropped(), CALLS as u64 - 64, "counted");
        }
        is_released.store(true, SeqCst);
        assert!(exporter.flush(Duration::from_secs(120)), "{fault:?}");
        let (all, none) = (CALLS as u64 + 16, exporter.pending());
        assert_eq!((exporter.exported() + exporter.dropped(), none), (all, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn a_collector_that_is_gone_refuses_or_comes_back() {
    let address = Collector::start().address; // taken by that one for as long as the test runs
    let free =
        std::net::TcpListener::bind((address.ip(), 0)).and_then(|free| free.local_addr()).expect("free");
    let mut quick = config();
    quick.max_attempts = 2;
    let exporter = Exporter::otlp_http(&format!("http://{free}"), quick).expect("an exporter");
    let observer = Observer::builder().sampling(Sampling::all()).export(exporter.clone()).build();
    many(&observer, 3).await;
    assert!(exporter.flush(Duration::from_secs(60)));
    assert_eq!((exporter.exported(), exporter.dropped()), (0, 3), "nobody there, twice");

    let collector = Collector::start_at(free);
    many(&observer, 2).await;
    assert!(exporter.flush(Duration::from_secs(60)));
    assert_eq!((exporter.exported(), exporter.dropped()), (2, 3));

    collector.behave(400);
    many(&observer, 1).await;
    assert!(exporter.flush(Duration::from_secs(60)));
    assert_eq!((exporter.exported(), exporter.dropped()), (2, 4), "refused: not asked again");
    let shown = observer.metrics(TextFormat::Prometheus);
    assert_eq!(common::sample(&shown, "loquat_observe_dropped_total{reason=\"refused\"}"), 1.0);

    collector.behave(503);
    many(&observer, 1).await;
    let flushing = exporter.clone();
    let flushed = std::thread::spawn(move || flushing.flush(Duration::from_secs(60)));
    until("the first try", || collector.asked.load(SeqCst) >= 5);
    collector.behave(200);
    assert!(flushed.join().expect("no panic"));
    assert_eq!((exporter.exported(), exporter.dropped()), (3, 4), "again, and it was there");
}

#[tokio::test]
async fn lines_in_a_file_that_does_not_grow_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("calls.jsonl");
    let mut config = config();
    config.max_file_bytes = 2000;
    let exporter = Exporter::json_lines(&path, config).expect("an exporter");
    let observer = Observer::builder().sampling(Sampling::all()).export(exporter.clone()).build();
    for _ in 0..8 {
        drain(retried(&observer).infer(&Context::new(), Arc::new(request())).await.expect("answered")).await;
        assert!(exporter.flush(Duration::from_secs(60)));
    }
    assert_eq!(exporter.exported(), 8);
    let text = fs::read_to_string(&path).expect("written");
    let old = fs::read_to_string(folder.path().join("calls.jsonl.1")).expect("begun anew");
    assert!(text.len() <= 2000 && old.len() <= 2000, "{} {}", text.len(), old.len());
    let line: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&line["model"], &line["output_tokens"], &line["error"]),
        (&"gpt-5".into(), &4.into(), &Value::Null)
    );
    assert_eq!(line["attempts"][0]["error"], "overloaded");
    assert!(!format!("{text}{old}").contains("planted"));
    // With content captured, what people wrote is in it: nobody else on the machine reads it.
    #[cfg(unix)]
    for file in [&path, &folder.path().join("calls.jsonl.1")] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(file).expect("there").permissions().mode() & 0o777, 0o600);
    }
}

/// Its file was renamed and no new one could be made, or somebody took it away: the next to write makes one.
#[tokio::test]
async fn lines_go_on_where_their_file_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("calls.jsonl");
    let mut config = config();
    config.max_file_bytes = 1;
    let exporter = Exporter::json_lines(&path, config).expect("an exporter");
    let observer = Observer::builder().sampling(Sampling::all()).export(exporter.clone()).build();
    many(&observer, 1).await;
    assert!(exporter.flush(Duration::from_secs(60)));
    fs::remove_file(&path).expect("there");
    many(&observer, 1).await;
    assert!(exporter.flush(Duration::from_secs(60)));
    assert_eq!((exporter.exported(), exporter.dropped()), (2, 0));
    assert_eq!(fs::read_to_string(&path).expect("there").lines().count(), 1);
}

/// A disk that is full: what is lost is counted, and nobody waits for it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn lines_that_cannot_be_written_are_counted() {
    let exporter = Exporter::json_lines("/dev/full", config()).expect("opens");
    let observer = Observer::builder().sampling(Sampling::all()).export(exporter.clone()).build();
    many(&observer, 3).await;
    assert!(exporter.flush(Duration::from_secs(60)));
    assert_eq!((exporter.exported(), exporter.dropped(), exporter.pending()), (0, 3, 0));
    let shown = observer.metrics(TextFormat::Prometheus);
    assert_eq!(common::sample(&shown, "loquat_observe_dropped_total{reason=\"undelivered\"}"), 3.0);
    assert!(Exporter::json_lines("/no/such/folder/calls.jsonl", config()).is_err());
}

/// What panics on the exporter's thread is what was asked then, not all that comes later.
#[tokio::test]
async fn a_panic_of_the_programs_own_does_not_end_the_export() {
    /// Panics over the first body of either kind.
    struct Panics(Vec<Signal>);

    impl Deliver for Panics {
        fn deliver(&mut self, signal: Signal, _: &[u8]) -> Result<Vec<u8>, Undelivered> {
            if !self.0.contains(&signal) {
                self.0.push(signal);
                panic!("somebody else's way to a collector");
            }
            Ok(Vec::new())
        }
    }

    let mut config = config();
    // Pauses without end, too.
    (config.flush_every, config.metrics_every) = (Duration::MAX, Some(Duration::MAX));
    let exporter = Exporter::otlp(Panics(Vec::new()), config).expect("starts");
    let sampling = Sampling::all();
    let observer = Observer::builder().sampling(sampling).export(exporter.clone()).build();
    observer.gauge(("test.panics", "", "panics"), &[], || panic!("the program's own"));
    let server = (0..2).fold(Scripted::new(), |server, _| server.then(Ok(finished(&["x"], 1, 1))));
    let model = observer.operation(server, place());
    for expected in [(0, 1), (1, 1)] {
        drain(ask(&model, "gpt-5").await.expect("answered")).await;
        assert!(exporter.flush(Duration::from_secs(20)), "the thread is gone");
        assert_eq!((exporter.exported(), exporter.dropped()), expected);
    }
}
