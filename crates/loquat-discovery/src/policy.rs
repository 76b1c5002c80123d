//! What a source may tell us to use: schemes, addresses, keys, sizes.
//!
//! A source is somebody else's word. Who can write into a registry could otherwise point a program at the cloud's metadata
//! service, or have it send a key to an address of their own. So an entry names a key, and never holds one; the key is the
//! operator's, and good for the hosts that the operator named with it. One entry that may not be used is left out and said so;
//! the others stand.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::IpAddr,
};

use loquat_core::{Discovered, Endpoint, Error, ErrorKind, Listing, Result, Secret};
use loquat_transport::{AddressPolicy, Network, Url};

/// Over which schemes endpoints may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Schemes {
    /// `https` and `http`. The default: servers inside a cluster mostly have no certificate. A key goes over `http` to the
    /// loopback alone.
    #[default]
    Any,
    /// `https` alone.
    Secure,
}

/// What sources may list, and how much. All limits are enforced while bytes arrive.
#[derive(Clone)]
#[non_exhaustive]
pub struct Policy {
    /// Over which schemes endpoints may be asked.
    pub schemes: Schemes,
    /// At which addresses endpoints may be. Default: those of the public internet.
    pub addresses: AddressPolicy,
    /// Most endpoints of one source; a source that lists more is in error. Default 1,000: a router's group takes 1,024.
    pub max_endpoints: usize,
    /// Longest answer or file. Bytes, default 1 MiB: a thousand bytes for each endpoint.
    pub max_body_bytes: usize,
    /// Redirects followed, to the same origin only. Default 0: a registry is where the operator said.
    pub max_redirects: u8,
    /// Whether no endpoint at all is believed after there were some. Default false: an empty listing is mostly a fault of
    /// whoever lists.
    pub accept_empty: bool,
    keys: HashMap<String, Key>,
}

#[derive(Clone)]
struct Key {
    secret: Secret,
    hosts: Vec<String>,
}

/// The longest name of a model.
pub(crate) const MAX_MODEL_BYTES: usize = 256;
/// Reasons kept of one listing.
const MAX_REFUSED: usize = 20;

impl Default for Policy {
    fn default() -> Self {
        Self {
            schemes: Schemes::Any,
            addresses: AddressPolicy::PublicOnly,
            max_endpoints: 1000,
            max_body_bytes: 1 << 20,
            max_redirects: 0,
            accept_empty: false,
            keys: HashMap::new(),
        }
    }
}

impl Policy {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Endpoints may be in these networks, too.
    #[must_use]
    pub fn with_networks(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.addresses = AddressPolicy::PublicAnd(networks.into_iter().collect());
        self
    }

    /// Endpoints may be at those addresses.
    #[must_use]
    pub fn with_addresses(mut self, addresses: AddressPolicy) -> Self {
        self.addresses = addresses;
        self
    }

    /// Endpoints may be asked over those schemes.
    #[must_use]
    pub fn with_schemes(mut self, schemes: Schemes) -> Self {
        self.schemes = schemes;
        self
    }

    /// A key that entries may name, and the hosts it is good for: `example.com` stands for itself and what is below it.
    #[must_use]
    pub fn with_key<H: Into<String>>(
        mut self,
        name: impl Into<String>,
        key: impl Into<Secret>,
        hosts: impl IntoIterator<Item = H>,
    ) -> Self {
        let hosts = hosts.into_iter().map(|host| host.into().to_ascii_lowercase()).collect();
        self.keys.insert(name.into(), Key { secret: key.into(), hosts });
        self
    }

    /// Most endpoints of one source.
    #[must_use]
    pub fn with_max_endpoints(mut self, endpoints: usize) -> Self {
        self.max_endpoints = endpoints;
        self
    }

    /// Longest answer or file. Bytes.
    #[must_use]
    pub fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Follows so many redirects, to the same origin only.
    #[must_use]
    pub fn with_max_redirects(mut self, redirects: u8) -> Self {
        self.max_redirects = redirects;
        self
    }

    /// Whether no endpoint at all is believed after there were some.
    #[must_use]
    pub fn with_accept_empty(mut self, accept: bool) -> Self {
        self.accept_empty = accept;
        self
    }

