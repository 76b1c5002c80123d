//! The loop, with a scripted model: what is streamed, what goes back, how it ends. On a paused clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use loquat_core::{
    CancellationToken, ChatRequest, Context, Ending, Error, ErrorKind, FinishReason, Message, OwnedDelta,
    Part, Role, ToolChoice, Usage, test_util::Scripted,
};
use loquat_tools::{FnTool, Run, RunEvent, RunLimits, Toolbox, tool};

/// Waits, and says so.
#[tool]
async fn nap(milliseconds: u64) -> String {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    format!("slept {milliseconds}")
}

fn text(text: &str) -> OwnedDelta {
    OwnedDelta::Text { choice: 0, text: text.into() }
}

fn call(number: u32, name: &str, arguments: &str) -> [OwnedDelta; 2] {
    [
        OwnedDelta::ToolCall { choice: 0, call: number, id: format!("id{number}"), name: name.into() },
        OwnedDelta::ToolArguments { choice: 0, call: number, fragment: arguments.into() },
    ]
}

fn finished(reason: FinishReason) -> OwnedDelta {
    let mut usage = Usage::default();
    (usage.input_tokens, usage.output_tokens) = (10, 1);
    OwnedDelta::End(Ending::Finished { reason, usage })
}

fn asks(calls: &[(&str, &str)]) -> Vec<OwnedDelta> {
    let mut deltas = vec![text("let me see. ")];
    for (number, (name, arguments)) in (0..).zip(calls) {
        deltas.extend(call(number, name, arguments));
    }
    deltas.push(finished(FinishReason::ToolCalls));
    deltas
}

fn says(words: &str) -> Vec<OwnedDelta> {
    vec![text(words), finished(FinishReason::Stop)]
}

fn run(model: &Arc<Scripted>) -> Run {
    let mut request = ChatRequest::new("m").with_user("sleep well");
    request.tool_choice = ToolChoice::Required;
    Run::new(model.clone(), Context::new(), request, Toolbox::new().with(nap))
}

