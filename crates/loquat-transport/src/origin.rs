//! Where a request goes: an [`Origin`] (scheme, host, port; RFC 6454) and, inside it, a path.
//!
//! Parsed once by the `url` crate. Everything the wire needs (authority, `Host` header) is made here, so that a
//! request made from a kept [`Url`] formats nothing.

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::{Arc, LazyLock},
};

use http::{
    HeaderValue, Uri,
    uri::{self, Authority, PathAndQuery},
};
use loquat_core::{Delivery, Error, ErrorKind, Result};

/// Scheme, host and port: what connections, and credentials, belong to. Cheap to clone.
#[derive(Clone)]
pub struct Origin(Arc<Inner>);

struct Inner {
    secure: bool,
    /// Lower case, punycode, an IPv6 address without brackets.
    host: String,
    ip: Option<IpAddr>,
    port: u16,
    authority: Authority,
    host_header: HeaderValue,
    /// Of scheme, host and port: every request is looked up by it, and it is made once.
    hash: u64,
}

/// Nobody outside this process can choose names that meet.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Origin {
    /// Whether it is spoken to over TLS.
    pub fn is_secure(&self) -> bool {
        self.0.secure
    }

    /// Whether it is this machine: `127.0.0.0/8`, `::1`, `localhost` and names under it (RFC 6761 §6.3). Such names
    /// are connected to at loopback addresses only, whatever they resolve to.
    pub fn is_loopback(&self) -> bool {
        match self.0.ip {
            Some(ip) => is_loopback(ip),
            None => self.0.host == "localhost" || self.0.host.ends_with(".localhost"),
        }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.0.secure { "https" } else { "http" }
    }

    /// The name or address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The port, the scheme's own where none was named.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// As the `Host` field writes it: the port only where it is not the scheme's own.
    pub fn host_field(&self) -> &str {
        self.0.authority.as_str()
    }

    /// The address, where the host is one.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.0.ip
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.0.authority
    }

    pub(crate) fn host_header(&self) -> &HeaderValue {
        &self.0.host_header
    }
}

/// Whether that address is this machine's own, in either family's writing.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip == Ipv6Addr::LOCALHOST || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash
                && self.0.port == other.0.port
                && self.0.secure == other.0.secure
                && self.0.host == other.0.host)
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash.hash(state);
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.0.authority)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

/// An `http` or `https` address, parsed. Cheap to clone: keep it where the same address is asked again and again.
///
/// `Display` shows origin and path but not the query, which may hold a credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    origin: Origin,
    path_and_query: PathAndQuery,
}

impl Url {
    /// Parses an absolute address. A fragment is cut off: it is never sent.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] that names what is wrong: no scheme, another scheme than `http` and `https`, no
    /// host, a name and password (send those as a header).
    pub fn parse(text: &str) -> Result<Self> {
        let invalid =
            |what: String| Err(Error::new(ErrorKind::InvalidRequest, what).with_delivery(Delivery::NotSent));
        // What was given is not repeated where it may hold a password or a key.
        let url = match url::Url::parse(text) {
            Ok(url) => url,
            Err(url::ParseError::RelativeUrlWithoutBase) => {
                return invalid("the address has no scheme: write http:// or https:// before it".into());
            }
            Err(error) => return invalid(format!("the address is not a URL: {error}")),
        };
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            // `localhost:8080` reads as a scheme and what is below it: a colon without slashes is a port.
            _ if !text.contains("://") => {
                return invalid("the address has no scheme: write http:// or https:// before it".into());
            }
            other => {
                return invalid(format!(
                    "the address has the scheme {other:?}: only http and https are spoken"
                ));
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            return invalid("the address holds a user name or password: credentials go into a header".into());
        }
        let (host, ip) = match url.host() {
            Some(url::Host::Domain(name)) => (name.trim_end_matches('.').to_owned(), None),
            Some(url::Host::Ipv4(ip)) => (ip.to_string(), Some(IpAddr::V4(ip))),
            Some(url::Host::Ipv6(ip)) => (ip.to_string(), Some(IpAddr::V6(ip))),
            None => (String::new(), None),
        };
        let port = url.port_or_known_default().unwrap_or(if secure { 443 } else { 80 });
        if host.is_empty() || port == 0 {
            return invalid("the address has no host, or port 0".into());
        }
        let written_host = if matches!(ip, Some(IpAddr::V6(_))) { format!("[{host}]") } else { host.clone() };
        let written = match url.port() {
            Some(port) => format!("{written_host}:{port}"),
            None => written_host,
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let (Ok(authority), Ok(host_header), Ok(path_and_query)) =
            (Authority::from_str(&written), HeaderValue::from_str(&written), PathAndQuery::from_str(&path))
        else {
            return invalid("the address holds characters that HTTP cannot carry".into());
        };
        let hash = HASHER.hash_one((secure, port, &host));
        let inner = Inner { secure, host, ip, port, authority, host_header, hash };
        Ok(Self { origin: Origin(Arc::new(inner)), path_and_query })
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The path, `/` at least, without the query.
    pub fn path(&self) -> &str {
        self.path_and_query.path()
    }

    /// The query, without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.path_and_query.query()
    }

    /// All of it.
    pub(crate) fn to_uri(&self) -> Uri {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(if self.origin.is_secure() { uri::Scheme::HTTPS } else { uri::Scheme::HTTP });
        parts.authority = Some(self.origin.authority().clone());
        parts.path_and_query = Some(self.path_and_query.clone());
        // With all three parts there is nothing that could be missing.
        Uri::from_parts(parts).unwrap_or_default()
    }

    pub(crate) fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_into_origin_and_path() {
        // address, origin as shown, path and query, loopback
        for (text, origin, path, loopback) in [
            ("https://api.example.com/v1/chat?a=b#frag", "https://api.example.com", "/v1/chat?a=b", false),
            ("HTTP://LOCALHOST:8080", "http://localhost:8080", "/", true),
            ("https://example.com:443/", "https://example.com", "/", false),
            ("http://127.9.9.9/x", "http://127.9.9.9", "/x", true),
            ("http://[::1]:11434/api", "http://[::1]:11434", "/api", true),
            ("http://[::ffff:127.0.0.1]/", "http://[::ffff:127.0.0.1]", "/", true),
            ("http://me.localhost/", "http://me.localhost", "/", true),
            ("http://localhost.example.com/", "http://localhost.example.com", "/", false),
            ("http://2130706433/", "http://127.0.0.1", "/", true),
            ("https://bücher.example/ü", "https://xn--bcher-kva.example", "/%C3%BC", false),
        ] {
            let url = Url::parse(text).expect(text);
            assert_eq!(url.origin().to_string(), origin, "{text}");
            assert_eq!(url.path_and_query().as_str(), path, "{text}");
            assert_eq!(url.origin().is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn refusals_name_what_is_wrong_and_repeat_no_secret() {
        for (text, says) in [
            ("api.example.com/v1", "no scheme"),
            ("localhost:8080/v1", "no scheme"),
            ("ftp://example.com", "\"ftp\""),
            ("http://", "not a URL"),
            ("http://a:0/", "port 0"),
            ("https://user:hunter2@example.com/", "credentials go into a header"),
            ("", "no scheme"),
            ("http://exa mple.com/", "not a URL"),
        ] {
            let error = Url::parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{text}");
            assert!(error.message().contains(says), "{text}: {error}");
            assert!(!error.message().contains("hunter2"));
        }
        let url = Url::parse("https://example.com/v1?key=hunter2").expect("fine");
        assert!(!format!("{url} {url:?}").contains("hunter2"));
    }
}
