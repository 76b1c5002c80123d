//! One endpoint's budget under all that draws on it at once: retries, hedges and the fallbacks of a router that come from elsewhere. The
//! layers are the real ones, on a paused clock; the worlds are seeded, and a seed that fails is named.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use loquat_core::{Answer, BoxFuture, ChatRequest, Context, Delivery, ErrorKind, Model, Result, Usage};
use loquat_schedule::{
    EndpointSchedule, Random, Schedule,
    hedge::HedgePolicy,
    retry::{BudgetPolicy, RetryPolicy},
};
use support::{Act, End, MS, context, error, request};
use tokio::time::{Instant, sleep};

const PERCENT: u64 = 20;
const PER_SECOND: u64 = 10;
/// Seconds that the budget looks back.
const WINDOW: u64 = 10;

/// An endpoint in changing weather that counts by the second how often it is asked.
struct Endpoint {
    born: Instant,
    random: Random,
    /// In percent, of each three seconds.
    failing: Vec<u32>,
    asked: Mutex<BTreeMap<u64, u64>>,
}

impl Endpoint {
    fn second(&self) -> u64 {
        self.born.elapsed().as_secs()
    }
}

impl Model for Endpoint {
    fn infer<'a>(&'a self, _: &'a Context, _: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        let second = self.second();
        *self.asked.lock().expect("no panic").entry(second).or_default() += 1;
        let weather = usize::try_from(second / 3).map_or(0, |third| self.failing[third % self.failing.len()]);
        let act = match self.random.below(100) {
            luck if luck < weather / 2 => Act::Fail(MS(1), error(ErrorKind::Connect, Delivery::NotSent)),
            luck if luck < weather => Act::Fail(MS(1), error(ErrorKind::Overloaded, Delivery::MaybeSent)),
            // Slow ones are what is hedged.
            luck if luck > 90 => Act::Answer(MS(400), 1, MS(1), End::Finished(Usage::default())),
            _ => Act::Answer(MS(10), 1, MS(1), End::Finished(Usage::default())),
        };
        Box::pin(act.play(()))
    }
}

/// What draws on the budget in a world.
#[derive(Clone, Copy)]
struct Draws {
    retries: bool,
    hedges: bool,
    fallbacks: bool,
}

/// Runs that world. Extra attempts in all, and the most that a window had of what it may have, in percent.
async fn run(seed: u64, draws: Draws) -> (u64, u64) {
    let random = Random::seeded(seed);
    // No waits: an attempt is in the second in which it was paid for.
    let retry = RetryPolicy::default().with_bases(MS(0), MS(0)).with_max_retries(2);
    let hedge = HedgePolicy::default().with_percentile(80, 5).with_generation();
    let schedule = Schedule::new()
        .with_breaker(None)
        .with_retry(draws.retries.then_some(retry))
        .with_hedge(draws.hedges.then_some(hedge))
        .with_budget(BudgetPolicy::default())
        .with_seed(seed);
    let layers: EndpointSchedule = schedule.for_endpoint();
    let failing = (0..8).map(|_| [0, 10, 60, 100][random.below(4) as usize]).collect();
    let endpoint = Arc::new(Endpoint {
        born: Instant::now(),
        random: Random::seeded(!seed),
        failing,
        asked: Mutex::default(),
    });
    let model = layers.around(Arc::clone(&endpoint));
    // Operations that begin at this endpoint, by the second; and how many come from another one all together.
    let firsts = Arc::<Mutex<BTreeMap<u64, u64>>>::default();
    let refused = Arc::new(AtomicUsize::new(0));
    let rate = 20 + random.below(80);
    let operations: Vec<_> = (0..24 * rate)
        .map(|_| {
            // So early in a second that all its attempts are in that one.
            let begins = MS(u64::from(1000 * random.below(24) + random.below(500)));
            let elsewhere = random.below(100) < 40;
            let (endpoint, model, layers) = (Arc::clone(&endpoint), Arc::clone(&model), layers.clone());
            let (firsts, refused) = (Arc::clone(&firsts), Arc::clone(&refused));
            tokio::spawn(async move {
                sleep(begins).await;
                if !elsewhere {
                    *firsts.lock().expect("no panic").entry(endpoint.second()).or_default() += 1;
                } else if !draws.fallbacks {
                    return;
                } else if !layers.budget().try_withdraw_fallback(Instant::now().into_std()) {
                    refused.fetch_add(1, SeqCst);
                    return;
                }
                if let Ok(answer) = model.infer(&context(), request()).await {
                    drop(answer.collect().await);
                }
            })
        })
        .collect();
    for operation in operations {
        operation.await.expect("no panic");
    }
    let (firsts, asked) = (firsts.lock().expect("no panic"), endpoint.asked.lock().expect("no panic"));
    let mut fullest = 0;
    for last in asked.keys().copied() {
        let window = last.saturating_sub(WINDOW - 1)..=last;
        let sum = |counts: &BTreeMap<u64, u64>| counts.range(window.clone()).map(|(_, n)| n).sum::<u64>();
        let (first, all) = (sum(&firsts), sum(&asked));
        let may = first * PERCENT / 100 + PER_SECOND * WINDOW;
        assert!(all - first <= may, "seed {seed}: {} extra to {first} until second {last}", all - first);
        fullest = fullest.max((all - first) * 100 / may);
    }
    (asked.values().sum::<u64>() - firsts.values().sum::<u64>(), fullest)
}

#[tokio::test(start_paused = true)]
async fn retries_hedges_and_fallbacks_together_keep_to_the_budget() {
    let only = |retries, hedges, fallbacks| Draws { retries, hedges, fallbacks };
    // That each of them draws on it at all.
    for draws in [only(true, false, false), only(false, true, false), only(false, false, true)] {
        let mut extra = 0;
        for seed in 0..3 {
            extra += run(seed, draws).await.0;
        }
        assert!(extra > 50, "{extra}");
    }
    let mut full = 0;
    for seed in 0..60 {
        full += u32::from(run(seed, only(true, true, true)).await.1 >= 95);
    }
    assert!(full > 30, "in most worlds the budget is what bounds them: {full} of 60");
}
