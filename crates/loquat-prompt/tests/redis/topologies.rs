//! How Redis can be set up: with users, with TLS, as a cluster, led by a sentinel.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use loquat_prompt::cache::remote::{Remote, Topology};

use super::{
    Node, bytes, config, standalone,
    support::redis_server::{RedisServer, free_port, until},
    texts,
};

#[tokio::test]
async fn users_and_passwords_are_those_of_the_acl() {
    let server = RedisServer::start(&[
        "--user",
        "default",
        "off",
        "--user",
        "app",
        "on",
        ">right",
        "~loquat:*",
        "+@all",
    ]);
    let url = |user: &str| format!("redis://{user}@127.0.0.1:{}", server.port);
    let node = Node::new(standalone(url("app:right")), "a").await;
    node.check(&texts(0, 3)).await;
    node.written(3).await;
    let wrong = Remote::try_new(standalone(url("app:wrong"))).unwrap();
    let error = wrong.connect().await.unwrap_err();
    assert!(!format!("{error:?} {wrong:?}").contains("wrong"), "no password: {error:?}");
    Node::of(wrong, "a").check(&texts(0, 3)).await;
    // A key that the user may not touch is not written, and that is all.
    let mut elsewhere = standalone(url("app:right"));
    elsewhere.prefix = "other".to_owned();
    let node = Node::new(elsewhere, "a").await;
    node.check(&texts(0, 3)).await;
    let end = Instant::now() + Duration::from_secs(10);
    while node.remote.stats().unwritten < 3 {
        assert!(Instant::now() < end, "{:?}", node.remote.stats());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The name of the user whom alone servers let in, with his password.
const USER: &str = "app:right";

/// A certificate that vouches for itself, in a folder.
struct Certificate {
    folder: tempfile::TempDir,
    pem: Vec<u8>,
}

impl Certificate {
    fn new() -> Self {
        let issued =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cert.pem"), issued.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), issued.signing_key.serialize_pem()).unwrap();
        Self { folder, pem: issued.cert.pem().into_bytes() }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What a server is started with, to be spoken to at that port.
    fn settings(&self, port: u16) -> Vec<[String; 2]> {
        [
            ("tls-port", port.to_string()),
            ("tls-cert-file", self.file("cert.pem")),
            ("tls-key-file", self.file("key.pem")),
            ("tls-ca-cert-file", self.file("cert.pem")),
            ("tls-auth-clients", "no".to_owned()),
        ]
        .map(|(name, value)| [name.to_owned(), value])
        .to_vec()
    }

    /// A server that speaks with the one user alone, and with him under TLS alone; and its port for that.
    fn server(&self, more: impl Fn(&Path) -> Vec<String>) -> (RedisServer, u16) {
        let port = free_port();
        let settings = self.settings(port).into_iter().map(|[name, value]| [format!("--{name}"), value]);
        let users = ["--user", "default", "off", "--user", "app", "on", ">right", "~*", "&*", "+@all"];
        let server = RedisServer::start_with(
            |folder, _| settings.clone().flatten().chain(more(folder)).collect(),
            &users,
        );
        // It was waited for at its other port, which is closed now.
        until("it is spoken to under TLS", || {
            self.cli(&server, port, &["CONFIG", "SET", "port", "0"]) == "OK"
        });
        until("and only so", || std::net::TcpStream::connect(("127.0.0.1", server.port)).is_err());
        (server, port)
    }

    fn cli(&self, server: &RedisServer, port: u16, arguments: &[&str]) -> String {
        let (port, certificate) = (port.to_string(), self.file("cert.pem"));
        let how = ["-p", &port, "--tls", "--cacert", &certificate, "--user", "app", "--pass", "right"];
        server.cli(&[&how[..], &["--no-auth-warning"], arguments].concat())
    }
}

fn secure(user: &str, port: u16) -> String {
    format!("rediss://{user}@127.0.0.1:{port}")
}

/// What holds of a topology of servers with TLS and users.
async fn check_secured(certificate: &Certificate, topology: impl Fn(&str) -> Topology) {
    let trusting = |user: &str| {
        let mut config = config(topology(user));
        config.trusted_pem = Some(certificate.pem.clone());
        config
    };
    let all = texts(0, 30);
    let one = Node::new(trusting(USER), "a").await;
    assert_eq!(one.check(&all).await, bytes(&all));
    one.written(30).await;
    let two = Node::new(trusting(USER), "a").await;
    assert_eq!(two.check(&all).await, 0, "{:?}", two.remote.stats());
    assert_eq!(two.remote.stats().hits, 30);

    let unknown = Remote::try_new(config(topology(USER))).unwrap();
    assert!(unknown.connect().await.is_err(), "nobody vouches for it");
    let wrong = Remote::try_new(trusting("app:wrong")).unwrap();
    let error = wrong.connect().await.unwrap_err();
    assert!(!format!("{error:?} {wrong:?}").contains("wrong"), "no password: {error:?}");
    assert_eq!(Node::of(wrong, "a").check(&all).await, bytes(&all));
}

#[tokio::test]
async fn tls_with_a_certificate_of_our_own() {
    let certificate = Certificate::new();
    let (_server, port) = certificate.server(|_| Vec::new());
    check_secured(&certificate, |user| Topology::Standalone(secure(user, port).into())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_tls_and_users() {
    let certificate = Certificate::new();
    let servers: Vec<(RedisServer, u16)> = (0..3)
        .map(|_| {
            certificate.server(|folder| {
                let tls = ["--tls-cluster".to_owned(), "yes".to_owned()];
                clustered(folder).into_iter().chain(tls).collect()
            })
        })
        .collect();
    let addresses: Vec<String> = servers.iter().map(|(_, port)| format!("127.0.0.1:{port}")).collect();
    let addresses = addresses.iter().map(String::as_str);
    let create: Vec<&str> =
        ["--cluster", "create"].into_iter().chain(addresses).chain(["--cluster-yes"]).collect();
    let said = certificate.cli(&servers[0].0, servers[0].1, &create);
    until(&format!("the cluster is up: {said}"), || {
        servers.iter().all(|(server, port)| {
            certificate.cli(server, *port, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
        })
    });
    check_secured(&certificate, |user| {
        Topology::Cluster(servers.iter().map(|(_, port)| secure(user, *port).into()).collect())
    })
    .await;
    for (server, port) in &servers {
        assert_ne!(certificate.cli(server, *port, &["DBSIZE"]), "0", "all nodes hold some");
    }
}

/// What makes a server a node of a cluster.
fn clustered(folder: &Path) -> Vec<String> {
    let (file, bus) = (folder.join("nodes.conf").display().to_string(), free_port().to_string());
    [
        "--cluster-enabled",
        "yes",
        "--cluster-config-file",
        &file,
        "--cluster-port",
        &bus,
        "--cluster-node-timeout",
        "2000",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three() {
    let servers: Vec<RedisServer> =
        (0..3).map(|_| RedisServer::start_with(|folder, _| clustered(folder), &[])).collect();
    let addresses: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let mut create = vec!["--cluster", "create"];
    create.extend(addresses.iter().map(String::as_str));
    create.push("--cluster-yes");
    let said = servers[0].cli(&create);
    until(&format!("the cluster is up: {said}"), || {
        servers.iter().all(|server| server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
    });
    let topology = || Topology::Cluster(servers.iter().map(|server| server.url().into()).collect());
    let mut timed = config(topology());
    timed.budget = Duration::from_millis(500);
    let (one, two) = (Node::new(timed, "a").await, Node::new(config(topology()), "a").await);
    let all = texts(0, 60);
    assert_eq!(one.check(&all).await, bytes(&all));
    one.written(60).await;
    assert!(servers.iter().all(|server| server.cli(&["DBSIZE"]) != "0"), "all nodes hold some");
    assert_eq!(two.check(&all).await, 0, "one question, answered by three nodes");
    assert_eq!(two.remote.stats().hits, 60);
    // One node gone: what it held is computed.
    let mut servers = servers;
    servers[1].kill();
    for n in 0..5 {
        one.check_within(&texts(100 + n * 10, 110 + n * 10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_leads_to_the_new_master() {
    let mut master = RedisServer::start(&[]);
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    until("the replica follows", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
    let sentinel = RedisServer::sentinel(|port| {
        format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor fleet 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds fleet 300\nsentinel failover-timeout fleet 2000\n",
            master.port
        )
    });
    until("the sentinel knows the replica", || {
        sentinel.cli(&["SENTINEL", "REPLICAS", "fleet"]).contains(&replica.port.to_string())
    });
    let topology = Topology::Sentinel { addresses: vec![sentinel.url().into()], master: "fleet".to_owned() };
    let node = Node::new(config(topology), "a").await;
    node.check(&texts(0, 5)).await;
    node.written(5).await;
    until("the replica has it", || replica.cli(&["DBSIZE"]) == "5");

    master.kill();
    let end = Instant::now() + Duration::from_secs(30);
    let mut n = 10;
    while node.remote.stats().written < 6 || !replica.cli(&["INFO", "replication"]).contains("role:master") {
        node.check(&texts(n, n + 1)).await;
        n += 1;
        assert!(Instant::now() < end, "it finds the new master: {:?}", node.remote.stats());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let fresh = Node::of(node.remote.clone(), "a");
    assert_eq!(fresh.check(&texts(0, 5)).await, 0, "from the new master");
}
