//! What is kept open for the next request, how many connections there may be, and how long each lives.

use std::time::Duration;

/// What is kept open for the next request, and how many connections there may be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolConfig {
    /// Most idle HTTP/1.1 connections kept per origin; the oldest goes first. Default 100.
    pub max_idle_per_origin: usize,
    /// How long an idle connection is kept. Default 90 s, a ceiling: many servers close far earlier, so a `Keep-Alive:
    /// timeout` is obeyed, and a server that was seen to close earlier is given less for the next ten minutes. Looked after whenever a request is sent: an unused transport has no task that
    /// would.
    pub idle_timeout: Duration,
    /// How long an HTTP/1.1 connection may have been idle to carry a request that cannot be replayed. Default 4 s:
    /// uvicorn, and with it vLLM, closes at 5 s, and a request that meets the close is lost without a safe retry.
    pub reuse_within: Duration,
    /// How long a connection serves new requests, less up to a fifth by chance, so that connections made together are not
    /// replaced together. Default 5 min: a name that resolves anew is followed within that. What is running is not cut
    /// off. `None`: for ever.
    pub max_age: Option<Duration>,
    /// Most connections per origin, idle and connecting ones included; more requests wait, at most
    /// [`Limits::connect`](crate::Limits::connect) and [`Limits::tls`](crate::Limits::tls) together, 20 s by default. Default 1,024,
    /// below the usual limit on open files.
    pub max_connections_per_origin: usize,
    /// Most connections being made at once per origin. Default 256: a burst on HTTP/1.1 needs one each.
    pub max_connecting_per_origin: usize,
    /// After [`Body::finish`](crate::Body::finish), most bytes read to reach the end of the body, so that the
    /// connection can be used again without a reset. Default 64 KiB; a new connection is cheaper than reading more.
    pub drain_bytes: usize,
    /// As `drain_bytes`, in time. Default 50 ms: about a new connection's cost.
    pub drain_time: Duration,
    /// Most buffers at rest of each size, 32 and 64 KiB, for decompressing and uploading. Default 64: 6 MiB at most.
    pub max_idle_buffers: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_idle_per_origin: 100,
            idle_timeout: Duration::from_secs(90),
            reuse_within: Duration::from_secs(4),
            max_age: Some(Duration::from_secs(300)),
            max_connections_per_origin: 1024,
            max_connecting_per_origin: 256,
            drain_bytes: 64 * 1024,
            drain_time: Duration::from_millis(50),
            max_idle_buffers: 64,
        }
    }
}

impl PoolConfig {
    /// Keeps at most that many idle connections per origin; 0 keeps none.
    #[must_use]
    pub fn with_max_idle_per_origin(mut self, connections: usize) -> Self {
        self.max_idle_per_origin = connections;
        self
    }

    /// Keeps idle connections that long.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Trusts an idle connection with a request that cannot be replayed for that long.
    #[must_use]
    pub fn with_reuse_within(mut self, age: Duration) -> Self {
        self.reuse_within = age;
        self
    }

    /// Replaces connections at that age.
    #[must_use]
    pub fn with_max_age(mut self, age: Option<Duration>) -> Self {
        self.max_age = age;
        self
    }

    /// With at most that many connections per origin.
    #[must_use]
    pub fn with_max_connections_per_origin(mut self, connections: usize) -> Self {
        self.max_connections_per_origin = connections;
        self
    }
}
