//! `--trace`, `--diagnostics` and `loquat top`: what a person sees of a request, and of a program.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use support::{OPENAI_END, Program, Server, openai, response, stream_head, text_event};

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
