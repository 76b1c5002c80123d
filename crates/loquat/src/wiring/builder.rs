//! [`ClientBuilder`]: a client's configuration, from code or from the environment, checked before anything is asked.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use loquat_client::{GenerationLimits, no_base};
use loquat_core::{Error, ErrorKind, Result, Secret};
use loquat_provider::Profile;
use loquat_schedule::Schedule;
use loquat_transport::{Config, HeaderName, HeaderValue, Transport, Url};

use super::{Client, Inner, Server};

/// Builds a [`Client`].
#[must_use = "a builder builds nothing until .build()"]
pub struct ClientBuilder {
    transport: Config,
    limits: GenerationLimits,
    deadline_header: Option<HeaderName>,
    keys: Vec<(String, Secret)>,
    provider_urls: Vec<(String, String)>,
    provider_headers: Vec<(String, String, Secret)>,
    provider_plain_keys: Vec<String>,
    base_url: Option<String>,
    base_url_key: Option<Secret>,
    base_url_key_variable: Option<String>,
    base_url_plain_key: bool,
    from_env: bool,
    schedule: Option<Schedule>,
    #[cfg(feature = "observe")]
    observer: Option<loquat_observe::Observer>,
    #[cfg(feature = "engine")]
    progress: Option<crate::pull::Progress>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            transport: Config::default(),
            limits: GenerationLimits::default(),
            deadline_header: None,
            keys: Vec::new(),
            provider_urls: Vec::new(),
            provider_headers: Vec::new(),
            provider_plain_keys: Vec::new(),
            base_url: None,
            base_url_key: None,
            base_url_key_variable: None,
            base_url_plain_key: false,
            from_env: false,
            schedule: Some(Schedule::default()),
            #[cfg(feature = "observe")]
            observer: None,
            #[cfg(feature = "engine")]
            progress: None,
        }
    }
}

impl ClientBuilder {
    /// Reads what [`Client::from_env`] reads; what is said here by other methods comes first.
    pub fn env(mut self) -> Self {
        self.from_env = true;
        self
    }

    /// A provider's key.
    pub fn key(mut self, provider: impl Into<String>, key: impl Into<Secret>) -> Self {
        self.keys.push((provider.into(), key.into()));
        self
    }

    /// Another address of a provider, such as that of a gateway before it; its key goes there. The other ways to the same provider
    /// (`openai-responses` beside `openai`) are there, too, where they have the same address otherwise; those that have another one
    /// (`gemini-openai` beside `gemini`) are refused until they are given theirs, as neither key nor headers go past the gateway.
    pub fn provider_url(mut self, provider: impl Into<String>, url: impl Into<String>) -> Self {
        self.provider_urls.push((provider.into(), url.into()));
        self
    }

    /// Lets a provider's key, and its [headers](Self::provider_header), go over plain HTTP to another machine, where whoever is on the
    /// way can read them. Without it such an address is refused. For a gateway in a network of one's own, at
    /// [`provider_url`](Self::provider_url) or in `OPENAI_BASE_URL` ([`Endpoint::plain_credential`](loquat_core::Endpoint::plain_credential)).
    pub fn provider_plain_key(mut self, provider: impl Into<String>) -> Self {
        self.provider_plain_keys.push(provider.into());
        self
    }

    /// A header field of each request to a provider, by whichever way (`OpenAI-Organization`, what a gateway asks for). It goes to the
    /// provider's own address or that of [`provider_url`](Self::provider_url), by another way to it (`gemini-openai`) where that is at the
    /// same host, and its value is never shown. It takes the place of ours of that name, such as `authorization`.
    pub fn provider_header(
        mut self,
        provider: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<Secret>,
    ) -> Self {
        self.provider_headers.push((provider.into(), name.into(), value.into()));
        self
    }

