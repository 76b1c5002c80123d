//! `loquat embed`: texts from arguments, files and stdin, in batches, as numbers and as JSON.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};
use support::{Program, Server, after_a_line, response};

/// Gives each text the vector of its length and 0.5.
fn server() -> Server {
    Server::start(|request, stream| {
        let texts = request.json()["input"].as_array().unwrap().clone();
        let data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| json!({"index": index, "embedding": [text.as_str().unwrap().len(), 0.5]}))
            .collect();
        let body = json!({"data": data, "usage": {"prompt_tokens": texts.len()}}).to_string();
        drop(stream.write_all(response("200 OK", "", &body).as_bytes()));
    })
}

fn embed(server: &Server, arguments: &[&str]) -> Program {
    let url = server.url();
    Program::new(["embed", "--base-url", &url, "-m", "m"].iter().chain(arguments).copied())
}

#[test]
fn arguments_are_texts() {
    let server = server();
    embed(&server, &["a", "bcd"]).run().check(0, "1 0.5\n3 0.5\n", &[]);
    let received = server.received();
    assert_eq!((received.len(), received[0].path()), (1, "/v1/embeddings"));
    assert_eq!(received[0].json()["input"], json!(["a", "bcd"]));
    let json = "{\"index\":0,\"embedding\":[1.0,0.5]}\n";
    embed(&server, &["--json", "--dimensions", "2", "a"]).run().check(0, json, &[]);
    assert_eq!(server.received()[1].json()["dimensions"], 2);
}

#[test]
fn lines_of_stdin_go_in_batches() {
    let server = server();
    let ran = embed(&server, &["--batch", "2", "-v"]).stdin("a\n\nbb\r\nccc\n").run();
    ran.check(0, "1 0.5\n2 0.5\n3 0.5\n", &["3 texts, 3 tokens"]);
    let inputs: Vec<Value> =
        server.received().iter().map(|request| request.json()["input"].clone()).collect();
    assert_eq!(inputs, [json!(["a", "bb"]), json!(["ccc"])]);
}

#[test]
fn files_are_texts_and_named() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a.txt", "b.txt"].map(|name| folder.path().join(name));
    std::fs::write(&a, "one\ntwo").unwrap();
    std::fs::write(&b, "three").unwrap();
    let ran = embed(&server, &["--json", "--file", a.to_str().unwrap(), "--file", b.to_str().unwrap()]).run();
    let rows: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows[0]["file"], a.to_str().unwrap());
    assert_eq!([&rows[0]["embedding"], &rows[1]["embedding"]], [&json!([7.0, 0.5]), &json!([5.0, 0.5])]);
    let both = ["--file", a.to_str().unwrap(), "--file", "-"];
    embed(&server, &both).stdin("all\nof it").run().check(0, "7 0.5\n9 0.5\n", &[]);
}

#[test]
fn what_is_no_text_is_a_mistake_of_the_callers() {
    let server = server();
    embed(&server, &[]).stdin("\n \n").run().check(2, "", &["there is no text"]);
    embed(&server, &["--file", "/does/not/exist"]).run().check(2, "", &["/does/not/exist"]);
    embed(&server, &[]).stdin([b'a', 0xff]).run().check(2, "", &["UTF-8"]);
    assert!(server.received().is_empty());
    let refusing = Server::saying(response("401 Unauthorized", "", r#"{"error":{"message":"no key"}}"#));
    embed(&refusing, &["a"]).run().check(4, "", &["no key"]);
}

#[test]
fn a_reader_that_leaves_is_paid_for_no_further() {
    let server = server();
    let texts: String = (0..2000).map(|n| format!("{n}\n")).collect();
    let child = embed(&server, &["--batch", "2"]).stdin(texts);
    after_a_line(child.spawn()).check(0, "", &[]);
    // The batch that was read, and those that were asked for before the pipe was closed.
    assert!(server.received().len() < 500, "{}", server.received().len());
}

#[test]
fn a_server_that_is_silent_is_waited_for_as_long_as_is_said() {
    // Until the program hangs up.
    let silent = Server::start(|_, stream| drop(stream.read(&mut [0; 16])));
    let ran = embed(&silent, &["--timeout", "0.2", "a"]).run();
    ran.check(5, "", &["hint: `--timeout` changes how long is waited"]);
}
