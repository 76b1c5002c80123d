//! Real processes under traffic: model servers that are killed, paused and answer garbage, the registry that lists them killed
//! and started again, and, where there is one, a real llama.cpp among them.
//!
//! The program is its own children: `processes serve …` is a scripted model server, `processes registry …` a registry. A real
//! llama.cpp is asked where `LOQUAT_LLAMA_URL` says (`cargo xtask peers up llama` prints the address); without it that part is
//! skipped, and said so; with it, it must answer.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program of its own")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use loquat::{
    Client, Context, Error, ModelExt,
    client::GenerationLimits,
    discovery::{CacheLimits, HealthChecks, Policy, Registry},
    router::{FallbackPolicy, GroupSpec, Members, Plan, RouteSpec},
    transport::{AddressPolicy, Config, Transport},
};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", port, name, mode] => serve(port, |socket| answer(socket, name, mode)),
        ["registry", port, file] => serve(port, |socket| list(socket, file)),
        // What test runners ask of every test program.
        words if words.contains(&"--list") => println!("traffic_survives: test"),
        _ => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(traffic_survives());
        }
    }
}

// --- the children ---

fn serve(port: &str, answer: impl Fn(TcpStream) -> Option<()> + Sync) {
    // The port is known before and may linger for a moment after a kill.
    let listener = (0..200).find_map(|_| {
        TcpListener::bind(format!("127.0.0.1:{port}")).inspect_err(|_| std::thread::sleep(MS(25))).ok()
    });
    let listener = listener.expect("the port");
    println!("ready");
    std::thread::scope(|scope| {
        for socket in listener.incoming().flatten() {
            let answer = &answer;
            scope.spawn(move || answer(socket));
        }
    });
}

/// The request's first line, once all of it is read.
fn request(socket: &mut TcpStream) -> Option<String> {
    let mut reader = BufReader::new(socket);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    Some(first)
}

fn answer(mut socket: TcpStream, name: &str, mode: &str) -> Option<()> {
    let what = request(&mut socket)?;
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
    if what.starts_with("GET ") {
        return socket.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes()).ok();
    }
    socket.write_all(format!("{head}content-type: text/event-stream\r\n\r\n").as_bytes()).ok()?;
    if mode == "garbage" {
        return socket.write_all(b"data: \xff\xfe{{{not json\n\ndata: <html>\n\n\x00\x01\x02").ok();
    }
    for piece in [name, " ", "one", " ", "two"] {
        std::thread::sleep(MS(4));
        let event =
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{piece}\"}}}}]}}\n\n");
        socket.write_all(event.as_bytes()).ok()?;
    }
    let end =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    socket.write_all(end.as_bytes()).ok()
}

fn list(mut socket: TcpStream, file: &str) -> Option<()> {
    request(&mut socket)?;
    let body = std::fs::read(file).ok()?;
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(head.as_bytes()).ok()?;
    socket.write_all(&body).ok()
}

/// A child, ended with the test.
struct Process(Child);

