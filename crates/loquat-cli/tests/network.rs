//! The flags that say how to get there: HTTP/2 without asking, proxies only when asked for, certificates.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use support::{Program, Server, openai, response};

#[test]
fn http2_is_spoken_in_clear_only_when_told_so() {
    let server = Server::saying(openai(&["one"]));
    Program::chat(&server, &["hi"]).run().check(0, "one\n", &[]);
    let ran = Program::chat(&server, &["--http2-prior-knowledge", "hi"]).run();
    assert!(matches!(ran.code, Some(1 | 5)), "an HTTP/1.1 answer is no HTTP/2: {ran:#?}");
    let heads: Vec<_> = server.received().into_iter().map(|request| request.head).collect();
    assert!(heads[0].starts_with("POST /v1/chat/completions HTTP/1.1"), "{heads:?}");
    // RFC 9113 §3.4: the connection preface.
    assert!(heads[1].starts_with("PRI * HTTP/2.0"), "{heads:?}");
}

#[test]
fn a_proxy_is_used_only_when_asked_for() {
    let proxy = Server::saying(response("502 Bad Gateway", "", ""));
    let address = proxy.origin();
    let ask = ["chat", "--base-url", "https://somewhere.invalid/v1", "-m", "m", "hi"];

    let ran = Program::new(ask).variable("https_proxy", &address).variable("ALL_PROXY", &address).run();
    ran.check(5, "", &["somewhere.invalid"]);
    assert!(proxy.received().is_empty(), "the environment alone is not asking");

    let ran = Program::new(ask.iter().chain(&["--proxy", "env"])).variable("https_proxy", &address).run();
    ran.check(5, "", &["proxy", "502"]);
    let ran = Program::new(ask.iter().copied().chain(["--proxy", &address])).run();
    ran.check(5, "", &["proxy", &proxy.address.to_string()]);
    let heads: Vec<_> = proxy.received().into_iter().map(|request| request.head).collect();
    assert!(heads.iter().all(|head| head.starts_with("CONNECT somewhere.invalid:443 ")), "{heads:?}");
    assert_eq!(heads.len(), 6, "two programs, three attempts each: nothing was sent through the tunnel");
}

#[test]
fn a_server_that_speaks_no_tls_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"));
            drop(stream.read_to_end(&mut Vec::new()));
        }
    });
    let url = format!("https://{address}/v1");
    let ran = Program::new(["chat", "--base-url", &url, "-m", "m", "hi"]).run();
    ran.check(5, "", &["TLS", &address, "--ca-cert"]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none.pem");
    std::fs::write(&file, "no certificate").unwrap();
    let ran =
        Program::new(["chat", "--base-url", &url, "--ca-cert", file.to_str().unwrap(), "-m", "m", "hi"])
            .run();
    assert!(ran.code != Some(0) && ran.stderr.contains("none.pem"), "{ran:#?}");
}
