//! Proxies: which one an origin goes through, and how it is spoken to. An HTTP proxy is asked for a tunnel (CONNECT, RFC 9110
//! §9.3.6) or handed the request itself; one of SOCKS for a connection.

mod socks;

use std::{net::IpAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use loquat_core::{Result, Secret};
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;

use super::misconfigured;
use crate::{Origin, Proxy, ProxyRules, Url, proxy::Setting};

/// Longest answer of a proxy to CONNECT, in bytes: heads with long cookies fit, a page does not.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Which proxy serves which scheme.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    secure: Option<Hop>,
    clear: Option<Hop>,
    rules: ProxyRules,
}

impl Proxies {
    pub(super) fn new(proxy: &Proxy) -> Result<Self> {
        let rules = match proxy {
            Proxy::None => ProxyRules::default(),
            Proxy::Url(text) => {
                let setting = Some(Setting { named: "the proxy's address".into(), text: text.clone() });
                ProxyRules { http: setting.clone(), https: setting, ..ProxyRules::default() }
            }
            Proxy::Rules(rules) => rules.clone(),
        };
        let hop = |setting: &Option<Setting>| {
            setting.as_ref().map(|setting| Hop::parse(&setting.text, &setting.named)).transpose()
        };
        Ok(Self { secure: hop(&rules.https)?, clear: hop(&rules.http)?, rules })
    }

    /// The proxy that origin goes through, if any.
    pub(super) fn of(&self, origin: &Origin) -> Option<&Hop> {
        if self.rules.bypasses(origin) {
            return None;
        }
        if origin.is_secure() { self.secure.as_ref() } else { self.clear.as_ref() }
    }
}

/// A connection to a proxy that is handed requests whole (absolute form, RFC 9112 §3.2.2): what to add to each.
#[derive(Debug, Clone)]
pub(crate) struct Forward {
    pub(crate) authorization: Option<HeaderValue>,
}

/// One proxy.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    origin: Origin,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Http {
        /// The value of `Proxy-Authorization`.
        authorization: Option<Secret>,
    },
    Socks(Option<Arc<socks::Credentials>>),
}

impl Hop {
    fn parse(text: &str, source: &str) -> Result<Self> {
        // Curl and others take a bare `host:port`.
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let invalid =
            |error: &dyn std::fmt::Display| misconfigured(format!("{source} is not a proxy's URL: {error}"));
        let url = url::Url::parse(&with_scheme).map_err(|error| invalid(&error))?;
        let is_socks = matches!(url.scheme(), "socks5" | "socks5h");
        if !is_socks && url.scheme() != "http" {
            return Err(misconfigured(format!(
                "{source} names a proxy of the kind {:?}: only http://, socks5:// and socks5h:// proxies are spoken to",
                url.scheme()
            )));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| invalid(&"no host"))?;
        let port = url.port().unwrap_or(if is_socks { 1080 } else { 80 });
        let origin = Url::parse(&format!("http://{host}:{port}"))
            .map_err(|error| invalid(&error.message()))?
            .origin()
            .clone();
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = (!url.username().is_empty() || url.password().is_some())
            .then(|| (decoded(url.username()), decoded(url.password().unwrap_or_default())));
        let kind = match credentials {
            None if is_socks => Kind::Socks(None),
            Some((user, password)) if is_socks => {
                if ![&user, &password].iter().all(|text| (1..256).contains(&text.len())) {
                    let what = "user name and password of a SOCKS proxy are 1 to 255 bytes each";
                    return Err(misconfigured(format!("{source}: {what}")));
                }
                Kind::Socks(Some(Arc::new(socks::Credentials { user, password: Secret::new(password) })))
            }
            credentials => Kind::Http {
                authorization: credentials.map(|(user, password)| {
                    Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
                }),
            },
        };
        Ok(Self { origin, kind })
    }