impl Process {
    fn start(words: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let child = Command::new(program).args(words).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("a child");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn kill(&mut self) {
        drop(self.0.kill()); // SIGKILL
        drop(self.0.wait());
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status();
        assert!(sent.expect("kill").success(), "{name}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    socket.expect("a port").port().to_string()
}

// --- the test ---

/// One call: who answered, or what it failed of; how long it took.
struct Call {
    began: Instant,
    took: Duration,
    outcome: Result<String, Error>,
}

fn entry(name: &str, port: &str) -> String {
    format!(r#"{{"name":"{name}","base_url":"http://127.0.0.1:{port}/v1","model":"m","tags":["pool"]}}"#)
}

fn write_list(file: &Path, entries: &[String]) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("[{}]", entries.join(","))).expect("written");
    std::fs::rename(new, file).expect("swapped");
}

/// First tokens come within milliseconds here: whoever takes longer than this is silent.
const FIRST_TOKEN: Duration = Duration::from_millis(400);
/// How long an endpoint may stay away once it is well, by the defaults: the breaker's time (5 s) and its next probe, and what the
/// router spares it for, about as long as it was out and never more than 30 s; and half as much again on a busy machine.
const RECOVERY: Duration = Duration::from_secs(45);

#[allow(clippy::too_many_lines, reason = "one story")]
async fn traffic_survives() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("endpoints.json");
    let ports: BTreeMap<&str, String> =
        ["steady", "killed", "paused", "registry"].map(|name| (name, free_port())).into();
    let start = |name: &str, mode: &str| Process::start(&["serve", &ports[name], name, mode]);
    let _steady = start("steady", "good");
    let mut killed = start("killed", "good");
    let paused = start("paused", "good");
    let mut entries: Vec<_> = ["steady", "killed", "paused"].map(|name| entry(name, &ports[name])).into();
    if let Some(llama) = llama().await {
        entries.push(llama);
    }
    write_list(&file, &entries);
    let shown = file.display().to_string();
    let registry_words = ["registry", &ports["registry"], &shown];
    let mut registry = Process::start(&registry_words);

    let limits = GenerationLimits::default().with_first_token(FIRST_TOKEN).with_idle(Duration::from_secs(5));
    let client = Client::builder().limits(limits).build().expect("a client");
    let policy = Policy::new().with_addresses(AddressPolicy::Any);
    let source = Registry::new(
        Transport::new(Config::default()).expect("a transport"),
        format!("http://127.0.0.1:{}/", ports["registry"]),
        policy,
    );
    let source = source.expect("an address").with_cache(CacheLimits::default().with_time_to_live(MS(100)));
    let group = GroupSpec::new(Members::Tagged(vec!["pool".to_owned()]));
    let route = RouteSpec::new("m").with_group(group).with_fallback(FallbackPolicy::default());
    let plan = Plan::new().with_route(route);
    let followed = client.follow(&Context::new(), plan, source.follow()).await;
    let followed = followed.expect("a router");
    let router = followed.router().clone();
    let _checks = client.watch_health(&router, HealthChecks::new().with_every(MS(500)).with_timeout(MS(300)));

    let (calls, goes_on) = (Arc::new(Mutex::new(Vec::<Call>::new())), Arc::new(AtomicBool::new(true)));
    let callers: Vec<_> = (0..6)
        .map(|_| {
            let (router, calls, goes_on) = (router.clone(), calls.clone(), goes_on.clone());
            tokio::spawn(async move {
                while goes_on.load(SeqCst) {
                    let began = Instant::now();
                    let outcome = ask(&router).await;
                    calls.lock().expect("no panic").push(Call { began, took: began.elapsed(), outcome });
                    tokio::time::sleep(MS(10)).await;
                }
            })
        })
        .collect();
    let answered_since = |name: &str, since: Instant| {
        let calls = calls.lock().expect("no panic");
        calls
            .iter()
            .any(|call| call.began >= since && call.outcome.as_ref().is_ok_and(|by| by.starts_with(name)))
    };
    let until = async |what: &str, limit: Duration, holds: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
            tokio::time::sleep(MS(20)).await;
        }
        println!("{what}: {:.2} s", began.elapsed().as_secs_f64());
    };

    let began = Instant::now();
    for name in ["steady", "killed", "paused"] {
        until(&format!("{name} takes its share"), Duration::from_secs(60), &|| answered_since(name, began))
            .await;
    }

    killed.kill();
    tokio::time::sleep(MS(1500)).await;
    paused.signal("-STOP");
    tokio::time::sleep(MS(1500)).await;

    // The registry dies; nobody notices but its follower.
    registry.kill();
    until("the registry is missed", Duration::from_secs(60), &|| followed.status().failures > 0).await;
    assert_eq!(router.table().nodes().len(), entries.len(), "its last word stands");
    // Another comes to the port of the killed one, and answers garbage.
    let mut garbage = start("killed", "garbage");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mark = Instant::now();
    tokio::time::sleep(MS(500)).await;
    until("traffic goes on", Duration::from_secs(30), &|| answered_since("steady", mark)).await;
    assert!(!answered_since("paused", mark) && !answered_since("killed", mark));

    garbage.kill();
    let _well = start("killed", "good");
    let mark = Instant::now();
    until("the killed one is back", RECOVERY, &|| answered_since("killed", mark)).await;
    paused.signal("-CONT");
    let mark = Instant::now();
    until("the paused one is back", RECOVERY, &|| answered_since("paused", mark)).await;

    // The registry is back and has another list: who left is drained, and is not cut.
    let gone = entries.iter().position(|entry| entry.contains("\"paused\"")).expect("listed");
    entries.remove(gone);
    write_list(&file, &entries);
    let _registry = Process::start(&registry_words);
    until("the registry is followed again", Duration::from_secs(40), &|| {
        router.table().nodes().len() == entries.len()
    })
    .await;
    tokio::time::sleep(MS(500)).await;
    let mark = Instant::now();
    tokio::time::sleep(MS(500)).await;
    assert!(!answered_since("paused", mark), "it left");
    goes_on.store(false, SeqCst);
    for caller in callers {
        caller.await.expect("no panic");
    }
    judge(&calls.lock().expect("no panic"));
}

