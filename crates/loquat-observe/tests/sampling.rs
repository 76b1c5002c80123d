//! Which operations are kept, and what it costs to keep none: by the head, by what came before, and by the end.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{ask, drain, finished, place};
use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Error, ErrorKind, Model, Result, TraceContext,
    test_util::{ManualClock, Scripted},
};
use loquat_observe::{CallTrace, Keep, Observer, Sampling};

#[derive(Default)]
struct Kept(Mutex<Vec<Arc<CallTrace>>>);

impl Keep for Kept {
    fn keep(&self, call: &Arc<CallTrace>) {
        self.0.lock().expect("not poisoned").push(call.clone());
    }
}

impl Kept {
    fn take(&self) -> Vec<Arc<CallTrace>> {
        std::mem::take(&mut *self.0.lock().expect("not poisoned"))
    }
}

fn kept(sampling: Sampling) -> (Arc<Kept>, Arc<ManualClock>, Observer) {
    let (kept, clock) = (Arc::new(Kept::default()), Arc::new(ManualClock::new()));
    let observer = Observer::builder().clock(clock.clone()).sampling(sampling).keep(kept.clone()).build();
    (kept, clock, observer)
}

/// A model that notes what it is told of the trace.
struct Told<M>(M, Mutex<Vec<TraceContext>>);

impl<M: Model> Model for Told<M> {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        self.1.lock().expect("not poisoned").push(context.trace());
        self.0.infer(context, request)
    }
}

#[tokio::test]
async fn a_trace_that_began_elsewhere_keeps_its_decision_whatever_the_ratio() {
    for (ratio, flags, is_kept) in [(1.0, "00", false), (0.0, "01", true)] {
        let (kept, _, observer) = kept(Sampling::all().with_ratio(ratio));
        let header = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        let trace = TraceContext::parse(&header).expect("valid");
        let told = Arc::new(Told(Scripted::new().then(Ok(finished(&["x"], 1, 1))), Mutex::default()));
        let model = observer.operation(told.clone(), place());
        let request = Arc::new(ChatRequest::new("gpt-5").with_user("hi"));
        drain(model.infer(&Context::new().with_trace(trace), request).await.expect("answered")).await;
        let calls = kept.take();
        assert_eq!(calls.len(), usize::from(is_kept), "{ratio} {flags}");
        let told = told.1.lock().expect("not poisoned")[0];
        assert_eq!((told.is_sampled(), told.trace_id()), (is_kept, trace.trace_id()));
        assert!(calls.iter().all(|call| call.parent == Some(trace.span_id())));
    }
}

#[tokio::test]
async fn a_trace_that_begins_here_is_drawn_and_who_is_asked_is_told() {
    let (kept, _, observer) = kept(Sampling::default().with_ratio(0.5));
    let mut script = Scripted::new();
    for _ in 0..400 {
        script = script.then(Ok(finished(&["x"], 1, 1)));
    }
    let told = Arc::new(Told(script, Mutex::default()));
    let model = observer.operation(told.clone(), place());
    for _ in 0..400 {
        drain(ask(&model, "gpt-5").await.expect("answered")).await;
    }
    let sampled: Vec<[u8; 16]> = {
        let told = told.1.lock().expect("not poisoned");
        told.iter().filter(|trace| trace.is_sampled()).map(TraceContext::trace_id).collect()
    };
    let kept: Vec<[u8; 16]> = kept.take().iter().map(|call| call.trace.trace_id()).collect();
    assert_eq!(kept, sampled, "who is kept has been announced, and nobody else");
    // 200 expected; ten standard deviations either way.
    assert!((100..300).contains(&kept.len()), "{}", kept.len());
}

/// Kept at its end: by each of the three reasons, at its very limit, and never announced.
#[tokio::test]
async fn the_end_keeps_what_was_worth_a_look_and_had_not_announced_it() {
    let none = || Sampling::default().with_ratio(0.0).with_failed(false);
    let four = Duration::from_secs(4);
    for (sampling, step, fails, is_kept) in [
        // Four steps: the first token after one.
        (none(), 1, false, false),
        (none(), 1, true, false),
        (none().with_failed(true), 1, true, true),
        (none().with_failed(true), 9, false, false),
        (none().with_slower_than(four), 1, false, true),
        (none().with_slower_than(four + Duration::from_nanos(1)), 1, false, false),
        (none().with_slower_than(Duration::ZERO), 1, true, true),
        (none().with_first_chunk_slower_than(four), 4, false, true),
        (none().with_first_chunk_slower_than(four), 3, false, false),
        // One that never had any took as long as it took.
        (none().with_first_chunk_slower_than(Duration::ZERO), 1, true, true),
        (none().with_first_chunk_slower_than(four), 1, true, false),
    ] {
        let (kept, clock, observer) = kept(sampling);
        let asked: Arc<dyn Model> = if fails {
            Arc::new(Scripted::new().then(Err(Error::new(ErrorKind::Server, "no"))))
        } else {
            Arc::new(common::slow(clock.clone(), Duration::from_secs(step)))
        };
        let told = Arc::new(Told(asked, Mutex::default()));
        match ask(&observer.operation(told.clone(), place()), "gpt-5").await {
            Ok(answer) if !fails => drain(answer).await,
            answer => assert!(fails && answer.is_err()),
        }
        let calls = kept.take();
        assert_eq!(calls.len(), usize::from(is_kept), "{sampling:?}, steps of {step} s, fails: {fails}");
        let told = std::mem::take(&mut *told.1.lock().expect("not poisoned"));
        assert_eq!(told.iter().map(TraceContext::is_sampled).collect::<Vec<_>>(), [false], "fails: {fails}");
        // For who reads it, it is a trace like any other.
        assert!(calls.iter().all(|call| call.trace.is_sampled()));
    }
}

/// Nobody who keeps anything: then nothing is noted down, and nobody is told that it would be.
#[tokio::test]
async fn without_anybody_who_keeps_nothing_is_sampled() {
    let observer = Observer::builder().sampling(Sampling::all()).build();
    let told = Arc::new(Told(Scripted::new().then(Ok(finished(&["x"], 1, 1))), Mutex::default()));
    drain(ask(&observer.operation(told.clone(), place()), "gpt-5").await.expect("answered")).await;
    assert!(!told.1.lock().expect("not poisoned")[0].is_sampled());
}
