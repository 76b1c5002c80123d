//! A page of a diagnostics listener, fetched: one blocking `GET` over TCP or a Unix socket, bounded in size and time.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    path::PathBuf,
    str::FromStr,
    time::{Duration, Instant},
};

use loquat_core::{Error, ErrorKind, Result, Secret};

use super::parse::MAX_PAGE_BYTES;

/// Where a listener is: `HOST:PORT`, `http://HOST:PORT`, or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// Host and port.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let is_one = authority.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok() && !host.contains(['/', '@', ' ', '\r', '\n'])
        });
        if is_one {
            return Ok(Self::Tcp(authority.into()));
        }
        let message = format!("{text:?} is no address: HOST:PORT, http://HOST:PORT or unix:PATH");
        Err(Error::new(ErrorKind::InvalidRequest, message))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => f.write_str(authority),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// That page, such as `/metrics`.
///
/// # Errors
/// [`ErrorKind::Connect`] where nobody listens, [`ErrorKind::Authentication`] for a missing token,
/// [`ErrorKind::Protocol`] for what is no page, [`ErrorKind::Timeout`].
pub fn fetch(address: &Address, path: &str, token: Option<&Secret>, timeout: Duration) -> Result<String> {
    let due = Instant::now() + timeout;
    let failed = |error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ErrorKind::Timeout,
            io::ErrorKind::InvalidData => ErrorKind::Protocol,
            _ => ErrorKind::Connect,
        };
        Error::new(kind, format!("no page from {address}")).with_source(error)
    };
    let mut request = format!("GET {path} HTTP/1.1\r\nAccept: text/plain\r\nConnection: close\r\n");
    if let Address::Tcp(authority) = address {
        request += &format!("Host: {authority}\r\n");
    }
    if let Some(token) = token.filter(|token| !token.expose().contains(['\r', '\n'])) {
        request += &format!("Authorization: Bearer {}\r\n", token.expose());
    }
    request += "\r\n";
    let answer = match address {
        Address::Tcp(authority) => tcp(authority, &request, due),
        #[cfg(unix)]
        Address::Unix(path) => unix(path, &request, due),
        #[cfg(not(unix))]
        Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
    .map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or_default();
    match status {
        "200" => Ok(body.to_owned()),
        "401" => Err(Error::new(ErrorKind::Authentication, format!("{address} wants a token"))),
        "404" => Err(Error::new(ErrorKind::NotFound, format!("{address} has no page {path}"))),
        _ => Err(Error::new(ErrorKind::Protocol, format!("{address} serves no diagnostics"))),
    }
}

fn left(due: Instant) -> io::Result<Duration> {
    let left = due.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn tcp(authority: &str, request: &str, due: Instant) -> io::Result<String> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(due)?) {
            Ok(mut stream) => {
                stream.set_write_timeout(Some(left(due)?))?;
                stream.write_all(request.as_bytes())?;
                return read(stream, due, |stream, left| stream.set_read_timeout(Some(left)));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(unix)]
fn unix(path: &std::path::Path, request: &str, due: Instant) -> io::Result<String> {
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_write_timeout(Some(left(due)?))?;
    stream.write_all(request.as_bytes())?;
    read(stream, due, |stream, left| stream.set_read_timeout(Some(left)))
}

fn read<S: Read>(
    mut stream: S,
    due: Instant,
    limit: fn(&S, Duration) -> io::Result<()>,
) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        limit(&stream, left(due)?)?;
        let count = match stream.read(&mut piece) {
            // A signal: sockets with a limit in time are not read on by themselves.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let more = piece.get(..count).unwrap_or_default();
        if more.is_empty() {
            return String::from_utf8(bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        }
        bytes.extend_from_slice(more);
        if bytes.len() > MAX_PAGE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the page is too large"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_no_end() {
        struct Interrupted(u8);
        impl Read for Interrupted {
            fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Err(io::ErrorKind::Interrupted.into()),
                    2 => Ok(piece.iter_mut().zip(b"page").map(|(to, from)| *to = *from).count()),
                    _ => Ok(0),
                }
            }
        }
        let due = Instant::now() + Duration::from_secs(60);
        assert_eq!(read(Interrupted(0), due, |_, _| Ok(())).ok().as_deref(), Some("page"));
    }

    #[test]
    fn addresses() {
        for good in ["127.0.0.1:1", "http://h:9464/", "[::1]:80", "unix:/run/x.sock"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in ["", "h", "https://h:1", "h:99999", "a/b:1", "u@h:1", ":1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
