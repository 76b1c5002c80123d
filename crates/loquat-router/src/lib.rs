//! Which endpoint: among many models and many endpoints of each, by what is known of their abilities, health, speed, load
//! and price, without an allocation; and another one when that fails, before the caller has seen a token.
//!
//! A [`Router`] is a [`Model`](loquat_core::Model) over models. It deliberately knows no HTTP, no JSON and no retry
//! mechanics: endpoints become models through a function ([`Connect`]), breakers speak through
//! [`Availability`](loquat_core::Availability), budgets through an [`Allowance`].
//!
//! # How it decides
//!
//! | step | question | where |
//! |---|---|---|
//! | route | which groups of endpoints go by that name? | [`RouteSpec`] |
//! | canary | does this caller belong to the new version's share? | [`canary`] |
//! | able | who can do what the request asks for, window included? | [`Asked`], [`Abilities`] |
//! | well | who takes requests? If nearly nobody: everybody | [`health`] |
//! | filter → score → pick | who of these? | [`Strategy`] |
//! | next group | and if none will do? | [`RouteSpec::groups`] |
//!
//! | strategy | chooses |
//! |---|---|
//! | [`Strategy::latency`] | the best of five by peak-EWMA of time to first token × tokens in hand; failures count as slow |
//! | [`Strategy::weighted`], [`Strategy::round_robin`] | by share |
//! | [`Strategy::least_in_flight`] | the one of two with fewer requests |
//! | [`Strategy::cheapest`] | the cheapest that keeps an objective |
//! | [`Strategy::affinity`] | the same for requests that belong together, bounded by load |
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use loquat_core::{ChatRequest, Context, Endpoint, Error, ErrorKind, Model, OwnedDelta, test_util::Scripted};
//! use loquat_router::{Connected, EndpointSpec, GroupSpec, Plan, RouteSpec, Router};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let plan = Plan::new()
//!     .with_endpoint(EndpointSpec::new("near", Endpoint::new("openai", "http://10.0.0.1/v1", "llama")))
//!     .with_endpoint(EndpointSpec::new("far", Endpoint::new("openai", "http://10.0.0.2/v1", "llama")))
//!     .with_route(RouteSpec::new("chat").with_group(GroupSpec::of(["near"])).with_group(GroupSpec::of(["far"])));
//!
//! let router = Router::builder(|spec: &EndpointSpec| {
//!     // In a program: a provider over a transport, inside the scheduler's layers.
//!     let model = match spec.name.as_str() {
//!         "near" => Scripted::new().then(Err(Error::new(ErrorKind::Overloaded, "busy"))),
//!         _ => Scripted::new().then(Ok(vec![OwnedDelta::Text { choice: 0, text: "hello".into() }])),
//!     };
//!     Ok(Connected::new(Arc::new(model)))
//! })
//! .build(&plan)?;
//!
//! let mut answer = router.infer(&Context::new(), Arc::new(ChatRequest::new("chat").with_user("hi"))).await?;
//! assert_eq!(answer.next_text().await?, Some("hello"), "from far, since near was busy");
//! # Ok::<_, Error>(()) }).unwrap();
//! ```
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `webhook` | no | `canary::webhook`: what becomes of canaries as signed messages |
//! | `config` | no | `config`: plans and scripts from TOML and YAML, and their JSON Schema |
#![forbid(unsafe_code)]

mod ability;
mod answer;
pub mod canary;
#[cfg(feature = "config")]
pub mod config;
mod decide;
mod endpoint;
mod explain;
mod fallback;
pub mod health;
mod load;
mod mask;
mod operation;
mod plan;
mod pool;
mod random;
mod router;
pub mod simulate;
pub mod strategy;
mod table;
mod trace;

pub use ability::{Abilities, Asked, hash};
pub use decide::{Decision, Left};
pub use endpoint::{Allowance, Connect, Connected, EndpointSpec, Price};
pub use explain::{Candidate, Explanation};
pub use fallback::{AfterDelivery, Class, FallbackPolicy};
pub use load::{Live, LoadPolicy, Outcome, SIZES, SizeLatency, Ticket};
/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
pub use mask::{MAX_MEMBERS, Mask};
pub use plan::{CanarySpec, Fan, GroupSpec, Members, Plan, RouteSpec};
pub use pool::{Member, Pool, Tier};
pub use random::Draw;
pub use router::{Counter, Listener, Router, RouterBuilder, StableKey, Timer};
pub use strategy::Strategy;
pub use table::{MAX_ENDPOINTS, MAX_ROUTES, Node, Table};
pub use trace::Record;
