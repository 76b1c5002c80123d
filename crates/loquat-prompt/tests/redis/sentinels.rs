//! Led by a sentinel, which lets in everybody, or whoever knows its password, or a user of its own; to a new master, too.

use std::{
    iter,
    time::{Duration, Instant},
};

use loquat_core::ErrorKind;
use loquat_prompt::cache::remote::{Remote, RemoteConfig, SentinelLogin, Topology};

use super::{
    Node,
    certificate::{Certificate, USER, secure},
    config,
    support::redis_server::{RedisServer, until},
    texts,
};

/// What a sentinel is told of a master, so that it does not wait for long.
pub(crate) fn monitor(port: u16) -> String {
    format!(
        "sentinel monitor fleet 127.0.0.1 {port} 1\nsentinel down-after-milliseconds fleet 300\n\
         sentinel failover-timeout fleet 2000\n"
    )
}

pub(crate) fn led(address: String, login: Option<(Option<&str>, &str)>) -> RemoteConfig {
    let login =
        login.map(|(user, password)| SentinelLogin { user: user.map(Into::into), password: password.into() });
    config(Topology::Sentinel { addresses: vec![address.into()], master: "fleet".to_owned(), login })
}

/// Neither does the sentinel let it in, nor is a word of what was tried repeated, and it is a miss and no error.
async fn check_refused(config: RemoteConfig, tried: &str) {
    let remote = Remote::try_new(config.clone()).unwrap();
    let error = remote.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error:?}");
    let causes = iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let said: String = causes.map(|error| format!("{error} {error:?}\n")).collect();
    for shown in [said, format!("{config:?} {:?} {remote:?}", config.topology)] {
        assert!(tried.is_empty() || !shown.contains(tried), "{shown}");
    }
    Node::of(remote, "a").check(&texts(0, 3)).await;
}

/// What is written on the master is found on the replica that took its place.
async fn check_failover(config: RemoteConfig, mut master: RedisServer, replica: impl Fn(&[&str]) -> String) {
    let node = Node::new(config, "a").await;
    node.check(&texts(0, 5)).await;
    node.written(5).await;
    until("the replica has it", || replica(&["DBSIZE"]) == "5");

    master.kill();
    let end = Instant::now() + Duration::from_secs(30);
    let mut n = 10;
    while node.remote.stats().written < 6 || !replica(&["INFO", "replication"]).contains("role:master") {
        node.check(&texts(n, n + 1)).await;
        n += 1;
        assert!(Instant::now() < end, "it finds the new master: {:?}", node.remote.stats());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let fresh = Node::of(node.remote.clone(), "a");
    assert_eq!(fresh.check(&texts(0, 5)).await, 0, "from the new master");
}

/// A master, a replica that follows it, and a sentinel that knows of both.
pub(crate) fn fleet() -> (RedisServer, RedisServer, RedisServer) {
    let master = RedisServer::start(&[]);
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    until("the replica follows", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
    let sentinel =
        RedisServer::sentinel(|port| format!("port {port}\nbind 127.0.0.1\n{}", monitor(master.port)));
    until("the sentinel knows the replica", || {
        sentinel.cli(&["SENTINEL", "REPLICAS", "fleet"]).contains(&replica.port.to_string())
    });
    (master, replica, sentinel)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_leads_to_the_new_master() {
    let (master, replica, sentinel) = fleet();
    check_failover(led(sentinel.url(), None), master, |arguments| replica.cli(arguments)).await;
}

/// The master lets in everybody, the sentinel does not, and the other way round: each is told its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_has_a_password_of_its_own() {
    let open = RedisServer::start(&[]);
    let closed = RedisServer::start(&["--requirepass", "masterly"]);
    for (master, before, auth) in
        [(&open, "", ""), (&closed, ":masterly@", "sentinel auth-pass fleet masterly\n")]
    {
        let sentinel = RedisServer::sentinel(|port| {
            format!("port {port}\nbind 127.0.0.1\nrequirepass guarded\n{}{auth}", monitor(master.port))
        });
        let address = || format!("redis://{before}127.0.0.1:{}", sentinel.port);
        check_refused(led(address(), None), "").await;
        check_refused(led(address(), Some((None, "guessed"))), "guessed").await;
        check_refused(led(address(), Some((Some("nobody"), "guarded"))), "guarded").await;
        let node = Node::new(led(address(), Some((None, "guarded"))), "a").await;
        node.check(&texts(0, 3)).await;
        node.written(3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_with_tls_and_a_user_leads_to_the_new_master() {
    let certificate = Certificate::new();
    let replication = |more: &[&str]| -> Vec<String> {
        let all = ["--tls-replication", "yes", "--masteruser", "app", "--masterauth", "right"];
        all.iter().chain(more).map(|&argument| argument.to_owned()).collect()
    };
    let (master, master_port) = certificate.server(|_| replication(&[]));
    let leader = master_port.to_string();
    let (replica, replica_port) = certificate.server(|_| replication(&["--replicaof", "127.0.0.1", &leader]));
    let ask = |arguments: &[&str]| certificate.cli(&replica, replica_port, arguments);
    until("the replica follows", || ask(&["INFO", "replication"]).contains("master_link_status:up"));
    let sentinel = RedisServer::sentinel(|port| {
        let lines = certificate.settings(port).into_iter().map(|[name, value]| format!("{name} {value}\n"));
        format!(
            "port 0\nbind 127.0.0.1\ntls-replication yes\n{}user default off\n\
             user guest on >welcome &* +@all\n{}sentinel auth-user fleet app\nsentinel auth-pass fleet right\n",
            lines.collect::<String>(),
            monitor(master_port)
        )
    });
    let trusting = |login| {
        let mut config = led(secure(USER, sentinel.port), login);
        config.trusted_pem = Some(certificate.pem.clone());
        config
    };
    check_refused(trusting(None), "right").await;
    check_refused(trusting(Some((Some("app"), "right"))), "right").await;
    check_refused(trusting(Some((Some("guest"), "unwelcome"))), "unwelcome").await;
    until("the sentinel knows the replica", || {
        certificate
            .cli_as(("guest", "welcome"), &sentinel, sentinel.port, &["SENTINEL", "REPLICAS", "fleet"])
            .contains(&replica_port.to_string())
    });
    check_failover(trusting(Some((Some("guest"), "welcome"))), master, ask).await;
}

#[test]
fn some_with_tls_and_some_without_are_refused() {
    let addresses = ["redis://127.0.0.1:1", "rediss://127.0.0.1:1"].map(Into::into).to_vec();
    for topology in [
        Topology::Cluster(addresses.clone()),
        Topology::Sentinel { addresses, master: "fleet".to_owned(), login: None },
    ] {
        let error = Remote::try_new(config(topology)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConfigured);
    }
}
