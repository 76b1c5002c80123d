//! Reading on a clock: what comes on many streams comes together, whole and in order, in clear and over TLS; what comes on few comes
//! as it is sent.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::server;
use loquat_transport::{Config, ExtraRoot, Http2Limits, Http2Mode, PoolConfig, Request, Transport};
use rustls::pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::sleep_until,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    ok,
    support::{listen, send, with},
};

const EVERY: Duration = Duration::from_millis(100);
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxy";
/// What a stream's letters are apart; those of another one come in between.
const APART: Duration = Duration::from_millis(40);

/// Answers each stream a letter at a time.
async fn spell(socket: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut connection) = server::handshake(socket).await else { return };
    let mut streams = 0;
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        streams += 1;
        tokio::spawn(async move {
            let mut stream = respond.send_response(ok(), false).expect("open");
            // By the clock, not one after the other: a machine that stops for a while must not bring them all into step.
            let mut next = Instant::now() + Duration::from_millis(2) * streams;
            for (index, letter) in LETTERS.chunks(1).enumerate() {
                next += APART;
                sleep_until(next.into()).await;
                stream.send_data(Bytes::from_static(letter), index + 1 == LETTERS.len()).expect("open");
            }
        });
    }
}

/// How often nothing came for nearly the clock's time while so many streams were read, and how often that could have been.
async fn pauses(transport: &Transport, request: &Request, streams: usize) -> (usize, usize) {
    let read = |_| {
        let (transport, request) = (transport.clone(), request.clone());
        tokio::spawn(async move {
            let mut body = send(&transport, request).await.expect("head").body;
            let (mut letters, mut times) = (Vec::new(), Vec::new());
            while let Some(chunk) = body.chunk().await {
                letters.extend_from_slice(&chunk.expect("alive"));
                times.push(Instant::now());
            }
            assert_eq!(letters, LETTERS);
            times
        })
    };
    let mut times = Vec::new();
    for reader in (0..streams).map(read).collect::<Vec<_>>() {
        times.extend(reader.await.expect("no panic"));
    }
    times.sort_unstable();
    let pauses = times.windows(2).filter(|two| two[1] - two[0] > EVERY * 3 / 4).count();
    let took = times[times.len() - 1] - times[0];
    (pauses, usize::try_from(took.as_millis() / EVERY.as_millis()).expect("few") + 2)
}

fn clocked() -> Config {
    Config::default()
        .with_http2(Http2Mode::PriorKnowledge)
        .with_http2_limits(Http2Limits::default().with_read_every(Some(EVERY)))
        .with_pool(PoolConfig::default().with_max_connections_per_origin(1))
}

/// 500 letters in a second and a pause at each tick of the clock; without it there is none, unless the machine stops for that long.
#[tokio::test]
async fn letters_of_twenty_streams_come_together_and_those_of_fifteen_as_they_are_sent() {
    let address = listen(|_, socket| spell(socket)).await;
    let request = Request::get(format!("http://{address}/")).expect("valid");
    let transport = with(clocked());
    let (many, most) = pauses(&transport, &request, 20).await;
    assert!((4..=most).contains(&many), "{many}, at most {most}");
    let (few, _) = pauses(&transport, &request, 15).await;
    assert!(few <= 3, "{few}");
    let (many, _) = pauses(&with(clocked().with_http2_limits(Http2Limits::default())), &request, 20).await;
    assert!(many <= 3, "{many} by default");
}

#[tokio::test]
async fn over_tls_too() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = listen(move |_, socket| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(tls) = acceptor.accept(socket).await {
                spell(tls).await;
            }
        }
    })
    .await;
    let request = Request::get(format!("https://localhost:{}/", address.port())).expect("valid");
    let transport = with(clocked().with_extra_root(ExtraRoot::Pem(made.cert.pem().into_bytes())));
    let (many, most) = pauses(&transport, &request, 20).await;
    assert!((4..=most).contains(&many), "{many}, at most {most}");
}
