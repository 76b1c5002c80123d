//! HTTP proxies: which one an origin goes through, and the tunnel through it (CONNECT, RFC 9110 §9.3.6).
//!
//! A proxy is used only where the configuration asks for one, and never for loopback: a machine-wide setting that
//! sends `localhost` to a proxy breaks every local model server.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use loquat_core::{Result, Secret};
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;

use super::misconfigured;
use crate::{Network, Origin, Proxy, Url};

/// Longest answer of a proxy to CONNECT, in bytes: heads with long cookies fit, a page does not.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Which proxy serves which scheme.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    secure: Option<Tunnel>,
    clear: Option<Tunnel>,
    except: Vec<String>,
}

impl Proxies {
    pub(super) fn new(proxy: &Proxy) -> Result<Self> {
        match proxy {
            Proxy::None => Ok(Self::default()),
            Proxy::Url(text) => {
                let tunnel = Tunnel::parse(text, "the proxy's address")?;
                Ok(Self { secure: Some(tunnel.clone()), clear: Some(tunnel), except: Vec::new() })
            }
            Proxy::Variables(variables) => Self::from_variables(|wanted| {
                variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone())
            }),
        }
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let tunnel = |names: &[&str]| -> Result<Option<Tunnel>> {
            let set =
                names.iter().find_map(|name| Some((name, variable(name).filter(|v| !v.trim().is_empty())?)));
            set.map(|(name, text)| Tunnel::parse(text.trim(), &format!("the variable {name}"))).transpose()
        };
        let except = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        Ok(Self {
            secure: tunnel(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            clear: tunnel(&["http_proxy", "all_proxy", "ALL_PROXY"])?,
            except: except.split([',', ' ']).map(|entry| entry.trim().to_ascii_lowercase()).collect(),
        })
    }

    /// The proxy that origin goes through, if any.
    pub(super) fn of(&self, origin: &Origin) -> Option<&Tunnel> {
        if origin.is_loopback() || self.except.iter().any(|entry| excepts(entry, origin)) {
            return None;
        }
        if origin.is_secure() { self.secure.as_ref() } else { self.clear.as_ref() }
    }
}

/// Whether an entry of `NO_PROXY` names that origin: `*`, a name and those under it, an address, a network, each
/// with a port or without.
fn excepts(entry: &str, origin: &Origin) -> bool {
    if entry == "*" {
        return true;
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse::<u16>().ok()),
        _ => (entry, None),
    };
    if port.is_some_and(|port| port != origin.port()) {
        return false;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Some(ip) = origin.ip() {
        return host.parse().is_ok_and(|network: Network| network.contains(ip));
    }
    let name = host.trim_start_matches("*.").trim_start_matches('.');
    let under = |of: &str| of.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !name.is_empty() && under(origin.host())
}

/// One proxy.
#[derive(Debug, Clone)]
pub(super) struct Tunnel {
    origin: Origin,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Secret>,
}

