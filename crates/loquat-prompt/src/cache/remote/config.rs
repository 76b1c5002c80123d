//! Where Redis is, and what it may cost.

use std::{fmt, time::Duration};

use loquat_core::Secret;

use super::Ask;

/// How Redis is set up. Addresses are URLs: `redis://[user:password@]host:port/db`, `rediss://` with TLS, a user and password being
/// those of its ACL.
#[derive(Clone)]
#[non_exhaustive]
pub enum Topology {
    /// One server.
    Standalone(Secret),
    /// Sentinels that know where the master of that name is.
    ///
    /// User, password and database in the first address are the master's; the sentinels, which keep users of their own, are
    /// spoken to with `login`. TLS is used for both or for neither: all addresses are `redis://`, or all `rediss://`.
    Sentinel {
        /// The sentinels.
        addresses: Vec<Secret>,
        /// The name they know the master by.
        master: String,
        /// Who the sentinels let in; `None` where they let in everybody.
        login: Option<SentinelLogin>,
    },
    /// Some nodes of a cluster, which know the others.
    Cluster(Vec<Secret>),
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standalone(_) => "Standalone",
            Self::Sentinel { .. } => "Sentinel",
            Self::Cluster(_) => "Cluster",
        })
    }
}

/// Who a protected sentinel lets in: its `requirepass`, or a user of its ACL. Neither is ever shown.
#[derive(Debug, Clone)]
pub struct SentinelLogin {
    /// A user of its ACL; `None` for the default user, whose password `requirepass` is.
    pub user: Option<Secret>,
    /// The password.
    pub password: Secret,
}

/// How the remote tier is used.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RemoteConfig {
    /// Where Redis is.
    pub topology: Topology,
    /// What values are sealed with: the same on all nodes, and nobody else's. At least 16 bytes of chance.
    pub seal: Secret,
    /// Before every key. Default `loquat`.
    pub prefix: String,
    /// Longest that a caller waits for Redis in one call, however many questions that are, connecting never included. Default 5 ms:
    /// sixty round trips on a good network.
    pub budget: Duration,
    /// How long a value is kept, up to ten years. Default a day; up to a tenth more or less, so that what was written together does
    /// not go together.
    pub keep_for: Duration,
    /// Longest value, bytes; larger ones are not written, and not believed. Default 1 MiB.
    pub max_value_bytes: usize,
    /// Values kept on this side until the server says that they have changed (RESP3 invalidation messages); 0 for none, which also
    /// keeps the protocol at RESP2. Default 256.
    pub near_values: usize,
    /// Failures in a row after which Redis is left alone for a while. Default 3.
    pub failures_to_open: u32,
    /// For how long, the first time; twice as long each time after, up to 30 s. Default 500 ms.
    pub open_for: Duration,
    /// Writes under way at once; more are left out, since a cache need not be complete. Default 64.
    pub max_writes: usize,
    /// Bytes of values that wait to be written, all together; more are left out. Default 32 MiB.
    pub max_write_bytes: usize,
    /// Certificates that are trusted for `rediss://`, PEM; the system's where there are none.
    pub trusted_pem: Option<Vec<u8>>,
    /// When Redis is asked for tokens. Default: where that is worth it.
    pub ask: Ask,
}

impl RemoteConfig {
    /// The defaults for that server and that seal.
    pub fn new(topology: Topology, seal: impl Into<Secret>) -> Self {
        Self {
            topology,
            seal: seal.into(),
            prefix: "loquat".to_owned(),
            budget: Duration::from_millis(5),
            keep_for: Duration::from_secs(24 * 3600),
            max_value_bytes: 1 << 20,
            near_values: 256,
            failures_to_open: 3,
            open_for: Duration::from_millis(500),
            max_writes: 64,
            max_write_bytes: 32 << 20,
            trusted_pem: None,
            ask: Ask::WhereItPays,
        }
    }
}
