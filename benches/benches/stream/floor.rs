//! The floor: sockets whose bytes are read and looked through for the time, and nothing else.

use std::cell::RefCell;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    contenders::{Reader, Target},
    server::STREAMS_PER_CONNECTION,
    tally::Tally,
};

/// HTTP/1.1: a connection for each stream, kept for the next one or not.
pub struct Socket {
    target: Target,
    keeps: bool,
    idle: RefCell<Vec<(TcpStream, Vec<u8>)>>,
}

impl Socket {
    pub fn new(target: Target, keeps: bool) -> Self {
        Self { target, keeps, idle: RefCell::default() }
    }
}

impl Reader for Socket {
    async fn read(&self, _: usize, tally: &Tally) {
        let idle = self.idle.borrow_mut().pop();
        let (mut socket, mut buffer) = match idle {
            Some(idle) => idle,
            None => {
                let socket = TcpStream::connect(self.target.address).await.expect("connect");
                socket.set_nodelay(true).expect("nodelay");
                (socket, vec![0; 16 * 1024])
            }
        };
        let request =
            format!("POST /{}/ HTTP/1.1\r\nhost: {}\r\n\r\n", self.target.events, self.target.address);
        socket.write_all(request.as_bytes()).await.expect("write");
        let mut begun = false;
        loop {
            let bytes = socket.read(&mut buffer).await.expect("read");
            if !std::mem::replace(&mut begun, true) {
                tally.begin();
            }
            let read = &buffer[..bytes];
            tally.bytes(read);
            if bytes == 0 || read.ends_with(b"\r\n0\r\n\r\n") {
                break;
            }
        }
        if self.keeps {
            self.idle.borrow_mut().push((socket, buffer));
        }
    }
}

/// HTTP/2: a connection for each hundred streams, all its frames read in one task; windows opened so far that nothing ever
/// needs to be said again.
pub struct Frames {
    target: Target,
    streams: usize,
}

impl Frames {
    pub fn new(target: Target, streams: usize) -> Self {
        Self { target, streams }
    }
}

impl Reader for Frames {
    /// The first stream of a hundred reads for all of them.
    async fn read(&self, number: usize, tally: &Tally) {
        if !number.is_multiple_of(STREAMS_PER_CONNECTION) {
            return;
        }
        let streams = STREAMS_PER_CONNECTION.min(self.streams - number);
        let mut socket = TcpStream::connect(self.target.address).await.expect("connect");
        socket.set_nodelay(true).expect("nodelay");
        socket.write_all(&self.requests(streams)).await.expect("write");
        let mut buffer = vec![0; 64 * 1024];
        let mut left = streams * self.target.events;
        let mut begun = false;
        while left > 0 {
            let bytes = socket.read(&mut buffer).await.expect("read");
            assert!(bytes > 0, "the server closed");
            let found = tally.bytes(&buffer[..bytes]);
            if found > 0 && !std::mem::replace(&mut begun, true) {
                (0..streams).for_each(|_| tally.begin());
            }
            // An event on the border of two reads is missed; that is the last turn's end, not this one's.
            left = left.saturating_sub(found);
            if memchr::memmem::find(&buffer[..bytes], b"[DONE]").is_some() && left <= streams {
                break;
            }
        }
    }
}

impl Frames {
    fn requests(&self, streams: usize) -> Vec<u8> {
        let mut bytes = preface();
        (0..streams as u32).for_each(|stream| bytes.extend(request(self.target, 2 * stream + 1)));
        bytes
    }
}

/// The preface, and windows of 2 GiB (RFC 9113 §3.4, §6).
pub fn preface() -> Vec<u8> {
    const WINDOW: u32 = (1 << 31) - 1;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let settings = [&[0, 4][..], &WINDOW.to_be_bytes()].concat();
    frame(&mut bytes, 4, 0, 0, &settings);
    frame(&mut bytes, 8, 0, 0, &(WINDOW - 65_535).to_be_bytes());
    bytes
}

/// A request on that stream (RFC 9113 §6.2, RFC 7541 §6.2.2).
pub fn request(target: Target, stream: u32) -> Vec<u8> {
    // `:method: POST`, `:scheme: http`, then path and authority as literals that no table keeps.
    let mut head = vec![0x83, 0x86];
    for (name, value) in [(0x04, format!("/{}/", target.events)), (0x01, target.address.to_string())] {
        head.extend([name, value.len() as u8]);
        head.extend_from_slice(value.as_bytes());
    }
    let mut bytes = Vec::new();
    // END_HEADERS and END_STREAM
    frame(&mut bytes, 1, 5, stream, &head);
    bytes
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = (payload.len() as u32).to_be_bytes();
    bytes.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}
