//! A seeded simulation: many operations over three endpoints with weather, through all layers and a failover, on a
//! paused clock. Nothing is mocked but the servers and time; every seed is one world, and replays alike.
//!
//! `LOQUAT_SIM_SEEDS=50000 cargo test --release -p loquat-schedule --test simulation` runs more worlds,
//! `LOQUAT_SIM_SEED=7` one.

mod support;

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delivery, Ending, Error, ErrorKind, Model, Result, RetryHint,
    Standing, Usage,
};
use loquat_schedule::{
    EndpointSchedule, Random, Schedule,
    admission::{AdmissionPolicy, Concurrency, Gradient, RateLimits},
    limits::Limits,
    retry::{BudgetPolicy, RetryPolicy},
};
use support::{Act, End, MS, context};
use tokio::time::{Instant, sleep, timeout};

const ENDPOINTS: usize = 3;
const OPERATIONS: u32 = 60;
const MAX_RETRIES: u32 = 2;
/// The weather is bad until then.
const HEALED: Duration = Duration::from_secs(90);
/// Percent and floor per second: tight enough to be met.
const BUDGET: (u32, u32) = (20, 1);

/// What an endpoint does to attempts for a while.
#[derive(Debug, Clone, Copy)]
enum Weather {
    Good,
    Slow,
    Refuses,
    Hangs,
    Busy,
    Limits,
    Fails,
    Resets,
    Silent,
    Cuts,
    Mixed,
}

const WEATHERS: [Weather; 11] = [
    Weather::Good,
    Weather::Slow,
    Weather::Refuses,
    Weather::Hangs,
    Weather::Busy,
    Weather::Limits,
    Weather::Fails,
    Weather::Resets,
    Weather::Silent,
    Weather::Cuts,
    Weather::Mixed,
];

/// A server: what it did, and what it counted.
struct Server {
    random: Random,
    born: Instant,
    /// The weather by spells of ten seconds.
    spells: Vec<Weather>,
    deduplicates: bool,
    limit: Option<u32>,
    open: Arc<AtomicU32>,
    attempts: AtomicU32,
    /// How often it may have run each operation, and by which keys.
    ran: Mutex<HashMap<String, Vec<Option<String>>>>,
    /// Attempts by operation.
    asked: Mutex<HashMap<String, u32>>,
}

impl Server {
    fn act(&self) -> Act {
        let at = self.born.elapsed();
        let mut weather = match usize::try_from(at.as_secs() / 10) {
            Ok(spell) if at < HEALED => self.spells[spell % self.spells.len()],
            _ => Weather::Good,
        };
        if matches!(weather, Weather::Mixed) {
            weather = WEATHERS[self.random.below(10) as usize];
        }
        let ms = |bound| MS(u64::from(self.random.below(bound)));
        let fail = |kind, delivery, status| {
            let error = Error::new(kind, "weather").with_delivery(delivery);
            Act::Fail(ms(200), if status == 0 { error } else { error.with_status(status) })
        };
        let hinted = |act| match (act, self.random.below(3)) {
            (Act::Fail(after, error), 0) => {
                let hint = RetryHint::after(ms(20_000));
                Act::Fail(after, error.with_retry_hint(hint))
            }
            (act, _) => act,
        };
        let whole = || {
            let mut usage = Usage::default();
            (usage.input_tokens, usage.output_tokens) = (100, self.random.below(2000).into());
            End::Finished(usage)
        };
        match weather {
            Weather::Good | Weather::Mixed => Act::Answer(ms(300), self.random.below(20), ms(100), whole()),
            Weather::Slow => Act::Answer(ms(9000), self.random.below(20), ms(3000), whole()),
            Weather::Refuses => fail(ErrorKind::Connect, Delivery::NotSent, 0),
            Weather::Hangs => Act::Hang,
            Weather::Busy => hinted(fail(ErrorKind::Overloaded, Delivery::MaybeSent, 503)),
            Weather::Limits => hinted(fail(ErrorKind::RateLimited, Delivery::MaybeSent, 429)),
            Weather::Fails => fail(ErrorKind::Server, Delivery::MaybeSent, 500),
            Weather::Resets => fail(ErrorKind::Connection, Delivery::MaybeSent, 0),
            Weather::Silent if self.random.below(2) == 0 => Act::Announce(MS(0), 0, MS(0), End::Silence),
            Weather::Silent => Act::Answer(ms(300), self.random.below(3), ms(100), End::Silence),
            Weather::Cuts => Act::Answer(ms(300), self.random.below(5), ms(100), End::Cut),
        }
    }
}

/// Whether a server that does this may have run the request.
fn may_have_run(act: &Act) -> bool {
    match act {
        Act::Fail(_, error) => {
            error.delivery() != Delivery::NotSent
                && !matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::RateLimited)
        }
        Act::Hang | Act::Answer(..) | Act::Announce(..) => true,
    }
}

