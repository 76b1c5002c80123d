//! `loquat discover` against files, registries and servers on the loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../loquat-discovery/tests/support/etcd.rs"]
mod etcd;
mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use serde_json::Value;
use support::{Program, Server, after_a_line, response};

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
    Program::new(["discover", "/nowhere/endpoints.json"]).run().check(2, "", &["/nowhere"]);
    Program::new(["discover", "dns:localhost:80"]).run().check(2, "", &["--model"]);
    Program::new(["discover", "dns:localhost", "--model", "m"]).run().check(2, "", &["dns:NAME:PORT"]);
    Program::new(["discover", "etcd:http://127.0.0.1:1"]).run().check(2, "", &["etcd:URL/PREFIX"]);
    Program::new(["discover", "x", "--network", "10.0.0.0/99"]).run().check(2, "", &["10.0.0.0/8"]);
    Program::new(["discover", "http://127.0.0.1:1/"]).run().check(5, "", &["error: "]);
    Program::new(["discover", "etcd:http://127.0.0.1:1/e/", "--user", "u"]).run().check(
        2,
        "",
        &["a password"],
    );
    Program::new(["discover", "http://127.0.0.1:1/", "--user", "u"]).run().check(2, "", &["etcd: alone"]);
    Program::new(["discover", "kubernetes:ai/llama"]).run().check(2, "", &["no pod"]);
    Program::new(["discover", "kubernetes:llama", "--model", "m"]).run().check(2, "", &["NAMESPACE/SERVICE"]);
    let cluster = "kubernetes:http://127.0.0.1:1/ai/llama";
    Program::new(["discover", cluster]).run().check(2, "", &["--model"]);
    Program::new(["discover", cluster, "--model", "m"]).run().check(5, "", &["error: "]);
    // Nobody is told, and so it is said.
    let file = at("good", "[]");
    Program::new(["discover", &file, "--key-env", "HOME"]).run().check(2, "", &["needs no key"]);
    // The key in place of its name, which the system shows anyway, is at least not repeated.
    for (flag, code) in [("--key-env", 3), ("--key-file", 2)] {
        let ran = Program::new(["discover", "https://a.example", flag, "sk-planted"]).run();
        ran.check(code, "", &[flag]);
        assert!(!ran.stderr.contains("planted"), "{ran:#?}");
    }
    let (empty, both) = (at("no-key", " \n"), ["--key-env", "K", "--key-file", "k"]);
    Program::new(["discover", "https://a.example", "--key-file", &empty]).run().check(3, "", &["is empty"]);
    Program::new(["discover", "https://a.example"].iter().chain(&both)).run().check(2, "", &["--key-file"]);
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
    let name = format!("llama at {} ", server.address);
    assert!(ran.stdout.starts_with(&name), "short, and without a scheme: {ran:#?}");
    assert!(!server.received()[0].head.to_lowercase().contains("authorization"), "nobody said a key");

    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "key-planted\n").unwrap();
    let ran = Program::new(["discover", &source, "--any-address", "--key-file", key.to_str().unwrap()]).run();
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(server.received()[1].head.contains("Bearer key-planted"), "{ran:#?}");
}

/// EndpointSlices after the API's documentation; no cluster has been here.
#[test]
fn a_service_of_a_cluster_is_listed_and_watched() {
    let slice = |version: u32, endpoints: &str| {
        format!(
            r#"{{"metadata":{{"name":"s","resourceVersion":"{version}"}},"addressType":"IPv4","endpoints":[{endpoints}],"ports":[{{"name":"metrics","port":9090}},{{"name":"http","port":8000}}]}}"#
        )
    };
    let one = r#"{"addresses":["10.0.0.1"],"conditions":{"ready":true}}"#;
    let two = r#"{"addresses":["10.0.0.2"],"conditions":{"ready":false}}"#;
    let list = format!(r#"{{"metadata":{{"resourceVersion":"7"}},"items":[{}]}}"#, slice(7, one));
    let event = format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", slice(8, &format!("{one},{two}")));
    let server = Server::start(move |request, stream| {
        if !request.path().contains("watch=true") {
            return drop(stream.write_all(response("200 OK", "", &list).as_bytes()));
        }
        drop(stream.write_all((support::stream_head("application/json") + &event).as_bytes()));
        // Until whoever watches has gone.
        drop(stream.read(&mut [0]));
    });
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "tok-planted\n").unwrap();
    let source = format!("kubernetes:{}/ai/llama:http", server.origin());
    let arguments = ["--model", "m", "--network", "10.0.0.0/8", "--timeout", "60", "--key-file"];
    let program = |more: &[&str]| {
        let words = ["discover", &source].into_iter().chain(arguments).chain([token.to_str().unwrap()]);
        Program::new(words.chain(more.iter().copied()))
    };
    let ran = program(&[]).run();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:#?}");
    let line = "m at 10.0.0.1:8000  openai:m  http://10.0.0.1:8000/v1  up\n";
    assert_eq!(ran.stdout, line, "{ran:#?}");
    for request in server.received() {
        let path = "/apis/discovery.k8s.io/v1/namespaces/ai/endpointslices?";
        assert!(request.path().starts_with(path), "{request:?}");
        assert!(request.head.contains("Bearer tok-planted"), "{request:?}");
    }

    let lines = program(&["--watch", "--json"]).lines();
    let next = || -> Value { serde_json::from_str(&lines.next()).unwrap() };
    let (first, joined) = (next(), next());
    assert_eq!((first["name"].as_str(), first.get("change")), (Some("m at 10.0.0.1:8000"), None));
    let told = ["change", "name", "health"].map(|key| joined[key].as_str().unwrap_or_default());
    assert_eq!(told, ["joined", "m at 10.0.0.2:8000", "down"]);
}

