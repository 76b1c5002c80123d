//! The shape of a configuration.

use std::{fmt, time::Duration};

use loquat_core::{Endpoint, Result, Secret};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{
    Abilities, AfterDelivery, CanarySpec, Class, EndpointSpec, FallbackPolicy, Fan, GroupSpec, Members, Plan,
    Price, RouteSpec, Strategy, canary::CanaryPolicy,
};

/// Endpoints and routes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The endpoints, each by its own name.
    #[serde(default)]
    pub(crate) endpoints: Vec<EndpointConfig>,
    /// The routes. Without any, every endpoint's model is a route.
    #[serde(default)]
    pub(crate) routes: Vec<RouteConfig>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointConfig {
    /// Its name in routes and messages.
    name: String,
    /// Whose wire format it speaks: `openai`, `anthropic`, `ollama`, …
    provider: String,
    /// Scheme, host, port and path prefix; the provider's own where it is missing.
    #[serde(default)]
    base_url: String,
    /// The model's name there.
    model: String,
    /// Where its key is: never the key itself.
    key: Option<KeyReference>,
    /// Whether the key may go over plain HTTP to another machine, readable on the way: for a gateway in one's own network.
    #[serde(default)]
    plain_key: bool,
    /// What it can do; tools, streaming and JSON objects where it is missing.
    #[schemars(with = "Option<Vec<String>>")]
    abilities: Option<Vec<Ability>>,
    /// Tokens of prompt and answer together.
    context_window: Option<u32>,
    /// Tokens of the longest answer.
    max_output_tokens: Option<u32>,
    /// Dollars per million tokens.
    #[serde(default)]
    price: PriceConfig,
    /// Its share where shares are weighted. Default 1.
    weight: Option<u32>,
    /// Free words that groups select by.
    #[serde(default)]
    tags: Vec<String>,
}

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyReference {
    /// In the environment variable of that name.
    Env(String),
    /// In the file at that path, alone.
    File(String),
}

