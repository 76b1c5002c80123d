//! A fitted request fits, keeps what must stay, and has no half of a pair.

use loquat_core::{ChatRequest, ErrorKind, Message, Part, Role, ToolCall, ToolResult};
use proptest::prelude::*;

use super::{FitPolicy, fit, fit_with};
use crate::count::Counter;

fn counter() -> Counter {
    Counter::for_model("gpt-4o").unwrap()
}

fn words(count: usize) -> String {
    "word ".repeat(count)
}

#[test]
fn what_fits_is_left_alone() {
    let mut request = ChatRequest::new("m").with_system("Be brief.").with_user("hi");
    let before = request.clone();
    let fitted = fit(&mut request, &counter(), 1000, &FitPolicy::default()).unwrap();
    assert_eq!((fitted.parts_cut, fitted.messages_dropped, request), (0, 0, before));
}

#[test]
fn long_parts_lose_their_middle_first() {
    let log = format!("first line {} last line", words(9000));
    let mut request =
        ChatRequest::new("m").with_user(log).with_message(Message::assistant("ok")).with_user("and now?");
    let fitted = fit(&mut request, &counter(), 5000, &FitPolicy::default()).unwrap();
    assert_eq!((fitted.parts_cut, fitted.messages_dropped, request.messages.len()), (1, 0, 3));
    let text = request.messages[0].text();
    assert!(
        text.starts_with("first line") && text.contains("[…]") && text.ends_with("last line"),
        "{}",
        text.len()
    );
}

#[test]
fn what_is_cut_is_never_longer_than_it_was() {
    for longest in 0..8 {
        for length in 1..8 {
            let mut request =
                ChatRequest::new("m").with_user(words(length)).with_user(words(50)).with_user("last");
            let before = request.messages[0].text();
            let policy = FitPolicy::default().with_long_part_tokens(longest).with_drop_oldest(false);
            fit(&mut request, &counter(), 60, &policy).unwrap();
            let (tokens, after) = (counter(), request.messages[0].text());
            let count = |text: &str| tokens.text(text).unwrap().high();
            assert!(count(&after) <= count(&before), "{longest}: {before:?} became {after:?}");
        }
    }
}

#[test]
fn a_summary_takes_the_place_of_what_went() {
    let mut request = ChatRequest::new("m").with_system("Rules.");
    for turn in 0..6 {
        request = request.with_user(format!("{turn} {}", words(100))).with_message(Message::assistant("ok"));
    }
    request = request.with_user("last");
    let mut asked = 0;
    let fitted = fit_with(&mut request, &counter(), 400, &FitPolicy::default(), |gone| {
        asked += 1;
        Ok(Some(Message::user(format!("Summary of {} messages.", gone.len()))))
    });
    let fitted = fitted.unwrap();
    assert!((1..=3).contains(&asked), "{asked}");
    assert_eq!(request.messages[0].text(), "Rules.");
    assert_eq!(request.messages[1].text(), format!("Summary of {} messages.", fitted.messages_dropped));
    assert_eq!(request.messages.last().unwrap().text(), "last");
}

/// One question, and two hundred calls of tools in search of the answer.
#[test]
fn of_an_agents_long_work_the_oldest_calls_go_with_their_results() {
    let mut request = ChatRequest::new("m").with_system("Rules.").with_user("old").with_user("The question.");
    for number in 0..200 {
        let call = ToolCall::new(format!("call{number}"), "search", "{}");
        let result = ToolResult::new(&call, format!("{number} {}", words(20)));
        request = request
            .with_message(Message::new(Role::Assistant, vec![Part::ToolCall(call)]))
            .with_message(Message::new(Role::Tool, vec![Part::ToolResult(result)]));
    }
    let whole = request.clone();
    let fitted = fit(&mut request, &counter(), 1000, &FitPolicy::default()).unwrap();
    assert!(fitted.messages_dropped > 300 && fitted.count.high() > 900, "{fitted:?}");
    assert_eq!(request.messages[..2], [Message::system("Rules."), Message::user("The question.")]);
    let kept = request.messages.len() - 2;
    assert_eq!(request.messages[2..], whole.messages[whole.messages.len() - kept..], "the last ones");
    assert_eq!(kept % 2, 0);

    // The last answer stays, and the question.
    let mut request = whole.clone();
    let error = fit(&mut request, &counter(), 20, &FitPolicy::default()).unwrap_err();
    assert_eq!((error.kind(), request), (ErrorKind::ContextLength, whole));
}

