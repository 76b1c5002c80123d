//! A JSON file of endpoints, looked at every second.
//!
//! By reading and not by the kernel's notices: those do not come over network file systems, and miss how configuration is
//! swapped in containers (a link that is turned). A megabyte read a second costs nothing that counts.

use std::{path::PathBuf, time::Duration};

use loquat_core::{BoxFuture, Context, Listing, Result};

use crate::{Policy, Polled, entries::parse_entries, fetch::read_file, poll::Ask};

/// A file that lists endpoints, as a [registry](crate::parse_entries) would.
#[derive(Debug, Clone)]
pub struct WatchedFile {
    path: PathBuf,
    policy: Policy,
    every: Duration,
}

impl WatchedFile {
    /// The file at that path.
    pub fn new(path: impl Into<PathBuf>, policy: Policy) -> Self {
        Self { path: path.into(), policy, every: Duration::from_secs(1) }
    }

    /// Looks that often. Default 1 s.
    #[must_use]
    pub fn with_interval(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Its endpoints, followed.
    pub fn follow(&self) -> Polled {
        Polled::new(Reading { of: self.clone(), last: None }, self.every, self.policy.accept_empty)
    }
}

struct Reading {
    of: WatchedFile,
    last: Option<Vec<u8>>,
}

impl Ask for Reading {
    fn ask<'a>(&'a mut self, _: &'a Context) -> BoxFuture<'a, Result<Option<Listing>>> {
        Box::pin(async move {
            let text = read_file(self.of.path.clone(), self.of.policy.max_body_bytes as u64).await?;
            if self.last.as_ref() == Some(&text) {
                return Ok(None);
            }
            let listing = parse_entries(&text, &self.of.policy)?;
            self.last = Some(text);
            Ok(Some(listing))
        })
    }
}
