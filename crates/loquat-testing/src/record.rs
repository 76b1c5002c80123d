//! [`Recorder`]: stands between a program and a provider, and keeps what passes.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use loquat_core::{Context, Error};
use loquat_transport::{Request, Transport};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::{
    Cassette, Exchange, RecordedReply, Scrubber,
    server::recorded,
    wire::{Chunked, Received, receive},
};

/// Headers that belong to one connection (RFC 9110 §7.6.1) or that this side writes itself.
const NOT_PASSED_ON: [&str; 7] =
    ["connection", "host", "content-length", "transfer-encoding", "keep-alive", "te", "upgrade"];
/// Headers of a reply that are kept: what tells a decoder or a scheduler something.
const KEPT: [&str; 3] = ["content-type", "retry-after", "retry-after-ms"];

/// A server on the loopback that passes requests on to a provider and keeps what passes, credentials scrubbed. Point a
/// client at [`base_url`](Self::base_url); take the [`cassette`](Self::cassette) when it has asked what it has to ask.
pub struct Recorder {
    address: SocketAddr,
    kept: Arc<Mutex<Cassette>>,
    task: AbortHandle,
}

struct Upstream {
    transport: Transport,
    base_url: String,
    scrubber: Scrubber,
    kept: Arc<Mutex<Cassette>>,
}

impl Recorder {
    /// Passes on to that address, such as `https://api.openai.com`.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(
        transport: Transport,
        upstream: impl Into<String>,
        scrubber: Scrubber,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let kept = Arc::<Mutex<Cassette>>::default();
        let base_url = upstream.into().trim_end_matches('/').to_owned();
        let upstream = Arc::new(Upstream { transport, base_url, scrubber, kept: kept.clone() });
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let upstream = upstream.clone();
                connections.spawn(async move { upstream.serve(socket).await });
            }
        });
        Ok(Self { address, kept, task: task.abort_handle() })
    }

    /// Its address, in place of the provider's.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has passed so far, in the order of the endings.
    pub fn cassette(&self) -> Cassette {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Upstream {
    async fn serve(&self, mut socket: TcpStream) {
        let mut rest = Vec::new();
        while let Ok(Some(received)) = receive(&mut socket, &mut rest).await {
            // One that fails is cut on the program's side too; it has seen what there was to see.
            if self.pass(&mut socket, &received).await.is_err() {
                return;
            }
        }
    }

    async fn pass(&self, socket: &mut TcpStream, received: &Received) -> Result<(), Error> {
        let local = |error: io::Error| {
            Error::new(loquat_core::ErrorKind::Local, "the recorded program went away").with_source(error)
        };
        let mut scrubber = self.scrubber.clone();
        let request = recorded(received, &mut scrubber);
        let response = self.transport.send(&Context::new(), self.outgoing(received)?).await?;
        let status = response.status.as_u16();
        let mut headers = Vec::new();
        for (name, value) in &response.headers {
            if let (false, Ok(value)) = (NOT_PASSED_ON.contains(&name.as_str()), value.to_str()) {
                headers.push((name.as_str().to_owned(), value.to_owned()));
            }
        }
        let mut stream = Chunked::start(socket, status, &headers).await.map_err(local)?;
        let mut body = response.body;
        let (mut whole, mut borders, mut is_whole) = (Vec::new(), Vec::new(), true);
        let mut outcome = Ok(());
        while let Some(piece) = body.chunk().await {
            match piece {
                Ok(piece) => {
                    whole.extend_from_slice(&piece);
                    borders.push(whole.len());
                    outcome = stream.piece(piece).await.map_err(local);
                }
                Err(error) => outcome = Err(error),
            }
            if outcome.is_err() {
                is_whole = false;
                break;
            }
        }
        if is_whole {
            outcome = stream.finish().await.map_err(local);
        }
        let headers = headers.into_iter().filter(|(name, _)| {
            KEPT.contains(&name.as_str()) || name.contains("ratelimit") || name.contains("request-id")
        });
        let headers = headers
            .map(|(name, value)| {
                let value = scrubber.header(&name, &value);
                (name, value)
            })
            .collect();
        scrubber.bytes(&mut whole);
        let starts = std::iter::once(0).chain(borders.iter().copied());
        let pieces = starts.zip(&borders).map(|(start, end)| RecordedReply::piece(&whole[start..*end]));
        let reply = RecordedReply { status, headers, pieces: pieces.collect(), is_whole };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.exchanges.push(Exchange { request, reply });
        outcome
    }

    fn outgoing(&self, received: &Received) -> Result<Request, Error> {
        let url = format!("{}{}", self.base_url, received.path);
        let mut request = match received.method.parse::<Method>() {
            Ok(Method::GET) => Request::get(&url)?,
            _ => Request::post(&url, Bytes::copy_from_slice(&received.body))?,
        };
        for (name, value) in &received.headers {
            if NOT_PASSED_ON.contains(&name.as_str()) {
                continue;
            }
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                request.headers.insert(name, value);
            }
        }
        Ok(request)
    }
}