async fn events(run: &mut Run) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(event) = run.next().await {
        seen.push(match event {
            RunEvent::Delta(delta) => match delta.text() {
                Some(text) => format!("text {text}"),
                None => continue,
            },
            RunEvent::Turn(response) => format!("turn of {} calls", response.tool_calls().count()),
            RunEvent::Calling(call) => format!("calling {}", call.id),
            RunEvent::Called { result, elapsed } => {
                format!("called {} in {} ms: {}", result.call_id, elapsed.as_millis(), result.content)
            }
            RunEvent::End(ending) => format!("end {}", ending.is_finished()),
            _ => continue,
        });
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn calls_run_side_by_side_and_results_go_back_in_order() {
    let naps =
        asks(&[("nap", r#"{"milliseconds":300}"#), ("nap", r#"{"milliseconds":100}"#), ("snore", "{}")]);
    let model = Arc::new(Scripted::new().then(Ok(naps)).then(Ok(says("done"))));
    let started = tokio::time::Instant::now();
    let mut run = run(&model);
    let seen = events(&mut run).await;
    assert_eq!(started.elapsed(), Duration::from_millis(300), "not the sum");
    assert_eq!(
        seen,
        [
            "text let me see. ",
            "turn of 3 calls",
            "calling id0",
            "calling id1",
            "calling id2",
            "called id2 in 0 ms: there is no tool of that name; there are: nap",
            "called id1 in 100 ms: slept 100",
            "called id0 in 300 ms: slept 300",
            "text done",
            "turn of 0 calls",
            "end true",
        ]
    );
    assert_eq!((run.usage().input_tokens, run.usage().output_tokens), (20, 2));
    assert!(run.next().await.is_none());

    let asked = model.asked();
    assert_eq!(asked[0].tools.len(), 1);
    assert_eq!((&asked[0].tool_choice, &asked[1].tool_choice), (&ToolChoice::Required, &ToolChoice::Auto));
    let results: Vec<_> = asked[1].messages[2]
        .parts
        .iter()
        .map(|part| match part {
            Part::ToolResult(result) => (&*result.call_id, result.is_error),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(results, [("id0", false), ("id1", false), ("id2", true)]);
    let roles: Vec<_> = run.messages().iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::Assistant, Role::Tool, Role::Assistant]);
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_where_that_is_asked() {
    let naps = asks(&[("nap", r#"{"milliseconds":300}"#), ("nap", r#"{"milliseconds":100}"#)]);
    let model = Arc::new(Scripted::new().then(Ok(naps)).then(Ok(says("done"))));
    let mut limits = RunLimits::default();
    limits.max_parallel_calls = 1;
    let started = tokio::time::Instant::now();
    let outcome = run(&model).with_limits(limits).finish().await.expect("it ends well");
    assert_eq!(started.elapsed(), Duration::from_millis(400));
    assert_eq!((&*outcome.text(), outcome.turns, outcome.messages.len()), ("done", 2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_never_stops_is_stopped_and_has_failed() {
    let mut script = Scripted::new();
    for _ in 0..10 {
        script = script.then(Ok(asks(&[("nap", r#"{"milliseconds":0}"#)])));
    }
    let model = Arc::new(script);
    let mut limits = RunLimits::default();
    limits.max_turns = 3;
    let error = run(&model).with_limits(limits).finish().await.expect_err("no answer");
    assert_eq!((error.kind(), model.asked().len()), (ErrorKind::TooLarge, 3));
    assert_eq!(error.partial().map(|partial| partial.tool_calls().count()), Some(1));
}

#[tokio::test(start_paused = true)]
async fn broken_answers_are_never_executed() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let touch = FnTool::new("touch", "Counts.", move |(): ()| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, String>(()) }
    });
    let toolbox = Toolbox::new().with(touch);
    let lost = Error::new(ErrorKind::Connection, "lost");
    for (last, kind) in [
        (None, Some(ErrorKind::Truncated)),
        (Some(OwnedDelta::End(Ending::Truncated { cause: Some(lost.clone()) })), Some(ErrorKind::Truncated)),
        (Some(OwnedDelta::End(Ending::Failed(lost))), Some(ErrorKind::Connection)),
        (Some(finished(FinishReason::Length)), None),
        (Some(finished(FinishReason::ContentFilter)), None),
        (Some(finished(FinishReason::Refusal)), None),
    ] {
        let deltas: Vec<_> = call(0, "touch", "null").into_iter().chain(last).collect();
        let model = Arc::new(Scripted::new().then(Ok(deltas)));
        let request = ChatRequest::new("m").with_user("touch");
        let outcome = Run::new(model, Context::new(), request, toolbox.clone()).finish().await;
        match (outcome, kind) {
            (Ok(outcome), None) => {
                assert_eq!((outcome.turns, outcome.response.tool_calls().count()), (1, 1));
                assert!(outcome.messages.is_empty(), "a call without a result: {:?}", outcome.messages);
            }
            (Err(error), Some(kind)) => {
                assert_eq!(error.kind(), kind);
                assert_eq!(error.partial().map(|partial| partial.tool_calls().count()), Some(1));
            }
            (outcome, kind) => panic!("{outcome:?}, not {kind:?}"),
        }
    }
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

/// A provider whose own tools run long pauses, and goes on when it is asked again with what it said so far; not for ever.
#[tokio::test(start_paused = true)]
async fn a_turn_that_was_paused_goes_on() {
    let paused = || Ok(vec![text("so far"), finished(FinishReason::Other("pause_turn".into()))]);
    let model = Arc::new(Scripted::new().then(paused()).then(Ok(says(", done"))));
    let mut run = run(&model);
    let seen = events(&mut run).await;
    assert_eq!(seen, ["text so far", "turn of 0 calls", "text , done", "turn of 0 calls", "end true"]);
    let asked = model.asked();
    let last = asked[1].messages.last().expect("what was said so far");
    assert_eq!((asked.len(), last.role, last.text()), (2, Role::Assistant, "so far".to_owned()));
    assert_eq!(asked[1].tool_choice, ToolChoice::Auto, "what is demanded again is called again");

    let model = Arc::new(Scripted::new().then(paused()).then(paused()));
    let mut limits = RunLimits::default();
    limits.max_turns = 1;
    let mut run = self::run(&model).with_limits(limits);
    events(&mut run).await;
    assert_eq!(model.asked().len(), 1);
    let error = run.finish().await.expect_err("half an answer");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(error.message(), "the model still paused after max_turns (1) answers");
}

/// What a cut answer leaves can be said again: no call, nothing that belongs to one, and no thoughts that nothing follows.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_cut_answer_can_be_said_again() {
    let thoughts = || {
        let seal = r#"{"type":"reasoning","id":"rs_1"}"#;
        [
            OwnedDelta::Reasoning { choice: 0, text: "hm".into() },
            OwnedDelta::ReasoningSignature {
                choice: 0,
                signature: seal.into(),
                redacted: false,
                format: "openai-responses".into(),
            },
        ]
    };
    let rest = |number: u32| {
        let json = format!(r#"{{"type":"function_call","id":"fc_{number}","call_id":"id{number}"}}"#);
        [OwnedDelta::Opaque { choice: 0, format: "responses".into(), json }]
    };
    let other = || {
        let json = r#"{"type":"web_search_call","id":"ws_1"}"#.into();
        [OwnedDelta::Opaque { choice: 0, format: "responses".into(), json }]
    };
    let call = |number| call(number, "nap", r#"{"milliseconds":0}"#);
    let words = || [text("so")];
    for (said, left) in [
        ([&thoughts()[..], &call(0), &rest(0)].concat(), ""),
        ([&words()[..], &thoughts(), &call(0)].concat(), "text"),
        ([&thoughts()[..], &words(), &call(0), &rest(0)].concat(), "reasoning text"),
        ([&thoughts()[..], &call(0), &rest(0), &words(), &call(1), &rest(1)].concat(), "text"),
        ([&words()[..], &other(), &call(0)].concat(), "text opaque"),
        (thoughts().to_vec(), ""),
        ([&words()[..], &thoughts()].concat(), "text"),
    ] {
        for reason in [FinishReason::Length, FinishReason::Refusal] {
            let deltas = [&said[..], &[finished(reason)]].concat();
            let model = Arc::new(Scripted::new().then(Ok(deltas)));
            let outcome = run(&model).finish().await.expect("it ends well");
            let parts = outcome.messages.iter().flat_map(|message| &message.parts);
            let kinds: Vec<_> = parts
                .map(|part| match part {
                    Part::Text(_) => "text",
                    Part::Reasoning(_) => "reasoning",
                    Part::Opaque(_) => "opaque",
                    _ => "another",
                })
                .collect();
            assert_eq!(kinds.join(" "), left, "{said:?}");
        }
    }
}

/// Whenever a run is left, what it says may be appended: no provider takes a call without its result.
#[tokio::test(start_paused = true)]
async fn every_call_among_the_messages_has_a_result() {
    let naps = || asks(&[("nap", r#"{"milliseconds":5}"#), ("nap", r#"{"milliseconds":9}"#)]);
    let mut cut = naps();
    *cut.last_mut().expect("an end") = finished(FinishReason::Length);
    for (last, roles) in [
        (naps(), [Role::Assistant, Role::Tool].repeat(3)),
        (cut, [[Role::Assistant, Role::Tool].repeat(2), vec![Role::Assistant]].concat()),
    ] {
        let model = Arc::new(Scripted::new().then(Ok(naps())).then(Ok(naps())).then(Ok(last)));
        let mut limits = RunLimits::default();
        limits.max_turns = 3;
        let mut run = run(&model).with_limits(limits);
        loop {
            let is_over = run.next().await.is_none();
            let ids = |of: fn(&Part) -> Option<&str>| -> Vec<String> {
                let parts = run.messages().iter().flat_map(|message| &message.parts);
                parts.filter_map(of).map(str::to_owned).collect()
            };
            let asked = ids(|part| match part {
                Part::ToolCall(call) => Some(&*call.id),
                _ => None,
            });
            let answered = ids(|part| match part {
                Part::ToolResult(result) => Some(&*result.call_id),
                _ => None,
            });
            assert_eq!(asked, answered);
            if is_over {
                break;
            }
        }
        let said: Vec<_> = run.messages().iter().map(|message| message.role).collect();
        assert_eq!(said, roles);
        assert_eq!(run.messages()[4].text(), "let me see. ", "what it said stays");
    }
}

#[tokio::test(start_paused = true)]
async fn many_calls_are_bounded_and_each_has_a_result() {
    let calls = vec![("nap", r#"{"milliseconds":0}"#); 100];
    let model = Arc::new(Scripted::new().then(Ok(asks(&calls))).then(Ok(says("done"))));
    let outcome = run(&model).finish().await.expect("it ends well");
    let failed = outcome.messages[1].parts.iter().filter(|part| match part {
        Part::ToolResult(result) => result.is_error,
        _ => false,
    });
    assert_eq!((outcome.messages[1].parts.len(), failed.count()), (100, 36));
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_the_calls_and_the_run() {
    let model = Arc::new(Scripted::new().then(Ok(asks(&[("nap", r#"{"milliseconds":50000}"#)]))));
    let token = CancellationToken::new();
    let context = Context::new().with_cancellation(token.clone());
    let request = ChatRequest::new("m").with_message(Message::user("sleep"));
    let run = Run::new(model, context, request, Toolbox::new().with(nap));
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        token.cancel();
    };
    let started = tokio::time::Instant::now();
    let (outcome, ()) = futures_util::future::join(run.finish(), cancel).await;
    assert_eq!(outcome.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    assert_eq!(started.elapsed(), Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn each_turn_is_an_operation_of_its_own() {
    // Asked under one key, a server that deduplicates would give the first answer for ever.
    struct Keys(Scripted, std::sync::Mutex<Vec<Option<String>>>);
    impl loquat_core::Model for Keys {
        fn infer<'a>(
            &'a self,
            context: &'a Context,
            request: Arc<ChatRequest>,
        ) -> loquat_core::BoxFuture<'a, loquat_core::Result<loquat_core::Answer>> {
            self.1.lock().expect("no panic").push(context.idempotency_key().map(str::to_owned));
            self.0.infer(context, request)
        }
    }
    let script = Scripted::new().then(Ok(asks(&[("nap", r#"{"milliseconds":0}"#)]))).then(Ok(says("done")));
    let model = Arc::new(Keys(script, std::sync::Mutex::default()));
    let context = Context::new().with_idempotency_key("k");
    let request = ChatRequest::new("m").with_user("sleep");
    Run::new(model.clone(), context, request, Toolbox::new().with(nap)).finish().await.expect("it ends well");
    let keys = model.1.lock().expect("no panic").clone();
    assert_eq!(keys, [Some("k".to_owned()), Some("k/2".to_owned())]);
}
