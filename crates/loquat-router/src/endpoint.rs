//! What is said of an endpoint before it is used: where it is, what it can do, what it costs.

use std::{fmt, sync::Arc, time::Instant};

use loquat_core::{Availability, Endpoint, Model, Result};

use crate::Abilities;

/// What an endpoint charges. Dollars per million tokens; 0 where nothing is charged or nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Price {
    /// For tokens of prompts.
    pub input: f32,
    /// For tokens of answers.
    pub output: f32,
}

impl Price {
    /// So much for prompts, so much for answers.
    pub const fn new(input: f32, output: f32) -> Self {
        Self { input, output }
    }

    /// One figure: three tokens of prompt to one of answer, the mix that price lists are commonly compared by.
    pub fn blended(self) -> f32 {
        (self.input * 3.0 + self.output) / 4.0
    }
}

/// An endpoint as a router knows it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EndpointSpec {
    /// Its name in routes, messages and decisions; no two share one.
    pub name: String,
    /// Where it is, and what authenticates there.
    pub endpoint: Endpoint,
    /// What it can do. Default: [`Abilities::COMMON`].
    pub abilities: Abilities,
    /// Tokens of prompt and answer together that it holds; `None` for no known bound.
    pub context_window: Option<u32>,
    /// Tokens of the longest answer it gives; `None` for no known bound.
    pub max_output_tokens: Option<u32>,
    /// What it charges.
    pub price: Price,
    /// Its share where shares are weighted. Default 1; 0 for none.
    pub weight: u32,
    /// Free words that routes select by (`eu`, `h100`).
    pub tags: Vec<String>,
}

impl EndpointSpec {
    /// An endpoint of common abilities, no known bounds, no price, weight 1.
    pub fn new(name: impl Into<String>, endpoint: Endpoint) -> Self {
        Self {
            name: name.into(),
            endpoint,
            abilities: Abilities::COMMON,
            context_window: None,
            max_output_tokens: None,
            price: Price::default(),
            weight: 1,
            tags: Vec::new(),
        }
    }

    /// Can do these, and nothing else.
    #[must_use]
    pub fn with_abilities(mut self, abilities: Abilities) -> Self {
        self.abilities = abilities;
        self
    }

    /// Holds that many tokens of prompt and answer together.
    #[must_use]
    pub fn with_context_window(mut self, tokens: u32) -> Self {
        self.context_window = Some(tokens);
        self
    }

    /// Answers with at most that many tokens.
    #[must_use]
    pub fn with_max_output_tokens(mut self, tokens: u32) -> Self {
        self.max_output_tokens = Some(tokens);
        self
    }

    /// Charges that.
    #[must_use]
    pub fn with_price(mut self, price: Price) -> Self {
        self.price = price;
        self
    }

    /// Takes that share where shares are weighted.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// With one more word to be selected by.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Whether what was learnt of `other`, and its connections, holds for this one, too: the same name at the same place
    /// with the same credential. Price, weight, tags and abilities may differ.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.name == other.name && self.endpoint == other.endpoint
    }
}

/// What further attempts at an endpoint are allowed by: the scheduler's budget, which fallbacks draw on as retries do.
pub trait Allowance: Send + Sync {
    /// Takes one attempt out, if there is one.
    fn try_take(&self, now: Instant) -> bool;

    /// Whether there is one, without taking it. Who cannot be asked after a failure is no alternative
    /// ([`Context::has_alternative`](loquat_core::Context::has_alternative)), and is passed over for who can.
    fn has_left(&self, now: Instant) -> bool;
}

/// What a router asks an endpoint through.
#[derive(Clone)]
#[non_exhaustive]
pub struct Connected {
    /// The model: a provider over a transport, inside the scheduler's layers.
    pub model: Arc<dyn Model>,
    /// Its circuit breaker's word, where it has one.
    pub availability: Option<Arc<Availability>>,
    /// What a fallback to it is allowed by; `None` for always.
    pub allowance: Option<Arc<dyn Allowance>>,
}

impl Connected {
    /// That model, without a breaker or a budget.
    pub fn new(model: Arc<dyn Model>) -> Self {
        Self { model, availability: None, allowance: None }
    }

    /// With the word that its breaker writes.
    #[must_use]
    pub fn with_availability(mut self, word: Arc<Availability>) -> Self {
        self.availability = Some(word);
        self
    }

    /// With the budget that fallbacks to it draw on.
    #[must_use]
    pub fn with_allowance(mut self, allowance: Arc<dyn Allowance>) -> Self {
        self.allowance = Some(allowance);
        self
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").field("availability", &self.availability).finish_non_exhaustive()
    }
}

/// Makes models of endpoints: a function that is called once for every endpoint that is new.
pub trait Connect: Send + Sync {
    /// The model at that endpoint. It makes no connection yet.
    ///
    /// # Errors
    /// What makes the endpoint unusable; the table it belongs to is refused then, and the old one stays.
    fn connect(&self, spec: &EndpointSpec) -> Result<Connected>;
}

impl<F: Fn(&EndpointSpec) -> Result<Connected> + Send + Sync> Connect for F {
    fn connect(&self, spec: &EndpointSpec) -> Result<Connected> {
        self(spec)
    }
}
