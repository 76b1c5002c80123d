//! Chunked bodies, legal and not, over a socket and at every split in two: what comes of them is what hyper alone makes of the same
//! bytes. The same without sockets, and more of it, is `whole.rs`.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use loquat_core::ErrorKind;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    support::{LONG, get, listen, read_request, send, transport, write},
    whole::BODIES,
};

const HEADS: [&str; 9] = [
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: deflate , Chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n",
];

/// The data, and what went wrong.
type Got = (Vec<u8>, Option<ErrorKind>);

/// What hyper makes of it, without any of ours.
async fn hypers(address: std::net::SocketAddr) -> Got {
    let kind = |error: hyper::Error| {
        let source =
            std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
        let is_misframed = source.is_some_and(|source| {
            matches!(source.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput)
        });
        if error.is_parse() || is_misframed { ErrorKind::Protocol } else { ErrorKind::Connection }
    };
    let socket = TcpStream::connect(address).await.expect("connect");
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.expect("nothing is sent");
    let driver = tokio::spawn(connection);
    let request = hyper::Request::builder().uri("/").header("host", "h").body(Empty::<Bytes>::new());
    let mut data = Vec::new();
    let response = sender.send_request(request.expect("valid")).await;
    let mut body = match response {
        Ok(response) => response.into_body(),
        Err(error) => {
            // The connection knows better.
            let told = driver.await.expect("no panic").err();
            return (data, Some(kind(told.unwrap_or(error))));
        }
    };
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => data.extend(frame.into_data().unwrap_or_default()),
            Err(error) => return (data, Some(kind(error))),
        }
    }
    (data, None)
}

async fn ours(address: std::net::SocketAddr) -> Got {
    let mut data = Vec::new();
    let mut body = match send(&transport(), get(address)).await {
        Ok(response) => response.body,
        Err(error) => return (data, Some(error.kind())),
    };
    while let Some(chunk) = tokio::time::timeout(LONG, body.chunk()).await.expect("in time") {
        match chunk {
            Ok(chunk) => data.extend(chunk),
            Err(error) => return (data, Some(error.kind())),
        }
    }
    (data, None)
}

#[tokio::test]
async fn a_chunked_body_is_what_hyper_says_it_is_at_any_split() {
    const LEGAL: &str = "b\r\nhello, worl\r\nA\r\nd. Goodbye\r\n2\r\n!\n\r\n0\r\n\r\n";
    const ILLEGAL: &str = "3\nabc\r\n0\r\n\r\n";
    let mut cases: Vec<(&str, &str)> = BODIES.iter().map(|body| (HEADS[0], *body)).collect();
    cases.extend(HEADS.iter().flat_map(|head| [LEGAL, ILLEGAL].map(|body| (*head, body))));
    for (head, body) in cases {
        let mut both = JoinSet::new();
        for at in 0..head.len() + body.len() {
            both.spawn(async move {
                let answer = [head, body].concat();
                let address = listen(move |_, mut socket| {
                    let answer = answer.clone();
                    async move {
                        if read_request(&mut socket).await.is_some() {
                            write(&mut socket, &answer[..at]).await;
                            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                            write(&mut socket, &answer[at..]).await;
                        }
                    }
                })
                .await;
                let (theirs, ours) = tokio::join!(hypers(address), ours(address));
                assert_eq!(ours, theirs, "{head:?} {body:?}, split at {at}");
                theirs
            });
        }
        both.join_all().await;
    }
}