/// Counts an attempt as open while it lasts.
struct Open(Arc<AtomicU32>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Model for Server {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        let guard = Open(self.open.clone());
        if let Some(limit) = self.limit {
            assert!(open <= limit, "{open} attempts at once where {limit} may be");
        }
        self.attempts.fetch_add(1, Ordering::SeqCst);
        *self.asked.lock().expect("no panic").entry(request.model.clone()).or_default() += 1;
        let act = self.act();
        if may_have_run(&act) {
            let key = context.idempotency_key().map(str::to_owned);
            self.ran.lock().expect("no panic").entry(request.model.clone()).or_default().push(key);
        }
        Box::pin(act.play(guard))
    }
}

/// Tries the endpoints in turn, as a router would: it reads their words, and pays for each fallback.
struct Failover {
    endpoints: Vec<(EndpointSchedule, Arc<dyn Model>)>,
    /// Operations that began at each endpoint.
    began: [AtomicU32; ENDPOINTS],
}

impl Model for Failover {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            let mut last = None;
            for ((endpoint, model), began) in self.endpoints.iter().zip(&self.began) {
                let now = Instant::now().into_std();
                let may_try = endpoint.availability().is_none_or(|word| word.standing(now).may_try());
                if !may_try || last.is_some() && !endpoint.budget().try_withdraw_fallback(now) {
                    continue;
                }
                if last.is_none() {
                    began.fetch_add(1, Ordering::SeqCst);
                }
                match model.infer(context, request.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) if error.is_retryable() => last = Some(error),
                    Err(error) => return Err(error),
                }
            }
            let nobody = || Error::new(ErrorKind::Overloaded, "no endpoint is available");
            Err(last.unwrap_or_else(nobody))
        })
    }
}

struct World {
    servers: Vec<Arc<Server>>,
    failover: Arc<Failover>,
    random: Random,
}

impl World {
    fn new(seed: u64) -> Self {
        let random = Random::seeded(seed);
        let mut servers = Vec::new();
        let mut endpoints = Vec::new();
        for _ in 0..ENDPOINTS {
            let adaptive = random.below(3) == 0;
            let limit = 1 + random.below(8);
            let concurrency = match adaptive {
                true => Concurrency::Adaptive(Gradient::default().with_range(limit, 1, 16)),
                false => Concurrency::Fixed(limit),
            };
            let mut admission = AdmissionPolicy::default()
                .with_concurrency(concurrency)
                .with_queue(random.below(20) as usize, MS(random.below(5000).into()));
            if random.below(2) == 0 {
                admission = admission.with_rates(
                    RateLimits::default()
                        .with_requests_per_minute(30 + random.below(300))
                        .with_tokens_per_minute(10_000 + u64::from(random.below(1_000_000))),
                );
            }
            let deduplicates = random.below(3) == 0;
            let mut retry = RetryPolicy::default().with_max_retries(MAX_RETRIES);
            if deduplicates {
                retry = retry.with_deduplication();
            }
            let schedule = Schedule::new()
                .with_seed(random.bits())
                .with_total(Duration::from_secs(60))
                .with_retry(retry)
                .with_budget(BudgetPolicy::new(BUDGET.0, BUDGET.1))
                .with_admission(admission)
                .with_limits(Limits::default().with_first_token(MS(10_000)).with_idle(MS(5000)));
            let server = Arc::new(Server {
                spells: (0..9).map(|_| WEATHERS[random.below(11) as usize]).collect(),
                random: Random::seeded(random.bits()),
                born: Instant::now(),
                deduplicates,
                limit: (!adaptive).then_some(limit),
                open: Arc::default(),
                attempts: AtomicU32::new(0),
                ran: Mutex::default(),
                asked: Mutex::default(),
            });
            let endpoint = schedule.for_endpoint();
            endpoints.push((endpoint.clone(), endpoint.around(server.clone())));
            servers.push(server);
        }
        Self { servers, failover: Arc::new(Failover { endpoints, began: Default::default() }), random }
    }