/// Seen from gateways and older servers: calls without ids, or with one id for all.
#[test]
fn calls_of_one_id_stay_with_their_results() {
    for (id, calls) in [("x", 2), ("", 2), ("x", 3), ("", 1)] {
        let call = ToolCall::new(id, "search", "{}");
        let mut request = ChatRequest::new("m")
            .with_user("old")
            .with_message(Message::assistant("ok"))
            .with_user("The question.");
        for number in 0..4 {
            let parts = vec![Part::ToolCall(call.clone()); calls];
            request = request.with_message(Message::new(Role::Assistant, parts));
            for result in 0..calls {
                let result = ToolResult::new(&call, format!("{number} {result} {}", words(40)));
                request = request.with_message(Message::tool(result));
            }
        }
        for limit in (60..800).step_by(20) {
            let mut request = request.clone();
            let Ok(fitted) = fit(&mut request, &counter(), limit, &FitPolicy::default()) else { continue };
            let rest = request
                .messages
                .iter()
                .skip_while(|message| message.role == Role::User || message.text() == "ok");
            let roles: Vec<Role> = rest.map(|message| message.role).collect();
            let exchange = [&[Role::Assistant][..], &vec![Role::Tool; calls]].concat();
            assert_eq!(
                roles,
                exchange.repeat(roles.len() / exchange.len()),
                "{calls} of {id:?} in {limit}: {fitted:?}"
            );
        }
    }
}

#[test]
fn a_call_that_nobody_answered_holds_nothing_together() {
    let call = Part::ToolCall(ToolCall::new("lost", "search", "{}"));
    let mut request =
        ChatRequest::new("m").with_user("first").with_message(Message::new(Role::Assistant, vec![call]));
    for turn in 0..9 {
        request = request.with_user(format!("{turn} {}", words(100))).with_message(Message::assistant("ok"));
    }
    request = request.with_user("last");
    let fitted = fit(&mut request, &counter(), 300, &FitPolicy::default()).unwrap();
    assert!(fitted.messages_dropped > 14, "{fitted:?}");
}

#[test]
fn what_cannot_fit_is_an_error_and_stays_whole() {
    let mut request = ChatRequest::new("m").with_system(words(500)).with_user("hi");
    let before = request.clone();
    let error = fit(&mut request, &counter(), 100, &FitPolicy::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextLength);
    assert_eq!(request, before);
}

/// Conversations with tool calls, several at once, answered in any number of messages, and system messages between.
fn conversations() -> impl Strategy<Value = Vec<Message>> {
    proptest::collection::vec((0u8..6, 1usize..120), 1..14).prop_map(|steps| {
        let mut messages = vec![Message::system("Rules.")];
        for (number, (kind, size)) in steps.into_iter().enumerate() {
            messages.push(Message::user(words(size)));
            match kind {
                0 => {}
                1 | 2 => messages.push(Message::assistant(words(size / 2))),
                3 => messages.push(Message::system("More rules.")),
                _ => {
                    // Ids are unique, or the same for all, or there are none.
                    let id = |call| match number % 3 {
                        0 => format!("{number}-{call}"),
                        1 => "x".to_owned(),
                        _ => String::new(),
                    };
                    let calls: Vec<ToolCall> =
                        (0..kind - 3).map(|call| ToolCall::new(id(call), "tool", "{}")).collect();
                    let parts = calls.iter().cloned().map(Part::ToolCall).collect();
                    messages.push(Message::new(Role::Assistant, parts));
                    messages
                        .extend(calls.iter().map(|call| Message::tool(ToolResult::new(call, words(size)))));
                    messages.push(Message::assistant("done"));
                }
            }
        }
        messages.push(Message::user("last"));
        messages
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn fitted_is_within_and_whole(messages in conversations(), limit in 20u64..1500, longest in proptest::option::of(10usize..60)) {
        let counter = counter();
        let mut request = ChatRequest::new("m");
        request.messages = messages.clone();
        let policy = FitPolicy { long_part_tokens: longest, drop_oldest: true };
        let Ok(fitted) = fit(&mut request, &counter, limit, &policy) else {
            prop_assert_eq!(&request.messages, &messages);
            return Ok(());
        };
        prop_assert!(fitted.count.high() <= limit);
        prop_assert_eq!(fitted.count, counter.request(&request).unwrap().total);
        prop_assert_eq!(request.messages.len() + fitted.messages_dropped, messages.len());
        prop_assert_eq!(request.messages.last(), messages.last());
        let system = |all: &[Message]| all.iter().filter(|one| one.role == Role::System).cloned().collect::<Vec<_>>();
        prop_assert_eq!(system(&request.messages), system(&messages));
        let (mut calls, mut results) = (Vec::new(), Vec::new());
        for part in request.messages.iter().flat_map(|message| &message.parts) {
            match part {
                Part::ToolCall(call) => calls.push(call.id.clone()),
                Part::ToolResult(result) => results.push(result.call_id.clone()),
                _ => {}
            }
        }
        prop_assert_eq!(calls, results, "in their order, each with its own");
    }
}
