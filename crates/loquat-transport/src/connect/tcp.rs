//! Names and TCP: all addresses of a name, tried one beside the other until one answers (RFC 8305).
//!
//! A first address that swallows packets is common (a broken IPv6 route, a dead replica), so the next starts after a
//! short delay, or at once when the one before failed; the first to connect wins and the others are dropped.

use std::{
    fmt::Write,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use loquat_core::ErrorKind;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};

use crate::{AddressPolicy, Origin, Resolve, TcpConfig, origin::is_loopback, trail::Stage};

/// Most addresses of one name that are tried. A name with more is a mistake or an attack.
const MAX_ADDRESSES: usize = 32;
const A_DAY: Duration = Duration::from_secs(86_400);

/// What went wrong: kind, words, cause.
pub(super) type Failed = (ErrorKind, String, Option<io::Error>);

/// How far connecting came; read when it failed or ran out of time.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) stage: Stage,
    tried: Vec<(SocketAddr, Option<String>)>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { stage: Stage::Resolving, tried: Vec::new() }
    }
}

impl Progress {
    /// `; tried 192.0.2.1:443 (no answer), [2001:db8::1]:443 (connection refused)`, or nothing.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        for (address, failed) in &self.tried {
            let lead = if text.is_empty() { "; tried " } else { ", " };
            let outcome = failed.as_deref().unwrap_or("no answer");
            // Writing into a `String` cannot fail.
            let _ = write!(text, "{lead}{address} ({outcome})");
        }
        text
    }
}

/// A connection to whichever address of the origin answers first.
pub(super) async fn open(
    origin: &Origin,
    config: &TcpConfig,
    names: Names<'_>,
    progress: &mut Progress,
) -> Result<TcpStream, Failed> {
    progress.stage = Stage::Resolving;
    let addresses = resolve(origin, names).await?;
    progress.stage = Stage::Connecting;
    let tcp = race(&addresses, config, progress).await?;
    // Options that fail leave a connection that works.
    let _ = tcp.set_nodelay(true);
    if let Some(silence) = config.keep_alive {
        let _ = SockRef::from(&tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(silence));
    }
    #[cfg(target_os = "linux")]
    if config.user_timeout.is_some() {
        let _ = SockRef::from(&tcp).set_tcp_user_timeout(config.user_timeout);
    }
    Ok(tcp)
}

/// Who turns a name into addresses, and which of them may be dialled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) resolver: &'a dyn Resolve,
    pub(super) allowed: &'a AddressPolicy,
}

impl Names<'_> {
    /// Refuses an address that may not be dialled, whatever led to it.
    pub(super) fn check(&self, ip: IpAddr) -> Result<(), Failed> {
        if self.allowed.allows(ip) {
            return Ok(());
        }
        Err((ErrorKind::NotConfigured, format!("the address {ip} may not be dialled (addresses)"), None))
    }
}

async fn resolve(origin: &Origin, names: Names<'_>) -> Result<Vec<SocketAddr>, Failed> {
    if let Some(ip) = origin.ip() {
        names.check(ip)?;
        return Ok(vec![SocketAddr::new(ip, origin.port())]);
    }
    let host = origin.host();
    let mut addresses = names.resolver.resolve(host, origin.port()).await.map_err(|error| {
        (ErrorKind::Connect, format!("the name {host:?} did not resolve: {error}"), Some(error))
    })?;
    if origin.is_loopback() {
        addresses.retain(|address| is_loopback(address.ip()));
    }
    let Some(first) = addresses.first().copied() else {
        return Err((ErrorKind::Connect, format!("the name {host:?} has no usable address"), None));
    };
    // What is dialled is what was judged: a name is not resolved again in between.
    addresses.retain(|address| names.allowed.allows(address.ip()));
    if addresses.is_empty() {
        names.check(first.ip()).map_err(|(kind, what, source)| {
            (kind, format!("the name {host:?} leads where it must not: {what}"), source)
        })?;
    }
    Ok(interleave(addresses))
}

/// The families in turn, beginning with the resolver's first choice (RFC 8305 §4); duplicates removed.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut unique: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if unique.len() < MAX_ADDRESSES && !unique.contains(&address) {
            unique.push(address);
        }
    }
    let first_is_v4 = unique.first().is_some_and(SocketAddr::is_ipv4);
    let (preferred, other): (Vec<_>, Vec<_>) = unique.into_iter().partition(|a| a.is_ipv4() == first_is_v4);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut mixed = Vec::new();
    loop {
        let before = mixed.len();
        mixed.extend(preferred.next());
        mixed.extend(other.next());
        if mixed.len() == before {
            return mixed;
        }
    }
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

