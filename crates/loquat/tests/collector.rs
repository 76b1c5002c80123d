//! What goes out over gRPC and over TLS: to a collector by Google's gRPC, which is killed, paused, slow and refuses; and to an HTTP/2
//! server that says what no gRPC library would.
#![allow(clippy::print_stderr, reason = "says what it skips")]

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use loquat::{
    ChatRequest, Collector, Context, Ending, FinishReason, Model, OwnedDelta, Secret, Usage,
    observe::{
        Observer, Place, Sampling,
        export::{ExportConfig, Exporter},
    },
    transport::{Config, ExtraRoot},
};
use loquat_testing::model::Scripted;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

/// Nothing goes out by itself.
fn config() -> ExportConfig {
    let mut config = ExportConfig::new("tested").with_header("api-key", Secret::new("planted"));
    config.flush_every = Duration::from_secs(3600);
    config.metrics_every = Some(Duration::from_secs(3600));
    config.timeout = Duration::from_secs(60);
    config
}

fn observer(exporter: &Exporter) -> Observer {
    Observer::builder().sampling(Sampling::all()).export(exporter.clone()).build()
}

/// So many operations, none of which waits for anybody.
fn many(observer: &Observer, count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for _ in 0..count {
            let text = OwnedDelta::Text { choice: 0, text: "x".into() };
            let end = Ending::Finished { reason: FinishReason::Stop, usage: Usage::default() };
            let server = Scripted::new().then(Ok(vec![text, OwnedDelta::End(end)]));
            let place = Place::new("openai", "gpt-5");
            let model = observer.operation(observer.attempt(server, place.clone()), place);
            let request = Arc::new(ChatRequest::new("gpt-5").with_user("hi"));
            let answer = model.infer(&Context::new(), request).await.expect("answered");
            answer.collect().await.expect("finished");
        }
    });
}

fn flush(exporter: &Exporter) {
    assert!(exporter.flush(Duration::from_secs(120)), "{exporter:?}");
}

fn counts(exporter: &Exporter) -> (u64, u64) {
    (exporter.exported(), exporter.dropped())
}

