//! A server whose first token is ready at once: what a client waits for is the way there and back. A request for `/1/…` is
//! answered by a head and one event in one write, and the end in another.

use std::net::SocketAddr;

use bytes::Bytes;
use loquat_benches::{child, machine};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{LocalSet, spawn_local},
};

pub const BEFORE_TIME: &[u8] = b"\"content\":\" t";
pub const TIME_DIGITS: usize = 16;
pub const STREAMS_PER_CONNECTION: usize = 100;

const END: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1764000000,\"model\":\"m\",\"choices\":[{\"index\":0,\
     \"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

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

/// The event, with the time it is written at.
fn event() -> String {
    let time = format!("{:0TIME_DIGITS$}", machine::monotonic().as_nanos());
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1764000000,\"model\":\"m\",\"choices\":[{{\"index\":0,\
         \"delta\":{{\"content\":\" t{time} the\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

/// Serves until standard input ends.
pub fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let http1 = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let http2 = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        child::announce(&[http1.local_addr().expect("bound"), http2.local_addr().expect("bound")]);
        spawn_local(async move {
            loop {
                let (socket, _) = http2.accept().await.expect("accept");
                socket.set_nodelay(true).expect("nodelay");
                spawn_local(two(socket));
            }
        });
        loop {
            let (socket, _) = http1.accept().await.expect("accept");
            socket.set_nodelay(true).expect("nodelay");
            spawn_local(one(socket));
        }
    });
}

async fn one(mut socket: TcpStream) {
    let mut read = Vec::with_capacity(4 * 1024);
    loop {
        while let Some(used) = request(&read) {
            read.drain(..used);
            let event = event();
            let first = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: r\r\ntransfer-encoding: chunked\r\n\r\n\
                 {:x}\r\n{event}\r\n",
                event.len()
            );
            let last = format!("{:x}\r\n{END}\r\n0\r\n\r\n", END.len());
            if socket.write_all(first.as_bytes()).await.is_err()
                || socket.write_all(last.as_bytes()).await.is_err()
            {
                return;
            }
        }
        if !matches!(socket.read_buf(&mut read).await, Ok(bytes) if bytes > 0) {
            return;
        }
    }
}

/// The length of the first request in there.
fn request(read: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(read, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).expect("text").to_ascii_lowercase();
    let length =
        text.split_once("content-length: ").and_then(|(_, rest)| rest.split('\r').next()?.parse().ok());
    let used = head + length.unwrap_or(0);
    (read.len() >= used).then_some(used)
}

async fn two(socket: TcpStream) {
    let Ok(mut connection) = h2::server::Builder::new().handshake::<_, Bytes>(socket).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let response =
            http::Response::builder().header("content-type", "text/event-stream").body(()).expect("valid");
        if let Ok(mut stream) = respond.send_response(response, false) {
            let _ = stream.send_data(event().into(), false);
            let _ = stream.send_data(Bytes::from_static(END.as_bytes()), true);
        }
        let mut body = request.into_body();
        spawn_local(async move {
            while let Some(Ok(chunk)) = body.data().await {
                let _ = body.flow_control().release_capacity(chunk.len());
            }
        });
    }
}