#[derive(Debug, Clone, Copy)]
struct Ability(Abilities);

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PriceConfig {
    #[serde(default)]
    input: f32,
    #[serde(default)]
    output: f32,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteConfig {
    /// The names that requests ask for; a `*` at the end stands for anything.
    names: Vec<String>,
    /// The groups, the first choice first.
    groups: Vec<GroupConfig>,
    /// When to go on to another endpoint.
    #[serde(default)]
    fallback: FallbackConfig,
    /// So many endpoints are asked at once, and the first to begin wins.
    race: Option<u8>,
    /// A second endpoint is asked after so many milliseconds without a first token.
    hedge_after_ms: Option<u32>,
    /// A new version that takes a share.
    canary: Option<CanaryConfig>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GroupConfig {
    /// Its endpoints by name. One of `endpoints`, `tags` and `model`; all endpoints where none of them is there.
    endpoints: Option<Vec<String>>,
    /// Its endpoints by tags: those that have all of these.
    tags: Option<Vec<String>>,
    /// Its endpoints by model.
    model: Option<String>,
    /// How one is chosen. Default `latency`.
    #[serde(default)]
    strategy: StrategyConfig,
    /// For `cheapest`: the time to first token that must be expected. Milliseconds, default 850.
    objective_ms: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StrategyConfig {
    #[default]
    Latency,
    Weighted,
    RoundRobin,
    LeastInFlight,
    Cheapest,
    Affinity,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FallbackConfig {
    /// After which failures. Default: all but `content_filter`.
    on: Option<Vec<ClassConfig>>,
    /// Most endpoints for one answer, 1 to 8. Default 3.
    max_attempts: Option<u32>,
    /// What to do once something was delivered. Default `fail`.
    #[serde(default)]
    after_delivery: AfterConfig,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ClassConfig {
    Overload,
    Timeout,
    Connection,
    Server,
    Refused,
    Unsupported,
    ContextLength,
    ContentFilter,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum AfterConfig {
    #[default]
    Fail,
    Restart,
    Continue,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CanaryConfig {
    /// Its name in events.
    name: String,
    /// The endpoints of the new version.
    group: GroupConfig,
    /// The share it begins with. Percent, default 5.
    first_percent: Option<f64>,
    /// What is added after each dwell time. Percent, default 10.
    step_percent: Option<f64>,
    /// The share it does not go beyond. Percent, default 50.
    max_percent: Option<f64>,
    /// Seconds between two moves. Default 60.
    dwell_seconds: Option<u32>,
    /// Failures allowed. Percent, default 0.3.
    max_error_percent: Option<f64>,
    /// What 95 of a hundred first tokens must keep. Milliseconds, default 850.
    max_first_token_ms: Option<u32>,
}

impl Config {
    /// The plan as far as it goes, and what is wrong with it.
    pub(super) fn build(&self, key: impl Fn(&KeyReference) -> Result<Secret>) -> (Plan, Vec<String>) {
        let mut problems = Vec::new();
        let mut plan = Plan::new();
        for config in &self.endpoints {
            let mut endpoint = Endpoint::new(&config.provider, &config.base_url, &config.model);
            match config.key.as_ref().map(&key) {
                Some(Ok(secret)) => endpoint.credential = Some(secret),
                Some(Err(error)) => problems.push(format!("endpoint `{}`: {error}", config.name)),
                None => {}
            }
            endpoint.plain_credential = config.plain_key;
            let mut spec = EndpointSpec::new(&config.name, endpoint);
            if let Some(abilities) = &config.abilities {
                spec.abilities = abilities.iter().fold(Abilities::NONE, |all, ability| all.and(ability.0));
            }
            (spec.context_window, spec.max_output_tokens) = (config.context_window, config.max_output_tokens);
            spec.price = Price::new(config.price.input, config.price.output);
            spec.weight = config.weight.unwrap_or(spec.weight);
            spec.tags.clone_from(&config.tags);
            plan.endpoints.push(spec);
        }
        plan.routes = self.routes.iter().map(|route| route.build(&mut problems)).collect();
        (plan, problems)
    }
}

impl RouteConfig {
    fn build(&self, problems: &mut Vec<String>) -> RouteSpec {
        let title = self.names.first().map_or("", String::as_str);
        let mut route = RouteSpec::new("");
        route.names.clone_from(&self.names);
        route.groups = self.groups.iter().map(|group| group.build(title, problems)).collect();
        let mut fallback = FallbackPolicy::default();
        if let Some(classes) = &self.fallback.on {
            fallback = fallback.with_classes(classes.iter().map(|class| class.class()));
        }
        fallback.max_attempts = self.fallback.max_attempts.unwrap_or(fallback.max_attempts);
        fallback.after_delivery = match self.fallback.after_delivery {
            AfterConfig::Fail => AfterDelivery::Fail,
            AfterConfig::Restart => AfterDelivery::Restart,
            AfterConfig::Continue => AfterDelivery::Continue,
        };
        route.fallback = fallback;
        route.fan = match (self.race, self.hedge_after_ms) {
            (None, None) => Fan::One,
            (Some(count), None) => Fan::Race(count),
            (None, Some(ms)) => Fan::Hedge(Duration::from_millis(ms.into())),
            (Some(_), Some(_)) => {
                problems.push(format!("route `{title}`: `race` and `hedge_after_ms` exclude each other"));
                Fan::One
            }
        };
        route.canary = self.canary.as_ref().map(|canary| canary.build(title, problems));
        route
    }
}

impl GroupConfig {
    fn build(&self, title: &str, problems: &mut Vec<String>) -> GroupSpec {
        let members = match (&self.endpoints, &self.tags, &self.model) {
            (None, None, None) => Members::All,
            (Some(names), None, None) => Members::Named(names.clone()),
            (None, Some(tags), None) => Members::Tagged(tags.clone()),
            (None, None, Some(model)) => Members::OfModel(model.clone()),
            _ => {
                problems.push(format!("route `{title}`: a group has one of `endpoints`, `tags` and `model`"));
                Members::All
            }
        };
        let objective = Duration::from_millis(self.objective_ms.unwrap_or(850).into());
        let strategy = match self.strategy {
            StrategyConfig::Latency => Strategy::latency(),
            StrategyConfig::Weighted => Strategy::weighted(),
            StrategyConfig::RoundRobin => Strategy::round_robin(),
            StrategyConfig::LeastInFlight => Strategy::least_in_flight(),
            StrategyConfig::Cheapest => Strategy::cheapest(objective),
            StrategyConfig::Affinity => Strategy::affinity(),
        };
        GroupSpec::new(members).with_strategy(strategy)
    }
}

impl CanaryConfig {
    fn build(&self, title: &str, problems: &mut Vec<String>) -> CanarySpec {
        let mut policy = CanaryPolicy::default();
        for (set, given) in [
            (&mut policy.first_percent, self.first_percent),
            (&mut policy.step_percent, self.step_percent),
            (&mut policy.max_percent, self.max_percent),
            (&mut policy.max_error_percent, self.max_error_percent),
        ] {
            *set = given.unwrap_or(*set);
        }
        policy.dwell = self.dwell_seconds.map_or(policy.dwell, |seconds| Duration::from_secs(seconds.into()));
        policy.max_first_token =
            self.max_first_token_ms.map_or(policy.max_first_token, |ms| Duration::from_millis(ms.into()));
        CanarySpec::new(&self.name, self.group.build(title, problems)).with_policy(policy)
    }
}

impl ClassConfig {
    fn class(self) -> Class {
        match self {
            Self::Overload => Class::Overload,
            Self::Timeout => Class::Timeout,
            Self::Connection => Class::Connection,
            Self::Server => Class::Server,
            Self::Refused => Class::Refused,
            Self::Unsupported => Class::Unsupported,
            Self::ContextLength => Class::ContextLength,
            Self::ContentFilter => Class::ContentFilter,
        }
    }
}

impl<'de> Deserialize<'de> for Ability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Abilities::named(&name).map(Self).ok_or_else(|| {
            de::Error::custom(format!(
                "no ability has that name; there are: {}",
                Abilities::names().join(", ")
            ))
        })
    }
}

impl<'de> Deserialize<'de> for KeyReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = KeyReference;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ env = \"NAME\" } or { file = \"PATH\" }")
    }

    // Not `invalid_type`, which would repeat the key.
    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom(
            "a key must not stand in the file, which is copied and committed: name the variable or the file that holds \
             it, as in key = { env = \"NAME\" } or key = { file = \"PATH\" }",
        ))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Either {
            env: Option<String>,
            file: Option<String>,
        }
        match Either::deserialize(MapAccessDeserializer::new(map))? {
            Either { env: Some(name), file: None } => Ok(KeyReference::Env(name)),
            Either { env: None, file: Some(path) } => Ok(KeyReference::File(path)),
            _ => Err(de::Error::custom("a key is in one place: `env` or `file`")),
        }
    }
}
