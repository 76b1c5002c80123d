//! What is held and given back over time: runtimes that come and go, callers that give up at any moment.

mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::server;
use loquat_core::{Context, Delivery, ErrorKind, Stage};
use loquat_transport::{Config, Http2Mode, Limits, PoolConfig, Transport, Url};
use support::{
    LONG, eventually, listen, post, read_request,
    script::{DATA, HEADERS, Step, frame, head, play, say},
    send, text, until_closed, with, write,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
};

/// A small generator (SplitMix64): what happens is random and repeatable.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// A server whose every step may be late, and which sometimes hangs up; on HTTP/2 it allows four streams.
async fn moody(http2: bool, seed: u64) -> SocketAddr {
    static DRAW: AtomicU64 = AtomicU64::new(0);
    let random = move || Random(seed ^ DRAW.fetch_add(1, Relaxed));
    listen(move |_, mut socket| async move {
        if !http2 {
            while read_request(&mut socket).await.is_some() {
                let mut random = random();
                if random.below(20) == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(random.below(4))).await;
                write(&mut socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
                tokio::time::sleep(Duration::from_millis(random.below(4))).await;
                write(&mut socket, "0\r\n\r\n").await;
            }
            return;
        }
        let Ok(mut connection) = server::Builder::new().max_concurrent_streams(4).handshake(socket).await
        else {
            return;
        };
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut random = random();
            match random.below(40) {
                0 => return,
                1 => connection.graceful_shutdown(),
                2 => {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                    continue;
                }
                _ => {}
            }
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(random.below(4))).await;
                let Ok(mut stream) = respond.send_response(http::Response::new(()), false) else { return };
                let _ = stream.send_data(Bytes::from_static(b"hi"), false);
                tokio::time::sleep(Duration::from_millis(random.below(4))).await;
                let _ = stream.send_data(Bytes::new(), true);
            });
        }
    })
    .await
}

