//! What stands between a source and who pulls hands on all that a source may say, not only its deltas: a layer that forgets
//! costs a look at the clock for each token, or a line of memory that was not asked for in time, and no answer shows it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{self, Poll},
    time::{Duration, Instant},
};

use loquat::{
    Answer, ChatRequest, Context, Delta, Ending, Error, FinishReason, Model,
    core::{BoxFuture, Endpoint, Source, Step, Usage},
    observe::{Capture, Observer, Place},
    prompt::cache::remote::{AnswerCache, AnswerLimits},
    router::{Connected, EndpointSpec, Plan, Router},
    schedule::{Schedule, admission::AdmissionPolicy, hedge::HedgePolicy, limits::Limits},
};

/// One that says when each of its deltas arrived and counts how often it is told that somebody comes back.
struct Timed {
    began: Instant,
    given: usize,
    warmed: Arc<AtomicUsize>,
}

/// A beginning and words, a second apart.
const DELTAS: [Delta<'_>; 3] = [
    Delta::Start { id: "1", model: "m" },
    Delta::Text { choice: 0, text: "a" },
    Delta::Text { choice: 0, text: "b" },
];

impl Source for Timed {
    fn poll_advance(&mut self, _: &mut task::Context<'_>) -> Poll<Step> {
        self.given += 1;
        Poll::Ready(if self.given <= DELTAS.len() {
            Step::Delta
        } else {
            Step::End(Ending::Finished { reason: FinishReason::Stop, usage: Usage::default() })
        })
    }

    fn current(&self) -> Delta<'_> {
        DELTAS[self.given - 1]
    }

    fn warm(&mut self) {
        self.warmed.fetch_add(1, Relaxed);
    }

    fn arrived(&self) -> Option<Instant> {
        Some(self.began + Duration::from_secs(self.given as u64))
    }
}

struct Server {
    began: Instant,
    warmed: Arc<AtomicUsize>,
}

impl Model for Server {
    fn infer<'a>(&'a self, _: &'a Context, _: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer, Error>> {
        let source = Timed { began: self.began, given: 0, warmed: self.warmed.clone() };
        Box::pin(async { Ok(Answer::new(source)) })
    }
}

type Layer = Box<dyn Fn(Server) -> Arc<dyn Model>>;

fn layers() -> Vec<(&'static str, Layer)> {
    fn scheduled(schedule: Schedule) -> Layer {
        Box::new(move |server| schedule.for_endpoint().around(server))
    }
    let bare = Schedule::new().with_retry(None).with_breaker(None);
    vec![
        ("no layer", Box::new(|server| Arc::new(server))),
        ("retry and breaker", scheduled(Schedule::new())),
        ("limits", scheduled(bare.clone().with_limits(Limits::default()))),
        ("a deadline", scheduled(bare.clone().with_total(Duration::from_secs(60)))),
        ("admission", scheduled(bare.clone().with_admission(AdmissionPolicy::default()))),
        ("a hedge", scheduled(bare.with_hedge(HedgePolicy::default().with_generation()))),
        ("a route", Box::new(routed)),
        ("an operation", Box::new(|server| Arc::new(Observer::new().operation(server, place())))),
        ("an attempt", Box::new(|server| Arc::new(Observer::new().attempt(server, place())))),
        (
            "what is captured",
            Box::new(|server| {
                let observer = Observer::builder().capture(Capture::new()).build();
                Arc::new(observer.operation(server, place()))
            }),
        ),
        (
            "what is kept",
            Box::new(|server| Arc::new(AnswerCache::new(server, "m", None, AnswerLimits::default()))),
        ),
    ]
}

fn place() -> Place {
    Place::new("p", "m")
}

fn routed(server: Server) -> Arc<dyn Model> {
    let server: Arc<dyn Model> = Arc::new(server);
    let connect = move |_: &EndpointSpec| Ok(Connected::new(server.clone()));
    let plan = Plan::new()
        .with_endpoint(EndpointSpec::new("one", Endpoint::new("openai", "http://127.0.0.1:1", "m")))
        .with_chain("chat", ["one"]);
    Arc::new(Router::builder(connect).build(&plan).expect("a plan"))
}

#[tokio::test]
async fn every_layer_hands_on_when_a_delta_arrived_and_that_somebody_comes_back() {
    for (name, layer) in layers() {
        let (began, warmed) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let model = layer(Server { began, warmed: warmed.clone() });
        let context = Context::new().with_tenant("t");
        let request = Arc::new(ChatRequest::new("chat").with_user("hi").with_temperature(0.0));
        let answer = model.infer(&context, request).await.expect(name);
        let mut source = answer.into_source().expect(name);
        for (delta, second) in DELTAS.iter().zip(1..) {
            source.warm();
            let step = std::future::poll_fn(|cx| source.poll_advance(cx)).await;
            assert!(matches!(step, Step::Delta), "{name}: {step:?}");
            assert_eq!(source.current().to_owned(), delta.to_owned(), "{name}");
            assert_eq!(source.arrived(), Some(began + Duration::from_secs(second)), "{name}, {delta:?}");
        }
        assert_eq!(warmed.load(Relaxed), DELTAS.len(), "{name}");
    }
}