/// Waits for what has to come, long enough for a busy machine.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let due = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < due, "still waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The collector by Google's gRPC, a process of its own.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Peer {
    /// `None` where its packages are not here.
    fn start(port: u16, tls: &[&Path]) -> Option<Self> {
        let Some(python) = std::env::var_os("LOQUAT_OTLP_PYTHON") else {
            eprintln!("skipped: a real collector needs LOQUAT_OTLP_PYTHON, which `cargo xtask test` sets");
            return None;
        };
        let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(python);
        command.arg(own.join("tests/otlp_collector.py")).arg(own.join("../loquat-observe/tests"));
        command.arg(port.to_string()).args(tls).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut peer = Self { child, input, output, port };
        peer.port = peer.line().trim().parse().expect("a port");
        Some(peer)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line
    }

    fn say(&mut self, word: &str) -> String {
        writeln!(self.input, "{word}").expect("it listens");
        self.line()
    }

    fn came(&mut self, what: &str) -> Vec<Value> {
        serde_json::from_str(&self.say(what)).expect("JSON")
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    fn exporter(&self, config: ExportConfig) -> Exporter {
        let collector = Collector::grpc(&format!("http://127.0.0.1:{}", self.port), &config);
        Exporter::otlp(collector.expect("an address"), config).expect("a thread")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_collector_gets_spans_and_metrics_and_says_what_it_thinks_of_them() {
    let Some(mut peer) = Peer::start(0, &[]) else { return };
    let exporter = peer.exporter(config());
    let observer = observer(&exporter);
    many(&observer, 2);
    flush(&exporter);
    assert_eq!(counts(&exporter), (2, 0));
    let spans = peer.came("spans");
    let names: Vec<&str> = spans.iter().filter_map(|span| span["name"].as_str()).collect();
    assert_eq!(names, ["chat gpt-5", "attempt", "chat gpt-5", "attempt"]);
    assert_eq!(spans[1]["parent"], spans[0]["id"]);
    assert_eq!(spans[0]["attributes"]["gen_ai.provider.name"], "openai");
    let metrics = peer.came("metrics");
    let duration = metrics.iter().find(|metric| metric["name"] == "gen_ai.client.operation.duration");
    assert_eq!(duration.expect("it came")["histogram"]["dataPoints"][0]["count"], "2");

    peer.say("partial");
    many(&observer, 3);
    flush(&exporter);
    assert_eq!(counts(&exporter), (4, 1), "one was refused");
    peer.say("refuse");
    many(&observer, 1);
    flush(&exporter);
    assert_eq!(counts(&exporter), (4, 2), "all were, and not asked again");
    peer.say("slow");
    many(&observer, 1);
    flush(&exporter);
    assert_eq!(counts(&exporter), (5, 2));
}

#[test]
fn a_real_collector_that_is_paused_delays_nobody_and_goes_on() {
    let Some(mut peer) = Peer::start(0, &[]) else { return };
    let mut config = config();
    (config.max_queued, config.max_batch, config.max_attempts) = (64, 16, 1);
    config.timeout = Duration::from_secs(2);
    let exporter = peer.exporter(config);
    let observer = observer(&exporter);
    many(&observer, 1);
    until("the first to arrive", || exporter.flush(Duration::from_secs(5)) && exporter.exported() == 1);
    peer.signal("-STOP");
    // All of these end although nobody takes anything; what has no room is counted.
    many(&observer, 1000);
    assert!(exporter.dropped() >= 1000 - 64 - 16 - 16, "{exporter:?}");
    peer.signal("-CONT");
    until("the flow to resume", || {
        many(&observer, 1);
        exporter.flush(Duration::from_secs(10)) && exporter.exported() > 1
    });
    let before = exporter.exported();
    many(&observer, 5);
    flush(&exporter);
    assert_eq!(exporter.exported(), before + 5);
    assert!(!peer.came("spans").is_empty());
}

#[test]
fn a_real_collector_that_is_killed_and_comes_back() {
    let Some(mut peer) = Peer::start(0, &[]) else { return };
    let mut config = config();
    config.max_attempts = 2;
    let exporter = peer.exporter(config);
    let observer = observer(&exporter);
    many(&observer, 1);
    flush(&exporter);
    let port = peer.port;
    peer.signal("-KILL");
    peer.child.wait().expect("it ends");
    many(&observer, 3);
    flush(&exporter);
    assert_eq!(counts(&exporter), (1, 3), "nobody there, twice");
    let mut peer = Peer::start(port, &[]).expect("as before");
    many(&observer, 2);
    flush(&exporter);
    assert_eq!(counts(&exporter), (3, 3));
    assert_eq!(peer.came("spans").len(), 4);

    peer.say("unavailable");
    many(&observer, 1);
    flush(&exporter);
    assert_eq!(counts(&exporter), (3, 4), "asked twice, and given up");
}

#[test]
fn over_tls_to_whom_is_trusted_and_to_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
    let pair = KeyPair::generate().expect("a key");
    let own = CertificateParams::new(vec!["localhost".into()]).expect("a name").self_signed(&pair);
    let pem = own.expect("signed").pem();
    std::fs::write(&certificate, &pem).expect("written");
    std::fs::write(&key, pair.serialize_pem()).expect("written");
    let Some(mut peer) = Peer::start(0, &[&certificate, &key]) else { return };
    let endpoint = format!("https://localhost:{}", peer.port);

    let trusting = Config::new().with_extra_root(ExtraRoot::Pem(pem.into_bytes()));
    let collector = Collector::grpc_over(&endpoint, &config(), trusting.clone()).expect("an address");
    let exporter = Exporter::otlp(collector, config()).expect("a thread");
    many(&observer(&exporter), 1);
    flush(&exporter);
    assert_eq!(counts(&exporter), (1, 0));
    assert_eq!(peer.came("spans").len(), 2);

    let mut once = config();
    once.max_attempts = 1;
    let collector = Collector::grpc(&endpoint, &once).expect("an address");
    let exporter = Exporter::otlp(collector, once).expect("a thread");
    many(&observer(&exporter), 1);
    flush(&exporter);
    assert_eq!(counts(&exporter), (0, 1), "a certificate that nobody vouches for");
    assert_eq!(peer.came("spans").len(), 2);

    let mut peer = Peer::start(0, &[&certificate, &key, Path::new("http")]).expect("as before");
    let endpoint = format!("https://localhost:{}", peer.port);
    let mut twice = config();
    twice.max_attempts = 2;
    let collector = Collector::http_over(&endpoint, &twice, trusting).expect("an address");
    let exporter = Exporter::otlp(collector, twice).expect("a thread");
    let observer = observer(&exporter);
    for (say, expected) in [("ok", (1, 0)), ("unavailable", (1, 1)), ("refuse", (1, 2)), ("ok", (2, 2))] {
        peer.say(say);
        many(&observer, 1);
        flush(&exporter);
        assert_eq!(counts(&exporter), expected, "{say}");
    }
    assert_eq!(peer.came("spans").len(), 4);
    assert!(!peer.came("metrics").is_empty());
}

/// An HTTP/2 server in clear that answers each request as it is told: a gRPC status in the trailers, or [`SILENT`], or [`BROKEN`].
struct Scripts {
    address: SocketAddr,
    say: Arc<AtomicU8>,
    asked: Arc<AtomicUsize>,
}

/// Takes the request and says nothing.
const SILENT: u8 = 100;
/// Ends the answer without any status.
const BROKEN: u8 = 101;
/// Speaks HTTP and no gRPC: 404.
const ALIEN: u8 = 102;

impl Scripts {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listens");
        listener.set_nonblocking(true).expect("set");
        let own = Self {
            address: listener.local_addr().expect("an address"),
            say: Arc::default(),
            asked: Arc::default(),
        };
        let (say, asked) = (own.say.clone(), own.asked.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("registered");
                while let Ok((socket, _)) = listener.accept().await {
                    let (say, asked) = (say.clone(), asked.clone());
                    tokio::spawn(async move {
                        let Ok(mut connection) = h2::server::handshake(socket).await else { return };
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            tokio::spawn(answer(request, respond, say.clone(), asked.clone()));
                        }
                    });
                }
            });
        });
        own
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<bytes::Bytes>,
    say: Arc<AtomicU8>,
    asked: Arc<AtomicUsize>,
) {
    let headers = request.headers().clone();
    assert_eq!(headers["content-type"], "application/grpc+proto");
    assert!(headers["te"] == "trailers" && headers["api-key"] == "planted");
    assert!(request.uri().path().ends_with("Service/Export"));
    let mut body = request.into_body();
    let mut whole = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        whole.extend_from_slice(&data);
    }
    let length = u32::from_be_bytes(whole[1..5].try_into().expect("four"));
    assert_eq!((whole[0], length as usize), (0, whole.len() - 5));
    asked.fetch_add(1, SeqCst);
    match say.load(SeqCst) {
        SILENT => tokio::time::sleep(Duration::from_secs(600)).await,
        ALIEN => {
            let head = http::Response::builder().status(404).body(()).expect("valid");
            let _ = respond.send_response(head, true);
        }
        // The status in the head, as gRPC does without a message.
        status @ 1..=16 => {
            let head = http::Response::builder().header("grpc-status", status.to_string()).body(());
            let _ = respond.send_response(head.expect("valid"), true);
        }
        status => {
            let Ok(mut stream) = respond.send_response(http::Response::new(()), false) else { return };
            if status == BROKEN {
                let _ = stream.send_data(bytes::Bytes::new(), true);
                return;
            }
            let _ = stream.send_data(bytes::Bytes::from_static(&[0; 5]), false);
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("valid"));
            let _ = stream.send_trailers(trailers);
        }
    }
}