#[test]
fn a_real_etcd_is_asked_as_a_user_and_with_a_token() {
    let etcd = etcd::Process::start();
    // `/e/a` and `{"base_url":"https://a.example.com/v1","model":"m"}`, in base64 as its gateway wants it.
    let put = r#"{"key":"L2UvYQ==","value":"eyJiYXNlX3VybCI6Imh0dHBzOi8vYS5leGFtcGxlLmNvbS92MSIsIm1vZGVsIjoibSJ9"}"#;
    etcd.told("/v3/kv/put", put);
    let source = format!("etcd:{}/e/", etcd.url());
    let program = |more: &[&str]| {
        let words = ["discover", &source, "--timeout", "60"].into_iter().chain(more.iter().copied());
        Program::new(words).variable("ETCD", "pl\"anted-planted").variable("WRONG", "wrong-planted")
    };
    let listed = "a  openai:m  https://a.example.com/v1  –\n";
    program(&[]).run().check(0, listed, &[]);
    let user = r#"{"name":"root","password":"pl\"anted-planted"}"#;
    for (path, body) in [
        ("/v3/auth/role/add", r#"{"name":"root"}"#),
        ("/v3/auth/user/add", user),
        ("/v3/auth/user/grant", r#"{"user":"root","role":"root"}"#),
        ("/v3/auth/enable", "{}"),
    ] {
        etcd.told(path, body);
    }
    program(&["--user", "root", "--key-env", "ETCD"]).run().check(0, listed, &[]);
    for wrong in [&[][..], &["--user", "root", "--key-env", "WRONG"]] {
        let ran = program(wrong).run();
        assert!(ran.code != Some(0) && ran.stdout.is_empty(), "{ran:#?}");
        assert!(ran.stderr.contains("error: ") && !ran.stderr.contains("planted"), "{ran:#?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "pl\"anted-planted\n").unwrap();
    program(&["--user", "root", "--key-file", file.to_str().unwrap()]).run().check(0, listed, &[]);
    // A token that was had otherwise.
    let answer = etcd.told("/v3/auth/authenticate", user);
    let token = answer.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    program(&["--key-env", "TOKEN"]).variable("TOKEN", token).run().check(0, listed, &[]);
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
    let lines = Program::new(["discover", file.to_str().unwrap(), "--watch", "--json"]).lines();
    let next = || -> (Option<String>, String) {
        let row: Value = serde_json::from_str(&lines.next()).unwrap();
        (row["change"].as_str().map(str::to_owned), row["name"].as_str().unwrap().to_owned())
    };
    assert_eq!([next(), next()], [(None, "leaves".to_owned()), (None, "stays".to_owned())]);
    write(&[entry("stays", r#","healthy":false"#), entry("joins", "")]);
    let told = [next(), next(), next()];
    let words = |change: &str, name: &str| (Some(change.to_owned()), name.to_owned());
    assert_eq!(told, [words("left", "leaves"), words("joined", "joins"), words("changed", "stays")]);
}

#[test]
fn a_reader_that_leaves_ends_the_watch() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("endpoints.json");
    fs::write(&file, format!("[{}]", entry("first", ""))).unwrap();
    let child = Program::new(["discover", file.to_str().unwrap(), "--watch"]).spawn();
    let ended = std::thread::spawn(|| after_a_line(child));
    // Each change is a line that nobody reads.
    for n in 0.. {
        if ended.is_finished() {
            break;
        }
        let new = folder.path().join("new");
        fs::write(&new, format!("[{}]", entry(&format!("later{n}"), ""))).unwrap();
        fs::rename(new, &file).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    ended.join().unwrap().check(0, "", &[]);
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
