//! [`Client`]: the crates wired into one call. What it is configured by is in `builder`.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use loquat_client::{GenerationLimits, HttpModel};
use loquat_core::{Context, Endpoint, Error, ErrorKind, Model, Result, Secret};
use loquat_provider::{AZURE_OPENAI_DEPLOYMENT, DecoderMemory, Format, Profile};
use loquat_schedule::{EndpointSchedule, Schedule};
use loquat_transport::{AddressPolicy, HeaderName, HeaderValue, Transport, Url};

use crate::Chat;

mod builder;

pub use builder::ClientBuilder;

/// Asks models by name. Cheap to clone; clones share the pool of connections and the loaded engines.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) transport: Transport,
    /// Those that dial less, by what endpoints allow that somebody else listed.
    narrower: Mutex<Vec<(AddressPolicy, Transport)>>,
    /// What endpoints' answers leave for those after them, by format, address and key.
    memories: Mutex<Vec<Memory>>,
    pub(crate) limits: GenerationLimits,
    /// The field that tells servers how long the caller will wait.
    deadline_header: Option<HeaderName>,
    /// Whether the environment was read.
    pub(crate) from_env: bool,
    /// Keys by provider name.
    pub(crate) keys: HashMap<&'static str, Secret>,
    /// Other addresses of providers than their profiles have, by provider name.
    pub(crate) addresses: HashMap<&'static str, String>,
    /// Providers whose secrets may go over plain HTTP to another machine.
    plain_keys: HashSet<&'static str>,
    /// What requests to a provider's own address have besides, by provider name.
    headers: HashMap<&'static str, Vec<(HeaderName, HeaderValue)>>,
    /// Which version of Azure OpenAI's API by deployment is asked; `None` for the one that the format knows.
    azure_version: Option<String>,
    /// One server for everything, in place of the providers' own.
    pub(crate) server: Option<Server>,
    /// Who lists names that come without a provider.
    pub(crate) listed: crate::resolve::Listed,
    /// What attempts pass through; `None` for nothing.
    schedule: Option<Schedule>,
    /// What the schedule keeps, by address and model.
    endpoints: Mutex<HashMap<(String, String), EndpointSchedule>>,
    #[cfg(feature = "observe")]
    pub(crate) observer: Option<loquat_observe::Observer>,
    #[cfg(feature = "engine")]
    pub(crate) engines: crate::engines::Engines,
}

/// A format, an address and a key there, and what answers leave.
type Memory = (&'static str, String, Option<Secret>, DecoderMemory);

/// A server that is none of the known providers' own.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) base_url: String,
    pub(crate) key: Option<Secret>,
    /// Whether the key may go over plain HTTP to another machine.
    plain_key: bool,
    /// Whether the environment named it: then it is a default, and a name that can only mean the engine still does.
    pub(crate) is_default: bool,
}

impl Server {
    /// That model there.
    pub(crate) fn endpoint(&self, model: &str) -> Endpoint {
        let mut endpoint = Endpoint::new("server", &self.base_url, model);
        endpoint.credential.clone_from(&self.key);
        endpoint.with_plain_credential(self.plain_key)
    }
}

