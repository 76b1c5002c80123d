//! TLS: who is trusted, what is negotiated, and what is said when it fails.

mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use loquat_core::{Delivery, ErrorKind};
use loquat_transport::{Config, ExtraRoot, Http2Mode, Limits, Protocol, Request};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use support::{listen, send, spawn_text, text, transport, until_closed, with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// A certificate authority of our own, and a server certificate by it for that name.
fn certificates(authority: &str, name: &str) -> (String, rustls::ServerConfig) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, authority);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority");
    let key = KeyPair::generate().expect("key");
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .expect("name")
        .signed_by(&key, &authority)
        .expect("signed");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("certificate");
    (authority.pem(), config)
}

/// Answers `h1 hi` or `h2 hi` on `localhost`, as was negotiated.
async fn serve(config: rustls::ServerConfig, alpn: &[&[u8]]) -> SocketAddr {
    serve_after(0, config, alpn).await.0
}

/// So does the connection after so many that are closed at once. And how many have come.
async fn serve_after(
    closed: usize,
    mut config: rustls::ServerConfig,
    alpn: &[&[u8]],
) -> (SocketAddr, Arc<AtomicUsize>) {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = listen(move |number, socket| {
        let acceptor = acceptor.clone();
        counted.fetch_add(1, SeqCst);
        async move {
            if number < closed {
                return;
            }
            let Ok(mut tls) = acceptor.accept(socket).await else { return };
            assert_eq!(tls.get_ref().1.server_name(), Some("localhost"));
            if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                let mut connection = h2::server::handshake(tls).await.expect("handshake");
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.uri().scheme_str(), Some("https"));
                    let mut stream = respond.send_response(http::Response::new(()), false).expect("open");
                    stream.send_data(Bytes::from_static(b"h2 hi"), true).expect("open");
                }
                return;
            }
            let mut asked = Vec::new();
            while tls.read_buf(&mut asked).await.is_ok_and(|bytes| bytes > 0) {
                if asked.ends_with(b"\r\n\r\n") {
                    asked.clear();
                    let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nh1 hi").await;
                }
            }
        }
    })
    .await;
    (address, connections)
}

fn get(to: SocketAddr) -> Request {
    Request::get(format!("https://localhost:{}/", to.port())).expect("valid")
}

#[tokio::test]
async fn an_extra_root_is_trusted_and_the_protocol_negotiated() {
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    for (mode, alpn, expected) in [
        (Http2Mode::Auto, both, Protocol::Http2),
        (Http2Mode::Auto, &both[1..], Protocol::Http1),
        (Http2Mode::Auto, &[], Protocol::Http1),
        (Http2Mode::Never, both, Protocol::Http1),
        (Http2Mode::PriorKnowledge, both, Protocol::Http2),
        (Http2Mode::PriorKnowledge, &[], Protocol::Http1),
    ] {
        let (root, server) = certificates("one", "localhost");
        let address = serve(server, alpn).await;
        let transport =
            with(Config::default().with_http2(mode).with_extra_root(ExtraRoot::Pem(root.into_bytes())));
        for reused in [false, true] {
            let response = send(&transport, get(address)).await.expect("trusted");
            assert_eq!(
                (response.connection.protocol, response.connection.reused),
                (expected, reused),
                "{mode:?}"
            );
            let body = if expected == Protocol::Http2 { "h2 hi" } else { "h1 hi" };
            assert_eq!(text(response).await.expect("body"), body);
        }
    }
}

/// What happens to one connection fails the one request that made it. Where none can be made, nobody waits for more than one attempt
/// of another and one that was begun since.
#[tokio::test]
async fn a_handshake_that_fails_is_its_makers_alone_and_two_are_everybodys() {
    const CALLERS: usize = 50;
    for (closed, expected) in [(1, CALLERS - 1), (usize::MAX, 0)] {
        let (root, server) = certificates("one", "localhost");
        let (address, connections) = serve_after(closed, server, &[b"h2"]).await;
        let transport = with(Config::default().with_extra_root(ExtraRoot::Pem(root.into_bytes())));
        let callers: Vec<_> = (0..CALLERS).map(|_| spawn_text(&transport, get(address))).collect();
        let mut served = 0;
        for caller in callers {
            match caller.await.expect("task") {
                Ok(body) => {
                    assert_eq!(body, "h2 hi");
                    served += 1;
                }
                Err(error) => assert_eq!(error.delivery(), Delivery::NotSent, "{error}"),
            }
        }
        assert_eq!((served, connections.load(SeqCst)), (expected, 2));
    }
}

#[tokio::test]
async fn failures_say_what_is_wrong_and_what_to_do() {
    let (root, server) = certificates("one", "localhost");
    let untrusted = serve(server, &[]).await;
    let (_, server) = certificates("two", "localhost");
    let other_authority = serve(server, &[]).await;
    let (other_root, server) = certificates("three", "other.example");
    let other_name = serve(server, &[]).await;
    let clear = listen(|_, mut socket| async move {
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        until_closed(&mut socket).await;
    })
    .await;
    let closing = listen(|_, mut socket| async move {
        let _ = socket.read(&mut [0; 16 * 1024]).await;
    })
    .await;
    for (name, to, root, says) in [
        ("untrusted", untrusted, None, "extra root"),
        ("another authority", other_authority, Some(&root), "extra root"),
        ("another name", other_name, Some(&other_root), "not valid"),
        ("not TLS", clear, Some(&root), "does not answer in TLS"),
        ("closes", closing, Some(&root), "closed the connection in the TLS handshake"),
    ] {
        let mut config = Config::default();
        if let Some(root) = root {
            config = config.with_extra_root(ExtraRoot::Pem(root.clone().into_bytes()));
        }
        let error = send(&with(config), get(to)).await.expect_err(name);
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::Tls, Delivery::NotSent),
            "{name}: {error:?}"
        );
        let message = error.message();
        // Without any authority on the machine the first case says so instead.
        assert!(message.contains(says), "{name}: {message}");
        assert!(message.contains("TLS handshake with https://localhost"), "{name}: {message}");
        assert!(message.contains(&format!("at 127.0.0.1:{}", to.port())), "{name}: {message}");
    }
}

#[tokio::test]
async fn a_stalled_handshake_ends_in_its_own_limit() {
    let address = listen(|_, mut socket| async move { until_closed(&mut socket).await }).await;
    let limits = Limits::default().with_tls(Duration::from_millis(100));
    let (root, _) = certificates("one", "localhost");
    let config = Config::default().with_limits(limits).with_extra_root(ExtraRoot::Pem(root.into_bytes()));
    let error = send(&with(config), get(address)).await.expect_err("stalled");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent));
    assert!(
        error.message().contains("0.10 s (tls)") && error.message().contains("TLS handshake with"),
        "{error}"
    );
}

#[test]
fn a_transport_needs_no_runtime_and_refuses_roots_that_are_none() {
    drop(transport());
    for root in [ExtraRoot::Pem(b"nonsense".to_vec()), ExtraRoot::File("/nonexistent/root.pem".into())] {
        let error =
            loquat_transport::Transport::new(Config::default().with_extra_root(root)).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::NotConfigured);
        assert!(error.message().contains("extra root"), "{error}");
    }
}
