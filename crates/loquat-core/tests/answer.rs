//! What an answer promises, over a scripted source: one ending, what arrived is kept, nothing partial passes for whole.
#![cfg(feature = "test-util")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{self, Poll, Waker},
};

use futures_util::{StreamExt, future::FutureExt};
use loquat_core::{
    Answer, ChatRequest, Context, Delta, Ending, Error, ErrorKind, Model, OwnedDelta, Response, Source, Step,
    Usage,
    test_util::{Replay, Scripted},
};

/// Scripted sources are always ready: one poll is enough.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("scripted sources never wait")
}

fn text(text: &str) -> OwnedDelta {
    OwnedDelta::Text { choice: 0, text: text.into() }
}

fn failed() -> OwnedDelta {
    OwnedDelta::End(Ending::Failed(Error::new(ErrorKind::Overloaded, "busy")))
}

#[test]
fn the_ending_comes_last_and_once() {
    for (script, finished) in [
        (Replay::words(&["a", "b"]), true),
        (Replay::new([text("a")]), false),
        (Replay::new([failed()]), false),
        (Replay::new([]), false),
    ] {
        let mut answer = Answer::new(script);
        let mut endings = 0;
        while let Some(delta) = now(answer.next()) {
            assert_eq!(endings, 0, "nothing after the ending");
            if let Delta::End(ending) = delta {
                endings += 1;
                assert_eq!(ending.is_finished(), finished);
            }
        }
        assert_eq!(endings, 1);
        assert!(now(answer.next()).is_none(), "and it stays ended");
        assert!(answer.ending().is_some());
    }
}

#[test]
fn what_arrived_is_kept_whatever_the_ending() {
    let whole = now(Answer::new(Replay::words(&["lo", "quat"])).collect()).expect("finished");
    assert_eq!(whole.text(), "loquat");

    let cut = now(Answer::new(Replay::new([text("lo")])).collect()).expect_err("truncated");
    assert_eq!(cut.kind(), ErrorKind::Truncated);
    assert_eq!(cut.partial().map(Response::text).as_deref(), Some("lo"));
    assert!(!cut.is_retryable());

    let broken = now(Answer::new(Replay::new([text("lo"), failed()])).collect()).expect_err("failed");
    assert_eq!(broken.kind(), ErrorKind::Overloaded);
    assert_eq!(broken.partial().map(Response::text).as_deref(), Some("lo"));
}

#[test]
fn pulled_deltas_are_part_of_what_is_collected() {
    let mut answer = Answer::new(Replay::words(&["a", "b", "c"]));
    assert_eq!(now(answer.next()).and_then(|d| d.text()), Some("a"));
    assert_eq!(answer.so_far().map(Response::text).as_deref(), Some("a"));
    assert_eq!(now(answer.collect()).expect("finished").text(), "abc");
}

#[test]
fn next_text_cannot_mistake_a_part_for_the_whole() {
    let mut answer = Answer::new(Replay::words(&["a", "b"]));
    let mut seen = String::new();
    while let Some(text) = now(answer.next_text()).expect("finished") {
        seen.push_str(text);
    }
    assert_eq!(seen, "ab");
    assert!(now(answer.next_text()).expect("still finished").is_none());

    let mut answer = Answer::new(Replay::new([text("a")]));
    assert_eq!(now(answer.next_text()).expect("a delta"), Some("a"));
    let cut = now(answer.next_text()).expect_err("truncated");
    assert_eq!(cut.partial().map(Response::text).as_deref(), Some("a"));
    assert_eq!(now(answer.next_text()).map_err(|e| e.kind()), Err(ErrorKind::Truncated), "and again");
    assert_eq!(answer.so_far().map(Response::text).as_deref(), Some("a"), "and what arrived stays");
}

#[test]
fn an_endless_answer_meets_its_bound() {
    let deltas = std::iter::repeat_with(|| text("0123456789")).take(100);
    let error = now(Answer::new(Replay::new(deltas)).with_max_bytes(95).collect()).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(error.partial().map(|r| r.text().len()), Some(90));
}

#[test]
fn streams_yield_the_same_deltas_owned() {
    let owned: Vec<_> = now(Answer::new(Replay::words(&["a", "b"])).into_stream().collect());
    assert_eq!(owned.len(), 3);
    assert_eq!(owned[1], text("b"));
    assert!(
        matches!(&owned[2], OwnedDelta::End(Ending::Finished { usage, .. }) if *usage == Usage::default())
    );
}

#[test]
fn a_scripted_model_is_a_model() {
    let model: Arc<dyn Model> = Arc::new(Scripted::new().then(Ok(vec![text("hi")])));
    let context = Context::new();
    let request = Arc::new(ChatRequest::new("m").with_user("hello"));
    let mut answer = now(model.infer(&context, request.clone())).expect("scripted");
    assert_eq!(now(answer.next()).and_then(|d| d.text()), Some("hi"));
    context.cancellation().cancel();
    let refused = now(model.infer(&context, request)).expect_err("cancelled");
    assert_eq!(refused.kind(), ErrorKind::Cancelled);
}

/// Sends its reader away before each delta; counts how often it was told of one that is back.
struct Trickle {
    left: usize,
    is_ready: bool,
    warmed: Arc<AtomicUsize>,
}

impl Source for Trickle {
    fn poll_advance(&mut self, _: &mut task::Context<'_>) -> Poll<Step> {
        self.is_ready = !self.is_ready;
        if self.is_ready {
            return Poll::Pending;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Step::Delta)
            }
            None => Poll::Ready(Step::End(Ending::Truncated { cause: None })),
        }
    }

    fn current(&self) -> Delta<'_> {
        Delta::Text { choice: 0, text: "x" }
    }

    fn warm(&mut self) {
        self.warmed.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_source_is_told_of_a_reader_who_is_back_and_of_no_other() {
    let warmed = Arc::new(AtomicUsize::new(0));
    let source = Trickle { left: 2, is_ready: false, warmed: Arc::clone(&warmed) };
    // Through a box, as layers hold each other.
    let mut answer = Answer::new(Box::new(source) as Box<dyn Source>);
    let cx = &mut task::Context::from_waker(Waker::noop());
    let mut told = Vec::new();
    for _ in 0..6 {
        let is_pending = answer.poll_advance(cx).is_pending();
        told.push((is_pending, warmed.load(Relaxed)));
    }
    assert_eq!(told, [(true, 0), (false, 1), (true, 1), (false, 2), (true, 2), (false, 3)]);
    assert_eq!(answer.so_far().map(|kept| kept.text()).as_deref(), Some("xx"));
}
