//! A proxy that does harm, between this transport and a real server: wherever a connection is cut, reset, swallowed or torn into
//! pieces, an exchange ends in the whole body or in an error, what the error says of the delivery agrees with what the server
//! got, nothing is sent twice that must not be, and the transport serves on.
//!
//! Where the harm is done is drawn from a seed, which a failure names. `LOQUAT_RELAY_SEEDS=2000` asks for more than a test that
//! runs often should take. The limits in time only decide how many exchanges end well, and no check asks for that.

#[path = "../support/mod.rs"]
mod support;

mod harm;

use std::{
    collections::HashMap,
    net::SocketAddr,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use harm::{Harm, Relay, Way};
use loquat_core::{Context, Delivery};
use loquat_transport::{Config, Http2Mode, Request, Transport};
use support::{LONG, eventually, listen, read_request, text, with, write};

/// Exchanges of a seed, a few at a time.
const ROUNDS: usize = 3;
const AT_ONCE: usize = 4;
/// Long enough for most that come to no harm; the others are given up.
const PATIENCE: Duration = Duration::from_millis(150);

/// How often the server got each request whole.
type Seen = Arc<Mutex<HashMap<String, usize>>>;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, range: Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start + (mixed ^ (mixed >> 31)) % (range.end - range.start)
    }

    fn bytes(&mut self, range: Range<u64>) -> usize {
        usize::try_from(self.below(range)).expect("few")
    }

    /// A request is some two hundred bytes with its frames, an answer some two thousand.
    fn harm(&mut self) -> Harm {
        let (way, most) = match self.below(0..2) {
            0 => (Way::ToServer, 1_200),
            _ => (Way::ToClient, 8_000),
        };
        let after = self.bytes(0..most);
        match self.below(0..10) {
            0..=2 => Harm::Cut { way, after, reset: self.below(0..2) == 0 },
            3 | 4 => Harm::CutAnswer { number: self.bytes(1..4), reset: self.below(0..2) == 0 },
            5 | 6 => Harm::Swallow { way, after },
            7 | 8 => Harm::Pieces(self.bytes(1..40)),
            _ => Harm::None,
        }
    }
}

/// What the answer to that request is.
fn answer(id: &str) -> String {
    format!("{id};").repeat(150)
}

async fn http1(seen: Seen) -> SocketAddr {
    listen(move |_, mut socket| {
        let seen = Arc::clone(&seen);
        async move {
            while let Some(request) = read_request(&mut socket).await {
                let id = request.split_once("\r\n\r\n").expect("a head").1;
                *seen.lock().expect("no panic").entry(id.to_owned()).or_default() += 1;
                write(&mut socket, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                for piece in answer(id).as_bytes().chunks(400) {
                    let piece = std::str::from_utf8(piece).expect("ASCII");
                    write(&mut socket, format!("{:x}\r\n{piece}\r\n", piece.len())).await;
                }
                write(&mut socket, "0\r\n\r\n").await;
            }
        }
    })
    .await
}

async fn http2(seen: Seen) -> SocketAddr {
    listen(move |_, socket| {
        let seen = Arc::clone(&seen);
        async move {
            let Ok(mut connection) = h2::server::handshake(socket).await else { return };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let (mut body, mut id) = (request.into_body(), String::new());
                    while let Some(piece) = body.data().await {
                        let Ok(piece) = piece else { return };
                        let _ = body.flow_control().release_capacity(piece.len());
                        id.push_str(std::str::from_utf8(&piece).expect("ASCII"));
                    }
                    *seen.lock().expect("no panic").entry(id.clone()).or_default() += 1;
                    let Ok(mut stream) = respond.send_response(http::Response::new(()), false) else {
                        return;
                    };
                    for piece in answer(&id).as_bytes().chunks(400) {
                        let _ = stream.send_data(Bytes::copy_from_slice(piece), false);
                    }
                    let _ = stream.send_data(Bytes::new(), true);
                });
            }
        }
    })
    .await
}

/// What an exchange came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End {
    Whole,
    Failed(Delivery),
    /// A head, and then its caller waited no longer.
    GivenUp,
}

