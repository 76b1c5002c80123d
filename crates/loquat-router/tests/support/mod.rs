//! Models that answer as they are told, each counted, and a router over them.
#![allow(dead_code, reason = "each test uses a part")]

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    task::{self, Poll},
    time::{Duration, Instant},
};

use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delta, Ending, Endpoint, Error, ErrorKind, Event, FinishReason,
    Message, Model, OwnedDelta, Probe, Result, Source, Step, Usage,
};
use loquat_router::{
    Abilities, Allowance, Connected, EndpointSpec, FallbackPolicy, GroupSpec, Plan, RouteSpec, Router,
    RouterBuilder, Strategy,
};

/// What an endpoint does with one request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Says these words and finishes.
    Say(&'static [&'static str]),
    /// Says these words and stops.
    Cut(&'static [&'static str]),
    /// Says these words and fails like that.
    Break(&'static [&'static str], ErrorKind),
    /// Refuses.
    Fail(Error),
    /// Never answers.
    Hang,
}

impl Act {
    /// Whether it says something, whatever comes then.
    pub(crate) fn begins(&self) -> bool {
        matches!(self, Self::Say(words) | Self::Cut(words) | Self::Break(words, _) if !words.is_empty())
    }

    /// How it ends, if not well.
    pub(crate) fn error(&self) -> Option<Error> {
        match self {
            Self::Say(_) | Self::Hang => None,
            Self::Cut(_) => Some(Error::new(ErrorKind::Truncated, "stopped")),
            Self::Break(_, kind) => Some(Error::new(*kind, "broke")),
            Self::Fail(error) => Some(error.clone()),
        }
    }
}

/// An endpoint: its script, and what it was asked. Once the script is through, it repeats its last act.
#[derive(Default)]
pub(crate) struct Server {
    script: Mutex<VecDeque<Act>>,
    pub(crate) asked: Mutex<Vec<Arc<ChatRequest>>>,
    /// Whether somebody else could be asked, as it was told each time.
    pub(crate) alternatives: Mutex<Vec<bool>>,
    /// When it was first asked, among all servers.
    pub(crate) turn: AtomicU64,
}

/// Requests to all servers.
static TURNS: AtomicU64 = AtomicU64::new(0);

impl Server {
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }

    pub(crate) fn last_words(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("no panic");
        asked.last().expect("was asked").messages.iter().map(Message::text).collect()
    }
}

impl Model for Server {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            self.alternatives.lock().expect("no panic").push(context.has_alternative());
            assert!(request.model.is_empty(), "an endpoint is asked for its own model");
            self.asked.lock().expect("no panic").push(request);
            let turn = TURNS.fetch_add(1, SeqCst) + 1;
            let _ = self.turn.compare_exchange(0, turn, SeqCst, SeqCst);
            let act = {
                let mut script = self.script.lock().expect("no panic");
                if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
            };
            let start = OwnedDelta::Start { id: "id".into(), model: "m".into() };
            let said = |words: &[&str]| {
                let text = words.iter().map(|word| OwnedDelta::Text { choice: 0, text: (*word).into() });
                [start.clone()].into_iter().chain(text).collect::<VecDeque<_>>()
            };
            let finished = Ending::Finished { reason: FinishReason::Stop, usage: Usage::default() };
            let (deltas, ending) = match act.expect("a script") {
                Act::Say(words) => (said(words), finished),
                Act::Cut(words) => (said(words), Ending::Truncated { cause: None }),
                Act::Break(words, kind) => (said(words), Ending::Failed(Error::new(kind, "broke"))),
                Act::Fail(error) => return Err(error),
                Act::Hang => std::future::pending().await,
            };
            Ok(Answer::new(Play { deltas, ending: Some(ending), current: start }))
        })
    }
}

struct Play {
    deltas: VecDeque<OwnedDelta>,
    ending: Option<Ending>,
    current: OwnedDelta,
}

impl Source for Play {
    fn poll_advance(&mut self, _: &mut task::Context<'_>) -> Poll<Step> {
        match self.deltas.pop_front() {
            Some(delta) => {
                self.current = delta;
                Poll::Ready(Step::Delta)
            }
            None => Poll::Ready(Step::End(self.ending.take().expect("asked once after the end"))),
        }
    }

    fn current(&self) -> Delta<'_> {
        self.current.as_delta()
    }
}