#[test]
fn every_status_is_taken_for_what_it_means() {
    let server = Scripts::start();
    let mut config = config();
    (config.max_attempts, config.metrics_every) = (2, None);
    let collector = Collector::grpc(&format!("http://{}", server.address), &config).expect("an address");
    let exporter = Exporter::otlp(collector, config).expect("a thread");
    let observer = observer(&exporter);
    let mut dropped = 0;
    for (say, tries) in [(0, 1), (14, 2), (3, 1), (12, 1), (BROKEN, 2), (ALIEN, 1), (8, 1), (0, 1)] {
        server.say.store(say, SeqCst);
        let before = server.asked.load(SeqCst);
        many(&observer, 1);
        flush(&exporter);
        dropped += u64::from(say != 0);
        assert_eq!(server.asked.load(SeqCst) - before, tries, "{say}");
        assert_eq!(exporter.dropped(), dropped, "{say}");
    }
    assert_eq!(exporter.exported(), 2);
}

#[test]
fn a_server_that_stands_still_delays_nobody() {
    let server = Scripts::start();
    let mut config = config();
    (config.max_queued, config.max_batch, config.max_attempts) = (64, 16, 1);
    (config.timeout, config.metrics_every) = (Duration::from_secs(2), None);
    let collector = Collector::grpc(&format!("http://{}", server.address), &config).expect("an address");
    let exporter = Exporter::otlp(collector, config).expect("a thread");
    let observer = observer(&exporter);
    server.say.store(SILENT, SeqCst);
    many(&observer, 16);
    until("the first batch on its way", || server.asked.load(SeqCst) > 0);
    many(&observer, 1000);
    assert!(exporter.dropped() >= 1000 - 64 - 16 - 16, "{exporter:?}");
    server.say.store(0, SeqCst);
    until("the flow to resume", || exporter.flush(Duration::from_secs(10)) && exporter.exported() > 0);
    let before = exporter.exported();
    many(&observer, 5);
    flush(&exporter);
    assert_eq!(exporter.exported(), before + 5);
    assert_eq!(exporter.exported() + exporter.dropped(), 16 + 1000 + 5, "every one is accounted for");
}