async fn exchange(transport: &Transport, request: Request, id: &str) -> End {
    let response = match transport.send(&Context::new(), request).await {
        Ok(response) => response,
        Err(error) => return End::Failed(error.delivery()),
    };
    match tokio::time::timeout(PATIENCE, response.body.collect(1 << 20)).await {
        Err(_) => End::GivenUp,
        Ok(Err(error)) => End::Failed(error.delivery()),
        Ok(Ok(body)) => {
            assert!(body == answer(id), "{} bytes pass for the whole", body.len());
            End::Whole
        }
    }
}

/// All exchanges of one seed; how each ended.
async fn run(mode: Http2Mode, seed: u64) -> Vec<End> {
    let mut random = Random(seed);
    let seen = Seen::default();
    let server = match mode {
        Http2Mode::PriorKnowledge => http2(Arc::clone(&seen)).await,
        _ => http1(Arc::clone(&seen)).await,
    };
    let relay = Relay::new(server, (0..8).map(|_| random.harm()).collect()).await;
    let transport = with(Config::default().with_http2(mode));
    let post = |id: &str| Request::post(format!("http://{}/", relay.address), id.to_owned()).expect("valid");
    let mut ends = Vec::new();
    for round in 0..ROUNDS {
        let asked: Vec<_> = (0..AT_ONCE)
            .map(|number| {
                let (id, replayable) = (format!("{seed}-{round}-{number}"), random.below(0..2) == 0);
                let request = post(&id).with_first_byte(PATIENCE).with_replayable(replayable);
                let (transport, to) = (transport.clone(), id.clone());
                let asked = tokio::spawn(async move { exchange(&transport, request, &to).await });
                (id, replayable, asked)
            })
            .collect();
        for (id, replayable, asked) in asked {
            let end = asked.await.unwrap_or_else(|error| panic!("{mode:?}, seed {seed}, {id}: {error}"));
            let got = seen.lock().expect("no panic").get(&id).copied().unwrap_or(0);
            let most = if replayable { 2 } else { 1 };
            let is_true = match end {
                End::Failed(Delivery::NotSent) => got == 0,
                End::Failed(Delivery::MaybeSent) => got <= most,
                End::Whole | End::GivenUp | End::Failed(Delivery::Committed) => (1..=most).contains(&got),
            };
            assert!(is_true, "{mode:?}, seed {seed}, {id}: {end:?}, and the server got it {got} times");
            ends.push(end);
        }
    }
    relay.heal();
    eventually("what was harmed is gone", || relay.open() == 0).await;
    // It may go out twice: whether the end of a connection that rests is known by now is for the runtime to say.
    let well = post("well").with_replayable(true);
    let served = tokio::time::timeout(LONG, transport.send(&Context::new(), well)).await;
    let served = served.expect("in time").unwrap_or_else(|error| panic!("{mode:?}, seed {seed}: {error}"));
    assert_eq!(text(served).await.expect("whole"), answer("well"), "{mode:?}, seed {seed}");
    drop(transport);
    eventually("no connection is left", || relay.open() == 0).await;
    ends
}

async fn many(mode: Http2Mode) {
    let set = std::env::var("LOQUAT_RELAY_SEEDS").ok();
    let seeds: u64 = set.map_or(60, |text| text.parse().expect("a number in LOQUAT_RELAY_SEEDS"));
    let mut ends: HashMap<End, usize> = HashMap::new();
    for first in (0..seeds).step_by(10) {
        let some: Vec<_> = (first..seeds.min(first + 10)).map(|seed| tokio::spawn(run(mode, seed))).collect();
        for seed in some {
            for end in seed.await.expect("the seed above") {
                *ends.entry(end).or_default() += 1;
            }
        }
    }
    // Harm that is done nowhere shows nothing.
    for end in [End::Whole, End::Failed(Delivery::MaybeSent), End::Failed(Delivery::Committed), End::GivenUp]
    {
        assert!(ends.contains_key(&end), "{ends:?}");
    }
}

#[tokio::test]
async fn over_http1_no_harm_makes_an_exchange_say_what_is_not_so() {
    many(Http2Mode::Never).await;
}

#[tokio::test]
async fn over_http2_no_harm_makes_an_exchange_say_what_is_not_so() {
    many(Http2Mode::PriorKnowledge).await;
}