impl Client {
    /// A client configured by the environment: each provider's key from its own variable (`OPENAI_API_KEY`,
    /// `ANTHROPIC_API_KEY`, `DASHSCOPE_API_KEY`, …), `OLLAMA_HOST`, `OPENAI_BASE_URL`, `ANTHROPIC_BASE_URL`, `GROQ_BASE_URL`,
    /// `AZURE_OPENAI_ENDPOINT` and `OPENAI_API_VERSION` (of `azure-deployment`) as those vendors' own clients read them,
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`, with the feature `aws` the key pair in `AWS_ACCESS_KEY_ID` and
    /// `AWS_SECRET_ACCESS_KEY`, and `LOQUAT_BASE_URL` with `LOQUAT_KEY_ENV` (the
    /// *name* of the variable that holds that server's key).
    ///
    /// # Errors
    /// Values that cannot be used: an address that is none, a named variable that is not set.
    pub fn from_env() -> Result<Self> {
        Self::builder().env().build()
    }

    /// A client configured by hand.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Begins a request to that model; see the [crate's words](crate) for names.
    pub fn chat(&self, model: impl Into<String>) -> Chat {
        Chat::new(self.clone(), model.into())
    }

    /// The providers this client knows, in the order of their listing, and what each lacks. Other ways to the same
    /// provider are not repeated here.
    pub fn providers(&self) -> Vec<ProviderStatus> {
        loquat_provider::profiles()
            .iter()
            .filter(|profile| profile.variant_of.is_none())
            .map(|profile| ProviderStatus {
                name: profile.name,
                base_url: self.0.base_url(profile).to_owned(),
                key_variable: profile.key_variable,
                address_variable: profile.base_url.is_empty().then_some(crate::azure::VARIABLE),
                has_key: self.0.keys.contains_key(profile.name),
            })
            .collect()
    }

    /// The server that stands in place of the providers' own, where one was configured.
    pub fn base_url(&self) -> Option<&str> {
        self.0.server.as_ref().map(|server| server.base_url.as_str())
    }

    /// The connections behind this client.
    pub fn transport(&self) -> &Transport {
        &self.0.transport
    }
}

impl Inner {
    pub(crate) fn base_url<'a>(&'a self, profile: &'a Profile) -> &'a str {
        self.addresses.get(profile.name).map_or(profile.base_url, String::as_str)
    }

    /// Where that provider is asked. Another way to a provider that is elsewhere by now has to be told where it is: what is meant for
    /// the one place does not go to the other.
    pub(crate) fn place<'a>(&'a self, profile: &'a Profile) -> Result<&'a str> {
        let is_moved = |profile: &Profile| self.addresses.contains_key(profile.name);
        let parent = profile.variant_of.and_then(loquat_provider::profile);
        match parent.filter(|parent| is_moved(parent) && !is_moved(profile)) {
            Some(parent) if !self.is_beside(profile, parent) => Err(Error::new(
                ErrorKind::NotConfigured,
                format!(
                    "{0} has another address than {1}, which was given a new one: give this one its own, \
                     `.provider_url(\"{0}\", …)`",
                    profile.name, parent.name
                ),
            )),
            _ if self.base_url(profile).is_empty() => Err(Error::new(
                ErrorKind::NotConfigured,
                format!(
                    "{0} is at an address of your own: give it by `.provider_url(\"{0}\", …)`, or in the environment variable {1}",
                    profile.name,
                    crate::azure::VARIABLE
                ),
            )),
            _ => Ok(self.base_url(profile)),
        }
    }

    /// Whether both are asked at one origin, so that what is meant for the one may go to the other.
    fn is_beside(&self, one: &Profile, other: &Profile) -> bool {
        let (one, other) = (self.base_url(one), self.base_url(other));
        let origin = |url| Url::parse(url).map(|url| url.origin().clone());
        one == other || matches!((origin(one), origin(other)), (Ok(one), Ok(other)) if one == other)
    }

    /// Those of whom it holds at that provider's address what was said of them: itself, and before that the one it is another way to.
    fn names<'a>(&'a self, profile: &'a Profile) -> impl Iterator<Item = &'a str> {
        let parent = profile.variant_of.and_then(loquat_provider::profile);
        let parent = parent.filter(|parent| self.is_beside(profile, parent)).map(|parent| parent.name);
        parent.into_iter().chain([profile.name])
    }

    /// Whether a key may go to that provider over plain HTTP.
    pub(crate) fn plain_key(&self, profile: &Profile) -> bool {
        !self.plain_keys.is_empty() && self.names(profile).any(|name| self.plain_keys.contains(name))
    }

    /// The connections for endpoints that may be dialled there. Endpoints under the same policy share them.
    pub(crate) fn transport_within(&self, addresses: Option<&AddressPolicy>) -> Transport {
        let Some(addresses) = addresses else { return self.transport.clone() };
        let mut narrower = self.narrower.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, transport)) = narrower.iter().find(|(of, _)| of == addresses) {
            return transport.clone();
        }
        if narrower.len() >= MAX_POLICIES {
            narrower.remove(0); // who uses it keeps it
        }
        let transport = self.transport.within(addresses);
        narrower.push((addresses.clone(), transport.clone()));
        transport
    }

    /// What that endpoint's answers leave for those after them, whichever model was asked.
    fn memory(&self, format: &'static str, endpoint: &Endpoint) -> DecoderMemory {
        let Endpoint { base_url, credential, .. } = endpoint;
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it =
            |(of, address, key, _): &Memory| *of == format && address == base_url && key == credential;
        if let Some(place) = memories.iter().position(is_it) {
            memories[place..].rotate_left(1); // the last one used is the last one to go
        } else {
            if memories.len() >= MAX_MEMORIES {
                memories.remove(0); // who uses it keeps it
            }
            memories.push((format, base_url.clone(), credential.clone(), DecoderMemory::new()));
        }
        memories.last().map(|(.., memory)| memory.clone()).unwrap_or_default()
    }

    /// The model at that endpoint, as this client is configured, outside of any schedule.
    pub(crate) fn model_at(&self, format: &'static dyn Format, endpoint: Endpoint) -> Result<HttpModel> {
        let transport = self.transport_within(endpoint.addresses.as_ref());
        let model = HttpModel::new(transport, format, endpoint)?.with_limits(self.limits);
        let model = match &self.azure_version {
            Some(version) if format.name() == AZURE_OPENAI_DEPLOYMENT.name => {
                model.with_query(crate::azure::VERSION_MEMBER, version).map_err(|error| {
                    error.map_message(|what| format!("{}: {what}", crate::azure::VERSION_VARIABLE))
                })?
            }
            _ => model,
        };
        let with = |model: HttpModel, (name, value): &(HeaderName, HeaderValue)| {
            model.with_header(name.clone(), value.clone())
        };
        let model = self.headers_for(model.endpoint()).into_iter().try_fold(model, with)?;
        let memory = self.memory(format.name(), model.endpoint());
        let model = model.with_decoder_memory(memory);
        Ok(match &self.deadline_header {
            Some(name) => model.with_deadline_header(name.clone()),
            None => model,
        })
    }

    /// What a request there has besides. They may be secrets: no other address gets them.
    fn headers_for<'a>(&'a self, endpoint: &Endpoint) -> Vec<&'a (HeaderName, HeaderValue)> {
        if self.headers.is_empty() {
            return Vec::new();
        }
        let profile = loquat_provider::profile(&endpoint.provider)
            .filter(|profile| endpoint.base_url == self.base_url(profile));
        let names = profile.into_iter().flat_map(|profile| self.names(profile));
        names.filter_map(|name| self.headers.get(name)).flatten().collect()
    }

    /// That model, known to its endpoint as `name`, inside the endpoint's schedule, and watched.
    pub(crate) fn scheduled(&self, model: HttpModel, name: &str) -> Arc<dyn Model> {
        let schedule = self.schedule.as_ref();
        let endpoint =
            schedule.map(|schedule| self.endpoint_schedule(schedule, &model.endpoint().base_url, name));
        self.inside(model, name, endpoint.as_ref())
    }

    /// A call of that endpoint that is no answer, inside the schedule of what is known by `name` there, and within that time where the
    /// context has no deadline. What is as quick as a count has a name of its own: it says nothing of how the model answers.
    pub(crate) async fn call<T, F: Future<Output = Result<T>>>(
        &self,
        context: &Context,
        limit: Duration,
        model: &HttpModel,
        name: &str,
        may_run_twice: bool,
        attempt: impl Fn(Context) -> F,
    ) -> Result<T> {
        let context = match context.deadline() {
            Some(_) => context.clone(),
            None => context.clone().with_timeout(limit),
        };
        let Some(schedule) = &self.schedule else { return attempt(context).await };
        let schedule = self.endpoint_schedule(schedule, &model.endpoint().base_url, name);
        schedule.call(&context, may_run_twice, || attempt(context.clone())).await
    }

    /// One that a route may lead to, and what its schedule keeps.
    #[cfg(feature = "router")]
    pub(crate) fn routed(&self, model: HttpModel, name: &str) -> (Arc<dyn Model>, Option<EndpointSchedule>) {
        let endpoint = self.schedule.clone().map(|mut schedule| {
            // While its breaker is open the route leads elsewhere.
            schedule.retry = schedule.retry.map(|retry| retry.with_max_breaker_wait(Duration::ZERO));
            self.endpoint_schedule(&schedule, &model.endpoint().base_url, name)
        });
        (self.inside(model, name, endpoint.as_ref()), endpoint)
    }

    fn inside(&self, model: HttpModel, name: &str, endpoint: Option<&EndpointSchedule>) -> Arc<dyn Model> {
        #[cfg(feature = "observe")]
        if let Some(observer) = &self.observer {
            return crate::observing::wrap(observer, model, name, |model| around(endpoint, model));
        }
        let _ = name;
        around(endpoint, model)
    }

    /// What the schedule keeps for the endpoint at that address, known by that name.
    fn endpoint_schedule(&self, schedule: &Schedule, base_url: &str, name: &str) -> EndpointSchedule {
        let key = (base_url.to_owned(), name.to_owned());
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if endpoints.len() >= MAX_ENDPOINTS && !endpoints.contains_key(&key) {
            endpoints.clear(); // names may come from anywhere; what is forgotten is learnt again
        }
        let endpoint = endpoints.entry(key).or_insert_with_key(|key| {
            let endpoint = schedule.for_endpoint();
            #[cfg(feature = "observe")]
            if let (Some(observer), Some(word)) = (&self.observer, endpoint.availability()) {
                crate::observing::watch(observer, key, word);
            }
            #[cfg(not(feature = "observe"))]
            let _ = key;
            endpoint
        });
        endpoint.clone()
    }
}

