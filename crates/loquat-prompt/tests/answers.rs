//! Whole answers to identical requests: the same stream again, and never a part of one.
#![cfg(all(feature = "redis", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "tests, helpers included")]

mod support;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use loquat_core::{
    ChatRequest, Context, Ending, Error, ErrorKind, FinishReason, Model, OwnedDelta, Usage, model_fn,
    test_util::Scripted,
};
use loquat_prompt::cache::remote::{AnswerCache, AnswerLimits, Remote, RemoteConfig, Topology};
use support::redis_server::RedisServer;

fn text(text: &str) -> OwnedDelta {
    OwnedDelta::Text { choice: 0, text: text.to_owned() }
}

fn finished(words: &[&str]) -> Vec<OwnedDelta> {
    let mut usage = Usage::default();
    (usage.input_tokens, usage.output_tokens) = (7, 3);
    let start = OwnedDelta::Start { id: "id".into(), model: "m".into() };
    let call = OwnedDelta::ToolCall { choice: 0, call: 0, id: "c".into(), name: "t".into() };
    let arguments = OwnedDelta::ToolArguments { choice: 0, call: 0, fragment: "{}".into() };
    let end = OwnedDelta::End(Ending::Finished { reason: FinishReason::ToolCalls, usage });
    [start].into_iter().chain(words.iter().map(|word| text(word))).chain([call, arguments, end]).collect()
}

fn cache(script: Scripted, remote: Option<Remote>) -> (Arc<Scripted>, Arc<AnswerCache<Arc<Scripted>>>) {
    let model = Arc::new(script);
    (Arc::clone(&model), Arc::new(AnswerCache::new(model, "test", remote, AnswerLimits::default())))
}

fn request(words: &str) -> Arc<ChatRequest> {
    Arc::new(ChatRequest::new("m").with_user(words))
}

async fn deltas(
    model: &dyn Model,
    context: &Context,
    request: &Arc<ChatRequest>,
) -> Result<Vec<OwnedDelta>, Error> {
    let mut answer = model.infer(context, Arc::clone(request)).await?;
    let mut all = Vec::new();
    while let Some(delta) = answer.next().await {
        all.push(delta.to_owned());
    }
    Ok(all)
}

/// What a replay of the answer is: the same, but for what it cost.
fn replayed(original: &[OwnedDelta]) -> Vec<OwnedDelta> {
    let mut all = original[..original.len() - 1].to_vec();
    let json = r#"{"input_tokens":7,"output_tokens":3,"cache_read_tokens":0,"cache_write_tokens":0,"reasoning_tokens":0}"#;
    all.push(OwnedDelta::Detail { choice: 0, name: "cached_usage".into(), json: json.into() });
    all.push(OwnedDelta::End(Ending::Finished { reason: FinishReason::ToolCalls, usage: Usage::default() }));
    all
}

#[tokio::test]
async fn the_same_request_gets_the_same_stream() {
    let original = finished(&["one ", "two"]);
    let (model, cache) = cache(Scripted::new().then(Ok(original.clone())).then(Ok(finished(&["b"]))), None);
    let context = Context::new().with_tenant("a");
    assert_eq!(deltas(&*cache, &context, &request("hi")).await.unwrap(), original);
    for _ in 0..3 {
        assert_eq!(deltas(&*cache, &context, &request("hi")).await.unwrap(), replayed(&original));
    }
    assert_eq!(model.asked().len(), 1);
    // Another tenant asks for itself.
    let other = Context::new().with_tenant("b");
    assert_eq!(deltas(&*cache, &other, &request("hi")).await.unwrap(), finished(&["b"]));
    assert_eq!(model.asked().len(), 2);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (3, 2, 2));
    // Each was given three times what was computed once; the other tenant's is shorter.
    assert_eq!(stats.hit_bytes % 3, 0, "{stats:?}");
    assert!(stats.hit_bytes > 0 && stats.missed_bytes > stats.hit_bytes / 3, "{stats:?}");
}

#[tokio::test]
async fn an_answer_is_not_kept_for_longer_than_was_asked_for() {
    let answers = || {
        let script = Scripted::new().then(Ok(finished(&["old"]))).then(Ok(finished(&["new, and longer"])));
        Arc::new(script)
    };
    let (context, asked) = (Context::new(), request("hi"));
    for keep_for in [Duration::ZERO, Duration::from_millis(20)] {
        let (model, mut limits) = (answers(), AnswerLimits::default());
        limits.keep_for = keep_for;
        let cache = AnswerCache::new(Arc::clone(&model), "test", None, limits);
        assert_eq!(deltas(&cache, &context, &asked).await.unwrap(), finished(&["old"]));
        let held = cache.stats();
        assert_eq!(held.entries, u64::from(!keep_for.is_zero()), "{held:?}");
        tokio::time::sleep(keep_for).await;
        assert_eq!(deltas(&cache, &context, &asked).await.unwrap(), finished(&["new, and longer"]));
        assert_eq!(model.asked().len(), 2);
        // The old one's bytes have gone with it.
        let now = cache.stats();
        assert_eq!(now.entries, held.entries);
        assert!(now.bytes >= held.bytes && now.bytes < held.bytes * 2 + 1, "{now:?} {held:?}");
    }
}

