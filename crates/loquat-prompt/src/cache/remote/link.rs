//! The connection to Redis, of whatever topology: one multiplexed connection, on which questions are pipelined by themselves.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use loquat_core::{Error, ErrorKind, Result};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult, TlsCertificates, TlsMode,
    aio::MultiplexedConnection,
    caching::CacheConfig,
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

use super::{RemoteConfig, Topology};

/// Longest that a new connection takes; it is made beside the callers, never before them.
const CONNECT: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(super) struct Link {
    connection: Connection,
    /// Set once nobody is there any more who would say which values have changed: redis-rs goes on to answer with those that it keeps.
    is_lost: Arc<AtomicBool>,
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_cluster() { "Cluster" } else { "One" })
    }
}

impl Link {
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Relaxed)
    }

    /// Whether it leads to several servers, of which each holds a part.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.connection, Connection::Cluster(_))
    }

    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match &mut self.connection {
            Connection::One(connection) => command.query_async(connection).await,
            Connection::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// An address is a secret, since it may hold a password: errors do not repeat it.
fn info(url: &str, nears: bool) -> Result<ConnectionInfo> {
    let wrong = |_| Error::new(ErrorKind::NotConfigured, "an address of Redis is not redis:// or rediss://");
    let info = url.into_connection_info().map_err(wrong)?;
    let protocol = if nears { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 };
    let settings = info.redis_settings().clone().set_protocol(protocol);
    // Questions are small and waited for.
    Ok(info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

/// Whether the addresses are such.
///
/// # Errors
/// [`ErrorKind::NotConfigured`] for one that is none.
pub(super) fn check(config: &RemoteConfig) -> Result<()> {
    let addresses = match &config.topology {
        Topology::Standalone(address) => std::slice::from_ref(address),
        Topology::Sentinel { addresses, .. } | Topology::Cluster(addresses) => addresses,
    };
    if addresses.is_empty() {
        return Err(Error::new(ErrorKind::NotConfigured, "no address of Redis"));
    }
    let infos = addresses.iter().map(|address| info(address.expose(), false)).collect::<Result<Vec<_>>>()?;
    if infos.iter().any(secured) && !infos.iter().all(secured) {
        return Err(Error::new(
            ErrorKind::NotConfigured,
            "some addresses of Redis are with TLS and some without",
        ));
    }
    Ok(())
}

fn secured(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// What is said to who did not say who he is, where somebody is wanted; redis-rs knows refused passwords by itself.
fn unknown(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::AuthenticationFailed || error.code() == Some("NOAUTH")
}

/// Makes a connection.
pub(super) async fn connect(config: &RemoteConfig) -> Result<Link> {
    let is_lost = Arc::new(AtomicBool::new(false));
    let connection = connection(config, &is_lost).await?;
    Ok(Link { connection, is_lost })
}

async fn connection(config: &RemoteConfig, is_lost: &Arc<AtomicBool>) -> Result<Connection> {
    let nears = config.near_values > 0;
    let failed = |error: RedisError| {
        let kind = if unknown(&error) { ErrorKind::Authentication } else { ErrorKind::Connect };
        Error::new(kind, "cannot connect to Redis").with_source(error)
    };
    // Who asks keeps the budget (`Remote::run`): one timer for a question is enough.
    let mut settings =
        AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
    let near = NonZeroUsize::new(config.near_values).map(|size| {
        CacheConfig::new()
            .set_size(size)
            .set_default_client_ttl(config.keep_for.min(Duration::from_secs(600)))
    });
    if let Some(near) = near {
        let is_lost = Arc::clone(is_lost);
        let pushed = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                is_lost.store(true, Relaxed);
            }
            Ok::<_, RedisError>(())
        };
        settings = settings.set_cache_config(near).set_push_sender(pushed);
    }
    let certificates = config
        .trusted_pem
        .as_ref()
        .map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) });
    match &config.topology {
        Topology::Standalone(address) => {
            let info = info(address.expose(), nears)?;
            let client = match certificates {
                Some(certificates) => Client::build_with_tls(info, certificates),
                None => Client::open(info),
            };
            let client = client.map_err(failed)?;
            client
                .get_multiplexed_async_connection_with_config(&settings)
                .await
                .map(Connection::One)
                .map_err(failed)
        }
        Topology::Sentinel { addresses, master, login } => {
            let infos =
                addresses.iter().map(|address| info(address.expose(), nears)).collect::<Result<Vec<_>>>()?;
            let sentinels = infos.iter().map(|info| info.addr().clone());
            let mut builder =
                SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master).map_err(failed)?;
            if let Some(first) = infos.first() {
                let redis = first.redis_settings();
                builder =
                    builder.set_client_to_redis_db(redis.db()).set_client_to_redis_protocol(redis.protocol());
                if let Some(name) = redis.username() {
                    builder = builder.set_client_to_redis_username(name);
                }
                if let Some(password) = redis.password() {
                    builder = builder.set_client_to_redis_password(password);
                }
                if secured(first) {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_sentinel_tls_mode(TlsMode::Secure);
                }
            }
            // The master's are never shown to a sentinel, nor the other way round.
            if let Some(login) = login {
                builder = builder.set_client_to_sentinel_password(login.password.expose());
                if let Some(user) = &login.user {
                    builder = builder.set_client_to_sentinel_username(user.expose());
                }
            }
            if let Some(certificates) = certificates {
                builder = builder
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_certificates(certificates);
            }
            let nodelay = TcpSettings::default().set_nodelay(true);
            let builder = builder.set_client_to_redis_tcp_settings(nodelay);
            let mut client = builder.build().map_err(failed)?;
            client.get_async_connection_with_config(&settings).await.map(Connection::One).map_err(failed)
        }
        Topology::Cluster(addresses) => {
            let infos =
                addresses.iter().map(|address| info(address.expose(), nears)).collect::<Result<Vec<_>>>()?;
            // It makes each node's connection anew by itself, and forgets with the old one what that node had.
            let mut builder = ClusterClientBuilder::new(infos)
                // The budget is ours to keep: a cluster in trouble is a miss.
                .retries(1)
                .connection_timeout(CONNECT)
                .response_timeout(config.budget)
                .tcp_settings(TcpSettings::default().set_nodelay(true));
            if let Some(near) = near {
                builder = builder.use_protocol(ProtocolVersion::RESP3).cache_config(near);
            }
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            let client = builder.build().map_err(failed)?;
            client.get_async_connection().await.map(Connection::Cluster).map_err(failed)
        }
    }
}
