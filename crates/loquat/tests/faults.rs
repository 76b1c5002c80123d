//! The faults that the whole client answers for, one row each, against real sockets: what a peer does, how often it is asked,
//! and what the caller is told. The numbers, 1 to 20, are shared with the transport; those that end in the transport are the
//! rows of `loquat-transport/tests/faults.rs`, and `all_twenty_have_a_row` looks after the rest. Lower bounds on time only: the
//! machine may be busy.
#![cfg(feature = "client")]

use std::{
    collections::BTreeSet,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use loquat::{
    Client, Context, Ending, Error, ErrorKind, Response,
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
const LONG: Duration = Duration::from_secs(120);
const EVENT: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn event(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

/// What the peer does with a request it has read.
#[derive(Debug, Clone)]
enum Do {
    Answer,
    Refuse(&'static str),
    Reset,
    Hang,
    /// A head, these pieces with a pause between them, and then the end of the connection.
    Pieces(Vec<Vec<u8>>),
    /// A head, those pieces, and then silence on a connection that stays open.
    Silence(Vec<Vec<u8>>),
    /// A head, and pings for ever after that text.
    Pings(String),
}

type Run = fn() -> Pin<Box<dyn Future<Output = ()> + Send>>;

struct Row {
    fault: u8,
    inject: &'static str,
    must: &'static str,
    run: Run,
}

const ROWS: &[Row] = &[
    Row {
        fault: 2,
        inject: "RST after the bytes of a POST without a key",
        must: "an error that says MaybeSent; asked once",
        run: || Box::pin(reset_without_a_key()),
    },
    Row {
        fault: 3,
        inject: "the same with an Idempotency-Key, where that counts",
        must: "one retry with the same key, paid for from the budget",
        run: || Box::pin(reset_with_a_key()),
    },
    Row {
        fault: 4,
        inject: "503 with a Retry-After that fits, and one that does not",
        must: "waited for, or failed now with the hint",
        run: || Box::pin(retry_after()),
    },
    Row {
        fault: 5,
        inject: "Retry-After as a date, negative, a billion seconds, garbage",
        must: "understood or ignored",
        run: || Box::pin(strange_retry_after()),
    },
    Row {
        fault: 6,
        inject: "nothing but 503",
        must: "a fifth more requests, and no more",
        run: || Box::pin(storm()),
    },
    Row {
        fault: 9,
        inject: "a head, then silence",
        must: "the first token's limit",
        run: || Box::pin(silence_after_the_head()),
    },
    Row {
        fault: 10,
        inject: "pings and nothing else, before a token and after one",
        must: "the limit that counts tokens",
        run: || Box::pin(pings_only()),
    },
    Row {
        fault: 11,
        inject: "events byte by byte, characters cut in the middle",
        must: "the same answer",
        run: || Box::pin(dripped()),
    },
    Row {
        fault: 12,
        inject: "the end of the connection without a finish",
        must: "truncated, and what came is kept",
        run: || Box::pin(cut()),
    },
    Row {
        fault: 13,
        inject: "[DONE], and no end of the body",
        must: "finished, without waiting for it",
        run: || Box::pin(no_end()),
    },
    Row {
        fault: 20,
        inject: "three timeouts, then a probe that is cancelled",
        must: "left alone, then probed again, then well",
        run: || Box::pin(breaker()),
    },
];

#[tokio::test]
async fn every_fault_ends_as_it_must() {
    let mut failed = Vec::new();
    for row in ROWS {
        let ran = tokio::time::timeout(LONG, tokio::spawn((row.run)())).await;
        if !matches!(ran, Ok(Ok(()))) {
            failed.push(format!("fault {}: {}: must be {}: {ran:?}", row.fault, row.inject, row.must));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn all_twenty_have_a_row() {
    let transports = include_str!("../../loquat-transport/tests/faults.rs");
    let number = |line: &str| line.trim().strip_prefix("fault: ")?.trim_end_matches(',').parse().ok();
    let rows: BTreeSet<u8> =
        transports.lines().filter_map(number).chain(ROWS.iter().map(|row| row.fault)).collect();
    assert_eq!(rows, (1..=20).collect());
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

    /// Whose limits nobody comes near.
    fn client(&self, schedule: impl Into<Option<Schedule>>) -> Client {
        self.limited(schedule, patient())
    }

    fn limited(&self, schedule: impl Into<Option<Schedule>>, limits: GenerationLimits) -> Client {
        let builder = Client::builder().base_url(format!("http://{}/v1", self.address)).limits(limits);
        builder.schedule(schedule).build().expect("a client")
    }
}

fn patient() -> GenerationLimits {
    GenerationLimits::default().with_first_token(LONG).with_idle(LONG).with_after_finish(LONG)
}

async fn serve(mut socket: TcpStream, script: &[Do], heads: &Mutex<Vec<String>>) {
    let Some(head) = read(&mut socket).await else { return };
    let step = {
        let mut heads = heads.lock().expect("no panic");
        heads.push(head.to_ascii_lowercase());
        script[(heads.len() - 1).min(script.len() - 1)].clone()
    };
    let close = "connection: close\r\n";
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{close}\r\n");
    match step {
        Do::Answer => drop(socket.write_all((head + EVENT + DONE).as_bytes()).await),
        Do::Pieces(pieces) => drop(write(&mut socket, &head, &pieces).await),
        Do::Silence(pieces) => {
            drop(write(&mut socket, &head, &pieces).await);
            drop(socket.read(&mut [0]).await);
        }
        Do::Pings(text) => {
            let mut sent = socket.write_all((head + &text).as_bytes()).await;
            while sent.is_ok() {
                tokio::time::sleep(MS(1)).await;
                sent = socket.write_all(b": ping\n\n").await;
            }
        }
        Do::Refuse(headers) => {
            let response = format!("HTTP/1.1 503 Busy\r\n{headers}content-length: 0\r\n{close}\r\n");
            drop(socket.write_all(response.as_bytes()).await);
        }
        Do::Reset => socket.set_zero_linger().expect("a socket"),
        Do::Hang => drop(socket.read(&mut [0]).await),
    }
}

/// The pieces in segments of their own.
async fn write(socket: &mut TcpStream, head: &str, pieces: &[Vec<u8>]) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    socket.write_all(head.as_bytes()).await?;
    for piece in pieces {
        socket.write_all(piece).await?;
        tokio::time::sleep(MS(1)).await;
    }
    Ok(())
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

/// What a caller who reads the stream gets: the text, and how it ended.
async fn stream(step: Do, limits: GenerationLimits) -> (String, Option<Ending>) {
    let peer = Peer::start(vec![step]).await;
    let client = peer.limited(Schedule::default().with_retry(None), limits);
    // Longer than any limit, so that it is not what ends a row.
    let context = Context::new().with_timeout(4 * LONG);
    let mut answer = client.chat("m").user("hi").context(context).stream().await.expect("a head");
    let mut text = String::new();
    while let Some(delta) = answer.next().await {
        text.push_str(delta.text().unwrap_or_default());
    }
    (text, answer.ending().cloned())
}

async fn reset_without_a_key() {
    let (lost, peer, _) = once(vec![Do::Reset, Do::Answer], Schedule::default()).await;
    let lost = lost.expect_err("not repeated");
    assert_eq!((lost.kind(), lost.delivery(), peer.asked()), (ErrorKind::Connection, Delivery::MaybeSent, 1));
    assert_eq!(peer.keys(), [None]);
}

async fn reset_with_a_key() {
    let retry = RetryPolicy::default().with_bases(MS(10), MS(10)).with_deduplication();
    let by = |budget| Schedule::default().with_retry(retry).with_budget(budget);
    let (whole, peer, _) = once(vec![Do::Reset, Do::Answer], by(BudgetPolicy::default())).await;
    assert_eq!(whole.expect("repeated").text(), "hi");
    let keys = peer.keys();
    assert!(keys.len() == 2 && keys[0].is_some() && keys[0] == keys[1], "one retry: {keys:?}");

    let (lost, peer, _) = once(vec![Do::Reset, Do::Answer], by(BudgetPolicy::new(0, 0))).await;
    assert!(lost.expect_err("unpaid").message().contains("budget is spent"));
    assert_eq!(peer.asked(), 1);

    // One request earns one retry: the first is paid for, and leaves nothing for a second.
    let (lost, peer, _) = once(vec![Do::Reset, Do::Reset, Do::Answer], by(BudgetPolicy::new(100, 0))).await;
    let lost = lost.expect_err("unpaid");
    assert!(
        lost.message().contains("after 2 attempts") && lost.message().contains("budget is spent"),
        "{lost}"
    );
    assert_eq!(peer.asked(), 2);
}

/// A refusal with those fields, then an answer: asked again, and not before that time.
async fn waited_for(headers: &'static str, at_least: u64) {
    let (whole, peer, took) = once(vec![Do::Refuse(headers), Do::Answer], Schedule::default()).await;
    assert_eq!((whole.expect("asked again").text().as_str(), peer.asked()), ("hi", 2), "{headers}");
    assert!(took >= MS(at_least), "{headers} {took:?}");
}

/// A refusal with those fields: told at once, with its hint.
async fn not_waited_for(headers: &'static str, hint: Option<Duration>) {
    let (refused, peer, _) = once(vec![Do::Refuse(headers)], Schedule::default()).await;
    let refused = refused.expect_err("not waited for");
    assert_eq!((refused.kind(), refused.retry_hint().after), (ErrorKind::Overloaded, hint));
    assert!(refused.message().contains("not tried again"), "{refused}");
    assert_eq!(peer.asked(), 1, "{headers}");
}

async fn retry_after() {
    waited_for("retry-after: 1\r\n", 1000).await;
    waited_for("retry-after-ms: 300\r\n", 300).await;
    not_waited_for("retry-after: 19\r\n", Some(Duration::from_secs(19))).await;
    not_waited_for("x-should-retry: false\r\n", None).await;
    let peer = Peer::start(vec![Do::Refuse("")]).await;
    ask(&peer.client(None), Duration::from_secs(20)).await.expect_err("one attempt");
    assert_eq!(peer.asked(), 1, "switched off");
}

async fn strange_retry_after() {
    // By the peer's clock, not by ours.
    let in_a_second = "date: Sat, 28 Nov 2026 10:00:00 GMT\r\nretry-after: Sat, 28 Nov 2026 10:00:01 GMT\r\n";
    let in_a_year = "date: Sat, 28 Nov 2026 10:00:00 GMT\r\nretry-after: Sun, 28 Nov 2027 10:00:00 GMT\r\n";
    waited_for(in_a_second, 1000).await;
    not_waited_for(in_a_year, Some(Duration::from_secs(365 * 24 * 3600))).await;
    not_waited_for("retry-after: 1000000000\r\n", Some(Duration::from_secs(1_000_000_000))).await;
    for ignored in ["retry-after: -3\r\n", "retry-after: soon\r\n", "retry-after: \r\n", ""] {
        waited_for(ignored, 0).await;
    }
}

async fn storm() {
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

fn is_timeout(error: &Error, limit: &str) -> bool {
    error.kind() == ErrorKind::Timeout && error.message().contains(limit)
}

async fn silence_after_the_head() {
    let (text, ending) = stream(Do::Silence(Vec::new()), patient().with_first_token(MS(700))).await;
    assert!(matches!(&ending, Some(Ending::Failed(error)) if is_timeout(error, "first-token")), "{ending:?}");
    assert_eq!(text, "");
}

async fn pings_only() {
    let (text, ending) = stream(Do::Pings(String::new()), patient().with_first_token(MS(700))).await;
    assert!(matches!(&ending, Some(Ending::Failed(error)) if is_timeout(error, "first-token")), "{ending:?}");
    assert_eq!(text, "");
    let (text, ending) = stream(Do::Pings(event("lo")), patient().with_idle(MS(700))).await;
    let cut = |ending: &Option<Ending>| matches!(ending, Some(Ending::Truncated { cause: Some(error) }) if is_timeout(error, "idle"));
    assert!(cut(&ending), "{ending:?}");
    assert_eq!(text, "lo");
}

async fn dripped() {
    let whole = event("枇杷 é ") + &event("\\ud83c\\udf4a 🍊") + EVENT + DONE;
    let at_once = stream(Do::Pieces(vec![whole.clone().into_bytes()]), patient()).await;
    let bytes = whole.into_bytes().chunks(1).map(<[u8]>::to_vec).collect();
    let (text, ending) = stream(Do::Pieces(bytes), patient()).await;
    assert_eq!(text, "枇杷 é 🍊 🍊hi");
    assert!(matches!(ending, Some(Ending::Finished { .. })), "{ending:?}");
    assert_eq!(format!("{at_once:?}"), format!("{:?}", (text, ending)));
}

async fn cut() {
    let (text, ending) =
        stream(Do::Pieces(vec![event("lo").into_bytes(), event("quat").into_bytes()]), patient()).await;
    assert!(matches!(ending, Some(Ending::Truncated { .. })), "{ending:?}");
    assert_eq!(text, "loquat");
    let (text, ending) = stream(Do::Pieces(Vec::new()), patient()).await;
    assert!(matches!(ending, Some(Ending::Failed(_))), "nothing came: {ending:?}");
    assert_eq!(text, "");
}

async fn no_end() {
    let (text, ending) = stream(Do::Silence(vec![(EVENT.to_owned() + DONE).into_bytes()]), patient()).await;
    assert!(matches!(ending, Some(Ending::Finished { .. })), "{ending:?}");
    assert_eq!(text, "hi");
}

async fn breaker() {
    let peer = Peer::start(vec![Do::Hang, Do::Hang, Do::Hang, Do::Hang, Do::Answer]).await;
    let breaker = BreakerPolicy::default().with_ejection(MS(300), MS(300));
    let impatient = patient().with_first_token(MS(700)).with_total(MS(700));
    let client = peer.limited(Schedule::default().with_retry(None).with_breaker(breaker), impatient);
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
