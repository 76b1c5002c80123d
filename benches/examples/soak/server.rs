//! Token streams that go wrong: what a request for `/FAULT/EVENTS/…` gets is said by its path. Killed and started again by its
//! parent, on the same ports.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;
use loquat_benches::child;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    task::{LocalSet, spawn_local},
    time::sleep,
};

use crate::fault::Fault;

const PACE: Duration = Duration::from_millis(20);
const EVENT: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1764000000,\"model\":\"m\",\"choices\":[{\"index\":0,\
     \"delta\":{\"content\":\" loquat\"},\"finish_reason\":null}]}\n\n";
const END: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1764000000,\"model\":\"m\",\"choices\":[{\"index\":0,\
     \"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const GARBAGE: &[u8] = b"data: {\"choices\":[{\"delta\":\x00\xff\xfe}}\n\n";

/// A running server.
pub struct Server {
    _process: child::Server,
    pub http1: SocketAddr,
    pub http2: SocketAddr,
}

impl Server {
    /// On these addresses; port 0 is any.
    pub fn start(http1: SocketAddr, http2: SocketAddr) -> Self {
        let mut process = child::Server::start_with(&[http1.to_string(), http2.to_string()]);
        let (http1, http2) = (process.address(), process.address());
        Self { _process: process, http1, http2 }
    }
}

/// Serves until standard input ends.
pub fn serve() {
    let wanted: Vec<SocketAddr> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let [wanted1, wanted2] = wanted[..] else { panic!("two addresses to listen on") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let (http1, http2) = (listen(wanted1), listen(wanted2));
        child::announce(&[http1.local_addr().expect("bound"), http2.local_addr().expect("bound")]);
        spawn_local(async move {
            while let Ok((socket, _)) = http2.accept().await {
                spawn_local(two(socket));
            }
        });
        while let Ok((socket, _)) = http1.accept().await {
            spawn_local(async move { drop(one(socket).await) });
        }
    });
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    // The one before is just dead.
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(address).expect("bind");
    socket.listen(4096).expect("listen")
}

/// What a path asks for.
fn asked(path: &str) -> (Fault, usize) {
    let mut parts = path.split('/').skip(1);
    let fault = Fault::named(parts.next().unwrap_or_default());
    (fault, parts.next().and_then(|events| events.parse().ok()).unwrap_or(1))
}

async fn one(mut socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut read = Vec::new();
    loop {
        let (used, fault, events) = loop {
            if let Some(request) = request(&read) {
                break request;
            }
            if socket.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        read.drain(..used);
        match fault {
            Fault::NoHead => return until_closed(socket).await,
            Fault::Status => {
                let body = r#"{"error":{"message":"overloaded","type":"server_error"}}"#;
                let head =
                    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length";
                socket.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
                continue;
            }
            _ => {}
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(head.as_bytes()).await?;
        for event in 0..events {
            if event == events / 2 {
                match fault {
                    Fault::Reset | Fault::Goaway => {
                        socket.set_zero_linger()?;
                        return Ok(());
                    }
                    Fault::Stall => return until_closed(socket).await,
                    Fault::HalfClose => {
                        socket.shutdown().await?;
                        return until_closed(socket).await;
                    }
                    Fault::Garbage => socket.write_all(&chunk(GARBAGE)).await?,
                    Fault::Unframed => socket.write_all(b"\x00\x01zzzz not a chunk\r\n\r\n").await?,
                    Fault::None | Fault::NoHead | Fault::Status => {}
                }
            }
            socket.write_all(&chunk(EVENT.as_bytes())).await?;
            sleep(PACE).await;
        }
        socket.write_all(&[&chunk(END.as_bytes())[..], b"0\r\n\r\n"].concat()).await?;
    }
}

fn chunk(content: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat()
}

async fn until_closed(mut socket: TcpStream) -> std::io::Result<()> {
    let mut rest = [0; 1024];
    while socket.read(&mut rest).await? > 0 {}
    Ok(())
}

fn request(read: &[u8]) -> Option<(usize, Fault, usize)> {
    let head = memchr::memmem::find(read, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
    let length =
        text.split_once("content-length: ").and_then(|(_, rest)| rest.split('\r').next()?.parse().ok());
    let used = head + length.unwrap_or(0);
    let (fault, events) = asked(text.split(' ').nth(1)?);
    (read.len() >= used).then_some((used, fault, events))
}

async fn two(socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(100);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    let (goaway, cut) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let (goaway, cut) = (Rc::clone(&goaway), Rc::clone(&cut));
                spawn_local(async move { drop(stream(request, respond, &goaway, &cut).await) });
            }
            () = goaway.notified() => connection.graceful_shutdown(),
            // With all that is on it.
            () = cut.notified() => return,
        }
    }
}

async fn stream(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    goaway: &Notify,
    cut: &Notify,
) -> Result<(), h2::Error> {
    let (fault, events) = asked(request.uri().path());
    let mut body = request.into_body();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
    }
    if fault == Fault::NoHead {
        std::future::poll_fn(|cx| respond.poll_reset(cx)).await?;
        return Ok(());
    }
    let status = if fault == Fault::Status { 503 } else { 200 };
    let response =
        http::Response::builder().status(status).header("content-type", "text/event-stream").body(());
    let mut stream = respond.send_response(response.expect("valid"), false)?;
    if fault == Fault::Status {
        return stream.send_data(Bytes::from_static(br#"{"error":{"message":"overloaded"}}"#), true);
    }
    for event in 0..events {
        if event == events / 2 {
            match fault {
                Fault::Reset => {
                    stream.send_reset(h2::Reason::INTERNAL_ERROR);
                    return Ok(());
                }
                Fault::Stall => {
                    std::future::poll_fn(|cx| stream.poll_reset(cx)).await?;
                    return Ok(());
                }
                Fault::HalfClose => return stream.send_data(Bytes::new(), true),
                Fault::Garbage => stream.send_data(Bytes::from_static(GARBAGE), false)?,
                Fault::Unframed => cut.notify_one(),
                Fault::Goaway => goaway.notify_one(),
                Fault::None | Fault::NoHead | Fault::Status => {}
            }
        }
        stream.send_data(Bytes::from_static(EVENT.as_bytes()), false)?;
        tokio::select! {
            () = sleep(PACE) => {}
            _ = std::future::poll_fn(|cx| stream.poll_reset(cx)) => return Ok(()),
        }
    }
    stream.send_data(Bytes::from_static(END.as_bytes()), true)
}
