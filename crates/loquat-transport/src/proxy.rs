//! Which requests go through which proxy: data, made from what an operator says. How a proxy is spoken to is the
//! connector's.

use std::{borrow::Cow, fmt};

use crate::{Network, Origin};

/// What goes through a proxy. Loopback addresses never do: a machine-wide setting that sends `localhost` to a proxy
/// breaks every local model server.
///
/// A proxy at `http://[user:password@]host[:port]` is asked for a tunnel (CONNECT, RFC 9110 §9.3.6) to `https` addresses and
/// where HTTP/2 is spoken in clear, and for the thing itself (RFC 9112 §3.2.2) at `http` addresses, which many refuse to tunnel to. One
/// at `socks5://[user:password@]host[:port]` (or `socks5h://`, which means the same here) connects to either (RFC 1928);
/// names are resolved by it, not here. Its user name and password go to it and to nobody else.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Proxy {
    /// Nothing.
    #[default]
    None,
    /// Everything, through the proxy at that address.
    Url(String),
    /// What these rules say.
    Rules(ProxyRules),
}

impl Proxy {
    /// What the environment says, or whoever is asked in its place: `https_proxy` or `HTTPS_PROXY` for `https`, `http_proxy`
    /// for `http` (the upper-case name can be set by a request's header under CGI and is not asked for), else `all_proxy` or
    /// `ALL_PROXY`; not the hosts in `no_proxy` or `NO_PROXY`. This crate reads no environment: pass
    /// `|name| std::env::var(name).ok()`.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            let is_set = |value: &String| !value.trim().is_empty();
            names.iter().find_map(|name| Some((*name, variable(name).filter(is_set)?)))
        };
        let setting = |names: &[&'static str]| {
            let (name, text) = first(names)?;
            Setting::new(format!("the variable {name}"), &text)
        };
        Self::Rules(ProxyRules {
            https: setting(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            http: setting(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            except: first(&["no_proxy", "NO_PROXY"]).map(|(_, list)| exceptions(&list)).unwrap_or_default(),
        })
    }
}

impl fmt::Debug for Proxy {
    /// The address may hold a password: it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Url(_) => f.write_str("Url(…)"),
            Self::Rules(rules) => rules.fmt(f),
        }
    }
}

/// A proxy for each scheme, and what goes through none.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ProxyRules {
    pub(crate) http: Option<Setting>,
    pub(crate) https: Option<Setting>,
    pub(crate) except: Vec<String>,
}

/// A proxy's address, and what to call it when it is wrong.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) named: Cow<'static, str>,
    pub(crate) text: String,
}

impl Setting {
    pub(crate) fn new(named: impl Into<Cow<'static, str>>, text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self { named: named.into(), text: text.to_owned() })
    }
}

impl ProxyRules {
    /// `http` for `http` addresses, `https` for `https` ones, `all` for those of the two that are not set; `no` lists what
    /// goes through none, separated by commas or blanks: `*`, a name with those under it, an address, a network, each with a
    /// port or without. Blank values are not set. Whether the addresses are valid is said by
    /// [`Transport::new`](crate::Transport::new).
    pub fn from_values(http: Option<&str>, https: Option<&str>, all: Option<&str>, no: Option<&str>) -> Self {
        let setting = |value: Option<&str>, named: &'static str| {
            value
                .and_then(|text| Setting::new(named, text))
                .or_else(|| Setting::new("the proxy for all", all?))
        };
        Self {
            http: setting(http, "the proxy for http"),
            https: setting(https, "the proxy for https"),
            except: no.map(exceptions).unwrap_or_default(),
        }
    }

    /// Whether that origin goes through no proxy by these rules.
    pub fn bypasses(&self, origin: &Origin) -> bool {
        let proxy = if origin.is_secure() { &self.https } else { &self.http };
        proxy.is_none() || origin.is_loopback() || self.except.iter().any(|entry| excepts(entry, origin))
    }
}

impl fmt::Debug for ProxyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |set: &Option<Setting>| set.as_ref().map(|_| "…");
        f.debug_struct("ProxyRules")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("except", &self.except)
            .finish()
    }
}

fn exceptions(list: &str) -> Vec<String> {
    let entries = list.split([',', ' ']).map(|entry| entry.trim().to_ascii_lowercase());
    entries.filter(|entry| !entry.is_empty()).collect()
}

/// Whether an entry of `NO_PROXY` names that origin.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Url;

    fn bypasses(rules: &ProxyRules, to: &str) -> bool {
        rules.bypasses(Url::parse(to).expect(to).origin())
    }

    #[test]
    fn the_environment_is_read_as_others_read_it() {
        let variables = [
            ("HTTPS_PROXY", "http://user:p%40ss@proxy.example:3128"),
            ("HTTP_PROXY", "http://never-read"),
            ("NO_PROXY", "internal.example, .corp:8443,10.0.0.0/8,[fd00::1]"),
        ];
        let proxy = Proxy::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        assert!(!format!("{proxy:?}").contains("p%40ss"));
        let Proxy::Rules(rules) = proxy else { panic!("{proxy:?}") };
        for (to, bypassed) in [
            ("https://api.example.com/", false),
            ("http://api.example.com/", true),
            ("https://127.0.0.1/", true),
            ("https://localhost/", true),
            ("https://internal.example/", true),
            ("https://a.internal.example/", true),
            ("https://notinternal.example/", false),
            ("https://a.corp:8443/", true),
            ("https://a.corp/", false),
            ("https://10.1.2.3/", true),
            ("https://11.1.2.3/", false),
            ("https://[fd00::1]/", true),
        ] {
            assert_eq!(bypasses(&rules, to), bypassed, "{to}");
        }
        assert_eq!(rules.https.expect("set").named, "the variable HTTPS_PROXY");
    }

    #[test]
    fn values_fill_in_for_each_other() {
        let rules = |http, https, all, no| ProxyRules::from_values(http, https, all, no);
        let (http, https) = ("http://a.example/", "https://a.example/");
        for (rules, http_goes, https_goes) in [
            (rules(None, None, None, None), false, false),
            (rules(Some("p"), None, None, None), true, false),
            (rules(Some("p"), Some(" "), Some("q"), None), true, true),
            (rules(None, None, Some("q"), Some("*")), false, false),
            (rules(None, None, Some("q"), Some("a.example:443")), true, false),
            (rules(None, None, Some("q"), Some(" , ,b.example")), true, true),
            (rules(None, None, Some("q"), Some("*.example")), false, false),
        ] {
            assert_eq!(!bypasses(&rules, http), http_goes, "{rules:?}");
            assert_eq!(!bypasses(&rules, https), https_goes, "{rules:?}");
        }
    }
}
