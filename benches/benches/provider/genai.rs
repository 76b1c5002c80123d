//! genai's client. Its decoders are not public (`pub(super) mod` around each), and what they read is a response of reqwest, so it
//! runs whole: over the loopback, from a server on a thread of its own that sends each reply in one piece. What reqwest alone
//! spends on the same bytes is measured in turn and taken off. Larger reads than the others get are in its favour.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

use futures_util::StreamExt;
use genai::{
    Client, ModelIden, ServiceTarget,
    adapter::AdapterKind,
    chat::{ChatMessage, ChatRequest, ChatStreamEvent},
    resolver::{AuthData, Endpoint, ServiceTargetResolver},
};
use loquat_benches::{cpu, machine::median, side};

use crate::{
    UNIT,
    streams::{Dialect, Stream},
};

const WHO: &str = "genai";

/// One stream, served.
pub struct Over {
    runtime: tokio::runtime::Runtime,
    client: Client,
    bare: reqwest::Client,
    url: String,
    chunks: f64,
    text_bytes: usize,
    whole: Vec<f64>,
    transport: Vec<f64>,
}

impl Over {
    /// `None` for what it does not read.
    pub fn new(stream: &Stream) -> Option<Self> {
        let kind = match stream.dialect {
            Dialect::OpenAiChat => AdapterKind::OpenAI,
            Dialect::OpenAiResponses => AdapterKind::OpenAIResp,
            Dialect::Anthropic => AdapterKind::Anthropic,
            Dialect::Gemini => AdapterKind::Gemini,
            Dialect::Ollama => AdapterKind::Ollama,
            // It speaks the first version of Cohere's format, ours is the second.
            Dialect::Cohere => return None,
        };
        let body = stream.reads.concat();
        let content_type =
            if stream.dialect == Dialect::Ollama { "application/x-ndjson" } else { "text/event-stream" };
        let url = format!("http://{}/", serve(content_type, body));
        let base = url.clone();
        let resolver = ServiceTargetResolver::from_resolver_fn(move |target: ServiceTarget| {
            Ok(ServiceTarget {
                endpoint: Endpoint::from_owned(base.clone()),
                auth: AuthData::from_single("key"),
                model: ModelIden::new(kind, target.model.model_name),
            })
        });
        // Its own HTTP client, without proxies, in both.
        let bare = reqwest::Client::builder().no_proxy().build().expect("a client without TLS");
        let client = Client::builder()
            .with_reqwest(bare.clone())
            .with_service_target_resolver(resolver)
            .build()
            .expect("a client of genai");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime on this thread");
        let over = Self {
            runtime,
            client,
            bare,
            url,
            chunks: stream.reads.len() as f64,
            text_bytes: stream.text_bytes,
            whole: Vec::new(),
            transport: Vec::new(),
        };
        let found = over.decode();
        // It gives calls whole, again and again as they grow: there the sum says nothing.
        if !stream.case.ends_with("tools") {
            assert_eq!(found, over.text_bytes, "{}: {WHO}", stream.case);
        }
        Some(over)
    }

    pub fn round(&mut self) {
        let start = cpu::thread_nanos();
        std::hint::black_box(self.decode());
        let middle = cpu::thread_nanos();
        self.carry();
        self.whole.push((middle - start) / self.chunks);
        self.transport.push((cpu::thread_nanos() - middle) / self.chunks);
    }

    pub fn tell(mut self, case: &str) {
        side::figure(case, WHO, median(&mut self.whole) - median(&mut self.transport), UNIT);
    }

    fn decode(&self) -> usize {
        self.runtime.block_on(async {
            let request = ChatRequest::new(vec![ChatMessage::user("hi")]);
            let answer = self.client.exec_chat_stream("m", request, None).await.expect("an answer");
            let (mut stream, mut bytes) = (answer.stream, 0);
            while let Some(event) = stream.next().await {
                match event.expect("the bench's stream is sound") {
                    ChatStreamEvent::Chunk(chunk) => bytes += chunk.content.len(),
                    event => drop(std::hint::black_box(event)),
                }
            }
            bytes
        })
    }

    /// The same bytes, not looked at.
    fn carry(&self) {
        self.runtime.block_on(async {
            let mut response = self.bare.post(&self.url).body("{}").send().await.expect("an answer");
            while let Some(chunk) = response.chunk().await.expect("the rest of the answer") {
                std::hint::black_box(chunk.len());
            }
        });
    }
}

/// Answers every request with the body, for as long as the program runs.
fn serve(content_type: &'static str, body: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port of the loopback");
    let address = listener.local_addr().expect("its address");
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer: Arc<[u8]> = [head.as_bytes(), &body].concat().into();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || converse(connection, &answer));
        }
    });
    address
}

/// Requests in turn; what they ask is not looked at, but for its end.
fn converse(mut connection: TcpStream, answer: &[u8]) {
    let (mut request, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    while let Ok(read @ 1..) = connection.read(&mut buffer) {
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            request.clear();
            if connection.write_all(answer).is_err() {
                return;
            }
        }
    }
}