/// Every call was answered, or failed truthfully: never half an answer or another's for a whole one.
fn judge(calls: &[Call]) {
    let mut failed = BTreeMap::<String, usize>::new();
    let mut by = BTreeMap::<&str, usize>::new();
    for call in calls {
        match &call.outcome {
            Ok(text) => {
                let name = text.split(' ').next().unwrap_or_default();
                let ours = ["steady", "killed", "paused"].contains(&name);
                assert!(!ours || text == &format!("{name} one two"), "half an answer: {text:?}");
                *by.entry(if ours { name } else { "llama" }).or_default() += 1;
            }
            Err(error) => *failed.entry(format!("{:?}: {error}", error.kind())).or_default() += 1,
        }
    }
    let mut took: Vec<_> = calls.iter().filter(|call| call.outcome.is_ok()).map(|call| call.took).collect();
    took.sort_unstable();
    let at = |part: usize| took[(took.len() - 1) * part / 1000];
    let count = failed.values().sum::<usize>();
    println!("{} calls, {count} failed; answered {by:?}", calls.len());
    println!("answered in p50 {:?}, p99 {:?}, longest {:?}", at(500), at(990), at(1000));
    failed.iter().for_each(|(what, times)| println!("{times} x {what}"));
    // What can fail: answers that were under way when their server was killed or paused, at most one for each caller each
    // time. What had not begun went elsewhere unseen.
    for call in calls {
        let Err(error) = &call.outcome else { continue };
        let begun = error.partial().is_some_and(|partial| !partial.text().is_empty());
        assert!(begun, "a failure before the first token reached a caller: {error}");
    }
    assert!(count <= 12, "{count} calls were cut by one kill and one pause");
    assert!(calls.len() > 500, "traffic ran");
}

async fn ask(router: &impl ModelExt) -> Result<String, Error> {
    let context = Context::new().with_timeout(Duration::from_secs(20));
    let chat = router.chat("m").user("Say one word.").max_tokens(4).context(context);
    chat.send().await.map(|answer| answer.text())
}

/// The real one's entry, where it is.
async fn llama() -> Option<String> {
    let Ok(url) = std::env::var("LOQUAT_LLAMA_URL") else {
        eprintln!(
            "skipped: no real llama.cpp takes part; LOQUAT_LLAMA_URL names none (`cargo xtask peers up llama`)"
        );
        return None;
    };
    let url = url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
    let client = Client::builder().base_url(format!("{url}/v1")).build().expect("a client");
    let answer = client.chat("").user("Say one word.").send().await;
    let answer = answer.unwrap_or_else(|error| panic!("llama.cpp at {url} must answer: {error}"));
    println!("a real llama.cpp takes part: {:?}", answer.text());
    Some(format!(r#"{{"name":"llama","base_url":"{url}/v1","model":"m","tags":["pool"]}}"#))
}
