//! Where a model can be asked, and what is known of it.

use crate::{AddressPolicy, Secret};

/// A place to ask: an address, a model and the credential that is good there, and only there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// The provider's short name (`openai`, `anthropic`, `ollama`, …), for messages and metrics.
    pub provider: String,
    /// Scheme, host, port and path prefix, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// The model's name as this endpoint knows it.
    pub model: String,
    /// What to authenticate with; `None` for servers that ask for nothing.
    pub credential: Option<Secret>,
    /// Whether the credential may go over plain HTTP to another machine than this one, where whoever is on the way can read it. Default
    /// `false`: such an endpoint is refused. For a gateway in a network of one's own.
    pub plain_credential: bool,
    /// Where it may be dialled, whatever its name leads to; `None` for where the transport's configuration allows. Whoever lists
    /// endpoints that somebody else named says it.
    pub addresses: Option<AddressPolicy>,
}

impl Endpoint {
    /// An endpoint without a credential.
    pub fn new(provider: impl Into<String>, base_url: impl Into<String>, model: impl Into<String>) -> Self {
        let (provider, base_url, model) = (provider.into(), base_url.into(), model.into());
        Self { provider, base_url, model, credential: None, plain_credential: false, addresses: None }
    }

    /// Authenticates with that credential.
    #[must_use]
    pub fn with_credential(mut self, credential: impl Into<Secret>) -> Self {
        self.credential = Some(credential.into());
        self
    }

    /// Lets the credential go [over plain HTTP](Self::plain_credential), or not.
    #[must_use]
    pub fn with_plain_credential(mut self, allowed: bool) -> Self {
        self.plain_credential = allowed;
        self
    }

    /// May be dialled there alone.
    #[must_use]
    pub fn with_addresses(mut self, addresses: AddressPolicy) -> Self {
        self.addresses = Some(addresses);
        self
    }
}

/// What a listing says of a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The name to ask for.
    pub id: String,
    /// Who made or serves it, where said.
    pub owner: Option<String>,
    /// Tokens of prompt and answer together that it can hold, where said.
    pub context_window: Option<u64>,
}

impl ModelInfo {
    /// A model of which only the name is known.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }
}
