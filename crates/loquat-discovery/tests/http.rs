//! Sources over HTTP, against real sockets: the registry with its tags, cache and outages; probing of model servers.

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use loquat_core::{Context, ErrorKind};
use loquat_discovery::{CacheLimits, Probe, Registry};
use support::{Reply, Server, is_quiet, names, next, next_good, ok, policy, soon, transport, until};

const TICK: Duration = Duration::from_millis(40);

fn entries(list: &[(&str, &str)]) -> String {
    let entries = list.iter().map(|(name, model)| {
        format!(r#"{{"name":"{name}","base_url":"http://127.0.0.1:9/v1","model":"{model}","healthy":true}}"#)
    });
    format!(r#"{{"endpoints":[{}]}}"#, entries.collect::<Vec<_>>().join(","))
}

fn limits() -> CacheLimits {
    CacheLimits::default().with_time_to_live(TICK).with_negative(TICK)
}

#[tokio::test]
async fn a_registry_is_followed_by_its_tag() {
    let present = Arc::new(Mutex::new((entries(&[("a", "m")]), "\"1\"".to_owned())));
    let shown = present.clone();
    let server = Server::start(move |asked| {
        let (body, tag) = shown.lock().expect("no panic").clone();
        if asked.head.contains(&format!("if-none-match: {tag}")) {
            return Reply::Whole(304, vec![("etag", tag)], vec![]);
        }
        Reply::Whole(200, vec![("etag", tag)], body.into())
    })
    .await;
    let registry = Registry::new(transport(), server.url("/endpoints"), policy()).expect("an address");
    let mut source = registry.with_cache(limits()).with_token("sk-registry").follow();
    assert_eq!(names(&next(&mut source).await.expect("good")), ["a"]);
    until(async || {
        assert!(is_quiet(&mut source, TICK * 5).await, "asked again and again, and no news");
        server.count() >= 3
    })
    .await;
    {
        let asked = server.asked.lock().expect("no panic");
        assert!(!asked[0].head.contains("if-none-match") && asked[1].head.contains("if-none-match: \"1\""));
        assert!(asked[0].head.contains("authorization: bearer sk-registry"), "on the loopback");
    }
    *present.lock().expect("no panic") = (entries(&[("a", "m"), ("b", "m")]), "\"2\"".to_owned());
    let listing = next(&mut source).await.expect("good");
    assert_eq!((names(&listing), listing.endpoints[1].is_up), (vec!["a", "b"], Some(true)));
}

#[tokio::test]
async fn what_a_registry_says_wrongly_replaces_nothing() {
    let good = entries(&[("a", "m")]);
    let huge = format!("[{}]", " ".repeat(2 << 20));
    let bad: Vec<Box<dyn Fn() -> Reply + Send + Sync>> = vec![
        Box::new(|| ok("")),
        Box::new(|| ok("<html>down for maintenance</html>")),
        Box::new(|| ok(r#"{"endpoints":[]}"#)),
        Box::new(|| ok(r#"{"endpoints":[{"name":"a"}]}"#)),
        Box::new(|| ok(r#"{"endpoints":[{"name":"a","base_url":"#)),
        Box::new(|| ok(r#"[{"name":"x","base_url":"ftp://127.0.0.1/","model":"m"}]"#)),
        Box::new(move || ok(huge.clone())),
        Box::new(|| ok(entries(&vec![("a", "m"); 1001]))),
        Box::new(|| Reply::Whole(500, vec![], b"oops".to_vec())),
        Box::new(|| Reply::Whole(304, vec![], vec![])),
        Box::new(|| Reply::Whole(302, vec![("location", "/elsewhere".to_owned())], vec![])),
        Box::new(|| Reply::Hangup),
    ];
    let count = bad.len();
    let number = Arc::new(AtomicUsize::new(0));
    let (at, body) = (number.clone(), good.clone());
    let server = Server::start(move |_| match at.load(SeqCst) {
        0 => ok(body.clone()),
        number => bad[number - 1](),
    })
    .await;
    let registry = Registry::new(transport(), server.url("/"), policy()).expect("an address");
    let registry = registry.with_cache(limits().with_time_to_live(Duration::from_millis(5)));
    let mut source = registry.follow();
    assert_eq!(names(&next(&mut source).await.expect("good")), ["a"]);
    for case in 1..=count {
        number.store(case, SeqCst);
        let error = next(&mut source).await.expect_err("bad");
        assert!(!error.to_string().is_empty(), "case {case}");
        number.store(0, SeqCst);
        assert!(
            is_quiet(&mut source, Duration::from_millis(60)).await,
            "the same as before case {case}: no news"
        );
    }
}

/// A registry whose answers keep for the test, or for next to no time.
fn registry(server: &Server, time_to_live: Duration) -> Registry {
    let limits = CacheLimits::default().with_negative(Duration::from_secs(3600));
    let limits = limits.with_time_to_live(time_to_live);
    Registry::new(transport(), server.url("/e"), policy()).expect("an address").with_cache(limits)
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn lookups_are_cached_and_failures_and_nothing_too() {
    let server = Server::start(move |asked| match asked.what.as_str() {
        "GET /e?model=a%2Fb" => ok(entries(&[("x", "a/b"), ("y", "other")])),
        "GET /e?model=none" => ok(entries(&[])),
        _ => Reply::Whole(503, vec![], vec![]),
    })
    .await;
    let (registry, context) = (registry(&server, LONG), Context::new());
    for _ in 0..10 {
        let listing = registry.lookup(&context, "a/b").await.expect("good");
        assert_eq!(names(&listing), ["x"], "of that model alone");
        assert!(registry.lookup(&context, "none").await.expect("an answer").endpoints.is_empty());
        assert!(registry.lookup(&context, "new").await.is_err());
    }
    assert_eq!(server.count(), 3, "each was asked for once");
    let error = registry.lookup(&context, &"x".repeat(257)).await.expect_err("no model has such a name");
    assert_eq!((error.kind(), server.count()), (ErrorKind::InvalidRequest, 3));
}

#[tokio::test]
async fn lookups_outlive_the_registry_and_what_it_forgets() {
    let says = Arc::new(Mutex::new("good"));
    let said = says.clone();
    let server = Server::start(move |asked| match *said.lock().expect("no panic") {
        "down" => Reply::Whole(503, vec![], vec![]),
        "empty" => ok(entries(&[])),
        "new" => ok(entries(&[("z", "m")])),
        _ if asked.head.contains("if-none-match: \"7\"") => Reply::Whole(304, vec![], vec![]),
        _ => Reply::Whole(200, vec![("etag", "\"7\"".to_owned())], entries(&[("x", "m")]).into()),
    })
    .await;
    let limits = CacheLimits::default().with_time_to_live(Duration::ZERO).with_negative(Duration::ZERO);
    let registry =
        Registry::new(transport(), server.url("/e"), policy()).expect("an address").with_cache(limits);
    let context = Context::new();
    for now in ["good", "down", "empty"] {
        *says.lock().expect("no panic") = now;
        let before = server.count();
        until(async || {
            assert_eq!(names(&registry.lookup(&context, "m").await.expect("stale")), ["x"], "{now}");
            server.count() >= before + 3
        })
        .await;
    }
    let asked = server.asked.lock().expect("no panic").clone();
    assert!(asked[1..].iter().all(|asked| asked.head.contains("if-none-match: \"7\"")), "by its tag");
    *says.lock().expect("no panic") = "new";
    until(async || names(&registry.lookup(&context, "m").await.expect("some")) == ["z"]).await;
}

#[tokio::test]
async fn a_model_that_its_registry_lists_no_more_is_gone() {
    let others = [("y", "other"), ("z", "another")];
    for (accept_empty, after) in [(false, &others[..]), (true, &others), (true, &[])] {
        let gone = Arc::new(AtomicUsize::new(0));
        let (is_gone, after) = (gone.clone(), entries(after));
        let server = Server::start(move |_| match is_gone.load(SeqCst) {
            0 => ok(entries(&[("x", "m"), ("y", "other")])),
            _ => ok(after.clone()),
        })
        .await;
        let limits = CacheLimits::default().with_time_to_live(Duration::ZERO).with_negative(Duration::ZERO);
        let policy = policy().with_accept_empty(accept_empty);
        let registry = Registry::new(transport(), server.url("/e"), policy).expect("an address");
        let (registry, context) = (registry.with_cache(limits).with_timeout(LONG), Context::new());
        assert_eq!(names(&soon(registry.lookup(&context, "m")).await.expect("good")), ["x"]);
        gone.store(1, SeqCst);
        until(async || registry.lookup(&context, "m").await.expect("well").endpoints.is_empty()).await;
    }
}

#[tokio::test]
async fn whose_time_is_over_goes_without_and_nobody_else_does() {
    let (tell, silence) = tokio::sync::mpsc::unbounded_channel();
    let silence = Mutex::new(Some(silence));
    let server = Server::start(move |_| match silence.lock().expect("no panic").take() {
        Some(silence) => Reply::Stream(silence),
        None => Reply::Hangup,
    })
    .await;
    let registry = registry(&server, LONG).with_timeout(LONG);
    let context = Context::new();
    let (asking, asked) = (registry.clone(), context.clone());
    let first = tokio::spawn(async move { asking.lookup(&asked, "m").await });
    until(async || server.count() == 1).await;
    context.cancellation().cancel();
    let error = soon(first).await.expect("no panic").expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let hurried = Context::new().with_timeout(TICK);
    let error = soon(registry.lookup(&hurried, "m")).await.expect_err("still silent");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // What they wanted is still asked for, and there for whoever comes.
    tell.send(entries(&[("a", "m")])).expect("still read");
    drop(tell);
    assert_eq!(names(&soon(registry.lookup(&Context::new(), "m")).await.expect("good")), ["a"]);
    assert_eq!(server.count(), 1, "asked once");
}

#[tokio::test]
async fn a_registry_slower_than_all_who_ask_is_known_in_the_end() {
    for is_well in [true, false] {
        let (tell, silence) = tokio::sync::mpsc::unbounded_channel();
        let silence = Mutex::new(Some(silence));
        let server = Server::start(move |_| match silence.lock().expect("no panic").take() {
            Some(silence) => Reply::Stream(silence),
            None => ok(entries(&[("another", "m")])),
        })
        .await;
        let registry = registry(&server, LONG).with_timeout(LONG);
        for _ in 0..3 {
            let hurried = Context::new().with_timeout(TICK);
            let error = soon(registry.lookup(&hurried, "m")).await.expect_err("silent");
            assert_eq!(error.kind(), ErrorKind::Timeout);
        }
        until(async || server.count() == 1).await;
        tell.send(if is_well { entries(&[("a", "m")]) } else { "no list".to_owned() }).expect("still read");
        drop(tell);
        for _ in 0..2 {
            let answer = soon(registry.lookup(&Context::new(), "m")).await;
            assert_eq!(answer.ok().as_deref().map(names), is_well.then(|| vec!["a"]), "remembered");
        }
        assert_eq!(server.count(), 1, "asked once");
    }
}

#[tokio::test]
async fn redirects_stay_at_the_origin() {
    let elsewhere = Server::start(|_| ok(entries(&[("evil", "m")]))).await;
    let away = elsewhere.url("/e");
    let server = Server::start(move |asked| match asked.what.as_str() {
        "GET /near" => Reply::Whole(307, vec![("location", "/e".to_owned())], vec![]),
        "GET /away" => Reply::Whole(307, vec![("location", away.clone())], vec![]),
        "GET /sly" => Reply::Whole(307, vec![("location", format!("//{}/e", &away[7..28]))], vec![]),
        "GET /loop" => Reply::Whole(307, vec![("location", "/loop".to_owned())], vec![]),
        _ => ok(entries(&[("a", "m")])),
    })
    .await;
    for (path, redirects, good) in [
        ("/near", 0, false),
        ("/near", 1, true),
        ("/away", 3, false),
        ("/sly", 3, false),
        ("/loop", 3, false),
    ] {
        let policy = policy().with_max_redirects(redirects);
        let registry = Registry::new(transport(), server.url(path), policy).expect("an address");
        assert_eq!(next(&mut registry.with_token("sk-t").follow()).await.is_ok(), good, "{path} {redirects}");
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn a_silent_registry_is_waited_for_no_longer_than_said() {
    let (held, silence) = tokio::sync::mpsc::unbounded_channel();
    let silence = Mutex::new(Some(silence));
    let server =
        Server::start(move |_| silence.lock().expect("no panic").take().map_or(Reply::Hangup, Reply::Stream))
            .await;
    let registry =
        Registry::new(transport(), server.url("/"), policy()).expect("an address").with_timeout(TICK * 2);
    let error = next(&mut registry.follow()).await.expect_err("silent");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    drop(held);
}

#[tokio::test]
async fn servers_are_asked_for_their_models() {
    let is_down = Arc::new(AtomicUsize::new(0));
    let down = is_down.clone();
    // How often it hangs up before it answers again.
    let hangs_up = move || down.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
    let vllm = Server::start(move |asked| match (hangs_up(), asked.what.as_str()) {
        (false, "GET /v1/models") => ok(r#"{"object":"list","data":[{"id":"llama","max_model_len":4096}]}"#),
        _ => Reply::Hangup,
    })
    .await;
    let ollama = Server::start(|asked| match asked.what.as_str() {
        "GET /api/tags" => ok(r#"{"models":[{"name":"qwen:7b"}]}"#),
        _ => Reply::Whole(404, vec![], vec![]),
    })
    .await;
    let servers = [vllm.url("/"), ollama.url(""), "http://127.0.0.1:1".to_owned()];
    let mut source =
        Probe::new(transport(), servers, policy()).with_interval(TICK).with_timeout(LONG).follow();
    let listing = next(&mut source).await.expect("two of three answer");
    let found: Vec<_> = listing
        .endpoints
        .iter()
        .map(|found| {
            (
                found.endpoint.model.as_str(),
                found.endpoint.provider.as_str(),
                found.context_window,
                found.is_up,
            )
        })
        .collect();
    let expected = [("llama", "openai", Some(4096), Some(true)), ("qwen:7b", "ollama", None, Some(true))];
    assert_eq!(found, expected);
    assert_eq!(listing.endpoints[0].endpoint.base_url, vllm.url("/v1"));
    is_down.store(2, SeqCst);
    assert!(is_quiet(&mut source, TICK * 12).await, "twice is no more than busy");
    assert_eq!(is_down.load(SeqCst), 0, "and it was asked");
    is_down.store(usize::MAX, SeqCst);
    let listing = next_good(&mut source).await;
    assert_eq!(listing.endpoints[0].is_up, Some(false), "what it served stays listed, as not well");
    assert_eq!(listing.endpoints[1].is_up, Some(true));
    let generated = [vllm.asked.lock().expect("no panic"), ollama.asked.lock().expect("no panic")];
    assert!(generated.iter().all(|asked| asked.iter().all(|asked| asked.what.starts_with("GET "))));
}

#[tokio::test]
async fn servers_with_a_key_are_asked_with_it_and_no_other_is() {
    let server = Server::start(|asked| match asked.head.contains("authorization: bearer sk-planted") {
        true => ok(r#"{"data":[{"id":"llama"}]}"#),
        false => Reply::Whole(401, vec![], vec![]),
    })
    .await;
    let ask = async |hosts: &[&str], key: Option<&str>| {
        let policy = policy().with_key("cluster", "sk-planted", hosts.iter().copied());
        let probe = Probe::new(transport(), [server.url("")], policy).with_timeout(LONG);
        next(&mut key.map_or(probe.clone(), |key| probe.with_key(key)).follow()).await
    };
    assert!(ask(&["127.0.0.1"], None).await.is_err(), "it wants a key");
    let listing = ask(&["127.0.0.1"], Some("cluster")).await.expect("it has one");
    assert_eq!(listing.endpoints[0].endpoint.credential, Some("sk-planted".into()), "the router has it, too");
    let before = server.count();
    for (hosts, key) in [(&["example.com"][..], "cluster"), (&["127.0.0.1"], "other")] {
        let error = ask(hosts, Some(key)).await.expect_err("not for that host, or unknown");
        assert!(error.to_string().contains("key") && !error.to_string().contains("planted"), "{error}");
    }
    for address in ["http://user:sk-planted@127.0.0.1", "http://127.0.0.1/?key=sk-planted"] {
        let policy = policy().with_key("cluster", "sk-other", ["127.0.0.1"]);
        let probe = Probe::new(transport(), [address], policy).with_key("cluster");
        let error = next(&mut probe.follow()).await.expect_err("credentials are no part of an address");
        assert!(!format!("{error} {error:?}").contains("planted"), "{error:?}");
    }
    assert_eq!(server.count(), before, "and is not asked");
}
