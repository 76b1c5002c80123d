//! Keys go where they belong and nowhere else, least of all onto a screen.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{Program, Received, Server, openai, response, stream_head, text_event};

const PLANTED: &str = "sk-planted-0123456789abcdef";
const ANOTHER: &str = "sk-another-fedcba9876543210";

fn has_key(request: &Received, key: &str) -> bool {
    request.head.contains(key) || request.body.contains(key)
}

#[test]
fn a_server_of_ones_own_gets_no_providers_key() {
    let server = Server::saying(openai(&["hi"]));
    let url = server.url();
    for model in ["openai:gpt-4o", "anthropic:claude", "plain"] {
        let program = Program::new(["chat", "--base-url", &url, "-m", model, "hi"]);
        program.variable("OPENAI_API_KEY", PLANTED).variable("ANTHROPIC_API_KEY", ANOTHER).run();
    }
    let received = server.received();
    assert_eq!(received.len(), 3);
    assert!(
        received.iter().all(|request| !has_key(request, PLANTED) && !has_key(request, ANOTHER)),
        "{received:?}"
    );
}

#[test]
fn a_server_gets_the_key_that_is_named_for_it() {
    let server = Server::saying(openai(&["hi"]));
    let program = Program::chat(&server, &["--key-env", "MINE", "hi"]);
    program.variable("MINE", PLANTED).variable("OPENAI_API_KEY", ANOTHER).run().check(0, "hi\n", &[]);
    let [request] = &server.received()[..] else { panic!("one request") };
    assert!(
        request.head.to_ascii_lowercase().contains(&format!("authorization: bearer {PLANTED}")),
        "{request:?}"
    );
    assert!(!has_key(request, ANOTHER));
}

#[test]
fn no_key_travels_in_clear() {
    // TEST-NET-1 (RFC 5737): nobody is there, and nobody is asked.
    let ask = ["chat", "--base-url", "http://192.0.2.1/v1", "--key-env", "MINE", "-m", "m", "hi"];
    let ran = Program::new(ask).variable("MINE", PLANTED).run();
    ran.check(3, "", &["plain HTTP", "192.0.2.1", "--plain-key"]);
    assert!(!ran.stderr.contains(PLANTED));
    // Who says so may; a name that nobody has is not found, and nothing has gone out.
    let ask = [
        "chat",
        "--base-url",
        "http://nobody.invalid/v1",
        "--key-env",
        "MINE",
        "-m",
        "m",
        "--plain-key",
        "hi",
    ];
    let ran = Program::new(ask).variable("MINE", PLANTED).run();
    ran.check(5, "", &["nobody.invalid"]);
    assert!(!ran.stderr.contains("plain HTTP") && !ran.stderr.contains(PLANTED), "{ran:#?}");
    // And for a name without a provider, which is looked for at all of them; its colon may be its own.
    for name in ["bare", "bare.1:tag"] {
        let ask = |more: &[&str]| {
            let url = "http://nobody.invalid/v1";
            let ran = Program::new(["chat", "-m", name, "hi"].iter().chain(more));
            ran.variable("OPENAI_API_KEY", PLANTED).variable("OPENAI_BASE_URL", url).run()
        };
        ask(&[]).check(3, "", &["openai (refusing to send a credential over plain HTTP", "--plain-key"]);
        let told = ask(&["--plain-key"]);
        told.check(3, "", &["asked: openai ("]);
        assert!(!told.stderr.contains("plain HTTP") && !told.stderr.contains(PLANTED), "{told:#?}");
    }
    // The same goes for a provider behind a gateway.
    for (more, code, says) in [(&[][..], 3, "--plain-key"), (&["--plain-key"], 5, "nobody.invalid")] {
        let ran = Program::new(["chat", "-m", "openai:m", "hi"].iter().chain(more));
        let ran = ran.variable("OPENAI_API_KEY", PLANTED);
        let ran = ran.variable("OPENAI_BASE_URL", "http://nobody.invalid/v1").run();
        ran.check(code, "", &[says]);
        assert!(!ran.stderr.contains(PLANTED), "{ran:#?}");
    }
}

/// A long answer is shown from its beginning: a key that stands where it is cut is no key any more to who looks for one.
#[test]
fn no_half_of_a_key_is_shown() {
    for before in [2040, 2048 - PLANTED.len() / 2, 2047] {
        let body = format!("{}{PLANTED} and more", "x".repeat(before));
        let server = Server::saying(response("500 Internal Server Error", "", &body));
        let ran = Program::chat(&server, &["-v", "hi"]).variable("OPENAI_API_KEY", PLANTED).run();
        assert!(ran.stderr.contains("the server said: xxx"), "{ran:#?}");
        assert!(!ran.stderr.contains(&format!("x{}", &PLANTED[..1])), "{ran:#?}");
    }
}

