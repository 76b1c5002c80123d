//! SOCKS 5 proxies, written byte by byte (RFC 1928, RFC 1929).

mod support;

use std::{net::SocketAddr, time::Duration};

use loquat_core::{Delivery, ErrorKind};
use loquat_transport::{Config, Http2Mode, Limits, Proxy, Request, Transport};
use support::{listen, read_request, script, send, text, until_closed, with, write};
use tokio::io::AsyncReadExt;

fn through(proxy: &str) -> Transport {
    let limits = Limits::default().with_connect(Duration::from_millis(500));
    with(Config::default().with_proxy(Proxy::Url(proxy.to_owned())).with_limits(limits))
}

fn far(host: &str) -> Request {
    Request::get(format!("http://{host}:8080/")).expect("valid")
}

/// One exchange with a proxy: what it must read, and what it answers.
type Turn = (&'static [u8], &'static [u8]);

/// Plays the turns, then serves HTTP/1.1 as the origin would.
async fn proxy(turns: Vec<Turn>) -> SocketAddr {
    listen(move |_, mut socket| {
        let turns = turns.clone();
        async move {
            for (expected, answer) in turns {
                let mut read = vec![0; expected.len()];
                socket.read_exact(&mut read).await.expect("the client's turn");
                assert_eq!(read, expected);
                // In two pieces, the second with what follows.
                let (first, second) = answer.split_at(answer.len() / 2);
                write(&mut socket, first).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
                write(&mut socket, second).await;
            }
            while let Some(asked) = read_request(&mut socket).await {
                assert!(asked.starts_with("GET / HTTP/1.1\r\n"), "{asked}");
                assert!(!asked.contains("authorization"), "{asked}");
                write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            }
        }
    })
    .await
}

const GREETING: Turn = (&[5, 1, 0], &[5, 0]);
const TO_MODEL: &[u8] = b"\x05\x01\x00\x03\x0dmodel.invalid\x1f\x90";
const CONNECTED: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 0, 80];

#[tokio::test]
async fn names_and_addresses_go_to_the_proxy_as_they_are() {
    let v6 = [&[5, 1, 0, 4, 0x26, 0x06, 0x47, 0][..], &[0; 11], &[1, 0x1f, 0x90]].concat();
    let v6: &'static [u8] = v6.leak();
    let named: &[u8] = b"\x05\x00\x00\x03\x04exit\x00\x50";
    let v6_bound: &'static [u8] = [&[5, 0, 0, 4][..], &[9; 16], &[0, 80]].concat().leak();
    for (host, asked, answer) in [
        ("model.invalid", TO_MODEL, CONNECTED),
        ("1.2.3.4", &[5, 1, 0, 1, 1, 2, 3, 4, 0x1f, 0x90], named),
        ("[2606:4700::1]", v6, v6_bound),
    ] {
        for scheme in ["socks5", "socks5h"] {
            let address = proxy(vec![GREETING, (asked, answer)]).await;
            let transport = through(&format!("{scheme}://{address}"));
            for _ in 0..2 {
                let response = send(&transport, far(host)).await.expect(host);
                assert_eq!(response.connection.peer, Some(address));
                assert_eq!(text(response).await.expect("body"), "hi");
            }
            assert_eq!(transport.stats().http1_opened, 1);
        }
    }
}

#[tokio::test]
async fn a_user_name_and_password_are_given_where_they_are_wanted() {
    let wanted: Turn = (&[5, 2, 0, 2], &[5, 2]);
    let given: Turn = (b"\x01\x04user\x06p@ss:x", &[1, 0]);
    let served = proxy(vec![wanted, given, (TO_MODEL, CONNECTED)]).await;
    let response = send(&through(&format!("socks5://user:p%40ss%3Ax@{served}")), far("model.invalid")).await;
    assert_eq!(text(response.expect("let in")).await.expect("body"), "hi");
    let unwanted = proxy(vec![(&[5, 2, 0, 2], &[5, 0]), (TO_MODEL, CONNECTED)]).await;
    let response = send(&through(&format!("socks5://user:p@{unwanted}")), far("model.invalid")).await;
    assert_eq!(text(response.expect("let in")).await.expect("body"), "hi");
}

#[tokio::test]
async fn what_follows_the_proxys_answer_belongs_to_the_origin() {
    let begun: &'static [u8] = [CONNECTED, &script::frame(script::SETTINGS, 0, 0, &[])].concat().leak();
    let address = listen(move |_, mut socket| async move {
        for (bytes, answer) in [(3, &[5, 0][..]), (TO_MODEL.len(), begun)] {
            socket.read_exact(&mut vec![0; bytes]).await.expect("the client's turn");
            write(&mut socket, answer).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        write(&mut socket, script::answer(1, "hi")).await;
        until_closed(&mut socket).await;
    })
    .await;
    let proxied = Config::default().with_proxy(Proxy::Url(format!("socks5://{address}")));
    let transport = with(proxied.with_http2(Http2Mode::PriorKnowledge));
    let response = send(&transport, far("model.invalid")).await.expect("head");
    assert_eq!(text(response).await.expect("body"), "hi");
}

#[tokio::test]
async fn refusals_say_why_and_show_no_password() {
    let ask = |answer| vec![GREETING, (TO_MODEL, answer)];
    let login: &[u8] = b"\x01\x01u\x07hunter2";
    for (user, turns, says) in [
        ("", ask(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]), "rules do not allow"),
        ("", ask(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]), "did not resolve"),
        ("", ask(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]), "connection refused"),
        ("", ask(&[5, 99, 0, 1, 0, 0, 0, 0, 0, 0]), "code 99"),
        ("", ask(&[5, 0, 0, 7]), "did not answer in SOCKS"),
        ("", vec![(&[5, 1, 0], &[5, 0xff])], "wants a user name"),
        ("", vec![(&[5, 1, 0], b"HT")], "did not answer in SOCKS"),
        ("", vec![(&[5, 1, 0], &[5, 2])], "authentication that is not spoken"),
        ("u:hunter2@", vec![(&[5, 2, 0, 2], &[5, 0xff])], "authentication that is not spoken"),
        ("u:hunter2@", vec![(&[5, 2, 0, 2], &[5, 2]), (login, &[1, 1])], "refused the user name"),
    ] {
        let address = proxy(turns).await;
        let transport = through(&format!("socks5://{user}{address}"));
        let error = send(&transport, far("model.invalid")).await.expect_err(says);
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Proxy, Delivery::NotSent), "{error}");
        let message = error.message();
        assert!(message.contains(says) && message.contains(&format!("{address}")), "{message}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let silent = listen(|_, mut socket| async move { until_closed(&mut socket).await }).await;
    let error =
        send(&through(&format!("socks5://{silent}")), far("model.invalid")).await.expect_err("silent");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent), "{error}");
}
