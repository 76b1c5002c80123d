//! A server of token streams: every stream gets one event of about 300 bytes every 20 ms, or as often as is said, all in one thread on one
//! core.
//!
//! A request for `/N/…` is answered by N events in the OpenAI chat format, a finish and `[DONE]`, and each event's text holds
//! when it was written. Streams begin when they are asked for, and fall into twenty slots of a millisecond each in turn, so
//! that 400 streams are 20 events every millisecond, and not 400 at once: as with a timer per stream in any server whose
//! clock ticks in milliseconds. HTTP/1.1 is written by hand, one `send` per event; HTTP/2 is the `h2` crate, which writes
//! each frame of more than 256 bytes by itself, and so each event, and is told to allow 100 streams on one connection.

use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use loquat_benches::{child, machine};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::{LocalSet, spawn_local},
    time::MissedTickBehavior,
};

/// What one slot of the wheel is.
const TICK: Duration = Duration::from_millis(1);
/// The slots of a wheel unless that is said: a stream's events are as many ticks apart.
const SLOTS: usize = 20;
/// The argument that says it.
const SLOTS_ARGUMENT: &str = "--slots";
/// What comes before the time in an event; no event has it twice.
pub const BEFORE_TIME: &[u8] = b"\"content\":\" t";
/// The time's digits: nanoseconds.
pub const TIME_DIGITS: usize = 16;
/// Streams on one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION: usize = 100;

/// A running server.
pub struct Server {
    pub process: child::Server,
    pub http1: SocketAddr,
    pub http2: SocketAddr,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(SLOTS)
    }

    /// One whose streams get an event every so many milliseconds.
    pub fn start_with(slots: usize) -> Self {
        let mut process = child::Server::start_with(&[SLOTS_ARGUMENT.to_owned(), slots.to_string()]);
        let (http1, http2) = (process.address(), process.address());
        Self { process, http1, http2 }
    }

    /// The CPU time it has used.
    pub fn cpu(&self) -> Duration {
        machine::cpu_of(self.process.pid())
    }
}

/// Where the next event of a stream goes.
enum Sink {
    Http1(Rc<TcpStream>),
    Http2(h2::SendStream<Bytes>),
}

struct Stream {
    sink: Sink,
    left: usize,
    /// Told when the last event is out. Dropped when the other side is gone.
    done: Option<oneshot::Sender<()>>,
}

/// The next slot, and the streams of each.
type Wheel = Rc<RefCell<(usize, Vec<Vec<Stream>>)>>;

/// Serves until standard input ends.
pub fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let (http1, http2) = (listen(), listen());
        child::announce(&[http1.local_addr().expect("bound"), http2.local_addr().expect("bound")]);
        let mut arguments = std::env::args().skip_while(|argument| argument != SLOTS_ARGUMENT);
        let slots = arguments.nth(1).map_or(SLOTS, |slots| slots.parse().expect("a number"));
        let wheel: Wheel = Rc::new(RefCell::new((0, (0..slots).map(|_| Vec::new()).collect())));
        let turning = Rc::clone(&wheel);
        spawn_local(turn(turning));
        let wheel2 = Rc::clone(&wheel);
        spawn_local(async move {
            loop {
                let (socket, _) = http2.accept().await.expect("accept");
                socket.set_nodelay(true).expect("nodelay");
                spawn_local(two(socket, Rc::clone(&wheel2)));
            }
        });
        loop {
            let (socket, _) = http1.accept().await.expect("accept");
            socket.set_nodelay(true).expect("nodelay");
            spawn_local(one(socket, Rc::clone(&wheel)));
        }
    });
}

fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bind");
    // Streams are opened all at once.
    socket.listen(4096).expect("listen")
}

/// Turns the wheel for ever.
async fn turn(wheel: Wheel) {
    let mut events = Events::new();
    let began = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut done = 0_u128;
    loop {
        ticks.tick().await;
        // Late ticks are made up for: nobody's event is left out.
        let due = began.elapsed().as_nanos() / TICK.as_nanos();
        while done < due {
            done += 1;
            let slot = (done % wheel.borrow().1.len() as u128) as usize;
            let mut streams = std::mem::take(&mut wheel.borrow_mut().1[slot]);
            streams.retain_mut(|stream| events.write(stream));
            wheel.borrow_mut().1[slot].append(&mut streams);
        }
    }
}

/// Adds a stream of that many events; when it is over.
fn add(wheel: &Wheel, sink: Sink, events: usize) -> oneshot::Receiver<()> {
    let (sender, done) = oneshot::channel();
    let (next, slots) = &mut *wheel.borrow_mut();
    *next = (*next + 1) % slots.len();
    slots[*next].push(Stream { sink, left: events, done: Some(sender) });
    done
}

/// The events, ready but for the time; words of different length, as tokens are.
struct Events {
    chunks: Vec<Vec<u8>>,
    next: usize,
    last: Vec<u8>,
}

const WORDS: [&str; 8] = [" the", " of", " a", " question", " und", " in", " loquat", ","];
const END: &str = "data: {\"id\":\"chatcmpl-BxkEy6nVYjvhJm4pY0yUeRc8Qbd2T\",\"object\":\"chat.completion.chunk\",\"created\":\
                   1764000000,\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\
                   \"stop\"}]}\n\ndata: [DONE]\n\n";