    /// One server for all requests, in place of the providers' own. No provider's key is sent to it; give it one by
    /// [`base_url_key`](Self::base_url_key) or [`base_url_key_variable`](Self::base_url_key_variable).
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The key of the server at [`base_url`](Self::base_url).
    pub fn base_url_key(mut self, key: impl Into<Secret>) -> Self {
        self.base_url_key = Some(key.into());
        self
    }

    /// The environment variable that holds the key of the server at [`base_url`](Self::base_url).
    pub fn base_url_key_variable(mut self, name: impl Into<String>) -> Self {
        self.base_url_key_variable = Some(name.into());
        self
    }

    /// Lets the key of the server at [`base_url`](Self::base_url) go over plain HTTP to another machine, where whoever is on the way
    /// can read it. Default `false`: such a server is refused. For a gateway in a network of one's own
    /// ([`Endpoint::plain_credential`](loquat_core::Endpoint::plain_credential)).
    pub fn base_url_plain_key(mut self, allowed: bool) -> Self {
        self.base_url_plain_key = allowed;
        self
    }

    /// The transport's configuration: proxy, extra roots, HTTP/2, pool, connection limits.
    pub fn transport(mut self, config: Config) -> Self {
        self.transport = config;
        self
    }

    /// The limits in time of a generation.
    pub fn limits(mut self, limits: GenerationLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Tells each server by that header field how many milliseconds are left of the operation, retries included: for servers and
    /// gateways that give up what nobody will wait for, such as Envoy (`x-envoy-upstream-rq-timeout-ms`). Default: none, since no
    /// provider documents such a field. Of a router's endpoints all are told.
    pub fn deadline_header(mut self, name: HeaderName) -> Self {
        self.deadline_header = Some(name);
        self
    }

    /// What attempts pass through. Default: retries within a budget, and a breaker for each endpoint; `None` makes one
    /// attempt per call. An endpoint is a model at an address: of a provider's models one may be ill while the others are well, and
    /// what it has tried again is not taken from theirs. A server that is down as a whole is left alone model by model. An operation ends after [`GenerationLimits::total`], retries included, unless the schedule has a
    /// `total` of its own. The embedded engine is asked directly.
    pub fn schedule(mut self, schedule: impl Into<Option<Schedule>>) -> Self {
        self.schedule = schedule.into();
        self
    }

    /// Is watched by that observer: each call as an operation, each try as an attempt, the connections as gauges. What it
    /// shows of connections is the last client's that was built with it.
    #[cfg(feature = "observe")]
    pub fn observer(mut self, observer: loquat_observe::Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Is told how far the download is when the first use of `engine` has to fetch its model.
    #[cfg(feature = "engine")]
    pub fn on_pull(mut self, progress: crate::pull::Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Builds the client. No connection is made yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for a base URL that is none, [`ErrorKind::NotConfigured`] for what else cannot be used,
    /// naming it.
    pub fn build(self) -> Result<Client> {
        self.build_in(variable)
    }

    /// In that environment.
    pub(crate) fn build_in(self, variable: impl Fn(&str) -> Option<String>) -> Result<Client> {
        let mut keys = HashMap::new();
        for (name, key) in self.keys {
            keys.insert(profile_of(&name)?.name, key);
        }
        let mut headers: HashMap<_, Vec<_>> = HashMap::new();
        for (provider, name, value) in self.provider_headers {
            headers.entry(profile_of(&provider)?.name).or_default().push(header(&name, &value)?);
        }
        let plain_keys = self.provider_plain_keys.iter().map(|name| Ok(profile_of(name)?.name));
        let plain_keys = plain_keys.collect::<Result<_>>()?;
        let (mut base_url, mut key_variable) = (self.base_url, self.base_url_key_variable);
        let is_default = base_url.is_none();
        let mut addresses = HashMap::new();
        if self.from_env {
            for profile in loquat_provider::profiles() {
                if let Some(key) = profile.key_variable.and_then(&variable) {
                    keys.entry(profile.name).or_insert_with(|| Secret::new(key));
                }
            }
            #[cfg(feature = "aws")]
            if let Some(key) = crate::aws::key(&variable) {
                keys.entry("bedrock").or_insert(key);
            }
            addresses.extend(crate::aws::address(&variable).map(|address| ("bedrock", address)));
            if let Some(host) = variable("OLLAMA_HOST") {
                let address = ollama_address(&host);
                addresses.insert("ollama-openai", format!("{address}/v1"));
                addresses.insert("ollama-generate", address.clone());
                addresses.insert("ollama", address);
            }
            for (provider, name, path) in VENDORS {
                if let Some(url) = variable(name) {
                    let url = format!("{}{path}", url.trim().trim_end_matches('/'));
                    checked(&url, name)?;
                    move_to(&mut addresses, profile_of(provider)?, &url);
                }
            }
            if let Some(endpoint) = variable(crate::azure::VARIABLE) {
                for (provider, url) in crate::azure::addresses(&endpoint) {
                    checked(&url, crate::azure::VARIABLE)?;
                    move_to(&mut addresses, profile_of(provider)?, &url);
                }
            }
            if base_url.is_none() {
                base_url = variable("LOQUAT_BASE_URL");
                key_variable = key_variable.or_else(|| variable("LOQUAT_KEY_ENV"));
            }
        }
        let mut moved = Vec::new();
        for (provider, url) in &self.provider_urls {
            let profile = profile_of(provider)?;
            checked(url, &format!("the address of {}", profile.name))?;
            moved.push((profile, url.trim_end_matches('/')));
        }
        // Other ways after the provider itself: they have the address that was said of them, whichever was said first.
        moved.sort_by_key(|(profile, _)| profile.variant_of.is_some());
        for (profile, url) in moved {
            move_to(&mut addresses, profile, url);
        }
        let key = match (self.base_url_key, key_variable) {
            (Some(key), _) => Some(key),
            (None, Some(name)) => Some(Secret::new(variable(&name).ok_or_else(|| {
                Error::new(
                    ErrorKind::NotConfigured,
                    format!(
                        "the environment variable {name}, named as the one that holds the key, is not set"
                    ),
                )
            })?)),
            (None, None) => None,
        };
        if let Some(address) = &base_url {
            let whose = if is_default { "LOQUAT_BASE_URL" } else { "the base URL" };
            checked(address, whose)?;
        }
        let plain_key = self.base_url_plain_key;
        let server = base_url.map(|base_url| Server { base_url, key, plain_key, is_default });
        let transport = Transport::new(self.transport)?;
        #[cfg(feature = "observe")]
        if let Some(observer) = &self.observer {
            crate::observing::show_pool(observer, &transport);
        }
        Ok(Client(Arc::new(Inner {
            transport,
            narrower: Mutex::default(),
            memories: Mutex::default(),
            limits: self.limits,
            deadline_header: self.deadline_header,
            from_env: self.from_env,
            azure_version: self
                .from_env
                .then(|| variable(crate::azure::VERSION_VARIABLE))
                .flatten()
                .map(|version| version.trim().to_owned()),
            keys,
            addresses,
            plain_keys,
            headers,
            server,
            listed: crate::resolve::Listed::default(),
            schedule: self.schedule.map(|mut schedule| {
                schedule.total.get_or_insert(self.limits.total);
                schedule
            }),
            endpoints: Mutex::default(),
            #[cfg(feature = "observe")]
            observer: self.observer,
            #[cfg(feature = "engine")]
            engines: crate::engines::Engines::new(self.progress),
        })))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("base_url", &self.base_url)
            .field("from_env", &self.from_env)
            .finish_non_exhaustive()
    }
}

/// What the vendors' own clients read for their address, and what of a path those add themselves.
/// <https://github.com/openai/openai-python/blob/main/src/openai/_client.py>,
/// <https://github.com/anthropics/anthropic-sdk-python/blob/main/src/anthropic/_client.py>,
/// <https://github.com/groq/groq-python/blob/main/src/groq/_client.py>
const VENDORS: [(&str, &str, &str); 3] = [
    ("openai", "OPENAI_BASE_URL", ""),
    ("anthropic", "ANTHROPIC_BASE_URL", "/v1"),
    ("groq", "GROQ_BASE_URL", "/openai/v1"),
];

/// The provider of that name.
pub(super) fn profile_of(name: &str) -> Result<&'static Profile> {
    loquat_provider::profile(name).ok_or_else(|| crate::resolve::unknown_provider(name))
}

/// An address that is one, and has nothing behind its path, where keys are put and the paths of calls come.
fn checked(address: &str, whose: &str) -> Result<()> {
    if let Some(what) = no_base(address) {
        return Err(Error::new(ErrorKind::InvalidRequest, format!("{whose}: {what}")));
    }
    let parsed = Url::parse(address).map(drop);
    parsed.map_err(|error| error.map_message(|what| format!("{whose}: {what}")))
}

/// A provider's address is that, and so is that of the other ways to it that have the same. Where else they were before is forgotten.
fn move_to(addresses: &mut HashMap<&'static str, String>, provider: &'static Profile, url: &str) {
    let is_way = |name: &str| profile_of(name).is_ok_and(|other| other.variant_of == Some(provider.name));
    addresses.retain(|name, _| !is_way(name));
    let is_moved = |other: &&Profile| {
        other.name == provider.name
            || (other.variant_of == Some(provider.name)
                && other.base_url == provider.base_url
                && !provider.base_url.is_empty())
    };
    for profile in loquat_provider::profiles().iter().filter(is_moved) {
        addresses.insert(profile.name, url.to_owned());
    }
}

/// A header field whose value is shown nowhere.
fn header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue)> {
    let refused = |what: &str| Error::new(ErrorKind::InvalidRequest, format!("header {name:?}: {what}"));
    let parsed = HeaderName::try_from(name).map_err(|_| refused("not a header name"))?;
    let mut value =
        HeaderValue::try_from(value.expose()).map_err(|_| refused("its value has forbidden characters"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// An environment variable that is set and not blank.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// `OLLAMA_HOST` as Ollama itself reads it: scheme and port may be missing, and 0.0.0.0 means this machine.
/// <https://github.com/ollama/ollama/blob/main/envconfig/config.go>
fn ollama_address(host: &str) -> String {
    let host = host.trim().trim_end_matches('/');
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    let rest = rest.replacen("0.0.0.0", "127.0.0.1", 1);
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']') && !port.is_empty());
    match (has_port, scheme) {
        (true, _) => format!("{scheme}://{rest}"),
        (false, "https") => format!("https://{rest}:443"),
        (false, _) => format!("{scheme}://{rest}:11434"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollama_host_is_read_as_ollama_reads_it() {
        for (host, address) in [
            ("127.0.0.1", "http://127.0.0.1:11434"),
            ("0.0.0.0:1234", "http://127.0.0.1:1234"),
            ("https://ollama.example", "https://ollama.example:443"),
            ("[::1]", "http://[::1]:11434"),
            ("http://host:80/", "http://host:80"),
        ] {
            assert_eq!(ollama_address(host), address, "{host}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_before_anything_is_asked() {
        for (address, says) in [
            ("localhost:8080/v1", "the base URL: the address has no scheme"),
            ("", "the base URL: the address has no scheme"),
            ("http://a b", "the base URL: the address is not a URL"),
            ("https://gw/v1?key=planted", "the base URL: the address has a query"),
            ("https://gw/v1#planted", "the base URL: the address has a query or a fragment"),
        ] {
            let error = Client::builder().base_url(address).build().map(|_| ()).expect_err(address);
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{address}");
            assert!(error.message().starts_with(says), "{address}: {error}");
            assert!(!error.message().contains("planted"), "{error}");
        }
    }
}
