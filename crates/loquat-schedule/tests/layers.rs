//! The layers around a scripted model, on a paused clock: what the arithmetic decides is what happens.

mod support;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delivery, Ending, Error, ErrorKind, History, Model, Result,
    RetryHint, Stage, Standing, TraceContext, Usage, test_util::seed_ids,
};
use loquat_schedule::{
    Random, Schedule,
    breaker::{Breaker, BreakerPolicy, Guarded},
    limits::{Limited, Limits, WithDeadline},
    refusal::{self, is_local},
    retry::{Budget, BudgetPolicy, RetryPolicy, Retrying},
};
use support::{Act, End, Fake, MS, context, error, request, timed};

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

fn retrying<M>(model: M, policy: RetryPolicy) -> Retrying<M> {
    let budget = Arc::new(Budget::new(BudgetPolicy::default(), now()));
    Retrying::new(model, policy.with_jitter_percent(0), budget).with_random(Random::seeded(1))
}

fn busy() -> Error {
    error(ErrorKind::Overloaded, Delivery::MaybeSent).with_status(529)
}

#[tokio::test(start_paused = true)]
async fn two_retries_after_one_and_two_seconds() {
    let fake = Fake::new([Act::Fail(MS(0), busy()), Act::Fail(MS(0), busy())]);
    let (took, answer) =
        timed(retrying(fake.clone(), RetryPolicy::default()).infer(&context(), request())).await;
    assert_eq!((took, fake.asked()), (3010, 3));
    assert_eq!(answer.expect("third time").collect().await.expect("whole").text(), "word word word ");

    let fake = Fake::new((0..9).map(|_| Act::Fail(MS(0), busy())));
    let failed = retrying(fake.clone(), RetryPolicy::default()).infer(&context(), request()).await;
    assert_eq!(failed.expect_err("spent").to_string(), "as told (after 3 attempts) (HTTP status 529)");
    assert_eq!(fake.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn where_another_endpoint_can_be_asked_it_is_not_waited_for_this_one() {
    let fake = Fake::new([Act::Fail(MS(0), busy()), Act::Fail(MS(0), busy())]);
    let mut context = context();
    context.set_alternative(true);
    let (took, answer) =
        timed(retrying(fake.clone(), RetryPolicy::default()).infer(&context, request())).await;
    assert_eq!((took, fake.asked()), (0, 1));
    assert_eq!(
        answer.expect_err("another one's turn").to_string(),
        "as told (not tried again: another endpoint can be asked before a wait of 1.00 s is over) (HTTP status 529)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_fits_is_waited_for_and_one_that_does_not_fails_now() {
    let hinted = |s| busy().with_retry_hint(RetryHint::after(Duration::from_secs(s)));
    let context = context().with_timeout(Duration::from_secs(10));
    let fake = Fake::new([Act::Fail(MS(0), hinted(7))]);
    let (took, _) = timed(retrying(fake, RetryPolicy::default()).infer(&context, request())).await;
    assert_eq!(took, 7010);
    let fake = Fake::new([Act::Fail(MS(0), hinted(8))]);
    let (took, answer) = timed(retrying(fake, RetryPolicy::default()).infer(&context, request())).await;
    let failed = answer.expect_err("no time");
    assert_eq!((took, failed.retry_hint().after), (0, Some(Duration::from_secs(8))));
    assert!(failed.message().contains("not tried again"), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_sent_is_sent_again_only_with_a_key_where_that_counts() {
    let lost = || Fake::new([Act::Fail(MS(5), error(ErrorKind::Connection, Delivery::MaybeSent))]);
    let fake = lost();
    let failed = retrying(fake.clone(), RetryPolicy::default()).infer(&context(), request()).await;
    assert_eq!(failed.expect_err("lost").kind(), ErrorKind::Connection);
    assert_eq!(fake.keys(), [None]);

    let fake = lost();
    let model = retrying(fake.clone(), RetryPolicy::default().with_deduplication());
    drop(model.infer(&context(), request()).await.expect("repeated"));
    let keys = fake.keys();
    assert!(keys.len() == 2 && keys[0] == keys[1] && keys[0].is_some(), "{keys:?}");
    drop(model.infer(&context().with_idempotency_key("mine"), request()).await);
    assert_eq!(fake.keys()[2].as_deref(), Some("mine"));
    drop(model.infer(&context(), request()).await);
    assert_ne!(fake.keys()[3], keys[0], "a key per operation");
}

/// Of forked processes each draws the ids of traces that the others draw.
#[tokio::test(start_paused = true)]
async fn a_key_is_not_drawn_as_the_ids_of_traces_are() {
    let draw = async || {
        seed_ids(7);
        let fake = Fake::new([]);
        drop(
            retrying(fake.clone(), RetryPolicy::default().with_deduplication())
                .infer(&context(), request())
                .await,
        );
        (fake.keys().pop().flatten().expect("a key"), TraceContext::random())
    };
    let [parent, child] = [draw().await, draw().await];
    assert_eq!(parent.1, child.1, "the same ids");
    assert_ne!(parent.0, child.0);
}

/// At an endpoint that deduplicates, the first attempt is lost on the way back and the second does not get there: whoever reads the
/// error must not take it for a request that nobody has.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_may_have_run_is_not_forgotten_for_a_later_one_that_has_not() {
    let lost = Act::Fail(MS(5), error(ErrorKind::Connection, Delivery::MaybeSent));
    for (last, kind) in [
        (error(ErrorKind::Connect, Delivery::NotSent), ErrorKind::Connect),
        (busy(), ErrorKind::Connection),
        (error(ErrorKind::RateLimited, Delivery::MaybeSent).with_status(429), ErrorKind::Connection),
    ] {
        let fake = Fake::new([lost.clone(), Act::Fail(MS(5), last.clone()), Act::Fail(MS(5), last)]);
        let model = retrying(fake.clone(), RetryPolicy::default().with_deduplication());
        let failed = model.infer(&context(), request()).await.expect_err("three failures");
        assert_eq!((failed.kind(), failed.delivery(), fake.asked()), (kind, Delivery::MaybeSent, 3));
        assert!(!failed.is_retryable(), "{failed}");
    }

    let fake = Fake::new([lost]);
    let model = retrying(fake.clone(), RetryPolicy::default().with_deduplication());
    let cancelled = context();
    let token = cancelled.cancellation().clone();
    tokio::spawn(async move {
        tokio::time::sleep(MS(300)).await;
        token.cancel();
    });
    let failed = model.infer(&cancelled, request()).await.expect_err("cancelled in the wait");
    assert_eq!((failed.kind(), failed.delivery()), (ErrorKind::Cancelled, Delivery::MaybeSent));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_begun_is_never_replaced() {
    let fake = Fake::new([Act::Answer(MS(0), 1, MS(0), End::Failed(busy()))]);
    let answer = retrying(fake.clone(), RetryPolicy::default()).infer(&context(), request()).await;
    let failed = answer.expect("begun").collect().await.expect_err("broken");
    assert_eq!((failed.kind(), fake.asked()), (ErrorKind::Overloaded, 1));
    assert!(failed.partial().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_503_adds_a_fifth() {
    let busy = error(ErrorKind::Overloaded, Delivery::MaybeSent).with_status(503);
    let fake = Fake::new((0..10_000).map(|_| Act::Fail(MS(0), busy.clone())));
    let budget = Arc::new(Budget::new(BudgetPolicy::new(20, 0), now()));
    let model = Retrying::new(fake.clone(), RetryPolicy::default(), budget);
    for _ in 0..1000 {
        drop(model.infer(&context(), request()).await);
    }
    assert!(fake.asked() > 1150 && fake.asked() <= 1200, "{}", fake.asked());
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_a_wait_at_once() {
    let fake = Fake::new([Act::Fail(MS(0), busy())]);
    let context = context();
    let token = context.cancellation().clone();
    tokio::spawn(async move {
        tokio::time::sleep(MS(300)).await;
        token.cancel();
    });
    let (took, answer) =
        timed(retrying(fake.clone(), RetryPolicy::default()).infer(&context, request())).await;
    assert_eq!((took, answer.expect_err("cancelled").kind()), (300, ErrorKind::Cancelled));
    assert_eq!(fake.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn timeouts_open_the_breaker_and_a_cancelled_probe_does_not_keep_it_so() {
    let fake = Fake::new([Act::Hang, Act::Hang, Act::Answer(MS(10), 0, MS(0), End::Silence), Act::Hang]);
    let limited = Limited::new(fake.clone(), Limits::default().with_first_token(MS(1000)));
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default(), now()));
    let model = Guarded::new(limited, breaker.clone());
    for _ in 0..2 {
        let failed = model.infer(&context(), request()).await.expect_err("no head");
        assert_eq!(failed.kind(), ErrorKind::Timeout);
    }
    let silent = model.infer(&context(), request()).await.expect("a head, then silence");
    assert_eq!(silent.collect().await.expect_err("no token").kind(), ErrorKind::Timeout);

    let refused = model.infer(&context(), request()).await.expect_err("open");
    assert_eq!(refused.code(), Some(refusal::BREAKER_OPEN));
    assert!(is_local(&refused) && refused.delivery() == Delivery::NotSent);
    assert_eq!(refused.retry_hint().after, Some(Duration::from_secs(5)));
    assert_eq!(fake.asked(), 3);

    tokio::time::sleep(Duration::from_secs(5)).await;
    // The probe is cancelled before anything came of it.
    assert!(tokio::time::timeout(MS(100), model.infer(&context(), request())).await.is_err());
    assert_eq!(breaker.availability().standing(now()), Standing::ProbeDue);
    let mut answer = model.infer(&context(), request()).await.expect("the next probe");
    assert!(model.infer(&context(), request()).await.is_err(), "one probe at a time");
    answer.next().await;
    assert_eq!(breaker.availability().standing(now()), Standing::Available);
    assert_eq!(fake.asked(), 5);
    drop(answer);
    assert_eq!(fake.open(), 0);
}

/// Whose deadline is below what the endpoint takes, or cuts its answers, is told so, and shuts it for nobody else.
#[tokio::test(start_paused = true)]
async fn a_caller_in_a_hurry_does_not_open_the_breaker() {
    let slow = Act::Answer(MS(2_000), 100, MS(100), End::Finished(Usage::default()));
    let fake = Fake::new((0..64).map(|_| slow.clone()).chain((0..3).map(|_| Act::Hang)));
    let limited = Limited::new(fake.clone(), Limits::default());
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default(), now()));
    let model = Guarded::new(limited, breaker.clone());
    for _ in 0..20 {
        let answer = model.infer(&context(), request()).await.expect("patience");
        answer.collect().await.expect("whole");
    }
    let within = |millis| context().with_timeout(MS(millis));
    for _ in 0..4 {
        // Three timeouts, and nothing begins between them.
        let hasty = model.infer(&within(3_900), request()).await;
        for _ in 0..3 {
            let early = model.infer(&within(900), request()).await;
            assert_eq!(early.expect_err("too early").kind(), ErrorKind::Timeout);
        }
        let cut = hasty.expect("a head in time").collect().await.expect_err("cut");
        assert_eq!(cut.kind(), ErrorKind::Truncated);
        assert_eq!(breaker.availability().standing(now()), Standing::Available);
    }
    while fake.asked() < 64 {
        drop(model.infer(&context(), request()).await);
    }
    for _ in 0..3 {
        assert_eq!(breaker.availability().standing(now()), Standing::Available);
        let fair = model.infer(&within(4_200), request()).await;
        assert_eq!(fair.expect_err("it hangs").kind(), ErrorKind::Timeout);
    }
    assert!(!breaker.availability().standing(now()).may_try(), "twice its median was time enough");
}

/// Nobody asked the endpoint: what was waited for was a place among this program's own connections.
#[tokio::test(start_paused = true)]
async fn a_wait_for_a_place_of_our_own_does_not_open_the_breaker() {
    let failed = |stage| {
        let timeout = error(ErrorKind::Timeout, Delivery::NotSent);
        Act::Fail(MS(20_000), timeout.with_history(History::new("http://endpoint", stage, MS(20_000))))
    };
    for (stage, may_try) in [(Stage::Pool, true), (Stage::Connecting, false)] {
        let breaker = Arc::new(Breaker::new(BreakerPolicy::default(), now()));
        let model = Guarded::new(Fake::new((0..3).map(|_| failed(stage))), breaker.clone());
        for _ in 0..3 {
            assert!(model.infer(&context(), request()).await.is_err());
        }
        assert_eq!(breaker.availability().standing(now()).may_try(), may_try, "{stage}");
    }
}

/// What a listing takes says nothing of how long an answer may take to begin.
#[tokio::test(start_paused = true)]
async fn quick_calls_do_not_make_a_hasty_answer_a_fair_one() {
    let endpoint = Schedule::new().with_retry(None).with_limits(Limits::default()).for_endpoint();
    let slow = Act::Answer(MS(2_000), 1, MS(0), End::Finished(Usage::default()));
    let model = endpoint.around(Fake::new((0..30).map(|_| slow.clone())));
    for _ in 0..20 {
        model.infer(&context(), request()).await.expect("patience").collect().await.expect("whole");
    }
    let patient = context();
    for _ in 0..40 {
        let listed = endpoint.call(&patient, true, || async {
            tokio::time::sleep(MS(5)).await;
            Ok(())
        });
        listed.await.expect("listed");
    }
    for _ in 0..3 {
        assert!(model.infer(&context().with_timeout(MS(900)), request()).await.is_err());
    }
    assert_eq!(endpoint.availability().expect("a breaker").standing(now()), Standing::Available);
}

/// `response.created` at once, and then nothing: what such a server says first is no sign of health.
#[tokio::test(start_paused = true)]
async fn a_start_without_a_token_is_no_answer_to_the_breaker() {
    let stalled = Act::Announce(MS(0), 0, MS(0), End::Silence);
    let fake =
        Fake::new((0..4).map(|_| stalled.clone()).chain([Act::Announce(MS(10), 1, MS(0), End::Silence)]));
    let limited = Limited::new(fake.clone(), Limits::default().with_first_token(MS(1000)));
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default(), now()));
    let model = Guarded::new(limited, breaker.clone());
    for _ in 0..3 {
        let stalled = model.infer(&context(), request()).await.expect("a start, then silence");
        assert_eq!(failure(stalled).await.kind(), ErrorKind::Timeout);
    }
    let ejected = |seconds| Standing::Ejected { until: now() + Duration::from_secs(seconds) };
    assert_eq!(breaker.availability().standing(now()), ejected(5));

    tokio::time::sleep(Duration::from_secs(5)).await;
    let probe = model.infer(&context(), request()).await.expect("a start, then silence");
    assert_eq!(failure(probe).await.kind(), ErrorKind::Timeout);
    assert_eq!(breaker.availability().standing(now()), ejected(10), "nor is it one of a probe");

    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut probe = model.infer(&context(), request()).await.expect("a start, then a token");
    probe.next().await;
    assert!(matches!(breaker.availability().standing(now()), Standing::Probing { .. }));
    probe.next().await;
    assert_eq!(breaker.availability().standing(now()), Standing::Available);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_for_the_breaker_when_there_is_time() {
    let fake = Fake::new([Act::Hang, Act::Hang, Act::Hang]);
    let limited = Limited::new(fake.clone(), Limits::default().with_first_token(MS(1000)));
    let guarded = Guarded::new(
        limited,
        Arc::new(Breaker::new(BreakerPolicy::default(), tokio::time::Instant::now().into())),
    );
    for _ in 0..3 {
        guarded.infer(&context(), request()).await.expect_err("timeout");
    }
    let (took, answer) = timed(retrying(guarded, RetryPolicy::default()).infer(&context(), request())).await;
    assert!(answer.is_ok());
    assert_eq!(took, 5010);
}

/// A model that notes when it is asked.
struct Noted<M> {
    inner: M,
    asked_at: Mutex<Vec<std::time::Instant>>,
}

impl<M: Model> Model for Noted<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        self.asked_at.lock().expect("no panic").push(now());
        self.inner.infer(context, request)
    }
}

/// A crowd before an open breaker: one of it is the probe, whose first token takes its time. The others neither come at the same
/// instant, nor give up before the verdict, nor are paid for as retries.
#[tokio::test(start_paused = true)]
async fn a_crowd_at_an_open_breaker_waits_spread_out_for_the_probe() {
    const CALLERS: usize = 200;
    let slow = Act::Answer(MS(20_000), 1, MS(0), End::Finished(Usage::default()));
    let fake = Fake::new([Act::Hang, Act::Hang, Act::Hang, slow]);
    let limited = Limited::new(fake.clone(), Limits::default().with_first_token(MS(30_000)));
    let guarded = Guarded::new(limited, Arc::new(Breaker::new(BreakerPolicy::default(), now())));
    let noted = Arc::new(Noted { inner: guarded, asked_at: Mutex::default() });
    for _ in 0..3 {
        noted.infer(&context(), request()).await.expect_err("timeout");
    }
    noted.asked_at.lock().expect("no panic").clear();

    let budget = Arc::new(Budget::new(BudgetPolicy::new(0, 0), now()));
    let model = Retrying::new(noted.clone(), RetryPolicy::default(), budget).with_random(Random::seeded(1));
    let (model, opened) = (Arc::new(model), now());
    let ask =
        |model: Arc<Retrying<_>>| async move { model.infer(&context(), request()).await?.collect().await };
    let crowd: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(ask(model.clone()))).collect();
    for caller in crowd {
        caller.await.expect("no panic").expect("an answer");
    }
    let asked_at = noted.asked_at.lock().expect("no panic").clone();
    let after = |at: &std::time::Instant| at.saturating_duration_since(opened);
    let again: Vec<_> = asked_at.iter().map(after).filter(|after| !after.is_zero()).collect();
    let mut at = HashMap::new();
    again.iter().for_each(|after| *at.entry(after.as_millis()).or_insert(0) += 1);
    assert!(at.values().all(|&together| together <= CALLERS / 10), "{at:?}");
    assert!(again.iter().min() >= Some(&MS(5000)), "nobody before its time");
    // The probe begins within a second of the five, and the others look again within 1.2 s of its verdict.
    assert!(again.iter().max() <= Some(&MS(5000 + 1000 + 20_000 + 1200)), "{:?}", again.iter().max());
    assert_eq!(fake.asked(), 3 + CALLERS);
}

#[tokio::test(start_paused = true)]
async fn each_limit_says_its_name() {
    for (act, limits, at, said) in [
        (Act::Hang, Limits::default(), 60_000, "first-byte"),
        (Act::Answer(MS(1000), 0, MS(0), End::Silence), Limits::default(), 60_000, "first-token"),
        (Act::Answer(MS(1000), 2, MS(1000), End::Silence), Limits::default(), 33_000, "idle"),
        (Act::Answer(MS(0), 9999, MS(29_000), End::Cut), Limits::default(), 89_000, "bytes of content"),
        (Act::Answer(MS(0), 9999, MS(1000), End::Cut), Limits::default(), 600_000, "total"),
        (Act::Answer(MS(0), 99, MS(100), End::Cut), Limits::default().with_total(MS(800)), 800, "total"),
    ] {
        let fake = Fake::new([act.clone()]);
        let model = Limited::new(fake.clone(), limits);
        let run = async {
            match model.infer(&context(), request()).await {
                Ok(answer) => failure(answer).await,
                Err(error) => error,
            }
        };
        let (took, failed) = timed(run).await;
        assert_eq!(failed.kind(), ErrorKind::Timeout, "{act:?}");
        assert!(failed.message().contains(said), "{failed} instead of {said}");
        assert_eq!(took, at, "{said}");
        assert_eq!(fake.open(), 0, "given up at once");
    }
}

/// Pulls to the end, and gives what it failed of.
async fn failure(mut answer: Answer) -> Error {
    while answer.next().await.is_some() {}
    match answer.ending().cloned() {
        Some(Ending::Truncated { cause: Some(cause) }) => cause,
        Some(Ending::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_spans_retries() {
    let fake = Fake::new((0..9).map(|_| Act::Fail(MS(300), busy())));
    let model = WithDeadline::new(retrying(fake.clone(), RetryPolicy::default()), MS(2500));
    let (took, answer) = timed(model.infer(&context(), request())).await;
    let failed = answer.expect_err("busy");
    // 0.3 s, a wait of 1 s, 0.3 s; a wait of 2 s does not fit into 70 % of 2.5 s.
    assert_eq!((took, fake.asked()), (1600, 2));
    assert!(failed.message().contains("2.00 s does not fit"), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn usage_and_meta_pass_through_all_layers() {
    let usage = Usage::default();
    let fake = Fake::new([Act::Answer(MS(0), 2, MS(1), End::Finished(usage))]);
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default(), now()));
    let model: Arc<dyn Model> = Arc::new(WithDeadline::new(
        retrying(Guarded::new(Limited::new(fake, Limits::default()), breaker), RetryPolicy::default()),
        Duration::from_secs(60),
    ));
    let whole = model.infer(&context(), request()).await.expect("begun").collect().await.expect("whole");
    assert_eq!((whole.text().as_str(), whole.usage), ("word word ", usage));
}