/// One request, given up at a random point if at all. Whether it was read to its end.
async fn whim(transport: Transport, address: SocketAddr, mut random: Random) -> bool {
    let context = Context::new();
    let patience = Duration::from_millis(match random.below(3) {
        0 => random.below(8),
        _ => 10_000,
    });
    let work = async {
        let Ok(mut response) = transport.send(&context, post(address)).await else { return false };
        match random.below(4) {
            0 => return false, // dropped with the head
            1 => {
                let _ = response.body.chunk().await;
                response.body.finish();
                return false;
            }
            2 => context.cancellation().cancel(),
            _ => {}
        }
        response.body.collect(100).await.is_ok_and(|body| body == "hi")
    };
    tokio::time::timeout(patience, work).await.unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaks_whoever_gives_up_and_whenever() {
    for http2 in [false, true] {
        let seed = 20_261_123;
        let address = moody(http2, seed).await;
        let mode = if http2 { Http2Mode::PriorKnowledge } else { Http2Mode::Auto };
        let pool = PoolConfig::default().with_max_connections_per_origin(8);
        let transport = with(Config::default().with_http2(mode).with_pool(pool));
        let mut whole = 0;
        for round in 0..20 {
            let tasks: Vec<_> = (0..50)
                .map(|n| tokio::spawn(whim(transport.clone(), address, Random(seed + round * 1000 + n))))
                .collect();
            for task in tasks {
                whole += usize::from(task.await.expect("no panic"));
            }
        }
        assert!(whole > 80, "seed {seed}: only {whole} of 1000 were answered");
        let open = || transport.stats().http1_open + transport.stats().http2_open;
        assert!(open() <= 8, "seed {seed}: {:?}", transport.stats());
        // Had a place or a slot been lost, these would wait for it.
        let mut answered = 0;
        for _ in 0..200 {
            let sent = tokio::time::timeout(LONG, transport.send(&Context::new(), post(address))).await;
            if let Ok(response) =
                sent.unwrap_or_else(|_| panic!("seed {seed}: stuck {:?}", transport.stats()))
            {
                answered += usize::from(response.body.collect(10).await.is_ok());
            }
        }
        assert!(answered > 100, "seed {seed}: {answered} of 200");
        drop(transport);
    }
}

#[test]
fn the_state_of_a_request_is_small() {
    let (transport, context) = (support::transport(), Context::new());
    let sending = transport.send(&context, post(([127, 0, 0, 1], 1).into()));
    // It is moved a few times on its way into a task; what is only needed to make a connection is apart.
    let bytes = size_of_val(&sending);
    assert!(bytes <= 2500, "{bytes} bytes");
}

#[test]
fn a_transport_outlives_the_runtime_it_was_first_used_in() {
    let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    for http2 in [false, true] {
        let address = servers.block_on(async {
            listen(move |_, mut socket| async move {
                if !http2 {
                    while read_request(&mut socket).await.is_some() {
                        write(&mut socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
                    }
                    return;
                }
                let Ok(mut connection) = server::handshake(socket).await else { return };
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let mut stream = respond.send_response(http::Response::new(()), false).expect("open");
                    stream.send_data(Bytes::from_static(b"hi"), true).expect("open");
                }
            })
            .await
        });
        let mode = if http2 { Http2Mode::PriorKnowledge } else { Http2Mode::Auto };
        let transport = with(Config::default().with_http2(mode));
        let runtime = || -> Runtime { Builder::new_current_thread().enable_all().build().expect("runtime") };
        for _ in 0..3 {
            runtime().block_on(async {
                for _ in 0..2 {
                    assert_eq!(
                        text(send(&transport, post(address)).await.expect("head")).await.expect("body"),
                        "hi"
                    );
                }
            });
        }
        let stats = transport.stats();
        assert_eq!(stats.http1_opened + stats.http2_opened, 3, "{stats:?}");
        assert_eq!(stats.http1_open + stats.http2_open, usize::from(!http2), "{stats:?}");
    }
}

#[tokio::test]
async fn idle_connections_are_let_go_of_when_their_time_is_over() {
    let address = moody(false, 1).await;
    let pool = PoolConfig::default().with_idle_timeout(Duration::from_millis(30));
    let transport = with(Config::default().with_pool(pool));
    let mut reused = 0;
    for _ in 0..5 {
        if let Ok(response) = send(&transport, post(address)).await {
            reused += usize::from(response.connection.reused);
            let _ = response.body.collect(10).await;
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    assert_eq!(reused, 0);
    eventually("at most the last is open", || transport.stats().http1_open <= 1).await;
}

/// No task per request: on HTTP/1.1 none at all, on HTTP/2 one for each connection, however many streams it carries. The server
/// has a runtime of its own, so that what is counted is the client's.
#[test]
fn a_request_has_no_task_behind_it() {
    let (told, address) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let open = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n";
            let one = play(vec![vec![Step::Request, say(open), Step::Hold]]).await;
            let streams = (0..10_u32).map(|n| [head(2 * n + 1), frame(DATA, 0, 2 * n + 1, b"hi")].concat());
            let answers =
                [Step::Until(HEADERS, 10), Step::Write(streams.collect::<Vec<_>>().concat()), Step::Hold];
            let two = play(vec![[vec![Step::Preface(Some(10))], answers.to_vec()].concat()]).await;
            told.send((one, two.clone())).expect("listening");
            eventually("the client is gone", || two.done() == 1).await;
        });
    });
    let (one, two) = address.recv().expect("started");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (mode, peer, tasks) in [(Http2Mode::Never, one, 0), (Http2Mode::PriorKnowledge, two, 1)] {
        runtime.block_on(async {
            let transport = with(Config::default().with_http2(mode));
            let asked = (0..10).map(|_| async {
                let mut response = send(&transport, post(peer.address)).await.expect("head");
                assert_eq!(response.body.chunk().await.expect("some").expect("fine"), "hi");
                response
            });
            let open = all(asked.map(Box::pin).collect()).await;
            assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks, "{mode:?}");
            drop(open);
        });
    }
    drop(runtime);
    server.join().expect("no panic");
}

