//! `models`, `doctor`, `completions`, `--help`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{io::Write as _, time::Duration};

use serde_json::Value;
use support::{Program, Server, response};

const LISTING: &str =
    r#"{"data":[{"id":"big\u001b[2J","owned_by":"me"},{"id":"small","context_length":4096}]}"#;

#[test]
fn models_of_a_server_are_listed_by_the_names_that_chat_takes() {
    let server = Server::saying(response("200 OK", "", LISTING));
    let url = server.url();
    let ran = Program::new(["models", "--base-url", &url]).run();
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("big␛[2J") && lines[0].ends_with("me"), "{ran:#?}");
    assert!(lines[1].starts_with("small"), "{ran:#?}");
    assert_eq!(server.received()[0].path(), "/v1/models");

    let ran = Program::new(["models", "--base-url", &url, "--json"]).run();
    let first: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((first["name"].as_str(), first["owner"].as_str()), (Some("big\u{1b}[2J"), Some("me")));
}

#[test]
fn models_that_cannot_be_listed_are_named() {
    let silent = Server::start(|_, _| std::thread::sleep(Duration::from_secs(30)));
    let ran = Program::new(["models", "--base-url", &silent.url()]).run();
    ran.check(5, "", &["error: ", "deadline", "after 0.", "--timeout"]);
    let expected = Duration::from_millis(800)..Duration::from_secs(5);
    assert!(expected.contains(&ran.took), "{ran:#?}");
    let ran = Program::new(["models", "--base-url", &silent.url(), "--timeout", "0.2"]).run();
    ran.check(5, "", &["after 0."]);
    assert!(ran.took < Duration::from_millis(800), "{ran:#?}");
    Program::new(["models", "openai"]).run().check(3, "", &["OPENAI_API_KEY"]);
    Program::new(["models", "nobody"]).run().check(3, "", &["nobody", "anthropic"]);
}

#[test]
fn every_configured_provider_is_asked_at_once() {
    let ollama = Server::start(|request, stream| {
        let body = if request.path() == "/api/tags" {
            r#"{"models":[{"name":"llama:1b","model":"llama:1b"}]}"#
        } else {
            "{}"
        };
        std::thread::sleep(Duration::from_millis(300));
        drop(stream.write_all(response("200 OK", "", body).as_bytes()));
    });
    let ran = Program::new(["models"]).variable("OLLAMA_HOST", &ollama.origin()).run();
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.lines().any(|line| line.starts_with("ollama:llama:1b")), "{ran:#?}");
    assert_eq!(
        ran.stdout.lines().any(|line| line.starts_with("engine ")),
        cfg!(feature = "engine"),
        "{ran:#?}"
    );
}

#[test]
fn the_doctor_says_what_is_and_what_is_not() {
    let program = || Program::new(["doctor", "--json"]);
    let checks = |ran: &support::Ran| -> Vec<Value> {
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let state = |checks: &[Value], name: &str| {
        let found = checks.iter().find(|check| check["name"] == name);
        found.map(|check| check["state"].as_str().unwrap().to_owned())
    };
    let server = Server::saying(response("200 OK", "", LISTING));
    let ran = program().variable("LOQUAT_BASE_URL", &server.url()).run();
    let found = checks(&ran);
    assert_eq!(state(&found, &server.url()).as_deref(), Some("good"), "{ran:#?}");
    assert_eq!(ran.code, Some(0), "{ran:#?}");

    let ran = program().variable("LOQUAT_BASE_URL", "http://127.0.0.1:1/v1").run();
    assert_eq!(state(&checks(&ran), "http://127.0.0.1:1/v1").as_deref(), Some("bad"), "{ran:#?}");
    assert_eq!(ran.code, Some(1), "{ran:#?}");

    // A local server that nobody spoke of may be absent; one that OLLAMA_HOST names may not.
    let ran = program().variable("OLLAMA_HOST", "127.0.0.1:1").run();
    assert_eq!(state(&checks(&ran), "ollama").as_deref(), Some("bad"), "{ran:#?}");
    assert_eq!(state(&checks(&ran), "openai").as_deref(), Some("absent"), "{ran:#?}");
    assert_eq!(ran.code, Some(1), "{ran:#?}");

    let ran = program().variable("LOQUAT_BASE_URL", "localhost:8080").run();
    let found = checks(&ran);
    assert_eq!(state(&found, "configuration").as_deref(), Some("bad"), "{ran:#?}");
    assert_eq!(state(&found, "LOQUAT_BASE_URL").as_deref(), Some("bad"), "{ran:#?}");
    assert_eq!(ran.code, Some(1), "{ran:#?}");

    let ran = Program::new(["doctor", "--offline"]).variable("HTTPS_PROXY", "http://127.0.0.1:9").run();
    assert!(
        ran.stdout.contains("seen and not used") && ran.stdout.contains("set OPENAI_API_KEY"),
        "{ran:#?}"
    );
    assert!(!ran.stdout.contains('\u{1b}'), "no colours into a pipe");
}

#[test]
fn help_is_worth_reading() {
    let ran = Program::new(["chat", "--help"]).run();
    for words in ["Examples:", "Exit codes:", "truncated", "--base-url", "--http2-prior-knowledge"] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    for command in ["chat", "models", "pull", "doctor", "completions"] {
        let ran = Program::new([command, "--help"]).run();
        assert!(ran.code == Some(0) && ran.stdout.contains("Example"), "{ran:#?}");
    }
    let ran = Program::new(["completions", "bash"]).run();
    assert!(ran.code == Some(0) && ran.stdout.contains("_loquat"), "{ran:#?}");
}

#[test]
fn each_command_has_a_manual_page() {
    for (arguments, title, says) in [
        (&["man"][..], ".TH loquat 1", "loquat\\-route(1)"),
        (&["man", "chat"], ".TH loquat-chat 1", "\\-\\-base\\-url"),
        (&["man", "route", "check"], ".TH loquat-route-check 1", "\\-\\-verbose"),
    ] {
        let ran = Program::new(arguments.iter().copied()).run();
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        for words in [title, says] {
            assert!(ran.stdout.contains(words), "{arguments:?}: {words}: {}", ran.stdout);
        }
    }
    Program::new(["man", "rout"]).run().check(2, "", &["loquat has no command \"rout\"", "route"]);
    Program::new(["man", "chat", "x"]).run().check(2, "", &["loquat-chat has no command", "none"]);
}

#[cfg(not(feature = "engine"))]
#[test]
fn a_build_without_the_engine_says_so() {
    for arguments in [&["chat", "hi"][..], &["chat", "-m", "engine", "hi"], &["pull"], &["models", "engine"]]
    {
        Program::new(arguments.iter().copied()).run().check(3, "", &["no embedded engine"]);
    }
}
