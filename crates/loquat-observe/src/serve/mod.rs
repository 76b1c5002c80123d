//! A listener for scrapers and for people who look inside: metrics, and pages of what is going on right now.
//!
//! It is off until somebody starts one. It runs on threads of its own and blocks there: what it is for is also the program
//! whose runtime stands still, and which could not answer by that runtime. So it speaks the little HTTP/1.1 it needs itself:
//! one `GET` per connection, a bounded head, a limit in time for each. <https://www.rfc-editor.org/rfc/rfc9112>

mod head;
mod pages;

use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
#[cfg(unix)]
use std::{
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
};

use loquat_core::{Error, ErrorKind, Result, Secret};

use crate::Observer;
use head::Head;

/// How a [`Server`] is set.
///
/// | field | default | reason |
/// |---|---|---|
/// | `debug` | off | what a program does inside is nobody's business unless somebody says so |
/// | `token` | none | loopback and Unix sockets are bounded by the machine; metrics hold no content |
/// | `max_connections` | 8 | a scraper, a person, and room for both to be slow |
/// | `request_timeout` | 10 s | Prometheus gives up then, too |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Whether there are pages below `/debug`. Then the address has to be this machine's own.
    pub debug: bool,
    /// What a client has to bear: `Authorization: Bearer …`. Compared in constant time.
    pub token: Option<Secret>,
    /// Connections at a time; those beyond are closed.
    pub max_connections: usize,
    /// From a connection's beginning until its request is in, and again until the response is out.
    pub request_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { debug: false, token: None, max_connections: 8, request_timeout: Duration::from_secs(10) }
    }
}

impl ServerConfig {
    /// With the pages below `/debug`.
    #[must_use]
    pub fn with_debug(mut self) -> Self {
        self.debug = true;
        self
    }

    /// For clients that bear that token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }
}

/// A listener that runs until it is dropped. It answers at `/metrics`; with [`ServerConfig::debug`] also below `/debug`, and `/`
/// lists all there is.
///
/// ```
/// use loquat_observe::{Observer, serve::{Server, ServerConfig}};
///
/// let observer = Observer::new();
/// let server = Server::bind(&observer, ([127, 0, 0, 1], 0).into(), ServerConfig::default())?; // `loquat top` asks 9464
/// let address = server.address().expect("TCP");
/// println!("http://{address}/metrics");
/// assert!(std::net::TcpStream::connect(address).is_ok());
/// # Ok::<(), loquat_core::Error>(())
/// ```
#[must_use = "dropping a server closes it"]
pub struct Server {
    shared: Arc<Shared>,
    address: Address,
}

#[derive(Debug, Clone)]
enum Address {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
}

struct Shared {
    observer: Observer,
    config: ServerConfig,
    is_closed: AtomicBool,
    connections: AtomicUsize,
    /// Whether the listener is a TCP one, whose clients name a host.
    has_host: bool,
}

impl Server {
    /// Listens at that address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] for debug pages on an address that is not this machine's own; [`ErrorKind::Local`]
    /// where the system refuses.
    pub fn bind(observer: &Observer, address: SocketAddr, config: ServerConfig) -> Result<Self> {
        if config.debug && !address.ip().is_loopback() {
            let message = format!("debug pages are for this machine alone: {address} is no loopback address");
            return Err(Error::new(ErrorKind::NotConfigured, message));
        }
        let failed = |error| local(format!("cannot listen at {address}"), error);
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Shared::new(observer, config, true);
        let server = Self { shared: shared.clone(), address: Address::Tcp(address) };
        accept(shared, move || listener.accept().map(|(stream, _)| stream))?;
        Ok(server)
    }

    /// Listens at that path, which must not exist, and which only this user may open.
    ///
    /// # Errors
    /// [`ErrorKind::Local`] where the system refuses.
    #[cfg(unix)]
    pub fn bind_unix(observer: &Observer, path: impl Into<PathBuf>, config: ServerConfig) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;