/// Whoever reads a body is polled when something has come, and not once more because it took that. Each chunk is written when
/// the one before has been taken.
#[tokio::test]
async fn a_chunk_is_one_turn_of_its_reader() {
    const CHUNKS: usize = 100;
    for http2 in [false, true] {
        let next = Arc::new(Notify::new());
        let first = match http2 {
            false => vec![Step::Request, say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")],
            true => vec![Step::Preface(Some(10)), Step::Until(HEADERS, 1), Step::Write(head(1))],
        };
        let chunk = if http2 { frame(DATA, 0, 1, b"hi") } else { b"2\r\nhi\r\n".to_vec() };
        let chunks = (0..CHUNKS).flat_map(|_| [Step::Gate(Arc::clone(&next)), Step::Write(chunk.clone())]);
        let peer = play(vec![first.into_iter().chain(chunks).chain([Step::Hold]).collect()]).await;
        let mode = if http2 { Http2Mode::PriorKnowledge } else { Http2Mode::Never };
        let transport = with(Config::default().with_http2(mode));
        let mut response = send(&transport, post(peer.address)).await.expect("head");
        let (took, mut taken) = tokio::sync::mpsc::unbounded_channel();
        let reader = tokio::spawn(async move {
            let mut polls = 0;
            let mut read = Box::pin(async {
                for _ in 0..CHUNKS {
                    assert_eq!(response.body.chunk().await.expect("some").expect("fine"), "hi");
                    took.send(()).expect("somebody counts");
                }
            });
            std::future::poll_fn(|cx| {
                polls += 1;
                read.as_mut().poll(cx)
            })
            .await;
            polls
        });
        for _ in 0..CHUNKS {
            next.notify_one();
            tokio::time::timeout(LONG, taken.recv()).await.expect("in time").expect("a chunk");
            // Whoever was woken for nothing has its turn before the next chunk is written.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        let polls: usize = reader.await.expect("no panic");
        assert!(polls < CHUNKS * 3 / 2, "{polls} turns for {CHUNKS} chunks, HTTP/2: {http2}");
    }
}

/// All of them at once, in this task.
async fn all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut done = Vec::new();
    std::future::poll_fn(|cx| {
        futures.retain_mut(|future| match std::pin::Pin::new(future).poll(cx) {
            Poll::Ready(output) => {
                done.push(output);
                false
            }
            Poll::Pending => true,
        });
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done
}

#[tokio::test]
async fn warming_keeps_within_the_bound_and_ends_with_its_context() {
    let address = listen(|_, mut socket| async move {
        if read_request(&mut socket).await.is_some() {
            write(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await;
        }
        until_closed(&mut socket).await; // and says nothing, not even in TLS
    })
    .await;
    let transport =
        with(Config::default().with_pool(PoolConfig::default().with_max_connections_per_origin(2)));
    let (context, url) = (Context::new(), post(address).url);
    let first = send(&transport, post(address)).await.expect("a head");
    assert_eq!(transport.warm(&context, &url, 2).await.expect("warmed"), 1, "one place is taken");
    let second = send(&transport, post(address)).await.expect("a head");
    assert_eq!(transport.warm(&context, &url, 2).await.expect("nothing"), 0, "both are");
    assert_eq!(transport.stats().http1_open, 2);
    drop((first, second));

    let url = Url::parse(&format!("https://{address}/")).expect("valid");
    let token = context.cancellation().clone();
    let begin = Instant::now();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        token.cancel();
    });
    let cancelled = transport.warm(&context, &url, 1).await.expect_err("cancelled in the handshake");
    assert_eq!((cancelled.kind(), cancelled.delivery()), (ErrorKind::Cancelled, Delivery::NotSent));
    assert!(begin.elapsed() < Duration::from_secs(5), "and not at the limit of ten");
    let late = Context::new().with_deadline(begin);
    assert_eq!(transport.warm(&late, &url, 0).await.expect_err("late").kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn the_wait_for_a_place_is_bounded_and_counted() {
    let address = listen(|_, mut socket| async move {
        if read_request(&mut socket).await.is_some() {
            write(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await;
        }
        until_closed(&mut socket).await;
    })
    .await;
    let millis = Duration::from_millis;
    let limits = Limits::default().with_connect(millis(100)).with_tls(millis(50));
    let pool = PoolConfig::default().with_max_connections_per_origin(1);
    let transport = with(Config::default().with_pool(pool).with_limits(limits));
    let held = send(&transport, post(address)).await.expect("a head");
    // Another may be connecting for it, which may take as long as connecting and TLS.
    let error = send(&transport, post(address)).await.expect_err("no place");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent));
    assert!(error.message().contains("0.15 s (connect + tls)"), "{error}");
    assert_eq!(error.history().expect("on its way").stage, Stage::Pool);
    let stats = transport.stats();
    assert!(stats.waits == 1 && stats.waited >= millis(150) && stats.http1_opened == 1, "{stats:?}");
    drop(held);
    assert!(send(&transport, post(address)).await.is_ok(), "whoever gave up holds no place");
}
