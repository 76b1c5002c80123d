//! Follows a registry, a file or an etcd and prints who comes and goes.
//!
//! ```console
//! $ cargo run -p loquat-discovery --example follow -- file endpoints.json
//! $ cargo run -p loquat-discovery --example follow -- http https://registry.example.com/endpoints
//! $ cargo run -p loquat-discovery --example follow -- etcd http://127.0.0.1:2379 /endpoints/
//! $ cargo run -p loquat-discovery --example follow -- probe http://127.0.0.1:11434 http://127.0.0.1:8080
//! ```
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::{collections::BTreeSet, error::Error};

use loquat_core::{Context, Discover};
use loquat_discovery::{Etcd, Policy, Probe, Registry, WatchedFile};
use loquat_transport::{AddressPolicy, Config, Transport};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // A person at a terminal knows which network this is; a service would name its networks.
    let policy = Policy::new().with_addresses(AddressPolicy::Any);
    let transport = Transport::new(Config::default())?;
    let mut source: Box<dyn Discover> = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice()
    {
        ["file", path] => Box::new(WatchedFile::new(*path, policy).follow()),
        ["http", address] => Box::new(Registry::new(transport, *address, policy)?.follow()),
        ["etcd", address, prefix] => Box::new(Etcd::new(transport, *address, *prefix, policy)?.follow()),
        ["probe", servers @ ..] if !servers.is_empty() => {
            Box::new(Probe::new(transport, servers.iter().copied(), policy).follow())
        }
        _ => return Err("file PATH, http ADDRESS, etcd ADDRESS PREFIX or probe SERVER…".into()),
    };
    let mut known = BTreeSet::new();
    loop {
        match source.next(&Context::new()).await {
            Err(error) => println!("as before: {error}"),
            Ok(listing) => {
                let now: BTreeSet<_> = listing
                    .endpoints
                    .iter()
                    .map(|found| (found.name.clone(), found.endpoint.base_url.clone(), found.is_up))
                    .collect();
                known.difference(&now).for_each(|gone| println!("- {} {}", gone.0, gone.1));
                now.difference(&known).for_each(|new| println!("+ {} {} {:?}", new.0, new.1, new.2));
                listing.refused.iter().for_each(|why| println!("! {why}"));
                known = now;
            }
        }
    }
}
