//! Hedging on a paused clock: off unless asked, late, paid for, and the loser is dropped.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use loquat_core::{Delivery, ErrorKind, Model, OwnedDelta, Usage};
use loquat_schedule::{
    hedge::{Hedge, HedgePolicy, Hedged},
    retry::{Budget, BudgetPolicy},
};
use support::{Act, End, Fake, MS, context, error, request, timed};

fn hedge(policy: HedgePolicy, budget: BudgetPolicy) -> Arc<Hedge> {
    Arc::new(Hedge::new(policy, Arc::new(Budget::new(budget, tokio::time::Instant::now().into_std()))))
}

fn eager() -> HedgePolicy {
    HedgePolicy::default().with_percentile(95, 20).with_generation()
}

/// Twenty attempts that take 20 ms to their first delta, then these.
fn after_twenty(acts: impl IntoIterator<Item = Act>) -> Arc<Fake> {
    Fake::new((0..20).map(|_| Act::quick()).chain(acts))
}

fn slow() -> Act {
    Act::Answer(MS(0), 1, MS(5000), End::Finished(Usage::default()))
}

#[tokio::test(start_paused = true)]
async fn a_generation_is_hedged_only_when_asked() {
    for (policy, asked, first_at) in
        [(eager(), 22, 40), (HedgePolicy::default().with_percentile(95, 20), 21, 5000)]
    {
        let fake = after_twenty([slow()]);
        let model = Hedged::new(fake.clone(), hedge(policy, BudgetPolicy::default()));
        for _ in 0..20 {
            model.infer(&context(), request()).await.expect("begun").collect().await.expect("whole");
        }
        let (took, answer) = timed(async {
            let mut answer = model.infer(&context(), request()).await.expect("begun");
            answer.next().await;
            answer
        })
        .await;
        assert_eq!((took, fake.asked()), (first_at, asked));
        assert_eq!(fake.open(), 1, "the loser is dropped");
        assert!(!answer.collect().await.expect("whole").text().is_empty());
    }
}

/// A server that says at once that an answer has begun, and has a token much later: nobody has begun by that.
#[tokio::test(start_paused = true)]
async fn a_start_is_no_first_token_and_is_not_lost() {
    let starts = |ms| Act::Announce(MS(ms), 1, MS(0), End::Finished(Usage::default()));
    let fake = Fake::new((0..20).map(|_| starts(20)).chain([starts(5000), starts(10)]));
    let model = Hedged::new(fake.clone(), hedge(eager(), BudgetPolicy::default()));
    for _ in 0..20 {
        drop(model.infer(&context(), request()).await.expect("begun"));
    }
    let (took, answer) = timed(model.infer(&context(), request())).await;
    assert_eq!((took, fake.asked()), (30, 22));
    let mut answer = answer.expect("begun");
    let mut seen = Vec::new();
    while let Some(delta) = answer.next().await {
        seen.push(delta.to_owned());
    }
    let text = OwnedDelta::Text { choice: 0, text: "word ".into() };
    assert_eq!(seen[..2], [OwnedDelta::Start { id: "a".into(), model: "m".into() }, text]);
    assert_eq!((seen.len(), fake.open()), (3, 0), "and how it ended");
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_hedges() {
    let fake = after_twenty((0..99).map(|_| slow()));
    let model = Hedged::new(fake.clone(), hedge(eager(), BudgetPolicy::new(0, 0)));
    for _ in 0..25 {
        drop(model.infer(&context(), request()).await.expect("begun"));
    }
    assert_eq!(fake.asked(), 25);
}

#[tokio::test(start_paused = true)]
async fn one_failure_leaves_the_other_and_two_give_the_first() {
    let fails = |ms, message: &'static str| {
        Act::Fail(
            MS(ms),
            loquat_core::Error::new(ErrorKind::Server, message).with_delivery(Delivery::MaybeSent),
        )
    };
    let run = |acts: [Act; 2]| async move {
        let fake = after_twenty(acts);
        let model = Hedged::new(fake, hedge(eager(), BudgetPolicy::default()));
        for _ in 0..20 {
            drop(model.infer(&context(), request()).await.expect("begun"));
        }
        timed(async { model.infer(&context(), request()).await.map(drop) }).await
    };
    assert_eq!(run([fails(100, "a"), slow()]).await, (5020, Ok(())));
    assert_eq!(run([slow(), fails(100, "b")]).await, (5000, Ok(())));
    let (took, failed) = run([fails(100, "a"), fails(10, "b")]).await;
    assert_eq!((took, failed.expect_err("both").message()), (100, "a"));
    // Whoever would go elsewhere with it must know that the second may have run.
    let refused = Act::Fail(MS(100), error(ErrorKind::Connect, Delivery::NotSent));
    let failed = run([refused, fails(10, "b")]).await.1.expect_err("both");
    assert_eq!((failed.kind(), failed.delivery()), (ErrorKind::Connect, Delivery::MaybeSent));
    let (took, failed) = run([fails(5, "a"), slow()]).await;
    assert_eq!((took, failed.is_err()), (5, true), "a failure is the retry's business");
    let broken =
        Act::Answer(MS(0), 0, MS(100), End::Failed(error(ErrorKind::Overloaded, Delivery::Committed)));
    assert!(
        run([broken, slow()]).await.1.is_ok(),
        "an answer that fails before its first delta has not begun"
    );
}

#[tokio::test(start_paused = true)]
async fn any_operation_can_be_hedged() {
    let hedge = hedge(HedgePolicy::default().with_percentile(95, 20), BudgetPolicy::default());
    let calls = AtomicUsize::new(0);
    let listing = || async {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(MS(if call == 20 { 800 } else { 30 })).await;
        Ok(call)
    };
    for _ in 0..20 {
        hedge.run(listing).await.expect("listed");
    }
    let (took, call) = timed(hedge.run(listing)).await;
    assert_eq!((took, call), (60, Ok(21)));
}
