//! What an address alone does not say: which model is there, by which format, over which scheme.

use std::net::{IpAddr, SocketAddr};

use loquat_core::{Discovered, Endpoint};

use crate::Policy;

/// What is the same for all endpoints of a source that lists addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Template {
    /// Whose wire format they speak. Default `openai`.
    pub provider: String,
    /// The model's name there.
    pub model: String,
    /// `http` or `https`. Default `http`: an address has no certificate.
    pub scheme: String,
    /// The path below which the API is. Default `/v1`.
    pub path: String,
    /// Words that routes select by.
    pub tags: Vec<String>,
    /// The name of the key that authenticates there, which the policy knows.
    pub key: Option<String>,
}

impl Template {
    /// OpenAI's format over plain HTTP below `/v1`.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            provider: "openai".to_owned(),
            model: model.into(),
            scheme: "http".to_owned(),
            path: "/v1".to_owned(),
            tags: Vec::new(),
            key: None,
        }
    }

    /// Speaks that provider's format.
    #[must_use]
    pub fn with_provider(mut self, provider: impl Into<String>) -> Self {
        self.provider = provider.into();
        self
    }

    /// Over `https`.
    #[must_use]
    pub fn with_scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = scheme.into();
        self
    }

    /// Below that path.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// With one more word to be selected by.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Authenticates with the key of that name.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The endpoint at that address, if the policy admits it.
    pub(crate) fn at(&self, ip: IpAddr, port: u16, policy: &Policy) -> Result<Discovered, String> {
        self.at_host(&SocketAddr::new(ip, port).to_string(), policy)
    }

    /// The endpoint at that host and port.
    pub(crate) fn at_host(&self, authority: &str, policy: &Policy) -> Result<Discovered, String> {
        policy.admit(self.found(authority), self.key.as_deref())
    }

    pub(crate) fn found(&self, authority: &str) -> Discovered {
        let Self { scheme, path, provider, model, .. } = self;
        let endpoint = Endpoint::new(provider, format!("{scheme}://{authority}{path}"), model);
        let mut found = Discovered::new(format!("{model} at {authority}"), endpoint);
        found.tags.clone_from(&self.tags);
        found
    }
}
