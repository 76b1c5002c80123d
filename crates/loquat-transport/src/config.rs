//! Every limit and choice of the transport, as data: unit, default, reason.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{AddressPolicy, Proxy, Resolve};

/// How a [`Transport`](crate::Transport) connects, waits, and what it keeps.
///
/// `Config::default()` is what a careful operator would choose; change it with the `with_` methods or field by field.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// How long each stage of an attempt may take.
    pub limits: Limits,
    /// Where HTTP/2 is spoken. Default: where a TLS server chooses it.
    pub http2: Http2Mode,
    /// Windows and streams of an HTTP/2 connection.
    pub http2_limits: Http2Limits,
    /// What goes through a proxy. Default: nothing, because a proxy sees every request.
    pub proxy: Proxy,
    /// Origins that are reached over a Unix socket, `http` alone, with its path. Default: none.
    pub unix_sockets: Vec<(String, PathBuf)>,
    /// Certificate authorities trusted beside the platform's own. Default: none.
    pub extra_roots: Vec<ExtraRoot>,
    /// What is kept open for the next request.
    pub pool: PoolConfig,
    /// How much a response head may hold.
    pub head: HeadLimits,
    /// Socket options.
    pub tcp: TcpConfig,
    /// Who turns names into addresses. Default `None`: the operating system ([`crate::SystemResolver`]).
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Which addresses may be dialled. Default: any, because an operator's own servers are where they are. A transport for
    /// addresses that came from discovery should say [`AddressPolicy::PublicOnly`].
    pub addresses: AddressPolicy,
    /// How far a compressed body may grow. Without the feature `decompress` nothing asks for one.
    pub decompress: DecompressLimits,
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// With these limits in time.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// With HTTP/2 there.
    #[must_use]
    pub fn with_http2(mut self, mode: Http2Mode) -> Self {
        self.http2 = mode;
        self
    }

    /// With these windows and streams.
    #[must_use]
    pub fn with_http2_limits(mut self, limits: Http2Limits) -> Self {
        self.http2_limits = limits;
        self
    }

    /// With that proxy.
    #[must_use]
    pub fn with_proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = proxy;
        self
    }

    /// Reaches that origin (`http://model.local`) over the Unix socket at that path, with HTTP/1.1 or, by
    /// [`Http2Mode::PriorKnowledge`], HTTP/2. Nothing is resolved for it, and no proxy asked.
    #[must_use]
    pub fn with_unix_socket(mut self, origin: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.unix_sockets.push((origin.into(), path.into()));
        self
    }

    /// Trusts that certificate authority, too.
    #[must_use]
    pub fn with_extra_root(mut self, root: ExtraRoot) -> Self {
        self.extra_roots.push(root);
        self
    }

    /// With that pool.
    #[must_use]
    pub fn with_pool(mut self, pool: PoolConfig) -> Self {
        self.pool = pool;
        self
    }

    /// With these socket options.
    #[must_use]
    pub fn with_tcp(mut self, tcp: TcpConfig) -> Self {
        self.tcp = tcp;
        self
    }

    /// Asks that resolver.
    #[must_use]
    pub fn with_resolver(mut self, resolver: impl Resolve + 'static) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Dials those addresses only.
    #[must_use]
    pub fn with_addresses(mut self, policy: AddressPolicy) -> Self {
        self.addresses = policy;
        self
    }

    /// With these bounds on compressed bodies.
    #[must_use]
    pub fn with_decompress(mut self, limits: DecompressLimits) -> Self {
        self.decompress = limits;
        self
    }

    /// With these bounds on response heads.
    #[must_use]
    pub fn with_head(mut self, head: HeadLimits) -> Self {
        self.head = head;
        self
    }
}

/// How long each stage of an attempt may take. The caller's own deadline ([`loquat_core::Context::deadline`]) cuts
/// each of them short. What happens while a body is read (first token, idle, total) is the caller's to limit: only
/// those who parse the body know an event from a keep-alive comment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Getting a TCP connection: the wait for a free place in the pool, and again name look-up, connecting over all
    /// addresses and a proxy's answer. Default 10 s: a lost SYN is repeated after 1 s and 3 s, so three tries fit,
    /// and nobody who waits longer gets through.
    pub connect: Duration,
    /// The TLS handshake. Default 10 s: two round trips and one loss, even by satellite.
    pub tls: Duration,
    /// From the last byte of the request written (HTTP/2: from the request handed to the connection) to the response
    /// head; [`crate::Request::first_byte`] overrides it. Default 60 s, what a loaded server may take to its first
    /// token, which is when most send the head. `None`: the deadline alone.
    pub first_byte: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            tls: Duration::from_secs(10),
            first_byte: Some(Duration::from_secs(60)),
        }
    }
}