fn around(endpoint: Option<&EndpointSchedule>, model: impl Model + 'static) -> Arc<dyn Model> {
    match endpoint {
        Some(endpoint) => endpoint.around(model),
        None => Arc::new(model),
    }
}

/// Most policies whose connections are kept for the next endpoint: a source has one.
const MAX_POLICIES: usize = 16;
/// Most endpoints whose answers' shapes and buffers are kept for the next request: some 320 KiB each at most, as a
/// rule.
const MAX_MEMORIES: usize = 32;
/// Most endpoints whose state is kept: more models than any program asks, and some hundred KiB.
const MAX_ENDPOINTS: usize = 1024;

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut with_keys: Vec<_> = self.0.keys.keys().collect();
        with_keys.sort_unstable();
        f.debug_struct("Client")
            .field("server", &self.0.server)
            .field("providers_with_keys", &with_keys)
            .finish_non_exhaustive()
    }
}

/// What a [`Client`] knows of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderStatus {
    /// Its name, as in `name:model`.
    pub name: &'static str,
    /// Where it is asked; empty where that is not known.
    pub base_url: String,
    /// The environment variable that says where it is asked; `None` where that is known otherwise.
    pub address_variable: Option<&'static str>,
    /// The environment variable that holds its key; `None` where it needs none.
    pub key_variable: Option<&'static str>,
    /// Whether a key is at hand.
    pub has_key: bool,
}

