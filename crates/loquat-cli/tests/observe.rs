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