#[tokio::test]
async fn every_look_up_is_timed_and_the_model_is_not() {
    let (_, kept) = cache(Scripted::new().then(Ok(finished(&["kept"]))), None);
    let (context, asked) = (Context::new(), request("hi"));
    let began = Instant::now();
    for _ in 0..5 {
        deltas(&*kept, &context, &asked).await.unwrap();
    }
    let stats = kept.stats();
    assert_eq!((stats.timed, stats.hits, stats.misses), (5, 4, 1));
    assert!(stats.time > Duration::ZERO && stats.time <= began.elapsed(), "{stats:?}");

    let when = Arc::new(OnceLock::new());
    let asked_at = Arc::clone(&when);
    // It takes long, and says when it was asked.
    let slow = model_fn(move |_, _| {
        let _ = asked_at.set(Instant::now());
        async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Err(Error::new(ErrorKind::Overloaded, "busy"))
        }
    });
    let slow = AnswerCache::new(slow, "test", None, AnswerLimits::default());
    let began = Instant::now();
    assert!(deltas(&slow, &context, &asked).await.is_err());
    let stats = slow.stats();
    assert_eq!((stats.timed, stats.misses), (1, 1));
    assert!(stats.time <= when.get().unwrap().duration_since(began), "{stats:?}");
}

#[tokio::test]
async fn a_part_is_never_kept() {
    let cut = vec![text("half an ans")];
    let failed = vec![text("x"), OwnedDelta::End(Ending::Failed(Error::new(ErrorKind::Server, "no")))];
    let script = Scripted::new()
        .then(Ok(cut))
        .then(Ok(failed))
        .then(Err(Error::new(ErrorKind::Overloaded, "busy")))
        .then(Ok(finished(&["dropped"])))
        .then(Ok(vec![
            OwnedDelta::Media { choice: 0, media_type: "image/png".into(), data: vec![1] },
            finished(&[]).pop().unwrap(),
        ]))
        .then(Ok(finished(&["whole"])));
    let (model, cache) = cache(script, None);
    let (context, asked) = (Context::new(), request("hi"));
    assert!(matches!(
        deltas(&*cache, &context, &asked).await.unwrap().last(),
        Some(OwnedDelta::End(Ending::Truncated { .. }))
    ));
    assert!(matches!(
        deltas(&*cache, &context, &asked).await.unwrap().last(),
        Some(OwnedDelta::End(Ending::Failed(_)))
    ));
    assert_eq!(deltas(&*cache, &context, &asked).await.unwrap_err().kind(), ErrorKind::Overloaded);
    let mut answer = cache.infer(&context, Arc::clone(&asked)).await.unwrap();
    answer.next().await;
    drop(answer);
    assert_eq!(deltas(&*cache, &context, &asked).await.unwrap().len(), 2, "a picture passes and is not kept");
    assert_eq!(deltas(&*cache, &context, &asked).await.unwrap(), finished(&["whole"]));
    assert_eq!(model.asked().len(), 6);
    assert_eq!(cache.stats().entries, 1);
}

#[tokio::test]
async fn one_asks_and_the_others_wait() {
    let (original, own) = (finished(&["shared"]), finished(&["own"]));
    let (model, cache) = cache(Scripted::new().then(Ok(original.clone())).then(Ok(own.clone())), None);
    let context = Context::new();
    let mut first = cache.infer(&context, request("hi")).await.unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { deltas(&*cache, &Context::new(), &request("hi")).await.unwrap() })
        })
        .collect();
    tokio::task::yield_now().await;
    // One who has less time asks for itself, while there is some.
    let impatient = Context::new().with_timeout(Duration::from_secs(2));
    assert_eq!(deltas(&*cache, &impatient, &request("hi")).await.unwrap(), own);
    let all_wait = Instant::now();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let waited = all_wait.elapsed();
    while first.next().await.is_some() {}
    for task in waiting {
        assert_eq!(task.await.unwrap(), replayed(&original));
    }
    assert_eq!(model.asked().len(), 2);
    let stats = cache.stats();
    assert_eq!(stats.joined + stats.hits, 4);
    assert!(
        stats.time < 4 * waited,
        "the model's time is not the cache's, whoever asked it: {stats:?}, {waited:?}"
    );
}

#[tokio::test]
async fn a_fleet_shares_answers() {
    let server = RedisServer::start(&[]);
    let remote = || async {
        let mut config =
            RemoteConfig::new(Topology::Standalone(server.url().into()), "a seal of the tests alone");
        config.budget = Duration::from_millis(500);
        let remote = Remote::try_new(config).unwrap();
        remote.connect().await.unwrap();
        remote
    };
    let original = finished(&["far"]);
    let (one, two) = (remote().await, remote().await);
    let (_, first) = cache(Scripted::new().then(Ok(original.clone())), Some(one.clone()));
    let (model, second) = cache(Scripted::new(), Some(two));
    let context = Context::new().with_tenant("a");
    deltas(&*first, &context, &request("hi")).await.unwrap();
    while one.stats().written == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..2 {
        assert_eq!(deltas(&*second, &context, &request("hi")).await.unwrap(), replayed(&original));
    }
    assert!(model.asked().is_empty());
    assert!(
        deltas(&*second, &Context::new().with_tenant("b"), &request("hi")).await.is_err(),
        "another tenant's"
    );
}
