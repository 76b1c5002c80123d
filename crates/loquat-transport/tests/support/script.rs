//! A peer that plays a script, byte by byte, on each connection; for HTTP/2 the bytes are frames (RFC 9113 §4.1).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use super::{listen, read_request, until_closed};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
/// The flag that ends a stream, on DATA and HEADERS.
pub const END: u8 = 1;
/// `:status: 200` from HPACK's static table.
pub const STATUS_200: &[u8] = &[0x88];

/// What a peer does next.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reads one HTTP/1.1 request, body included; ends the script when the client closed instead.
    Request,
    /// Reads the client's preface and sends SETTINGS, with that limit on streams if any.
    Preface(Option<u32>),
    /// Reads frames until that many of the type have come.
    Until(u8, usize),
    Write(Vec<u8>),
    /// Writes that every few milliseconds until the client closes.
    Drip(Vec<u8>),
    Wait(Duration),
    /// Waits until told.
    Gate(Arc<Notify>),
    /// Reads until the client closes.
    Hold,
    /// Closes with a reset instead of an end.
    Reset,
}

pub fn say(text: &str) -> Step {
    Step::Write(text.as_bytes().to_vec())
}

/// A running peer.
#[derive(Clone)]
pub struct Peer {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
}

impl Peer {
    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Connections whose script is over.
    pub fn done(&self) -> usize {
        self.done.load(SeqCst)
    }
}

/// The n-th connection plays the n-th script, those after the last play the last.
pub async fn play(scripts: Vec<Vec<Step>>) -> Peer {
    let (connections, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (accepted, ended) = (Arc::clone(&connections), Arc::clone(&done));
    let address = listen(move |number, mut socket| {
        accepted.fetch_add(1, SeqCst);
        let script = scripts[number.min(scripts.len() - 1)].clone();
        let ended = Arc::clone(&ended);
        async move {
            for step in script {
                if !perform(step, &mut socket).await {
                    break;
                }
            }
            drop(socket);
            ended.fetch_add(1, SeqCst);
        }
    })
    .await;
    Peer { address, connections, done }
}

/// Whether to go on.
async fn perform(step: Step, socket: &mut TcpStream) -> bool {
    match step {
        Step::Request => read_request(socket).await.is_some(),
        Step::Preface(streams) => {
            let mut preface = [0; 24];
            let mut settings = Vec::new();
            if let Some(streams) = streams {
                settings.extend_from_slice(&[0, 3]); // SETTINGS_MAX_CONCURRENT_STREAMS
                settings.extend_from_slice(&streams.to_be_bytes());
            }
            socket.read_exact(&mut preface).await.is_ok()
                && socket.write_all(&frame(SETTINGS, 0, 0, &settings)).await.is_ok()
        }
        Step::Until(kind, times) => {
            for _ in 0..times {
                if until_frame(socket, kind).await.is_none() {
                    return false;
                }
            }
            true
        }
        Step::Write(bytes) => socket.write_all(&bytes).await.is_ok(),
        Step::Drip(bytes) => {
            while socket.write_all(&bytes).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            false
        }
        Step::Wait(time) => {
            tokio::time::sleep(time).await;
            true
        }
        Step::Gate(gate) => {
            gate.notified().await;
            true
        }
        Step::Hold => {
            until_closed(socket).await;
            false
        }
        Step::Reset => {
            // An end with a reset instead of a FIN.
            let _ = socket2::SockRef::from(&*socket).set_linger(Some(Duration::ZERO));
            false
        }
    }
}

/// One frame: type, flags, stream, payload.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The head of a 200.
pub fn head(stream: u32) -> Vec<u8> {
    frame(HEADERS, 4, stream, STATUS_200)
}

/// A whole answer.
pub fn answer(stream: u32, text: &str) -> Vec<u8> {
    [head(stream), frame(DATA, END, stream, text.as_bytes())].concat()
}

pub fn goaway(last: u32, reason: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat())
}

pub fn reset(stream: u32, reason: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &reason.to_be_bytes())
}

/// SETTINGS with that limit on streams.
pub fn max_streams(streams: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 3][..], &streams.to_be_bytes()].concat())
}

/// Reads frames until one of that type has come, and gives its stream. Acknowledgements do not count.
pub async fn until_frame(socket: &mut TcpStream, kind: u8) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        socket.read_exact(&mut vec![0; length]).await.ok()?;
        if head[3] == kind && !((kind == SETTINGS || kind == PING) && head[4] & 1 == 1) {
            return Some(u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]));
        }
    }
}
