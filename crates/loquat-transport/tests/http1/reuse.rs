//! Which connection a request goes over: one that rests, one that was warmed, one made anew; and how many there are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use loquat_core::{Context, Delivery, ErrorKind};
use loquat_transport::{Config, PoolConfig};

use crate::support::{
    eventually, get, listen, post, read_request,
    script::{Step, play, say},
    send, spawn_text, text, transport, with, write,
};

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
        assert_eq!(transport.stats().waits, 0, "a connection of its own is nothing to wait for");
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

/// The first try may have been taken: that the second met nobody takes nothing of that back.
#[tokio::test]
async fn a_replay_that_reaches_nobody_does_not_say_that_nothing_was_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("accept");
        drop(listener);
        read_request(&mut socket).await.expect("the first");
        write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        read_request(&mut socket).await.expect("taken, and then it dies");
    });
    let transport = transport();
    text(send(&transport, post(address)).await.expect("first")).await.expect("body");
    let error = send(&transport, post(address).with_replayable(true)).await.expect_err("nobody is left");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connect, Delivery::MaybeSent));
    assert!(!error.is_retryable(), "{error}");
    assert_eq!(transport.stats().replaced, 1);
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
async fn a_connection_that_has_died_is_none_that_is_warm() {
    let peer = play(vec![vec![], vec![Step::Hold]]).await;
    let transport = transport();
    let (context, url) = (Context::new(), post(peer.address).url);
    assert_eq!(transport.warm(&context, &url, 1).await.expect("warmed"), 1);
    eventually("the server's close arrives", || peer.done() == 1).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(transport.warm(&context, &url, 1).await.expect("warmed again"), 1);
    assert_eq!(transport.warm(&context, &url, 1).await.expect("warm already"), 0);
    assert_eq!(transport.stats().http1_opened, 2);
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
