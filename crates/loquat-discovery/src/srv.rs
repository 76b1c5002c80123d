//! SRV records (RFC 2782): host, port, weight and priority of the servers of a service.
//!
//! Only the targets of the lowest-numbered priority are listed, as the RFC has it; with
//! [`all_priorities`](Srv::with_all_priorities) all are, each with a tag `priority=N` by which a route can order its groups.

use std::{fmt, net::SocketAddr, time::Duration};

use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, rdata::SRV},
};
use loquat_core::{BoxFuture, Context, Error, ErrorKind, Listing, Result};

use crate::{Policy, Polled, Template, dns::unresolved, poll::Ask};

/// Longest wait for a resolver.
const LOOKUP: Duration = Duration::from_secs(5);

/// A service whose SRV records are endpoints.
#[derive(Clone)]
pub struct Srv {
    name: String,
    template: Template,
    policy: Policy,
    resolver: TokioResolver,
    every: Duration,
    all_priorities: bool,
}

impl Srv {
    /// The service of that name (`_llm._tcp.example.com`), asked at the system's name servers.
    ///
    /// # Errors
    /// The system's configuration cannot be read.
    pub fn new(name: impl Into<String>, template: Template, policy: Policy) -> Result<Self> {
        let builder = Resolver::builder_tokio().map_err(unconfigured)?;
        Ok(Self::with(name.into(), template, policy, builder.build().map_err(unconfigured)?))
    }

    /// The service of that name, asked at that name server.
    ///
    /// # Errors
    /// The resolver cannot be made.
    pub fn at(
        name: impl Into<String>,
        server: SocketAddr,
        template: Template,
        policy: Policy,
    ) -> Result<Self> {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        Ok(Self::with(name.into(), template, policy, builder.build().map_err(unconfigured)?))
    }

    fn with(name: String, template: Template, policy: Policy, resolver: TokioResolver) -> Self {
        Self { name, template, policy, resolver, every: Duration::from_secs(30), all_priorities: false }
    }

    /// Lists the targets of all priorities, each with a tag `priority=N`.
    #[must_use]
    pub fn with_all_priorities(mut self, all: bool) -> Self {
        self.all_priorities = all;
        self
    }

    /// Asks that often. Default 30 s; the records' own time to live may make the answer older.
    #[must_use]
    pub fn with_interval(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Its endpoints, followed.
    pub fn follow(&self) -> Polled {
        Polled::new(self.clone(), self.every, self.policy.accept_empty)
    }

    fn listing(&self, records: &[SRV]) -> Result<Listing> {
        let lowest = records.iter().map(|record| record.priority).min();
        let wanted = records.iter().filter(|record| self.all_priorities || Some(record.priority) == lowest);
        let admitted = wanted.take(self.policy.max_endpoints.saturating_add(1)).map(|record| {
            let target = record.target.to_ascii();
            let mut found = self.template.found(&format!("{}:{}", target.trim_end_matches('.'), record.port));
            // RFC 2782: a weight of 0 still takes a little.
            found.weight = Some(u32::from(record.weight).max(1));
            if self.all_priorities {
                found.tags.push(format!("priority={}", record.priority));
            }
            self.policy.admit(found, self.template.key.as_deref())
        });
        self.policy.listing(admitted.collect())
    }
}

impl Ask for Srv {
    fn ask<'a>(&'a mut self, _: &'a Context) -> BoxFuture<'a, Result<Option<Listing>>> {
        Box::pin(async move {
            let looked = tokio::time::timeout(LOOKUP, self.resolver.srv_lookup(self.name.as_str())).await;
            let lookup = match looked {
                Ok(Ok(lookup)) => lookup,
                Ok(Err(cause)) => return Err(unresolved(&self.name).with_source(cause)),
                Err(_) => return Err(unresolved(&self.name)),
            };
            let records = lookup.answers().iter().filter_map(|record| match &record.data {
                // A target of `.` says that there is no such service.
                RData::SRV(record) if !record.target.is_root() => Some(record.clone()),
                _ => None,
            });
            self.listing(&records.collect::<Vec<_>>()).map(Some)
        })
    }
}

impl fmt::Debug for Srv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Srv").field("name", &self.name).field("every", &self.every).finish_non_exhaustive()
    }
}

fn unconfigured(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::NotConfigured, "no resolver of names can be made").with_source(cause)
}
