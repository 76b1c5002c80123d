//! The head of a request, as far as it is understood here.

use std::net::IpAddr;

/// A `GET`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) path: String,
    pub(super) query: String,
    pub(super) accept: String,
    pub(super) bearer: Option<String>,
    host: Option<String>,
}

impl Head {
    /// `None` for what is no `GET` of HTTP/1.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if method != "GET" || !version.starts_with("HTTP/1.") || !target.starts_with('/') {
            return None;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut head = Self { path: path.into(), query: query.into(), ..Self::default() };
        for line in lines {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "accept" => head.accept = value.into(),
                "host" if head.host.is_some() => return None,
                "host" => head.host = Some(value.into()),
                "authorization" => {
                    let (scheme, token) = value.split_once(' ').unwrap_or_default();
                    head.bearer = scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into());
                }
                _ => {}
            }
        }
        Some(head)
    }

    /// Whether the client reached us by an address or as `localhost`, not by a name that somebody else gives out.
    pub(super) fn names_this_machine(&self) -> bool {
        let Some(host) = &self.host else { return true }; // no browser leaves it out
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_good_and_bad() {
        let head = Head::parse(
            b"GET /debug/x?seconds=5&y HTTP/1.1\r\nHost: [::1]:80\r\nAUTHORIZATION: bearer  k\r\nAccept: a;b=c",
        )
        .expect("a head");
        assert_eq!((&*head.path, &*head.query), ("/debug/x", "seconds=5&y"));
        assert_eq!((head.bearer.as_deref(), head.accept.as_str()), (Some("k"), "a;b=c"));
        assert!(head.names_this_machine());
        for bad in [
            "",
            "GET",
            "GET /",
            "GET / HTTP/2",
            "POST / HTTP/1.1",
            "GET http://x/ HTTP/1.1",
            "GET / HTTP/1.1\r\nno field",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b",
        ] {
            assert_eq!(Head::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Head::parse(b"GET /\xff HTTP/1.1"), None);
    }

    #[test]
    fn names_that_somebody_else_gives_out_are_refused() {
        for (host, ours) in [
            ("localhost:1", true),
            ("127.0.0.1:9", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("evil.example", false),
            ("evil.example:80", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let head = Head { host: Some(host.into()), ..Head::default() };
            assert_eq!(head.names_this_machine(), ours, "{host}");
        }
    }
}