async fn race(
    addresses: &[SocketAddr],
    config: &TcpConfig,
    progress: &mut Progress,
) -> Result<TcpStream, Failed> {
    let mut waiting = addresses.iter().copied();
    let mut running: Vec<(usize, Attempt)> = Vec::new();
    let mut last_error = None;
    let mut next_start = pin!(sleep_until(Instant::now()));
    let mut start_now = true;
    let won = poll_fn(|cx| {
        loop {
            if start_now && let Some(address) = waiting.next() {
                running.push((progress.tried.len(), Box::pin(TcpStream::connect(address))));
                progress.tried.push((address, None));
                // A day instead of never: a delay may be as long as a duration can be.
                next_start.as_mut().reset(Instant::now() + config.attempt_delay.min(A_DAY));
            }
            start_now = false;
            let mut index = 0;
            while let Some((tried, attempt)) = running.get_mut(index) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(tcp)) if is_self_connected(&tcp) => {
                        progress.tried[*tried].1 = Some("connected to itself".into());
                        start_now = true;
                        drop(running.swap_remove(index));
                    }
                    Poll::Ready(Ok(tcp)) => return Poll::Ready(Some(tcp)),
                    Poll::Ready(Err(error)) => {
                        progress.tried[*tried].1 = Some(plain_words(&error));
                        last_error = Some(error);
                        start_now = true;
                        drop(running.swap_remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            if waiting.len() == 0 {
                return if running.is_empty() { Poll::Ready(None) } else { Poll::Pending };
            }
            if !start_now && next_start.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            start_now = true;
        }
    })
    .await;
    won.ok_or_else(|| (ErrorKind::Connect, format!("no connection{}", progress.describe()), last_error))
}

/// Whether a connection to an unused local port met itself, which TCP allows: its own port was the port it dialled.
fn is_self_connected(tcp: &TcpStream) -> bool {
    matches!((tcp.local_addr(), tcp.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// The error without the number that `io::Error` adds.
fn plain_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::HostUnreachable => "host unreachable".into(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".into(),
        io::ErrorKind::TimedOut => "timed out".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_and_duplicates_go() {
        let parse =
            |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|a| a.parse().expect("address")).collect() };
        let mixed =
            interleave(parse(&["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "[::3]:1", "2.2.2.2:1"]));
        assert_eq!(mixed, parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
        assert!(interleave(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn the_second_address_is_tried_when_the_first_refuses() {
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
        let mut progress = Progress::default();
        let addresses = [dead, live.local_addr().expect("address")];
        let patient = TcpConfig { attempt_delay: Duration::MAX, ..TcpConfig::default() };
        let tcp = race(&addresses, &patient, &mut progress).await.expect("connected");
        assert_eq!(tcp.peer_addr().expect("peer"), addresses[1]);
        let mut progress = Progress::default();
        let failed = race(&[dead], &TcpConfig::default(), &mut progress).await.expect_err("refused");
        assert_eq!(failed.1, format!("no connection; tried {dead} (connection refused)"));
    }

    /// What can be seen of them at the socket: a request that waits for a segment to fill is the dearest mistake here.
    #[tokio::test]
    async fn the_socket_has_the_options_that_were_asked_for() {
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url =
            crate::Url::parse(&format!("http://{}/", live.local_addr().expect("address"))).expect("valid");
        let seconds = Duration::from_secs;
        let none = TcpConfig { keep_alive: None, user_timeout: None, ..TcpConfig::default() };
        let other =
            TcpConfig { keep_alive: Some(seconds(7)), user_timeout: Some(seconds(9)), ..none.clone() };
        for (config, keep_alive, user_timeout) in [
            (TcpConfig::default(), Some(seconds(60)), Some(seconds(30))),
            (none, None, None),
            (other, Some(seconds(7)), Some(seconds(9))),
        ] {
            let names = Names { resolver: &crate::SystemResolver, allowed: &AddressPolicy::Any };
            let mut progress = Progress::default();
            let tcp = open(url.origin(), &config, names, &mut progress).await.expect("connected");
            assert!(tcp.nodelay().expect("a socket"));
            let socket = SockRef::from(&tcp);
            assert_eq!(socket.keepalive().expect("a socket"), keep_alive.is_some());
            if let Some(silence) = keep_alive {
                assert_eq!(socket.tcp_keepalive_time().expect("a socket"), silence);
            }
            #[cfg(target_os = "linux")]
            assert_eq!(socket.tcp_user_timeout().expect("a socket"), user_timeout);
            #[cfg(not(target_os = "linux"))]
            let _: Option<Duration> = user_timeout;
        }
    }
}
