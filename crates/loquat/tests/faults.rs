//! Faults that the scheduler answers for, against real sockets and through the whole client: what a peer does, and
//! how often it is asked. Lower bounds on time only: the machine may be busy.
#![cfg(feature = "client")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use loquat::{
    Client, Context, Error, ErrorKind, Response,
    client::GenerationLimits,
    core::Delivery,
    schedule::{
        Schedule,
        breaker::BreakerPolicy,
        refusal::BREAKER_OPEN,
        retry::{BudgetPolicy, RetryPolicy},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// What the peer does with a request it has read.
#[derive(Debug, Clone)]
enum Do {
    Answer,
    Refuse(&'static str),
    Reset,
    Hang,
}

/// A peer that does these in order, the last one for ever, one per connection. Keeps the heads it read.
struct Peer {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    async fn start(script: Vec<Do>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let kept = heads.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (script, kept) = (script.clone(), kept.clone());
                tokio::spawn(async move { serve(socket, &script, &kept).await });
            }
        });
        Self { address, heads }
    }

    fn asked(&self) -> usize {
        self.heads.lock().expect("no panic").len()
    }

    fn keys(&self) -> Vec<Option<String>> {
        let heads = self.heads.lock().expect("no panic");
        let key = |head: &String| {
            Some(head.lines().find_map(|line| line.strip_prefix("idempotency-key: "))?.to_owned())
        };
        heads.iter().map(key).collect()
    }

    fn client(&self, schedule: impl Into<Option<Schedule>>) -> Client {
        let limits = GenerationLimits::default().with_first_token(MS(700));
        let builder = Client::builder().base_url(format!("http://{}/v1", self.address)).limits(limits);
        builder.schedule(schedule).build().expect("a client")
    }
}

async fn serve(mut socket: TcpStream, script: &[Do], heads: &Mutex<Vec<String>>) {
    let Some(head) = read(&mut socket).await else { return };
    let step = {
        let mut heads = heads.lock().expect("no panic");
        heads.push(head.to_ascii_lowercase());
        script[(heads.len() - 1).min(script.len() - 1)].clone()
    };
    let close = "connection: close\r\n";
    match step {
        Do::Answer => {
            let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n";
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{close}\r\n");
            drop(socket.write_all((head + event + "data: [DONE]\n\n").as_bytes()).await);
        }
        Do::Refuse(headers) => {
            let response = format!("HTTP/1.1 503 Busy\r\n{headers}content-length: 0\r\n{close}\r\n");
            drop(socket.write_all(response.as_bytes()).await);
        }
        Do::Reset => socket.set_zero_linger().expect("a socket"),
        Do::Hang => drop(socket.read(&mut [0]).await),
    }
}

/// Reads a whole request, gives its head.
async fn read(socket: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
            if body.len() >= head.lines().find_map(length).unwrap_or(0) {
                return Some(head.to_owned());
            }
        }
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

async fn ask(client: &Client, timeout: Duration) -> Result<Response, Error> {
    client.chat("m").user("hi").context(Context::new().with_timeout(timeout)).send().await
}

/// Asks once by that schedule; gives the outcome, how often the peer was asked, and how long it took.
async fn once(script: Vec<Do>, schedule: Schedule) -> (Result<Response, Error>, Peer, Duration) {
    let peer = Peer::start(script).await;
    let started = Instant::now();
    let outcome = ask(&peer.client(schedule), Duration::from_secs(20)).await;
    (outcome, peer, started.elapsed())
}

#[tokio::test]
async fn a_reset_after_the_request_is_repeated_only_where_it_is_deduplicated() {
    let (lost, peer, _) = once(vec![Do::Reset, Do::Answer], Schedule::default()).await;
    let lost = lost.expect_err("not repeated");
    assert_eq!((lost.kind(), lost.delivery(), peer.asked()), (ErrorKind::Connection, Delivery::MaybeSent, 1));
    assert_eq!(peer.keys(), [None]);

    let retry = RetryPolicy::default().with_bases(MS(10), MS(10)).with_deduplication();
    let (whole, peer, _) = once(vec![Do::Reset, Do::Answer], Schedule::default().with_retry(retry)).await;
    assert_eq!(whole.expect("repeated").text(), "hi");
    let keys = peer.keys();
    assert!(keys.len() == 2 && keys[0].is_some() && keys[0] == keys[1], "{keys:?}");

    let broke = Schedule::default().with_retry(retry).with_budget(BudgetPolicy::new(0, 0));
    let (lost, peer, _) = once(vec![Do::Reset, Do::Answer], broke).await;
    assert!(lost.expect_err("unpaid").message().contains("budget is spent"));
    assert_eq!(peer.asked(), 1);
}

