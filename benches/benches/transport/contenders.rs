//! One small JSON POST and its whole response, as each client's users would write it.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use loquat_core::Context;
use loquat_transport::{Config, Http2Mode, PoolConfig, Request, Transport, Url};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Protocol, server};

pub const BODY: &[u8] = br#"{"model":"m","stream":false,"messages":[{"role":"user","content":"Say hello to the world, please."}]}"#;

/// A client that can be asked by many tasks at once.
pub trait Client: 'static {
    /// Sends the request and reads the response; how long its body was.
    async fn once(&self) -> usize;
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let mut key = HeaderValue::from_static("Bearer sk-0123456789abcdef0123456789abcdef");
    key.set_sensitive(true);
    headers.insert("authorization", key);
    headers.insert("user-agent", HeaderValue::from_static("bench/1"));
    headers.insert("accept", HeaderValue::from_static("application/json"));
    headers
}

/// Ours, with all limits at their defaults, a deadline and a token to cancel it by.
#[derive(Clone)]
pub struct Ours {
    transport: Transport,
    request: Request,
}

impl Ours {
    pub fn new(protocol: Protocol, url: &str) -> Self {
        let mode = match protocol {
            Protocol::Http1 => Http2Mode::Never,
            Protocol::Http2 => Http2Mode::PriorKnowledge,
        };
        // As many idle connections as there are callers: between two slices all rest, and the others keep theirs.
        let pool = PoolConfig::default().with_max_idle_per_origin(1024);
        Self::with(Config::new().with_http2(mode).with_pool(pool), url)
    }

    pub fn with(config: Config, url: &str) -> Self {
        let transport = Transport::new(config).expect("a transport");
        let request = Request::new(Method::POST, Url::parse(url).expect("an address"))
            .with_headers(headers())
            .with_body(Bytes::from_static(BODY));
        Self { transport, request }
    }
}

impl Ours {
    /// Not only for tasks of one thread.
    pub async fn ask(&self) -> usize {
        let context = Context::new().with_timeout(Duration::from_secs(60));
        let response = self.transport.send(&context, self.request.clone()).await.expect("a response");
        assert!(response.status.is_success());
        response.body.collect(1 << 20).await.expect("a body").len()
    }
}

impl Client for Ours {
    async fn once(&self) -> usize {
        self.ask().await
    }
}

pub struct Reqwest {
    client: reqwest::Client,
    url: reqwest::Url,
    headers: HeaderMap,
}

impl Reqwest {
    pub fn new(protocol: Protocol, url: &str) -> Self {
        let builder = reqwest::Client::builder().no_proxy();
        let builder = match protocol {
            Protocol::Http1 => builder.http1_only(),
            Protocol::Http2 => builder.http2_prior_knowledge(),
        };
        let client = builder.build().expect("a client");
        Self { client, url: url.parse().expect("an address"), headers: headers() }
    }
}

impl Client for Reqwest {
    async fn once(&self) -> usize {
        let request =
            self.client.post(self.url.clone()).headers(self.headers.clone()).body(Bytes::from_static(BODY));
        let response = request.send().await.expect("a response");
        assert!(response.status().is_success());
        response.bytes().await.expect("a body").len()
    }
}

type Legacy =
    hyper_util::client::legacy::Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>;

/// hyper-util's pooled client.
pub struct HyperUtil {
    client: Legacy,
    uri: http::Uri,
    headers: HeaderMap,
}

impl HyperUtil {
    pub fn new(protocol: Protocol, url: &str) -> Self {
        let mut connector = hyper_util::client::legacy::connect::HttpConnector::new();
        connector.set_nodelay(true);
        let mut builder = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        let client = builder.http2_only(protocol == Protocol::Http2).build(connector);
        Self { client, uri: url.parse().expect("an address"), headers: headers() }
    }
}

