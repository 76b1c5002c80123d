#![doc = include_str!("../README.md")]
//!
//! # The sources
//!
//! Each is a [`Discover`](loquat_core::Discover). They differ in whom they ask; what they list goes through one [`Policy`] (schemes,
//! address ranges, credentials by reference, sizes). What cannot be read is an error, and the listing before it stays valid.
//!
//! | source | asks | learns of changes |
//! |---|---|---|
//! | [`Registry`] | an HTTP address that answers with JSON | every 30 s, by `ETag` |
//! | [`WatchedFile`] | a JSON file | within a second |
//! | [`Dns`] | A and AAAA records, by the transport's resolver | every 30 s |
//! | `Srv` (feature `srv`) | SRV records | every 30 s |
//! | [`Probe`] | model servers themselves: `/v1/models`, Ollama's `/api/tags` | every 30 s |
//! | [`Etcd`] | etcd v3 through its JSON gateway | at once, by watch |
//! | [`Kubernetes`] | EndpointSlices of a service | at once, by watch |
//!
//! # Addresses
//!
//! By default only addresses of the public internet may be listed, over `https` or `http`; whoever runs endpoints in a private
//! network names it: [`Policy::with_networks`]. A *name* is judged when it is dialled: the policy goes along with the endpoint
//! ([`Endpoint::addresses`](loquat_core::Endpoint::addresses)), and a model made of it keeps to it.
#![forbid(unsafe_code)]

mod backoff;
mod cache;
mod dns;
mod entries;
mod etcd;
mod fetch;
mod file;
mod keep;
mod kubernetes;
mod policy;
mod poll;
mod probe;
mod registry;
#[cfg(feature = "srv")]
mod srv;
mod template;
mod watch;

pub use cache::CacheLimits;
pub use dns::Dns;
pub use entries::{parse_entries, parse_entry};
pub use etcd::Etcd;
pub use file::WatchedFile;
pub use kubernetes::Kubernetes;
pub use policy::{Policy, Schemes};
pub use poll::Polled;
pub use probe::Probe;
pub use registry::Registry;
#[cfg(feature = "srv")]
pub use srv::Srv;
pub use template::Template;
pub use watch::Watched;
/// The crates whose types a source is made of, in the versions that this one uses.
#[doc(no_inline)]
pub use {loquat_core, loquat_transport};
