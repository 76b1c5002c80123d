//! What bad input gets: a clear word, a code, and no harm.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    time::Duration,
};

use support::{OPENAI_END, Program, Server, openai, response, stream_head, text_event};

/// Room for the program (11 MiB) and a few copies of the longest event allowed (8 MiB), far below what the hostile
/// servers here send.
const FLAT_KIB: u64 = 48 * 1024;
/// What is counted is what the program holds: jemalloc, where the program is built with it, gives back at once what is freed.
const GIVES_BACK: (&str, &str) = ("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0");

#[test]
fn refusals_are_told_apart() {
    for (status, headers, body, code, words) in [
        (
            "401 Unauthorized",
            "",
            r#"{"error":{"message":"Incorrect API key","type":"invalid_request_error","code":"invalid_api_key"}}"#,
            4,
            &["error: ", "Incorrect API key", "401", "invalid_api_key", "hint: "][..],
        ),
        (
            "429 Too Many Requests",
            // Longer than anybody waits: a shorter one is obeyed.
            "retry-after: 70\r\n",
            r#"{"error":{"message":"Slow down","type":"requests"}}"#,
            4,
            &["Slow down", "429", "retry after 70.0 s"],
        ),
        ("500 Internal Server Error", "", r#"{"error":{"message":"Oops"}}"#, 1, &["Oops", "500"]),
        (
            "404 Not Found",
            "",
            r#"{"error":{"message":"no such model"}}"#,
            4,
            &["no such model", "loquat models"],
        ),
        ("502 Bad Gateway", "", "<html>\n\u{1b}[2Jerror: forged\n</html>", 1, &["502"]),
    ] {
        let server = Server::saying(response(status, headers, body));
        let ran = Program::chat(&server, &["hi"]).run();
        ran.check(code, "", words);
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:#?}");
        assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("error:")).count(), 1, "{ran:#?}");
    }
}

#[test]
fn a_cut_stream_is_truncated_and_what_came_is_printed() {
    let server = Server::saying(stream_head("text/event-stream") + &text_event("Half an ans"));
    let ran = Program::chat(&server, &["hi"]).run();
    ran.check(6, "Half an ans\n", &["error: truncated"]);

    // A chunked body without its last chunk is a lost connection, and still truncated.
    let event = text_event("Half");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let server = Server::saying(format!("{head}{:x}\r\n{event}\r\n", event.len()));
    Program::chat(&server, &["hi"]).run().check(6, "Half\n", &["error: truncated", "caused by: "]);
}

#[test]
fn an_error_inside_the_stream_is_a_failure() {
    let error = "data: {\"error\":{\"message\":\"the GPU melted\",\"code\":\"internal\"}}\n\n";
    let server =
        Server::saying(stream_head("text/event-stream") + &text_event("So far") + error + OPENAI_END);
    Program::chat(&server, &["hi"]).run().check(1, "So far\n", &["error: ", "the GPU melted"]);
}

