//! `--trace`, `--diagnostics` and `loquat top`: what a person sees of a request, and of a program.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use support::{OPENAI_END, Program, Server, after_a_line, openai, response, stream_head, text_event};

#[test]
fn a_trace_shows_the_retry_and_keeps_the_answer_clean() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_, stream| {
        let first = asked.fetch_add(1, SeqCst) == 0;
        let refusal =
            response("503 Busy", "retry-after: 0\r\n", "{\"error\":{\"message\":\"planted words\"}}");
        let answer = if first { refusal } else { openai(&["Loquats", " are yellow."]) };
        let _ = stream.write_all(answer.as_bytes());
    });
    let ran = Program::chat(&server, &["--trace", "planted question"]).variable("COLUMNS", "100").run();
    ran.check(
        0,
        "Loquats are yellow.\n",
        &[
            "chat test-model (server): finished after",
            "attempt 1  503 HTTP/1.1 fresh  overloaded │",
            "retry 1 in 0.00 s after overloaded",
            "attempt 2  200 HTTP/1.1 fresh",
            "first token",
        ],
    );
    assert!(!ran.stderr.contains("planted"), "{}", ran.stderr);
}

#[test]
fn top_looks_into_a_chat_that_runs() {
    let server = Server::start(|_, stream| {
        let _ = stream.write_all(stream_head("text/event-stream").as_bytes());
        let _ = stream.write_all(text_event("slowly").as_bytes());
        let _ = stream.flush();
        // Until the test ends it: the client goes away.
        std::thread::sleep(Duration::from_secs(20));
        let _ = stream.write_all(OPENAI_END.as_bytes());
    });
    let mut chat = Program::chat(&server, &["--diagnostics", "127.0.0.1:0", "hi"])
        .command()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(chat.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.split("loquat top ").nth(1).and_then(|rest| rest.split('`').next()).unwrap().to_owned();

    let top = ["top", "--once", "--every", "0.2", &address];
    let ran = (0..100).map(|_| Program::new(top).run()).find(|ran| ran.stdout.contains("server/test-model"));
    let ran = ran.expect("the chat's endpoint, once it has asked");
    assert!(ran.stdout.contains("TTFT P95") && !ran.stdout.contains('\x1b'), "{}", ran.stdout);
    chat.kill().unwrap();
    chat.wait().unwrap();

    Program::new(["top", "--once", &address]).run().check(5, "", &["error: no page from 127.0.0.1:"]);
    Program::new(["top", "nonsense"]).run().check(2, "", &["HOST:PORT, http://HOST:PORT or unix:PATH"]);
}

#[test]
fn top_ends_with_its_reader() {
    let server = Server::saying(response("200 OK", "", "loquat_pool_connections 1\n"));
    let top = Program::new(["top", "--every", "0.05", &server.address.to_string()]);
    after_a_line(top.spawn()).check(0, "", &[]);
}

/// The pages of a program that has asked and waits: its task, its runtime and the locks of its pool are there.
#[test]
fn a_chat_that_runs_shows_its_task_its_runtime_and_its_locks() {
    let server = Server::start(|_, stream| {
        let _ = stream.write_all(stream_head("text/event-stream").as_bytes());
        let _ = stream.write_all(text_event("slowly").as_bytes());
        let _ = stream.flush();
        std::thread::sleep(Duration::from_secs(120));
    });
    let mut chat = Program::chat(&server, &["--diagnostics", "127.0.0.1:0", "hi"])
        .command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(chat.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split("loquat top ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    // Until it has the first words, it may not have asked.
    chat.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let [tasks, runtime, contention, heap] =
        ["tasks", "runtime", "contention", "pprof/heap"].map(|name| page(address, &format!("/debug/{name}")));
    chat.kill().unwrap();
    chat.wait().unwrap();
    let row = |page: &(String, Vec<u8>)| {
        let text = String::from_utf8_lossy(&page.1).into_owned();
        text.lines()
            .nth(1)
            .map(|row| row.split('\t').map(str::to_owned).collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let task = row(&tasks);
    assert!(task[2].parse::<u64>().unwrap() > 0 && task[4] == "chat", "{task:?}");
    assert!(task[5].contains("chat/mod.rs:"), "where it was begun: {task:?}");
    assert_eq!(row(&runtime)[..2], ["main", "0"]);
    let lock = row(&contention);
    assert!(lock[0].parse::<u64>().unwrap() > 0 && lock[8] == "pool", "{lock:?}");
    // Who holds memory only jemalloc tells, and only when it was started so; any other build says that it is none.
    let (status, why) = (heap.0, String::from_utf8_lossy(&heap.1).into_owned());
    let (expected, word) = if cfg!(not(all(feature = "stack", target_os = "linux", target_arch = "x86_64"))) {
        ("404", "feature stack")
    } else if cfg!(feature = "jemalloc") {
        ("503", "_RJEM_MALLOC_CONF=prof:true")
    } else {
        ("404", "not built with jemalloc")
    };
    assert!(status == expected && why.contains(word), "{status} {why}");
}

/// A page of that listener: its status and what follows the head.
fn page(address: &str, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap()[9..12].to_owned(), body)
}

/// What a collector over HTTP was sent: path, head, body.
fn collector(status: &'static str) -> Server {
    Server::start(move |_, stream| drop(stream.write_all(response(status, "", "").as_bytes())))
}

#[test]
fn a_collector_gets_the_call_and_nothing_that_was_said() {
    let server = Server::saying(openai(&["planted answer"]));
    let taking = collector("200 OK");
    let by_flag = Program::chat(&server, &["--otlp", &taking.origin(), "planted question"]);
    let by_variable = Program::chat(&server, &["planted question"])
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &taking.origin())
        .variable("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b")
        .variable("OTEL_SERVICE_NAME", "my-shell");
    for (program, service, header) in [
        (by_flag, "loquat", "content-type: application/x-protobuf"),
        (by_variable, "my-shell", "x-tenant: a b"),
    ] {
        let before = taking.received().len();
        let ran = program.run();
        ran.check(0, "planted answer\n", &[]);
        assert!(!ran.stderr.contains("collector"), "{}", ran.stderr);
        let all = taking.received().split_off(before);
        for (path, word) in
            [("/v1/traces", "chat test-model"), ("/v1/metrics", "gen_ai.client.operation.duration")]
        {
            let one = all.iter().find(|request| request.path() == path).unwrap();
            assert!(one.head.to_ascii_lowercase().contains(header), "{}", one.head);
            assert!(one.body.contains(word) && one.body.contains(service), "{path}: {}", one.body);
        }
        assert!(all.iter().all(|one| !one.body.contains("planted")), "{all:?}");
    }
    let asked = server.received();
    assert!(asked.iter().all(|one| one.head.contains("traceparent: 00-") && one.head.contains("-01\r\n")));
}

/// By OpenTelemetry's variables alone, and over gRPC: to Google's own server, read by OpenTelemetry's own messages.
#[test]
#[allow(clippy::print_stderr, reason = "says what it skips")]
fn a_collector_over_grpc_is_reached_by_the_variables_alone() {
    let Some(python) = std::env::var_os("LOQUAT_OTLP_PYTHON") else {
        eprintln!("skipped: a real collector needs LOQUAT_OTLP_PYTHON, which `cargo xtask test` sets");
        return;
    };
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut collector = Command::new(python)
        .arg(crates.join("loquat/tests/otlp_collector.py"))
        .arg(crates.join("loquat-observe/tests"))
        .arg("0")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(collector.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line
    };
    let port = line().trim().to_owned();

    let server = Server::saying(openai(&["planted answer"]));
    let chat = |protocol: &str, key: &str| {
        Program::chat(&server, &["planted question"])
            .variable("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://127.0.0.1:{port}"))
            .variable("OTEL_EXPORTER_OTLP_HEADERS", &format!("api-key={key}"))
            .variable("OTEL_RESOURCE_ATTRIBUTES", "service.name=my-shell")
            .run()
    };
    let ran = chat("grpc", "planted");
    ran.check(0, "planted answer\n", &[]);
    assert!(!ran.stderr.contains("collector"), "{}", ran.stderr);
    // It wants that key, and does not speak HTTP/1.1: what is said in the variables is what is done.
    for (protocol, key) in [("grpc", "another"), ("http/protobuf", "planted")] {
        chat(protocol, key).check(0, "planted answer\n", &["did not get 1 of 1 calls"]);
    }

    let mut input = collector.stdin.take().unwrap();
    let mut came = |what: &str| {
        writeln!(input, "{what}").unwrap();
        line()
    };
    let (spans, metrics) = (came("spans"), came("metrics"));
    collector.kill().unwrap();
    collector.wait().unwrap();
    assert!(!format!("{spans}{metrics}").contains("planted"), "{spans} {metrics}");
    let spans: serde_json::Value = serde_json::from_str(&spans).unwrap();
    let [call, attempt] = &spans.as_array().unwrap()[..] else { panic!("two spans: {spans}") };
    assert_eq!((&call["name"], &attempt["name"]), (&"chat test-model".into(), &"attempt".into()));
    assert_eq!(attempt["parent"], call["id"]);
    assert_eq!(call["resource"]["service.name"], "my-shell");
    assert!(metrics.contains("gen_ai.client.operation.duration"), "{metrics}");
}

#[test]
fn what_a_collector_did_not_get_is_told_at_the_end() {
    let server = Server::saying(openai(&["yellow"]));
    let refusing = collector("400 Bad Request");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [refusing.origin(), format!("http://{gone}")] {
        let ran = Program::chat(&server, &["--otlp", &address, "hi"]).run();
        ran.check(0, "yellow\n", &[&format!("[the collector at {address} did not get 1 of 1 calls]")]);
    }
    // Asked not to, it sends nothing, whatever the environment says.
    let taking = collector("200 OK");
    let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT", taking.origin());
    let ran = Program::chat(&server, &["--otlp", "off", "hi"]).variable(variable.0, &variable.1).run();
    ran.check(0, "yellow\n", &[]);
    assert!(taking.received().is_empty());

    let ran = Program::chat(&server, &["--otlp", "127.0.0.1:4318", "hi"]).run();
    assert_ne!(ran.code, Some(0), "no URL: {ran:?}");
    let ran = Program::chat(&server, &["--otlp", "http://127.0.0.1:1", "hi"])
        .variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .run();
    ran.check(3, "", &["OTEL_EXPORTER_OTLP_PROTOCOL is neither http/protobuf nor grpc"]);
}

/// Who holds memory, by the allocator's own account: read by `go tool pprof`, where there is one.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_arch = "x86_64"))]
#[test]
#[allow(clippy::print_stderr, reason = "says what it skips")]
fn a_heap_profile_of_the_program_is_read_by_gos_pprof() {
    let server = Server::start(|_, stream| {
        let _ = stream.write_all(stream_head("text/event-stream").as_bytes());
        let _ = stream.write_all(text_event("slowly").as_bytes());
        let _ = stream.flush();
        std::thread::sleep(Duration::from_secs(120));
    });
    for (conf, status) in [(None, "503"), (Some("prof:true,lg_prof_sample:10"), "200")] {
        let mut command = Program::chat(&server, &["--diagnostics", "127.0.0.1:0", "hi"]).command();
        command.envs(conf.map(|conf| ("_RJEM_MALLOC_CONF", conf)));
        let streams = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut chat = streams.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(chat.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("loquat top ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
        let get = |path: &str| page(address, path);
        let (answered, profile) = get("/debug/pprof/heap");
        let (_, folded) = get("/debug/pprof/heap?format=folded");
        let (_, metrics) = get("/metrics");
        chat.kill().unwrap();
        chat.wait().unwrap();
        let (folded, metrics) = (String::from_utf8(folded).unwrap(), String::from_utf8(metrics).unwrap());
        assert_eq!(answered, status, "{folded}");
        let gauge = metrics.lines().find_map(|line| line.strip_prefix("loquat_memory_allocated_bytes "));
        assert!(gauge.unwrap().parse::<f64>().unwrap() > 10_000.0, "{metrics}");
        if conf.is_none() {
            assert!(folded.contains("_RJEM_MALLOC_CONF=prof:true"), "{folded}");
            continue;
        }
        // What the program made before it asked, and holds while it waits.
        let held = folded.lines().filter(|line| line.contains("loquat::chat::run"));
        let bytes: u64 = held.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
        assert!(bytes > 1000, "{folded}");
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("heap.pb");
        std::fs::write(&file, &profile).unwrap();
        let Some(go) = std::env::var_os("LOQUAT_GO") else {
            eprintln!("skipped: another reader of profiles needs LOQUAT_GO, which `cargo xtask test` sets");
            continue;
        };
        let mut shown = Command::new(go);
        shown.args(["tool", "pprof", "-top", "-cum", "-nodecount=500"]).arg(&file);
        let shown = shown.env("HOME", env!("CARGO_TARGET_TMPDIR")).output().unwrap();
        let text = String::from_utf8_lossy(&shown.stdout);
        assert!(shown.status.success() && text.contains("Type: inuse_space"), "{shown:?}");
        assert!(text.contains("loquat::chat::run"), "{text}");
    }
}
