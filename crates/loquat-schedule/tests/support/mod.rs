//! A model that behaves as it is told, attempt by attempt, on tokio's clock.
#![allow(dead_code, reason = "each test uses a part")]

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{self, Poll},
    time::Duration,
};

use std::sync::Arc;

use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delivery, Delta, Ending, Error, ErrorKind, FinishReason, Model,
    Result, Source, Step, Usage,
};
use loquat_schedule::TokioClock;
use tokio::time::{Sleep, sleep};

pub(crate) const MS: fn(u64) -> Duration = Duration::from_millis;

/// What one attempt does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Fails after that long.
    Fail(Duration, Error),
    /// Never answers.
    Hang,
    /// Accepts after the first duration, then gives so many deltas with the second between them, then ends.
    Answer(Duration, u32, Duration, End),
    /// Accepts and says that the answer has begun, both at once; then as `Answer`, the first duration before the first delta.
    Announce(Duration, u32, Duration, End),
}

/// How an answer ends.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Finished(Usage),
    Cut,
    Failed(Error),
    /// It does not.
    Silence,
}

impl Act {
    pub(crate) fn quick() -> Self {
        Self::Answer(MS(10), 3, MS(10), End::Finished(Usage::default()))
    }
}

pub(crate) fn error(kind: ErrorKind, delivery: Delivery) -> Error {
    Error::new(kind, "as told").with_delivery(delivery)
}

/// Plays its acts in order, then answers quickly.
#[derive(Default)]
pub(crate) struct Fake {
    acts: Mutex<VecDeque<Act>>,
    keys: Mutex<Vec<Option<String>>>,
    asked: AtomicUsize,
    /// Attempts that have neither ended nor been dropped, and the most there were.
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) most_open: AtomicUsize,
}

impl Fake {
    pub(crate) fn new(acts: impl IntoIterator<Item = Act>) -> Arc<Self> {
        Arc::new(Self { acts: Mutex::new(acts.into_iter().collect()), ..Self::default() })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn keys(&self) -> Vec<Option<String>> {
        self.keys.lock().expect("no panic").clone()
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Counts an attempt as open until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Model for Fake {
    fn infer<'a>(&'a self, context: &'a Context, _: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.keys.lock().expect("no panic").push(context.idempotency_key().map(str::to_owned));
        let act = self.acts.lock().expect("no panic").pop_front().unwrap_or_else(Act::quick);
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_open.fetch_max(open, Ordering::SeqCst);
        let open = Open(self.open.clone());
        Box::pin(act.play(open))
    }
}

impl Act {
    /// Plays; `open` is dropped when the attempt has ended, or was given up.
    pub(crate) async fn play(self, open: impl Send + 'static) -> Result<Answer> {
        match self {
            Self::Fail(wait, error) => {
                sleep(wait).await;
                Err(error)
            }
            Self::Hang => std::future::pending().await,
            Self::Answer(head, deltas, gap, end) => {
                sleep(head).await;
                let timer = Box::pin(sleep(gap));
                let _open = Box::new(open);
                Ok(Answer::new(Paced { left: deltas, gap, end, timer, starts: None, _open }))
            }
            Self::Announce(first, deltas, gap, end) => {
                let timer = Box::pin(sleep(first));
                let _open = Box::new(open);
                Ok(Answer::new(Paced { left: deltas, gap, end, timer, starts: Some(false), _open }))
            }
        }
    }
}

struct Paced<O> {
    left: u32,
    gap: Duration,
    end: End,
    timer: Pin<Box<Sleep>>,
    /// Whether the start has been given, while it is the delta at hand or to come.
    starts: Option<bool>,
    _open: Box<O>,
}

impl<O: Send> Source for Paced<O> {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        if self.starts == Some(false) {
            self.starts = Some(true);
            return Poll::Ready(Step::Delta);
        }
        task::ready!(self.timer.as_mut().poll(cx));
        self.starts = None;
        if self.left > 0 {
            self.left -= 1;
            self.timer = Box::pin(sleep(self.gap));
            return Poll::Ready(Step::Delta);
        }
        Poll::Ready(Step::End(match self.end.clone() {
            End::Finished(usage) => Ending::Finished { reason: FinishReason::Stop, usage },
            End::Cut => Ending::Truncated { cause: None },
            End::Failed(error) => Ending::Failed(error),
            End::Silence => return Poll::Pending,
        }))
    }

    fn current(&self) -> Delta<'_> {
        match self.starts {
            Some(_) => Delta::Start { id: "a", model: "m" },
            None => Delta::Text { choice: 0, text: "word " },
        }
    }
}

pub(crate) fn context() -> Context {
    Context::new().with_clock(Arc::new(TokioClock))
}

pub(crate) fn request() -> Arc<ChatRequest> {
    Arc::new(ChatRequest::new("m").with_user("hi"))
}

/// How long that took on tokio's clock, in milliseconds, and its output.
pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (u64, T) {
    let started = tokio::time::Instant::now();
    let output = future.await;
    (u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), output)
}
