//! A canary's rollback reaches an address of the operator's, signed, also when the receiver fails at first.
#![cfg(all(feature = "client", feature = "router"))]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use loquat::{
    Client, Secret,
    core::Endpoint,
    router::{CanarySpec, EndpointSpec, GroupSpec, Plan, RouteSpec, canary::webhook},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Takes posts, refuses the first, and keeps them as they came: a signature is of bytes.
async fn receiver() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let posts = Arc::<Mutex<Vec<String>>>::default();
    let kept = posts.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut text = String::new();
            let whole = |text: &str| {
                let length = |head: &str| {
                    let line = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
                    line.parse::<usize>().ok()
                };
                text.split_once("\r\n\r\n").is_some_and(|(head, body)| Some(body.len()) == length(head))
            };
            while !whole(&text) {
                let mut bytes = [0; 4096];
                let count = socket.read(&mut bytes).await.expect("a request");
                text += std::str::from_utf8(&bytes[..count]).expect("text");
            }
            let status = if kept.lock().expect("no panic").is_empty() { "503 Later" } else { "200 OK" };
            // Looked through after the whole suite, for what was planted.
            std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/webhook.txt"), &text).expect("written");
            kept.lock().expect("no panic").push(text);
            let reply = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            socket.write_all(reply.as_bytes()).await.expect("a reply");
        }
    });
    (address, posts)
}

#[tokio::test]
async fn a_rollback_by_hand_is_posted_and_verified() {
    let (address, posts) = receiver().await;
    let client = Client::builder().build().expect("a client");
    assert!(client.canary_webhook("http://hooks.example.com/", "s").is_err(), "plain http off the loopback");
    let listener = client.canary_webhook(&format!("{address}/hook"), "planted secret").expect("an address");
    let endpoint =
        |name: &str| EndpointSpec::new(name, Endpoint::new("openai", "http://127.0.0.1:9/v1", "m"));
    let canary = CanarySpec::new("next", GroupSpec::of(["new"]));
    let route = RouteSpec::new("chat").with_group(GroupSpec::of(["old"])).with_canary(canary);
    let plan = Plan::new().with_endpoint(endpoint("old")).with_endpoint(endpoint("new")).with_route(route);
    let router = client.router_builder().on_canary(listener).build(&plan).expect("a router");
    assert!(router.roll_back("chat"));
    let began = Instant::now();
    while posts.lock().expect("no panic").len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "tried again after a second");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let posts = posts.lock().expect("no panic").clone();
    let (head, body) = posts[1].split_once("\r\n\r\n").expect("whole");
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    let timestamp = header("webhook-timestamp").parse().expect("seconds");
    let (id, signature) = (header("webhook-id"), header("webhook-signature"));
    assert!(
        webhook::verify(&id, timestamp, body, &signature, &Secret::new("planted secret"), SystemTime::now()),
        "{head}"
    );
    assert!(body.contains(r#""type":"canary.rolled_back""#) && body.contains(r#""canary":"next""#), "{body}");
}
