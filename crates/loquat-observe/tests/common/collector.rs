//! A collector of the tests: takes OTLP over HTTP, keeps what came, and behaves as badly as it is told.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// In place of a status: take the request and say nothing.
pub(crate) const SILENT: u16 = 1;

/// Path and body.
type Request = (String, Vec<u8>);

#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    status: Arc<AtomicU16>,
    pub(crate) asked: Arc<AtomicUsize>,
    bodies: Arc<Mutex<Vec<Request>>>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into())
    }

    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("listens");
        let collector = Self {
            address: listener.local_addr().expect("an address"),
            status: Arc::new(AtomicU16::new(200)),
            asked: Arc::default(),
            bodies: Arc::default(),
        };
        let own = collector.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                thread::spawn(move || own.answer(stream));
            }
        });
        collector
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn behave(&self, status: u16) {
        self.status.store(status, SeqCst);
    }

    /// What came to that path.
    pub(crate) fn bodies(&self, path: &str) -> Vec<Vec<u8>> {
        let bodies = self.bodies.lock().expect("not poisoned");
        bodies.iter().filter(|(to, _)| to == path).map(|(_, body)| body.clone()).collect()
    }

    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        let end = loop {
            let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
            bytes.extend_from_slice(&piece[..count]);
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let path = head.split(' ').nth(1)?.to_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse().ok()?;
        let mut body = bytes.split_off(end);
        while body.len() < length {
            let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
            body.extend_from_slice(&piece[..count]);
        }
        let number = self.asked.fetch_add(1, SeqCst);
        // Looked through after the whole suite, for what was planted.
        let left = format!("{}/collector-{}-{number}.pb", env!("CARGO_TARGET_TMPDIR"), self.address.port());
        std::fs::write(left, &body).ok()?;
        let status = self.status.load(SeqCst);
        match status {
            SILENT => thread::sleep(Duration::from_secs(120)),
            200 => self.bodies.lock().expect("not poisoned").push((path, body)),
            _ => {}
        }
        write!(stream, "HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n").ok()
    }
}

/// Waits for what has to come, long enough for a busy machine.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let due = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < due, "still waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
