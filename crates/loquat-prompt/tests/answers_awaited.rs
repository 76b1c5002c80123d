//! Those who wait for another's answer: what they get when it fails, is cut, dropped, cancelled, too long or late.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "tests, helpers included")]

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use loquat_core::{
    Answer, CancellationToken, ChatRequest, Context, Ending, Error, ErrorKind, FinishReason, Model,
    OwnedDelta, Result, Usage, model_fn,
};
use loquat_prompt::cache::remote::{AnswerCache, AnswerLimits};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, yield_now},
};

fn text(text: &str) -> OwnedDelta {
    OwnedDelta::Text { choice: 0, text: text.to_owned() }
}

fn end() -> OwnedDelta {
    OwnedDelta::End(Ending::Finished { reason: FinishReason::Stop, usage: Usage::default() })
}

fn whole() -> Answer {
    Answer::from_deltas(vec![text("whole"), end()])
}

fn failed() -> Error {
    Error::new(ErrorKind::Overloaded, "the first one's own error")
}

fn request() -> Arc<ChatRequest> {
    Arc::new(ChatRequest::new("m").with_user("hi"))
}

/// A model of which the first answer is given, and the others wait until they may.
struct Gated {
    asked: AtomicUsize,
    gate: Semaphore,
}

impl Gated {
    fn cache(
        first: impl Fn() -> Result<Answer> + Send + Sync + 'static,
        limits: AnswerLimits,
    ) -> (Arc<Self>, Arc<dyn Model>) {
        let gated = Arc::new(Self { asked: AtomicUsize::new(0), gate: Semaphore::new(0) });
        let (inner, first) = (Arc::clone(&gated), Arc::new(first));
        let model = model_fn(move |_, _| {
            let (gated, first) = (Arc::clone(&inner), Arc::clone(&first));
            async move {
                let is_first = gated.asked.fetch_add(1, SeqCst) == 0;
                gated.gate.acquire().await.unwrap().forget();
                if is_first { first() } else { Ok(whole()) }
            }
        });
        (gated, Arc::new(AnswerCache::new(model, "test", None, limits)))
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    fn open(&self, times: usize) {
        self.gate.add_permits(times);
    }
}

/// Lets every task go on until it waits.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

fn ask(cache: &Arc<dyn Model>, context: Context) -> JoinHandle<Result<String>> {
    let cache = Arc::clone(cache);
    tokio::spawn(async move { said(cache.infer(&context, request()).await?).await })
}

async fn said(mut answer: Answer) -> Result<String> {
    let mut said = String::new();
    while let Some(delta) = answer.next().await {
        match delta.to_owned() {
            OwnedDelta::Text { text, .. } => said.push_str(&text),
            OwnedDelta::End(Ending::Failed(error)) => return Err(error),
            OwnedDelta::End(Ending::Truncated { .. }) => said.push_str(" (cut)"),
            _ => {}
        }
    }
    Ok(said)
}

/// What ends the first one's turn.
type End = fn(JoinHandle<Result<Answer>>, CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>>;

#[tokio::test]
async fn of_those_who_wait_one_asks_next_and_nobody_gets_anothers_error() {
    let pulled: End = |first, _| {
        Box::pin(async {
            if let Ok(answer) = first.await.unwrap() {
                assert_ne!(said(answer).await.unwrap_or_default(), "whole");
            }
        })
    };
    let dropped: End = |first, _| {
        Box::pin(async {
            let mut answer = first.await.unwrap().unwrap();
            assert!(answer.next().await.is_some());
        })
    };
    let aborted: End = |first, _| Box::pin(async move { first.abort() });
    let cancelled: End = |first, token| {
        Box::pin(async move {
            token.cancel();
            drop(first.await.unwrap().map(drop));
        })
    };
    type First = fn() -> Result<Answer>;
    let cases: [(&str, First, bool, End); 6] = [
        ("refused", || Err(failed()), true, pulled),
        ("cut", || Ok(Answer::from_deltas(vec![text("half")])), true, pulled),
        (
            "fails",
            || Ok(Answer::from_deltas(vec![text("half"), OwnedDelta::End(Ending::Failed(failed()))])),
            true,
            pulled,
        ),
        ("dropped half-way", || Ok(whole()), true, dropped),
        ("dropped before it has an answer", || Ok(whole()), false, aborted),
        ("cancelled", || Err(Error::new(ErrorKind::Cancelled, "cancelled")), true, cancelled),
    ];
    for (name, first_answer, is_answered, end) in cases {
        let (model, cache) = Gated::cache(first_answer, AnswerLimits::default());
        let token = CancellationToken::new();
        let context = Context::new().with_cancellation(token.clone());
        let first = {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { cache.infer(&context, request()).await })
        };
        settle().await;
        let waiting: Vec<_> = (0..5).map(|_| ask(&cache, Context::new())).collect();
        settle().await;
        assert_eq!(model.asked(), 1, "{name}");
        model.open(usize::from(is_answered));
        end(first, token).await;
        settle().await;
        assert_eq!(model.asked(), 2, "{name}: one of five asks in its place");
        // A late one waits with the others.
        let late = ask(&cache, Context::new());
        settle().await;
        assert_eq!(model.asked(), 2, "{name}");
        model.open(1);
        for task in waiting.into_iter().chain([late]) {
            assert_eq!(task.await.unwrap().unwrap(), "whole", "{name}");
        }
        assert_eq!(model.asked(), 2, "{name}");
    }
}

#[tokio::test]
async fn one_that_cannot_be_kept_lets_all_ask_as_soon_as_that_is_seen() {
    let media = || OwnedDelta::Media { choice: 0, media_type: "image/png".into(), data: vec![1] };
    for unkept in [text(&"x".repeat(100)), media()] {
        let mut limits = AnswerLimits::default();
        limits.max_answer_bytes = 50;
        let first = move || Ok(Answer::from_deltas(vec![unkept.clone(), text("more"), end()]));
        let (model, cache) = Gated::cache(first, limits);
        model.open(1);
        let mut first = cache.infer(&Context::new(), request()).await.unwrap();
        let waiting: Vec<_> = (0..3).map(|_| ask(&cache, Context::new())).collect();
        settle().await;
        assert_eq!(model.asked(), 1);
        assert!(first.next().await.is_some());
        settle().await;
        assert_eq!(model.asked(), 4, "the first one has not ended");
        model.open(3);
        for task in waiting {
            assert_eq!(task.await.unwrap().unwrap(), "whole");
        }
        assert_eq!(said(first).await.unwrap(), "more", "it goes on all the same");
    }
}

#[tokio::test]
async fn one_who_gives_up_waiting_disturbs_nobody() {
    let (model, cache) = Gated::cache(|| Ok(whole()), AnswerLimits::default());
    let token = CancellationToken::new();
    let first = ask(&cache, Context::new());
    settle().await;
    let waiting: Vec<_> = (0..3).map(|_| ask(&cache, Context::new())).collect();
    let cancelled = ask(&cache, Context::new().with_cancellation(token.clone()));
    let aborted = ask(&cache, Context::new());
    settle().await;
    token.cancel();
    aborted.abort();
    assert_eq!(cancelled.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    settle().await;
    assert_eq!(model.asked(), 1);
    model.open(1);
    for task in waiting.into_iter().chain([first]) {
        assert_eq!(task.await.unwrap().unwrap(), "whole");
    }
    assert_eq!(model.asked(), 1);
}

#[tokio::test]
async fn nobody_waits_for_another_tenants_answer() {
    let (model, cache) = Gated::cache(|| Ok(whole()), AnswerLimits::default());
    let of = |tenant: &str| ask(&cache, Context::new().with_tenant(tenant.to_owned()));
    let all = [of("a"), of("b"), of("a"), ask(&cache, Context::new())];
    settle().await;
    assert_eq!(model.asked(), 3, "each tenant asks once");
    model.open(3);
    for task in all {
        assert_eq!(task.await.unwrap().unwrap(), "whole");
    }
    assert_eq!(model.asked(), 3);
}

#[tokio::test]
async fn nobody_waits_for_others_until_no_time_is_left_to_ask() {
    let (model, cache) = Gated::cache(|| Err(failed()), AnswerLimits::default());
    let first = ask(&cache, Context::new());
    settle().await;
    let began = Instant::now();
    let impatient = || ask(&cache, Context::new().with_timeout(Duration::from_secs(4)));
    let waiting = [impatient(), impatient(), impatient()];
    settle().await;
    model.open(1);
    assert!(first.await.unwrap().is_err());
    // Now one of them asks, for longer than the two others like.
    settle().await;
    assert_eq!(model.asked(), 2);
    while model.asked() < 4 {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(2), "half of the time");
    model.open(3);
    for task in waiting {
        assert_eq!(task.await.unwrap().expect("in time"), "whole");
    }
}

#[tokio::test(start_paused = true)]
async fn a_minute_is_the_longest_that_anyone_waits_however_many_fail() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let model = model_fn(move |_, _| {
        counts.fetch_add(1, SeqCst);
        async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            Err(failed())
        }
    });
    let cache: Arc<dyn Model> = Arc::new(AnswerCache::new(model, "test", None, AnswerLimits::default()));
    let began = tokio::time::Instant::now();
    // The first asks at once; the second when that has failed, at 40 s; the others for themselves at 60 s.
    let all: Vec<_> = (0..6).map(|_| ask(&cache, Context::new())).collect();
    for task in all {
        assert!(task.await.unwrap().is_err());
    }
    let took = began.elapsed().as_secs();
    assert!((100..=101).contains(&took), "{took} s");
    assert_eq!(asked.load(SeqCst), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_asks_however_close_the_others_are() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let model = model_fn(move |_, _| {
        counts.fetch_add(1, SeqCst);
        async { Ok(whole()) }
    });
    let mut limits = AnswerLimits::default();
    limits.max_answers = 1 << 20;
    let cache = Arc::new(AnswerCache::new(model, "test", None, limits));
    const REQUESTS: usize = 20_000;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move {
                for index in 0..REQUESTS {
                    let asked = Arc::new(ChatRequest::new("m").with_user(index.to_string()));
                    let answer = cache.infer(&Context::new(), asked).await.unwrap();
                    assert_eq!(said(answer).await.unwrap(), "whole");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(asked.load(SeqCst), REQUESTS);
    assert_eq!(cache.stats().entries, REQUESTS as u64);
}