impl Tunnel {
    fn parse(text: &str, source: &str) -> Result<Self> {
        // Curl and others take a bare `host:port`.
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url = url::Url::parse(&with_scheme)
            .map_err(|error| misconfigured(format!("{source} is not a proxy's URL: {error}")))?;
        if url.scheme() != "http" {
            return Err(misconfigured(format!(
                "{source} names a proxy of the kind {:?}: only http:// proxies are spoken to",
                url.scheme()
            )));
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let authorization = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let pair = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
            Secret::new(format!("Basic {}", STANDARD.encode(pair)))
        });
        // Neither fails for a URL that has a host, and one without is refused below.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let origin = Url::parse(url.as_str())
            .map_err(|error| misconfigured(format!("{source} is not a proxy's URL: {}", error.message())))?
            .origin()
            .clone();
        Ok(Self { origin, authorization })
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Asks for a tunnel to that origin. After it, not one byte of what follows has been read.
    pub(super) async fn tunnel(&self, tcp: &TcpStream, to: &Origin) -> Result<(), String> {
        let host = if matches!(to.ip(), Some(IpAddr::V6(_))) {
            format!("[{}]", to.host())
        } else {
            to.host().into()
        };
        let mut ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n", port = to.port());
        if let Some(authorization) = &self.authorization {
            ask.push_str("Proxy-Authorization: ");
            ask.push_str(authorization.expose());
            ask.push_str("\r\n");
        }
        ask.push_str("\r\n");
        let lost = |error: std::io::Error| format!("the proxy's connection failed: {error}");
        let mut rest = ask.as_bytes();
        while !rest.is_empty() {
            tcp.writable().await.map_err(lost)?;
            match tcp.try_write(rest) {
                Ok(bytes) => rest = &rest[bytes..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(lost(error)),
            }
        }
        let answer = read_answer(tcp).await?;
        let status = parse_status(&answer).ok_or("the proxy did not answer in HTTP")?;
        match status {
            200..=299 => Ok(()),
            407 if self.authorization.is_some() => {
                Err("the proxy refused the user name and password (407)".into())
            }
            407 => Err("the proxy wants a user name and password (407): put them into its URL".into()),
            status => Err(format!("the proxy refused the tunnel with status {status}")),
        }
    }
}

/// Reads up to the blank line and not a byte beyond: it looks ahead, then takes what belongs to the head.
async fn read_answer(tcp: &TcpStream) -> Result<Vec<u8>, String> {
    let mut answer = Vec::new();
    let mut ahead = [0_u8; 1024];
    loop {
        let lost = |error: std::io::Error| format!("the proxy's connection failed: {error}");
        let seen = tcp.peek(&mut ahead).await.map_err(lost)?;
        if seen == 0 {
            return Err("the proxy closed the connection instead of answering".into());
        }
        let before = answer.len();
        answer.extend_from_slice(&ahead[..seen]);
        // The blank line may have begun in what was read before.
        let from = before.saturating_sub(3);
        let end = answer[from..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4);
        let take = end.unwrap_or(answer.len()) - before;
        let mut taken = 0;
        while taken < take {
            match tcp.try_read(&mut ahead[..take - taken]) {
                Ok(0) => return Err("the proxy closed the connection instead of answering".into()),
                Ok(bytes) => taken += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    tcp.readable().await.map_err(lost)?;
                }
                Err(error) => return Err(lost(error)),
            }
        }
        if let Some(end) = end {
            answer.truncate(end);
            return Ok(answer);
        }
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(format!("the proxy's answer is longer than {MAX_ANSWER_BYTES} bytes"));
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

    fn origin(text: &str) -> Origin {
        Url::parse(text).expect(text).origin().clone()
    }

    #[test]
    fn the_environment_is_read_as_others_read_it() {
        let variables = [
            ("HTTPS_PROXY", "http://user:p%40ss@proxy.example:3128"),
            ("HTTP_PROXY", "http://never-read"),
            ("NO_PROXY", "internal.example, .corp:8443,10.0.0.0/8,[fd00::1]"),
        ];
        let proxies = Proxies::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
        .expect("valid");
        for (to, through) in [
            ("https://api.example.com/", true),
            ("http://api.example.com/", false),
            ("https://127.0.0.1/", false),
            ("https://localhost/", false),
            ("https://internal.example/", false),
            ("https://a.internal.example/", false),
            ("https://notinternal.example/", true),
            ("https://a.corp:8443/", false),
            ("https://a.corp/", true),
            ("https://10.1.2.3/", false),
            ("https://11.1.2.3/", true),
            ("https://[fd00::1]/", false),
        ] {
            assert_eq!(proxies.of(&origin(to)).is_some(), through, "{to}");
        }
        let tunnel = proxies.of(&origin("https://api.example.com/")).expect("a proxy");
        assert_eq!(tunnel.origin().to_string(), "http://proxy.example:3128");
        let authorization = tunnel.authorization.as_ref().map(Secret::expose);
        assert_eq!(authorization, Some("Basic dXNlcjpwQHNz"));
        assert!(!format!("{proxies:?}").contains("dXNlcjpwQHNz"));
    }

    #[test]
    fn other_proxies_are_named_and_passwords_are_not() {
        for text in ["socks5://user:hunter2@p", "https://user:hunter2@p", "http://user:hunter2@", "::"] {
            let error = Tunnel::parse(text, "the proxy's address").expect_err(text);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert_eq!(Tunnel::parse("p:3128", "").expect("bare").origin().to_string(), "http://p:3128");
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
