//! Models that are functions, and answers made of what is at hand: the rules of every answer hold for them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use futures_util::{FutureExt, StreamExt, future, stream};
use loquat_core::{
    Answer, ChatRequest, Context, Ending, Error, ErrorKind, FinishReason, Model, OwnedDelta, Usage, model_fn,
};

/// Nothing here waits that is not told to.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits")
}

fn text(text: &str) -> OwnedDelta {
    OwnedDelta::Text { choice: 0, text: text.into() }
}

fn finished() -> OwnedDelta {
    let mut usage = Usage::default();
    usage.output_tokens = 2;
    OwnedDelta::End(Ending::Finished { reason: FinishReason::Length, usage })
}

fn failed() -> OwnedDelta {
    OwnedDelta::End(Ending::Failed(Error::new(ErrorKind::Overloaded, "busy")))
}

#[test]
fn a_text_is_an_answer_that_has_finished() {
    for words in ["loquat", ""] {
        let mut answer = Answer::from_text(words);
        let mut said = Vec::new();
        while let Some(delta) = now(answer.next()) {
            said.push(delta.to_owned());
        }
        let end = OwnedDelta::End(Ending::Finished { reason: FinishReason::Stop, usage: Usage::default() });
        // A delta without a text is none.
        let expected = if words.is_empty() { vec![end] } else { vec![text(words), end] };
        assert_eq!(said, expected);
        assert_eq!(now(Answer::from_text(words).collect()).expect("finished").text(), words);
    }
}

/// What stops without an ending is a part, or nothing at all; what follows an ending is not told. Of a list and of a stream alike.
#[test]
fn deltas_end_as_they_say() {
    type Make = fn(Vec<OwnedDelta>) -> Answer;
    let makes: [Make; 2] = [Answer::from_deltas, |deltas| Answer::from_stream(stream::iter(deltas))];
    for make in makes {
        for (deltas, expected, kind) in [
            (vec![text("lo"), text("quat"), finished()], "loquat", None),
            (vec![text("lo"), finished(), text("quat"), failed()], "lo", None),
            (vec![text("lo"), text("quat")], "loquat", Some(ErrorKind::Truncated)),
            (vec![text("lo"), failed()], "lo", Some(ErrorKind::Overloaded)),
            (vec![failed()], "", Some(ErrorKind::Overloaded)),
            (vec![], "", Some(ErrorKind::Protocol)),
            (vec![text("")], "", Some(ErrorKind::Protocol)),
            (vec![text(""), text("lo"), text(""), finished()], "lo", None),
        ] {
            let mut answer = make(deltas.clone());
            let mut said = String::new();
            let ended = loop {
                match now(answer.next_text()) {
                    Ok(Some(text)) => said.push_str(text),
                    Ok(None) => break None,
                    Err(error) => break Some(error.kind()),
                }
            };
            assert_eq!((said.as_str(), ended), (expected, kind), "{deltas:?}");
            assert!(now(answer.next()).is_none(), "and stays ended: {deltas:?}");
        }
        let mut begun = make(vec![text(""), text("lo")]);
        assert_eq!(now(begun.next_text()), Ok(Some("lo")), "the empty one is not handed out");
    }
    let usage = now(Answer::from_deltas([text("a"), finished()]).collect()).expect("finished").usage;
    assert_eq!(usage.output_tokens, 2);
}

#[test]
fn a_stream_is_the_way_back_and_is_pulled_no_further_than_the_answer() {
    let again = Answer::from_stream(Answer::from_deltas([text("a"), finished()]).into_stream());
    let deltas: Vec<_> = now(again.into_stream().collect());
    assert_eq!(deltas, [text("a"), finished()]);

    let (pulled, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
    let (count, held) = (pulled.clone(), alive.clone());
    let endless = stream::repeat_with(move || {
        let _held = &held;
        count.fetch_add(1, SeqCst);
        text("a")
    });
    let mut answer = Answer::from_stream(endless);
    for pulls in 1..=3 {
        assert_eq!(now(answer.next_text()), Ok(Some("a")));
        assert_eq!(pulled.load(SeqCst), pulls);
    }
    drop(answer);
    assert_eq!(Arc::strong_count(&alive), 1, "it goes with the answer");

    let mut waiting = Answer::from_stream(stream::pending());
    assert!(waiting.next().now_or_never().is_none(), "what has not come is waited for");
}

#[test]
fn a_function_is_a_model() {
    let model = model_fn(|context, request| async move {
        let tenant = context.tenant().map(str::to_owned);
        match tenant {
            Some(tenant) => {
                Ok(Answer::from_text(format!("{tenant}, {}: {}", request.model, request.messages[0].text())))
            }
            None => Err(Error::new(ErrorKind::Permission, "who asks?")),
        }
    });
    let model: Arc<dyn Model> = Arc::new(model);
    let request = Arc::new(ChatRequest::new("m").with_user("hi"));
    let answer = now(model.infer(&Context::new().with_tenant("t"), request.clone())).expect("an answer");
    assert_eq!(now(answer.collect()).expect("whole").text(), "t, m: hi");
    let refused = now(model.infer(&Context::new(), request)).map(drop);
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Permission));
}

/// Several at once, each dropped with its caller.
#[test]
fn functions_are_asked_side_by_side_and_given_up() {
    let running = Arc::new(());
    let held = running.clone();
    let model = model_fn(move |_, _| {
        let held = held.clone();
        async move {
            future::pending::<()>().await;
            drop(held);
            Ok(Answer::from_text(""))
        }
    });
    let (context, request) = (Context::new(), Arc::new(ChatRequest::new("")));
    let mut asked: Vec<_> = (0..3).map(|_| model.infer(&context, request.clone())).collect();
    assert!(asked.iter_mut().all(|asked| asked.now_or_never().is_none()));
    assert_eq!(Arc::strong_count(&running), 5);
    drop(asked.pop());
    assert_eq!(Arc::strong_count(&running), 4);
}