#[tokio::test]
async fn a_503_is_waited_for_as_it_says_or_fails_now() {
    for (headers, at_least) in [
        ("retry-after: 1\r\n", 1000),
        ("retry-after-ms: 300\r\n", 300),
        ("retry-after: -3\r\n", 0),
        ("retry-after: soon\r\n", 0),
        ("", 0),
    ] {
        let (whole, peer, took) = once(vec![Do::Refuse(headers), Do::Answer], Schedule::default()).await;
        assert_eq!((whole.expect("asked again").text().as_str(), peer.asked()), ("hi", 2), "{headers}");
        assert!(took >= MS(at_least), "{headers} {took:?}");
    }
    for (headers, hint) in [
        ("retry-after: 19\r\n", Some(Duration::from_secs(19))),
        ("retry-after: 1000000000\r\n", Some(Duration::from_secs(1_000_000_000))),
        ("x-should-retry: false\r\n", None),
    ] {
        let (refused, peer, _) = once(vec![Do::Refuse(headers)], Schedule::default()).await;
        let refused = refused.expect_err("not waited for");
        assert_eq!((refused.kind(), refused.retry_hint().after), (ErrorKind::Overloaded, hint));
        assert!(refused.message().contains("not tried again"), "{refused}");
        assert_eq!(peer.asked(), 1, "{headers}");
    }
    let peer = Peer::start(vec![Do::Refuse("")]).await;
    ask(&peer.client(None), Duration::from_secs(20)).await.expect_err("one attempt");
    assert_eq!(peer.asked(), 1, "switched off");
}

#[tokio::test]
async fn a_storm_of_503_adds_a_fifth() {
    let peer = Peer::start(vec![Do::Refuse("")]).await;
    let retry = RetryPolicy::default().with_bases(MS(1), MS(1));
    let schedule =
        Schedule::default().with_retry(retry).with_budget(BudgetPolicy::new(20, 0)).with_breaker(None);
    let client = peer.client(schedule);
    for _ in 0..50 {
        ask(&client, Duration::from_secs(60)).await.expect_err("busy");
    }
    assert!(peer.asked() > 50 && peer.asked() <= 60, "{}", peer.asked());
}

#[tokio::test]
async fn timeouts_open_the_breaker_and_a_cancelled_probe_is_given_back() {
    let peer = Peer::start(vec![Do::Hang, Do::Hang, Do::Hang, Do::Hang, Do::Answer]).await;
    let breaker = BreakerPolicy::default().with_ejection(MS(300), MS(300));
    let client = peer.client(Schedule::default().with_retry(None).with_breaker(breaker));
    for _ in 0..3 {
        let silent = ask(&client, Duration::from_secs(20)).await.expect_err("silent");
        assert_eq!(silent.kind(), ErrorKind::Timeout);
    }
    let refused = ask(&client, Duration::from_secs(20)).await.expect_err("open");
    assert_eq!((refused.code(), peer.asked()), (Some(BREAKER_OPEN), 3));
    tokio::time::sleep(MS(400)).await;
    let probe = ask(&client, Duration::from_secs(20));
    tokio::time::timeout(MS(200), probe).await.expect_err("cancelled while the peer is silent");
    // On a busy machine the probe may have been cancelled before it was on the wire: then the next meets the silence.
    let mut outcome = ask(&client, Duration::from_secs(20)).await;
    for _ in 0..20 {
        if outcome.is_err() {
            tokio::time::sleep(MS(400)).await;
            outcome = ask(&client, Duration::from_secs(20)).await;
        }
    }
    assert_eq!(outcome.expect("well again").text(), "hi");
}
