//! `loquat discover` against files, registries and servers on the loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use serde_json::Value;
use support::{Program, Server, response};

const ONE: &str = r#"{"name":"one","base_url":"https://one.example.com/v1?k=planted","model":"m","tags":["eu","h100"],"healthy":true}"#;

fn entry(name: &str, more: &str) -> String {
    format!(r#"{{"name":"{name}","base_url":"https://{name}.example.com/v1","model":"m"{more}}}"#)
}

#[test]
fn a_file_is_listed_with_what_may_not_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("endpoints.json");
    let good = entry("good", r#","tags":["eu","h\u202e100"],"healthy":true,"context_window":8192"#);
    let inside = r#"{"name":"inside","base_url":"http://10.1.2.3/v1","model":"m"}"#;
    fs::write(&file, format!("[{good},{ONE},{inside}]")).unwrap();
    let path = file.to_str().unwrap();
    let ran = Program::new(["discover", path]).run();
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:#?}");
    for words in ["good", "openai:m", "https://good.example.com/v1", "up", "8192 tokens"] {
        assert!(ran.stdout.contains(words), "{words} in {ran:#?}");
    }
    assert!(!ran.stdout.contains('\u{202e}'), "nothing acts on a terminal: {ran:#?}");
    assert!(ran.stderr.contains("refused") && !ran.stderr.contains("planted"), "{ran:#?}");

    let ran = Program::new(["discover", path, "--network", "10.0.0.0/8", "--json"]).run();
    let rows: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["good", "inside"], "{ran:#?}");
    assert_eq!((rows[0]["health"].as_str(), rows[1]["health"].as_str()), (Some("up"), None));
}

#[test]
fn exit_codes_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    Program::new(["discover", &at("empty", "[]")]).run().check(3, "", &["lists no endpoint"]);
    Program::new(["discover", &at("garbage", "<html>")]).run().check(1, "", &["not JSON"]);
    Program::new(["discover", "/nowhere/endpoints.json"]).run().check(1, "", &["/nowhere"]);
    Program::new(["discover", "dns:localhost:80"]).run().check(2, "", &["--model"]);
    Program::new(["discover", "dns:localhost", "--model", "m"]).run().check(2, "", &["dns:NAME:PORT"]);
    Program::new(["discover", "etcd:http://127.0.0.1:1"]).run().check(2, "", &["etcd:URL/PREFIX"]);
    Program::new(["discover", "x", "--network", "10.0.0.0/99"]).run().check(2, "", &["10.0.0.0/8"]);
    Program::new(["discover", "http://127.0.0.1:1/"]).run().check(5, "", &["error: "]);
    let ran = Program::new(["discover", "https://a.example", "--key-env", "sk-planted"]).run();
    ran.check(3, "", &["--key-env"]);
    assert!(!ran.stderr.contains("planted"), "{ran:#?}");
}

#[test]
fn a_registry_is_asked_with_its_token() {
    let server = Server::saying(response("200 OK", "", &format!("[{}]", entry("one", ""))));
    let ran = Program::new(["discover", &server.origin(), "--key-env", "REGISTRY"])
        .variable("REGISTRY", "tok-planted")
        .run();
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.contains("https://one.example.com/v1"), "{ran:#?}");
    assert!(server.received()[0].head.contains("Bearer tok-planted"));
}

#[test]
fn servers_are_probed_for_their_models() {
    let server = Server::saying(response("200 OK", "", r#"{"data":[{"id":"llama","max_model_len":4096}]}"#));
    let source = format!("probe:{}", server.origin());
    let ran = Program::new(["discover", &source, "--any-address"]).run();
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.contains(":llama") && ran.stdout.contains("4096 tokens"), "{ran:#?}");
}

#[test]
fn changes_are_told_as_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("endpoints.json");
    let write = |entries: &[String]| {
        let new = folder.path().join("new");
        fs::write(&new, format!("[{}]", entries.join(","))).unwrap();
        fs::rename(new, &file).unwrap();
    };
    write(&[entry("stays", ""), entry("leaves", "")]);
    let mut child = Program::new(["discover", file.to_str().unwrap(), "--watch", "--json"]).spawn();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> (Option<String>, String) {
        let row: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        (row["change"].as_str().map(str::to_owned), row["name"].as_str().unwrap().to_owned())
    };
    assert_eq!([next(), next()], [(None, "leaves".to_owned()), (None, "stays".to_owned())]);
    write(&[entry("stays", r#","healthy":false"#), entry("joins", "")]);
    let told = [next(), next(), next()];
    let words = |change: &str, name: &str| (Some(change.to_owned()), name.to_owned());
    assert_eq!(told, [words("left", "leaves"), words("joined", "joins"), words("changed", "stays")]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_registry_that_fails_at_first_is_an_error_and_later_is_none() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = Server::start(move |_, stream| {
        count.fetch_add(1, SeqCst);
        drop(stream.write_all(response("503 Busy", "", "{}").as_bytes()));
    });
    let ran = Program::new(["discover", &server.origin()]).run();
    assert_ne!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stderr.contains("503") && asked.load(SeqCst) == 1, "{ran:#?}");
}
