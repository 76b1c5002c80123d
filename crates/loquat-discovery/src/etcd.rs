//! etcd v3 through its JSON gateway: one key for each endpoint below a prefix, its value the endpoint as JSON.
//!
//! `/v3/kv/range` lists, `/v3/watch` tells of changes as lines of JSON; keys and values are base64.
//! <https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/>. A lease on a key makes an endpoint leave when its server does.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use loquat_core::{Result, Secret};
use loquat_json::document::{Document, Value};
use loquat_transport::{Request, Transport, Url};

use crate::{
    Policy, Watched,
    entries::parse_entry,
    fetch::{Fetcher, Token, only_in_private},
    policy::unusable,
    watch::{Line, Protocol, Table},
};

/// Endpoints in etcd, below a prefix.
#[derive(Debug, Clone)]
pub struct Etcd {
    fetcher: Fetcher,
    address: String,
    prefix: String,
    token: Token,
    login: Option<Login>,
    relist: Duration,
}

/// A user of etcd's.
#[derive(Debug, Clone)]
struct Login {
    user: String,
    password: Secret,
}

impl Etcd {
    /// The etcd at that address (`http://127.0.0.1:2379`), keys that begin with that prefix (`/loquat/endpoints/`).
    ///
    /// # Errors
    /// The address is none, or the prefix is empty.
    pub fn new(
        transport: Transport,
        address: impl Into<String>,
        prefix: impl Into<String>,
        policy: Policy,
    ) -> Result<Self> {
        let (address, prefix) = (address.into().trim_end_matches('/').to_owned(), prefix.into());
        Url::parse(&address)?;
        if prefix.is_empty() {
            return Err(loquat_core::Error::new(
                loquat_core::ErrorKind::NotConfigured,
                "etcd needs a prefix of keys",
            ));
        }
        let fetcher = Fetcher::new(transport, policy);
        let relist = Duration::from_secs(300);
        Ok(Self { fetcher, address, prefix, token: Token::None, login: None, relist })
    }

    /// Authenticates with that token of etcd's (`/v3/auth/authenticate`), over `https` or on the loopback alone. A simple token
    /// ends after five minutes without use: [`with_login`](Self::with_login) is for programs that last.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Token::Bare(token.into());
        self
    }

    /// Authenticates as that user of etcd's, over `https` or on the loopback alone: a token is asked for with every list, and so
    /// again when one is no longer taken. It goes before [`with_token`](Self::with_token).
    #[must_use]
    pub fn with_login(mut self, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.login = Some(Login { user: user.into(), password: password.into() });
        self
    }

    /// Lists everything again after so long, should the watch have gone silent. Default 5 min.
    #[must_use]
    pub fn with_relist(mut self, every: Duration) -> Self {
        self.relist = every;
        self
    }

    /// Most time for one answer. Default 5 s; a watch lasts.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.fetcher.timeout = timeout;
        self
    }

    /// Its endpoints, followed.
    pub fn follow(&self) -> Watched {
        let protocol = Keys {
            address: self.address.clone(),
            prefix: self.prefix.clone(),
            login: self.login.clone(),
            policy: self.fetcher.policy.as_ref().clone(),
        };
        Watched::new(protocol, self.fetcher.clone(), self.token.clone(), self.relist)
    }
}

struct Keys {
    address: String,
    prefix: String,
    login: Option<Login>,
    policy: Policy,
}

