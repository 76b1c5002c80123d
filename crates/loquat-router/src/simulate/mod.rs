//! A router's day on a virtual clock: traffic as data, servers that queue, slow down and fail as told, and the real router
//! deciding. For `loquat route simulate`, and for the tests that set it beside other ways of choosing.
//!
//! A server reads prompts one after the other (a fixed time and so much for each token) and then writes its answer
//! without holding up the next prompt: the time to first token is waiting and reading. That is coarse, and enough to show
//! what a strategy does to a queue. Everything is drawn from the seed: a script replays alike.

mod ours;
mod report;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

pub use ours::Ours;
pub use report::{Line, Report, Second};

use crate::random::Draw;

/// Most events of one run: some hours of busy traffic.
const MAX_EVENTS: usize = 20_000_000;
/// No answer takes longer, however many spells slow its server down at once.
const SLOWEST: Duration = Duration::from_secs(86_400);

/// Traffic and servers, as data.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Script {
    /// What chance is drawn from.
    pub seed: u64,
    /// How long requests arrive.
    pub duration: Duration,
    /// Requests a second, at random (a Poisson process).
    pub rate: f64,
    /// The median prompt. Tokens.
    pub prompt_tokens: f64,
    /// How far prompts differ: the logarithm's standard deviation; 0 for all alike, 1.5 for a heavy tail.
    pub spread: f64,
    /// How many clients share the traffic, each with a chooser of its own that sees only its own requests.
    pub clients: usize,
    /// Most endpoints asked for one request.
    pub max_attempts: u32,
    /// The servers.
    pub servers: Vec<Server>,
    /// What happens to them.
    pub spells: Vec<Spell>,
}

/// A server when all is well.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Server {
    /// Its endpoint's name.
    pub name: String,
    /// What each prompt takes, however short.
    pub base: Duration,
    /// Prompt tokens read in a second.
    pub tokens_per_second: f64,
    /// How long it writes an answer.
    pub answer: Duration,
}

impl Server {
    /// 30 ms and 20,000 tokens a second to read, 2 s to answer.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            base: Duration::from_millis(30),
            tokens_per_second: 20_000.0,
            answer: Duration::from_secs(2),
        }
    }
}

/// A time in which a server is not well.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Spell {
    /// Which server, by its number in the script.
    pub server: usize,
    /// From when on.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
    /// What ails it.
    pub ailment: Ailment,
}

impl Spell {
    /// That ails that server for that time.
    pub fn new(server: usize, from: Duration, until: Duration, ailment: Ailment) -> Self {
        Self { server, from, until, ailment }
    }
}

/// What ails a server.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Ailment {
    /// It takes so many times as long.
    Slow(f64),
    /// It refuses after that time.
    Refuses {
        /// How long it takes to say so.
        after: Duration,
        /// When it says to come back.
        retry_after: Option<Duration>,
    },
    /// It says nothing; the attempt is given up after that time.
    Silent(Duration),
    /// It is not there yet: nobody knows of it.
    Absent,
}

/// What chooses.
pub trait Chooser {
    /// Which server, other than those tried; `None` when there is none.
    fn choose(&mut self, request: u64, tokens: u32, tried: &[usize], now: Instant) -> Option<usize>;
    /// The request's first token came after that time.
    fn first_token(&mut self, request: u64, server: usize, took: Duration, now: Instant);
    /// The attempt failed.
    fn failed(
        &mut self,
        request: u64,
        server: usize,
        retry_after: Option<Duration>,
        is_timeout: bool,
        now: Instant,
    );
    /// The answer is complete.
    fn done(&mut self, request: u64, server: usize, now: Instant);
    /// A server is there that was absent.
    fn appeared(&mut self, server: usize, now: Instant);
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Appear(usize),
    Arrive,
    FirstToken { request: usize },
    Failed { request: usize, retry_after: Option<Duration>, is_timeout: bool },
    Done { request: usize },
}

struct Request {
    arrived: Duration,
    asked: Duration,
    tokens: u32,
    client: usize,
    tried: Vec<usize>,
    server: usize,
}

/// Lives through a script. `choosers` has one for each client.
pub fn run(script: &Script, choosers: &mut [Box<dyn Chooser + '_>], epoch: Instant) -> Report {
    let mut world = World {
        script,
        epoch,
        draw: Draw::seeded(script.seed),
        free_at: vec![Duration::ZERO; script.servers.len()],
        queue: BinaryHeap::new(),
        requests: Vec::new(),
        report: Report::new(script),
        events: 0,
    };
    for spell in &script.spells {
        if spell.ailment == Ailment::Absent {
            world.push(spell.until, Event::Appear(spell.server));
        }
    }
    world.push(Duration::ZERO, Event::Arrive);
    world.live(choosers);
    world.report.finish();
    world.report
}

struct World<'a> {
    script: &'a Script,
    epoch: Instant,
    draw: Draw,
    free_at: Vec<Duration>,
    queue: BinaryHeap<Reverse<(Duration, usize, Event)>>,
    requests: Vec<Request>,
    report: Report,
    events: usize,
}

