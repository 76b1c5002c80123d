//! Who watches, and what is watched: a model, and its answers polled.

use std::{
    sync::Arc,
    task::{self, Poll},
    time::Instant,
};

use loquat_core::{Answer, ChatRequest, Context, Model};
use loquat_observe::{CallTrace, Keep, Observer, Place, Sampling};

use crate::peer::Peer;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Nobody,
    Metrics,
    Spans,
    Tracing,
}

impl Who {
    pub const ALL: [Self; 4] = [Self::Nobody, Self::Metrics, Self::Spans, Self::Tracing];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Metrics => "metrics",
            Self::Spans => "spans",
            Self::Tracing => "tracing",
        }
    }

    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|who| who.name() == name).expect("a name")
    }
}

struct Nowhere;

impl Keep for Nowhere {
    fn keep(&self, call: &Arc<CallTrace>) {
        std::hint::black_box(call);
    }
}

/// A model, and who watches it.
pub struct Watching {
    model: Arc<dyn Model>,
    peer: Option<Peer>,
    request: Arc<ChatRequest>,
}

/// One answer under way.
pub struct Stream {
    pub answer: Answer,
    traced: Option<(tracing::Span, Instant)>,
}

impl Watching {
    pub fn new(who: Who, server: impl Model + 'static) -> Self {
        let place = || Place::new("openai", "gpt-5").with_base_url("https://api.example/v1");
        let model: Arc<dyn Model> = match who {
            Who::Nobody | Who::Tracing => Arc::new(server),
            Who::Metrics | Who::Spans => {
                let mut builder = Observer::builder();
                if who == Who::Spans {
                    builder = builder.sampling(Sampling::default()).keep(Arc::new(Nowhere));
                }
                let observer = builder.build();
                Arc::new(observer.operation(observer.attempt(server, place()), place()))
            }
        };
        let request = Arc::new(ChatRequest::new("gpt-5").with_user("Say hello to the world, please."));
        Self { model, peer: (who == Who::Tracing).then(Peer::new), request }
    }

    pub async fn begin(&self) -> Stream {
        let traced = self
            .peer
            .as_ref()
            .map(|_| (tracing::info_span!("chat", otel.kind = "client", model = "gpt-5"), Instant::now()));
        let answer = self.model.infer(&Context::new(), self.request.clone()).await;
        Stream { answer: answer.expect("an answer"), traced }
    }

    /// As [`Answer::poll_advance`].
    pub fn poll(&self, stream: &mut Stream, cx: &mut task::Context<'_>) -> Poll<bool> {
        let entered = stream.traced.as_ref().map(|(span, _)| span.enter());
        let polled = stream.answer.poll_advance(cx);
        drop(entered);
        if let (Poll::Ready(true), Some(peer), Some((_, since))) = (&polled, &self.peer, &mut stream.traced) {
            peer.chunk(since);
        }
        polled
    }
}