impl Keys {
    /// `"key":…,"range_end":…` of all keys that begin with the prefix.
    fn range(&self) -> String {
        let key = STANDARD.encode(&self.prefix);
        format!(r#""key":"{key}","range_end":"{}""#, STANDARD.encode(after(self.prefix.as_bytes())))
    }

    fn put(&self, kv: &Value<'_>, table: &mut Table) -> Result<()> {
        let key = self.key(kv)?;
        let value = kv.get("value").and_then(|value| value.as_str()).unwrap_or_default();
        let entry = match (std::str::from_utf8(&key), STANDARD.decode(value)) {
            (Ok(name), Ok(value)) => {
                parse_entry(&value, name.strip_prefix(&self.prefix).unwrap_or(name), &self.policy)
            }
            (Err(_), _) => Err("a key is not UTF-8".to_owned()),
            (_, Err(_)) => Err("a value is not base64".to_owned()),
        };
        // Whoever may write below the prefix may write anything: that costs its own entry, and no other.
        table.insert(in_table(&key), vec![entry]);
        Ok(())
    }

    fn key(&self, kv: &Value<'_>) -> Result<Vec<u8>> {
        let key = kv.get("key").and_then(|key| key.as_str()).ok_or_else(|| unusable("a key is missing"))?;
        let key = STANDARD.decode(key).map_err(|cause| unusable("a key is not base64").with_source(cause))?;
        match key.starts_with(self.prefix.as_bytes()) {
            true => Ok(key),
            false => Err(unusable("a key is not of the prefix")),
        }
    }
}

impl Protocol for Keys {
    fn login(&self) -> Result<Option<Request>> {
        let Some(Login { user, password }) = &self.login else { return Ok(None) };
        let body = format!(r#"{{"name":{},"password":{}}}"#, quoted(user), quoted(password.expose()));
        let request = Request::post(format!("{}/v3/auth/authenticate", self.address), body)?;
        only_in_private(&request.url)?;
        Ok(Some(request.with_replayable(true)))
    }

    fn token(&self, body: &[u8]) -> Result<Secret> {
        let document = parse(body)?;
        let token = document.root().get("token").and_then(|token| token.as_str().map(Secret::new));
        token.ok_or_else(|| unusable("it gives no token"))
    }

    fn list(&self) -> Result<Request> {
        let body =
            format!(r#"{{{},"limit":"{}"}}"#, self.range(), self.policy.max_endpoints.saturating_add(1));
        Ok(Request::post(format!("{}/v3/kv/range", self.address), body)?.with_replayable(true))
    }

    fn listed(&self, body: &[u8]) -> Result<(Table, String)> {
        let document = parse(body)?;
        let root = document.root();
        let revision = root.pointer("/header/revision").and_then(|revision| number(&revision));
        let revision = revision.ok_or_else(|| unusable("it says no revision"))?;
        let mut table = Table::new();
        for kv in root.get("kvs").and_then(|kvs| kvs.as_array()).into_iter().flatten() {
            self.put(&kv, &mut table)?;
        }
        if table.len() > self.policy.max_endpoints {
            return Err(unusable(format!("it holds more than {} endpoints", self.policy.max_endpoints)));
        }
        Ok((table, revision.to_string()))
    }

    fn watch(&self, revision: &str) -> Result<Request> {
        let from = revision.parse::<u64>().unwrap_or(0).saturating_add(1);
        let body = format!(
            r#"{{"create_request":{{{},"start_revision":"{from}","progress_notify":true}}}}"#,
            self.range()
        );
        Ok(Request::post(format!("{}/v3/watch", self.address), body)?.with_replayable(true))
    }

    fn line(&self, line: &str, table: &mut Table, revision: &mut String) -> Result<Line> {
        let document = parse(line.as_bytes())?;
        let Some(result) = document.root().get("result") else {
            return Err(unusable("its watch ends with an error"));
        };
        if result.get("canceled").and_then(|canceled| canceled.as_bool()) == Some(true) {
            return Ok(Line::Forgotten);
        }
        if let Some(now) = result.pointer("/header/revision").and_then(|revision| number(&revision)) {
            *revision = now.to_string();
        }
        let mut line = Line::Nothing;
        for event in result.get("events").and_then(|events| events.as_array()).into_iter().flatten() {
            let kv = event.get("kv").ok_or_else(|| unusable("a change has no key"))?;
            match event.get("type").and_then(|kind| kind.as_str()) {
                None | Some("PUT") => self.put(&kv, table)?,
                Some("DELETE") => drop(table.remove(&in_table(&self.key(&kv)?))),
                Some(_) => continue,
            }
            line = Line::Changed;
        }
        Ok(line)
    }
}

/// What a key's entry is kept by. One that is not UTF-8 names no endpoint: that two of those may be one there is no loss.
fn in_table(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// A JSON string (RFC 8259 §7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn parse(text: &[u8]) -> Result<Document> {
    Document::parse(text.to_vec()).map_err(|cause| unusable("it is not JSON").with_source(cause))
}

/// 64-bit numbers are strings in the gateway's JSON.
fn number(value: &Value<'_>) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The first key after all that begin with that prefix.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0] // etcd's word for "all that follow"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rogue_puts_below_the_prefix_costs_no_other_entry() {
        let policy = Policy::new();
        let address = "http://127.0.0.1:2379".to_owned();
        let keys = Keys { address, prefix: "/e/".to_owned(), login: None, policy };
        let good = STANDARD.encode(r#"{"base_url":"https://a.example.com/v1","model":"m"}"#);
        let kv =
            |key: &[u8], value: &str| format!(r#"{{"key":"{}","value":"{value}"}}"#, STANDARD.encode(key));
        let all = [kv(b"/e/a", &good), kv(b"/e/\xff", &good), kv(b"/e/b", "no base64 at all")].join(",");
        let body = format!(r#"{{"header":{{"revision":"7"}},"kvs":[{all}]}}"#);
        let (mut table, mut revision) = keys.listed(body.as_bytes()).expect("listed");
        let judged: Vec<_> = table.values().flatten().map(Result::is_ok).collect();
        assert_eq!(judged, [true, false, false]);
        let line = format!(
            r#"{{"result":{{"events":[{{"type":"DELETE","kv":{}}},{{"kv":{}}}]}}}}"#,
            kv(b"/e/\xff", ""),
            kv(b"/e/\xfe\xff", "")
        );
        assert_eq!(keys.line(&line, &mut table, &mut revision), Ok(Line::Changed));
        assert_eq!(table.values().flatten().filter(|entry| entry.is_ok()).count(), 1);
    }

    #[test]
    fn ranges_end_after_the_prefix() {
        for (prefix, end) in [(&b"/a/"[..], &b"/a0"[..]), (b"a\xff", b"b"), (b"\xff\xff", b"\0")] {
            assert_eq!(after(prefix), end);
        }
    }
}
