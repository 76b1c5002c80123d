//! From an origin to a byte stream: names, addresses, proxy, TLS, each stage with its own limit and its own error.
//!
//! Knows nothing of HTTP messages beyond what a proxy is asked, and nothing of the pool.

mod proxy;
mod tcp;
mod tls;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use loquat_core::{Error, ErrorKind, Result};
use tokio::net::TcpStream;

use crate::{
    AddressPolicy, Config, ConnectionInfo, Http2Mode, Limits, Origin, Protocol, Resolve, SystemResolver,
    TcpConfig, Url,
    io::Stream,
    socket::Socket,
    trail::{Stage, Trail, within},
};

pub(crate) use proxy::{Forward, unauthorized};

/// A connection on which nothing has been said yet.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: Stream,
    pub(crate) info: ConnectionInfo,
    /// Where it ends at a proxy that is handed requests whole.
    pub(crate) forward: Option<Forward>,
}

/// Makes connections.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    limits: Limits,
    tcp: TcpConfig,
    http2: Http2Mode,
    tls: Arc<tls::Tls>,
    proxies: Arc<proxy::Proxies>,
    sockets: HashMap<Origin, PathBuf>,
    resolver: Arc<dyn Resolve>,
    pub(crate) addresses: AddressPolicy,
}

impl Connector {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        Ok(Self {
            limits: config.limits.clone(),
            tcp: config.tcp.clone(),
            http2: config.http2,
            tls: Arc::new(tls::Tls::new(&config.extra_roots, config.http2)?),
            proxies: Arc::new(proxy::Proxies::new(&config.proxy)?),
            sockets: sockets(&config.unix_sockets)?,
            resolver: config.resolver.clone().unwrap_or_else(|| Arc::new(SystemResolver)),
            addresses: config.addresses.clone(),
        })
    }

    /// Whether some names lead to Unix sockets.
    pub(crate) fn has_sockets(&self) -> bool {
        !self.sockets.is_empty()
    }

    /// This one, but that it dials those addresses, and no Unix socket: which name leads to one is for endpoints that the operator
    /// wrote down.
    pub(crate) fn within(&self, addresses: AddressPolicy) -> Self {
        Self { addresses, sockets: HashMap::new(), ..self.clone() }
    }

    /// Which protocol a connection to that origin will speak; `None` where the server has a say.
    pub(crate) fn protocol(&self, origin: &Origin) -> Option<Protocol> {
        match (self.http2, origin.is_secure()) {
            (Http2Mode::Never, _) | (Http2Mode::Auto, false) => Some(Protocol::Http1),
            (Http2Mode::PriorKnowledge, false) => Some(Protocol::Http2),
            (Http2Mode::Auto | Http2Mode::PriorKnowledge, true) => None,
        }
    }

    /// A new connection. `trail` says where it stood when it failed.
    pub(crate) async fn connect(&self, origin: &Origin, trail: &mut Trail) -> Result<Link> {
        if let Some(path) = self.sockets.get(origin) {
            return self.connect_unix(origin, path, trail).await;
        }
        let proxy = self.proxies.of(origin);
        // In clear the proxy gets the request itself, unless it could not understand it.
        let is_readable = !origin.is_secure() && self.protocol(origin) == Some(Protocol::Http1);
        let forward = proxy.filter(|_| is_readable).and_then(proxy::Hop::forward);
        // The proxy's address is dialled in the origin's place; the limit spans look-up, TCP and the proxy's answer.
        let dialled = proxy.map_or(origin, |proxy| proxy.origin());
        let mut progress = tcp::Progress::default();
        let opened = within(Some(self.limits.connect), trail.deadline, async {
            let names = tcp::Names { resolver: &*self.resolver, allowed: &self.addresses };
            // A proxy's own address is the operator's; behind it, the proxy resolves.
            let names = match (proxy, origin.ip()) {
                (None, _) => names,
                (Some(_), ip) => {
                    ip.map_or(Ok(()), |ip| names.check(ip))?;
                    tcp::Names { allowed: &AddressPolicy::Any, ..names }
                }
            };
            let tcp = tcp::open(dialled, &self.tcp, names, &mut progress).await?;
            if let Some(proxy) = proxy.filter(|_| forward.is_none()) {
                progress.stage = Stage::Proxy;
                proxy.connect(&tcp, origin).await.map_err(|what| (ErrorKind::Proxy, what, None))?;
            }
            Ok(tcp)
        })
        .await;
        trail.stage = progress.stage;
        let via = proxy.map(|proxy| format!(" through the proxy {}", proxy.origin())).unwrap_or_default();
        let tcp: TcpStream = match opened {
            Ok(Ok(tcp)) => tcp,
            Ok(Err((kind, what, source))) => {
                // Not reaching the proxy is the proxy's failure, not the origin's.
                let is_ours = kind == ErrorKind::NotConfigured;
                let kind = if proxy.is_some() && !is_ours { ErrorKind::Proxy } else { kind };
                let error = trail.error(kind, format_args!("{what}{via}"));
                return Err(match source {
                    Some(source) => error.with_source(source),
                    None => error,
                });
            }
            Err(expired) => {
                let tried = progress.describe();
                let named = if proxy.is_some() { "connect, proxy included" } else { "connect" };
                return Err(trail
                    .expired(expired, named)
                    .map_message(|message| format!("{message}{tried}{via}")));
            }
        };
        let (peer, local) = (tcp.peer_addr().ok(), tcp.local_addr().ok());
        let mut info = ConnectionInfo { peer, local, protocol: Protocol::Http1, reused: false };
        if !origin.is_secure() {
            info.protocol = self.protocol(origin).unwrap_or(Protocol::Http1);
            let stream = Stream::plain(Socket::new(tcp)).with_quick_ack(self.tcp.quick_ack);
            return Ok(Link { stream, info, forward });
        }
        trail.stage = Stage::Tls;
        let at = peer.map(|peer| format!(" at {peer}")).unwrap_or_default();
        match within(Some(self.limits.tls), trail.deadline, self.tls.handshake(origin, tcp)).await {
            Ok(Ok(stream)) => {
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    info.protocol = Protocol::Http2;
                }
                let stream = Stream::tls(stream).with_quick_ack(self.tcp.quick_ack);
                Ok(Link { stream, info, forward: None })
            }
            Ok(Err(failed)) => {
                let error = trail.error(ErrorKind::Tls, format_args!("{}{at}", failed.what));
                Err(match failed.source {
                    Some(source) => error.with_source(source),
                    None => error,
                })
            }
            Err(expired) => {
                Err(trail.expired(expired, "tls").map_message(|message| format!("{message}{at}")))
            }
        }
    }
}