#[test]
fn an_answer_that_is_none_is_not_taken_for_one() {
    let server = Server::saying(response("200 OK", "", "<html>hello</html>"));
    let ran = Program::chat(&server, &["hi"]).run();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:#?}");
    let server =
        Server::saying("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n");
    let ran = Program::chat(&server, &["hi"]).run();
    assert_ne!(ran.code, Some(0), "{ran:#?}");
    // What no API answers is shown, and the address doubted.
    for (status, headers, body) in [
        ("404 Not Found", "content-type: text/html\r\n", "<html>nothing\u{1b} here</html>"),
        ("404 Not Found", "", "404 page not found"),
        ("404 Not Found", "content-type: application/json\r\n", r#"{"detail":"Not Found"}"#),
        ("301 Moved Permanently", "location: https://elsewhere.example/\r\n", ""),
        ("200 OK", "content-type: text/html\r\n", "<html>welcome</html>"),
    ] {
        let server = Server::saying(response(status, headers, body));
        let ran = Program::chat(&server, &["-v", "hi"]).run();
        assert!(ran.stderr.contains("does the address end in /v1?"), "{ran:#?}");
        assert!(body.is_empty() || ran.stderr.contains(&body.replace('\u{1b}', "␛")), "{ran:#?}");
        if status != "200 OK" {
            let asked =
                format!("(asked POST {}/chat/completions, HTTP status {}", server.url(), &status[..3]);
            assert!(ran.stderr.contains(&asked), "{ran:#?}");
            let line = ran.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
            let said = line.replace(&server.url(), "").matches(&status[..3]).count();
            assert_eq!(said, 1 + usize::from(body.starts_with("404")), "{ran:#?}");
        }
    }
    let missing = r#"{"error":{"message":"no model of that name","code":"model_not_found"}}"#;
    let server = Server::saying(response("404 Not Found", "content-type: application/json\r\n", missing));
    let ran = Program::chat(&server, &["hi"]).run();
    ran.check(4, "", &["is the name right?"]);
    assert!(!ran.stderr.contains("/v1?"), "{ran:#?}");

    let server = Server::saying("SSH-2.0-OpenSSH_9.2\r\n");
    let ran = Program::chat(&server, &["hi"]).run();
    assert!(matches!(ran.code, Some(1 | 5)), "{ran:#?}");
}

#[test]
fn unknown_names_are_met_with_what_exists() {
    let ran = Program::new(["chat", "-m", "opneai:gpt-4o", "hi"]).run();
    ran.check(3, "", &["opneai", "openai", "OPENAI_API_KEY", "engine", "loquat doctor"]);
    let ran = Program::new(["chat", "-m", "openai:gpt-4o", "hi"]).run();
    ran.check(3, "", &["OPENAI_API_KEY"]);
    let ran = Program::new(["chat", "-m", "gpt-4o", "hi"]).variable("OLLAMA_HOST", "127.0.0.1:1").run();
    ran.check(3, "", &["not asked: openai (set OPENAI_API_KEY)", "asked: ollama (no connection), "]);
    assert!(!ran.stderr.contains(": Connect"), "{ran:#?}");
    let ran =
        Program::new(["chat", "--base-url", "http://127.0.0.1:1/v1", "--key-env", "MY_KEY", "hi"]).run();
    ran.check(3, "", &["MY_KEY"]);
}

#[test]
fn usage_errors_say_what_is_wrong() {
    for (arguments, words) in [
        (&["chat", "--temperature", "9", "hi"][..], "must be a number from 0 to 2"),
        (&["chat", "--timeout", "0", "hi"], "more than 0"),
        (&["chat", "--max-tokens", "0", "hi"], "0 is not in 1.."),
        (&["chat", "--base-url", "", "hi"], "must not be empty"),
        (&["chat", "--base-url", "not an address", "-m", "m", "hi"], "address"),
        (&["chat", "--base-url", "http://h/v1/chat/completions", "-m", "m", "hi"], "it is http://h/v1\n"),
        (&["chat", "--proxy", "ftp://h", "-m", "m", "hi"], "--proxy: the proxy's address"),
        (&["chat", "--key-env", "HOME", "-m", "bare", "hi"], "--key-env needs to know"),
        (&["nonsense"], "unrecognized subcommand"),
    ] {
        let ran = Program::new(arguments.iter().copied()).run();
        assert_eq!(ran.code, Some(2), "{arguments:?} {ran:#?}");
        assert!(ran.stderr.contains(words), "{arguments:?} {ran:#?}");
    }
}

#[test]
fn an_unreachable_server_is_named_with_stage_and_wait() {
    // Bound and never accepted from: the port is free again as soon as it is dropped.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}/v1");
    let ran = Program::new(["chat", "--base-url", &url, "-m", "m", "hi"]).run();
    ran.check(5, "", &["error: ", &address.to_string(), "connect"]);

    let url = "http://no-such-host.invalid/v1";
    let ran = Program::new(["chat", "--base-url", url, "-m", "m", "hi"]).run();
    ran.check(5, "", &["no-such-host.invalid"]);
    assert!(!ran.stderr.contains("PROXY"), "{ran:#?}");
    for (url, is_meant) in [("https://no-such-host.invalid/v1", true), (url, false)] {
        let ran = Program::new(["chat", "--base-url", url, "-m", "m", "hi"]);
        let ran = ran.variable("HTTPS_PROXY", "http://127.0.0.1:1").run();
        ran.check(5, "", &["no-such-host.invalid"]);
        let hint = "HTTPS_PROXY is set and not used; `--proxy env` uses it";
        assert_eq!(ran.stderr.contains(hint), is_meant, "{ran:#?}");
    }
}

#[test]
fn limits_in_time_hold() {
    let server = Server::start(|_, stream| {
        drop(stream.write_all((stream_head("text/event-stream") + &text_event("Then")).as_bytes()));
        // Pings are no tokens.
        while stream.write_all(b": ping\n\n").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let ran = Program::chat(&server, &["--idle-timeout", "0.3", "hi"]).run();
    ran.check(6, "Then\n", &["error: truncated", "idle limit of 0.3 s"]);
    let ran = Program::chat(&server, &["--timeout", "0.4", "hi"]).run();
    ran.check(6, "Then\n", &["0.4 s"]);
    assert!(ran.took < Duration::from_secs(5), "{ran:#?}");

    let thinking = Server::start(|request, stream| {
        let start = r#"{"choices":[{"index":0,"delta":{"role":"assistant"}}],"id":"c","model":"m"}"#;
        let thought = r#"{"choices":[{"index":0,"delta":{"reasoning_content":"Hm"}}],"id":"c","model":"m"}"#;
        let thought = if request.body.contains("aloud") { thought } else { start };
        drop(stream.write_all(stream_head("text/event-stream").as_bytes()));
        for event in [start, thought] {
            drop(stream.write_all(format!("data: {event}\n\n").as_bytes()));
        }
        while stream.write_all(b": ping\n\n").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let ran = Program::chat(&thinking, &["--first-token-timeout", "0.3", "hi"]).run();
    ran.check(6, "", &["error: no answer", "no token came within the first-token limit of 0.3 s"]);
    assert!(!ran.stderr.contains("what was printed"), "{ran:#?}");
    let ran =
        Program::chat(&thinking, &["--idle-timeout", "0.1", "--thinking-timeout", "0.4", "aloud"]).run();
    let limit = "no further token came within the thinking limit of 0.4 s";
    ran.check(6, "", &["error: no answer", "while the model was thinking", limit]);

    let silent = Server::start(|_, _| std::thread::sleep(Duration::from_secs(30)));
    let ran = Program::chat(&silent, &["--first-token-timeout", "0.3", "hi"]).run();
    ran.check(5, "", &["0.30 s", "hint: "]);
    for limit in ["--first-token-timeout", "--timeout"] {
        let ran = Program::new(["chat", "--base-url", &silent.url(), limit, "0.3", "hi"]).run();
        ran.check(5, "", &[&format!("listing models at {}: ", silent.url()), "0.30 s", "hint: "]);
    }
    let slow = Server::start(|request, stream| {
        let models = r#"{"data":[{"id":"one"}]}"#;
        std::thread::sleep(Duration::from_millis(1200));
        let said =
            if request.path() == "/v1/models" { response("200 OK", "", models) } else { openai(&["a"]) };
        drop(stream.write_all(said.as_bytes()));
    });
    Program::new(["chat", "--base-url", &slow.url(), "hi"]).run().check(0, "a\n", &[]);
}

#[test]
fn a_wait_before_another_try_is_told_to_who_asked() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_, stream| {
        let is_first = tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst).is_multiple_of(2);
        let busy =
            response("503 Service Unavailable", "retry-after: 1\r\n", r#"{"error":{"message":"busy"}}"#);
        drop(stream.write_all(if is_first { busy } else { openai(&["a"]) }.as_bytes()));
    });
    let ran = Program::chat(&server, &["-v", "hi"]).run();
    ran.check(0, "a\n", &["[retrying in 1.", " s after HTTP status 503]"]);
    let ran = Program::chat(&server, &["hi"]).run();
    ran.check(0, "a\n", &[]);
    assert!(!ran.stderr.contains("retrying"), "{ran:#?}");
}

/// Writes `unit` again and again, up to `most` bytes, until the peer hangs up. Gives what was written.
fn flood(stream: &mut TcpStream, unit: &[u8], most: usize) {
    let block = unit.repeat(64 * 1024 / unit.len());
    let mut written = 0;
    while written < most && stream.write_all(&block).is_ok() {
        written += block.len();
    }
}

#[test]
fn what_never_ends_is_bounded() {
    const MANY: usize = 400 << 20;
    type Answer = fn(&mut TcpStream);
    let floods: [(&str, Answer); 4] = [
        ("a line without end", |stream| {
            drop(stream.write_all((stream_head("text/event-stream") + "data: ").as_bytes()));
            flood(stream, b"aaaaaaaa", MANY);
        }),
        ("an event of 100 MB", |stream| {
            drop(stream.write_all((stream_head("text/event-stream") + "data: {\"x\":\"").as_bytes()));
            flood(stream, b"aaaaaaaa", 100_000_000);
            drop(stream.write_all(("\"}\n\n".to_owned() + OPENAI_END).as_bytes()));
        }),
        ("an event of endless lines", |stream| {
            drop(stream.write_all(stream_head("text/event-stream").as_bytes()));
            flood(stream, b"data: a\n", MANY);
        }),
        ("a head without end", |stream| {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\n"));
            flood(stream, b"x-pad: aaaaaaa\r\n", MANY);
        }),
    ];
    for (what, answer) in floods {
        let server = Server::start(move |_, stream| answer(stream));
        let ran = Program::chat(&server, &["hi"]).variable(GIVES_BACK.0, GIVES_BACK.1).run();
        assert!(matches!(ran.code, Some(1 | 5)), "{what}: {ran:#?}");
        assert!(ran.stderr.starts_with("error: "), "{what}: {ran:#?}");
        assert!(ran.peak_kib.is_none_or(|peak| peak < FLAT_KIB), "{what}: {ran:#?}");
        println!("{what}: at most {:?} KiB, {:?}: {}", ran.peak_kib, ran.took, ran.stderr.trim_end());
    }
}

#[test]
fn a_huge_index_costs_nothing() {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":4000000000,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}\n\n";
    let server = Server::saying(stream_head("text/event-stream") + event + OPENAI_END);
    let ran = Program::chat(&server, &["hi"]).variable(GIVES_BACK.0, GIVES_BACK.1).run();
    assert!(ran.code.is_some(), "{ran:#?}");
    assert!(ran.peak_kib.is_none_or(|peak| peak < FLAT_KIB), "{ran:#?}");
}

#[test]
fn an_answer_of_many_texts_is_printed_whole() {
    let texts: Vec<_> = (0..2000).map(|n| format!("{n} ")).collect();
    let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
    let server = Server::saying(openai(&borrowed));
    Program::chat(&server, &["hi"]).run().check(0, &(texts.concat() + "\n"), &[]);
}