impl Limits {
    /// With that limit for getting a connection.
    #[must_use]
    pub fn with_connect(mut self, limit: Duration) -> Self {
        self.connect = limit;
        self
    }

    /// With that limit for the TLS handshake.
    #[must_use]
    pub fn with_tls(mut self, limit: Duration) -> Self {
        self.tls = limit;
        self
    }

    /// With that limit for the response head.
    #[must_use]
    pub fn with_first_byte(mut self, limit: Option<Duration>) -> Self {
        self.first_byte = limit;
        self
    }
}

/// Where HTTP/2 is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Http2Mode {
    /// Over TLS where the server chooses it by ALPN (RFC 7301); HTTP/1.1 in clear.
    #[default]
    Auto,
    /// In clear, too, without asking (RFC 9113 §3.3); over TLS as [`Http2Mode::Auto`].
    PriorKnowledge,
    /// Nowhere.
    Never,
}

/// Windows and streams of an HTTP/2 connection.
///
/// The connection window should hold `max_streams` × `stream_window_bytes`: then streams that nobody reads cannot
/// stop their neighbours.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Http2Limits {
    /// Most streams used at once on one connection, below the peer's own limit; more requests open another
    /// connection. Default 100, what servers allow most often.
    pub max_streams: usize,
    /// Bytes a peer may send ahead on one stream, 65,535 to 2³¹ − 1. Default 256 KiB: a token stream needs a few
    /// hundred bytes, a download gets 5 MB/s over a 50 ms round trip, and 100 unread streams cost 25 MiB.
    pub stream_window_bytes: u32,
    /// Bytes a peer may send ahead on all streams together, 65,535 to 2³¹ − 1. Default 25 MiB: 100 × 256 KiB.
    pub connection_window_bytes: u32,
    /// What `h2` allows for small DATA frames not yet read: each costs 256 bytes less its size, and a connection
    /// that spends the budget is closed. Tokens come in small frames, so `h2`'s own default kills a busy connection.
    /// Frames that a caller leaves unread are taken over before they cost an eighth of it; what is charged and never
    /// given back is the frames that were under way to a stream when it was reset. Default 64 MiB, for 260,000 of those in
    /// the life of a connection. It is a number, not memory.
    pub data_frame_budget_bytes: usize,
    /// How long the caller of a stream may read nothing, while at least `laggard_bytes` lie there for it, before the stream
    /// is given up: reset, with an error whose source is [`crate::Laggard`]. Up to a quarter later. Default 60 s, longer than anything pauses
    /// that still lives. When three quarters of the connection's window lie unread, a quarter of the time is enough, and any
    /// bytes: its neighbours are about to starve. `None`: never.
    pub laggard_after: Option<Duration>,
    /// See `laggard_after`. Default 64 KiB: what ten minutes of tokens take, so a reader that only thinks is left alone.
    pub laggard_bytes: usize,
    /// Asks a peer that has sent nothing for so long, while streams are open, whether it still lives (PING, RFC 9113 §6.7).
    /// Default `None`, because some servers take it for abuse and hang up; 30 s finds a connection that a balancer has
    /// forgotten.
    pub ping_every: Option<Duration>,
    /// How long the peer may then still send nothing before the connection and its streams are given up. Default 20 s.
    pub ping_timeout: Duration,
    /// Streams of one connection that may be reset by this side (a body dropped early, a limit passed) within
    /// `resets_within`; past that, new requests go to another connection and this one drains. Default 150: servers close
    /// a connection with all that is on it at 200 resets in 30 s and more.
    pub max_resets: usize,
    /// See `max_resets`. Default 30 s.
    pub resets_within: Duration,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            max_streams: 100,
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 100 * 256 * 1024,
            data_frame_budget_bytes: 64 * 1024 * 1024,
            laggard_after: Some(Duration::from_secs(60)),
            laggard_bytes: 64 * 1024,
            ping_every: None,
            ping_timeout: Duration::from_secs(20),
            max_resets: 150,
            resets_within: Duration::from_secs(30),
        }
    }
}