impl Connector {
    /// A new connection over the socket at that path.
    #[cfg(unix)]
    async fn connect_unix(&self, origin: &Origin, path: &Path, trail: &mut Trail) -> Result<Link> {
        trail.stage = Stage::Connecting;
        let connecting = tokio::net::UnixStream::connect(path);
        match within(Some(self.limits.connect), trail.deadline, connecting).await {
            Ok(Ok(socket)) => {
                let protocol = self.protocol(origin).unwrap_or(Protocol::Http1);
                let info = ConnectionInfo { peer: None, local: None, protocol, reused: false };
                Ok(Link { stream: Stream::unix(socket), info, forward: None })
            }
            Ok(Err(error)) => {
                let what = format_args!("no connection to the Unix socket {}: {error}", path.display());
                Err(trail.error(ErrorKind::Connect, what).with_source(error))
            }
            Err(expired) => Err(trail.expired(expired, "connect")),
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_async, clippy::unused_self, reason = "as on Unix")]
    async fn connect_unix(&self, _: &Origin, _: &Path, trail: &mut Trail) -> Result<Link> {
        Err(trail.error(ErrorKind::NotConfigured, "there are no Unix sockets here"))
    }
}

/// The origins that are reached over Unix sockets.
fn sockets(of: &[(String, PathBuf)]) -> Result<HashMap<Origin, PathBuf>> {
    let socket = |(text, path): &(String, PathBuf)| {
        let url = Url::parse(text).map_err(|error| {
            misconfigured(format!("the Unix socket's origin {text:?}: {}", error.message()))
        })?;
        if url.origin().is_secure() || cfg!(not(unix)) {
            let what = format!("{text:?} cannot be reached over a Unix socket: only http:// can, on Unix");
            return Err(misconfigured(what));
        }
        Ok((url.origin().clone(), path.clone()))
    };
    of.iter().map(socket).collect()
}

/// A configuration that cannot work.
fn misconfigured(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::NotConfigured, what.into()).with_delivery(loquat_core::Delivery::NotSent)
}
