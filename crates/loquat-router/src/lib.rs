#![doc = include_str!("../README.md")]
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
//! A [`Router`] is a [`Model`](loquat_core::Model) over models. Endpoints become models through a function ([`Connect`]), breakers
//! speak through [`Availability`](loquat_core::Availability), budgets through an [`Allowance`].
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
