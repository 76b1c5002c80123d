//! What this crate itself refuses, told apart from what an endpoint refuses: by the error's code.
//!
//! A breaker must not count them against the endpoint, and a caller may want to know that nothing was asked.

use std::time::Duration;

use loquat_core::{Delivery, Error, ErrorKind, RetryHint, Stage};

/// The code of an error that says the breaker is open.
pub const BREAKER_OPEN: &str = "loquat_breaker_open";
/// The code of an error that says the queue is full.
pub const QUEUE_FULL: &str = "loquat_queue_full";
/// The code of an error that says the request waited in the queue for as long as it may.
pub const QUEUE_TIMEOUT: &str = "loquat_queue_timeout";

/// Whether this crate refused, and nothing was asked of the endpoint.
pub fn is_local(error: &Error) -> bool {
    matches!(error.code(), Some(BREAKER_OPEN | QUEUE_FULL | QUEUE_TIMEOUT))
}

/// Whether time ran out while a place among this program's own connections was waited for, which were all in use: of the endpoint, that
/// says nothing either.
pub(crate) fn waited_for_a_place(error: &Error) -> bool {
    error.kind() == ErrorKind::Timeout && error.history().is_some_and(|way| way.stage == Stage::Pool)
}

pub(crate) fn refused(kind: ErrorKind, code: &'static str, message: String) -> Error {
    Error::new(kind, message).with_code(code).with_delivery(Delivery::NotSent)
}

pub(crate) fn hint(wait: Duration) -> RetryHint {
    RetryHint::after(wait)
}
