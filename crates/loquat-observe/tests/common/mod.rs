//! What the tests of this crate share: models that behave as told, and reading metrics back.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delta, Ending, Error, ErrorKind, FinishReason, Model,
    OwnedDelta, Result, Source, Step, Usage, test_util::ManualClock,
};
use loquat_observe::Place;

pub(crate) fn place() -> Place {
    Place::new("openai", "gpt-5").with_base_url("https://api.example/v1")
}

pub(crate) async fn ask(model: &impl Model, name: &str) -> Result<Answer> {
    let request = ChatRequest::new(name).with_user("hi");
    model.infer(&Context::new(), Arc::new(request)).await
}

pub(crate) async fn drain(mut answer: Answer) {
    while answer.next().await.is_some() {}
}

/// These words, and an ending with that usage.
pub(crate) fn finished(words: &[&str], input: u64, output: u64) -> Vec<OwnedDelta> {
    let mut usage = Usage::default();
    (usage.input_tokens, usage.output_tokens) = (input, output);
    let start = OwnedDelta::Start { id: "resp-1".into(), model: "gpt-5-2026".into() };
    let texts = words.iter().map(|word| OwnedDelta::Text { choice: 0, text: (*word).into() });
    let end = OwnedDelta::End(Ending::Finished { reason: FinishReason::Stop, usage });
    std::iter::once(start).chain(texts).chain([end]).collect()
}

/// The value of the sample that is written so.
pub(crate) fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse().expect("a number")
}

/// A model that says something to its context, and refuses.
pub(crate) struct Reporting<F>(pub F);

impl<F: Fn(&Context) + Send + Sync> Model for Reporting<F> {
    fn infer<'a>(&'a self, context: &'a Context, _: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            (self.0)(context);
            Err(Error::new(ErrorKind::Overloaded, "too much").with_status(503))
        })
    }
}

/// An answer of three pieces, the second of two deltas, for each of which the clock goes on, and once more for the end.
pub(crate) fn slow(clock: Arc<ManualClock>, step: Duration) -> impl Model {
    Slow { clock, step }
}

struct Slow {
    clock: Arc<ManualClock>,
    step: Duration,
}

impl Model for Slow {
    fn infer<'a>(&'a self, _: &'a Context, _: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        let text = || Some(OwnedDelta::Text { choice: 0, text: "x".into() });
        let script = [None, text(), None, text(), text(), None, text(), None];
        let source = Slowly {
            clock: self.clock.clone(),
            step: self.step,
            script: script.into(),
            current: OwnedDelta::Start { id: String::new(), model: String::new() },
        };
        Box::pin(async move { Ok(Answer::new(source)) })
    }
}

struct Slowly {
    clock: Arc<ManualClock>,
    step: Duration,
    script: VecDeque<Option<OwnedDelta>>,
    current: OwnedDelta,
}

impl Source for Slowly {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        match self.script.pop_front() {
            Some(Some(delta)) => {
                self.current = delta;
                Poll::Ready(Step::Delta)
            }
            Some(None) => {
                self.clock.advance(self.step);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                let (reason, usage) = (FinishReason::Stop, Usage::default());
                Poll::Ready(Step::End(Ending::Finished { reason, usage }))
            }
        }
    }

    fn current(&self) -> Delta<'_> {
        self.current.as_delta()
    }
}