impl ProviderStatus {
    /// Whether it can be asked: it has its key, or needs none, and is somewhere.
    pub fn is_configured(&self) -> bool {
        !self.base_url.is_empty() && (self.has_key || self.key_variable.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::{builder::profile_of, *};

    /// What an endpoint of that provider is asked with: where, with a key or not, with how many headers besides.
    fn asked(client: &Client, name: &str) -> Result<(String, bool, usize)> {
        let model = client.http_model(profile_of(name)?, "m")?;
        let endpoint = model.endpoint();
        Ok((endpoint.base_url.clone(), endpoint.credential.is_some(), client.0.headers_for(endpoint).len()))
    }

    #[test]
    fn what_is_a_gateways_does_not_go_past_it() {
        for (parent, beside, other) in [
            ("gemini", "gemini-interactions", "gemini-openai"),
            ("ollama", "ollama-generate", "ollama-openai"),
            ("qwen", "qwen", "dashscope"),
        ] {
            let builder = || {
                let builder =
                    Client::builder().key(parent, "k").provider_header(parent, "x-gateway", "planted");
                builder.provider_header(other, "x-own", "planted")
            };
            let client = builder().provider_url(parent, "https://gw.example/a/").build().expect("valid");
            for name in [parent, beside] {
                assert_eq!(asked(&client, name), Ok(("https://gw.example/a".to_owned(), true, 1)), "{name}");
            }
            let error = asked(&client, other).expect_err(other);
            assert_eq!(error.kind(), ErrorKind::NotConfigured);
            assert!(error.message().contains(&format!("`.provider_url(\"{other}\", …)`")), "{error}");

            // With an address of its own it has the key, and the headers where that is the gateway's; the order does not matter.
            for (address, headers) in [("https://gw.example/b", 2), ("https://other.example/b", 1)] {
                let builder =
                    builder().provider_url(other, address).provider_url(parent, "https://gw.example/a");
                let client = builder.build().expect("valid");
                assert_eq!(asked(&client, other), Ok((address.to_owned(), true, headers)), "{other}");
            }
            // And where nothing was moved there is one vendor.
            let client = builder().build().expect("valid");
            let base_url = profile_of(other).expect("known").base_url;
            assert_eq!(asked(&client, other), Ok((base_url.to_owned(), true, 2)), "{other}");
        }
    }

    #[test]
    fn a_way_that_the_environment_moved_does_not_stay_behind() {
        let host = |name: &str| (name == "OLLAMA_HOST").then(|| "10.0.0.1".to_owned());
        let client = Client::builder().env().build_in(host).expect("valid");
        assert_eq!(asked(&client, "ollama-openai"), Ok(("http://10.0.0.1:11434/v1".to_owned(), false, 0)));
        let builder = Client::builder().env().provider_url("ollama", "https://gw.example");
        let client = builder.build_in(host).expect("valid");
        assert_eq!(asked(&client, "ollama-generate"), Ok(("https://gw.example".to_owned(), false, 0)));
        assert!(asked(&client, "ollama-openai").is_err());
    }

    #[test]
    fn azure_is_where_its_variable_says() {
        let nowhere = Client::builder().key("azure", "planted").build().expect("valid");
        for name in ["azure", "azure-deployment"] {
            let error = asked(&nowhere, name).expect_err("nowhere");
            assert_eq!(error.kind(), ErrorKind::NotConfigured);
            let says = |what: &str| error.message().contains(what);
            assert!(
                says("AZURE_OPENAI_ENDPOINT") && says(&format!("`.provider_url(\"{name}\", …)`")),
                "{error}"
            );
        }
        let azure = |client: &Client| client.providers().into_iter().find(|known| known.name == "azure");
        assert!(azure(&nowhere).is_some_and(|azure| azure.has_key && !azure.is_configured()));
        let build = |endpoint: &'static str| {
            let variable = move |name: &str| match name {
                "AZURE_OPENAI_ENDPOINT" => Some(endpoint.to_owned()),
                "AZURE_OPENAI_API_KEY" => Some("planted".to_owned()),
                _ => None,
            };
            Client::builder().env().build_in(variable)
        };
        for endpoint in ["", "/", "/openai", "/openai/v1/"] {
            let endpoint = format!("https://r.openai.azure.com{endpoint}").leak();
            let client = build(endpoint).expect("valid");
            assert!(azure(&client).is_some_and(|azure| azure.is_configured()), "{endpoint}");
            for (name, path) in [("azure", "/openai/v1"), ("azure-deployment", "/openai")] {
                let place = format!("https://r.openai.azure.com{path}");
                assert_eq!(asked(&client, name), Ok((place, true, 0)), "{endpoint}");
            }
        }
        let deployment =
            "https://r.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21";
        let error = build(deployment).map(drop).expect_err("a call's");
        assert!(error.message().starts_with("AZURE_OPENAI_ENDPOINT: "), "{error}");
        assert!(error.message().contains("/openai/v1 and name the model azure:m"), "{error}");
        // The one API's address is not taken for the other's.
        let builder =
            Client::builder().key("azure", "k").provider_url("azure", "https://gw.example/openai/v1");
        let client = builder.build().expect("valid");
        assert!(asked(&client, "azure").is_ok() && asked(&client, "azure-deployment").is_err());
    }

    #[test]
    fn a_secret_goes_over_plain_http_only_where_that_was_said_of_the_provider() {
        let gateway = |name: &str| (name == "OPENAI_BASE_URL").then(|| "http://litellm:4000/v1".to_owned());
        let build = |builder: ClientBuilder| builder.env().build_in(gateway).expect("valid");
        let (with_key, with_header) = (
            || Client::builder().key("openai", "planted"),
            || Client::builder().key("openai", "k").provider_header("openai", "x-gateway", "planted"),
        );
        for builder in [with_key(), with_header(), with_key().provider_plain_key("groq")] {
            let error = asked(&build(builder), "openai").expect_err("readable on the way");
            assert_eq!(error.kind(), ErrorKind::NotConfigured);
            let says = |what| error.message().contains(what);
            assert!(says("provider_plain_key") && says("base_url_plain_key") && !says("planted"), "{error}");
        }
        for (builder, headers) in [(with_key(), 0), (with_header(), 1)] {
            let client = build(builder.provider_plain_key("openai"));
            for name in ["openai", "openai-responses"] {
                assert_eq!(asked(&client, name), Ok(("http://litellm:4000/v1".to_owned(), true, headers)));
            }
        }
        assert!(Client::builder().provider_plain_key("opneai").build().is_err());
    }

    #[test]
    fn what_answers_leave_is_kept_for_the_endpoints_used_last() {
        let client = Client::builder().build().expect("valid");
        let format = profile_of("openai").expect("known").format;
        let ask = |host: usize| {
            let endpoint = Endpoint::new("openai", format!("http://127.0.0.1:{}/v1", host + 1), "m");
            client.0.model_at(format, endpoint).map(drop)
        };
        let kept = || {
            let memories = client.0.memories.lock().expect("no panic");
            memories.iter().map(|(_, address, ..)| address.clone()).collect::<Vec<_>>()
        };
        for host in 0..MAX_MEMORIES {
            ask(host).expect("a model");
        }
        ask(0).expect("a model");
        ask(MAX_MEMORIES).expect("a model");
        let address = |host: usize| format!("http://127.0.0.1:{}/v1", host + 1);
        let kept_now = kept();
        assert_eq!(kept_now.len(), MAX_MEMORIES);
        assert!(kept_now.contains(&address(0)) && !kept_now.contains(&address(1)), "{kept_now:?}");
        let refused = Endpoint::new("openai", "http://192.0.2.1/v1", "m").with_credential("k");
        assert!(client.0.model_at(format, refused).is_err());
        assert_eq!(kept(), kept_now, "who is refused leaves nothing");
    }

    #[test]
    fn no_key_is_ever_shown() {
        let client = Client::builder()
            .key("openai", "sk-planted-secret")
            .base_url("http://127.0.0.1:1/v1")
            .base_url_key("sk-planted-too")
            .build()
            .expect("valid");
        let shown = format!("{client:?} {:?} {:#?}", client.providers(), client.chat("m").user("x"));
        assert!(!shown.contains("planted"), "{shown}");
    }
}
