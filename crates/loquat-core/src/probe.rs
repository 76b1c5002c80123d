//! What happens inside an operation, told to whoever watches it: a retry, a wait in a queue, the head of a response.
//!
//! A layer that does something a person would want to see says so to its [`Context`](crate::Context). Most contexts have
//! nobody who listens, and then an event costs one comparison. Content and credentials are in no event.

use std::{any::Any, time::Duration};

use crate::Error;

/// Who watches an operation; see [`Context::with_probe`](crate::Context::with_probe).
///
/// It is told from inside the operation's own poll, so it neither waits nor does work that could be done later. Being
/// [`Any`], a layer of the watcher's own further in finds it again.
pub trait Probe: Any + Send + Sync {
    /// Something has happened, now.
    fn report(&self, event: &Event<'_>);
}

/// Who watches a lock that many share: how often it is taken, who waits for it and how long.
///
/// It is told by those who take it, so it neither blocks nor does work that could be done later.
pub trait LockProbe: Send + Sync {
    /// Somebody takes it, now or after a wait.
    fn taken(&self);

    /// Somebody else holds it: `wait` comes back when that is over, and is to be called once.
    fn waits(&self, wait: &mut dyn FnMut());
}

/// Something that happened inside an operation.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An endpoint's queue let the attempt in.
    Admitted {
        /// How long it had waited.
        waited: Duration,
    },
    /// An endpoint's circuit breaker let the attempt not pass.
    CircuitOpen {
        /// When it may be worth asking again.
        wait: Duration,
    },
    /// An attempt failed, and another follows.
    Retry {
        /// Which retry it will be, from 1.
        retry: u32,
        /// After how long.
        wait: Duration,
        /// What the attempt failed of.
        error: &'a Error,
    },
    /// An attempt is slow, and a second one begins beside it.
    Hedge,
    /// A response's head is in.
    Head {
        /// The HTTP status.
        status: u16,
        /// What is spoken: `HTTP/1.1`, `HTTP/2`.
        protocol: &'static str,
        /// Whether the connection had carried a request before.
        reused: bool,
        /// From the request's beginning, a connection's making included.
        elapsed: Duration,
    },
    /// A router chose an endpoint.
    Route {
        /// The endpoint, by its configured name.
        endpoint: &'a str,
        /// Why that one: the strategy's word.
        reason: &'a str,
    },
}
