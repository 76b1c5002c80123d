//! Kubernetes against a scripted API server, after the API's documentation. No cluster has been here.

mod support;

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use loquat_discovery::{Kubernetes, Policy, Template};
use support::{Reply, Server, is_quiet, names, next, next_good, ok, transport, until};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

fn slice(name: &str, version: u32, endpoints: &[(&str, &str)]) -> String {
    let one = |(address, conditions): &(&str, &str)| {
        format!(r#"{{"addresses":["{address}"],"conditions":{{{conditions}}},"nodeName":"n"}}"#)
    };
    let endpoints = endpoints.iter().map(one).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}},"addressType":"IPv4","endpoints":[{endpoints}],"ports":[{{"name":"metrics","port":9090}},{{"name":"http","port":8000,"protocol":"TCP"}}]}}"#
    )
}

fn list(version: u32, slices: &[String]) -> String {
    format!(
        r#"{{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
        slices.join(",")
    )
}

fn event(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

/// Lists in order, the last for ever; a stream for each watch.
struct Api {
    lists: VecDeque<String>,
    watches: VecDeque<UnboundedReceiver<String>>,
}

async fn serve(api: Api) -> Server {
    let api = Mutex::new(api);
    Server::start(move |asked| {
        let mut api = api.lock().expect("no panic");
        if asked.what.contains("watch=true") {
            return api.watches.pop_front().map_or(Reply::Hangup, Reply::Stream);
        }
        let list = if api.lists.len() > 1 { api.lists.pop_front() } else { api.lists.front().cloned() };
        ok(list.unwrap_or_default())
    })
    .await
}

fn source(server: &Server) -> Kubernetes {
    let policy = Policy::new().with_networks(["10.0.0.0/8".parse().expect("a network")]);
    Kubernetes::new(transport(), server.url(""), "ai", "llama", Template::new("m"), policy)
        .expect("an address")
        .with_port("http")
}

#[tokio::test]
async fn slices_are_listed_and_watched() {
    let (tell, watch) = unbounded_channel();
    let first = slice("s1", 7, &[("10.0.0.1", r#""ready":true"#), ("10.0.0.2", r#""ready":false"#)]);
    let server = serve(Api { lists: [list(10, &[first])].into(), watches: [watch].into() }).await;
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "tok-1\n").expect("written");
    let mut source = source(&server).with_token_file(&token).follow();
    let listing = next(&mut source).await.expect("listed");
    assert_eq!(names(&listing), ["m at 10.0.0.1:8000", "m at 10.0.0.2:8000"], "the port by its name");
    assert_eq!(
        listing.endpoints.iter().map(|found| found.is_up).collect::<Vec<_>>(),
        [Some(true), Some(false)]
    );
    {
        let asked = server.asked.lock().expect("no panic");
        let path = "GET /apis/discovery.k8s.io/v1/namespaces/ai/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dllama&";
        assert!(asked.iter().all(|asked| asked.what.starts_with(path)), "{asked:?}");
        assert!(
            asked[1].what.contains("resourceVersion=10")
                && asked[1].what.contains("allowWatchBookmarks=true")
        );
        assert!(asked.iter().all(|asked| asked.head.contains("authorization: bearer tok-1")));
    }
    // A pod terminates: still serving, and so drained and not cut; then not.
    let both = |second| slice("s1", 11, &[("10.0.0.1", r#""ready":true"#), ("10.0.0.2", second)]);
    tell.send(event("MODIFIED", &both(r#""ready":true"#))).expect("watched");
    assert_eq!(next(&mut source).await.expect("watched").endpoints[1].is_up, Some(true));
    tell.send(event("MODIFIED", &both(r#""ready":false,"serving":true,"terminating":true"#)))
        .expect("watched");
    let listing = next(&mut source).await.expect("watched");
    assert_eq!((names(&listing).len(), listing.endpoints[1].is_up), (2, Some(false)));
    tell.send(event("MODIFIED", &both(r#""ready":false,"serving":false,"terminating":true"#)))
        .expect("watched");
    assert_eq!(names(&next(&mut source).await.expect("watched")), ["m at 10.0.0.1:8000"]);
    // In two pieces, with a bookmark before, and a second slice.
    let added = event("ADDED", &slice("s2", 12, &[("10.0.0.3", "")]));
    tell.send(event("BOOKMARK", r#"{"metadata":{"resourceVersion":"12"}}"#)).expect("watched");
    tell.send(added[..40].to_owned()).expect("watched");
    tell.send(added[40..].to_owned()).expect("watched");
    assert_eq!(
        names(&next(&mut source).await.expect("watched")),
        ["m at 10.0.0.1:8000", "m at 10.0.0.3:8000"]
    );
    tell.send(event("DELETED", &slice("s1", 13, &[]))).expect("watched");
    assert_eq!(names(&next(&mut source).await.expect("watched")), ["m at 10.0.0.3:8000"]);
    tell.send(event("MODIFIED", &slice("s2", 14, &[("192.168.0.1", ""), ("10.0.0.3", "")])))
        .expect("watched");
    let listing = next(&mut source).await.expect("watched");
    assert_eq!(
        (names(&listing), listing.refused.len()),
        (vec!["m at 10.0.0.3:8000"], 1),
        "outside of the network"
    );
}

#[tokio::test]
async fn a_forgotten_revision_is_listed_anew() {
    let (tell, watch) = unbounded_channel();
    let (_tell_again, watch_again) = unbounded_channel();
    let lists =
        [list(10, &[slice("s1", 7, &[("10.0.0.1", "")])]), list(50, &[slice("s1", 45, &[("10.0.0.9", "")])])];
    let server = serve(Api { lists: lists.into(), watches: [watch, watch_again].into() }).await;
    let mut source = source(&server).follow();
    assert_eq!(names(&next(&mut source).await.expect("listed")), ["m at 10.0.0.1:8000"]);
    tell.send(event("ERROR", r#"{"kind":"Status","code":410,"reason":"Expired"}"#)).expect("watched");
    assert_eq!(names(&next_good(&mut source).await), ["m at 10.0.0.9:8000"]);
    assert!(
        server.asked.lock().expect("no panic").iter().any(|asked| asked.what.contains("resourceVersion=50"))
    );
}

#[tokio::test]
async fn garbage_in_the_stream_ends_it_and_changes_nothing() {
    let good = list(10, &[slice("s1", 7, &[("10.0.0.1", "")])]);
    let mut tells = Vec::new();
    let mut watches = VecDeque::new();
    let garbage = [
        "<html>\n",
        "{}\n",
        "{\"type\":\"ADDED\"}\n",
        "{\"type\":\"DELETED\",\"object\":{}}\n",
        "\u{0}\u{1}\n",
    ];
    for _ in 0..=garbage.len() {
        let (tell, watch) = unbounded_channel();
        tells.push(tell);
        watches.push_back(watch);
    }
    let server = serve(Api { lists: [good].into(), watches }).await;
    let mut source = source(&server).follow();
    assert_eq!(names(&next(&mut source).await.expect("listed")), ["m at 10.0.0.1:8000"]);
    for (at, (tell, garbage)) in tells.iter().zip(garbage).enumerate() {
        // Listed and watched anew after the one before, and that list is no news.
        tell.send(garbage.to_owned()).expect("watched, or will be");
        assert!(next(&mut source).await.is_err(), "{garbage:?}");
        assert_eq!(server.count(), 2 * (at + 1), "one list and one stream each");
    }
    until(async || {
        assert!(is_quiet(&mut source, Duration::from_millis(100)).await, "after all of it");
        server.count() >= 2 * (garbage.len() + 1)
    })
    .await;
}
