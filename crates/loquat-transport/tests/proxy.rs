//! Proxies by HTTP CONNECT: one that tunnels, and those that do not.

mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use loquat_core::{Delivery, ErrorKind};
use loquat_transport::{Config, HeaderValue, Http2Mode, Limits, Proxy, Request, Transport};
use support::{get, listen, read_request, send, text, until_closed, with, write};
use tokio::{io::copy_bidirectional, net::TcpStream};

/// A name that only the proxy can resolve.
fn far() -> Request {
    Request::get("http://model.invalid:8080/").expect("valid")
}

fn config(proxy: &str) -> Config {
    let limits = Limits::default().with_connect(Duration::from_millis(300));
    Config::default().with_proxy(Proxy::Url(proxy.to_owned())).with_limits(limits)
}

/// What a proxy cannot read goes through a tunnel: TLS, and HTTP/2 in clear.
fn tunnelled(proxy: &str) -> Transport {
    with(config(proxy).with_http2(Http2Mode::PriorKnowledge))
}

fn forwarded(proxy: &str) -> Transport {
    with(config(proxy))
}

async fn http2_origin() -> SocketAddr {
    listen(|_, socket| async move {
        let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert!(request.headers().get("proxy-authorization").is_none());
            let mut stream = respond.send_response(http::Response::new(()), false).expect("open");
            stream.send_data("hi".into(), true).expect("open");
        }
    })
    .await
}

async fn origin() -> SocketAddr {
    listen(|_, mut socket| async move {
        while read_request(&mut socket).await.is_some() {
            write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        }
    })
    .await
}

#[tokio::test]
async fn a_tunnel_carries_requests_and_the_credentials_stay_with_the_proxy() {
    let origin = http2_origin().await;
    let proxy = listen(move |_, mut socket| async move {
        let asked = read_request(&mut socket).await.expect("CONNECT");
        assert!(asked.starts_with("CONNECT model.invalid:8080 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("Proxy-Authorization: Basic dTpw\r\n"), "{asked}");
        let mut onward = TcpStream::connect(origin).await.expect("origin");
        // After an interim answer, and in pieces: the head's end may lie anywhere.
        for piece in [
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 Connection est",
            "ablished\r\nVia: x\r\n\r",
            "\n",
        ] {
            write(&mut socket, piece).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = copy_bidirectional(&mut socket, &mut onward).await;
    })
    .await;
    let transport = tunnelled(&format!("http://u:p@{proxy}"));
    for _ in 0..3 {
        let mut request = far();
        // A caller's own is not for the origin either.
        request.headers.insert("proxy-authorization", HeaderValue::from_static("Basic x"));
        let response = send(&transport, request).await.expect("through the proxy");
        assert_eq!(response.connection.peer, Some(proxy));
        assert_eq!(text(response).await.expect("body"), "hi");
    }
    assert_eq!(transport.stats().http2_opened, 1);
}

#[tokio::test]
async fn what_follows_the_proxys_head_belongs_to_the_origin() {
    let proxy = listen(|_, mut socket| async move {
        read_request(&mut socket).await;
        // The origin's first frame (SETTINGS) comes in the same segment as the proxy's answer.
        write(&mut socket, b"HTTP/1.1 200 OK\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        write(&mut socket, b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88").await;
        until_closed(&mut socket).await;
    })
    .await;
    let config =
        Config::default().with_proxy(Proxy::Url(format!("{proxy}"))).with_http2(Http2Mode::PriorKnowledge);
    let response = send(&with(config), far()).await.expect("head");
    assert_eq!(text(response).await.expect("body"), "");
}

#[tokio::test]
async fn loopback_is_never_proxied() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let proxy = listen(move |_, _| {
        let asked = Arc::clone(&asked);
        async move {
            asked.fetch_add(1, SeqCst);
        }
    })
    .await;
    let origin = origin().await;
    let transport = forwarded(&format!("http://{proxy}"));
    assert_eq!(text(send(&transport, get(origin)).await.expect("direct")).await.expect("body"), "hi");
    let named = Request::get(format!("http://localhost:{}/", origin.port())).expect("valid");
    assert_eq!(text(send(&transport, named).await.expect("direct")).await.expect("body"), "hi");
    assert_eq!(count.load(SeqCst), 0);
}

#[tokio::test]
async fn failures_name_the_proxy_and_what_it_did() {
    for (name, answer, kind, says) in [
        (
            "asks for a password",
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            ErrorKind::Proxy,
            "407",
        ),
        ("refuses", "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!", ErrorKind::Proxy, "status 403"),
        ("garbage", "SSH-2.0-OpenSSH_9\r\n\r\n", ErrorKind::Proxy, "did not answer in HTTP"),
        ("closes", "close", ErrorKind::Proxy, "closed the connection"),
        ("never ends", "endless", ErrorKind::Proxy, "longer than"),
        ("hangs", "", ErrorKind::Timeout, "connect, proxy included"),
    ] {
        let proxy = listen(move |_, mut socket| async move {
            read_request(&mut socket).await;
            match answer {
                "close" => return,
                "endless" => write(&mut socket, vec![b'x'; 1 << 20]).await,
                _ => write(&mut socket, answer).await,
            }
            until_closed(&mut socket).await;
        })
        .await;
        let error = send(&tunnelled(&format!("http://{proxy}")), far()).await.expect_err(name);
        assert_eq!((error.kind(), error.delivery()), (kind, Delivery::NotSent), "{name}: {error:?}");
        let message = error.message();
        assert!(message.contains(says), "{name}: {message}");
        assert!(message.contains(&format!("through the proxy http://{proxy}")), "{name}: {message}");
        assert!(
            message.contains("asking the proxy for a tunnel to http://model.invalid:8080"),
            "{name}: {message}"
        );
    }
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let error = send(&forwarded(&format!("http://u:hunter2@{dead}")), far()).await.expect_err("no proxy");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Proxy, Delivery::NotSent));
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn in_clear_the_proxy_gets_the_request_itself() {
    let proxy = listen(|_, mut socket| async move {
        while let Some(asked) = read_request(&mut socket).await {
            assert!(asked.starts_with("GET http://model.invalid:8080/ HTTP/1.1\r\n"), "{asked}");
            assert!(asked.contains("host: model.invalid:8080\r\n"), "{asked}");
            assert_eq!(asked.matches("proxy-authorization: Basic dTpw\r\n").count(), 1, "{asked}");
            write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        }
    })
    .await;
    let transport = forwarded(&format!("http://u:p@{proxy}"));
    for _ in 0..3 {
        let mut request = far();
        request.headers.insert("proxy-authorization", HeaderValue::from_static("Basic x"));
        let response = send(&transport, request).await.expect("through the proxy");
        assert_eq!(response.connection.peer, Some(proxy));
        assert_eq!(text(response).await.expect("body"), "hi");
    }
    assert_eq!(transport.stats().http1_opened, 1);
}

#[tokio::test]
async fn a_proxy_that_wants_a_password_is_no_answer_of_the_origin() {
    for (user, says) in [("", "wants a user name"), ("u:p@", "refused the user name")] {
        let proxy = listen(|_, mut socket| async move {
            read_request(&mut socket).await;
            write(&mut socket, "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n").await;
        })
        .await;
        let error = send(&forwarded(&format!("http://{user}{proxy}")), far()).await.expect_err("refused");
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Proxy, Delivery::NotSent), "{error}");
        assert!(error.message().contains(says), "{error}");
    }
}
