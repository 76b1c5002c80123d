//! The addresses of a name, A and AAAA, by the transport's resolver: one endpoint for each.
//!
//! A name that has several addresses is mostly a headless service: each address a server. The operating system's resolver says
//! nothing of times to live, so it is asked at intervals.

use std::{fmt, sync::Arc, time::Duration};

use loquat_core::{BoxFuture, Context, Error, ErrorKind, Listing, Result};
use loquat_transport::{Resolve, SystemResolver};

use crate::{Policy, Polled, Template, poll::Ask};

/// Longest wait for a resolver.
const LOOKUP: Duration = Duration::from_secs(5);

/// A name whose addresses are endpoints.
#[derive(Debug, Clone)]
pub struct Dns {
    host: String,
    port: u16,
    template: Template,
    policy: Policy,
    resolver: Arc<dyn Resolve>,
    every: Duration,
}

impl Dns {
    /// The servers on that port at that name's addresses.
    pub fn new(host: impl Into<String>, port: u16, template: Template, policy: Policy) -> Self {
        let every = Duration::from_secs(30);
        Self { host: host.into(), port, template, policy, resolver: Arc::new(SystemResolver), every }
    }

    /// Asks that resolver.
    #[must_use]
    pub fn with_resolver(mut self, resolver: impl Resolve + 'static) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// Asks that often. Default 30 s.
    #[must_use]
    pub fn with_interval(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Its endpoints, followed.
    pub fn follow(&self) -> Polled {
        Polled::new(self.clone(), self.every, self.policy.accept_empty)
    }
}

impl Ask for Dns {
    fn ask<'a>(&'a mut self, _: &'a Context) -> BoxFuture<'a, Result<Option<Listing>>> {
        Box::pin(async move {
            let resolved = tokio::time::timeout(LOOKUP, self.resolver.resolve(&self.host, self.port)).await;
            let addresses = match resolved {
                Ok(Ok(addresses)) => addresses,
                Ok(Err(cause)) => return Err(unresolved(&self.host).with_source(cause)),
                Err(_) => return Err(unresolved(&self.host)),
            };
            let most = self.policy.max_endpoints.saturating_add(1);
            let found = addresses.into_iter().take(most);
            let admitted = found.map(|address| self.template.at(address.ip(), self.port, &self.policy));
            self.policy.listing(admitted.collect()).map(Some)
        })
    }
}

pub(crate) fn unresolved(name: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Connect, format!("the name {name} does not resolve"))
}
