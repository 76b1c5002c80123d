//! What is kept on this side: not asked for again, and gone when any other client changes it, or when nobody would say that it changed.

use std::time::{Duration, Instant};

use super::{
    Node, config,
    sentinels::{fleet, led},
    standalone,
    support::redis_server::{RedisServer, until},
    topologies::cluster,
};
use loquat_prompt::cache::remote::Topology;

/// Under which versions values are kept: so many that every node of a cluster has some.
const VERSIONS: std::ops::Range<u64> = 0..16;

async fn becomes(node: &Node, version: u64, expected: Option<&str>) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let found = node.remote.fragment("a", "system", version).await;
        if found.as_deref() == expected {
            return;
        }
        assert!(
            Instant::now() < end,
            "version {version} is {found:?} and not {expected:?}: {:?}",
            node.remote.stats()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn put(node: &Node, text: &str) {
    VERSIONS.for_each(|version| node.remote.put_fragment("a", "system", version, text));
    node.remote.flush().await;
}

/// How often these servers were asked for a value.
fn reads(servers: &[&RedisServer]) -> u64 {
    let of = |server: &&RedisServer| {
        let stats = server.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls=")).unwrap_or("0,");
        line.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    servers.iter().map(of).sum()
}

/// What one writes the other keeps, until one changes it or it is removed.
async fn check(servers: &[&RedisServer], one: &Node, two: &Node) {
    put(one, "Be kind.").await;
    for version in VERSIONS {
        becomes(two, version, Some("Be kind.")).await;
    }
    let before = reads(servers);
    for version in VERSIONS.chain(VERSIONS) {
        becomes(two, version, Some("Be kind.")).await;
    }
    assert_eq!(reads(servers), before, "kept on this side");
    put(one, "Be brief.").await;
    for version in VERSIONS {
        becomes(two, version, Some("Be brief.")).await;
    }
    assert!(reads(servers) > before);
    for server in servers {
        assert_ne!(server.cli(&["DBSIZE"]), "0", "each holds some");
        for key in server.cli(&["KEYS", "*"]).lines() {
            assert_eq!(server.cli(&["DEL", key]), "1");
        }
    }
    for version in VERSIONS {
        becomes(two, version, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_server() {
    let mut server = RedisServer::start(&[]);
    let (one, two) =
        (Node::new(standalone(server.url()), "a").await, Node::new(standalone(server.url()), "a").await);
    check(&[&server], &one, &two).await;
    // Who would say that it has changed is gone.
    put(&one, "Be gone.").await;
    becomes(&two, 0, Some("Be gone.")).await;
    server.kill();
    becomes(&two, 0, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_a_sentinel_leads_to() {
    let (mut master, replica, sentinel) = fleet();
    let node = || Node::new(led(sentinel.url(), None), "a");
    let (one, two) = (node().await, node().await);
    check(&[&master], &one, &two).await;

    put(&one, "Be kind.").await;
    becomes(&two, 0, Some("Be kind.")).await;
    until("the replica has it", || replica.cli(&["DBSIZE"]) == VERSIONS.count().to_string());
    master.kill();
    until("the replica leads", || replica.cli(&["INFO", "replication"]).contains("role:master"));
    // Changed where the old master cannot tell of it.
    let three = Node::new(standalone(replica.url()), "a").await;
    put(&three, "Be brief.").await;
    becomes(&two, 0, Some("Be brief.")).await;
    check(&[&replica], &three, &two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_cluster() {
    let mut servers = cluster();
    let topology = || Topology::Cluster(servers.iter().map(|server| server.url().into()).collect());
    let (one, two) = (Node::new(config(topology()), "a").await, Node::new(config(topology()), "a").await);
    check(&servers.iter().collect::<Vec<_>>(), &one, &two).await;

    put(&one, "Be gone.").await;
    for version in VERSIONS {
        becomes(&two, version, Some("Be gone.")).await;
    }
    for server in &mut servers {
        server.kill();
    }
    for version in VERSIONS {
        becomes(&two, version, None).await;
    }
}
