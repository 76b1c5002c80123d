//! [`Server`]: a peer on the loopback that answers from a script or a cassette.

use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::{
    Cassette, Exchange, RecordedRequest, Reply, Scrubber, cassette,
    wire::{Received, receive, send},
};

/// A peer on the loopback. It ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    plan: Mutex<Plan>,
    requests: Mutex<Vec<RecordedRequest>>,
}

enum Plan {
    /// In this order, the last one for ever.
    Script(VecDeque<Reply>),
    /// By request, each exchange once.
    Cassette(Vec<Option<Exchange>>),
}

impl Server {
    /// Answers with these in order, whatever is asked; the last one for ever.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> io::Result<Self> {
        Self::with(Plan::Script(replies.into_iter().collect())).await
    }

    /// Answers with what was recorded for the same method, path and body (JSON compared as JSON, credentials not at all),
    /// each exchange once. What was not recorded is refused under status 501, and the refusal says what differs.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn replay(cassette: Cassette) -> io::Result<Self> {
        Self::with(Plan::Cassette(cassette.exchanges.into_iter().map(Some).collect())).await
    }

    async fn with(plan: Plan) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { plan: Mutex::new(plan), requests: Mutex::default() });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let shared = serving.clone();
                connections.spawn(async move { shared.serve(socket).await });
            }
        });
        Ok(Self { address, shared, task: task.abort_handle() })
    }

    /// Its address, as a client's base URL without a path.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far, credentials scrubbed.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    async fn serve(&self, mut socket: TcpStream) {
        let mut kept = Vec::new();
        while let Ok(Some(received)) = receive(&mut socket, &mut kept).await {
            let reply = self.reply(recorded(&received, &mut Scrubber::new()));
            if !send(&mut socket, &reply).await.unwrap_or(false) {
                return;
            }
        }
    }

    fn reply(&self, request: RecordedRequest) -> Reply {
        let reply = match &mut *self.plan.lock().unwrap_or_else(PoisonError::into_inner) {
            Plan::Script(replies) if replies.len() > 1 => replies.pop_front(),
            Plan::Script(replies) => replies.front().cloned(),
            Plan::Cassette(exchanges) => Some(recall(exchanges, &request)),
        };
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        reply.unwrap_or_else(|| refusal("nothing is scripted"))
    }
}

fn recall(exchanges: &mut [Option<Exchange>], request: &RecordedRequest) -> Reply {
    let is_same = |other: &RecordedRequest| other.method == request.method && other.path == request.path;
    let mut has_place = false;
    for slot in exchanges {
        let Some(exchange) = slot else { continue };
        if !is_same(&exchange.request) {
            continue;
        }
        has_place = true;
        if exchange.request.body == request.body {
            let reply = exchange.reply.to_reply();
            *slot = None;
            return reply;
        }
    }
    let what = if has_place { "with this body" } else { "at this path" };
    refusal(&format!("no exchange {what} is left on the cassette: {} {}", request.method, request.path))
}

fn refusal(why: &str) -> Reply {
    Reply::refusal(501, serde_json::json!({"error": {"message": why}}).to_string())
}

/// A request as it is kept.
pub(crate) fn recorded(received: &Received, scrubber: &mut Scrubber) -> RecordedRequest {
    let path = scrubber.path(&received.path);
    let headers = received.headers.iter().map(|(name, value)| (name.clone(), scrubber.header(name, value)));
    let headers = headers.collect();
    let mut body = received.body.clone();
    scrubber.bytes(&mut body);
    RecordedRequest { method: received.method.clone(), path, headers, body: cassette::body(&body) }
}