        let path = path.into();
        let failed = |error| local(format!("cannot listen at {}", path.display()), error);
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let shared = Shared::new(observer, config, false);
        let server = Self { shared: shared.clone(), address: Address::Unix(path) };
        accept(shared, move || listener.accept().map(|(stream, _)| stream))?;
        Ok(server)
    }

    /// Where it listens; `None` for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Tcp(address) => Some(address),
            #[cfg(unix)]
            Address::Unix(_) => None,
        }
    }

    /// Where it listens; `None` for a TCP address.
    #[cfg(unix)]
    pub fn path(&self) -> Option<&Path> {
        match &self.address {
            Address::Tcp(_) => None,
            Address::Unix(path) => Some(path),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Relaxed);
        // Wakes the thread, which waits for a connection. If there is none to be had, it waits for the next.
        match &self.address {
            Address::Tcp(address) => drop(TcpStream::connect_timeout(address, Duration::from_secs(1))),
            #[cfg(unix)]
            Address::Unix(path) => {
                drop(UnixStream::connect(path));
                drop(std::fs::remove_file(path));
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

fn local(what: String, error: io::Error) -> Error {
    Error::new(ErrorKind::Local, what).with_source(error)
}

impl Shared {
    fn new(observer: &Observer, config: ServerConfig, has_host: bool) -> Arc<Self> {
        let (is_closed, connections) = (AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Self { observer: observer.clone(), config, is_closed, connections, has_host })
    }
}

/// What is asked of a connection's socket.
trait Stream: Read + Write + Send + 'static {
    fn limit(&self, timeout: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn limit(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

#[cfg(unix)]
impl Stream for UnixStream {
    fn limit(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

/// Accepts on a thread of its own, and answers each connection on another.
fn accept<S: Stream>(
    shared: Arc<Shared>,
    mut next: impl FnMut() -> io::Result<S> + Send + 'static,
) -> Result<()> {
    let accepting = move || {
        loop {
            let stream = next();
            if shared.is_closed.load(Relaxed) {
                return;
            }
            let Ok(stream) = stream else {
                thread::sleep(Duration::from_millis(50)); // out of descriptors, say
                continue;
            };
            if shared.connections.fetch_add(1, Relaxed) >= shared.config.max_connections {
                shared.connections.fetch_sub(1, Relaxed);
                continue;
            }
            let one = Connection(shared.clone());
            // Where there is no thread to be had, the connection is closed and counted off.
            drop(thread::Builder::new().name("loquat-debug".into()).spawn(move || one.answer(stream)));
        }
    };
    let spawned = thread::Builder::new().name("loquat-observe".into()).spawn(accepting);
    spawned.map(drop).map_err(|error| local("cannot start a thread to listen".into(), error))
}

/// Counts itself off.
struct Connection(Arc<Shared>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

impl Connection {
    fn answer<S: Stream>(&self, mut stream: S) {
        let timeout = self.0.config.request_timeout;
        let due = after(timeout);
        // A client that goes away before it has its answer is no error of ours.
        let _ = read(&mut stream, due).and_then(|head| {
            let page = match head {
                Some(head) => self.page(&head),
                None => pages::Page::error(400, "this is no request that is understood here"),
            };
            write(&mut stream, &page.into_bytes(), after(timeout))
        });
    }

    fn page(&self, head: &Head) -> pages::Page {
        let config = &self.0.config;
        if let Some(token) = &config.token
            && !head.bearer.as_deref().is_some_and(|given| same(given.as_bytes(), token.expose().as_bytes()))
        {
            return pages::Page::error(401, "a token is wanted: Authorization: Bearer …");
        }
        // A page in a browser may call any name its own that leads here; a browser says which name it used.
        if config.debug && self.0.has_host && !head.names_this_machine() {
            return pages::Page::error(403, "debug pages are asked for by address or as localhost");
        }
        pages::page(head, &self.0.observer, config.debug)
    }
}

fn after(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(Duration::from_secs(3600))
}

/// All of it by then: a client that takes a little now and then would keep its connection for hours.
fn write<S: Stream>(stream: &mut S, mut bytes: &[u8], due: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.limit(left)?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.flush()
}

/// The request's head; `None` for what is none.
fn read<S: Stream>(stream: &mut S, due: Instant) -> io::Result<Option<Head>> {
    const MAX_HEAD_BYTES: usize = 8 * 1024;
    let mut bytes = Vec::with_capacity(1024);
    let mut piece = [0; 1024];
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.limit(left)?;
        let count = stream.read(&mut piece)?;
        let Some(more) = piece.get(..count).filter(|more| !more.is_empty()) else { return Ok(None) };
        bytes.extend_from_slice(more);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(bytes.get(..end).and_then(Head::parse));
        }
        if bytes.len() > MAX_HEAD_BYTES {
            return Ok(None);
        }
    }
}

/// Whether they are the same, in a time that tells nothing but the lengths.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
