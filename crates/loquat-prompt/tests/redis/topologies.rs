//! How Redis can be set up: with users, with TLS, as a cluster.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use loquat_prompt::cache::remote::{Remote, Topology};

use super::{
    Node, bytes,
    certificate::{Certificate, check_secured, secure},
    config, standalone,
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

/// Three servers that share the keys.
pub(crate) fn cluster() -> Vec<RedisServer> {
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
    servers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three() {
    let servers = cluster();
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
