//! Ways to read many token streams at once, each in one task of one thread: ours to text, the peers to bytes and to text, and
//! the floor, a socket whose bytes are only read.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use async_openai::types::chat::{
    ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequest, CreateChatCompletionRequestArgs,
};
use bytes::Bytes;
use futures_util::StreamExt;
use loquat_client::HttpModel;
use loquat_core::{ChatRequest, Context, Delta, Ending, Endpoint, Model};
use loquat_provider::OPENAI_CHAT;
use loquat_transport::{Config, Http2Limits, Http2Mode, PoolConfig, Transport};
use sonic_rs::{JsonValueTrait, PointerNode};
use sse_core::{SseDecoder, SseEvent};

use crate::{Protocol, server::STREAMS_PER_CONNECTION, tally::Tally};

const KEY: &str = "sk-0123456789abcdef0123456789abcdef";
const QUESTION: &str = "Say hello to the world, please.";

/// Where the streams are, and how long they go on.
#[derive(Clone, Copy)]
pub struct Target {
    pub protocol: Protocol,
    pub address: SocketAddr,
    pub events: usize,
}

impl Target {
    fn base(self) -> String {
        format!("http://{}/{}", self.address, self.events)
    }

    fn url(self) -> String {
        format!("{}/chat/completions", self.base())
    }
}

/// Reads streams.
pub trait Reader: 'static {
    /// One stream from its request to its end. `number` counts the streams of a turn.
    async fn read(&self, number: usize, tally: &Tally);
}

/// Ours: a `Model` over a transport, all limits at their defaults, deltas pulled.
pub struct Ours(HttpModel);

impl Ours {
    pub fn new(target: Target, max_idle: usize) -> Self {
        Self::with(target, max_idle, Http2Limits::default())
    }

    /// The same, read on a clock where many streams share a connection.
    #[allow(dead_code, reason = "for the bench that looks at many")]
    pub fn clocked(target: Target, max_idle: usize, every: Duration) -> Self {
        Self::with(target, max_idle, Http2Limits::default().with_read_every(Some(every)))
    }

    fn with(target: Target, max_idle: usize, limits: Http2Limits) -> Self {
        let mode = match target.protocol {
            Protocol::Http1 => Http2Mode::Never,
            Protocol::Http2 => Http2Mode::PriorKnowledge,
        };
        // As many idle ones as there are streams: between two turns all rest.
        let pool =
            PoolConfig::default().with_max_idle_per_origin(max_idle).with_max_connections_per_origin(8192);
        let transport =
            Transport::new(Config::new().with_http2(mode).with_http2_limits(limits).with_pool(pool))
                .expect("a transport");
        let endpoint = Endpoint::new("bench", target.base(), "m").with_credential(KEY);
        Self(HttpModel::new(transport, &OPENAI_CHAT, endpoint).expect("a model"))
    }
}

impl Reader for Ours {
    async fn read(&self, _: usize, tally: &Tally) {
        let request = Arc::new(ChatRequest::new("m").with_user(QUESTION));
        let mut answer = self.0.infer(&Context::new(), request).await.expect("an answer");
        tally.begin();
        while let Some(delta) = answer.next().await {
            match delta {
                Delta::Text { text, .. } => tally.text(text),
                Delta::End(ending) => assert!(matches!(ending, Ending::Finished { .. }), "{ending:?}"),
                _ => {}
            }
        }
    }
}

/// One reqwest client for each HTTP/2 connection it takes, since it never opens a second to the same host.
pub fn reqwests(target: Target, streams: usize) -> Vec<reqwest::Client> {
    let client = || match target.protocol {
        Protocol::Http1 => reqwest::Client::builder().no_proxy().http1_only(),
        Protocol::Http2 => reqwest::Client::builder().no_proxy().http2_prior_knowledge(),
    };
    let count = match target.protocol {
        Protocol::Http1 => 1,
        Protocol::Http2 => streams.div_ceil(STREAMS_PER_CONNECTION),
    };
    (0..count).map(|_| client().build().expect("a client")).collect()
}

/// reqwest, and what is done with its chunks.
pub struct Reqwest {
    clients: Vec<reqwest::Client>,
    url: reqwest::Url,
    decodes: bool,
}

