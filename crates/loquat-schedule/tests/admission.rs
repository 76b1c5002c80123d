//! Admission on a paused clock: order, bounds, rates, and that whoever leaves leaves no trace.

mod support;

use std::{sync::Arc, time::Duration};

use loquat_core::{Delivery, Error, ErrorKind, History, Model, Stage, Usage};
use loquat_schedule::{
    Schedule,
    admission::{
        Admission, AdmissionPolicy, Admitted, Concurrency, Gradient, Permit, RateLimits, estimate_tokens,
    },
    limits::Limits,
    refusal::{QUEUE_FULL, QUEUE_TIMEOUT},
};
use support::{Act, End, Fake, MS, context, error, request, timed};
use tokio::sync::mpsc::unbounded_channel;

fn admission(policy: AdmissionPolicy) -> Arc<Admission> {
    Arc::new(Admission::new(policy, tokio::time::Instant::now().into_std()))
}

fn one_at_a_time() -> AdmissionPolicy {
    AdmissionPolicy::default().with_concurrency(Concurrency::Fixed(1))
}

/// Lets every task that can run do so.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns_and_deadlines_order_each() {
    let admission = admission(one_at_a_time());
    let held = admission.acquire(&context(), 0).await.expect("free");
    let (told, mut order) = unbounded_channel();
    for (name, tenant, seconds) in
        [("a2", "a", 9), ("a3", "a", 60), ("a1", "a", 5), ("b1", "b", 70), ("b2", "b", 80)]
    {
        let (admission, told) = (admission.clone(), told.clone());
        let context = context().with_tenant(tenant).with_timeout(Duration::from_secs(seconds));
        tokio::spawn(async move {
            let _permit = admission.acquire(&context, 0).await.expect("in time");
            told.send(name).expect("listening");
        });
    }
    settle().await;
    assert_eq!((admission.waiting(), admission.in_flight()), (5, 1));
    drop((held, told));
    let mut seen = Vec::new();
    while let Some(name) = order.recv().await {
        seen.push(name);
    }
    assert_eq!(seen, ["a1", "b1", "a2", "b2", "a3"]);
    assert_eq!((admission.waiting(), admission.in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_length_and_time() {
    let admission = admission(one_at_a_time().with_queue(2, MS(3000)));
    let _held = admission.acquire(&context(), 0).await.expect("free");
    let spawn = |tenant: &'static str, timeout| {
        let (admission, context) = (admission.clone(), context().with_tenant(tenant).with_timeout(timeout));
        tokio::spawn(async move { timed(async { admission.acquire(&context, 0).await.map(drop) }).await })
    };
    let (early, late) = (spawn("a", MS(1000)), spawn("a", MS(60_000)));
    settle().await;
    let refused = admission.acquire(&context().with_tenant("a"), 0).await.expect_err("full");
    assert_eq!((refused.code(), refused.delivery()), (Some(QUEUE_FULL), Delivery::NotSent));

    let newcomer = spawn("b", MS(60_000));
    settle().await;
    let (took, displaced) = late.await.expect("no panic");
    assert_eq!((took, displaced.expect_err("gave way").code()), (0, Some(QUEUE_FULL)));
    let (took, expired) = early.await.expect("no panic");
    assert_eq!((took, expired.expect_err("its deadline").code()), (1000, Some(QUEUE_TIMEOUT)));
    let (took, waited) = newcomer.await.expect("no panic");
    assert_eq!((took, waited.expect_err("the limit").kind()), (3000, ErrorKind::Timeout));
    assert_eq!(admission.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_leaves_no_trace() {
    let admission = admission(one_at_a_time());
    let held = admission.acquire(&context(), 0).await.expect("free");
    // Dropped while waiting.
    assert!(tokio::time::timeout(MS(10), admission.acquire(&context(), 0)).await.is_err());
    assert_eq!(admission.waiting(), 0);
    // Cancelled while waiting.
    let cancelled = context();
    let token = cancelled.cancellation().clone();
    let other = admission.clone();
    let task = tokio::spawn(async move { other.acquire(&cancelled, 0).await.map(drop) });
    settle().await;
    assert_eq!(admission.waiting(), 1);
    token.cancel();
    assert_eq!(task.await.expect("no panic").expect_err("cancelled").kind(), ErrorKind::Cancelled);
    assert_eq!(admission.waiting(), 0);
    // Dropped with its permit on the way: the next one gets it.
    let mine = context();
    let mut first = Box::pin(admission.acquire(&mine, 0));
    assert!(futures_poll(first.as_mut()).await.is_none());
    let other = admission.clone();
    let second = tokio::spawn(async move { other.acquire(&context(), 0).await.map(drop) });
    settle().await;
    drop(held);
    assert_eq!((admission.waiting(), admission.in_flight()), (1, 1), "granted, not looked at");
    drop(first);
    second.await.expect("no panic").expect("its turn");
    assert_eq!((admission.waiting(), admission.in_flight()), (0, 0));
}

/// One poll.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn rates_are_reserved_and_settled() {
    let rates = RateLimits::default().with_tokens_per_minute(60_000).with_requests_per_minute(6000);
    let admission =
        admission(AdmissionPolicy::default().with_rates(rates).with_queue(100, Duration::from_secs(60)));
    let acquire = |tokens| {
        let admission = admission.clone();
        async move { timed(async { admission.acquire(&context(), tokens).await.expect("in time") }).await }
    };
    // A burst of ten seconds' worth, then a thousand per second.
    let (took, mut first): (u64, Permit) = acquire(10_000).await;
    assert_eq!(took, 0);
    let (took, _second) = acquire(2000).await;
    assert_eq!(took, 2000);
    first.used(4000);
    drop(first);
    let (took, third) = acquire(6000).await;
    assert_eq!(took, 0, "what was reserved too much is there again");
    // A settlement while somebody waits shortens the wait.
    let waiting = tokio::spawn(acquire(8000));
    settle().await;
    tokio::time::sleep(MS(1000)).await;
    let mut third = third;
    third.unsent();
    drop(third);
    assert_eq!(waiting.await.expect("no panic").0, 2000);
    // More than the bucket holds goes when it is full.
    let (took, _) = acquire(50_000).await;
    assert_eq!(took, 10_000);
}

#[tokio::test(start_paused = true)]
async fn the_permit_lasts_as_long_as_the_answer() {
    let fake = Fake::new([
        Act::quick(),
        Act::Answer(MS(0), 9, MS(100), End::Silence),
        Act::Fail(MS(0), error(ErrorKind::Server, Delivery::MaybeSent)),
    ]);
    let admission = admission(one_at_a_time());
    let model = Admitted::new(fake.clone(), admission.clone());
    let mut answer = model.infer(&context(), request()).await.expect("begun");
    assert_eq!(admission.in_flight(), 1);
    while answer.next().await.is_some() {}
    assert_eq!(admission.in_flight(), 0, "at the ending, though the answer is held");
    let answer = model.infer(&context(), request()).await.expect("begun");
    assert_eq!(admission.in_flight(), 1);
    drop(answer);
    assert_eq!(admission.in_flight(), 0);
    model.infer(&context(), request()).await.expect_err("failed");
    assert_eq!(admission.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn usage_settles_what_was_estimated() {
    let mut usage = Usage::default();
    (usage.input_tokens, usage.output_tokens) = (10, 20);
    let fake = Fake::new((0..9).map(|_| Act::Answer(MS(0), 1, MS(0), End::Finished(usage))));
    let rates = RateLimits::default().with_tokens_per_minute(6144);
    let admission = admission(AdmissionPolicy::default().with_rates(rates));
    let model = Admitted::new(fake, admission);
    assert_eq!(estimate_tokens(&request()), 1024);
    for _ in 0..9 {
        // Each reserves all that there is, and gives nearly all of it back.
        let whole = model.infer(&context(), request()).await.expect("begun").collect().await;
        assert_eq!(whole.expect("whole").usage, usage);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_given_back_and_what_broke_off_is_not() {
    let overloaded = |delivery| error(ErrorKind::Overloaded, delivery);
    let refused = Act::Fail(MS(0), overloaded(Delivery::MaybeSent));
    let broken = Act::Answer(MS(0), 1, MS(0), End::Failed(overloaded(Delivery::Committed)));
    for (act, code) in [(refused, None), (broken, Some(QUEUE_TIMEOUT))] {
        let rates = RateLimits::default().with_tokens_per_minute(6144);
        let admission = admission(AdmissionPolicy::default().with_rates(rates));
        let model = Admitted::new(Fake::new([act]), admission);
        // It reserves all that there is.
        if let Ok(answer) = model.infer(&context(), request()).await {
            answer.collect().await.expect_err("breaks off");
        }
        let next = model.infer(&context(), request()).await.map(drop);
        assert_eq!(next.as_ref().err().and_then(Error::code), code, "{next:?}");
    }
}

/// A caller's own deadline, before the answer or in the middle of it, says nothing of what the endpoint bears; nor does a wait for a
/// place among this program's connections. An attempt's limit does.
#[tokio::test(start_paused = true)]
async fn callers_in_a_hurry_take_no_room_from_the_others() {
    let adaptive = || {
        let gradient = Gradient::default().with_range(16, 1, 32);
        admission(AdmissionPolicy::default().with_concurrency(Concurrency::Adaptive(gradient)))
    };
    let timeout = |stage| {
        let history = History::new("http://endpoint", stage, MS(50));
        error(ErrorKind::Timeout, Delivery::MaybeSent).with_history(history)
    };
    let before = |stage| Act::Fail(MS(50), timeout(stage));
    let amid = || Act::Answer(MS(10), 1, MS(40), End::Failed(timeout(Stage::Body)));
    for (act, deadline, shrinks) in [
        (before(Stage::Head), Some(MS(50)), false),
        (amid(), Some(MS(50)), false),
        (before(Stage::Pool), None, false),
        (before(Stage::Head), None, true),
        (amid(), None, true),
    ] {
        let admission = adaptive();
        let model = Admitted::new(Fake::new((0..30).map(|_| act.clone())), admission.clone());
        for _ in 0..30 {
            let context = deadline.map_or_else(context, |deadline| context().with_timeout(deadline));
            if let Ok(answer) = model.infer(&context, request()).await {
                assert!(answer.collect().await.is_err());
            }
        }
        assert_eq!(admission.limit() < 16, shrinks, "{act:?} {deadline:?}: {}", admission.limit());
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_schedule_the_shorter_limit_on_the_queue_holds() {
    for (queue, max_wait, took) in [(500, 3000, 500), (3000, 400, 400)] {
        let endpoint = Schedule::new()
            .with_retry(None)
            .with_limits(Limits::default().with_queue(MS(queue)))
            .with_admission(one_at_a_time().with_queue(9, MS(max_wait)))
            .for_endpoint();
        let model = endpoint.around(Fake::new([Act::Answer(MS(0), 1, MS(0), End::Silence)]));
        let held = model.infer(&context(), request()).await.expect("begun");
        let (waited, refused) = timed(model.infer(&context(), request())).await;
        assert_eq!((waited, refused.expect_err("no room").code()), (took, Some(QUEUE_TIMEOUT)));
        drop(held);
    }
}