    /// What to do with requests in clear that are to be handed to it whole; none where it only connects.
    pub(super) fn forward(&self) -> Option<Forward> {
        let Kind::Http { authorization } = &self.kind else { return None };
        let authorization = authorization.as_ref().and_then(|secret| {
            let mut value = HeaderValue::from_str(secret.expose()).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Some(Forward { authorization })
    }

    /// Asks for a connection through it to that origin. After it, not one byte of what follows has been read.
    pub(super) async fn connect(&self, tcp: &TcpStream, to: &Origin) -> Result<(), String> {
        match &self.kind {
            Kind::Http { authorization } => tunnel(tcp, authorization.as_ref(), to).await,
            Kind::Socks(credentials) => socks::connect(tcp, credentials.as_deref(), to).await,
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }
}

async fn tunnel(tcp: &TcpStream, authorization: Option<&Secret>, to: &Origin) -> Result<(), String> {
    let host =
        if matches!(to.ip(), Some(IpAddr::V6(_))) { format!("[{}]", to.host()) } else { to.host().into() };
    let mut ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n", port = to.port());
    if let Some(authorization) = authorization {
        ask.push_str("Proxy-Authorization: ");
        ask.push_str(authorization.expose());
        ask.push_str("\r\n");
    }
    ask.push_str("\r\n");
    write_all(tcp, ask.as_bytes()).await?;
    let mut room = MAX_ANSWER_BYTES;
    let status = loop {
        let answer = read_answer(tcp, room).await?;
        room = room.saturating_sub(answer.len());
        match parse_status(&answer).ok_or("the proxy did not answer in HTTP")? {
            // Before the one that counts there may be others (RFC 9110 §15.2).
            status @ 100..200 if status != 101 => {}
            status => break status,
        }
    };
    match status {
        200..=299 => Ok(()),
        407 => Err(unauthorized(authorization.is_some()).into()),
        status => Err(format!("the proxy refused the tunnel with status {status}")),
    }
}

/// What status 407 means.
pub(crate) fn unauthorized(had_credentials: bool) -> &'static str {
    match had_credentials {
        true => "the proxy refused the user name and password (407)",
        false => "the proxy wants a user name and password (407): put them into its URL",
    }
}

fn lost(error: &std::io::Error) -> String {
    format!("the proxy's connection failed: {error}")
}

async fn write_all(tcp: &TcpStream, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        tcp.writable().await.map_err(|error| lost(&error))?;
        match tcp.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(lost(&error)),
        }
    }
    Ok(())
}

/// Fills the buffer, and reads nothing beyond.
async fn read_exact(tcp: &TcpStream, buffer: &mut [u8]) -> Result<(), String> {
    let mut filled = 0;
    while filled < buffer.len() {
        match tcp.try_read(buffer.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => return Err("the proxy closed the connection instead of answering".into()),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                tcp.readable().await.map_err(|error| lost(&error))?;
            }
            Err(error) => return Err(lost(&error)),
        }
    }
    Ok(())
}

/// Reads up to the blank line, so many bytes at most, and not a byte beyond: it looks ahead, then takes what belongs to the head.
async fn read_answer(tcp: &TcpStream, most_bytes: usize) -> Result<Vec<u8>, String> {
    let mut answer = Vec::new();
    let mut ahead = [0_u8; 1024];
    loop {
        let seen = tcp.peek(&mut ahead).await.map_err(|error| lost(&error))?;
        if seen == 0 {
            return Err("the proxy closed the connection instead of answering".into());
        }
        let before = answer.len();
        answer.extend_from_slice(&ahead[..seen]);
        // The blank line may have begun in what was read before.
        let from = before.saturating_sub(3);
        let end = answer[from..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4);
        let take = end.unwrap_or(answer.len()) - before;
        read_exact(tcp, ahead.get_mut(..take).unwrap_or_default()).await?;
        if end.unwrap_or(answer.len()) > most_bytes {
            return Err(format!("the proxy's answer is longer than {MAX_ANSWER_BYTES} bytes"));
        }
        if let Some(end) = end {
            answer.truncate(end);
            return Ok(answer);
        }
    }
}

/// The status of `HTTP/1.1 200 Connection established`.
fn parse_status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    let status = words.next().filter(|status| status.len() == 3)?;
    status.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_no_password_is_shown() {
        for (text, origin) in [
            ("p:3128", "http://p:3128"),
            ("http://user:hunter2@proxy.example", "http://proxy.example"),
            ("socks5://user:hunter2@p", "http://p:1080"),
            ("socks5h://[::1]:9050", "http://[::1]:9050"),
        ] {
            let hop = Hop::parse(text, "").expect(text);
            assert_eq!(hop.origin().to_string(), origin, "{text}");
            assert!(!format!("{hop:?}").contains("hunter2"));
            assert_eq!(hop.forward().is_some(), !text.starts_with("socks"), "{text}");
        }
        let hop = Hop::parse("http://user:p%40ss@proxy.example:3128", "").expect("valid");
        let forward = hop.forward().expect("HTTP");
        assert_eq!(forward.authorization.as_ref().expect("credentials"), "Basic dXNlcjpwQHNz");
        assert!(!format!("{hop:?} {forward:?}").contains("dXNlcjpwQHNz"));
        let long = format!("socks5://user:hunter2{}@p", "x".repeat(255));
        for text in ["socks4://user:hunter2@p", "https://user:hunter2@p", "http://user:hunter2@", "::", &long]
        {
            let error = Hop::parse(text, "the proxy's address").expect_err(text);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn statuses_parse_or_do_not() {
        assert_eq!(parse_status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(parse_status(b"HTTP/1.0 407\r\n\r\n"), Some(407));
        for bad in
            [&b"SSH-2.0-x\r\n\r\n"[..], b"HTTP/1.1 2000\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"\xff\r\n\r\n", b""]
        {
            assert_eq!(parse_status(bad), None, "{bad:?}");
        }
    }
}