impl Reqwest {
    /// Looks at no byte of them.
    #[allow(dead_code, reason = "not for the bench that looks at the first token")]
    pub fn draining(clients: Vec<reqwest::Client>, target: Target) -> Self {
        Self { clients, url: target.url().parse().expect("an address"), decodes: false }
    }

    /// The fastest published decoder: sse-core, and one value taken out by sonic-rs.
    pub fn decoding(clients: Vec<reqwest::Client>, target: Target) -> Self {
        Self { clients, url: target.url().parse().expect("an address"), decodes: true }
    }
}

impl Reader for Reqwest {
    async fn read(&self, number: usize, tally: &Tally) {
        let body = serde_json::json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": QUESTION}]});
        let client = &self.clients[number % self.clients.len()];
        let request = client
            .post(self.url.clone())
            .bearer_auth(KEY)
            .header("content-type", "application/json")
            .body(body.to_string());
        let mut response = request.send().await.expect("a response");
        assert!(response.status().is_success());
        tally.begin();
        if !self.decodes {
            while let Some(chunk) = response.chunk().await.expect("a chunk") {
                tally.bytes(&chunk);
            }
            return;
        }
        let path = [
            PointerNode::Key("choices".into()),
            PointerNode::Index(0),
            PointerNode::Key("delta".into()),
            PointerNode::Key("content".into()),
        ];
        let mut decoder = SseDecoder::new();
        while let Some(mut chunk) = response.chunk().await.expect("a chunk") {
            while let Some(event) = decoder.next(&mut chunk) {
                if let SseEvent::Message(event) = event.expect("the bench's stream is sound")
                    && let Ok(value) = sonic_rs::get(event.data.as_str(), &path)
                    && let Some(text) = value.as_str()
                {
                    tally.text(text);
                }
            }
        }
    }
}

/// async-openai over such clients.
pub struct AsyncOpenAi(Vec<async_openai::Client<async_openai::config::OpenAIConfig>>);

impl AsyncOpenAi {
    pub fn new(clients: Vec<reqwest::Client>, target: Target) -> Self {
        let config =
            || async_openai::config::OpenAIConfig::new().with_api_base(target.base()).with_api_key(KEY);
        Self(clients.into_iter().map(|client| async_openai::Client::build(client, config())).collect())
    }
}

fn request() -> CreateChatCompletionRequest {
    let message =
        ChatCompletionRequestUserMessageArgs::default().content(QUESTION).build().expect("a message");
    CreateChatCompletionRequestArgs::default()
        .model("m")
        .messages([message.into()])
        .build()
        .expect("a request")
}

impl Reader for AsyncOpenAi {
    async fn read(&self, number: usize, tally: &Tally) {
        let client = &self.0[number % self.0.len()];
        let mut stream = client.chat().create_stream(request()).await.expect("a stream");
        tally.begin();
        while let Some(response) = stream.next().await {
            let response = response.expect("the bench's stream is sound");
            for choice in &response.choices {
                if let Some(text) = &choice.delta.content {
                    tally.text(text);
                }
            }
        }
    }
}

/// The bare `h2` crate, a connection for each hundred streams, draining: what HTTP/2 costs without a pool, limit or outcome.
pub struct RawH2 {
    senders: Vec<h2::client::SendRequest<Bytes>>,
    uri: http::Uri,
}

impl RawH2 {
    pub async fn new(target: Target, streams: usize) -> Self {
        let mut senders = Vec::new();
        for _ in 0..streams.div_ceil(STREAMS_PER_CONNECTION) {
            let socket = tokio::net::TcpStream::connect(target.address).await.expect("connect");
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
            senders.push(sender);
        }
        Self { senders, uri: target.url().parse().expect("an address") }
    }
}

impl Reader for RawH2 {
    async fn read(&self, number: usize, tally: &Tally) {
        let mut request = http::Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let mut sender = self.senders[number % self.senders.len()].clone().ready().await.expect("ready");
        let (response, _) = sender.send_request(request, true).expect("sent");
        let mut body = response.await.expect("a response").into_body();
        tally.begin();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.expect("a chunk");
            let _ = body.flow_control().release_capacity(chunk.len());
            tally.bytes(&chunk);
        }
    }
}

impl<R: Reader> Reader for Rc<R> {
    async fn read(&self, number: usize, tally: &Tally) {
        R::read(self, number, tally).await;
    }
}
