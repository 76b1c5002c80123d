//! HTTP/1.1 against servers that behave, and servers that do not.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use loquat_core::{Context, Delivery, ErrorKind};
use loquat_transport::{Config, DecompressLimits, HeadLimits, PoolConfig, Protocol, Request};
use support::{
    LONG, eventually, get, listen, post, read_request,
    script::{Step, play, say},
    send, spawn_text, text, transport, until_closed, with, write,
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
async fn a_connection_closed_while_idle_is_replaced_silently() {
    let address = listen(|_, mut socket| async move {
        read_request(&mut socket).await;
        write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    })
    .await;
    let transport = transport();
    for round in 0..5 {
        let response = send(&transport, post(address)).await.expect("replaced");
        assert!(!response.connection.reused);
        assert_eq!(text(response).await.expect("body"), "hi");
        assert_eq!(transport.stats().http1_opened, round + 1);
        eventually("the server's close arrives", || transport.stats().http1_open <= 1).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_reused_connection_that_dies_on_the_request_is_retried_only_where_that_is_safe() {
    let taken = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&taken);
    let address = listen(move |number, mut socket| {
        let taken = Arc::clone(&taken);
        async move {
            for round in 0.. {
                if read_request(&mut socket).await.is_none() {
                    return;
                }
                taken.fetch_add(1, SeqCst);
                if number == 0 && round == 1 {
                    return; // takes the second request and dies
                }
                write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            }
        }
    })
    .await;
    for (replayable, opened) in [(true, 2), (false, 1)] {
        seen.store(0, SeqCst);
        let address = if replayable {
            address
        } else {
            listen(move |_, mut socket| async move {
                for round in 0.. {
                    if read_request(&mut socket).await.is_none() || round == 1 {
                        return;
                    }
                    write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
                }
            })
            .await
        };
        let transport = transport();
        text(send(&transport, post(address)).await.expect("first")).await.expect("body");
        let second = send(&transport, post(address).with_replayable(replayable)).await;
        assert_eq!(transport.stats().http1_opened, opened);
        assert_eq!(transport.stats().replaced, u64::from(replayable));
        if replayable {
            assert_eq!(text(second.expect("retried")).await.expect("body"), "hi");
            assert_eq!(seen.load(SeqCst), 3);
        } else {
            let error = second.expect_err("the peer may have run it");
            assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connection, Delivery::MaybeSent));
            assert!(error.message().contains("reused connection"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_old_idle_connection_carries_only_what_can_be_replayed() {
    let address = listen(|_, mut socket| async move {
        while read_request(&mut socket).await.is_some() {
            write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let pool = PoolConfig::default().with_reuse_within(Duration::from_millis(20));
    let transport = with(Config::default().with_pool(pool));
    drop(send(&transport, post(address)).await.expect("first"));
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(send(&transport, get(address)).await.expect("get").connection.reused);
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(!send(&transport, post(address)).await.expect("post").connection.reused);
    assert_eq!(transport.stats().http1_open, 2);
}

#[tokio::test]
async fn the_servers_keep_alive_and_the_idle_ceiling_are_obeyed() {
    let address = listen(|_, mut socket| async move {
        while let Some(request) = read_request(&mut socket).await {
            let promise = if request.starts_with("GET") { "Keep-Alive: timeout=0\r\n" } else { "" };
            write(&mut socket, format!("HTTP/1.1 200 OK\r\n{promise}Content-Length: 0\r\n\r\n")).await;
        }
    })
    .await;
    let transport = with(Config::default().with_pool(PoolConfig::default().with_max_idle_per_origin(1)));
    drop(send(&transport, get(address)).await.expect("get"));
    assert!(!send(&transport, get(address)).await.expect("again").connection.reused);
    drop(send(&transport, post(address)).await.expect("post"));
    assert!(send(&transport, post(address)).await.expect("again").connection.reused);
    let (one, two) = (spawn_text(&transport, post(address)), spawn_text(&transport, post(address)));
    one.await.expect("task").expect("one");
    two.await.expect("task").expect("two");
    assert_eq!(transport.stats().http1_open, 1, "one idle connection is kept");
}

#[tokio::test]
async fn dropping_the_body_closes_the_connection_at_once() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let address = listen(move |_, mut socket| {
        let closed = Arc::clone(&closed);
        async move {
            read_request(&mut socket).await;
            write(&mut socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n").await;
            until_closed(&mut socket).await;
            closed.fetch_add(1, SeqCst);
        }
    })
    .await;
    let transport = transport();
    let mut response = send(&transport, post(address)).await.expect("head");
    assert_eq!(response.body.chunk().await.expect("a chunk").expect("fine"), "hel");
    drop(response);
    eventually("the server sees the close", || count.load(SeqCst) == 1).await;
    assert_eq!(transport.stats().http1_open, 0);
}

#[tokio::test]
async fn finish_keeps_the_connection_when_the_end_is_near_and_closes_it_otherwise() {
    for (rest, delay, kept) in
        [("0\r\n\r\n", 0, true), ("5\r\nxxxxx\r\n0\r\n\r\n", 10, true), ("0\r\n\r\n", 300, false)]
    {
        let address = listen(move |_, mut socket| async move {
            while read_request(&mut socket).await.is_some() {
                write(&mut socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n[DONE]\r\n")
                    .await;
                tokio::time::sleep(Duration::from_millis(delay)).await;
                write(&mut socket, rest).await;
            }
        })
        .await;
        let transport = transport();
        let mut response = send(&transport, post(address)).await.expect("head");
        assert_eq!(response.body.chunk().await.expect("a chunk").expect("fine"), "[DONE]");
        response.body.finish();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(transport.stats().http1_open, usize::from(kept), "after {delay} ms");
        assert_eq!(send(&transport, post(address)).await.expect("next").connection.reused, kept);
    }
}

#[tokio::test]
async fn a_head_that_never_comes_ends_in_the_first_byte_limit() {
    let address = listen(|_, mut socket| async move { until_closed(&mut socket).await }).await;
    let begin = Instant::now();
    let request = post(address).with_first_byte(Duration::from_millis(100));
    let error = send(&transport(), request).await.expect_err("nothing comes");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::MaybeSent));
    assert!(error.message().contains("first_byte") && error.message().contains("response head"), "{error}");
    assert!(begin.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn an_upload_that_is_not_taken_is_still_sending_when_the_limit_comes() {
    let address = listen(|_, socket| async move {
        tokio::time::sleep(LONG).await;
        drop(socket);
    })
    .await;
    let request = post(address).with_body(vec![b'x'; 64 << 20]).with_first_byte(Duration::from_millis(200));
    let error = send(&transport(), request).await.expect_err("stuck");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::MaybeSent));
    assert!(error.message().contains("(sending to"), "{error}");
}

#[tokio::test]
async fn cancellation_and_deadline_end_the_wait_for_the_head() {
    let address = listen(|_, mut socket| async move { until_closed(&mut socket).await }).await;
    for cancel in [true, false] {
        let transport = transport();
        let begin = Instant::now();
        let mut context = Context::new();
        if cancel {
            let token = context.cancellation().clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                token.cancel();
            });
        } else {
            context = context.with_timeout(Duration::from_millis(50));
        }
        let error = transport.send(&context, post(address)).await.expect_err("nothing comes");
        let kind = if cancel { ErrorKind::Cancelled } else { ErrorKind::Timeout };
        assert_eq!((error.kind(), error.delivery()), (kind, Delivery::MaybeSent), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(2));
        eventually("the connection is closed", || transport.stats().http1_open == 0).await;
        let error = transport.send(&context, post(address)).await.expect_err("over");
        assert_eq!((error.kind(), error.delivery()), (kind, Delivery::NotSent), "{error}");
        assert_eq!(transport.stats().http1_opened, 1, "an ended context opens nothing");
    }
}

#[tokio::test]
async fn cancellation_wakes_whoever_waits_for_the_next_chunk() {
    let address = listen(|_, mut socket| async move {
        read_request(&mut socket).await;
        write(&mut socket, "HTTP/1.1 200 OK\r\n\r\nhello").await;
        until_closed(&mut socket).await;
    })
    .await;
    let (transport, context) = (transport(), Context::new());
    let mut response = transport.send(&context, post(address)).await.expect("head");
    assert_eq!(response.body.chunk().await.expect("a chunk").expect("fine"), "hello");
    let token = context.cancellation().clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        token.cancel();
    });
    let error = tokio::time::timeout(Duration::from_secs(2), response.body.chunk()).await.expect("woken");
    let error = error.expect("an error").expect_err("cancelled");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Cancelled, Delivery::Committed));
    assert!(response.body.chunk().await.is_none(), "nothing follows an error");
    assert_eq!(transport.stats().http1_open, 0);
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
async fn a_body_that_changes_hands_hears_its_cancellation() {
    let address = listen(|_, mut socket| async move {
        read_request(&mut socket).await;
        write(&mut socket, "HTTP/1.1 200 OK\r\n\r\nhello").await;
        until_closed(&mut socket).await;
    })
    .await;
    let (transport, context) = (transport(), Context::new());
    let mut body = transport.send(&context, post(address)).await.expect("head").body;
    assert_eq!(body.chunk().await.expect("a chunk").expect("fine"), "hello");
    // Two tasks wait for it one after the other; the second must be woken.
    for _ in 0..2 {
        let task = tokio::spawn(async move {
            let waited = tokio::time::timeout(Duration::from_millis(10), body.chunk()).await;
            assert!(waited.is_err(), "nothing has come");
            body
        });
        body = task.await.expect("no panic");
    }
    let last = tokio::spawn(async move { body.chunk().await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    context.cancellation().cancel();
    let error = tokio::time::timeout(LONG, last).await.expect("woken").expect("no panic").expect("an item");
    assert_eq!(error.expect_err("cancelled").kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_refused_connection_says_where_and_a_bound_on_connections_holds() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let error = send(&transport(), post(dead)).await.expect_err("refused");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connect, Delivery::NotSent));
    assert!(error.message().contains(&format!("tried {dead} (connection refused)")), "{error}");

    let open = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&open), Arc::clone(&most));
    let address = listen(move |_, mut socket| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            while read_request(&mut socket).await.is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
                write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            }
            now.fetch_sub(1, SeqCst);
        }
    })
    .await;
    let pool = PoolConfig::default().with_max_connections_per_origin(4);
    let transport = with(Config::default().with_pool(pool));
    let tasks: Vec<_> = (0..64).map(|_| spawn_text(&transport, post(address))).collect();
    for task in tasks {
        assert_eq!(task.await.expect("task").expect("answered"), "hi");
    }
    assert_eq!(most.load(SeqCst), 4);
    let stats = transport.stats();
    assert_eq!((stats.http1_opened, stats.reused), (4, 60));
    // Whoever waited did so for an answer that took five milliseconds.
    assert!(stats.waits > 0 && stats.waited >= Duration::from_millis(5), "{stats:?}");
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
async fn a_thousand_requests_over_eight_callers_open_eight_connections() {
    let address = listen(|_, mut socket| async move {
        while read_request(&mut socket).await.is_some() {
            write(&mut socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
                .await;
        }
    })
    .await;
    let transport = transport();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let transport = transport.clone();
            tokio::spawn(async move {
                for _ in 0..125 {
                    assert_eq!(
                        text(send(&transport, post(address)).await.expect("head")).await.expect("body"),
                        "hi"
                    );
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("caller");
    }
    let stats = transport.stats();
    assert!(stats.http1_opened <= 8, "{stats:?}");
    assert_eq!(stats.http1_opened + stats.reused, 1000, "{stats:?}");
}

#[tokio::test]
async fn warm_connections_are_there_for_the_first_requests() {
    let address = listen(|_, mut socket| async move {
        while read_request(&mut socket).await.is_some() {
            write(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
        }
    })
    .await;
    let transport = transport();
    let (context, url) = (Context::new(), post(address).url);
    assert_eq!(transport.warm(&context, &url, 3).await.expect("warmed"), 3);
    assert_eq!(transport.warm(&context, &url, 3).await.expect("warm already"), 0);
    let first = send(&transport, post(address)).await.expect("served");
    assert!(!first.connection.reused, "nothing has been asked of it before");
    assert_eq!(text(first).await.expect("body"), "hi");
    let stats = transport.stats();
    assert_eq!((stats.http1_opened, stats.http1_open, stats.reused), (3, 3, 1));
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    assert!(transport.warm(&context, &post(dead).url, 2).await.is_err());
}

#[tokio::test]
async fn connections_are_replaced_at_an_age_and_socket_options_do_no_harm() {
    let address = listen(|_, mut socket| async move {
        while read_request(&mut socket).await.is_some() {
            write(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
        }
    })
    .await;
    let mut tcp = loquat_transport::TcpConfig::default();
    tcp.quick_ack = true;
    let pool = PoolConfig::default().with_max_age(Some(Duration::from_millis(50)));
    let transport = with(Config::default().with_pool(pool).with_tcp(tcp));
    for _ in 0..2 {
        assert_eq!(text(send(&transport, post(address)).await.expect("served")).await.expect("body"), "hi");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(transport.stats().http1_opened, 2);
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

/// The server keeps the first connection for a second and a half, the second for ever; what was learnt from the first holds
/// for the second. Only how long something was idle at least matters, so a slow machine changes nothing.
#[tokio::test]
async fn a_server_that_closed_early_is_trusted_for_less() {
    let kept = Duration::from_millis(1500);
    let answer = || vec![Step::Request, say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")];
    let first = [answer(), vec![Step::Wait(kept)]].concat();
    let second = [answer(), answer(), vec![Step::Hold]].concat();
    let peer = play(vec![first, second]).await;
    let transport = transport();
    let ask = || async { send(&transport, get(peer.address)).await.expect("served") };
    let begin = Instant::now();
    assert_eq!(text(ask().await).await.expect("whole"), "hi");
    eventually("the first is closed", || peer.done() == 1).await;
    let response = ask().await;
    assert!(!response.connection.reused, "seen to be closed");
    assert_eq!(text(response).await.expect("whole"), "hi");
    tokio::time::sleep(begin.elapsed()).await;
    assert!(!ask().await.connection.reused, "idle for longer than the first was, and that was too long");
    assert_eq!(peer.connections(), 3);
}