impl Http2Limits {
    /// With that many streams on a connection.
    #[must_use]
    pub fn with_max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// With these windows, in bytes.
    #[must_use]
    pub fn with_windows(mut self, stream_bytes: u32, connection_bytes: u32) -> Self {
        self.stream_window_bytes = stream_bytes;
        self.connection_window_bytes = connection_bytes;
        self
    }

    /// Gives streams up that nobody reads for so long.
    #[must_use]
    pub fn with_laggard_after(mut self, time: Option<Duration>) -> Self {
        self.laggard_after = time;
        self
    }

    /// Asks silent peers whether they live.
    #[must_use]
    pub fn with_ping(mut self, every: Duration, timeout: Duration) -> Self {
        (self.ping_every, self.ping_timeout) = (Some(every), timeout);
        self
    }
}

/// A certificate authority to trust, in PEM; a bundle of several is fine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtraRoot {
    /// A file, read when the transport is made.
    File(PathBuf),
    /// The PEM text itself.
    Pem(Vec<u8>),
}

/// What is kept open for the next request, and how many connections there may be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolConfig {
    /// Most idle HTTP/1.1 connections kept per origin; the oldest goes first. Default 100.
    pub max_idle_per_origin: usize,
    /// How long an idle connection is kept. Default 90 s, a ceiling: many servers close far earlier, so a `Keep-Alive:
    /// timeout` is obeyed, and a server that was seen to close earlier is given less for the next ten minutes. Looked after whenever a request is sent: an unused transport has no task that
    /// would.
    pub idle_timeout: Duration,
    /// How long an HTTP/1.1 connection may have been idle to carry a request that cannot be replayed. Default 4 s:
    /// uvicorn, and with it vLLM, closes at 5 s, and a request that meets the close is lost without a safe retry.
    pub reuse_within: Duration,
    /// How long a connection serves new requests, less up to a fifth by chance, so that connections made together are not
    /// replaced together. Default 5 min: a name that resolves anew is followed within that. What is running is not cut
    /// off. `None`: for ever.
    pub max_age: Option<Duration>,
    /// Most connections per origin, idle and connecting ones included; more requests wait, at most
    /// [`Limits::connect`]. Default 1,024, below the usual limit on open files.
    pub max_connections_per_origin: usize,
    /// Most connections being made at once per origin. Default 256: a burst on HTTP/1.1 needs one each.
    pub max_connecting_per_origin: usize,
    /// After [`Body::finish`](crate::Body::finish), most bytes read to reach the end of the body, so that the
    /// connection can be used again without a reset. Default 64 KiB; a new connection is cheaper than reading more.
    pub drain_bytes: usize,
    /// As `drain_bytes`, in time. Default 50 ms: about a new connection's cost.
    pub drain_time: Duration,
    /// Most buffers at rest of each size, 32 and 64 KiB, for decompressing and uploading. Default 64: 6 MiB at most.
    pub max_idle_buffers: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_idle_per_origin: 100,
            idle_timeout: Duration::from_secs(90),
            reuse_within: Duration::from_secs(4),
            max_age: Some(Duration::from_secs(300)),
            max_connections_per_origin: 1024,
            max_connecting_per_origin: 256,
            drain_bytes: 64 * 1024,
            drain_time: Duration::from_millis(50),
            max_idle_buffers: 64,
        }
    }
}

impl PoolConfig {
    /// Keeps at most that many idle connections per origin; 0 keeps none.
    #[must_use]
    pub fn with_max_idle_per_origin(mut self, connections: usize) -> Self {
        self.max_idle_per_origin = connections;
        self
    }

    /// Keeps idle connections that long.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Trusts an idle connection with a request that cannot be replayed for that long.
    #[must_use]
    pub fn with_reuse_within(mut self, age: Duration) -> Self {
        self.reuse_within = age;
        self
    }

    /// Replaces connections at that age.
    #[must_use]
    pub fn with_max_age(mut self, age: Option<Duration>) -> Self {
        self.max_age = age;
        self
    }

    /// With at most that many connections per origin.
    #[must_use]
    pub fn with_max_connections_per_origin(mut self, connections: usize) -> Self {
        self.max_connections_per_origin = connections;
        self
    }
}

