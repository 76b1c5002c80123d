//! The other end, in a process of its own on a core of its own, so that its work is in nobody's figure: HTTP/1.1 written by
//! hand and HTTP/2 on `h2`. A request for `/N` is answered by N bytes.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use loquat_benches::child;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A running server.
pub struct Server {
    _process: child::Server,
    pub http1: SocketAddr,
    pub http2: SocketAddr,
}

impl Server {
    pub fn start() -> Self {
        let mut process = child::Server::start();
        let (http1, http2) = (process.address(), process.address());
        Self { _process: process, http1, http2 }
    }
}

/// Serves until standard input ends.
pub fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let http1 = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let http2 = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        child::announce(&[http1.local_addr().expect("bound"), http2.local_addr().expect("bound")]);
        tokio::spawn(async move {
            loop {
                let (socket, _) = http2.accept().await.expect("accept");
                socket.set_nodelay(true).expect("nodelay");
                tokio::spawn(two(socket));
            }
        });
        loop {
            let (socket, _) = http1.accept().await.expect("accept");
            socket.set_nodelay(true).expect("nodelay");
            tokio::spawn(one(socket));
        }
    });
}

/// What is answered on HTTP/1.1 to a request for that many bytes.
pub fn response(bytes: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 19:00:00 GMT\r\nserver: bench\r\ncontent-type: application/json\r\n\
         x-request-id: 0123456789abcdef\r\ncontent-length: {bytes}\r\n\r\n"
    );
    let mut response = head.into_bytes();
    response.resize(response.len() + bytes, b'x');
    response
}

async fn one(mut socket: TcpStream) {
    let mut read = Vec::with_capacity(16 * 1024);
    let mut answer: (usize, Vec<u8>) = (0, Vec::new());
    loop {
        while let Some((used, bytes)) = request(&read) {
            if answer.0 != bytes {
                answer = (bytes, response(bytes));
            }
            if socket.write_all(&answer.1).await.is_err() {
                return;
            }
            read.drain(..used);
        }
        if !matches!(socket.read_buf(&mut read).await, Ok(bytes) if bytes > 0) {
            return;
        }
    }
}

/// The length of the first request in there, and what it asks for.
fn request(read: &[u8]) -> Option<(usize, usize)> {
    let head = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).expect("text").to_ascii_lowercase();
    let body = text.split_once("content-length: ").expect("a length").1;
    let body: usize = body[..body.find('\r').expect("a line")].parse().expect("a number");
    let path = text.split(' ').nth(1).expect("a path");
    (read.len() >= head + body).then(|| (head + body, bytes_of(path)))
}

fn bytes_of(path: &str) -> usize {
    path.rsplit('/').next().expect("a path").parse().expect("the path is a number")
}

async fn two(socket: TcpStream) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(8 << 20).max_concurrent_streams(128);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    let mut headers = HeaderMap::new();
    headers.insert("date", HeaderValue::from_static("Mon, 23 Nov 2026 19:00:00 GMT"));
    headers.insert("server", HeaderValue::from_static("bench"));
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("x-request-id", HeaderValue::from_static("0123456789abcdef"));
    let content = Bytes::from(vec![b'x'; 128 * 1024]);
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (mut headers, content) = (headers.clone(), content.clone());
        tokio::spawn(async move {
            let (parts, mut body) = request.into_parts();
            while let Some(Ok(chunk)) = body.data().await {
                let _ = body.flow_control().release_capacity(chunk.len());
            }
            let length = bytes_of(parts.uri.path());
            headers.insert("content-length", HeaderValue::from(length));
            let mut response = http::Response::new(());
            *response.headers_mut() = headers;
            if let Ok(mut stream) = respond.send_response(response, false) {
                let _ = stream.send_data(content.slice(..length), true);
            }
        });
    }
}