    /// That endpoint with the key of that name, if both may be used.
    pub(crate) fn admit(&self, mut found: Discovered, key: Option<&str>) -> Result<Discovered, String> {
        let name = short(&found.name);
        let refuse = |why: &str| Err(format!("endpoint `{name}`: {why}"));
        if found.name.is_empty() || found.name.len() > 256 || found.name.contains(char::is_control) {
            return Err("an endpoint's name must have 1 to 256 bytes, without control characters".to_owned());
        }
        let Endpoint { base_url, model, provider, .. } = &found.endpoint;
        if base_url.len() > 2048 || model.len() > MAX_MODEL_BYTES || provider.len() > 64 {
            return refuse("its address, model or provider is too long");
        }
        if found.tags.len() > 64 || found.tags.iter().any(|tag| tag.len() > 128) {
            return refuse("it has more than 64 tags, or one of more than 128 bytes");
        }
        let Ok(url) = Url::parse(base_url) else { return refuse("its address is none") };
        if base_url.contains('@') || base_url.contains('#') || url.query().is_some() {
            return refuse("its address holds a name, a query or a fragment");
        }
        if self.schemes == Schemes::Secure && !url.origin().is_secure() {
            return refuse("its address is not https");
        }
        let host = url.origin().host();
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>()
            && !self.addresses.allows(ip)
        {
            return refuse("its address is in a range that the policy does not allow");
        }
        let local = host.eq_ignore_ascii_case("localhost") || host.ends_with(".localhost");
        if local && !self.addresses.allows(IpAddr::from([127, 0, 0, 1])) {
            return refuse("its address is this machine, which the policy does not allow");
        }
        // What a name leads to is judged when it is dialled.
        found.endpoint.addresses = Some(self.addresses.clone());
        if let Some(key) = key {
            let Some(Key { secret, hosts }) = self.keys.get(key) else {
                return refuse("it names a key that is not known here");
            };
            if !hosts.iter().any(|allowed| is_within(host, allowed)) {
                return refuse("the key it names is not for that host");
            }
            if !url.origin().is_secure() && !url.origin().is_loopback() {
                return refuse("a key does not go over plain http");
            }
            found.endpoint.credential = Some(secret.clone());
        }
        Ok(found)
    }

    /// The listing of what was admitted and what was not.
    ///
    /// # Errors
    /// Too many, or nothing usable where there was something.
    pub(crate) fn listing(&self, admitted: Vec<Result<Discovered, String>>) -> Result<Listing> {
        if admitted.len() > self.max_endpoints {
            return Err(unusable(format!("it lists more than {} endpoints", self.max_endpoints)));
        }
        let (mut endpoints, mut refused): (Vec<Discovered>, Vec<String>) = (Vec::new(), Vec::new());
        let (mut names, mut shared) = (HashMap::new(), BTreeSet::new());
        for entry in admitted {
            match entry {
                // Names are what traffic, health and figures are kept by: two cannot share one. Which of them stays is not for
                // the order to say, which may be another each time.
                Ok(found) => match names.get(&found.name).and_then(|&at: &usize| endpoints.get_mut(at)) {
                    Some(known) if *known == found => {}
                    Some(known) => {
                        shared.insert(found.name.clone());
                        if rank(&found) < rank(known) {
                            *known = found;
                        }
                    }
                    None => {
                        names.insert(found.name.clone(), endpoints.len());
                        endpoints.push(found);
                    }
                },
                Err(why) => refused.push(why),
            }
        }
        refused.extend(shared.iter().map(|name| {
            let name = short(name);
            format!(
                "endpoint `{name}`: others of that name are listed, too, of which the first by address stays"
            )
        }));
        refused.sort();
        if endpoints.is_empty()
            && let Some(first) = refused.first()
        {
            return Err(unusable(format!("none of {} endpoints can be used; {first}", refused.len())));
        }
        refused.truncate(MAX_REFUSED);
        let mut listing = Listing::new(endpoints);
        listing.refused = refused;
        Ok(listing)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("schemes", &self.schemes)
            .field("addresses", &self.addresses)
            .field("max_endpoints", &self.max_endpoints)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("max_redirects", &self.max_redirects)
            .field("keys", &self.keys.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// By what one of several endpoints of one name is chosen: by where it is, before all that may change with time.
fn rank(found: &Discovered) -> impl Ord + '_ {
    let Endpoint { base_url, provider, model, credential, .. } = &found.endpoint;
    let Discovered { tags, is_up, weight, context_window, .. } = found;
    let credential = credential.as_ref().map(Secret::expose);
    (base_url, provider, model, credential, tags, is_up, weight, context_window)
}

/// What a source said cannot be used.
pub(crate) fn unusable(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Protocol, format!("the source of endpoints cannot be used: {}", what.into()))
}

/// Whether that may follow what was known before.
///
/// # Errors
/// No endpoint at all after there were some, where that is not to be believed.
pub(crate) fn believed(was_full: bool, listing: &Listing, accept_empty: bool) -> Result<()> {
    if listing.endpoints.is_empty() && was_full && !accept_empty {
        return Err(unusable("it lists no endpoint any more, which is not believed"));
    }
    Ok(())
}

/// A source's word in a message: bounded, in one line.
pub(crate) fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(64).collect()
}

