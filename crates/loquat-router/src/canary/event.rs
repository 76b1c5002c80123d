//! What becomes of a canary, for logs and webhooks.

use std::time::{Duration, SystemTime};

/// A move of a canary's share. No prompt, no answer and no key is in it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CanaryEvent {
    /// Counted from 1, without gaps.
    pub number: u64,
    /// When, by the system's calendar.
    pub at: SystemTime,
    /// The canary's name.
    pub canary: String,
    /// What happened.
    pub change: Change,
    /// The share from here on. Percent.
    pub percent: f64,
    /// The trace of the request that tipped the scales, as lower-case hexadecimal; empty where none did.
    pub trace_id: String,
    /// The beginning of that request's error, cut at 200 bytes; empty where there was none. Left out are what stood in quotes,
    /// what looks like a key, an address or a number of somebody's, the word after `password:`, `secret:`, `signature:` and
    /// after any label with `=` (`token=…`), and what no sentence would have after `key:`, `token:` and `Bearer`. Ordinary words
    /// stay: a key that is one ("token: hunter", "the password is hunter") is not known from the rest of the sentence.
    pub error: String,
    /// How many different callers have had a failure of the canary so far, told apart by a hash of their key.
    /// Counted up to 4,096.
    pub affected_keys: u32,
    /// The canary's requests behind this decision.
    pub sample: u64,
    /// How long it took to gather them.
    pub window: Duration,
}

/// What happened to a canary.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// It began.
    Started,
    /// Its share was raised.
    Raised,
    /// Its share was lowered: there is some evidence against it.
    Lowered {
        /// Of what.
        breach: Breach,
    },
    /// It takes no more requests.
    RolledBack {
        /// Of what there was evidence; `None` where a person did it.
        breach: Option<Breach>,
    },
}

/// What a canary did worse than it may, and worse than the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Breach {
    /// Which limit.
    pub limit: Limit,
    /// The canary's share of bad answers since the evidence began, 0 to 1.
    pub share: f64,
    /// The baseline's, 0 to 1.
    pub baseline: f64,
}

/// A limit that a canary has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Failures.
    Errors,
    /// First tokens later than the limit.
    FirstToken,
}