    /// One operation: begins, perhaps is cancelled, and must be over by its deadline. Gives what became of it.
    fn operation(&self, name: String) -> impl Future<Output = String> + Send + 'static {
        let below = |bound| u64::from(self.random.below(bound));
        let (begin, limit) = (MS(below(95_000)), MS(100 + below(30_000)));
        let patience = (self.random.below(4) == 0).then(|| MS(below(8000)));
        let tenant = ["a", "b", "c"][self.random.below(3) as usize];
        let model = self.failover.clone();
        async move {
            sleep(begin).await;
            let started = Instant::now();
            let context = context().with_tenant(tenant).with_deadline((started + limit).into_std());
            let run = async {
                let mut answer = model.infer(&context, Arc::new(ChatRequest::new(name))).await?;
                while answer.next().await.is_some() {}
                Ok::<_, Error>(answer.ending().cloned())
            };
            let outcome = match patience {
                Some(patience) => timeout(patience, run).await,
                None => Ok(run.await),
            };
            let took = started.elapsed();
            assert!(took <= limit + MS(2), "over by its deadline: {took:?} of {limit:?}");
            match outcome {
                Err(_) => "given up".to_owned(),
                Ok(Ok(Some(Ending::Finished { .. }))) => "finished".to_owned(),
                Ok(Ok(Some(Ending::Truncated { .. }))) => "truncated".to_owned(),
                Ok(Ok(Some(Ending::Failed(error))) | Err(error)) => format!("{:?}", error.kind()),
                Ok(Ok(None)) => panic!("an answer without an ending"),
            }
        }
    }

    /// What must hold when all is over.
    fn check(&self, elapsed: Duration) {
        let mut ran_at = HashMap::new();
        let endpoints = self.failover.endpoints.iter().zip(&self.failover.began);
        for (server, ((endpoint, _), began)) in self.servers.iter().zip(endpoints) {
            let admission = endpoint.admission().expect("admission is on");
            assert_eq!(
                (admission.in_flight(), admission.waiting()),
                (0, 0),
                "a permit or a place has leaked"
            );
            assert_eq!(server.open.load(Ordering::SeqCst), 0, "an attempt has leaked");
            let standing =
                endpoint.availability().expect("a breaker is on").standing(Instant::now().into_std());
            assert!(!matches!(standing, Standing::Probing { .. }), "a probe has leaked");

            let asked = server.asked.lock().expect("no panic");
            assert!(asked.values().all(|&attempts| attempts <= 1 + MAX_RETRIES), "too many attempts");
            // Every operation that begins at the endpoint earns its share, and whatever else comes is extra; the floor is one per
            // second, ten at once.
            let began = u64::from(began.load(Ordering::SeqCst));
            let extra = u64::from(server.attempts.load(Ordering::SeqCst)).saturating_sub(began);
            let floor = u64::from(BUDGET.1) * (elapsed.as_secs() + 10);
            assert!(extra * 100 <= began * u64::from(BUDGET.0) + floor * 100, "over budget");
            for (name, keys) in server.ran.lock().expect("no panic").iter() {
                let same_key = keys.iter().all(|key| key.is_some() && *key == keys[0]);
                let once = keys.len() == 1 || server.deduplicates && same_key;
                assert!(once, "{name} ran {} times", keys.len());
                let elsewhere = ran_at.insert(name.clone(), keys.len());
                assert_eq!(elsewhere, None, "{name} may have run at two endpoints");
            }
        }
    }

    /// After the weather: every endpoint comes back.
    async fn recover(&self) {
        for (endpoint, model) in &self.failover.endpoints {
            let mut finished = false;
            for round in 0..40 {
                sleep(Duration::from_secs(10)).await;
                let request = Arc::new(ChatRequest::new(format!("after {round}")));
                if let Ok(answer) = model.infer(&context(), request).await {
                    finished = answer.collect().await.is_ok();
                }
                if finished {
                    break;
                }
            }
            assert!(finished, "an endpoint that is well is asked again");
            let standing =
                endpoint.availability().expect("a breaker is on").standing(Instant::now().into_std());
            assert_eq!(standing, Standing::Available);
        }
    }
}

/// One world, and its story.
fn live(seed: u64) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let world = World::new(seed);
        let born = Instant::now();
        let running: Vec<_> =
            (0..OPERATIONS).map(|n| tokio::spawn(world.operation(format!("operation {n}")))).collect();
        let mut story = String::new();
        for operation in running {
            let outcome = operation.await.expect("no panic");
            writeln!(story, "{outcome}").expect("a string");
        }
        world.check(born.elapsed());
        for server in &world.servers {
            writeln!(story, "{} attempts", server.attempts.load(Ordering::SeqCst)).expect("a string");
        }
        world.recover().await;
        story
    })
}

#[test]
fn operations_survive_every_weather() {
    let number = |name| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    let seeds = match number("LOQUAT_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LOQUAT_SIM_SEEDS").unwrap_or(500),
    };
    let many = seeds.end - seeds.start >= 500;
    let mut outcomes: HashMap<String, u32> = HashMap::new();
    for seed in seeds {
        let world = std::panic::catch_unwind(|| live(seed));
        let Ok(story) = world else { panic!("failed with LOQUAT_SIM_SEED={seed}") };
        for outcome in story.lines().take(OPERATIONS as usize) {
            *outcomes.entry(outcome.to_owned()).or_default() += 1;
        }
    }
    println!("{outcomes:?}");
    if many {
        for kind in
            ["finished", "truncated", "given up", "Overloaded", "Timeout", "Connect", "RateLimited", "Server"]
        {
            assert!(outcomes.get(kind).is_some_and(|&n| n > 20), "{kind} does not happen: {outcomes:?}");
        }
    }
}

#[test]
fn a_seed_replays_alike() {
    for seed in 0..20 {
        assert_eq!(live(seed), live(seed), "seed {seed}");
    }
}