/// How an endpoint is called whose source has no name for it: `llama at 10.0.0.1:8000`. Short and in one line, for a table and a
/// metric's label; the same as long as it is the same endpoint; and never what an address may hold of a password.
pub(crate) fn called(model: &str, address: &str) -> String {
    let Ok(url) = Url::parse(address) else { return format!("{model} at no address") };
    let (origin, path) = (url.origin(), url.path().trim_end_matches('/'));
    // Without a port it is https, which most have that have none.
    let port = if !origin.is_secure() && origin.port() == 80 { ":80" } else { "" };
    format!("{model} at {}{port}{path}", origin.host_field())
}

fn is_within(host: &str, allowed: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host.strip_suffix(allowed).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        && !allowed.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::Keeper;

    fn judge(policy: &Policy, url: &str, key: Option<&str>) -> Result<Option<Secret>, String> {
        let found = Discovered::new("e", Endpoint::new("openai", url, "m"));
        policy.admit(found, key).map(|found| {
            assert_eq!(
                found.endpoint.addresses.as_ref(),
                Some(&policy.addresses),
                "what it leads to is judged later"
            );
            found.endpoint.credential
        })
    }

    #[test]
    fn places_and_keys_are_judged() {
        let usual = Policy::new().with_key("k", "sk-planted", ["example.com"]);
        let inside = usual.clone().with_networks(["10.0.0.0/8".parse().expect("a network")]);
        let secure = usual.clone().with_schemes(Schemes::Secure);
        let local = usual.clone().with_addresses(AddressPolicy::Any).with_key("l", "sk-local", ["127.0.0.1"]);
        for (policy, url, key, good) in [
            (&usual, "https://api.example.com/v1", None, true),
            (&usual, "http://8.8.8.8/v1", None, true),
            (&usual, "http://10.0.0.1/v1", None, false),
            (&usual, "http://169.254.169.254/latest", None, false),
            (&usual, "http://[::1]:80/v1", None, false),
            (&usual, "http://localhost:80/v1", None, false),
            (&usual, "http://127.1/v1", None, false),
            (&usual, "http://2130706433/v1", None, false),
            (&usual, "http://0x7f000001/v1", None, false),
            (&usual, "http://0x7f.1/v1", None, false),
            (&usual, "http://0177.0.0.1/v1", None, false),
            (&usual, "http://0/v1", None, false),
            (&usual, "http://127.0.0.1./v1", None, false),
            (&usual, "http://１２７.0.0.1/v1", None, false),
            (&usual, "http://[::ffff:169.254.169.254]/v1", None, false),
            (&usual, "http://[::ffff:7f00:1]/v1", None, false),
            (&usual, "http://[64:ff9b::a9fe:a9fe]/v1", None, false),
            (&usual, "http://[2002:7f00:1::]/v1", None, false),
            (&usual, "http://[fe80::1%25eth0]/v1", None, false),
            (&usual, "http://[fd00::1]/v1", None, false),
            (&usual, "http://0.0.0.0/v1", None, false),
            (&usual, "http://100.64.0.1/v1", None, false),
            (&usual, "http://LocalHost/v1", None, false),
            (&usual, "http://localhost./v1", None, false),
            (&usual, "http://a.LOCALHOST/v1", None, false),
            (&usual, "http://a.localhost./v1", None, false),
            (&usual, "https://example.com\\@10.0.0.1/v1", None, false),
            (&usual, "https://example.com/v1#x", None, false),
            (&usual, "HTTPS://API.example.com/v1", Some("k"), true),
            (&usual, "gopher://8.8.8.8/v1", None, false),
            (&usual, "//8.8.8.8/v1", None, false),
            (&usual, "file:///etc/passwd", None, false),
            (&usual, "https://user:pw@example.com/v1", None, false),
            (&usual, "https://example.com/v1?key=x", None, false),
            (&inside, "http://10.0.0.1:8000/v1", None, true),
            (&inside, "http://192.168.0.1:8000/v1", None, false),
            (&secure, "http://api.example.com/v1", None, false),
            (&usual, "https://api.example.com/v1", Some("k"), true),
            (&usual, "https://example.com/v1", Some("k"), true),
            (&usual, "https://badexample.com/v1", Some("k"), false),
            (&usual, "https://example.com.evil.net/v1", Some("k"), false),
            (&usual, "http://api.example.com/v1", Some("k"), false),
            (&usual, "https://api.example.com/v1", Some("other"), false),
            (&local, "http://127.0.0.1:1/v1", Some("l"), true),
        ] {
            let judged = judge(policy, url, key);
            assert_eq!(judged.is_ok(), good, "{url} {key:?}: {judged:?}");
            assert_eq!(judged.ok().flatten().is_some(), good && key.is_some(), "{url}");
        }
        assert!(!format!("{usual:?}").contains("planted"));
    }

    #[test]
    fn endpoints_without_a_name_are_called_by_model_and_place() {
        for (address, name) in [
            ("http://10.0.0.1:8000", "m at 10.0.0.1:8000"),
            ("http://10.0.0.1:8000/v1/", "m at 10.0.0.1:8000/v1"),
            ("https://Gateway.example.com/eu/v1", "m at gateway.example.com/eu/v1"),
            ("http://gateway.example.com/eu/v1", "m at gateway.example.com:80/eu/v1"),
            ("https://h:8443?key=planted", "m at h:8443"),
            ("http://[fd00::1]:8000/v1", "m at [fd00::1]:8000/v1"),
            ("https://user:planted@h/v1", "m at no address"),
            ("planted", "m at no address"),
        ] {
            assert_eq!(called("m", address), name);
        }
    }

    #[test]
    fn one_bad_entry_does_not_cost_the_others() {
        let policy = Policy::new().with_max_endpoints(2);
        let good = || Ok(Discovered::new("a", Endpoint::new("openai", "https://a.example", "m")));
        let bad = || Err("no".to_owned());
        let listing = policy.listing(vec![good(), bad()]).expect("one is good");
        assert_eq!((listing.endpoints.len(), listing.refused.len()), (1, 1));
        assert!(policy.listing(vec![bad(), bad()]).is_err(), "nothing usable");
        assert!(policy.listing(vec![good(), good(), good()]).is_err(), "too many");
        assert!(policy.listing(vec![]).expect("nothing listed").endpoints.is_empty());
    }

    /// A registry that keeps a table may list it in another order each time.
    #[test]
    fn the_order_of_entries_decides_nothing() {
        let policy = Policy::new();
        let at = |name: &str, url: &str| Ok(Discovered::new(name, Endpoint::new("openai", url, "m")));
        let mut entries = vec![
            at("a", "https://2.example"),
            at("b", "https://b.example"),
            at("a", "https://1.example"),
            at("a", "https://2.example"),
            at("a", "https://3.example"),
        ];
        entries.extend((0..MAX_REFUSED + 5).map(|number| Err(format!("{number} is none"))));
        let mut keeper = Keeper::new(false);
        for turn in 0..entries.len() {
            let listing = policy.listing(entries.clone()).expect("two are good");
            let urls: BTreeSet<_> = listing.endpoints.iter().map(|found| &*found.endpoint.base_url).collect();
            assert_eq!(urls, ["https://1.example", "https://b.example"].into());
            assert_eq!(listing.refused.len(), MAX_REFUSED);
            let news = keeper.news(listing).expect("believed");
            assert_eq!(news.is_some(), turn == 0, "turn {turn}");
            entries.rotate_left(1);
        }
        let listing = policy.listing(entries[..5].to_vec()).expect("good");
        assert_eq!(listing.refused.len(), 1, "said once: {:?}", listing.refused);
    }
}
