//! Every limit and choice of the transport, as data: unit, default, reason.

mod http2;
mod pool;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use http2::{Http2Limits, Http2Mode};
pub use pool::PoolConfig;

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
    /// Getting a TCP connection: name look-up, connecting over all addresses and a proxy's answer. Before that, the wait for a free
    /// place in the pool, or for a connection that another request makes, may take as long as this and `tls` together. Default 10 s: a lost SYN is repeated after 1 s and 3 s, so three tries fit,
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

/// A certificate authority to trust, in PEM; a bundle of several is fine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtraRoot {
    /// A file, read when the transport is made.
    File(PathBuf),
    /// The PEM text itself.
    Pem(Vec<u8>),
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
    /// Most bytes of a response head; on HTTP/1.1 interim heads (`103 Early Hints`) before it count too. Default 64 KiB, four times
    /// what proxies commonly pass on. Beyond it an attempt fails with [`ErrorKind::TooLarge`](loquat_core::ErrorKind::TooLarge); on HTTP/2 with
    /// [`ErrorKind::Protocol`](loquat_core::ErrorKind::Protocol), since the library does not tell it from a head that is malformed.
    pub max_bytes: usize,
    /// Most header fields in an HTTP/1.1 response head, up to 16,384; `max_bytes` bounds them on HTTP/2. Default 100, hyper's
    /// and so that of most clients: up to so many are parsed on the stack. With a larger number a table of so many is made and filled
    /// for each response.
    pub max_fields: usize,
    /// Largest piece in which an HTTP/1.1 connection is read, 8 KiB to 16 MiB; less than `max_bytes` counts as that much.
    /// Default 256 KiB: a body of 100 KB that has come is handed out as it is, where pieces of 64 KiB would have to be joined, which
    /// takes some 9 % more of a processor; of 8 KiB, 40 % (`cargo xtask bench tuning`, `copy buffer`).
    /// Pieces of up to 32 KiB are read into memory that all connections of a thread share; one whose reads fill that has a buffer
    /// of its own, as long as they do.
    pub read_bytes: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { max_bytes: 64 * 1024, max_fields: 100, read_bytes: 256 * 1024 }
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
    /// kernel forgets it, so it costs a system call for each read. Default off: small requests take 13 to 30 % more of a processor with it,
    /// bodies of 100 KB up to 9 %, and none was answered sooner (`cargo xtask bench tuning`; over the loopback, where nothing is lost).
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
        let many = Http2Limits { max_streams: 5000, ..Http2Limits::default() };
        for limits in [limits, many] {
            assert!(limits.frame_budget() >= limits.max_streams * 64 * 1024);
        }
        let config = Config::new().with_proxy(Proxy::Url("http://u:hunter2@proxy".into()));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