impl World<'_> {
    fn push(&mut self, at: Duration, event: Event) {
        self.events += 1;
        self.queue.push(Reverse((at, self.events, event)));
    }

    fn live(&mut self, choosers: &mut [Box<dyn Chooser + '_>]) {
        if choosers.is_empty() {
            return;
        }
        while let Some(Reverse((at, _, event))) = self.queue.pop() {
            if self.events > MAX_EVENTS {
                return;
            }
            let now = self.epoch + at;
            match event {
                Event::Appear(server) => {
                    choosers.iter_mut().for_each(|chooser| chooser.appeared(server, now));
                }
                Event::Arrive => {
                    let tokens = self.tokens();
                    let client = self.draw.below(choosers.len());
                    let request = self.requests.len();
                    self.requests.push(Request {
                        arrived: at,
                        asked: at,
                        tokens,
                        client,
                        tried: Vec::new(),
                        server: 0,
                    });
                    self.attempt(request, at, choosers);
                    let next =
                        at + Duration::from_secs_f64(-self.uniform().ln() / self.script.rate.max(1e-3));
                    if next < self.script.duration {
                        self.push(next, Event::Arrive);
                    }
                }
                Event::FirstToken { request } => {
                    let Request { client, server, arrived, asked, .. } = self.requests[request];
                    choosers[client].first_token(request as u64, server, at - asked, now);
                    self.report.answered(server, arrived, at - arrived, at - asked);
                    self.push(at + self.script.servers[server].answer, Event::Done { request });
                }
                Event::Failed { request, retry_after, is_timeout } => {
                    let Request { client, server, .. } = self.requests[request];
                    choosers[client].failed(request as u64, server, retry_after, is_timeout, now);
                    self.report.failed(server);
                    self.attempt(request, at, choosers);
                }
                Event::Done { request } => {
                    let Request { client, server, .. } = self.requests[request];
                    choosers[client].done(request as u64, server, now);
                }
            }
        }
    }

    /// One more attempt, or the end of it.
    fn attempt(&mut self, request: usize, at: Duration, choosers: &mut [Box<dyn Chooser + '_>]) {
        let now = self.epoch + at;
        let Request { client, tokens, ref tried, .. } = self.requests[request];
        let may = tried.len() < self.script.max_attempts as usize;
        let chosen = may.then(|| choosers[client].choose(request as u64, tokens, tried, now)).flatten();
        let Some(server) = chosen.filter(|server| *server < self.script.servers.len()) else {
            return self.report.lost(self.requests[request].arrived);
        };
        self.report.asked(server, at, !self.requests[request].tried.is_empty());
        let known = &mut self.requests[request];
        known.tried.push(server);
        (known.server, known.asked) = (server, at);
        let mut slowness = 1.0;
        for spell in self.script.spells.iter().filter(|spell| spell.server == server) {
            if at < spell.from || at >= spell.until {
                continue;
            }
            let failed = |retry_after, is_timeout| Event::Failed { request, retry_after, is_timeout };
            match spell.ailment {
                Ailment::Slow(factor) => slowness *= factor.max(0.0),
                Ailment::Refuses { after, retry_after } => {
                    return self.push(at + after, failed(retry_after, false));
                }
                Ailment::Silent(given_up) => return self.push(at + given_up, failed(None, true)),
                Ailment::Absent => return self.push(at, failed(None, false)),
            }
        }
        let spec = &self.script.servers[server];
        let reading = spec.base.as_secs_f64() + f64::from(tokens) / spec.tokens_per_second.max(1.0);
        // A tenth of it is chance: the network's, the scheduler's.
        let took = Duration::try_from_secs_f64(reading * slowness * (0.95 + 0.1 * self.uniform()));
        let took = took.unwrap_or(SLOWEST).min(SLOWEST);
        let begins = self.free_at[server].max(at);
        self.free_at[server] = begins + took;
        self.push(begins + took, Event::FirstToken { request });
    }

    /// Above 0 and below 1.
    fn uniform(&mut self) -> f64 {
        ((self.draw.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Log-normal, by Box and Muller.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    fn tokens(&mut self) -> u32 {
        let normal = (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos();
        (self.script.prompt_tokens * (normal * self.script.spread).exp()).clamp(1.0, 200_000.0) as u32
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            seed: 1,
            duration: Duration::from_secs(120),
            rate: 20.0,
            prompt_tokens: 500.0,
            spread: 0.5,
            clients: 1,
            max_attempts: 3,
            servers: Vec::new(),
            spells: Vec::new(),
        }
    }
}
