//! A collector over plain HTTP/1.1, by a blocking socket: what reaches a collector on this machine or in this cluster.
//!
//! A hundred lines, so that who exports to the usual sidecar needs no HTTP client of a program's own, and no runtime to hang
//! on. For TLS, a proxy or gRPC there is the seam, [`Deliver`], which the facade fills with the transport (`loquat::Collector`).

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use loquat_core::{Error, ErrorKind, Secret};

use super::{Deliver, Signal, Undelivered};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct PlainHttp {
    /// Host and port.
    authority: String,
    /// Before `/v1/traces`.
    prefix: String,
    headers: Vec<(String, Secret)>,
    timeout: Duration,
}

/// Most bytes of a collector's answer that are looked at.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

impl PlainHttp {
    pub(super) fn new(
        endpoint: &str,
        headers: Vec<(String, Secret)>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::new(ErrorKind::NotConfigured, format!("not an address for OTLP over plain HTTP: {what}"))
        };
        let (scheme, rest) = endpoint.split_once("://").ok_or_else(|| wrong("no scheme"))?;
        if scheme != "http" {
            return Err(wrong("the scheme is not http; for https there is `loquat::Collector`"));
        }
        let (authority, prefix) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        if authority.is_empty() || authority.contains('@') || rest.contains(['?', '#', ' ', '\r', '\n']) {
            return Err(wrong("it is host, port and path alone"));
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()));
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:4318") };
        let is_line = |text: &str| !text.contains(['\r', '\n', '\0']);
        if !headers
            .iter()
            .all(|(name, value)| is_line(name) && !name.contains(':') && is_line(value.expose()))
        {
            return Err(wrong("a header field that is none"));
        }
        Ok(Self { authority, prefix: prefix.trim_end_matches('/').into(), headers, timeout })
    }

    fn exchange(&self, signal: Signal, body: &[u8]) -> io::Result<(u16, Option<Duration>, Vec<u8>)> {
        let due = Instant::now() + self.timeout;
        let left = || {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
        };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let mut connected = None;
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left()?) {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let mut stream = connected.ok_or(last)?;
        let mut head = format!(
            "POST {}{} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\nConnection: close\r\n",
            self.prefix,
            signal.path(),
            self.authority,
            body.len()
        );
        for (name, value) in &self.headers {
            head += &format!("{name}: {}\r\n", value.expose());
        }
        head += "\r\n";
        // In pieces, each within what is left: a peer that takes a byte a second does not hold this thread for ever.
        let whole = [head.as_bytes(), body].concat();
        for piece in whole.chunks(64 * 1024) {
            stream.set_write_timeout(Some(left()?))?;
            stream.write_all(piece)?;
        }
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        loop {
            stream.set_read_timeout(Some(left()?))?;
            let count = stream.read(&mut piece)?;
            let more = piece.get(..count).unwrap_or_default();
            answer.extend_from_slice(more);
            if more.is_empty() || answer.len() as u64 > MAX_ANSWER_BYTES || is_whole(&answer) {
                break;
            }
        }
        parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP response"))
    }
}

/// Head, and where the body begins.
fn head(answer: &[u8]) -> Option<(&str, usize)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((std::str::from_utf8(answer.get(..end)?).ok()?, end + 4))
}

fn field<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}

fn is_whole(answer: &[u8]) -> bool {
    let Some((head, body)) = head(answer) else { return false };
    let length = field(head, "content-length").and_then(|length| length.parse::<usize>().ok());
    length.is_some_and(|length| answer.len() - body >= length)
}

/// Status, when to come again, body. A body in HTTP's chunks is not looked into: it would say what was refused, at most.
fn parse(answer: &[u8]) -> Option<(u16, Option<Duration>, Vec<u8>)> {
    let (head, body) = head(answer)?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let after = field(head, "retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let body = if field(head, "transfer-encoding").is_some() { &[] } else { answer.get(body..)? };
    Some((status, after, body.to_vec()))
}

impl Deliver for PlainHttp {
    fn deliver(&mut self, signal: Signal, body: &[u8]) -> Result<Vec<u8>, Undelivered> {
        match self.exchange(signal, body) {
            Ok((200..=299, _, body)) => Ok(body),
            Ok((429 | 502 | 503 | 504, after, _)) => Err(Undelivered::Later(after)),
            Ok(_) => Err(Undelivered::Refused),
            Err(_) => Err(Undelivered::Later(None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_answers() {
        let new = |endpoint: &str| {
            PlainHttp::new(endpoint, Vec::new(), Duration::ZERO)
                .map(|http| (http.authority, http.prefix))
                .ok()
        };
        let some = |authority: &str, prefix: &str| Some((authority.to_owned(), prefix.to_owned()));
        assert_eq!(new("http://localhost"), some("localhost:4318", ""));
        assert_eq!(new("http://[::1]:1/a/"), some("[::1]:1", "/a"));
        assert_eq!(new("http://[::1]"), some("[::1]:4318", ""));
        for bad in [
            "localhost:4318",
            "https://x",
            "http://",
            "http://u:p@h",
            "http://h/?q",
            "http://h/ HTTP/1.1\r\n",
        ] {
            assert_eq!(new(bad), None, "{bad}");
        }
        let answer = b"HTTP/1.1 503 No\r\nretry-After: 7\r\ncontent-length: 2\r\n\r\nab";
        assert_eq!(parse(answer), Some((503, Some(Duration::from_secs(7)), b"ab".to_vec())));
        assert!(is_whole(answer) && !is_whole(&answer[..answer.len() - 1]));
        assert_eq!(parse(b"SSH-2.0-x\r\n\r\n"), None);
    }
}
