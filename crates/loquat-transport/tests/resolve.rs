//! The resolver's seam, and which addresses are dialled.
#![cfg(target_os = "linux")] // where all of 127.0.0.0/8 is this machine

mod support;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use loquat_core::{Context, Delivery, Error, ErrorKind, Stage};
use loquat_transport::{AddressPolicy, Config, Limits, Proxy, Request, Resolve, Resolving, Transport};
use support::{Script, listen, read_request, send, text, with, write};
use tokio::net::TcpListener;

/// Serves one request to a connection.
async fn once() -> u16 {
    let serve = |_, mut socket| async move {
        read_request(&mut socket).await;
        write(&mut socket, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi").await;
    };
    listen(serve).await.port()
}

async fn ask(transport: &Transport) -> Result<String, Error> {
    text(send(transport, Request::get("http://model.example/").expect("valid")).await?).await
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().expect(ip), port)
}

#[tokio::test]
async fn a_resolver_is_asked_for_every_connection() {
    let port = once().await;
    let script = Script::new([vec![at("127.0.0.1", port)]]);
    let transport = with(Config::default().with_resolver(script.clone()));
    assert_eq!(ask(&transport).await.expect("resolved"), "hi");
    script.then([]);
    let error = ask(&transport).await.expect_err("gone");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connect, Delivery::NotSent));
    assert!(error.message().contains("nobody by that name"), "{error}");
    script.then([Vec::new()]);
    assert!(ask(&transport).await.expect_err("none").message().contains("no usable address"));
}

/// Asks somebody who never answers.
#[derive(Debug)]
struct Silent;

impl Resolve for Silent {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolving<'a> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_name_that_is_never_resolved_ends_in_the_limit_on_connecting_or_by_the_caller() {
    let limits = Limits::default().with_connect(Duration::from_millis(100));
    let transport = with(Config::default().with_resolver(Silent).with_limits(limits));
    let error = ask(&transport).await.expect_err("unresolved");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent));
    assert!(error.message().contains("0.10 s (connect)"), "{error}");
    assert_eq!(error.history().expect("on its way").stage, Stage::Resolving);

    let transport = with(Config::default().with_resolver(Silent));
    let soon = Context::new().with_timeout(Duration::from_millis(50));
    let cancelled = Context::new();
    let token = cancelled.cancellation().clone();
    tokio::spawn(async move { token.cancel() });
    for (context, kind) in [(soon, ErrorKind::Timeout), (cancelled, ErrorKind::Cancelled)] {
        let request = Request::get("http://model.example/").expect("valid");
        let asked = tokio::time::timeout(Duration::from_secs(5), transport.send(&context, request)).await;
        let error = asked.expect("not only at the limit of ten seconds").expect_err("unresolved");
        assert_eq!((error.kind(), error.delivery()), (kind, Delivery::NotSent), "{error}");
    }
}

/// A name that is public when it is looked at and this machine when it is used.
#[tokio::test]
async fn a_name_that_changes_its_mind_is_refused_at_reconnect() {
    // A listener on all addresses: dialling would succeed.
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            read_request(&mut socket).await;
            write(&mut socket, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi").await;
        }
    });
    let allowed = AddressPolicy::PublicAnd(vec!["127.0.0.2".parse().expect("valid")]);
    let script = Script::new([
        vec![at("127.0.0.2", port)],
        // One forbidden address among allowed ones is not dialled.
        vec![at("127.0.0.1", port), at("169.254.169.254", port), at("127.0.0.2", port)],
        vec![at("127.0.0.1", port)],
        vec![at("::ffff:127.0.0.1", port), at("10.0.0.1", port)],
    ]);
    let transport = with(Config::default().with_resolver(script).with_addresses(allowed));
    for _ in 0..2 {
        let response = send(&transport, Request::get("http://model.example/").expect("valid")).await;
        let response = response.expect("allowed");
        assert_eq!(response.connection.peer, Some(at("127.0.0.2", port)));
        assert_eq!(text(response).await.expect("body"), "hi");
    }
    for _ in 0..2 {
        let error = ask(&transport).await.expect_err("rebound");
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::NotConfigured, Delivery::NotSent));
        assert!(error.message().contains("must not") && !error.is_retryable(), "{error}");
    }
}

#[tokio::test]
async fn addresses_and_local_names_are_judged_too() {
    let port = once().await;
    for proxied in [false, true] {
        let config = Config::default().with_addresses(AddressPolicy::PublicOnly);
        let proxy = if proxied { Proxy::Url(format!("http://127.0.0.1:{port}")) } else { Proxy::None };
        let transport = with(config.with_proxy(proxy));
        for host in ["127.0.0.1", "localhost", "10.0.0.1", "[::1]", "[::ffff:7f00:1]", "169.254.169.254"] {
            let request = Request::get(format!("http://{host}:{port}/")).expect("valid");
            let error = send(&transport, request).await.expect_err(host);
            assert_eq!(error.kind(), ErrorKind::NotConfigured, "{host}, proxied: {proxied}: {error}");
        }
    }
}
