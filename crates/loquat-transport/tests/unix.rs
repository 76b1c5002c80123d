//! Unix sockets, with HTTP/1.1 and HTTP/2.
#![cfg(unix)]

mod support;

use std::path::Path;

use loquat_core::{Delivery, ErrorKind};
use loquat_transport::{AddressPolicy, Config, Http2Mode, Proxy, Request, Transport};
use support::{send, text, with};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

fn config(path: &Path) -> Config {
    // Neither of these is for a socket the operator named.
    Config::default()
        .with_unix_socket("http://model.invalid", path)
        .with_proxy(Proxy::Url("http://127.0.0.1:1".into()))
        .with_addresses(AddressPolicy::PublicOnly)
}

fn post() -> Request {
    Request::post("http://model.invalid/v1/chat", "hello").expect("valid")
}

#[tokio::test]
async fn requests_are_served_and_connections_reused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("one.sock");
    let listener = UnixListener::bind(&path).expect("bind");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut seen = Vec::new();
            while let Ok(1..) = socket.read_buf(&mut seen).await {
                if !seen.ends_with(b"hello") {
                    continue;
                }
                let asked = String::from_utf8(std::mem::take(&mut seen)).expect("text");
                assert!(asked.starts_with("POST /v1/chat HTTP/1.1\r\n"), "{asked}");
                assert!(asked.contains("\r\nhost: model.invalid\r\n"), "{asked}");
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.expect("taken");
            }
        }
    });
    let transport = with(config(&path));
    for reused in [false, true, true] {
        let response = send(&transport, post()).await.expect("served");
        assert_eq!((response.connection.peer, response.connection.reused), (None, reused));
        assert_eq!(text(response).await.expect("body"), "hi");
    }
    assert_eq!(transport.stats().http1_opened, 1);
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("two.sock");
    let listener = UnixListener::bind(&path).expect("bind");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut stream = respond.send_response(http::Response::new(()), false).expect("open");
                stream.send_data("hi".into(), true).expect("open");
            }
        }
    });
    let transport = with(config(&path).with_http2(Http2Mode::PriorKnowledge));
    for _ in 0..3 {
        assert_eq!(text(send(&transport, post()).await.expect("served")).await.expect("body"), "hi");
    }
    assert_eq!(transport.stats().http2_opened, 1);
}

#[tokio::test]
async fn what_cannot_work_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nobody.sock");
    let error = send(&with(config(&path)), post()).await.expect_err("nobody listens");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connect, Delivery::NotSent));
    assert!(error.message().contains("nobody.sock"), "{error}");
    for origin in ["https://model.invalid", "model.invalid"] {
        let error = Transport::new(Config::default().with_unix_socket(origin, "/x")).expect_err(origin);
        assert_eq!(error.kind(), ErrorKind::NotConfigured, "{error}");
    }
}
