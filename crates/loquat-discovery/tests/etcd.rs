//! Against a real etcd, killed in between.

mod support;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use loquat_core::{Context, ErrorKind};
use loquat_discovery::{Etcd, Policy};
use loquat_transport::{Request, Transport};
use support::{etcd::Process, is_quiet, names, next, next_good, policy, transport};

async fn call(transport: &Transport, url: &str, path: &str, body: String) {
    let request = Request::post(format!("{url}{path}"), body).expect("an address");
    let response = transport.send(&Context::new(), request).await.expect("an answer");
    assert!(response.status.is_success(), "{path}: {}", response.status);
    drop(response.body.collect(1 << 20).await.expect("a body"));
}

async fn put(transport: &Transport, url: &str, key: &str, value: &str) {
    let body = format!(r#"{{"key":"{}","value":"{}"}}"#, STANDARD.encode(key), STANDARD.encode(value));
    call(transport, url, "/v3/kv/put", body).await;
}

fn entry(port: u16) -> String {
    format!(r#"{{"base_url":"http://127.0.0.1:{port}/v1","model":"m"}}"#)
}

#[tokio::test]
async fn a_real_etcd_is_watched_through_its_death_and_return() {
    let mut etcd = Process::start();
    let (url, transport) = (etcd.url(), transport());
    put(&transport, &url, "/e/a", &entry(1)).await;
    put(&transport, &url, "/other", &entry(9)).await;

    let source = Etcd::new(transport.clone(), &url, "/e/", policy()).expect("an address");
    let mut source = source.with_timeout(Duration::from_secs(10)).follow();
    assert_eq!(names(&next(&mut source).await.expect("listed")), ["a"]);

    put(&transport, &url, "/e/b", &entry(2)).await;
    assert_eq!(names(&next(&mut source).await.expect("watched")), ["a", "b"]);
    put(&transport, &url, "/other", &entry(8)).await;
    put(&transport, &url, "/e/b", &entry(2)).await;
    assert!(
        is_quiet(&mut source, Duration::from_millis(300)).await,
        "the same value, and keys of others, are no news"
    );

    put(&transport, &url, "/e/b", "garbage").await;
    let listing = next(&mut source).await.expect("one bad value does not cost the others");
    assert_eq!((names(&listing), listing.refused.len()), (vec!["a"], 1));
    put(&transport, &url, "/e/b", &entry(3)).await;
    let listing = next(&mut source).await.expect("watched");
    assert_eq!(listing.endpoints[1].endpoint.base_url, "http://127.0.0.1:3/v1");

    // A compaction makes the past unknown; who watches the present does not notice.
    call(&transport, &url, "/v3/kv/compaction", r#"{"revision":"5"}"#.to_owned()).await;
    let body = format!(r#"{{"key":"{}"}}"#, STANDARD.encode("/e/a"));
    call(&transport, &url, "/v3/kv/deleterange", body).await;
    assert_eq!(names(&next(&mut source).await.expect("watched")), ["b"]);

    etcd.kill();
    assert!(next(&mut source).await.is_err(), "what it knew stays, and it says that nobody answers");
    etcd.start_again();
    put(&transport, &url, "/e/c", &entry(4)).await;
    assert_eq!(names(&next_good(&mut source).await), ["b", "c"], "listed anew");
}

/// A key under a lease of so many seconds; whether the lease was still there for it.
async fn put_leased(transport: &Transport, url: &str, seconds: u64) -> bool {
    let lease = format!(r#"{{"TTL":"{seconds}","ID":"{seconds}"}}"#);
    call(transport, url, "/v3/lease/grant", lease).await;
    let (key, value) = (STANDARD.encode("/e/leased"), STANDARD.encode(entry(2)));
    let body = format!(r#"{{"key":"{key}","value":"{value}","lease":"{seconds}"}}"#);
    let request = Request::post(format!("{url}/v3/kv/put"), body).expect("an address");
    let response = transport.send(&Context::new(), request).await.expect("an answer");
    let is_put = response.status.is_success();
    drop(response.body.collect(1 << 20).await.expect("a body"));
    is_put
}

#[tokio::test]
async fn leases_make_endpoints_leave_with_their_server() {
    let etcd = Process::start();
    let (url, transport) = (etcd.url(), transport());
    put(&transport, &url, "/e/stays", &entry(1)).await;
    let source = Etcd::new(transport.clone(), &url, "/e/", policy()).expect("an address");
    // Put and listed before the lease ends: on a machine that is too slow for a short one, a longer one.
    let mut listed = None;
    for seconds in [2, 8, 32] {
        let mut source = source.follow();
        if put_leased(&transport, &url, seconds).await
            && names(&next(&mut source).await.expect("listed")) == ["leased", "stays"]
        {
            listed = Some(source);
            break;
        }
    }
    let mut source = listed.expect("half a minute is enough to list a key that was put");
    assert_eq!(names(&next(&mut source).await.expect("watched")), ["stays"], "nobody kept the lease alive");

    // So does one that says goodbye: its lease is revoked.
    assert!(put_leased(&transport, &url, 3600).await, "an hour is enough");
    assert_eq!(names(&next(&mut source).await.expect("watched")), ["leased", "stays"]);
    call(&transport, &url, "/v3/lease/revoke", r#"{"ID":"3600"}"#.to_owned()).await;
    assert_eq!(names(&next(&mut source).await.expect("watched")), ["stays"]);
}

/// Sends it with that token, and gives the answer's text.
async fn call_as(transport: &Transport, url: &str, path: &str, body: &str, token: &str) -> String {
    let mut request = Request::post(format!("{url}{path}"), body.to_owned()).expect("an address");
    if !token.is_empty() {
        request.headers.insert("authorization", token.parse().expect("a header's value"));
    }
    let response = transport.send(&Context::new(), request).await.expect("an answer");
    String::from_utf8(response.body.collect(1 << 20).await.expect("a body").to_vec()).expect("text")
}

#[tokio::test]
async fn a_real_etcd_that_wants_to_know_who_asks_is_told() {
    let mut etcd = Process::start();
    let (url, transport) = (etcd.url(), transport());
    put(&transport, &url, "/e/a", &entry(1)).await;
    let user = r#"{"name":"root","password":"pl\"anted"}"#;
    for (path, body) in [
        ("/v3/auth/role/add", r#"{"name":"root"}"#),
        ("/v3/auth/user/add", user),
        ("/v3/auth/user/grant", r#"{"user":"root","role":"root"}"#),
        ("/v3/auth/enable", "{}"),
    ] {
        call(&transport, &url, path, body.to_owned()).await;
    }
    let etcd_source = || Etcd::new(transport.clone(), &url, "/e/", policy()).expect("an address");
    assert!(next(&mut etcd_source().follow()).await.is_err(), "it tells nobody it does not know");
    let wrong = etcd_source().with_login("root", "wrong-planted");
    let error = next(&mut wrong.follow()).await.expect_err("a wrong password");
    assert!(!format!("{wrong:?} {error} {error:?}").contains("planted"));

    let answer = call_as(&transport, &url, "/v3/auth/authenticate", user, "").await;
    let token: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let token = token["token"].as_str().expect("a token").to_owned();
    assert_eq!(names(&next(&mut etcd_source().with_token(&*token).follow()).await.expect("known")), ["a"]);

    let mut source =
        etcd_source().with_login("root", "pl\"anted").with_timeout(Duration::from_secs(10)).follow();
    assert_eq!(names(&next(&mut source).await.expect("known")), ["a"]);
    let body = format!(r#"{{"key":"{}","value":"{}"}}"#, STANDARD.encode("/e/b"), STANDARD.encode(entry(2)));
    call_as(&transport, &url, "/v3/kv/put", &body, &token).await;
    assert_eq!(names(&next(&mut source).await.expect("watched")), ["a", "b"]);
    // Simple tokens are forgotten when it begins anew; a new one is asked for.
    etcd.kill();
    assert!(next(&mut source).await.is_err(), "nobody answers");
    etcd.start_again();
    let answer = call_as(&transport, &url, "/v3/auth/authenticate", user, "").await;
    let token: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let body = format!(r#"{{"key":"{}","value":"{}"}}"#, STANDARD.encode("/e/c"), STANDARD.encode(entry(3)));
    call_as(&transport, &url, "/v3/kv/put", &body, token["token"].as_str().expect("a token")).await;
    assert_eq!(names(&next_good(&mut source).await), ["a", "b", "c"]);
}

#[tokio::test]
async fn no_password_goes_over_plain_http_into_the_network() {
    let etcd = Etcd::new(transport(), "http://192.0.2.1:2379", "/e/", Policy::new()).expect("an address");
    for source in [etcd.clone().with_login("root", "planted"), etcd.with_token("planted")] {
        let error = next(&mut source.follow()).await.expect_err("not over that");
        assert_eq!(error.kind(), ErrorKind::NotConfigured, "{error}");
        assert!(error.to_string().contains("what authenticates does not go over plain http"), "{error}");
    }
}