#[test]
fn a_key_that_a_server_repeats_is_not_shown() {
    let body = format!(r#"{{"error":{{"message":"bad key {PLANTED}","code":"{PLANTED}"}}}}"#);
    let headers = format!("x-request-id: {PLANTED}\r\n");
    let failing = Server::saying(response("401 Unauthorized", &headers, &body));
    let event = format!("data: {{\"error\":{{\"message\":\"about {PLANTED}\",\"code\":\"{PLANTED}\"}}}}\n\n");
    let breaking = Server::saying(stream_head("text/event-stream") + &text_event("x") + &event);
    let garbled = Server::saying(format!("{PLANTED}\r\n\r\n"));
    for server in [&failing, &breaking, &garbled] {
        for flags in [&["hi"][..], &["-v", "hi"], &["--json", "hi"], &["--stats", "-v", "hi"]] {
            let flags: Vec<_> = ["--key-env", "MINE"].iter().chain(flags).copied().collect();
            let ran = Program::chat(server, &flags).variable("MINE", PLANTED).run();
            assert_ne!(ran.code, Some(0), "{ran:#?}");
            assert!(!format!("{ran:?}").contains("planted"), "{ran:#?}");
        }
        assert!(has_key(&server.received()[0], PLANTED), "it was sent, so it could be repeated");
    }
}

/// What is named as a key is one, however short it is: as a word, since it may be a part of many.
#[test]
fn a_short_key_is_not_shown() {
    const SHORT: &str = "sk-pl4";
    let body = format!(r#"{{"error":{{"message":"bad key {SHORT}, not {SHORT}x"}}}}"#);
    let failing = Server::saying(response("401 Unauthorized", "", &body));
    for name in ["MINE", "OPENAI_API_KEY"] {
        let ran = Program::chat(&failing, &["--key-env", name, "-v", "hi"]).variable(name, SHORT).run();
        ran.check(4, "", &["bad key [redacted], not sk-pl4x"]);
        assert!(!ran.stderr.contains("key sk-pl4"), "{ran:#?}");
    }
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    for arguments in [
        &["chat", "--base-url", "http://127.0.0.1:1/v1", "--key-env", PLANTED, "-m", "m", "hi"][..],
        &["chat", "--key-env", PLANTED, "-m", "openai:m", "hi"],
        &["chat", "--base-url", &format!("http://u:{PLANTED}@127.0.0.1:1/v1"), "-m", "m", "hi"],
        &["models", "--base-url", &format!("http://u:{PLANTED}@127.0.0.1:1/v1")],
        &["chat", "--proxy", &format!("http://u:{PLANTED}@bad host"), "-m", "m", "hi"],
    ] {
        for verbose in [&[][..], &["-v"]] {
            let ran = Program::new(arguments.iter().chain(verbose).copied()).run();
            assert!(matches!(ran.code, Some(2 | 3)), "{ran:#?}");
            assert!(!format!("{ran:?}").contains("planted"), "{ran:#?}");
        }
    }
}

#[test]
fn no_command_shows_a_key() {
    let proxy = format!("http://user:{PLANTED}@127.0.0.1:9");
    for arguments in
        [&["doctor", "--offline"][..], &["doctor", "--offline", "--json"], &["-v", "doctor", "--offline"]]
    {
        let program = Program::new(arguments.iter().copied());
        let ran = program.variable("OPENAI_API_KEY", PLANTED).variable("HTTPS_PROXY", &proxy).run();
        assert!(ran.stdout.contains("OPENAI_API_KEY") && ran.stdout.contains("127.0.0.1:9"), "{ran:#?}");
        assert!(!format!("{ran:?}").contains("planted"), "{ran:#?}");
    }
    let ran = Program::new(["chat", "--proxy", &proxy, "-m", "openai:m", "hi"])
        .variable("OPENAI_API_KEY", PLANTED)
        .run();
    ran.check(5, "", &["127.0.0.1:9"]);
    assert!(!format!("{ran:?}").contains("planted"), "{ran:#?}");
}

#[test]
fn a_key_that_is_a_word_of_ours_leaves_the_doctors_words() {
    // What Ollama's documentation tells people to set, and words of the format.
    for key in ["ollama", "good", "name", "absent"] {
        let ran = Program::new(["doctor", "--offline", "--json"]).variable("OPENAI_API_KEY", key).run();
        let rows = ran.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let rows: Vec<_> = rows.filter(|row| row["name"] == "ollama" && row["state"] == "absent").collect();
        assert_eq!(rows.len(), 1, "{key}: {ran:#?}");
    }
    // One that JSON writes otherwise is found, too.
    let key = "sk-\"quoted\\0123456789";
    let program = Program::new(["doctor", "--offline", "--json"]).variable("OPENAI_API_KEY", key);
    let ran = program.variable("LOQUAT_MODEL", key).run();
    assert!(ran.stdout.contains("[redacted]") && !ran.stdout.contains("quoted"), "{ran:#?}");
}