/// How far a compressed body may grow: a few kilobytes can be made to hold terabytes. Each piece is checked before it is
/// handed out, and no more than 32 KiB are decoded ahead, beside the window of the format: at most 16 MiB for brotli, 8 for zstd.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DecompressLimits {
    /// Whether to ask for compressed bodies, where the caller has not set `Accept-Encoding` or `Range` itself; a caller that
    /// has gets the body as it comes. A server or proxy that compresses may hold events back until it has enough of them; where
    /// one does, this is to be off. Default true, with the feature `decompress`.
    pub enabled: bool,
    /// Most bytes of one body once decompressed. Default 256 MiB: no answer gets there, and what does is a download, which
    /// should ask for `identity`.
    pub max_bytes: u64,
    /// How many times larger than what has come a body may be. Default 250: JSON stays below 30, repeated events below 100, and
    /// a bomb of gzip has 1,000, one of zstd or brotli a hundred thousand.
    pub max_ratio: u32,
    /// The ratio counts once so many bytes have come out. Default 1 MiB: a small body of blanks is no attack.
    pub ratio_from_bytes: u64,
}

impl Default for DecompressLimits {
    fn default() -> Self {
        Self { enabled: true, max_bytes: 256 << 20, max_ratio: 250, ratio_from_bytes: 1 << 20 }
    }
}

impl DecompressLimits {
    /// Asks for no compressed body.
    #[must_use]
    pub fn disabled() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    /// With at most that many bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// With at most that growth.
    #[must_use]
    pub fn with_max_ratio(mut self, ratio: u32) -> Self {
        self.max_ratio = ratio;
        self
    }
}

/// How much a response head may hold, and what it is read with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HeadLimits {
    /// Most bytes of a response head, 8 KiB to 16 MiB. Default 64 KiB, four times what proxies commonly pass on.
    pub max_bytes: usize,
    /// Most header fields in an HTTP/1.1 response head, up to 16,384. Default 200; `max_bytes` bounds them on HTTP/2.
    pub max_fields: usize,
    /// Largest piece in which an HTTP/1.1 connection is read, up to 16 MiB; less than `max_bytes` counts as that much.
    /// Default 256 KiB: a body of 100 KB that has come is handed out as it is, where pieces of 64 KiB would have to be joined. A
    /// connection's buffer grows to it only while reads fill it, and shrinks again.
    pub read_bytes: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { max_bytes: 64 * 1024, max_fields: 200, read_bytes: 256 * 1024 }
    }
}

impl HeadLimits {
    /// With at most that many bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Read in pieces of at most that many bytes.
    #[must_use]
    pub fn with_read_bytes(mut self, bytes: usize) -> Self {
        self.read_bytes = bytes;
        self
    }
}

/// Socket options. `TCP_NODELAY` is always on: a request is written whole, and waiting to fill a segment only adds
/// latency.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TcpConfig {
    /// How long a connection is silent before the kernel probes the peer. Default 60 s: address translators drop a
    /// silent connection after 120 s and more, while a model may think for longer. `None`: never.
    pub keep_alive: Option<Duration>,
    /// How long what was sent may stay without an acknowledgement before the connection counts as lost
    /// (`TCP_USER_TIMEOUT`, RFC 5482; Linux only). Default 30 s: a peer that vanished is noticed in that time and not after
    /// the kernel's quarter of an hour. `None`: the kernel's.
    pub user_timeout: Option<Duration>,
    /// Acknowledges each read at once instead of waiting for something to send with it (`TCP_QUICKACK`; Linux only). The
    /// kernel forgets it, so it costs a system call for each read. Default off.
    pub quick_ack: bool,
    /// How long one address has before the next is tried beside it. Default 250 ms (RFC 8305 §5).
    pub attempt_delay: Duration,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            keep_alive: Some(Duration::from_secs(60)),
            user_timeout: Some(Duration::from_secs(30)),
            quick_ack: false,
            attempt_delay: Duration::from_millis(250),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_streams_fit_into_the_connection_window_and_debug_hides_the_password() {
        let limits = Http2Limits::default();
        assert!(
            limits.connection_window_bytes as usize
                >= limits.max_streams * limits.stream_window_bytes as usize
        );
        assert!(limits.data_frame_budget_bytes >= limits.max_streams * 64 * 1024);
        let config = Config::new().with_proxy(Proxy::Url("http://u:hunter2@proxy".into()));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
