//! Servers written byte by byte, so that a test says exactly what the peer does and when.
#![allow(dead_code, unreachable_pub, reason = "each test file is a program of its own and uses its part")]

pub mod script;

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use loquat_core::{Context, Error};
use loquat_transport::{Config, Request, Resolve, Resolving, Response, Transport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub const LONG: Duration = Duration::from_secs(20);

/// Runs `serve` for every connection, with its number from 0. The server ends with the test.
pub async fn listen<F, R>(serve: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).expect("nodelay");
            tokio::spawn(serve(number, socket));
            number += 1;
        }
    });
    address
}

/// Reads one HTTP/1.1 request, body included; `None` when the client closed before it began one.
pub async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        if socket.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(bytes).expect("text");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().expect("length"))
    });
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

pub async fn write(socket: &mut TcpStream, text: impl AsRef<[u8]>) {
    // The client may be gone: that is the test's point then.
    let _ = socket.write_all(text.as_ref()).await;
}

/// Waits until the client closes.
pub async fn until_closed(socket: &mut TcpStream) {
    let mut rest = [0; 1024];
    while socket.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
}

pub fn transport() -> Transport {
    with(Config::default())
}

pub fn with(config: Config) -> Transport {
    Transport::new(config).expect("a valid configuration")
}

pub fn post(to: SocketAddr) -> Request {
    Request::post(format!("http://{to}/v1/chat?x=1"), "hello").expect("valid")
}

pub fn get(to: SocketAddr) -> Request {
    Request::get(format!("http://{to}/")).expect("valid")
}

pub async fn send(transport: &Transport, request: Request) -> Result<Response, Error> {
    tokio::time::timeout(LONG, transport.send(&Context::new(), request))
        .await
        .expect("no attempt takes that long")
}

/// The whole body, as text.
pub async fn text(response: Response) -> Result<String, Error> {
    let bytes = tokio::time::timeout(LONG, response.body.collect(1 << 20)).await.expect("in time")?;
    Ok(String::from_utf8(bytes.to_vec()).expect("text"))
}

/// Sends and reads in a task of its own.
pub fn spawn_text(transport: &Transport, request: Request) -> JoinHandle<Result<String, Error>> {
    let transport = transport.clone();
    tokio::spawn(async move { text(send(&transport, request).await?).await })
}

/// Waits until that is so.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while begin.elapsed() < LONG {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within {LONG:?}: {what}");
}

/// A resolver that knows `model.example`. It answers in turn, and the last answer stays.
#[derive(Debug, Clone)]
pub struct Script(Arc<Mutex<VecDeque<Vec<SocketAddr>>>>);

impl Script {
    pub fn new<const N: usize>(answers: [Vec<SocketAddr>; N]) -> Self {
        Self(Arc::new(Mutex::new(answers.into())))
    }

    /// Answers so from now on.
    pub fn then<const N: usize>(&self, answers: [Vec<SocketAddr>; N]) {
        *self.0.lock().expect("no panic") = answers.into();
    }
}

impl Resolve for Script {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move {
            assert_eq!((host, port), ("model.example", 80));
            let mut answers = self.0.lock().expect("no panic");
            let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            answer.ok_or_else(|| io::Error::other("nobody by that name"))
        })
    }
}
