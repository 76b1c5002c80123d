//! A server on the loopback that answers as a function says: whole, or piece by piece for as long as the test likes.
#![allow(dead_code, unreachable_pub, reason = "each test file is a program of its own and uses its part")]

pub mod etcd;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use loquat_core::{Context, Discover, Listing, Result};
use loquat_discovery::Policy;
use loquat_transport::{AddressPolicy, Config, Transport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::AbortHandle,
};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET /path?query`
    pub what: String,
    /// The head, in lower case.
    pub head: String,
    pub body: String,
}

/// An answer.
pub enum Reply {
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Chunks as they come; the end when the sender is dropped.
    Stream(mpsc::UnboundedReceiver<String>),
    /// The connection closed without a word.
    Hangup,
}

pub fn ok(body: impl Into<Vec<u8>>) -> Reply {
    Reply::Whole(200, vec![], body.into())
}

pub struct Server {
    pub address: SocketAddr,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    task: AbortHandle,
}

impl Server {
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", answer).await
    }

    pub async fn at(address: &str, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (asked, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let log = asked.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (answer, log) = (answer.clone(), log.clone());
                connections.spawn(async move { serve(socket, &*answer, &log).await });
            }
        });
        Self { address, asked, task: task.abort_handle() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn count(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `None` when the connection is over.
async fn serve(
    mut socket: TcpStream,
    answer: &(dyn Fn(&Asked) -> Reply + Send + Sync),
    log: &Mutex<Vec<Asked>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let head_end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
        let lower = head.to_ascii_lowercase();
        let length =
            lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        while bytes.len() < head_end + length {
            if socket.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        let what = head.lines().next()?.rsplit_once(' ')?.0.to_owned();
        let body = String::from_utf8_lossy(&bytes[head_end..head_end + length]).into_owned();
        bytes.drain(..head_end + length);
        let asked = Asked { what, head: lower, body };
        let reply = answer(&asked);
        log.lock().expect("no panic").push(asked);
        match reply {
            Reply::Whole(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
                head.push_str("\r\n");
                socket.write_all(head.as_bytes()).await.ok()?;
                if status != 304 {
                    socket.write_all(&body).await.ok()?;
                }
            }
            Reply::Stream(mut pieces) => {
                let head = "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n";
                socket.write_all(head.as_bytes()).await.ok()?;
                while let Some(piece) = pieces.recv().await {
                    let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
                    socket.write_all(chunk.as_bytes()).await.ok()?;
                }
                socket.write_all(b"0\r\n\r\n").await.ok()?;
            }
            Reply::Hangup => return None,
        }
    }
}

pub fn transport() -> Transport {
    Transport::new(Config::default()).expect("a transport")
}

/// Tests ask the loopback.
pub fn policy() -> Policy {
    Policy::new().with_addresses(AddressPolicy::Any)
}

/// What comes of it: within a minute, which is long for the slowest machine, and short for whoever waits for a failure.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("within a minute")
}

/// Asks until it is so.
pub async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(asked).await;
}

/// The next listing, soon.
pub async fn next(source: &mut impl Discover) -> Result<Listing> {
    soon(source.next(&Context::new())).await
}

/// Skips failures: sources try again by themselves.
pub async fn next_good(source: &mut impl Discover) -> Listing {
    for _ in 0..100 {
        if let Ok(listing) = next(source).await {
            return listing;
        }
    }
    panic!("a hundred failures in a row")
}

/// Whether nothing new comes for a while.
pub async fn is_quiet(source: &mut impl Discover, time: Duration) -> bool {
    let context = Context::new();
    tokio::time::timeout(time, source.next(&context)).await.is_err()
}

pub fn names(listing: &Listing) -> Vec<&str> {
    listing.endpoints.iter().map(|found| found.name.as_str()).collect()
}
