//! What is on the wire: requests as they are written, answers as they are read, and the bounds of both.

use loquat_core::{Delivery, ErrorKind};
use loquat_transport::{Config, DecompressLimits, HeadLimits, Protocol, Request};

use crate::support::{
    get, listen, post, read_request,
    script::{Step, play, say},
    send, text, transport, with, write,
};

/// What the server writes after each request, then whether it closes; and what the client must get.
struct Case {
    name: &'static str,
    answer: &'static str,
    close: bool,
    expect: Result<&'static str, (ErrorKind, Delivery)>,
}

#[tokio::test]
async fn bodies_arrive_however_they_are_framed_and_split() {
    let broken = |kind, delivery| Err((kind, delivery));
    use Delivery::{Committed, MaybeSent};
    use ErrorKind::{Connection, Protocol, TooLarge};
    let cases = [
        Case {
            name: "length",
            answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            close: false,
            expect: Ok("hello"),
        },
        Case { name: "no content", answer: "HTTP/1.1 204 No Content\r\n\r\n", close: false, expect: Ok("") },
        Case {
            name: "chunked",
            answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: v\r\n\r\n",
            close: false,
            expect: Ok("hello"),
        },
        Case {
            name: "until close",
            answer: "HTTP/1.1 200 OK\r\n\r\nhello",
            close: true,
            expect: Ok("hello"),
        },
        Case {
            name: "informational first",
            answer: "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            close: false,
            expect: Ok("hi"),
        },
        Case {
            name: "closed before the head",
            answer: "",
            close: true,
            expect: broken(Connection, MaybeSent),
        },
        Case {
            name: "closed in the head",
            answer: "HTTP/1.1 200 O",
            close: true,
            expect: broken(Connection, MaybeSent),
        },
        Case {
            name: "short body",
            answer: "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
            close: true,
            expect: broken(Connection, Committed),
        },
        Case {
            name: "short body of an error",
            answer: "HTTP/1.1 500 Oh\r\nContent-Length: 50\r\n\r\nhello",
            close: true,
            expect: broken(Connection, MaybeSent),
        },
        Case {
            name: "chunked, cut",
            answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            close: true,
            expect: broken(Connection, Committed),
        },
        Case {
            name: "chunked, nonsense",
            answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
            close: false,
            expect: broken(Protocol, Committed),
        },
        Case {
            name: "not HTTP",
            answer: "SSH-2.0-OpenSSH_9\r\n\r\n",
            close: false,
            expect: broken(Protocol, MaybeSent),
        },
        Case {
            name: "two lengths",
            answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            close: false,
            expect: broken(Protocol, MaybeSent),
        },
        Case {
            name: "headers without end",
            answer: "HTTP/1.1 200 OK\r\nX: endless",
            close: false,
            expect: broken(TooLarge, MaybeSent),
        },
    ];
    for case in cases {
        for piece in [1, 7, usize::MAX] {
            let name = format!("{} in pieces of {piece}", case.name);
            let address = listen(move |_, mut socket| async move {
                while read_request(&mut socket).await.is_some() {
                    if case.answer.ends_with("endless") {
                        write(&mut socket, case.answer).await;
                        write(&mut socket, vec![b'x'; 100_000]).await;
                    } else {
                        for bytes in case.answer.as_bytes().chunks(piece) {
                            write(&mut socket, bytes).await;
                            tokio::task::yield_now().await;
                        }
                    }
                    if case.close {
                        return;
                    }
                }
            })
            .await;
            let transport = transport();
            let got = async { text(send(&transport, post(address)).await?).await }.await;
            match (&got, &case.expect) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{name}"),
                (Err(error), Err((kind, delivery))) => {
                    assert_eq!((error.kind(), error.delivery()), (*kind, *delivery), "{name}: {error:?}");
                    let message = error.to_string();
                    assert!(message.contains(&address.to_string()), "{name}: {message}");
                    assert!(message.contains("HTTP/1.1, fresh connection"), "{name}: {message}");
                }
                _ => panic!("{name}: {got:?}"),
            }
            if got.is_ok() && !case.close {
                let again = send(&transport, post(address)).await.expect(&name);
                assert!(again.connection.reused, "{name}");
                assert_eq!(transport.stats().http1_opened, 1, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn the_request_on_the_wire_is_what_was_asked() {
    let address = listen(|_, mut socket| async move {
        while let Some(request) = read_request(&mut socket).await {
            write(
                &mut socket,
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{request}", request.len()),
            )
            .await;
        }
    })
    .await;
    let transport = with(Config::default().with_decompress(DecompressLimits::disabled()));
    let mut request = post(address);
    request.headers.insert("x-key", "1".parse().expect("value"));
    request.headers.insert("content-length", "99".parse().expect("value"));
    request.headers.insert("transfer-encoding", "chunked".parse().expect("value"));
    let sent = text(send(&transport, request).await.expect("head")).await.expect("body");
    let (line, rest) = sent.split_once("\r\n").expect("a line");
    assert_eq!(line, "POST /v1/chat?x=1 HTTP/1.1");
    let (head, body) = rest.split_once("\r\n\r\n").expect("a head");
    let mut fields: Vec<_> = head.split("\r\n").map(str::to_lowercase).collect();
    fields.sort();
    assert_eq!(fields, ["content-length: 5".to_owned(), format!("host: {address}"), "x-key: 1".to_owned()]);
    assert_eq!(body, "hello");
    let empty = Request::post(format!("http://{address}/"), "").expect("valid");
    let sent = text(send(&transport, empty).await.expect("head")).await.expect("body");
    assert!(sent.to_lowercase().contains("content-length: 0\r\n"), "{sent}");
}

#[tokio::test]
async fn a_head_is_bounded_below_what_is_read_at_once_and_a_body_comes_whole_in_any_pieces() {
    const BODY: usize = 300_000;
    let address = listen(|_, mut socket| async move {
        while let Some(request) = read_request(&mut socket).await {
            let field = if request.starts_with("GET") { "x".repeat(70_000) } else { "x".repeat(7_000) };
            write(&mut socket, format!("HTTP/1.1 200 OK\r\nA: {field}\r\nContent-Length: {BODY}\r\n\r\n"))
                .await;
            write(
                &mut socket,
                (0..BODY).map(|at| b'a' + u8::try_from(at % 23).expect("small")).collect::<Vec<_>>(),
            )
            .await;
        }
    })
    .await;
    for read_bytes in [0, 20_000, 256 * 1024] {
        let transport = with(Config::default().with_head(HeadLimits::default().with_read_bytes(read_bytes)));
        let error = send(&transport, get(address)).await.expect_err("a head of 70 KB");
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
        let body =
            send(&transport, post(address)).await.expect("head").body.collect(BODY).await.expect("whole");
        assert_eq!(body.len(), BODY);
        assert!(body.iter().enumerate().all(|(at, byte)| usize::from(byte - b'a') == at % 23));
    }
}

#[tokio::test]
async fn too_many_header_fields_and_too_large_a_body_are_bounded_errors() {
    let address = listen(|_, mut socket| async move {
        while let Some(request) = read_request(&mut socket).await {
            let fields = if request.starts_with("GET") { "A: b\r\n".repeat(101) } else { String::new() };
            write(&mut socket, format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2000\r\n\r\n")).await;
            write(&mut socket, vec![b'x'; 2000]).await;
        }
    })
    .await;
    let transport = with(Config::default().with_head(HeadLimits::default()));
    let error = send(&transport, get(address)).await.expect_err("more than a hundred fields");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
    let response = send(&transport, post(address)).await.expect("head");
    assert_eq!(response.connection.protocol, Protocol::Http1);
    let error = response.body.collect(1999).await.expect_err("one byte too many");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::TooLarge, Delivery::Committed));
    let response = send(&transport, post(address)).await.expect("head");
    assert_eq!(response.body.collect(2000).await.expect("fits").len(), 2000);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_is_asked_for_its_target() {
    let target = play(vec![vec![Step::Request, Step::Hold]]).await;
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let location = format!("location: http://{}/elsewhere\r\n", target.address);
        let script =
            vec![Step::Request, say(&format!("HTTP/1.1 {status}\r\n{location}content-length: 2\r\n\r\nhi"))];
        let mut request = post(play(vec![script]).await.address);
        request.headers.insert("authorization", "Bearer planted".parse().expect("valid"));
        let response = send(&transport(), request).await.expect("an answer");
        assert!(status.starts_with(response.status.as_str()), "{status}: {}", response.status);
        assert!(response.headers.contains_key("location"));
        assert_eq!(text(response).await.expect("its body"), "hi");
    }
    assert_eq!(target.connections(), 0);
}