impl Events {
    fn new() -> Self {
        let chunk = |word: &&str| {
            let time = "0".repeat(TIME_DIGITS);
            let event = format!(
                "data: {{\"id\":\"chatcmpl-BxkEy6nVYjvhJm4pY0yUeRc8Qbd2T\",\"object\":\"chat.completion.chunk\",\"created\":\
                 1764000000,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_50cad350e4\",\
                 \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" t{time}{word}\"}},\"logprobs\":null,\
                 \"finish_reason\":null}}]}}\n\n"
            );
            framed(&event)
        };
        let last = [framed(END), b"0\r\n\r\n".to_vec()].concat();
        Self { chunks: WORDS.iter().map(chunk).collect(), next: 0, last }
    }

    /// Writes a stream's next event; whether it goes on.
    fn write(&mut self, stream: &mut Stream) -> bool {
        if stream.left == 0 {
            let written = match &mut stream.sink {
                Sink::Http1(socket) => {
                    socket.try_write(&self.last).is_ok_and(|bytes| bytes == self.last.len())
                }
                Sink::Http2(sink) => sink.send_data(Bytes::from_static(END.as_bytes()), true).is_ok(),
            };
            if let (true, Some(done)) = (written, stream.done.take()) {
                let _ = done.send(());
            }
            return false;
        }
        stream.left -= 1;
        self.next = (self.next + 1) % self.chunks.len();
        let chunk = &mut self.chunks[self.next];
        let at = memchr::memmem::find(chunk, BEFORE_TIME).expect("every event has it") + BEFORE_TIME.len();
        let time = format!("{:0TIME_DIGITS$}", machine::monotonic().as_nanos());
        chunk[at..at + TIME_DIGITS].copy_from_slice(time.as_bytes());
        match &mut stream.sink {
            // Megabytes fit; who does not read for that long is gone.
            Sink::Http1(socket) => socket.try_write(chunk).is_ok_and(|bytes| bytes == chunk.len()),
            Sink::Http2(sink) => sink.send_data(Bytes::copy_from_slice(unframed(chunk)), false).is_ok(),
        }
    }
}

/// As one chunk of HTTP/1.1.
fn framed(event: &str) -> Vec<u8> {
    format!("{:04x}\r\n{event}\r\n", event.len()).into_bytes()
}

fn unframed(chunk: &[u8]) -> &[u8] {
    &chunk[6..chunk.len() - 2]
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 19:00:00 GMT\r\nserver: bench\r\ncontent-type: \
    text/event-stream; charset=utf-8\r\nx-request-id: req_0123456789abcdef\r\ntransfer-encoding: chunked\r\n\r\n";

async fn one(mut socket: TcpStream, wheel: Wheel) {
    let mut read = Vec::with_capacity(4 * 1024);
    loop {
        while let Some((used, events)) = request(&read) {
            read.drain(..used);
            if !socket.try_write(HEAD).is_ok_and(|bytes| bytes == HEAD.len()) {
                return;
            }
            let shared = Rc::new(socket);
            let over = add(&wheel, Sink::Http1(Rc::clone(&shared)), events);
            if over.await.is_err() {
                return;
            }
            // The wheel has let go of it, or will before it takes another turn.
            socket = loop {
                match Rc::strong_count(&shared) {
                    1 => break Rc::into_inner(shared).expect("the last one"),
                    _ => tokio::task::yield_now().await,
                }
            };
        }
        if !matches!(socket.read_buf(&mut read).await, Ok(bytes) if bytes > 0) {
            return;
        }
    }
}

/// The length of the first request in there, and how many events it asks for.
fn request(read: &[u8]) -> Option<(usize, usize)> {
    let head = memchr::memmem::find(read, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).expect("text").to_ascii_lowercase();
    let length =
        text.split_once("content-length: ").and_then(|(_, rest)| rest.split('\r').next()?.parse().ok());
    let used = head + length.unwrap_or(0);
    let path = text.split(' ').nth(1).expect("a path");
    (read.len() >= used).then(|| (used, events_of(path)))
}

fn events_of(path: &str) -> usize {
    path.split('/').nth(1).expect("a path").parse().expect("the path begins with a number")
}

async fn two(socket: TcpStream, wheel: Wheel) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(STREAMS_PER_CONNECTION as u32).initial_window_size(1 << 20);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    let mut headers = HeaderMap::new();
    headers.insert("date", HeaderValue::from_static("Mon, 23 Nov 2026 19:00:00 GMT"));
    headers.insert("server", HeaderValue::from_static("bench"));
    headers.insert("content-type", HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert("x-request-id", HeaderValue::from_static("req_0123456789abcdef"));
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let mut response = http::Response::new(());
        *response.headers_mut() = headers.clone();
        if let Ok(stream) = respond.send_response(response, false) {
            drop(add(&wheel, Sink::Http2(stream), events_of(request.uri().path())));
        }
        let (_, mut body) = request.into_parts();
        spawn_local(async move {
            while let Some(Ok(chunk)) = body.data().await {
                let _ = body.flow_control().release_capacity(chunk.len());
            }
        });
    }
}