/// Servers by name.
#[derive(Default, Clone)]
pub(crate) struct Servers(pub(crate) Arc<HashMap<String, Arc<Server>>>);

impl Servers {
    pub(crate) fn new(scripts: &[(&str, &[Act])]) -> Self {
        let server = |(name, acts): &(&str, &[Act])| {
            let server = Server { script: Mutex::new(acts.to_vec().into()), ..Server::default() };
            ((*name).to_owned(), Arc::new(server))
        };
        Self(Arc::new(scripts.iter().map(server).collect()))
    }

    pub(crate) fn of(&self, name: &str) -> &Server {
        &self.0[name]
    }

    pub(crate) fn router(&self, plan: &Plan) -> Result<Router> {
        self.builder().build(plan)
    }

    pub(crate) fn builder(&self) -> RouterBuilder {
        let servers = self.clone();
        Router::builder(move |spec: &EndpointSpec| match servers.0.get(&spec.name) {
            Some(server) => Ok(Connected::new(server.clone())),
            None => Err(Error::new(ErrorKind::NotConfigured, "no such server")),
        })
        .seed(7)
    }
}

pub(crate) fn endpoint(name: &str) -> EndpointSpec {
    EndpointSpec::new(name, Endpoint::new("test", format!("http://{name}/v1"), "m"))
}

/// All that come with the crate.
pub(crate) fn strategies() -> Vec<Strategy> {
    vec![
        Strategy::latency(),
        Strategy::weighted(),
        Strategy::round_robin(),
        Strategy::least_in_flight(),
        Strategy::cheapest(Duration::from_millis(400)),
        Strategy::affinity(),
    ]
}

pub(crate) fn fail(kind: ErrorKind) -> Act {
    Act::Fail(Error::new(kind, "told to"))
}

/// What was said, and how it ended.
pub(crate) async fn ask(router: &Router, request: ChatRequest) -> (String, Result<()>) {
    let answer = match router.infer(&Context::new(), Arc::new(request)).await {
        Ok(answer) => answer,
        Err(error) => return (String::new(), Err(error)),
    };
    let mut answer = answer;
    let mut said = String::new();
    while let Some(delta) = answer.next().await {
        if let Delta::Text { text, .. } = delta {
            said.push_str(text);
        }
    }
    let ending = answer.ending().cloned().expect("an answer ends");
    (said, ending.into_result().map(drop))
}

pub(crate) fn hi(model: &str) -> ChatRequest {
    ChatRequest::new(model).with_user("hi")
}

/// Two groups of one endpoint each.
pub(crate) fn two(first: &[Act], second: &[Act], fallback: FallbackPolicy) -> (Servers, Router) {
    let servers = Servers::new(&[("a", first), ("b", second)]);
    let plan = Plan::new()
        .with_endpoint(endpoint("a"))
        .with_endpoint(endpoint("b").with_abilities(Abilities::COMMON.and(Abilities::PREFILL)))
        .with_route(
            RouteSpec::new("chat")
                .with_group(GroupSpec::of(["a"]))
                .with_group(GroupSpec::of(["b"]))
                .with_fallback(fallback),
        );
    let router = servers.router(&plan).expect("a valid plan");
    (servers, router)
}

/// What is left for further attempts.
pub(crate) struct Purse(pub(crate) Arc<AtomicU32>);

impl Allowance for Purse {
    fn try_take(&self, _: Instant) -> bool {
        self.0.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    fn has_left(&self, _: Instant) -> bool {
        self.0.load(SeqCst) > 0
    }
}

/// A router whose endpoints share a budget for further attempts, and what is left of it.
pub(crate) fn with_budget(servers: &Servers, budget: u32) -> (RouterBuilder, Arc<AtomicU32>) {
    let (own, left) = (servers.clone(), Arc::new(AtomicU32::new(budget)));
    let purse = left.clone();
    let builder = Router::builder(move |spec: &EndpointSpec| {
        let purse = purse.clone();
        Ok(Connected::new(own.0[&spec.name].clone()).with_allowance(Arc::new(Purse(purse))))
    });
    (builder, left)
}

/// Keeps what routers say.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Mutex<Vec<(String, String)>>);

impl Probe for Told {
    fn report(&self, event: &Event<'_>) {
        if let Event::Route { endpoint, reason } = event {
            self.0.lock().expect("no panic").push(((*endpoint).to_owned(), (*reason).to_owned()));
        }
    }
}
