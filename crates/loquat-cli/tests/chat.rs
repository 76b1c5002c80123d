//! `loquat chat` against scripted servers: what goes out, what is printed, where.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{io::Read as _, process::Stdio, time::Duration};

use serde_json::{Value, json};
use support::{OPENAI_END, Program, Server, finish, openai, response, stream_head, text_event};

#[test]
fn one_question_is_answered_on_stdout() {
    let server = Server::saying(openai(&["Loquats", " are", " yellow."]));
    Program::chat(&server, &["Tell me."]).run().check(0, "Loquats are yellow.\n", &[]);
    let [request] = &server.received()[..] else { panic!("one request") };
    assert_eq!(request.path(), "/v1/chat/completions");
    let body = request.json();
    assert_eq!(body["model"], "test-model");
    assert_eq!(body["stream"], true);
    assert_eq!(body["messages"], json!([{"role": "user", "content": "Tell me."}]));
}

#[test]
fn the_prompt_comes_from_argument_and_stdin() {
    let server = Server::saying(openai(&["ok\n"]));
    let asked = |arguments: &[&str], stdin: &str| {
        let before = server.received().len();
        Program::chat(&server, arguments).stdin(stdin).run().check(0, "ok\n", &[]);
        server.received()[before].json()["messages"][0]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(asked(&[], "from stdin\n"), "from stdin\n");
    assert_eq!(asked(&["-"], "dash"), "dash");
    assert_eq!(asked(&["Sum up:"], "a\nb\n"), "Sum up:\n\na\nb\n");
    assert_eq!(asked(&["alone"], ""), "alone");

    let before = server.received().len();
    Program::chat(&server, &[]).stdin(" \n").run().check(2, "", &["error: the prompt is empty"]);
    Program::chat(&server, &[]).stdin(b"\xff\xfe").run().check(2, "", &["not UTF-8", "byte 0"]);
    assert_eq!(server.received().len(), before, "nothing was asked");
}

#[test]
fn flags_reach_the_request() {
    let server = Server::saying(openai(&["x"]));
    let flags = [
        "--system",
        "Be brief.",
        "--temperature",
        "0.5",
        "--top-p",
        "0.9",
        "--max-tokens",
        "9",
        "--stop",
        "END",
        "--stop",
        "\n\n",
        "--seed",
        "7",
        "hi",
    ];
    Program::chat(&server, &flags).run().check(0, "x\n", &[]);
    let body = server.received()[0].json();
    assert_eq!(body["messages"][0], json!({"role": "system", "content": "Be brief."}));
    assert_eq!((&body["temperature"], &body["seed"]), (&json!(0.5), &json!(7)));
    assert!((body["top_p"].as_f64().unwrap() - 0.9).abs() < 1e-6, "{body}");
    assert_eq!(body["stop"], json!(["END", "\n\n"]));
    assert!([&body["max_tokens"], &body["max_completion_tokens"]].contains(&&json!(9)), "{body}");
}

#[test]
fn json_lines_end_in_the_ending() {
    let events = text_event("Hi") + &text_event(" there");
    let server = Server::saying(stream_head("text/event-stream") + &events + OPENAI_END);
    let ran = Program::chat(&server, &["--json", "hi"]).run();
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: String =
        lines.iter().filter(|l| l["type"] == "text").map(|l| l["text"].as_str().unwrap()).collect();
    assert_eq!(texts, "Hi there");
    assert_eq!(lines[0]["type"], "start");
    let end = lines.last().unwrap();
    assert_eq!(
        (&end["type"], &end["ending"], &end["reason"]),
        (&json!("end"), &json!("finished"), &json!("stop"))
    );
    assert_eq!(end["usage"]["output_tokens"], 5);
    assert_eq!(end["request_id"], "req_test");

    let server = Server::saying(stream_head("text/event-stream") + &events);
    let ran = Program::chat(&server, &["--json", "hi"]).run();
    assert_eq!(ran.code, Some(6), "{ran:#?}");
    let end: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&end["ending"], &end["error"]["kind"]), (&json!("truncated"), &json!("truncated")));

    let server =
        Server::saying(response("401 Unauthorized", "", r#"{"error":{"message":"no","code":"bad_key"}}"#));
    let ran = Program::chat(&server, &["--json", "hi"]).run();
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    let end: Value = serde_json::from_str(ran.stdout.trim()).unwrap();
    assert_eq!((&end["ending"], &end["error"]["status"]), (&json!("failed"), &json!(401)));
}

#[test]
fn json_ends_also_where_nothing_was_asked() {
    let server = Server::saying(openai(&["hi"]));
    for (flags, code, kind) in
        [(&[][..], 2, "invalid_request"), (&["--key-env", "UNSET", "hi"], 3, "not_configured")]
    {
        let ran = Program::chat(&server, &[&["--json"], flags].concat()).stdin("").run();
        let end: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(
            (ran.code, &end["type"], &end["ending"]),
            (Some(code), &json!("end"), &json!("failed")),
            "{ran:#?}"
        );
        assert_eq!(end["error"]["kind"], kind, "{ran:#?}");
    }
    assert!(server.received().is_empty());
}

#[test]
fn stats_go_to_stderr() {
    let server = Server::start(|_, stream| {
        use std::io::Write as _;
        let mut say = |text: &str| {
            stream.write_all(text.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(60));
        };
        say(&stream_head("text/event-stream"));
        say(&text_event("a"));
        say(&text_event("b"));
        say(OPENAI_END);
    });
    let ran = Program::chat(&server, &["--stats", "hi"]).run();
    let place = format!("test-model at {}", server.url());
    ran.check(0, "ab\n", &["stats: first token 0.", "tokens/s", "7 in + 5 out tokens", &place, "req_test"]);
}

#[test]
fn a_whole_answer_is_asked_for_and_read() {
    let body = r#"{"id":"c","model":"test-model","choices":[{"index":0,"message":{"role":"assistant","content":"Whole."},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let server = Server::saying(response("200 OK", "", body));
    let ran = Program::chat(&server, &["--no-stream", "--stats", "hi"]).run();
    ran.check(6, "Whole.\n", &["limit of tokens", "3 in + 2 out tokens"]);
    let filtered = Server::saying(response("200 OK", "", &body.replace("length", "content_filter")));
    for arguments in [&["--no-stream", "hi"][..], &["--no-stream", "--json", "hi"]] {
        assert_eq!(Program::chat(&filtered, arguments).run().code, Some(4), "{arguments:?}");
        assert_eq!(Program::chat(&server, arguments).run().code, Some(6), "{arguments:?}");
    }
    assert!(!ran.stderr.contains("first token"), "{ran:#?}");
    assert!(server.received().iter().all(|request| request.json()["stream"] != true));
}

#[test]
fn anthropic_and_ollama_servers_are_spoken_to_in_their_own_way() {
    let events = [
        r#"{"type":"message_start","message":{"id":"msg_1","model":"claude","usage":{"input_tokens":4,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm."}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Bonjour"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":6}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let mut stream = stream_head("text/event-stream");
    for event in events {
        let name = serde_json::from_str::<Value>(event).unwrap()["type"].as_str().unwrap().to_owned();
        stream += &format!("event: {name}\ndata: {event}\n\n");
    }
    let server = Server::saying(stream);
    let url = server.url();
    let ask = ["chat", "--base-url", &url, "-m", "anthropic:claude", "--stats", "hi"];
    let ran = Program::new(ask).run();
    ran.check(0, "Bonjour\n", &["4 in + 6 out tokens"]);
    assert!(!ran.stderr.contains("Hm."), "thoughts are hidden where nobody looks: {ran:#?}");
    assert_eq!(server.received()[0].path(), "/v1/messages");
    Program::new(ask.iter().chain(&["--reasoning"])).run().check(0, "Bonjour\n", &["Hm."]);

    let lines = "{\"model\":\"llama\",\"message\":{\"role\":\"assistant\",\"content\":\"Hal\"},\"done\":false}\n\
                 {\"model\":\"llama\",\"message\":{\"role\":\"assistant\",\"content\":\"lo\"},\"done\":false}\n\
                 {\"model\":\"llama\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":3,\"eval_count\":2}\n";
    let server = Server::saying(stream_head("application/x-ndjson") + lines);
    let host = server.origin();
    let ran =
        Program::new(["chat", "-m", "ollama:llama", "--stats", "hi"]).variable("OLLAMA_HOST", &host).run();
    ran.check(0, "Hallo\n", &["3 in + 2 out tokens", &host]);
    assert_eq!(server.received()[0].path(), "/api/chat");
}

#[test]
fn a_server_with_one_model_needs_no_name() {
    let server = Server::start(|request, stream| {
        use std::io::Write as _;
        let answer = match request.path() {
            "/v1/models" => response("200 OK", "", r#"{"data":[{"id":"the-one"}]}"#),
            _ => openai(&["yes"]),
        };
        drop(stream.write_all(answer.as_bytes()));
    });
    let url = server.url();
    // LOQUAT_MODEL names a model elsewhere.
    let program = Program::new(["chat", "--base-url", &url, "hi"]).variable("LOQUAT_MODEL", "openai:gpt-4o");
    program.run().check(0, "yes\n", &[]);
    assert_eq!(server.received()[1].json()["model"], "the-one");

    let both = ["LOQUAT_BASE_URL", "LOQUAT_MODEL"];
    let program = Program::new(["chat", "hi"]).variable(both[0], &url).variable(both[1], "mine");
    program.run().check(0, "yes\n", &[]);
    assert_eq!(server.received()[2].json()["model"], "mine");
}

#[test]
fn bytes_go_into_a_pipe_as_they_came() {
    let hostile = "\u{1b}[31mred\u{9b}2J\u{202e}\r";
    let server = Server::saying(openai(&[hostile]));
    Program::chat(&server, &["hi"]).run().check(0, &format!("{hostile}\n"), &[]);
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let server = Server::start(|_, stream| {
        use std::io::Write as _;
        drop(stream.write_all(stream_head("text/event-stream").as_bytes()));
        let event = text_event("word ");
        // Until the program hangs up.
        while stream.write_all(event.as_bytes()).is_ok() {
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    for flags in [&["hi"][..], &["--json", "hi"]] {
        let mut command = Program::chat(&server, flags).command();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 5];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let ran = finish(child);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:#?}");
        assert!(ran.took < Duration::from_secs(5), "{ran:#?}");
    }
}
