//! A real Prometheus scrapes what a real listener serves, and answers questions about it; `promtool` finds nothing to say.
#![allow(clippy::print_stderr, reason = "says what it skips")]

mod common;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use common::{ask, drain, finished, place, slow};
use loquat_core::{
    ChatRequest, Context, Model, Secret,
    test_util::{ManualClock, Scripted},
};
use loquat_observe::{
    CallTrace, Keep, Observer, Place, Sampling, TextFormat,
    serve::{Server, ServerConfig},
};

/// Whether that program is here. Under `cargo xtask test`, which installs it, it has to be.
fn has(program: &str) -> bool {
    let runs = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_here = runs.is_ok_and(|status| status.success());
    assert!(
        is_here || std::env::var_os("LOQUAT_PYTHON").is_none(),
        "no {program}: cargo xtask setup brings it"
    );
    if !is_here {
        eprintln!("skipped: no {program} here; `cargo xtask setup` brings it");
    }
    is_here
}

fn get(address: SocketAddr, path: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}\r\n")
        .expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

/// Keeps nothing, so that traces are kept as far as exemplars go.
struct Nowhere;

impl Keep for Nowhere {
    fn keep(&self, _: &Arc<CallTrace>) {}
}

/// An observer that has seen a hundred operations: ninety whose first content took 0.3 s, ten with 3 s.
async fn busy() -> Observer {
    let clock = Arc::new(ManualClock::new());
    let observer =
        Observer::builder().clock(clock.clone()).sampling(Sampling::all()).keep(Arc::new(Nowhere)).build();
    for millis in std::iter::repeat_n(300, 90).chain(std::iter::repeat_n(3000, 10)) {
        let model = slow(clock.clone(), Duration::from_millis(millis));
        let model = observer.operation(observer.attempt(model, place()), place());
        drain(ask(&model, "gpt-5").await.expect("answered")).await;
    }
    observer
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Asks Prometheus until what it says contains `wanted`.
fn until(address: SocketAddr, path: &str, wanted: &str) -> String {
    let due = Instant::now() + Duration::from_secs(60);
    loop {
        let said = TcpStream::connect(address).map_or_else(|e| e.to_string(), |_| get(address, path, ""));
        if said.contains(wanted) {
            return said;
        }
        assert!(Instant::now() < due, "no {wanted} in {said}");
        thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn prometheus_scrapes_it_and_answers() {
    if !has("prometheus") {
        return;
    }
    let observer = busy().await;
    let token = "scraper's own";
    let server = Server::bind(&observer, loopback(), ServerConfig::default().with_token(Secret::new(token)));
    let server = server.expect("listens");
    let target = server.address().expect("an address");

    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: loquat\n  authorization: {{credentials: \"{token}\"}}\n  static_configs: [{{targets: [\"{target}\"]}}]\n"
    );
    fs::write(folder.path().join("prometheus.yml"), config).expect("written");
    let address = TcpListener::bind(loopback()).and_then(|free| free.local_addr()).expect("a free port");
    let log = fs::File::create(folder.path().join("log")).expect("a log");
    let _running = Running(
        Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starts"),
    );

    until(address, "/api/v1/query?query=up", "\"1\"]");
    // Ninety of a hundred are in the bucket up to 0.32 s, ten in the one up to 5.12 s: P95 is in the middle of that.
    let p95 =
        "histogram_quantile(0.95,sum%20by(le)(gen_ai_client_operation_time_to_first_chunk_seconds_bucket))";
    until(address, &format!("/api/v1/query?query={p95}"), "\"3.84\"]");
    let found = until(
        address,
        "/api/v1/query_exemplars?query=gen_ai_client_operation_duration_seconds_bucket&start=1&end=99999999999",
        "trace_id",
    );
    assert!(found.contains("span_id"), "{found}");
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    if !has("promtool") {
        return;
    }
    let observer = busy().await;
    let metrics = observer.metrics(TextFormat::Prometheus);
    let mut lint = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    lint.stdin.take().expect("piped").write_all(metrics.as_bytes()).expect("takes it");
    let said = lint.wait_with_output().expect("ends");
    let words = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && words.is_empty(), "{words}");
}

#[test]
fn the_listener_keeps_others_out() {
    let observer = Observer::new();
    let anywhere: SocketAddr = ([0, 0, 0, 0], 0).into();
    assert!(Server::bind(&observer, anywhere, ServerConfig::default().with_debug()).is_err());

    let config = ServerConfig::default().with_debug().with_token(Secret::new("k"));
    let server = Server::bind(&observer, loopback(), config).expect("listens");
    let address = server.address().expect("an address");
    let status = |path: &str, fields: &str| get(address, path, fields).split(' ').nth(1).map(str::to_owned);
    let bearer = "Authorization: Bearer k\r\n";
    for (path, fields, wanted) in [
        ("/metrics", bearer, "200"),
        ("/debug/streams", bearer, "200"),
        ("/debug/tasks", bearer, "200"),
        ("/debug/contention", bearer, "200"),
        ("/debug/runtime", bearer, "200"),
        ("/debug/contention", "", "401"),
        ("/debug/runtime", "", "401"),
        ("/nothing", bearer, "404"),
        ("/metrics", "", "401"),
        ("/debug/streams", "Authorization: Bearer kk\r\n", "401"),
        ("/debug/streams", "Authorization: Basic k\r\n", "401"),
    ] {
        assert_eq!(status(path, fields).as_deref(), Some(wanted), "{path} {fields}");
    }
    let strange = {
        let mut stream = TcpStream::connect(address).expect("connects");
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n{bearer}\r\n").expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    };
    assert!(strange.starts_with("HTTP/1.1 403"), "{strange}");
    let long = {
        let mut stream = TcpStream::connect(address).expect("connects");
        // It is closed while we write: either end may be the first to see.
        let _ = stream.write_all(&[b'a'; 64 * 1024]);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 400"), "{long}");

    let plain = Server::bind(&observer, loopback(), ServerConfig::default()).expect("listens");
    let address = plain.address().expect("an address");
    assert!(get(address, "/debug/streams", "").starts_with("HTTP/1.1 404"));
    assert!(get(address, "/metrics", "Accept: application/openmetrics-text\r\n").ends_with("# EOF\n"));
    drop(plain);
    let gone = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < gone, "still listens");
        thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_live_stream_is_shown_at_the_endpoint_it_came_to_and_without_its_content() {
    let observer = Observer::new(); // metrics alone: nothing is recorded of operations
    let config = ServerConfig::default().with_debug();
    let server = Server::bind(&observer, loopback(), config).expect("listens");
    let address = server.address().expect("an address");
    let rows = || {
        let page = get(address, "/debug/streams", "");
        let body = page.split_once("\r\n\r\n").expect("a head").1.to_owned();
        let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
        body.lines().skip(1).map(cells).collect::<Vec<_>>()
    };

    let chosen = Place::new("mistral", "large").with_base_url("https://second.example:8443/v1");
    let inner = observer.attempt(Scripted::new().then(Ok(finished(&["planted answer"], 1, 1))), chosen);
    let model = observer.operation(inner, place());
    let request = ChatRequest::new("gpt-5").with_user("planted question");
    let mut answer = model.infer(&Context::new(), Arc::new(request)).await.expect("answered");
    assert_eq!(answer.next_text().await.expect("no failure"), Some("planted answer"));
    let shown = rows();
    let [row] = shown.as_slice() else { panic!("one stream: {shown:?}") };
    assert_eq!(row.get(2..6).expect("columns"), ["1", "mistral", "large", "second.example:8443"]);
    assert!(row.iter().all(|cell| !cell.contains("planted")), "{row:?}");
    drop(answer);
    assert!(rows().is_empty());
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_this_users_alone() {
    use std::os::unix::{fs::PermissionsExt, net::UnixStream};

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("debug.sock");
    let server =
        Server::bind_unix(&Observer::new(), &path, ServerConfig::default().with_debug()).expect("listens");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).expect("connects");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let pages = ["/metrics", "/debug/contention", "/debug/runtime", "/debug/streams", "/debug/tasks"];
    assert!(pages.iter().all(|page| answer.lines().any(|line| line == *page)), "{answer}");
    drop(server);
    assert!(!path.exists());
}