impl Client for HyperUtil {
    async fn once(&self) -> usize {
        let mut request = http::Request::new(Full::new(Bytes::from_static(BODY)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let response = self.client.request(request).await.expect("a response");
        assert!(response.status().is_success());
        response.into_body().collect().await.expect("a body").to_bytes().len()
    }
}

/// hyper's bare connection, its task spawned, and a vector as the pool: no limit, no outcome.
pub struct Bare {
    address: SocketAddr,
    uri: http::Uri,
    headers: HeaderMap,
    idle: RefCell<Vec<hyper::client::conn::http1::SendRequest<Full<Bytes>>>>,
}

impl Bare {
    pub fn new(address: SocketAddr, path: &str) -> Self {
        let mut headers = headers();
        headers.insert("host", HeaderValue::from_str(&address.to_string()).expect("a host"));
        Self { address, uri: path.parse().expect("a path"), headers, idle: RefCell::default() }
    }
}

impl Client for Bare {
    async fn once(&self) -> usize {
        let idle = self.idle.borrow_mut().pop();
        let mut sender = match idle {
            Some(sender) => sender,
            None => {
                let socket = TcpStream::connect(self.address).await.expect("connect");
                socket.set_nodelay(true).expect("nodelay");
                let (sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("handshake");
                tokio::spawn(connection);
                sender
            }
        };
        let mut request = http::Request::new(Full::new(Bytes::from_static(BODY)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        sender.ready().await.expect("ready");
        let response = sender.send_request(request).await.expect("a response");
        let length = response.into_body().collect().await.expect("a body").to_bytes().len();
        self.idle.borrow_mut().push(sender);
        length
    }
}

/// What the machine allows on HTTP/1.1: one write, and reads until the length known beforehand is in.
pub struct Socket {
    address: SocketAddr,
    request: Vec<u8>,
    expected: usize,
    body: usize,
    idle: RefCell<Vec<(TcpStream, Vec<u8>)>>,
}

impl Socket {
    pub fn new(address: SocketAddr, path: &str, body: usize) -> Self {
        let mut request = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\n").into_bytes();
        for (name, value) in &headers() {
            request.extend_from_slice(name.as_str().as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(format!("content-length: {}\r\n\r\n", BODY.len()).as_bytes());
        request.extend_from_slice(BODY);
        let expected = server::response(body).len();
        Self { address, request, expected, body, idle: RefCell::default() }
    }
}

impl Client for Socket {
    async fn once(&self) -> usize {
        let idle = self.idle.borrow_mut().pop();
        let (mut socket, mut buffer) = match idle {
            Some(idle) => idle,
            None => {
                let socket = TcpStream::connect(self.address).await.expect("connect");
                socket.set_nodelay(true).expect("nodelay");
                (socket, vec![0; 64 * 1024])
            }
        };
        socket.write_all(&self.request).await.expect("write");
        let mut left = self.expected;
        while left > 0 {
            left -= socket.read(&mut buffer).await.expect("read");
        }
        self.idle.borrow_mut().push((socket, buffer));
        self.body
    }
}

/// What the machine allows on HTTP/2: the `h2` crate with one connection and no pool, no limit, no outcome.
pub struct RawH2 {
    sender: h2::client::SendRequest<Bytes>,
    uri: http::Uri,
    headers: HeaderMap,
}

impl RawH2 {
    pub async fn new(address: SocketAddr, url: &str) -> Self {
        let socket = TcpStream::connect(address).await.expect("connect");
        socket.set_nodelay(true).expect("nodelay");
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(2 << 20)
            .initial_connection_window_size(16 << 20)
            .data_frame_budget(8 << 20);
        let (sender, connection) = builder.handshake(socket).await.expect("handshake");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender, uri: url.parse().expect("an address"), headers: headers() }
    }
}

impl Client for RawH2 {
    async fn once(&self) -> usize {
        let mut request = http::Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let mut sender = self.sender.clone().ready().await.expect("ready");
        let (response, mut stream) = sender.send_request(request, false).expect("sent");
        stream.send_data(Bytes::from_static(BODY), true).expect("sent");
        let mut body = response.await.expect("a response").into_body();
        let mut length = 0;
        while let Some(chunk) = body.data().await {
            let chunk = chunk.expect("a chunk");
            let _ = body.flow_control().release_capacity(chunk.len());
            length += chunk.len();
        }
        length
    }
}

/// So that a client can be shared by tasks of one thread.
impl<C: Client> Client for Rc<C> {
    async fn once(&self) -> usize {
        C::once(self).await
    }
}
